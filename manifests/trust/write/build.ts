// The signed part of the four kinds of metadata, made from plain values. What is built here is read back at once by the very
// forms a client uses: nothing is written that a reader would refuse.
import { fault } from '../faults.ts';
import { type Kind, TOP_ROLES } from '../verify/forms.ts';
import type { Json, JsonObject } from '../verify/json.ts';
import { keyIdOf, type TufKey } from '../verify/keys.ts';
import { readMetadata } from '../verify/metadata.ts';
import { sortedBytes } from './bytes.ts';

/** The signed part of a file; sign it with `signMetadata`. */
export type Signed = { readonly _type: Kind; readonly version: number; readonly expires: string } & {
  readonly [field: string]: Json;
};

export interface CommonInput {
  /** From 1 on, one more each time. */
  readonly version: number;
  /** TUF's hard expiry, ms. */
  readonly expires: number;
  /** When it is signed, ms: readers take it as a lower bound of the time. */
  readonly signedAt?: number | undefined;
}
export interface RoleKeys {
  readonly keys: readonly TufKey[];
  readonly threshold: number;
}
export interface RootInput extends CommonInput {
  readonly roles: Readonly<Record<Kind, RoleKeys>>;
  /** True unless told. */
  readonly consistentSnapshot?: boolean;
}
export interface DelegationInput extends RoleKeys {
  readonly name: string;
  readonly terminating?: boolean;
  readonly paths?: readonly string[];
  readonly pathHashPrefixes?: readonly string[];
}
export interface TargetsInput extends CommonInput {
  readonly targets?: ReadonlyArray<{ readonly path: string; readonly length: number; readonly sha256: string }>;
  readonly delegations?: readonly DelegationInput[];
  /** Instead of `delegations`: 2^bits bins named `<prefix>-<hex>` (TAP 15). */
  readonly bins?: RoleKeys & { readonly bits: number; readonly prefix: string };
}
export interface MetaInput {
  readonly version: number;
  readonly length?: number;
  readonly sha256?: string;
}
export interface SnapshotInput extends CommonInput {
  /** By role name without `.json`; `targets` must be among them. */
  readonly meta: Readonly<Record<string, MetaInput>>;
}
export interface TimestampInput extends CommonInput {
  readonly snapshot: MetaInput;
  /** From then on readers warn, ms. */
  readonly softExpires?: number | undefined;
}

const SPEC_VERSION = '1.0.31';
const moment = (ms: number) => `${new Date(ms).toISOString().slice(0, 19)}Z`;

function common(
  kind: Kind,
  { version, expires, signedAt }: CommonInput,
): { _type: Kind; spec_version: string; version: number; expires: string } {
  return {
    _type: kind,
    spec_version: SPEC_VERSION,
    version,
    expires: moment(expires),
    ...(signedAt !== undefined && { signedAt: moment(signedAt) }),
  };
}

/** Reads `signed` as a client would. @throws what the reader would throw */
function proven(signed: Signed): Signed {
  readMetadata(signed['_type'], sortedBytes({ signatures: [], signed }), `new ${signed['_type']}.json`);
  return signed;
}

function keysOf(roles: readonly RoleKeys[]): JsonObject {
  const entries = roles.flatMap(({ keys }) =>
    keys.map((key): [string, Json] => [keyIdOf(key), { ...key, keyval: { ...key.keyval } }]),
  );
  return Object.fromEntries(entries);
}
/** More signatures than keys can never be had: such a role would lock its repository. */
function roleOf({ keys, threshold }: RoleKeys, what: string): { keyids: string[]; threshold: number } {
  if (threshold > keys.length)
    throw fault('threshold', `${what}: a threshold of ${threshold} needs more than ${keys.length} keys`);
  return { keyids: keys.map(keyIdOf), threshold };
}
function metaOf({ version, length, sha256 }: MetaInput): JsonObject {
  return { version, ...(length !== undefined && { length }), ...(sha256 !== undefined && { hashes: { sha256 } }) };
}

/** Builds root metadata (TUF specification 1.0.31, 4.3). */
export function buildRoot(input: RootInput): Signed {
  return proven({
    ...common('root', input),
    consistent_snapshot: input.consistentSnapshot ?? true,
    keys: keysOf(Object.values(input.roles)),
    roles: Object.fromEntries(TOP_ROLES.map((kind) => [kind, roleOf(input.roles[kind], kind)])),
  });
}

/** Builds targets metadata, top or delegated (4.5). */
export function buildTargets(input: TargetsInput): Signed {
  const targets: JsonObject = Object.fromEntries(
    (input.targets ?? []).map(({ path, length, sha256 }): [string, Json] => [path, { length, hashes: { sha256 } }]),
  );
  if (Object.keys(targets).length !== (input.targets ?? []).length) throw fault('malformed', 'one target path is listed twice');
  return proven({ ...common('targets', input), targets, ...delegationsOf(input) });
}

function delegationsOf({ delegations, bins }: TargetsInput): JsonObject {
  if (bins !== undefined) {
    const { bits, prefix } = bins;
    return {
      delegations: { keys: keysOf([bins]), succinct_roles: { ...roleOf(bins, prefix), bit_length: bits, name_prefix: prefix } },
    };
  }
  if (delegations === undefined) return {};
  const roles = delegations.map((role) => ({
    name: role.name,
    ...roleOf(role, role.name),
    terminating: role.terminating ?? false,
    ...(role.paths !== undefined && { paths: [...role.paths] }),
    ...(role.pathHashPrefixes !== undefined && { path_hash_prefixes: [...role.pathHashPrefixes] }),
  }));
  return { delegations: { keys: keysOf(delegations), roles } };
}

/** Builds snapshot metadata (4.4). */
export function buildSnapshot(input: SnapshotInput): Signed {
  const meta = Object.fromEntries(
    Object.entries(input.meta).map(([role, entry]): [string, Json] => [`${role}.json`, metaOf(entry)]),
  );
  return proven({ ...common('snapshot', input), meta });
}

/** Builds timestamp metadata (4.6), with `softExpires`, which TUF clients other than ours pass over. */
export function buildTimestamp(input: TimestampInput): Signed {
  const { softExpires } = input;
  return proven({
    ...common('timestamp', input),
    meta: { 'snapshot.json': metaOf(input.snapshot) },
    ...(softExpires !== undefined && { softExpires: moment(softExpires) }),
  });
}
