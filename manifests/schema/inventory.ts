// Inventory: what is on a host. Made by the agent, read by decisions, carried inside results.
import { z } from 'zod';
import { moduleStream } from './catalog.ts';
import { count, document, labels, line, list, moment, name } from './common.ts';

/** One installed package as the package system's own database has it. */
export const installedPackage = z.strictObject({
  name: z.string().max(200),
  version: z.string().max(200),
  arch: z.string().max(40),
  /** Source package and its version, which can differ from the binary's (Debian names flaws by source). */
  source: z.string().max(200),
  sourceVersion: z.string().max(200),
  /** `installed` is whole; `broken` is unpacked, half-configured, half-installed or waiting for triggers. */
  state: z.enum(['installed', 'broken']),
  /** Held by the administrator (`apt-mark hold`). */
  held: z.boolean(),
});
export type InstalledPackage = z.infer<typeof installedPackage>;

export const kernels = z.strictObject({
  running: line(200),
  /** Releases with a kernel image on disk. */
  installed: list(line(200), 100),
});

export const inventory = document('inventory', 1, {
  takenAt: moment,
  hostname: line(255),
  /** `debian-12` by /etc/os-release; null when it cannot be told. */
  product: name.nullable(),
  arch: line(40),
  bootId: line(64),
  kernels,
  /** IANA name of the host's own zone. */
  zone: line(64),
  labels,
  /** Further facts (memory, virtualisation, file systems) for conditions and reports. */
  facts: z.record(z.string().max(64), z.union([line(300), z.number(), z.boolean()])),
  packages: list(installedPackage, 200_000),
  /** rpm: the streams of modules that are enabled, by dnf's own record. Absent: nobody looked, and modules count for nothing. */
  modules: list(moduleStream, 1_000).optional(),
  /** Versions of `archive` components by name. */
  components: z.record(z.string().max(200), z.string().max(200)),
  freeBytes: z.record(z.string().max(300), count),
});
export type Inventory = z.infer<typeof inventory>;
