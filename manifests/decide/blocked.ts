// Rejected with `block` (field guide 1.2): never installed, nor any package that needs it. What needs what is known to the
// host's own package manager alone, so its plan is held against the list of blocked packages before anything is done.
import type { Catalog, PackageChange, SignedRecall } from '#manifests/schema';
import type { BlockedPackage } from './evaluation.ts';
import type { Policy } from './standing.ts';
import { byText } from './text.ts';

/** Packages of a plan that a baseline blocks; when there is one, the plan must be refused. */
export function blockedIn(changes: readonly PackageChange[], blocked: readonly BlockedPackage[]): BlockedPackage[] {
  const planned = new Set(changes.flatMap(({ name, to }) => (to === null ? [] : [`${name} ${to}`])));
  return blocked.filter(({ name, version }) => planned.has(`${name} ${version}`));
}

/** All packages of patches rejected with `block` or recalled, on the host or not: a dependency may be a package that is not there yet. */
export function blockedPackages(
  catalogs: readonly Catalog[],
  policy: Policy,
  recalls: (patch: string) => readonly SignedRecall[],
): BlockedPackage[] {
  const blocked: BlockedPackage[] = [];
  for (const { product, patches } of catalogs) {
    const baseline = policy.baselineOf(product);
    const rejected = new Set(baseline?.rejectedAction === 'block' ? baseline.rejected.map(({ patch }) => patch) : []);
    for (const patch of patches) {
      const recall = recalls(patch.id).find(({ action }) => action !== 'warn');
      if (recall === undefined && !rejected.has(patch.id)) continue;
      const by = recall === undefined ? (baseline?.name ?? '') : `recall ${recall.name}`;
      for (const { name, arch, version } of patch.packages)
        blocked.push({ name, arch, version, patch: patch.id, baseline: by });
    }
  }
  return blocked.toSorted(
    (a, b) => byText(a.name, b.name) || byText(a.version, b.version) || byText(a.arch, b.arch) || byText(a.patch, b.patch),
  );
}
