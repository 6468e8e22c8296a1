// What is on this host: packages, kernels, facts, room. Reads only; the one way in of this station.
import type { Clock } from '#manifests/platform/clock';
import { type Inventory, sha256Of } from '#manifests/schema';

export interface InventoryOptions {
  /** Another root than `/`, for tests. */
  readonly root?: string | undefined;
  readonly clock: Clock;
  readonly labels: Record<string, string>;
  /** Where `archive` components live; `/opt/patchferry/components` unless set. */
  readonly archiveRoot?: string | undefined;
}

/** Takes the inventory of this host. What cannot be found out is left out; only an unreadable package database is an error. @throws inventory.* */
export declare function takeInventory(options: InventoryOptions): Promise<Inventory>;

/** SHA-256 over the sorted `name:arch=version` lines: equal before and after means the same packages. */
export function packagesDigest(inventory: Inventory): string {
  const lines = inventory.packages.map(({ name, arch, version }) => `${name}:${arch}=${version}`);
  return sha256Of(`${lines.toSorted().join('\n')}\n`);
}
