// One refresh: the order of fetching and keeping around the pure checks of verify/workflow.ts (TUF specification 1.0.31, section 5).
import { fault } from './faults.ts';
import { trustedTimeOf } from './freshness.ts';
import type { TrustLimits } from './limits.ts';
import { type Generation, higherFloor, NO_FLOOR, type TrustState } from './state.ts';
import type { MetaFile } from './verify/forms.ts';
import { search } from './verify/search.ts';
import {
  acceptSnapshot,
  acceptTargets,
  checkRootFresh,
  checkSnapshot,
  checkTargets,
  checkTimestamp,
  delegatedNames,
  delegatedSigners,
  freshnessKeysOf,
  type Known,
  keysTakenAway,
  namedInSnapshot,
  nextRoot,
  type RootMetadata,
  type Signers,
  type SnapshotMetadata,
  stillSigned,
  type TargetsMetadata,
  type TimestampMetadata,
  topSigners,
} from './verify/workflow.ts';

/** Where bytes come from; `path` is relative to the repository, as in `metadata/timestamp.json`. */
export interface Fetcher {
  fetchSmall(
    path: string,
    options: { limitBytes: number; etag?: string | undefined; signal?: AbortSignal | undefined },
  ): Promise<Fetched>;
  /** The same of a file whose hash and length are signed, where it can be taken up after a cut. */
  fetchKnown?(
    path: string,
    want: { sha256: string; size: number },
    options?: { signal?: AbortSignal | undefined },
  ): Promise<Fetched>;
}

type Fetched = { kind: 'found'; bytes: Uint8Array; etag: string | undefined } | { kind: 'unchanged' } | { kind: 'missing' };

/** A file by its signed hash and length, in the way that the fetcher has for it. What comes is not checked here. */
export function fetchSigned(
  fetcher: Fetcher,
  path: string,
  { length, sha256 }: { length: number; sha256: string },
  signal: AbortSignal | undefined,
): Promise<Fetched> {
  if (fetcher.fetchKnown === undefined) return fetcher.fetchSmall(path, { limitBytes: length, signal });
  return fetcher.fetchKnown(path, { sha256, size: length }, { signal });
}

export interface RefreshOptions {
  /** Ask for a new root even when the timestamp did not change, as the specification orders it; one more request. */
  readonly alwaysAskForRoot?: boolean;
  /** Load only the roles on the way to these paths (5.6.7) instead of every delegated role; for repositories with many bins. */
  readonly onlyFor?: readonly string[];
}

export interface Workflow {
  readonly state: TrustState;
  readonly fetcher: Fetcher;
  readonly limits: TrustLimits;
  /** Wall clock at the start, ms (5.1: the time is fixed for the whole update). */
  readonly now: number;
  readonly signal: AbortSignal | undefined;
  readonly options: RefreshOptions;
  /** Makes a state the one on disk. */
  save(state: TrustState): void;
}

/** Runs the client workflow to its end and gives the new state, saved. On an error what was proven so far is saved too. */
export async function runWorkflow(work: Workflow): Promise<TrustState> {
  // The specification asks for the root first; asking for the timestamp first lets "nothing new" cost one request. The
  // bytes are believed only after the root update in either order.
  const early = work.options.alwaysAskForRoot === true ? undefined : await fetchTimestamp(work);
  if (early === 'unchanged') return work.state;

  // 5.3: update the root, one version after the other.
  let state = await updateRoots(work);
  const root = state.roots.at(-1) as RootMetadata;
  // 5.3.11: when keys of timestamp or snapshot were taken away and the stored files do not hold without them, both files and
  // their floors are forgotten (fast-forward recovery).
  const keys = freshnessKeysOf(root);
  const holding = [stillSigned(root, state.timestamp), stillSigned(root, state.snapshot)];
  const lost =
    state.timestamp === undefined || holding[0] === undefined || (state.snapshot !== undefined && holding[1] === undefined);
  const rotated = lost && keysTakenAway(state.floor.keys, keys);
  state = rotated
    ? { ...state, timestamp: undefined, snapshot: undefined, floor: { ...NO_FLOOR, keys } }
    : { ...state, floor: { ...state.floor, keys } };
  let time = trustedTimeOf(state, work.now);
  checkRootFresh(root, time);
  const timestampBytes = early ?? (await fetchTimestamp(work));
  if (timestampBytes === 'unchanged') return state; // not asked conditionally, so never answered so

  const known: Known = { timestamp: stillSigned(root, state.timestamp), snapshot: stillSigned(root, state.snapshot) };
  try {
    // 5.4: timestamp.
    const { timestamp } = checkTimestamp(root, timestampBytes.bytes, known, state.floor, time);
    state = {
      ...state,
      timestamp,
      floor: raise(state, { timestamp: timestamp.signed.version, signed: timestamp.signed.signedAt }),
    };
    time = trustedTimeOf(state, work.now);
    // 5.5: snapshot.
    const snapshot = await updateSnapshot(work, root, timestamp, known, time);
    state = {
      ...state,
      snapshot,
      floor: raise(state, { snapshot: snapshot.signed.version, signed: snapshot.signed.signedAt }),
    };
    // 5.6: targets, and the roles they delegate to.
    const roles = await updateRoles({ ...work, state }, root, snapshot, time);
    const generation: Generation = { root, timestamp, snapshot, roles };
    state = { ...state, generation, etag: work.options.onlyFor === undefined ? timestampBytes.etag : undefined };
  } catch (error) {
    // What was proven stays a lower bound for the next time; the last complete set stays in force.
    if (differs(work.state, state)) work.save(state);
    throw error;
  }
  if (differs(work.state, state)) work.save(state);
  return state;
}

