// What is on this host: packages, kernels, facts, room. Reads only; the one way in of this station.
import * as os from 'node:os';
import { join } from 'node:path';
import { type Clock, utcSeconds } from '#manifests/platform/clock';
import { type Inventory, sha256Of } from '#manifests/schema';
import { installedFrom, nativeArch, readDpkgEntries } from './dpkg-status.ts';
import { productElsewhere, readPackagesElsewhere } from './elsewhere.ts';
import {
  readBootedAt,
  readBootId,
  readComponents,
  readFreeBytes,
  readHostname,
  readKernels,
  readProduct,
  readZone,
} from './host.ts';
import { readEnabledModules } from './modules.ts';
import { installedFromRpm, nativeRpmArch, readRpmEntries, readRpmHolds, waitingForReboot } from './rpm.ts';

export { type DpkgEntry, nativeArch, readDpkgEntries, readDpkgPackages } from './dpkg-status.ts';
export { parseRegQuery, readMacPackages, readWindowsPackages } from './elsewhere.ts';
export { readBootId, readKernels } from './host.ts';
export { isSameMachine, type Machine, readMachine } from './machine.ts';
export { readEnabledModules } from './modules.ts';
export { isHeld, type RpmEntry, readRpmEntries, readRpmHolds } from './rpm.ts';

/** Where `archive` components live when nothing else is set. */
export const DEFAULT_ARCHIVE_ROOT = '/opt/patchferry/components';

export interface InventoryOptions {
  /** Another root than `/`, for tests. */
  readonly root?: string | undefined;
  readonly clock: Clock;
  readonly labels: Record<string, string>;
  /** Where `archive` components live; `/opt/patchferry/components` below the root unless set. */
  readonly archiveRoot?: string | undefined;
  /** False leaves out facts about the machine: no decision needs them, and asking for them is most of the cost. */
  readonly facts?: boolean | undefined;
}

/** Node's names of architectures as Debian writes them, for hosts without dpkg. */
const DEBIAN_ARCH: Readonly<Record<string, string>> = { x64: 'amd64', arm64: 'arm64', ia32: 'i386', arm: 'armhf' };

/**
 * Takes the inventory of this host. What cannot be found out is left out; only a package database that cannot be read is an
 * error, because deciding from half of it would be wrong. Where dpkg manages nothing, rpm is asked.
 * @throws inventory.package-database, inventory.rpm-database, files.*
 */
export async function takeInventory(options: InventoryOptions): Promise<Inventory> {
  const root = options.root ?? '/';
  const entries = readDpkgEntries(root) ?? [];
  const key = ({ name, arch }: { name: string; arch: string }) => `${name}:${arch}`;
  const rpms = entries.length === 0 ? ((await readRpmEntries(root)) ?? []) : [];
  const { product, title } = readProduct(root);
  const facts = options.facts === false ? {} : await (await import('./facts.ts')).readFacts();
  if (title !== undefined) facts['os.title'] = title;
  const bootedAt = root === '/' ? readBootedAt() : undefined;
  const waiting = bootedAt === undefined ? [] : waitingForReboot(rpms, bootedAt);
  if (waiting.length > 0) facts['reboot.packages'] = waiting.join(', ');
  return {
    schema: 'patchferry/inventory',
    schemaVersion: 1,
    takenAt: utcSeconds(options.clock.now()),
    hostname: readHostname(root),
    product: product ?? productElsewhere(process.platform, os.release()),
    arch: nativeArch(entries) ?? nativeRpmArch(rpms) ?? DEBIAN_ARCH[process.arch] ?? process.arch,
    bootId: readBootId(),
    kernels: readKernels(root),
    zone: readZone(root),
    labels: options.labels,
    facts,
    packages:
      rpms.length > 0
        ? installedFromRpm(rpms, readRpmHolds(root))
        : entries.length > 0 || root !== '/'
          ? installedFrom(entries).toSorted((a, b) => (key(a) < key(b) ? -1 : 1))
          : await readPackagesElsewhere(),
    ...(rpms.length > 0 ? { modules: readEnabledModules(root) } : {}),
    components: readComponents(options.archiveRoot ?? join(root, DEFAULT_ARCHIVE_ROOT)),
    freeBytes: readFreeBytes(root),
  };
}

/** SHA-256 over the sorted `name:arch=version` lines: equal before and after means the same packages. */
export function packagesDigest(inventory: Inventory): string {
  const lines = inventory.packages.map(({ name, arch, version }) => `${name}:${arch}=${version}`);
  return sha256Of(`${lines.toSorted().join('\n')}\n`);
}
