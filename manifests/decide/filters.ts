// What a patch is matched by: filters of a rule (keys ANDed, values ORed; field guide 1.1) and explicit lists.
import type { Catalog, Patch, PatchFilter } from '#manifests/schema';
import type { KevIndex } from './kev.ts';
import { anyOf, type Matcher, matches } from './pattern.ts';

export type PatchTest = (patch: Patch) => boolean;

/** A product without its version: `debian` of `debian-12`, `windows-server` of `windows-server-2022`. */
export function familyOf(product: string): string {
  return product.replace(/-[0-9][0-9.]*$/, '');
}

/** Identifiers of flaws and advisories are written in capitals by most and matched in any case. */
const upper = (patterns: readonly string[]): Matcher => {
  const test = anyOf(patterns.map((pattern) => pattern.toUpperCase()));
  return (text) => test(text.toUpperCase());
};

/**
 * The test of one filter. A key that is not written does not restrict; an empty list of values matches nothing.
 * `name` is the source package or any binary package; `version` the patch's or that of any of its packages.
 */
export function filterTest(filter: PatchFilter, catalog: Pick<Catalog, 'product'>, listed: KevIndex = new Map()): PatchTest {
  const tests: PatchTest[] = [];
  const key = (values: readonly string[] | undefined, make: (test: Matcher) => PatchTest, matcher = anyOf) => {
    if (values !== undefined) tests.push(make(matcher(values)));
  };
  key(filter.product, (test) => () => test(catalog.product));
  key(filter.family, (test) => () => test(familyOf(catalog.product)));
  key(filter.classification, (test) => (patch) => test(patch.classification));
  key(filter.severity, (test) => (patch) => test(patch.severity));
  key(filter.cve, (test) => (patch) => patch.cves.some(test), upper);
  key(filter.advisory, (test) => (patch) => patch.advisories.some(test), upper);
  key(filter.name, (test) => (patch) => test(patch.source) || patch.packages.some((item) => test(item.name)));
  key(filter.patch, (test) => (patch) => test(patch.id));
  key(filter.version, (test) => (patch) => test(patch.version) || patch.packages.some((item) => test(item.version)));
  key(filter.section, (test) => (patch) => test(patch.section));
  key(filter.priority, (test) => (patch) => test(patch.priority));
  key(filter.repository, (test) => (patch) => test(patch.repository));
  key(filter.arch, (test) => (patch) => patch.packages.some((item) => test(item.arch)));
  const { kev } = filter;
  if (kev !== undefined) tests.push((patch) => patch.cves.some((cve) => listed.has(cve)) === kev);
  return (patch) => tests.every((test) => test(patch));
}

/** The entry of an explicit list that names a patch: by id, source, binary package, CVE or advisory; null when none does. */
export function listTest(entries: readonly string[]): (patch: Patch) => string | null {
  const plain = entryFinder(entries, (text) => text);
  const flaw = entryFinder(entries, (text) => text.toUpperCase());
  return (patch) => {
    if (entries.length === 0) return null;
    const byName = plain(patch.id) ?? plain(patch.source);
    if (byName !== null) return byName;
    for (const item of patch.packages) {
      const found = plain(item.name);
      if (found !== null) return found;
    }
    for (const id of [...patch.cves, ...patch.advisories]) {
      const found = flaw(id);
      if (found !== null) return found;
    }
    return null;
  };
}

function entryFinder(entries: readonly string[], form: (text: string) => string): (text: string) => string | null {
  const exact = new Map(entries.map((entry) => [form(entry), entry]));
  const open = entries.filter((entry) => entry.includes('*')).map((entry) => ({ entry, pattern: form(entry) }));
  return (text) => {
    const formed = form(text);
    return exact.get(formed) ?? open.find(({ pattern }) => matches(pattern, formed))?.entry ?? null;
  };
}
