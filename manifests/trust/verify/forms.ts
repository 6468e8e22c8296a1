// The shape of the four kinds of metadata (TUF specification 1.0.31, 4.3 to 4.6): parsed JSON in, typed values out, or refused.
// Unknown members are kept out of the result and stay under the signature; the specification lets later versions add them.
import { fault } from '../faults.ts';
import { FORM_LIMITS } from '../limits.ts';
import { isObject, type Json, type JsonObject } from './json.ts';
import { type ReadKey, readKey } from './keys.ts';

export type Kind = 'root' | 'timestamp' | 'snapshot' | 'targets';
export const TOP_ROLES = ['root', 'timestamp', 'snapshot', 'targets'] as const satisfies readonly Kind[];

export interface Common {
  readonly version: number;
  /** Milliseconds since 1970; at this moment the file is no longer good. */
  readonly expires: number;
  /** Ours: when the signer wrote it, a lower bound of the time. Milliseconds. */
  readonly signedAt: number | undefined;
}
export interface Role {
  readonly keyIds: readonly string[];
  readonly threshold: number;
}
export type Keys = ReadonlyMap<string, ReadKey>;
export interface Root extends Common {
  readonly consistentSnapshot: boolean;
  readonly keys: Keys;
  readonly roles: Readonly<Record<Kind, Role>>;
}
export interface MetaFile {
  readonly version: number;
  readonly length: number | undefined;
  readonly sha256: string | undefined;
}
export interface Timestamp extends Common {
  readonly snapshot: MetaFile;
  /** Ours: from this moment on readers warn. Milliseconds. */
  readonly softExpires: number | undefined;
}
export interface Snapshot extends Common {
  /** By role name, without `.json`. */
  readonly meta: ReadonlyMap<string, MetaFile>;
}
export interface TargetFile {
  readonly length: number;
  readonly sha256: string;
}
export interface Delegation extends Role {
  readonly name: string;
  readonly terminating: boolean;
  readonly paths: readonly string[] | undefined;
  readonly pathHashPrefixes: readonly string[] | undefined;
}
export interface SuccinctBins extends Role {
  readonly bitLength: number;
  readonly namePrefix: string;
}
export interface Delegations {
  readonly keys: Keys;
  readonly roles: readonly Delegation[];
  readonly bins: SuccinctBins | undefined;
}
export interface Targets extends Common {
  readonly targets: ReadonlyMap<string, TargetFile>;
  readonly delegations: Delegations | undefined;
}
export interface FormOf {
  root: Root;
  timestamp: Timestamp;
  snapshot: Snapshot;
  targets: Targets;
}

const CONTROL = /[\u0000-\u001f\u007f-\u009f]/;
const MOMENT = /^\d{4}-\d{2}-\d{2}T\d{2}:\d{2}:\d{2}Z$/;

/** The moment in ms. Only `YYYY-MM-DDTHH:MM:SSZ` of a day that exists (4.2, "expires"). @throws trust.expires */
export function readMoment(value: Json | undefined, what: string, where: string): number {
  const at = typeof value === 'string' && MOMENT.test(value) ? Date.parse(value) : Number.NaN;
  if (Number.isNaN(at) || new Date(at).toISOString().slice(0, 19) !== (value as string).slice(0, 19)) {
    throw fault('expires', `${where}: ${what} must be a moment written YYYY-MM-DDTHH:MM:SSZ`, { where });
  }
  return at;
}

function malformed(where: string, message: string): Error {
  return fault('malformed', `${where}: ${message}`, { where });
}
function objectAt(value: Json | undefined, what: string, where: string): JsonObject {
  if (!isObject(value)) throw malformed(where, `${what} must be an object`);
  return value;
}
function listAt(value: Json | undefined, most: number, what: string, where: string): Json[] {
  if (!Array.isArray(value) || value.length > most) throw malformed(where, `${what} must be a list of at most ${most}`);
  return value;
}
function integerAt(value: Json | undefined, least: number, what: string, where: string): number {
  if (typeof value !== 'number' || !Number.isSafeInteger(value) || value < least) {
    throw malformed(where, `${what} must be an integer of at least ${least}`);
  }
  return value;
}
function nameAt(value: Json | undefined, most: number, what: string, where: string): string {
  if (typeof value !== 'string' || value === '' || value.length > most || CONTROL.test(value)) {
    throw malformed(where, `${what} must be a text of 1 to ${most} characters without control characters`);
  }
  return value;
}

