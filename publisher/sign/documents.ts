// The signed documents of one publication. A document that would differ in its date alone stays as it was published,
// byte for byte, so that relays and hosts fetch nothing for nothing.

import { isFault } from '#manifests/errors';
import { utcSeconds } from '#manifests/platform/clock';
import {
  type Ack,
  type Acks,
  type Catalog,
  canonicalJson,
  type DocumentKind,
  type DocumentOf,
  decodeDocument,
  encodeDocument,
  type Group,
  type Kev,
  type ResolvedBaseline,
  type Roster,
  type SignedWaiver,
  sha256Of,
  type WaiverAnswer,
  type WaiverAnswers,
} from '#manifests/schema';
import type { Role, SiteRole } from '../home.ts';
import type { ResolvedPolicy, Stop } from '../policy/index.ts';
import type { Published } from './published.ts';

/** A document as a target of a delegated role. */
export interface TargetDocument {
  /** TUF target path, `catalogs/debian-12.json.zst`. */
  readonly path: string;
  readonly role: Role | SiteRole;
  readonly bytes: Uint8Array;
  readonly sha256: string;
  readonly state: 'new' | 'changed' | 'same';
}

/** The value with its date (and what else only says when) left out: what must differ for a document to be a new one. */
export function substance(value: object): string {
  return canonicalJson(
    JSON.parse(JSON.stringify(value), (key, item: unknown) =>
      key === 'generatedAt' || key === 'evaluatedAt' || key === 'signedAt' || key === 'syncedAt' || key === 'fetchedAt'
        ? undefined
        : item,
    ),
  );
}

/** Encodes a document, or takes the published bytes when nothing of substance changed; `value` is what they say. */
async function settle<K extends DocumentKind>(
  published: Published,
  role: Role,
  kind: K,
  path: string,
  value: DocumentOf<K>,
): Promise<{ target: TargetDocument; value: DocumentOf<K> }> {
  const known = published.targets.get(path);
  if (known !== undefined) {
    const bytes = await published.read(path);
    const before = decodeIfKind(kind, bytes, path);
    if (before !== undefined && substance(before) === substance(value)) {
      return { target: { path, role, bytes, sha256: known.sha256, state: 'same' }, value: before };
    }
  }
  const bytes = encodeDocument(kind, value);
  return { target: { path, role, bytes, sha256: sha256Of(bytes), state: known === undefined ? 'new' : 'changed' }, value };
}

/** Undefined when the published document is of another kind: a recall that became a halt under the same name. */
function decodeIfKind<K extends DocumentKind>(kind: K, bytes: Uint8Array, path: string): DocumentOf<K> | undefined {
  try {
    return decodeDocument(kind, bytes, path);
  } catch (error) {
    if (isFault(error, 'document.malformed')) return undefined;
    throw error;
  }
}

/** What the waivers role signs. */
export interface SignedExceptions {
  readonly waivers: readonly SignedWaiver[];
  readonly answers: readonly WaiverAnswer[];
}

export interface DocumentSet extends ResolvedPolicy, SignedExceptions {
  readonly roster: Roster;
  readonly acks: readonly Ack[];
}

/** Catalogs first: a baseline names the hash of the catalog it was resolved against, so that must be the published one. */
export async function settleCatalogs(published: Published, catalogs: readonly Catalog[]) {
  const settled = [];
  for (const catalog of catalogs) {
    settled.push(await settle(published, 'catalog', 'catalog', `catalogs/${catalog.product}.json.zst`, catalog));
  }
  return settled;
}

const KEV_PATH = 'feeds/kev.json.zst';

/** The feed as it is signed: while its entries are the same, the published one. */
export async function settleKev(published: Published, kev: Kev | null) {
  return kev === null ? null : settle(published, 'catalog', 'kev', KEV_PATH, kev);
}

/** Baselines and groups as they are published, by name: what is signed next follows on them. */
export async function publishedPolicy(
  published: Published,
): Promise<{ baselines: Map<string, ResolvedBaseline>; groups: Map<string, Group> }> {
  const baselines = new Map<string, ResolvedBaseline>();
  const groups = new Map<string, Group>();
  for (const path of published.targets.keys()) {
    if (path.startsWith('policy/baselines/')) {
      const baseline = decodeDocument('resolved-baseline', await published.read(path), path);
      baselines.set(baseline.name, baseline);
    } else if (path.startsWith('policy/groups/')) {
      const group = decodeDocument('group', await published.read(path), path);
      groups.set(group.name, group);
    }
  }
  return { baselines, groups };
}

/** Everything but the catalogs. @param now milliseconds */
export async function settlePolicyAndRoster(published: Published, set: DocumentSet, now: number): Promise<TargetDocument[]> {
  const targets: TargetDocument[] = [];
  for (const baseline of set.baselines) {
    const path = `policy/baselines/${baseline.name}.json.zst`;
    targets.push((await settle(published, 'policy', 'resolved-baseline', path, baseline)).target);
  }
  for (const group of set.groups) {
    targets.push((await settle(published, 'policy', 'group', `policy/groups/${group.name}.json.zst`, group)).target);
  }
  for (const recall of set.recalls) {
    targets.push((await settle(published, 'policy', 'recall', `policy/recalls/${recall.name}.json.zst`, recall)).target);
  }
  for (const delegation of set.delegations) {
    const path = `policy/sites/${delegation.site}.json.zst`;
    targets.push((await settle(published, 'policy', 'site-delegation', path, delegation)).target);
  }
  for (const waiver of set.waivers) {
    targets.push((await settle(published, 'waivers', 'waiver', `waivers/${waiver.name}.json.zst`, waiver)).target);
  }
  if (set.answers.length > 0) {
    const answers: WaiverAnswers = { schema: 'patchferry/waiver-answers', schemaVersion: 1, answers: [...set.answers] };
    targets.push((await settle(published, 'waivers', 'waiver-answers', 'answers/waivers.json.zst', answers)).target);
  }
  for (const stop of set.stops) targets.push(await settleStop(published, stop));
  targets.push(...(await settleRoster(published, set, now)));
  return targets;
}

/** Who belongs to the fleet, and up to where its results are here. @param now milliseconds */
export async function settleRoster(
  published: Published,
  { roster, acks }: Pick<DocumentSet, 'roster' | 'acks'>,
  now: number,
): Promise<TargetDocument[]> {
  const signedAt = utcSeconds(now);
  const stated: Acks = { schema: 'patchferry/acks', schemaVersion: 1, signedAt, acks: [...acks] };
  return [
    (await settle(published, 'roster', 'roster', 'roster/roster.json.zst', { ...roster, signedAt })).target,
    (await settle(published, 'roster', 'acks', 'roster/acks.json.zst', stated)).target,
  ];
}

export const stopPath = (name: string) => `halts/${name}.json.zst`;

/** A halt or a recall that only blocks, for the halts role. */
export async function settleStop(published: Published, stop: Stop): Promise<TargetDocument> {
  const settled =
    'stops' in stop
      ? await settle(published, 'halts', 'halt', stopPath(stop.name), stop)
      : await settle(published, 'halts', 'recall', stopPath(stop.name), stop);
  return settled.target;
}

/** Everything that is published, as it is: what a publication of one role alone leaves untouched. */
export async function publishedDocuments(published: Published): Promise<TargetDocument[]> {
  const documents: TargetDocument[] = [];
  for (const { path, role, sha256 } of published.targets.values()) {
    documents.push({ path, role: role as Role, bytes: await published.read(path), sha256, state: 'same' });
  }
  return documents;
}
