// The packages of the small distribution "Ferry Linux 9" that tests install and update: what each has is what some test needs.
import type { AdvisorySpec, ModuleSpec, PackageSpec } from './vendor.ts';

const OS_RELEASE = `NAME="Ferry Linux"
ID=ferrylinux
ID_LIKE="fedora"
VERSION_ID="9"
PRETTY_NAME="Ferry Linux 9 (Harbour)"`;

const release: PackageSpec = {
  name: 'ferry-release',
  version: '9',
  release: '1.fl9',
  arch: 'noarch',
  provides: ['/bin/sh', 'system-release = 9', 'system-release(releasever) = 9'],
  files: { '/usr/lib/os-release': OS_RELEASE, '/etc/dnf/protected.d/ferry-release.conf': 'ferry-release' },
};

const libferry = (n: number): PackageSpec => ({
  name: 'libferry',
  version: '1.0',
  release: `${n}.fl9`,
  summary: 'Shared parts of the ferry',
  files: { '/usr/share/libferry/version': `1.0-${n}`, [`/usr/share/libferry/only-in-${n}`]: 'x' },
});

const tool = (n: number): PackageSpec => ({
  name: 'ferry-tool',
  version: '1.0',
  release: `${n}.fl9`,
  requires: [`libferry = 1.0-${n}.fl9`],
  files: { '/usr/bin/ferry-tool': `#!/bin/sh\necho 1.0-${n}`, '/usr/bin/ferry-raw': `#!/bin/sh\necho raw ${n}` },
  attributes: {
    '/usr/bin/ferry-tool': '%attr(0755,root,root)',
    '/usr/bin/ferry-raw': '%attr(0755,root,root) %caps(cap_net_raw=ep)',
  },
});

/** Has an epoch; its update needs a new package, and would like another. */
const keel = (n: number): PackageSpec => ({
  name: 'keel',
  epoch: 1,
  version: '2.0',
  release: `${n}.fl9`,
  ...(n === 1 ? {} : { requires: ['keel-data'], recommends: ['keel-doc'] }),
  files: { '/usr/share/keel/version': `2.0-${n}` },
});
const keelData: PackageSpec = {
  name: 'keel-data',
  version: '2.0',
  release: '2.fl9',
  arch: 'noarch',
  files: { '/usr/share/keel/data': 'data' },
};
const keelDoc: PackageSpec = {
  name: 'keel-doc',
  version: '2.0',
  release: '2.fl9',
  arch: 'noarch',
  files: { '/usr/share/keel/doc': 'doc' },
};

/** A service with settings that the administrator may have changed, and scripts. */
const harbor = (n: number): PackageSpec => ({
  name: 'harbor',
  version: `1.${n}`,
  release: '1.fl9',
  files: {
    '/etc/harbor.conf': `version = ${n}`,
    '/usr/bin/harbord': `#!/bin/sh\n# ${n}\nexec sleep infinity`,
    '/usr/lib/systemd/system/harbor.service': '[Service]\nExecStart=/usr/bin/harbord\n[Install]\nWantedBy=multi-user.target',
  },
  attributes: { '/etc/harbor.conf': '%config(noreplace)', '/usr/bin/harbord': '%attr(0755,root,root)' },
  scripts: { post: `echo "$1" > /var/lib/harbor-post-${n}` },
});

/** Several stand side by side (installonly). */
const kernel = (n: number): PackageSpec => {
  const uname = `6.1.0-${n}.fl9.x86_64`;
  return {
    name: 'kernel-core',
    version: '6.1.0',
    release: `${n}.fl9`,
    provides: [`kernel = 6.1.0-${n}.fl9`, 'installonlypkg(kernel)'],
    files: { [`/boot/vmlinuz-${uname}`]: `kernel ${n}`, [`/usr/lib/modules/${uname}/vmlinuz`]: `kernel ${n}` },
  };
};

/** Its update gives up before anything of it is on the disk. */
const reef = (n: number): PackageSpec => ({
  name: 'reef',
  version: '1.0',
  release: `${n}.fl9`,
  files: { '/usr/share/reef/version': `1.0-${n}` },
  ...(n === 1 ? {} : { scripts: { pre: 'echo "reef says no" >&2; exit 1' } }),
});