function raise(
  state: TrustState,
  seen: { timestamp?: number; snapshot?: number; signed: number | undefined },
): TrustState['floor'] {
  return higherFloor(state.floor, {
    ...NO_FLOOR,
    keys: state.floor.keys,
    timestamp: seen.timestamp ?? 0,
    snapshot: seen.snapshot ?? 0,
    signed: seen.signed ?? 0,
  });
}

function differs(a: TrustState, b: TrustState): boolean {
  return (
    a.roots.length !== b.roots.length ||
    a.timestamp !== b.timestamp ||
    a.snapshot !== b.snapshot ||
    a.etag !== b.etag ||
    a.generation?.timestamp !== b.generation?.timestamp ||
    a.generation?.root !== b.generation?.root ||
    a.generation?.roles.size !== b.generation?.roles.size ||
    JSON.stringify(a.floor) !== JSON.stringify(b.floor)
  );
}

/** Asked first and conditionally, so that "nothing new" costs one request. The bytes are believed only after the root update. */
async function fetchTimestamp(work: Workflow): Promise<{ bytes: Uint8Array; etag: string | undefined } | 'unchanged'> {
  const { state, limits } = work;
  const complete =
    state.generation !== undefined &&
    state.generation.root === state.roots.at(-1) &&
    state.generation.timestamp === state.timestamp;
  const fresh = complete && earliestExpiry(state.generation) > trustedTimeOf(state, work.now);
  const etag =
    complete && fresh && work.options.alwaysAskForRoot !== true && work.options.onlyFor === undefined ? state.etag : undefined;
  const got = await fetchBounded(work, 'metadata/timestamp.json', limits.timestampBytes, etag);
  if (got === 'unchanged') {
    if (etag !== undefined) return 'unchanged';
    throw fault('missing', 'timestamp.json: the server says "unchanged" to a request without condition');
  }
  if (got === 'missing') throw fault('missing', 'the repository has no timestamp.json', { where: 'metadata/timestamp.json' });
  return got;
}

function earliestExpiry(generation: Generation): number {
  const { root, timestamp, snapshot, roles } = generation;
  return [root, timestamp, snapshot, ...roles.values()].reduce(
    (least, file) => Math.min(least, file.signed.expires),
    Number.POSITIVE_INFINITY,
  );
}

async function fetchBounded(
  { fetcher, signal }: Workflow,
  path: string,
  limitBytes: number,
  etag?: string,
  named?: { length: number; sha256: string },
) {
  const got =
    named === undefined
      ? await fetcher.fetchSmall(path, { limitBytes, etag, signal })
      : await fetchSigned(fetcher, path, named, signal);
  if (got.kind !== 'found') return got.kind;
  // 5.3.3, 5.4.1, 5.5.1, 5.6.1: endless-data attack. The fetcher stops at the limit; this holds even if one does not.
  if (got.bytes.length > limitBytes) throw fault('endless-data', `${path}: more than ${limitBytes} bytes`, { where: path });
  return got;
}

/** 5.3.2 to 5.3.9. Each proven root is kept, also when a later one is refused. */
async function updateRoots(work: Workflow): Promise<TrustState> {
  let { state } = work;
  const { limits } = work;
  const roots = [...state.roots];
  try {
    for (let added = 0; ; added++) {
      const current = roots.at(-1) as RootMetadata;
      const name = `${current.signed.version + 1}.root.json`;
      const got = await fetchBounded(work, `metadata/${name}`, limits.rootBytes);
      if (typeof got === 'string') break; // 5.3.3: not available, so the current one is the newest
      if (added >= limits.rootRotations) {
        throw fault('root-chain', `more than ${limits.rootRotations} new roots at once`, { where: name });
      }
      roots.push(nextRoot(current, got.bytes));
    }
  } finally {
    if (roots.length > state.roots.length) {
      state = { ...state, roots };
      work.save(state); // 5.3.8
    }
  }
  return state;
}

async function updateSnapshot(
  work: Workflow,
  root: RootMetadata,
  timestamp: TimestampMetadata,
  known: Known,
  time: number,
): Promise<SnapshotMetadata> {
  const named = timestamp.signed.snapshot;
  if (known.snapshot !== undefined && isNamed(known.snapshot, named)) {
    acceptSnapshot(root, timestamp, known.snapshot, known, time);
    return known.snapshot;
  }
  const bytes = await fetchNamed(work, root, 'snapshot', named, work.limits.snapshotBytes);
  return checkSnapshot(root, timestamp, bytes, known, time);
}

