// The client workflow of the TUF specification (1.0.31, section 5), clause by clause: bytes and a fixed time in, verified
// metadata out, or refused. No state, no clock, no files, no network; client.ts fetches, state.ts keeps.
import { hash } from 'node:crypto';
import { fault } from '../faults.ts';
import type { Delegations, Keys, MetaFile, Role } from './forms.ts';
import { checkSignatures, type Metadata, readMetadata } from './metadata.ts';
import { isBin } from './paths.ts';

export type RootMetadata = Metadata<'root'>;
export type TimestampMetadata = Metadata<'timestamp'>;
export type SnapshotMetadata = Metadata<'snapshot'>;
export type TargetsMetadata = Metadata<'targets'>;

/** 5.2: the root handed over by other means; it must be signed by itself, and may have expired since. */
export function trustedRoot(bytes: Uint8Array): RootMetadata {
  const root = readMetadata('root', bytes, 'pinned root');
  checkSignatures(root, root.signed.keys, root.signed.roles.root, 'pinned root');
  return root;
}

/** 5.3.4 to 5.3.7: the next root, signed by a threshold of the old keys and of its own, exactly one version on. */
export function nextRoot(current: RootMetadata, bytes: Uint8Array): RootMetadata {
  const where = `${current.signed.version + 1}.root.json`;
  const next = readMetadata('root', bytes, where);
  // 5.3.4: arbitrary software attack. Signed by a threshold of the keys trusted so far …
  checkSignatures(next, current.signed.keys, current.signed.roles.root, `${where} (by the keys before it)`);
  // … and by a threshold of the keys it brings.
  checkSignatures(next, next.signed.keys, next.signed.roles.root, `${where} (by its own keys)`);
  // 5.3.5: rollback attack. Exactly the next version, so that no rotation is skipped.
  if (next.signed.version !== current.signed.version + 1) {
    throw fault('root-chain', `${where}: says version ${next.signed.version} after ${current.signed.version}`, { where });
  }
  return next;
}

/** 5.3.10: freeze attack; asked once the newest root is known. */
export function checkRootFresh(root: RootMetadata, time: number): void {
  checkFresh('root.json', root.signed.expires, time);
}

/** The key ids of timestamp and snapshot, as kept beside a floor to see a rotation later. */
export function freshnessKeysOf(root: RootMetadata): string {
  const { timestamp, snapshot } = root.signed.roles;
  return [timestamp, snapshot].map(({ keyIds }) => keyIds.toSorted().join(',')).join(';');
}

/**
 * 5.3.11: whether keys of timestamp or snapshot were taken away, so that what they signed binds no longer. Keys that were only
 * added rotate nothing: else an old file, still rightly signed, could be offered again.
 */
export function keysTakenAway(before: string, now: string): boolean {
  const lists = now.split(';').map((list) => new Set(list.split(',')));
  return before.split(';').some((list, at) => list.split(',').some((id) => id !== '' && lists[at]?.has(id) !== true));
}

/** What is already trusted from earlier, as a lower bound; may have expired. */
export interface Known {
  readonly timestamp?: TimestampMetadata | undefined;
  readonly snapshot?: SnapshotMetadata | undefined;
}

/** Versions remembered apart from the files, for when the files were lost. */
export interface VersionFloor {
  readonly timestamp: number;
  readonly snapshot: number;
}

/** A stored timestamp or snapshot as rollback bound; undefined when the present root's keys no longer vouch for it. */
export function stillSigned<K extends 'timestamp' | 'snapshot'>(
  root: RootMetadata,
  stored: Metadata<K> | undefined,
): Metadata<K> | undefined {
  if (stored === undefined) return undefined;
  try {
    checkSignatures(stored, root.signed.keys, root.signed.roles[stored.kind], `stored ${stored.kind}.json`);
    return stored;
  } catch {
    return undefined; // its keys were rotated away: 5.3.11 wants it forgotten
  }
}