/** Its update replaces another package of the host. */
const mast = (n: number): PackageSpec => ({
  name: 'mast',
  version: '1.0',
  release: `${n}.fl9`,
  ...(n === 1 ? {} : { obsoletes: ['old-mast < 2'], provides: ['old-mast = 2'] }),
  files: { '/usr/share/mast/version': `1.0-${n}` },
});
const oldMast: PackageSpec = {
  name: 'old-mast',
  version: '1.0',
  release: '1.fl9',
  arch: 'noarch',
  files: { '/usr/share/old-mast/version': '1.0-1' },
};

/** Its update would take the package that names the system with it. */
const storm = (n: number): PackageSpec => ({
  name: 'storm',
  version: '1.0',
  release: `${n}.fl9`,
  ...(n === 1 ? {} : { conflicts: ['ferry-release'] }),
  files: { '/usr/share/storm/version': `1.0-${n}` },
});

/** What the vendor had on its first day. */
export const INSTALLED: readonly PackageSpec[] = [
  release,
  libferry(1),
  tool(1),
  keel(1),
  harbor(1),
  kernel(1),
  reef(1),
  mast(1),
  oldMast,
  storm(1),
];

export const UPDATED = {
  libferry: libferry(2),
  tool: tool(2),
  keel: keel(2),
  keelData,
  keelDoc,
  harbor: harbor(2),
  kernel: kernel(2),
  reef: reef(2),
  mast: mast(2),
  storm: storm(2),
} as const;

/** Is of a module: two streams of it, and a package of the same name that is of none. */
const oar = (version: string, release: string): PackageSpec => ({
  name: 'oar',
  version,
  release,
  files: { '/usr/share/oar/version': `${version}-${release}` },
});
export const OARS = {
  first: oar('1.0', '1.module_fl9+1+abc'),
  second: oar('1.0', '2.module_fl9+1+abc'),
  other: oar('2.0', '1.module_fl9+2+abc'),
  plain: oar('3.0', '1.fl9'),
} as const;
export const MODULES: readonly ModuleSpec[] = [
  { name: 'oar', stream: '1', version: 1, packages: [OARS.first] },
  { name: 'oar', stream: '1', version: 2, packages: [OARS.second] },
  { name: 'oar', stream: '2', version: 1, packages: [OARS.other] },
];

/** What the vendor says of its updates; `keel-doc` and `mast` have no advisory. */
export const ADVISORIES: readonly AdvisorySpec[] = [
  {
    id: 'FLSA-2026:0001',
    type: 'security',
    severity: 'Important',
    issued: '2026-10-01 08:30:00',
    updated: '2026-10-02 00:00:00',
    title: 'Important: ferry security update',
    cves: ['CVE-2026-1001', 'CVE-2026-1002'],
    packages: [UPDATED.libferry, UPDATED.tool],
  },
  {
    id: 'FLSA-2026:0002',
    type: 'security',
    severity: 'Critical',
    issued: '2026-10-05 00:00:00',
    cves: ['CVE-2026-2001'],
    reboot: true,
    packages: [UPDATED.kernel],
  },
  {
    id: 'FLBA-2026:0003',
    type: 'bugfix',
    severity: 'None',
    issued: '2026-10-06 00:00:00',
    packages: [UPDATED.keel, UPDATED.keelData],
  },
  {
    id: 'FLSA-2026:0004',
    type: 'security',
    severity: 'Moderate',
    issued: '2026-10-07 00:00:00',
    cves: ['CVE-2026-4001'],
    packages: [UPDATED.harbor],
  },
  { id: 'FLSA-2026:0005', type: 'security', severity: 'Low', issued: '2026-10-08 00:00:00', packages: [UPDATED.reef] },
  { id: 'FLSA-2026:0006', type: 'security', severity: 'Low', issued: '2026-10-09 00:00:00', packages: [UPDATED.storm] },
];
