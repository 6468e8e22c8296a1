// For tests on real RPM hosts: a lab whose trees are hosts of the small distribution here, its repository as catalog
// and payloads, and its packages as items.
import assert from 'node:assert/strict';
import * as fs from 'node:fs';
import { join } from 'node:path';
import { systemClock } from '#manifests/platform/clock';
import { silentLog } from '#manifests/platform/log';
import { runOrThrow } from '#manifests/platform/process';
import type { Catalog } from '#manifests/schema';
import { readRpmEntries } from '../../../agent/inventory/index.ts';
import type { HostContext, InstallItem } from '../../../agent/packages/index.ts';
import { Lab } from '../lab.ts';
import { ferryCatalog } from './catalog.ts';
import { INSTALLED, UPDATED } from './packages.ts';
import { makeFerryTree } from './tree.ts';
import { evrOf, type PackageSpec, RpmVendor } from './vendor.ts';

const FROM = new Map(INSTALLED.map((spec) => [spec.name, evrOf(spec)]));

/** Packages of a catalog as items of one patch, or each of its own. */
export function ferryItems(catalog: Catalog, specs: readonly PackageSpec[], patch?: string): InstallItem[] {
  return specs.map((spec) => {
    const found = catalog.patches.find(({ id }) => id === `${spec.name}@${evrOf(spec)}`) ?? assert.fail(spec.name);
    const [{ name, arch, version, sha256, size, path } = assert.fail()] = found.packages;
    const fixed = { name, arch, to: version, sha256, size, path };
    return { ...fixed, from: FROM.get(name) ?? null, repository: 'ferry-9', patch: patch ?? found.id, format: 'rpm' };
  });
}

/** `name version` of every package on a host. */
export async function ferryVersions(root: string): Promise<string[]> {
  return (await readRpmEntries(root))?.map(({ name, version }) => `${name} ${version}`) ?? assert.fail('no packages');
}

export const inRoot = (root: string, ...args: string[]) => runOrThrow('chroot', [root, ...args], { timeoutMs: 120_000 });

export class FerryLab {
  readonly lab: Lab;
  readonly vendor: RpmVendor;
  readonly payloads: string;
  readonly catalog: Catalog;
  #trees = 0;

  private constructor(lab: Lab, vendor: RpmVendor, payloads: string, catalog: Catalog) {
    this.lab = lab;
    this.vendor = vendor;
    this.payloads = payloads;
    this.catalog = catalog;
  }

  /** @param dnf which generation of it the hosts have; 5 comes with rpm 6 */
  static async open(dnf: 4 | 5 = 4): Promise<FerryLab> {
    const lab = await Lab.open(dnf === 4 ? { tree: 'rpm' } : { tree: 'rpm5', release: 'forky' });
    const vendor = await RpmVendor.open(join(lab.folder, 'vendor'));
    await makeFerryTree(join(lab.disk, 'base'), vendor);
    const repository = join(lab.folder, 'repository');
    const all = [...INSTALLED, ...Object.values(UPDATED)];
    await vendor.publish(repository, all);
    const payloads = join(lab.folder, 'payloads');
    return new FerryLab(lab, vendor, payloads, ferryCatalog(repository, all, payloads));
  }

  /** A tree of its own, not booted: dnf runs in it by chroot. */
  async tree(change: Partial<HostContext> = {}): Promise<{ root: string; context: HostContext }> {
    this.#trees += 1;
    const root = join(this.lab.disk, `tree${this.#trees}`);
    const base = join(this.lab.disk, 'base');
    await runOrThrow('btrfs', ['subvolume', 'snapshot', base, root], { timeoutMs: 60_000 });
    const workFolder = join(root, 'var/lib/patchferry/work');
    fs.mkdirSync(workFolder, { recursive: true });
    const context: HostContext = {
      root,
      workFolder,
      payloadPath: (sha256) => join(this.payloads, sha256),
      catalogs: [this.catalog],
      log: silentLog,
      clock: systemClock,
      signal: new AbortController().signal,
      archiveRoot: join(root, 'opt/patchferry/components'),
      lockWaitMs: 60_000,
      ...change,
    };
    return { root, context };
  }

  async close(): Promise<void> {
    await this.vendor.close();
    await this.lab.close();
  }
}
