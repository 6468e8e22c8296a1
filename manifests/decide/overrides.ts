// The override list of a baseline (SSM's InstallOverrideList, field guide 1.5): named patches are installed whatever the rules
// say, at once and in every ring; compliance stays a matter of the rules.
import type { Baseline, Catalog, Patch, ResolvedBaseline } from '#manifests/schema';
import { matches } from './pattern.ts';
import { byText, oneLine } from './text.ts';

type Entry = NonNullable<Baseline['spec']['overrides']>['patches'][number];

/**
 * Whether an entry names a patch: its id, source, a binary package, or `name.arch` of one; with `version`, only a package (or
 * patch) of that version, also written as SSM does, `name.arch:version`.
 */
export function overrideNames({ id, version }: Entry, patch: Patch): boolean {
  const fits = (found: string, arch?: string, name?: string) =>
    version === undefined || matches(version, found) || (name !== undefined && matches(version, `${name}.${arch}:${found}`));
  if (matches(id, patch.id) || matches(id, patch.source))
    return fits(patch.version) || patch.packages.some((one) => fits(one.version));
  return patch.packages.some(
    ({ name, arch, version: found }) => (matches(id, name) || matches(id, `${name}.${arch}`)) && fits(found, arch, name),
  );
}

/** The patches of the catalog that the override list names, sorted. */
export function overridesOf({ spec }: Baseline, catalog: Catalog): ResolvedBaseline['overrides'] {
  const { overrides } = spec;
  if (overrides === undefined) return undefined;
  const patches = catalog.patches.flatMap((patch) => {
    const entry = overrides.patches.find((one) => overrideNames(one, patch));
    if (entry === undefined) return [];
    return [{ patch: patch.id, entry: oneLine(entry.version === undefined ? entry.id : `${entry.id} ${entry.version}`) }];
  });
  return { mode: overrides.mode, until: overrides.until, patches: patches.toSorted((a, b) => byText(a.patch, b.patch)) };
}
