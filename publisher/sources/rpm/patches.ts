// From packages and advisories to patches: one for each version of a source package. Pure.
import { utcSeconds } from '#manifests/platform/clock';
import { CLASSIFICATIONS, type PatchPackage, SEVERITIES } from '#manifests/schema';
import type { SourcePatch } from '../api.ts';
import { fault, SOURCE_LIMITS } from '../faults.ts';
import type { ModuleArtifacts } from './modules.ts';
import type { RpmPackage } from './primary.ts';
import type { Advisory } from './updateinfo.ts';

/** What a patch may hold of these (schema/catalog.ts). */
const LIMITS = { cves: 10_000, advisories: 100, modules: 100 } as const;

export interface CollectedRpms {
  /** @throws source.malformed when one name, version and architecture stands for different bytes */
  take(item: RpmPackage): void;
  advise(advisory: Advisory): void;
  /** Says that these packages (`name-epoch:version-release.arch`) are of a stream of a module. */
  assign(stream: ModuleArtifacts): void;
  /** Packages taken. */
  count(): number;
  /** Packages left out because the vendor retracted them. */
  retracted(): number;
  /** Packages left out because they lie on another server: a host's dnf would go there for them, past every mirror. */
  elsewhere(): number;
  patches(): SourcePatch[];
}

const nevra = ({ name, epoch, version, arch }: RpmPackage) =>
  `${name}-${epoch}:${version.slice(version.indexOf(':') + 1)}.${arch}`;

/** Collects packages and advisories, in any order; the patches depend on nothing but these. */
export function collectRpms(repository: string, architectures: readonly string[], where: string): CollectedRpms {
  const wanted = new Set([...architectures, 'noarch']);
  const found = new Map<string, RpmPackage>();
  const advisories = new Map<string, Advisory[]>();
  const streams = new Map<string, Set<string>>();
  let retracted = 0;
  let elsewhere = 0;
  return {
    take(item) {
      if (!wanted.has(item.arch)) return;
      if (item.path === '') {
        elsewhere += 1;
        return;
      }
      const key = nevra(item);
      const known = found.get(key);
      if (known !== undefined) {
        if (known.sha256 === item.sha256 && known.size === item.size) return;
        throw fault('malformed', `${where}: ${key} is listed twice with different contents`, { where });
      }
      if (found.size >= SOURCE_LIMITS.packages) {
        throw fault('too-large', `${where}: more than ${SOURCE_LIMITS.packages} packages`, { where });
      }
      found.set(key, item);
    },
    advise(advisory) {
      for (const key of advisory.packages) {
        const list = advisories.get(key);
        if (list === undefined) advisories.set(key, [advisory]);
        else list.push(advisory);
      }
    },
    assign({ stream, packages }) {
      for (const key of packages) {
        const list = streams.get(key);
        if (list === undefined) streams.set(key, new Set([stream]));
        else list.add(stream);
      }
    },
    count: () => found.size,
    elsewhere: () => elsewhere,
    retracted: () => retracted,
    patches() {
      retracted = 0;
      const sources = new Map<string, RpmPackage[]>();
      for (const [key, item] of found) {
        if (advisories.get(key)?.some((advisory) => advisory.retracted) === true) {
          retracted += 1;
          continue;
        }
        const id = `${item.source}@${item.sourceVersion}`;
        const list = sources.get(id);
        if (list === undefined) sources.set(id, [item]);
        else list.push(item);
      }
      return [...sources]
        .toSorted(([a], [b]) => order(a, b))
        .map(([id, items]) => {
          const own = new Set(items.flatMap((item) => advisories.get(nevra(item)) ?? []));
          return toPatch(id, items, [...own], repository, (item) => streams.get(nevra(item)));
        });
    },
  };
}

function toPatch(
  id: string,
  items: readonly RpmPackage[],
  advisories: readonly Advisory[],
  repository: string,
  streamsOf: (item: RpmPackage) => ReadonlySet<string> | undefined,
): SourcePatch {
  const sorted = items.toSorted((a, b) => order(a.name, b.name) || order(a.arch, b.arch) || order(a.version, b.version));
  const main = sorted.find(({ name, source }) => name === source) ?? sorted[0];
  if (main === undefined) throw new TypeError(`${id} without packages`);
  // The gravest advisory speaks for the patch; the first that brought it dates it.
  const grave = advisories.toSorted(
    (a, b) =>
      CLASSIFICATIONS.indexOf(a.classification) - CLASSIFICATIONS.indexOf(b.classification) ||
      SEVERITIES.indexOf(a.severity) - SEVERITIES.indexOf(b.severity) ||
      order(a.id, b.id),
  );
  const moments = (of: 'issued' | 'updated') => advisories.flatMap((one) => (one[of] === null ? [] : [one[of]]));
  const built = Math.max(...sorted.map((item) => item.built)) * 1000;
  const [issued, updated] = [moments('issued'), moments('updated')];
  const released = issued.length > 0 ? Math.min(...issued) : built > 0 ? built : undefined;
  return {
    id,
    format: 'rpm',
    source: main.source,
    version: main.sourceVersion,
    title: grave[0]?.title || main.summary,
    // What the vendor says nothing about is of no class: rules that ask for security or bug fixes do not take it.
    classification: grave[0]?.classification ?? 'other',
    severity:
      advisories.map(({ severity }) => severity).toSorted((a, b) => SEVERITIES.indexOf(a) - SEVERITIES.indexOf(b))[0] ??
      'unspecified',
    section: main.group,
    priority: '',
    repository,
    cves: [...new Set(advisories.flatMap(({ cves }) => cves))].toSorted().slice(0, LIMITS.cves),
    advisories: advisories
      .map((advisory) => advisory.id)
      .toSorted()
      .slice(0, LIMITS.advisories),
    released: released === undefined ? null : utcSeconds(released),
    updated: updated.length === 0 ? null : utcSeconds(Math.max(...updated)),
    ...(advisories.some(({ reboot }) => reboot) ? { rebootSuggested: true } : {}),
    packages: sorted.map((item): PatchPackage => {
      const { name, version, arch, sha256, size, path } = item;
      const modules = [...(streamsOf(item) ?? [])].toSorted().slice(0, LIMITS.modules);
      return { name, version, arch, sha256, size, path, ...(modules.length === 0 ? {} : { modules }) };
    }),
  };
}

const order = (a: string, b: string) => (a === b ? 0 : a < b ? -1 : 1);
