// Real Debian hosts with systemd on this machine, for tests, demo and benchmarks. Needs root on Debian (see setup/debian.ts).
export { type DebianMirrors, debianMirrors } from './apt-sources.ts';
export type { TestHost } from './host.ts';
export { Lab, type LabOptions } from './lab.ts';
export { Line } from './line.ts';
export { type Place, TestNetwork } from './network.ts';
export { Stick } from './stick.ts';
