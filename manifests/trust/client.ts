// The acting side of trust: fetches, asks verify/ about every byte, keeps what holds. One client per folder of state.
import { hash } from 'node:crypto';
import { isFault } from '#manifests/errors';
import { takeLock } from '#manifests/platform/lock';
import { fault } from './faults.ts';
import { type Freshness, freshnessOf, notedWithin } from './freshness.ts';
import { TRUST_LIMITS, type TrustLimits } from './limits.ts';
import { type Fetcher, fetchSigned, type RefreshOptions, runWorkflow } from './refresh.ts';
import { type Generation, loadState, saveFloor, saveState, stampOf, statePath, type TrustState } from './state.ts';
import { search } from './verify/search.ts';

export interface Versions {
  readonly root: number;
  readonly timestamp: number;
  readonly snapshot: number;
  readonly targets: number;
}
export interface TrustedTarget {
  readonly path: string;
  /** Bytes. */
  readonly length: number;
  readonly sha256: string;
  /** The role whose signature vouches for it. */
  readonly role: string;
}

export interface TrustOptions {
  /** Where the state lives; created when absent. */
  readonly folder: string;
  /** The root handed over by other means; needed the first time, kept in the folder from then on. */
  readonly pinnedRoot?: Uint8Array | undefined;
  /** The host's clock in ms; may be wrong. */
  now(): number;
  readonly limits?: Partial<TrustLimits> | undefined;
}

export interface TrustClient {
  /** The whole client workflow. Throws trust.* and lock.held; the last good state stays in force then. */
  refresh(fetcher: Fetcher, signal?: AbortSignal, options?: RefreshOptions): Promise<{ changed: boolean; versions: Versions }>;
  /** What the last verified state says about a path; undefined when no role that may name it does. */
  target(path: string): TrustedTarget | undefined;
  /** Every target that `target` would give. */
  targets(): TrustedTarget[];
  /** The bytes of a target, checked by length and hash. @throws trust.target-missing, trust.target-hash, trust.target-path */
  readTarget(path: string, fetcher: Fetcher, signal?: AbortSignal): Promise<Uint8Array>;
  /** Verified files by the names they have in a repository, all roots among them; for mirrors. */
  metadataFiles(): { name: string; bytes: Uint8Array }[];
  freshness(): Freshness;
  /** Raises the trusted-time floor to a moment (ms) that this host itself vouched for. */
  noteTime(moment: number): void;
  versions(): Versions | undefined;
  /** Newest verified files, complete set or not; for the conformance command line. */
  newest(): ReadonlyMap<string, Uint8Array>;
  /** Why the state was rebuilt when it was opened; undefined when it was whole. */
  readonly rebuilt: string | undefined;
}

/**
 * Opens the trust state in `folder`, verifying it again; damaged state is rebuilt from the pinned root.
 * @throws trust.no-root, trust.other-root
 */
export function openTrust(options: TrustOptions): TrustClient {
  const { folder } = options;
  const limits: TrustLimits = { ...TRUST_LIMITS, ...options.limits };
  let state = loadTwice(folder, options.pinnedRoot, limits);
  const { rebuilt } = state;
  if (state.stamp === '' || rebuilt !== undefined) {
    try {
      const lock = takeLock(statePath(folder, 'lock'), 'open trust state');
      try {
        state = saveState(folder, loadState(folder, options.pinnedRoot, limits));
      } finally {
        lock.release();
      }
    } catch (error) {
      if (!isFault(error, 'lock.held')) throw error; // the holder writes the state; what was read holds here
    }
  }
  let floorOnDisk = state.floor;

  const refresh: TrustClient['refresh'] = async (fetcher, signal, refreshOptions = {}) => {
    const lock = takeLock(statePath(folder, 'lock'), 'refresh trusted metadata');
    try {
      if (stampOf(folder) !== state.stamp) state = loadState(folder, options.pinnedRoot, limits); // another process moved it on
      const before = state;
      const save = (next: TrustState) => {
        state = saveState(folder, next);
        floorOnDisk = state.floor;
      };
      const after = await runWorkflow({ state, fetcher, limits, now: options.now(), signal, options: refreshOptions, save });
      const { generation } = after;
      if (generation === undefined) throw fault('not-refreshed', 'no complete set of metadata yet', { where: folder });
      return { changed: !sameSet(before.generation, generation), versions: versionsOf(generation) };
    } finally {
      lock.release();
    }
  };

  const generationOrThrow = (): Generation => {
    if (state.generation === undefined) throw fault('not-refreshed', 'nothing has been verified here yet', { where: folder });
    return state.generation;
  };
  const target = (path: string) => (state.generation === undefined ? undefined : find(state.generation, path, limits));

  return {
    refresh,
    target,
    rebuilt,
    targets: () => {
      const list: TrustedTarget[] = [];
      for (const [role, file] of state.generation?.roles ?? []) {
        for (const path of file.signed.targets.keys()) {
          const found = target(path);
          if (found?.role === role) list.push(found);
        }
      }
      return list;
    },
    readTarget: async (path, fetcher, signal) => {
      const generation = generationOrThrow();
      const found = find(generation, path, limits);
      if (found === undefined) throw fault('target-missing', `no role offers ${path}`, { where: path });
      return fetchTarget(found, generation.root.signed.consistentSnapshot, fetcher, limits, signal);
    },
    metadataFiles: () => filesOf(state),
    freshness: () => freshnessOf(state, options.now(), limits),
    noteTime: (moment) => {
      const noted = notedWithin(state, moment);
      if (noted <= state.floor.noted) return;
      state = { ...state, floor: { ...state.floor, noted } };
      if (noted - floorOnDisk.noted < limits.noteStepMs) return;
      try {
        const lock = takeLock(statePath(folder, 'lock'), 'note trusted time');
        try {
          saveFloor(folder, state.floor);
          floorOnDisk = state.floor;
        } finally {
          lock.release();
        }
      } catch (error) {
        if (!isFault(error, 'lock.held')) throw error; // kept in memory; the next refresh writes it
      }
    },
    versions: () => (state.generation === undefined ? undefined : versionsOf(state.generation)),
    newest: () => {
      const files = new Map<string, Uint8Array>();
      const root = state.roots.at(-1);
      if (root !== undefined) files.set('root', root.bytes);
      const timestamp = state.timestamp ?? state.generation?.timestamp;
      const snapshot = state.snapshot ?? state.generation?.snapshot;
      if (timestamp !== undefined) files.set('timestamp', timestamp.bytes);
      if (snapshot !== undefined) files.set('snapshot', snapshot.bytes);
      for (const [name, file] of state.generation?.roles ?? []) files.set(name, file.bytes);
      return files;
    },
  };
}