/** 5.4: the timestamp. `same` when it is the version known already, which then stays in force. */
export function checkTimestamp(
  root: RootMetadata,
  bytes: Uint8Array,
  known: Known,
  floor: VersionFloor,
  time: number,
): { readonly same: boolean; readonly timestamp: TimestampMetadata } {
  const where = 'timestamp.json';
  const timestamp = readMetadata('timestamp', bytes, where);
  // 5.4.2: arbitrary software attack.
  checkSignatures(timestamp, root.signed.keys, root.signed.roles.timestamp, where);
  // 5.4.3.1: rollback of the timestamp.
  const least = Math.max(floor.timestamp, known.timestamp?.signed.version ?? 0);
  if (timestamp.signed.version < least) throw rollback(where, timestamp.signed.version, least);
  if (known.timestamp !== undefined && timestamp.signed.version === known.timestamp.signed.version) {
    checkFresh(where, known.timestamp.signed.expires, time);
    return { same: true, timestamp: known.timestamp };
  }
  // 5.4.3.2: rollback of the snapshot it names.
  const leastSnapshot = Math.max(floor.snapshot, known.timestamp?.signed.snapshot.version ?? 0);
  if (timestamp.signed.snapshot.version < leastSnapshot) {
    throw rollback('snapshot.json as named by timestamp.json', timestamp.signed.snapshot.version, leastSnapshot);
  }
  // 5.4.4: freeze attack.
  checkFresh(where, timestamp.signed.expires, time);
  return { same: false, timestamp };
}

/** 5.5: the snapshot that the timestamp names. */
export function checkSnapshot(
  root: RootMetadata,
  timestamp: TimestampMetadata,
  bytes: Uint8Array,
  known: Known,
  time: number,
): SnapshotMetadata {
  const where = 'snapshot.json';
  const named = timestamp.signed.snapshot;
  // 5.5.2: the hashes and length in timestamp.
  checkBytes(where, bytes, named);
  const snapshot = readMetadata('snapshot', bytes, where);
  acceptSnapshot(root, timestamp, snapshot, known, time);
  return snapshot;
}

/** 5.5.2 to 5.5.6 for a snapshot that was read before: stored, or fetched just now. */
export function acceptSnapshot(
  root: RootMetadata,
  timestamp: TimestampMetadata,
  snapshot: SnapshotMetadata,
  known: Known,
  time: number,
): void {
  const where = 'snapshot.json';
  const named = timestamp.signed.snapshot;
  // 5.5.3: arbitrary software attack.
  checkSignatures(snapshot, root.signed.keys, root.signed.roles.snapshot, where);
  // 5.5.4: mix-and-match attack.
  if (snapshot.signed.version !== named.version) throw mixed(where, snapshot.signed.version, named.version, 'timestamp.json');
  if (named.sha256 !== undefined && named.sha256 !== snapshot.sha256) {
    throw fault('mix-and-match', `${where}: is not the file that timestamp.json names`, { where });
  }
  // 5.5.5: rollback of any targets file; none may vanish either.
  for (const [role, before] of known.snapshot?.signed.meta ?? []) {
    const now = snapshot.signed.meta.get(role);
    if (now === undefined) throw fault('rollback', `${where}: ${role}.json, listed before, is gone`, { where });
    if (now.version < before.version) throw rollback(`${role}.json as named by snapshot.json`, now.version, before.version);
  }
  // 5.5.6: freeze attack.
  checkFresh(where, snapshot.signed.expires, time);
}

/** Who may sign a role, by the metadata that delegates it. */
export interface Signers {
  readonly keys: Keys;
  readonly role: Role;
}

/** Signers of the top targets role. */
export function topSigners(root: RootMetadata): Signers {
  return { keys: root.signed.keys, role: root.signed.roles.targets };
}

/** Signers of a delegated role (4.5), or undefined when `delegations` does not name it. */
export function delegatedSigners(delegations: Delegations | undefined, name: string): Signers | undefined {
  if (delegations === undefined) return undefined;
  const role = delegations.bins === undefined ? delegations.roles.find((item) => item.name === name) : delegations.bins;
  if (role === undefined || (delegations.bins !== undefined && !isBin(delegations.bins, name))) return undefined;
  return { keys: delegations.keys, role };
}

/** 5.6: a targets file, top or delegated, as the snapshot names it. */
export function checkTargets(
  name: string,
  bytes: Uint8Array,
  snapshot: SnapshotMetadata,
  signers: Signers,
  time: number,
): TargetsMetadata {
  const where = `${name}.json`;
  const named = namedInSnapshot(snapshot, name);
  // 5.6.2: the hashes and length in snapshot.
  checkBytes(where, bytes, named);
  const targets = readMetadata('targets', bytes, where);
  acceptTargets(name, targets, snapshot, signers, time);
  return targets;
}

