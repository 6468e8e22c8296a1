// Documents for tests and benchmarks of decisions: small ones by hand, large ones from a seed. Not part of a decision.
import {
  type Baseline,
  baseline,
  type Catalog,
  type Group,
  type InstalledPackage,
  type Inventory,
  type MaintenanceWindow,
  type Patch,
  type PatchPackage,
  type ResolvedBaseline,
  sha256Of,
} from '#manifests/schema';
import { resolveBaseline } from './baseline.ts';
import type { DecideInput } from './evaluation.ts';

export const PRODUCT = 'debian-12';

export function samplePackage(name: string, version: string, more: Partial<PatchPackage> = {}): PatchPackage {
  const file = `${name}_${version.replaceAll(':', '%3a')}_${more.arch ?? 'amd64'}.deb`;
  return {
    name,
    version,
    arch: 'amd64',
    sha256: sha256Of(file),
    size: file.length,
    path: `pool/main/${name.slice(0, 1)}/${file}`,
    ...more,
  };
}

/** `openssl@3.0.1-2`: one source, a binary package of the same name unless told otherwise. */
export function samplePatch(id: string, more: Partial<Patch> = {}): Patch {
  const at = id.indexOf('@');
  const source = id.slice(0, at);
  const version = id.slice(at + 1);
  return {
    id,
    format: 'deb',
    source,
    version,
    title: `${source} ${version}`,
    classification: 'security',
    severity: 'high',
    section: 'libs',
    priority: 'optional',
    repository: 'security',
    cves: [],
    advisories: [],
    firstSeen: '2026-01-01T00:00:00Z',
    released: null,
    updated: null,
    packages: [samplePackage(source, version)],
    ...more,
  };
}

export function sampleCatalog(patches: readonly Patch[], product: string = PRODUCT): Catalog {
  return {
    schema: 'patchferry/catalog',
    schemaVersion: 1,
    product,
    generatedAt: '2026-01-01T00:00:00Z',
    repositories: [],
    patches: [...patches],
  };
}

/** `name=version` or `name:arch=version`, with what is unusual about it. */
export function sampleInstalled(text: string, more: Partial<InstalledPackage> = {}): InstalledPackage {
  const [, name = '', arch = 'amd64', version = ''] = /^([^:=]+)(?::([^=]+))?=(.+)$/.exec(text) ?? [];
  return { name, version, arch, source: name, sourceVersion: version, state: 'installed', held: false, ...more };
}

export function sampleInventory(packages: readonly (string | InstalledPackage)[], more: Partial<Inventory> = {}): Inventory {
  return {
    schema: 'patchferry/inventory',
    schemaVersion: 1,
    takenAt: '2026-01-01T00:00:00Z',
    hostname: 'host.example',
    product: PRODUCT,
    arch: 'amd64',
    bootId: 'boot-2',
    kernels: { running: '6.1.0-1-amd64', installed: ['6.1.0-1-amd64'] },
    zone: 'Europe/Berlin',
    labels: {},
    facts: {},
    packages: packages.map((one) => (typeof one === 'string' ? sampleInstalled(one) : one)),
    components: {},
    freeBytes: {},
    ...more,
  };
}

type Spec = Baseline['spec'];

/** An authored baseline, through the same schema as a file. */
export function sampleBaseline(spec: Partial<Record<keyof Spec, unknown>> = {}): Baseline {
  return baseline.parse({
    apiVersion: 'patchferry/v1',
    kind: 'Baseline',
    metadata: { name: 'base' },
    spec: {
      product: PRODUCT,
      rules: [{ name: 'all-security', filters: { classification: ['security'] }, approve: { afterDays: 0 } }],
      ...spec,
    },
  });
}

export const ALWAYS: MaintenanceWindow = sampleWindow({
  name: 'always',
  days: ['mon', 'tue', 'wed', 'thu', 'fri', 'sat', 'sun'],
  start: '00:00',
  durationMinutes: 1_440,
});