/** A writer may replace the generation between two reads of ours; then the second look sees the new one whole. */
function loadTwice(folder: string, pinnedRoot: Uint8Array | undefined, limits: TrustLimits): TrustState {
  const first = loadState(folder, pinnedRoot, limits);
  return first.rebuilt === undefined ? first : loadState(folder, pinnedRoot, limits);
}

function versionsOf({ root, timestamp, snapshot, roles }: Generation): Versions {
  return {
    root: root.signed.version,
    timestamp: timestamp.signed.version,
    snapshot: snapshot.signed.version,
    targets: roles.get('targets')?.signed.version ?? 0,
  };
}

function sameSet(a: Generation | undefined, b: Generation): boolean {
  return a?.root.sha256 === b.root.sha256 && a.timestamp.sha256 === b.timestamp.sha256 && a.roles.size === b.roles.size;
}

/** The search of 5.6.7 over what is loaded. A role on the way that is not here ends it: nobody less trusted may answer instead. */
function find(generation: Generation, path: string, limits: TrustLimits): TrustedTarget | undefined {
  const walk = search(path, limits.searchRoles);
  let step = walk.next();
  while (step.done !== true) {
    const targets = generation.roles.get(step.value.role);
    if (targets === undefined) return undefined;
    step = walk.next(targets.signed);
  }
  const end = step.value;
  return end.kind === 'found' ? { path, length: end.target.length, sha256: end.target.sha256, role: end.role } : undefined;
}

/** 5.7: fetched by its length, checked by length and hash. */
async function fetchTarget(
  target: TrustedTarget,
  consistent: boolean,
  fetcher: Fetcher,
  limits: TrustLimits,
  signal: AbortSignal | undefined,
): Promise<Uint8Array> {
  const parts = target.path.split('/');
  // A signed path is still only a path inside `targets/`.
  if (target.path.includes('\\') || parts.some((part) => part === '' || part === '.' || part === '..')) {
    throw fault('target-path', `${target.path} is not a plain path`, { where: target.path });
  }
  if (target.length > limits.targetBytes) {
    throw fault('endless-data', `${target.path}: ${target.length} bytes are more than ${limits.targetBytes}`, {
      where: target.path,
    });
  }
  const name = parts.pop() ?? '';
  const file = ['targets', ...parts, consistent ? `${target.sha256}.${name}` : name].join('/');
  const got = await fetchSigned(fetcher, file, target, signal);
  if (got.kind !== 'found') throw fault('target-missing', `the repository lacks ${file}`, { where: file });
  // 5.7.2: the hash and length the metadata states; anything else is other software than was signed for.
  if (got.bytes.length !== target.length || hash('sha256', got.bytes) !== target.sha256) {
    throw fault('target-hash', `${file} is not what was signed for`, { where: file });
  }
  return got.bytes;
}

function filesOf(state: TrustState): { name: string; bytes: Uint8Array }[] {
  const files = state.roots.map((root) => ({ name: `${root.signed.version}.root.json`, bytes: root.bytes }));
  const { generation } = state;
  if (generation === undefined) return files;
  const { consistentSnapshot } = generation.root.signed;
  const versioned = (version: number, name: string) => (consistentSnapshot ? `${version}.${name}` : name);
  for (const [role, file] of generation.roles) {
    files.push({ name: versioned(file.signed.version, `${encodeURIComponent(role)}.json`), bytes: file.bytes });
  }
  files.push({ name: versioned(generation.snapshot.signed.version, 'snapshot.json'), bytes: generation.snapshot.bytes });
  files.push({ name: 'timestamp.json', bytes: generation.timestamp.bytes });
  return files;
}