function readCommon(signed: JsonObject, kind: Kind, where: string): Common {
  // 4.2, "_type": a file of one role is never taken for another's.
  if (signed['_type'] !== kind) throw fault('wrong-role', `${where}: is not ${kind} metadata`, { where });
  // 4.2, "spec_version": another major version may mean anything.
  if (typeof signed['spec_version'] !== 'string' || !/^1\.\d{1,9}(?:\.\d{1,9})?$/.test(signed['spec_version'])) {
    throw malformed(where, 'spec_version must be 1.x');
  }
  const expires = readMoment(signed['expires'], 'expires', where);
  const signedAt = signed['signedAt'] === undefined ? undefined : readMoment(signed['signedAt'], 'signedAt', where);
  if (signedAt !== undefined && signedAt >= expires) throw malformed(where, 'signedAt must be before expires');
  return { version: integerAt(signed['version'], 1, 'version', where), expires, signedAt };
}

function readKeys(value: Json | undefined, where: string): Keys {
  const entries = Object.entries(objectAt(value, 'keys', where));
  if (entries.length > FORM_LIMITS.keys) throw malformed(where, `holds more than ${FORM_LIMITS.keys} keys`);
  return new Map(entries.map(([id, entry]) => [id, readKey(id, entry, where)]));
}

/** Threshold and key ids of one role (4.3, "ROLE"): distinct ids of distinct keys, a threshold of at least one. */
function readRole(entry: JsonObject, keys: Keys, what: string, where: string): Role {
  const threshold = entry['threshold'];
  if (typeof threshold !== 'number' || !Number.isSafeInteger(threshold) || threshold < 1) {
    throw fault('threshold', `${where}: ${what} has a threshold that is not a positive integer`, { where });
  }
  const keyIds: string[] = [];
  const identities = new Set<string>();
  for (const id of listAt(entry['keyids'], FORM_LIMITS.keys, `keyids of ${what}`, where)) {
    if (typeof id !== 'string') throw malformed(where, `keyids of ${what} must be texts`);
    const identity = keys.get(id)?.identity ?? `absent:${id}`;
    if (identities.has(identity)) throw fault('key-id', `${where}: ${what} lists one key twice`, { where });
    identities.add(identity);
    keyIds.push(id);
  }
  return { keyIds, threshold };
}

export function readRoot(signed: JsonObject, where: string): Root {
  const common = readCommon(signed, 'root', where);
  const consistentSnapshot = signed['consistent_snapshot'];
  if (typeof consistentSnapshot !== 'boolean') throw malformed(where, 'consistent_snapshot must be true or false');
  const keys = readKeys(signed['keys'], where);
  const entries = objectAt(signed['roles'], 'roles', where);
  const roles: Partial<Record<Kind, Role>> = {};
  for (const kind of TOP_ROLES) {
    const entry = Object.hasOwn(entries, kind) ? entries[kind] : undefined;
    roles[kind] = readRole(objectAt(entry, `roles.${kind}`, where), keys, `role ${kind}`, where);
  }
  return { ...common, consistentSnapshot, keys, roles: roles as Record<Kind, Role> };
}

function readSha256(value: Json | undefined, what: string, where: string): string {
  const hashes = objectAt(value, `hashes of ${what}`, where);
  const digest = Object.hasOwn(hashes, 'sha256') ? hashes['sha256'] : undefined;
  if (typeof digest !== 'string' || !/^[0-9a-f]{64}$/.test(digest)) {
    throw fault('weak-hash', `${where}: ${what} has no SHA-256`, { where });
  }
  return digest;
}

function readMeta(value: Json | undefined, what: string, where: string): MetaFile {
  const entry = objectAt(value, what, where);
  return {
    version: integerAt(entry['version'], 1, `version of ${what}`, where),
    length: entry['length'] === undefined ? undefined : integerAt(entry['length'], 1, `length of ${what}`, where),
    sha256: entry['hashes'] === undefined ? undefined : readSha256(entry['hashes'], what, where),
  };
}

export function readTimestamp(signed: JsonObject, where: string): Timestamp {
  const common = readCommon(signed, 'timestamp', where);
  const meta = objectAt(signed['meta'], 'meta', where);
  const softExpires = signed['softExpires'] === undefined ? undefined : readMoment(signed['softExpires'], 'softExpires', where);
  return { ...common, snapshot: readMeta(meta['snapshot.json'], 'snapshot.json', where), softExpires };
}