function isNamed(file: SnapshotMetadata | TargetsMetadata, named: MetaFile): boolean {
  return file.signed.version === named.version && (named.sha256 === undefined || named.sha256 === file.sha256);
}

/** 5.5.1, 5.6.1: at most the signed length, else our limit; versioned names in consistent snapshots (6.1). */
async function fetchNamed(
  work: Workflow,
  root: RootMetadata,
  role: string,
  named: MetaFile,
  limit: number,
): Promise<Uint8Array> {
  if (named.length !== undefined && named.length > limit) {
    throw fault('endless-data', `${role}.json: ${named.length} bytes are more than ${limit}`, { where: `${role}.json` });
  }
  const file = `${encodeURIComponent(role)}.json`;
  const path = `metadata/${root.signed.consistentSnapshot ? `${named.version}.` : ''}${file}`;
  const { length, sha256 } = named;
  const known = length !== undefined && sha256 !== undefined;
  const got = await fetchBounded(work, path, length ?? limit, undefined, known ? { length, sha256 } : undefined);
  if (typeof got === 'string') throw fault('missing', `the repository lacks ${path}`, { where: path });
  return got.bytes;
}

/** 5.6: the top targets file, then, level by level, every delegated role that the snapshot lists (or those on the way to a path). */
async function updateRoles(
  work: Workflow,
  root: RootMetadata,
  snapshot: SnapshotMetadata,
  time: number,
): Promise<Map<string, TargetsMetadata>> {
  const { limits, state } = work;
  const roles = new Map<string, TargetsMetadata>();
  const load = async (name: string, signers: Signers) => {
    const loaded = roles.get(name);
    // S15: a role that two others delegate must satisfy the keys of both.
    if (loaded !== undefined) return acceptTargets(name, loaded, snapshot, signers, time);
    if (roles.size >= limits.loadedRoles)
      throw fault('delegation', `more than ${limits.loadedRoles} delegated roles`, { where: name });
    const named = namedInSnapshot(snapshot, name);
    const stored = state.generation?.roles.get(name);
    if (stored !== undefined && isNamed(stored, named)) {
      acceptTargets(name, stored, snapshot, signers, time);
      roles.set(name, stored);
      return;
    }
    const bytes = await fetchNamed(work, root, name, named, limits.targetsBytes);
    roles.set(name, checkTargets(name, bytes, snapshot, signers, time));
  };
  await load('targets', topSigners(root));
  if (work.options.onlyFor !== undefined) {
    for (const path of work.options.onlyFor) await loadTowards(path, roles, load, limits);
    return roles;
  }
  let level = ['targets'];
  for (let depth = 0; level.length > 0; depth++) {
    const edges: { name: string; signers: Signers }[] = [];
    const next = new Set<string>();
    for (const by of level) {
      const delegations = roles.get(by)?.signed.delegations;
      for (const name of delegatedNames(delegations, snapshot.signed.meta)) {
        const signers = delegatedSigners(delegations, name);
        if (signers === undefined) continue;
        if (!roles.has(name)) next.add(name);
        edges.push({ name, signers });
      }
    }
    if (edges.length > 0 && depth >= limits.delegationDepth) {
      throw fault('delegation', `delegations go deeper than ${limits.delegationDepth} levels`);
    }
    await loadAll(edges, load, limits.parallelFetches);
    level = [...next];
  }
  return roles;
}

/** A few at a time; roles named by several delegators are loaded once, then held against each. */
async function loadAll(
  edges: readonly { name: string; signers: Signers }[],
  load: (name: string, signers: Signers) => Promise<void>,
  parallel: number,
): Promise<void> {
  const first = new Map(edges.map((edge) => [edge.name, edge]));
  const queue = [...first.values()];
  const worker = async () => {
    for (let edge = queue.shift(); edge !== undefined; edge = queue.shift()) await load(edge.name, edge.signers);
  };
  await Promise.all(Array.from({ length: Math.min(parallel, queue.length) }, worker));
  for (const edge of edges) if (first.get(edge.name) !== edge) await load(edge.name, edge.signers);
}

async function loadTowards(
  path: string,
  roles: ReadonlyMap<string, TargetsMetadata>,
  load: (name: string, signers: Signers) => Promise<void>,
  limits: TrustLimits,
): Promise<void> {
  const walk = search(path, limits.searchRoles);
  for (let step = walk.next(); step.done !== true; ) {
    const { role, by } = step.value;
    if (role !== 'targets') {
      const signers = delegatedSigners(roles.get(by)?.signed.delegations, role);
      if (signers === undefined) throw fault('delegation', `${by} does not delegate ${role}`, { where: role });
      await load(role, signers);
    }
    const targets = roles.get(role);
    if (targets === undefined) throw fault('missing', `${role}.json was not loaded`, { where: role });
    step = walk.next(targets.signed);
  }
}