/** 5.6.3 to 5.6.5 for a file that was read before; also asked for every further role that delegates to it (S15). */
export function acceptTargets(
  name: string,
  targets: TargetsMetadata,
  snapshot: SnapshotMetadata,
  signers: Signers,
  time: number,
): void {
  const where = `${name}.json`;
  const named = namedInSnapshot(snapshot, name);
  // 5.6.3: arbitrary software attack.
  checkSignatures(targets, signers.keys, signers.role, where);
  // 5.6.4: mix-and-match attack.
  if (targets.signed.version !== named.version) throw mixed(where, targets.signed.version, named.version, 'snapshot.json');
  if (named.sha256 !== undefined && named.sha256 !== targets.sha256) {
    throw fault('mix-and-match', `${where}: is not the file that snapshot.json names`, { where });
  }
  // 5.6.5: freeze attack.
  checkFresh(where, targets.signed.expires, time);
}

export function namedInSnapshot(snapshot: SnapshotMetadata, name: string): MetaFile {
  const named = snapshot.signed.meta.get(name);
  if (named === undefined) throw fault('missing', `snapshot.json does not list ${name}.json`, { where: `${name}.json` });
  return named;
}

function checkFresh(where: string, expires: number, time: number): void {
  if (time >= expires) {
    throw fault('expired', `${where} expired at ${new Date(expires).toISOString().slice(0, 19)}Z`, { where });
  }
}

function checkBytes(where: string, bytes: Uint8Array, named: MetaFile): void {
  if (named.length !== undefined && bytes.length !== named.length) {
    throw fault('mix-and-match', `${where}: has ${bytes.length} bytes, ${named.length} were signed for`, { where });
  }
  if (named.sha256 !== undefined && hash('sha256', bytes) !== named.sha256) {
    throw fault('mix-and-match', `${where}: has another SHA-256 than was signed for`, { where });
  }
}

function rollback(where: string, got: number, least: number): Error {
  return fault('rollback', `${where}: version ${got} is older than ${least}`, { where });
}
function mixed(where: string, got: number, wanted: number, by: string): Error {
  return fault('mix-and-match', `${where}: has version ${got}, ${by} names ${wanted}`, { where });
}

/**
 * The signatures of stored files, once more, whatever the time: what comes back from disk is proven from the root as if it came
 * from the network. @throws trust.threshold, trust.mix-and-match
 */
export function checkSignaturesOf(files: {
  readonly root: RootMetadata;
  readonly timestamp?: TimestampMetadata;
  readonly snapshot?: SnapshotMetadata;
  readonly roles?: ReadonlyMap<string, TargetsMetadata>;
}): void {
  const { root, timestamp, snapshot, roles } = files;
  if (timestamp !== undefined)
    checkSignatures(timestamp, root.signed.keys, root.signed.roles.timestamp, 'stored timestamp.json');
  if (snapshot !== undefined) checkSignatures(snapshot, root.signed.keys, root.signed.roles.snapshot, 'stored snapshot.json');
  if (timestamp === undefined || snapshot === undefined || roles === undefined) return;
  acceptSnapshot(root, timestamp, snapshot, {}, Number.NEGATIVE_INFINITY);
  const top = roles.get('targets');
  if (top === undefined) throw fault('missing', 'stored targets.json is gone');
  const reached = new Set<string>(['targets']);
  acceptTargets('targets', top, snapshot, topSigners(root), Number.NEGATIVE_INFINITY);
  // A set iterates over what is added while it runs: every role is proven by each role that delegates to it.
  for (const by of reached) {
    const delegations = roles.get(by)?.signed.delegations;
    for (const name of delegatedNames(delegations, roles)) {
      const signers = delegatedSigners(delegations, name);
      const targets = roles.get(name);
      if (signers === undefined || targets === undefined) continue;
      acceptTargets(name, targets, snapshot, signers, Number.NEGATIVE_INFINITY);
      reached.add(name);
    }
  }
  if (reached.size !== roles.size) throw fault('delegation', 'a stored role is not delegated by any other');
}

/** Roles that `delegations` names and `listed` holds; for bins these are found from what is listed, not from all 2^n names. */
export function delegatedNames(delegations: Delegations | undefined, listed: ReadonlyMap<string, unknown>): string[] {
  if (delegations === undefined) return [];
  const { bins } = delegations;
  if (bins !== undefined) return [...listed.keys()].filter((name) => isBin(bins, name));
  return delegations.roles.map((role) => role.name).filter((name) => listed.has(name));
}