export function sampleWindow(more: Partial<MaintenanceWindow> = {}): MaintenanceWindow {
  return {
    name: 'night',
    days: ['sun'],
    start: '02:00',
    durationMinutes: 120,
    cutoffMinutes: 0,
    zone: 'UTC',
    validFrom: null,
    validUntil: null,
    ...more,
  };
}

export function sampleGroup(more: Partial<Group> = {}): Group {
  return {
    schema: 'patchferry/group',
    schemaVersion: 1,
    name: 'servers',
    signedAt: '2026-01-01T00:00:00Z',
    baselines: [{ product: PRODUCT, baseline: 'base' }],
    windows: [ALWAYS],
    reboot: 'if-needed',
    health: [],
    wayBack: 'preferred',
    pollMinutes: 60,
    freeBytes: 0,
    newDependencies: 'allow',
    removals: 'refuse',
    ...more,
  };
}

export const FRESH = { softExpired: false, hardExpired: false } as const;
export const NO_MEMORY = { installedByUs: [], failed: [], rolledBack: [] } as const;

/** A whole input: one product, its baseline resolved at `at`. */
export function sampleInput(
  patches: readonly Patch[],
  installed: readonly (string | InstalledPackage)[],
  more: Partial<DecideInput> & {
    readonly spec?: Partial<Record<keyof Spec, unknown>>;
    readonly host?: Partial<Inventory>;
  } = {},
): DecideInput {
  const { spec, host, ...rest } = more;
  const at = rest.at ?? Date.parse('2026-03-01T12:00:00Z');
  const catalog = sampleCatalog(patches);
  const baselines: readonly ResolvedBaseline[] = rest.baselines ?? [resolveBaseline(sampleBaseline(spec), catalog, at)];
  return {
    catalogs: [catalog],
    group: sampleGroup(),
    inventory: sampleInventory(installed, host),
    memory: NO_MEMORY,
    freshness: FRESH,
    ...rest,
    at,
    baselines,
  };
}

/** Numbers that look random and are the same for one seed (mulberry32); each in [0, 1). */
export function seeded(seed: number): () => number {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 4_294_967_296;
  };
}

/**
 * A catalog of `patches` source packages with `perPatch` binary packages each, three versions a source, and a host that
 * has `installed` of the packages, half of them at the first version.
 */
export function sampleFleetCase(
  patches: number,
  perPatch: number,
  installed: number,
  seed = 1,
): { catalog: Catalog; inventory: Inventory } {
  const random = seeded(seed);
  const sources = Math.max(1, Math.ceil(patches / 3));
  const list: Patch[] = [];
  for (let index = 0; index < patches; index += 1) {
    const source = `source-${index % sources}`;
    const version = `1:${1 + (index % 7)}.${index % 5}-2+deb12u${2 + Math.floor(index / sources)}`;
    const names = Array.from({ length: perPatch }, (_, item) => (item === 0 ? source : `lib${source}-${item}`));
    list.push(
      samplePatch(`${source}@${version}`, {
        classification: random() < 0.8 ? 'security' : 'bugfix',
        severity: random() < 0.3 ? 'critical' : 'medium',
        cves: random() < 0.5 ? [`CVE-2025-${10_000 + index}`] : [],
        firstSeen: `2026-0${1 + Math.floor(random() * 6)}-${10 + Math.floor(random() * 18)}T0${Math.floor(random() * 10)}:00:00Z`,
        packages: names.map((name) => ({
          name,
          version,
          arch: random() < 0.2 ? 'all' : 'amd64',
          sha256: 'ab'.repeat(32),
          size: 1_000,
          path: `pool/${name}.deb`,
        })),
      }),
    );
  }
  const all = list.slice(0, sources).flatMap((patch) => patch.packages.map(({ name, version }) => ({ name, version })));
  const step = Math.max(1, all.length / installed);
  const packages = Array.from({ length: Math.min(installed, all.length) }, (_, index) => {
    const { name = '', version = '' } = all[Math.floor(index * step)] ?? {};
    return sampleInstalled(`${name}=${random() < 0.5 ? version : version.replace('deb12u2', 'deb12u1')}`, {
      held: random() < 0.02,
    });
  });
  return { catalog: sampleCatalog(list), inventory: sampleInventory(packages) };
}
