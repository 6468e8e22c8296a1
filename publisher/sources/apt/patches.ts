// From binary packages to patches: one for each version of a source package. Pure.
import { type PatchPackage, SEVERITIES } from '#manifests/schema';
import type { SourcePatch } from '../api.ts';
import { fault, SOURCE_LIMITS } from '../faults.ts';
import type { BinaryPackage } from './packages.ts';
import type { Release } from './release.ts';

/** Debian's and Ubuntu's security suites end in `-security`; Debian's older ones are told by their label. */
export function classify(release: Release, suite: string): SourcePatch['classification'] {
  const security = suite.endsWith('-security') || release.codename.endsWith('-security') || release.label === 'Debian-Security';
  return security ? 'security' : 'bugfix';
}

/** Collects packages and gives the patches, in an order that depends on nothing but the packages. */
export function collectPatches(repository: string, classification: SourcePatch['classification'], where: string) {
  const found = new Map<string, BinaryPackage>();
  const sources = new Map<string, BinaryPackage[]>();
  return {
    /** @throws source.malformed when one name, version and architecture stands for different bytes */
    take(item: BinaryPackage): void {
      const key = `${item.name}_${item.version}_${item.arch}`;
      const known = found.get(key);
      if (known !== undefined) {
        if (known.sha256 === item.sha256 && known.size === item.size && known.path === item.path) return;
        throw fault('malformed', `${where}: ${key} is listed twice with different contents`, { where });
      }
      if (found.size >= SOURCE_LIMITS.packages) {
        throw fault('too-large', `${where}: more than ${SOURCE_LIMITS.packages} packages`, { where });
      }
      found.set(key, item);
      const id = `${item.source}@${item.sourceVersion}`;
      const list = sources.get(id);
      if (list === undefined) sources.set(id, [item]);
      else list.push(item);
    },
    /** Binary packages taken so far. */
    count: () => found.size,
    patches(): SourcePatch[] {
      return [...sources]
        .toSorted(([a], [b]) => (a < b ? -1 : 1))
        .map(([id, items]) => toPatch(id, items, repository, classification));
    },
  };
}

function toPatch(
  id: string,
  items: readonly BinaryPackage[],
  repository: string,
  classification: SourcePatch['classification'],
): SourcePatch {
  const sorted = items.toSorted((a, b) => order(a.name, b.name) || order(a.arch, b.arch) || order(a.version, b.version));
  // The package that is called like its source speaks for it; else the first one.
  const main = sorted.find(({ name, source }) => name === source) ?? sorted[0];
  if (main === undefined) throw new TypeError(`${id} without packages`);
  return {
    id,
    format: 'deb',
    source: main.source,
    version: main.sourceVersion,
    title: main.summary,
    classification,
    severity: 'unspecified' satisfies (typeof SEVERITIES)[number],
    section: main.section,
    priority: main.priority,
    repository,
    cves: [],
    advisories: [],
    released: null, // Debian's indexes date no package; delays count from when it was first seen
    updated: null,
    packages: sorted.map(
      ({ name, version, arch, sha256, size, path }): PatchPackage => ({ name, version, arch, sha256, size, path }),
    ),
  };
}

const order = (a: string, b: string) => (a === b ? 0 : a < b ? -1 : 1);
