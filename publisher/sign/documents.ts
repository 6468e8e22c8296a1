// The signed documents of one publication. A document that would differ in its date alone stays as it was published,
// byte for byte, so that relays and hosts fetch nothing for nothing.
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
  type ResolvedBaseline,
  type Roster,
  sha256Of,
} from '#manifests/schema';
import type { Role } from '../home.ts';
import type { Published } from './published.ts';

/** A document as a target of a delegated role. */
export interface TargetDocument {
  /** TUF target path, `catalogs/debian-12.json.zst`. */
  readonly path: string;
  readonly role: Role;
  readonly bytes: Uint8Array;
  readonly sha256: string;
  readonly state: 'new' | 'changed' | 'same';
}

/** The value with its date (and what else only says when) left out: what must differ for a document to be a new one. */
function substance(value: object): string {
  return canonicalJson(
    JSON.parse(JSON.stringify(value), (key, item: unknown) =>
      key === 'generatedAt' || key === 'evaluatedAt' || key === 'signedAt' || key === 'syncedAt' ? undefined : item,
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
    const before = decodeDocument(kind, bytes, path);
    if (substance(before) === substance(value)) {
      return { target: { path, role, bytes, sha256: known.sha256, state: 'same' }, value: before };
    }
  }
  const bytes = encodeDocument(kind, value);
  return { target: { path, role, bytes, sha256: sha256Of(bytes), state: known === undefined ? 'new' : 'changed' }, value };
}

/** An approval by name holds since it was first published, not since the last time somebody resolved it. */
async function keepApprovalDates(published: Published, resolved: ResolvedBaseline): Promise<ResolvedBaseline> {
  const path = baselinePath(resolved.name);
  if (!published.targets.has(path)) return resolved;
  const before = decodeDocument('resolved-baseline', await published.read(path), path);
  const since = new Map(before.approved.filter(({ explicit }) => explicit).map((entry) => [entry.patch, entry.approvedAt]));
  return {
    ...resolved,
    approved: resolved.approved.map((entry) => {
      const earlier = entry.explicit ? since.get(entry.patch) : undefined;
      return earlier === undefined || earlier > entry.approvedAt ? entry : { ...entry, approvedAt: earlier };
    }),
  };
}

const baselinePath = (name: string) => `policy/baselines/${name}.json.zst`;

export interface DocumentSet {
  readonly catalogs: readonly Catalog[];
  readonly baselines: readonly ResolvedBaseline[];
  readonly groups: readonly Group[];
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

/** Everything but the catalogs. @param now milliseconds */
export async function settlePolicyAndRoster(
  published: Published,
  set: Omit<DocumentSet, 'catalogs'>,
  now: number,
): Promise<TargetDocument[]> {
  const targets: TargetDocument[] = [];
  for (const baseline of set.baselines) {
    const dated = await keepApprovalDates(published, baseline);
    targets.push((await settle(published, 'policy', 'resolved-baseline', baselinePath(dated.name), dated)).target);
  }
  for (const group of set.groups) {
    targets.push((await settle(published, 'policy', 'group', `policy/groups/${group.name}.json.zst`, group)).target);
  }
  const signedAt = utcSeconds(now);
  targets.push((await settle(published, 'roster', 'roster', 'roster/roster.json.zst', { ...set.roster, signedAt })).target);
  const acks: Acks = { schema: 'patchferry/acks', schemaVersion: 1, signedAt, acks: [...set.acks] };
  targets.push((await settle(published, 'roster', 'acks', 'roster/acks.json.zst', acks)).target);
  return targets;
}
