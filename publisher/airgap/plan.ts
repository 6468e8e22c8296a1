// What goes into a bundle for a site: all metadata, the signed documents it lacks, and payloads by its profile, or those it
// asked for. Pure but for reading the published tree.
import * as fs from 'node:fs';
import { join } from 'node:path';
import { matchRequest, type Request, type SourceEntry, type Wanted } from '#manifests/bundle';
import { type PayloadStore, payloadPath, payloadsOf, targetFilePath } from '#manifests/repository';
import { type Catalog, decodeDocument, type Group, type Patch, type ResolvedBaseline } from '#manifests/schema';
import type { readPublished } from '../sign/index.ts';
import { readDependencies } from '../sources/index.ts';
import type { SiteProfile } from './sites.ts';

/** The published tree, verified. */
export type Published = Awaited<ReturnType<typeof readPublished>>;

export interface Documents {
  readonly catalogs: readonly Catalog[];
  readonly baselines: readonly ResolvedBaseline[];
  readonly groups: ReadonlyMap<string, Group>;
}

/** Catalogs, resolved baselines and groups as published. */
export async function readDocuments(published: Published): Promise<Documents> {
  const catalogs: Catalog[] = [];
  const baselines: ResolvedBaseline[] = [];
  const groups = new Map<string, Group>();
  for (const path of [...published.targets.keys()].toSorted()) {
    if (/^catalogs\/[^/]+\.json\.zst$/.test(path)) catalogs.push(decodeDocument('catalog', await published.read(path), path));
    if (/^policy\/baselines\/[^/]+\.json\.zst$/.test(path))
      baselines.push(decodeDocument('resolved-baseline', await published.read(path), path));
    if (/^policy\/groups\/[^/]+\.json\.zst$/.test(path)) {
      const group = decodeDocument('group', await published.read(path), path);
      groups.set(group.name, group);
    }
  }
  return { catalogs, baselines, groups };
}

/** Patches of one catalog, cut down to the packages that are to travel. */
export interface Wish {
  readonly catalog: Catalog;
  readonly patches: readonly Patch[];
}

/** What the profile of a site asks for: approved and pending patches of its products, for its architectures and packages. */
export async function wishOfProfile(
  { catalogs, baselines }: Documents,
  profile: SiteProfile,
  store: PayloadStore,
): Promise<Wish[]> {
  const wishes: Wish[] = [];
  for (const catalog of catalogs) {
    if (profile.products.length > 0 && !profile.products.includes(catalog.product)) continue;
    const ids = new Set(
      baselines
        .filter(({ product }) => product === catalog.product)
        .flatMap(({ approved, pending }) => [...approved, ...pending].map(({ patch }) => patch)),
    );
    const names = new Set(profile.packages);
    const approved = catalog.patches.filter(({ id }) => ids.has(id));
    const patches = names.size === 0 ? approved : await withNeeds(catalog, approved, (_, one) => names.has(one.name), store);
    wishes.push({ catalog, patches: onlyArchitectures(patches, profile.architectures) });
  }
  return wishes;
}

/** What a request asks for, and what that needs inside the same patch; rows that nobody knows here, and rows that were altered. */
export async function wishOfRequest(
  { catalogs }: Documents,
  request: Request,
  profile: SiteProfile,
  store: PayloadStore,
): Promise<{ wishes: Wish[]; unknown: Wanted[]; altered: Wanted[] }> {
  const all = new Map<string, { sha256: string; size: number }>();
  for (const catalog of catalogs) for (const payload of payloadsOf(catalog)) all.set(payload.sha256, payload);
  const { found, unknown, altered } = matchRequest(request, all.values());
  const hashes = new Set(found.map(({ sha256 }) => sha256));
  const wishes: Wish[] = [];
  for (const catalog of catalogs) {
    const asked = catalog.patches.filter(({ packages }) => packages.some(({ sha256 }) => hashes.has(sha256)));
    if (asked.length === 0) continue;
    const cut = await withNeeds(catalog, asked, (_, { sha256 }) => hashes.has(sha256), store);
    wishes.push({ catalog, patches: onlyArchitectures(cut, profile.architectures) });
  }
  return { wishes, unknown, altered };
}