export function readSnapshot(signed: JsonObject, where: string): Snapshot {
  const common = readCommon(signed, 'snapshot', where);
  const meta = new Map<string, MetaFile>();
  for (const [file, entry] of Object.entries(objectAt(signed['meta'], 'meta', where))) {
    nameAt(file, FORM_LIMITS.nameCharacters + 5, 'a file name in meta', where);
    if (!file.endsWith('.json') || file.length === 5) throw malformed(where, 'names in meta must end with .json');
    meta.set(file.slice(0, -5), readMeta(entry, file, where));
  }
  if (!meta.has('targets')) throw malformed(where, 'meta lacks targets.json');
  return { ...common, meta };
}

export function readTargets(signed: JsonObject, where: string): Targets {
  const common = readCommon(signed, 'targets', where);
  const targets = new Map<string, TargetFile>();
  for (const [path, value] of Object.entries(objectAt(signed['targets'], 'targets', where))) {
    nameAt(path, FORM_LIMITS.pathCharacters, 'a target path', where);
    const entry = objectAt(value, 'a target', where);
    targets.set(path, {
      length: integerAt(entry['length'], 0, `length of ${path}`, where),
      sha256: readSha256(entry['hashes'], path, where),
    });
  }
  return { ...common, targets, delegations: readDelegations(signed['delegations'], where) };
}

function readDelegations(value: Json | undefined, where: string): Delegations | undefined {
  if (value === undefined) return undefined;
  const entry = objectAt(value, 'delegations', where);
  const keys = readKeys(entry['keys'], where);
  // TAP 15: either a list of roles or succinct hash bins.
  if ((entry['roles'] === undefined) === (entry['succinct_roles'] === undefined)) {
    throw malformed(where, 'delegations need either roles or succinct_roles');
  }
  if (entry['succinct_roles'] !== undefined) {
    return { keys, roles: [], bins: readBins(objectAt(entry['succinct_roles'], 'succinct_roles', where), keys, where) };
  }
  const names = new Set<string>();
  const roles = listAt(entry['roles'], FORM_LIMITS.delegatedRoles, 'roles', where).map((item) => {
    const role = readDelegation(objectAt(item, 'a delegated role', where), keys, where);
    if (names.has(role.name)) throw fault('delegation', `${where}: delegates ${role.name} twice`, { where });
    names.add(role.name);
    return role;
  });
  return { keys, roles, bins: undefined };
}

function readDelegation(entry: JsonObject, keys: Keys, where: string): Delegation {
  const name = nameAt(entry['name'], FORM_LIMITS.nameCharacters, 'name of a delegated role', where);
  if ((TOP_ROLES as readonly string[]).includes(name)) {
    throw fault('delegation', `${where}: ${name} is a top-level role and cannot be delegated`, { where });
  }
  const terminating = entry['terminating'] ?? false;
  if (typeof terminating !== 'boolean') throw malformed(where, `terminating of ${name} must be true or false`);
  if ((entry['paths'] === undefined) === (entry['path_hash_prefixes'] === undefined)) {
    throw malformed(where, `${name} needs either paths or path_hash_prefixes`);
  }
  const texts = (key: 'paths' | 'path_hash_prefixes') =>
    entry[key] === undefined
      ? undefined
      : listAt(entry[key], FORM_LIMITS.patterns, `${key} of ${name}`, where).map((item) =>
          nameAt(item, FORM_LIMITS.pathCharacters, `one of ${key} of ${name}`, where),
        );
  const pathHashPrefixes = texts('path_hash_prefixes');
  if (pathHashPrefixes?.some((prefix) => !/^[0-9a-f]{1,64}$/.test(prefix))) {
    throw malformed(where, `path_hash_prefixes of ${name} must be lower-case hex`);
  }
  return { ...readRole(entry, keys, `role ${name}`, where), name, terminating, paths: texts('paths'), pathHashPrefixes };
}

function readBins(entry: JsonObject, keys: Keys, where: string): SuccinctBins {
  const bitLength = integerAt(entry['bit_length'], 1, 'bit_length', where);
  if (bitLength > FORM_LIMITS.binBits) throw malformed(where, `bit_length must be at most ${FORM_LIMITS.binBits}`);
  const namePrefix = nameAt(entry['name_prefix'], FORM_LIMITS.nameCharacters - 9, 'name_prefix', where);
  return { ...readRole(entry, keys, 'succinct_roles', where), bitLength, namePrefix };
}