/** The patches cut down to packages that are asked for and what these depend on inside the same patch. */
export async function withNeeds(
  catalog: Catalog,
  patches: readonly Patch[],
  asked: (patch: Patch, one: Patch['packages'][number]) => boolean,
  store: PayloadStore,
): Promise<Patch[]> {
  const needs = new Map<string, readonly string[]>();
  for (const repository of patches.length === 0 ? [] : catalog.repositories) {
    for (const [key, names] of await readDependencies(repository, store)) needs.set(key, names);
  }
  return patches.flatMap((patch) => {
    const taken = new Set<string>();
    const queue = patch.packages.filter((one) => asked(patch, one)).map(({ name }) => name);
    for (let name = queue.pop(); name !== undefined; name = queue.pop()) {
      if (taken.has(name)) continue;
      taken.add(name);
      for (const { version } of patch.packages.filter((one) => one.name === name))
        queue.push(...(needs.get(`${name} ${version}`) ?? []));
    }
    return taken.size === 0 ? [] : [{ ...patch, packages: patch.packages.filter(({ name }) => taken.has(name)) }];
  });
}

export function onlyArchitectures(patches: readonly Patch[], architectures: readonly string[]): Patch[] {
  if (architectures.length === 0) return [...patches];
  return patches
    .map((patch) => ({
      ...patch,
      packages: patch.packages.filter(({ arch }) => arch === 'all' || architectures.includes(arch)),
    }))
    .filter(({ packages }) => packages.length > 0);
}

/** What stops hosts comes first: it then counts even where the rest of a bundle is long in coming. */
const urgency = (path: string) => (/^(?:halts|policy\/recalls)\//.test(path) ? 0 : 1);

export interface Contents {
  readonly entries: SourceEntry[];
  /** Paths that need not travel again once the site has said that it has them. */
  readonly keeps: string[];
  readonly documents: number;
  readonly payloads: number;
  readonly payloadBytes: number;
  /** Payloads of the wish that are not in the repository. */
  readonly lacking: { readonly count: number; readonly bytes: number };
}

/** The entries in the order in which they travel: metadata, then documents, then payloads. */
export function contentsOf(input: {
  readonly repository: string;
  readonly published: Published;
  readonly documents: Documents;
  readonly wishes: readonly Wish[];
  readonly has: ReadonlySet<string>;
  readonly store: PayloadStore;
}): Contents {
  const { repository, published, has, store } = input;
  const entries: SourceEntry[] = [];
  const keeps: string[] = [];
  const metadata = join(repository, 'metadata');
  const roots = fs.readdirSync(metadata).filter((name) => /^\d+\.root\.json$/.test(name));
  for (const name of roots.toSorted((a, b) => Number.parseInt(a, 10) - Number.parseInt(b, 10)))
    entries.push({ path: `metadata/${name}`, bytes: fs.readFileSync(join(metadata, name)) });
  for (const [role, { name, bytes }] of published.files) {
    if (role !== 'root') entries.push({ path: `metadata/${name}`, bytes });
  }
  let documents = 0;
  const order = [...published.targets.values()].toSorted((a, b) => urgency(a.path) - urgency(b.path));
  for (const { path: target, sha256 } of order) {
    const path = targetFilePath(target, sha256);
    keeps.push(path);
    if (has.has(path)) continue;
    entries.push({ path, file: join(repository, path), sha256 });
    documents += 1;
  }
  const payloads = new Map<string, number>();
  const lacking = { count: 0, bytes: 0 };
  const add = ({ sha256, size }: { sha256: string; size: number }) => {
    const path = payloadPath(sha256);
    if (payloads.has(path)) return;
    payloads.set(path, size);
    if (store.has(sha256, size)) {
      keeps.push(path);
      if (!has.has(path)) entries.push({ path, file: store.pathOf(sha256), sha256 });
    } else {
      lacking.count += 1;
      lacking.bytes += size;
    }
  };
  const before = entries.length;
  for (const { repositories } of input.documents.catalogs) for (const { indexes } of repositories) indexes.forEach(add);
  for (const { patches } of input.wishes) for (const { packages } of patches) packages.forEach(add);
  const travelling = entries.slice(before);
  return {
    entries,
    keeps,
    documents,
    payloads: travelling.length,
    payloadBytes: travelling.reduce((sum, { path }) => sum + (payloads.get(path) ?? 0), 0),
    lacking,
  };
}
