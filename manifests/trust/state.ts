// What is trusted, on disk: content-addressed metadata files, one small state file that names them, and a redundant floor.
// Every write is temporary name, fsync, rename, fsync of the folder; a reader sees the old or the new generation, never half.
import { hash } from 'node:crypto';
import * as fs from 'node:fs';
import { join } from 'node:path';
import { isFault } from '#manifests/errors';
import { readFileBounded, removeTemporaries, syncFolder, temporaryNameFor, writeFileAtomic } from '#manifests/platform/files';
import { fault } from './faults.ts';
import type { TrustLimits } from './limits.ts';
import { salvage } from './salvage.ts';
import { readMetadata } from './verify/metadata.ts';
import {
  checkSignaturesOf,
  nextRoot,
  type RootMetadata,
  type SnapshotMetadata,
  type TargetsMetadata,
  type TimestampMetadata,
  trustedRoot,
} from './verify/workflow.ts';

/** Lower bounds that survive the loss of the files themselves. Bound to the keys of timestamp and snapshot (5.3.11). */
export interface Floor {
  /** `freshnessKeysOf` the root under which these were seen. */
  readonly keys: string;
  readonly timestamp: number;
  readonly snapshot: number;
  /** Newest moment a signature vouches for, ms. */
  readonly signed: number;
  /** Newest moment of own results, ms; never past the expiry of the timestamp in force. */
  readonly noted: number;
}
export const NO_FLOOR: Floor = { keys: '', timestamp: 0, snapshot: 0, signed: 0, noted: 0 };

/** One complete, verified set of files that belong together. */
export interface Generation {
  /** The root under which the set was verified. */
  readonly root: RootMetadata;
  readonly timestamp: TimestampMetadata;
  readonly snapshot: SnapshotMetadata;
  /** By role name, `targets` among them. */
  readonly roles: ReadonlyMap<string, TargetsMetadata>;
}

export interface TrustState {
  /** From the pinned root to the newest, without a gap. */
  readonly roots: readonly RootMetadata[];
  /** Newest files verified, a set or not; what rollback is measured against. */
  readonly timestamp: TimestampMetadata | undefined;
  readonly snapshot: SnapshotMetadata | undefined;
  readonly generation: Generation | undefined;
  /** ETag under which the generation's timestamp was served. */
  readonly etag: string | undefined;
  readonly floor: Floor;
  /** Why the state had to be rebuilt on this start, if it had. */
  readonly rebuilt: string | undefined;
  /** SHA-256 of the state file this was read from or written to. */
  readonly stamp: string;
}

interface StateFile {
  readonly schema: 'patchferry/trust-state';
  readonly schemaVersion: 1;
  readonly roots: readonly string[];
  readonly timestamp: string | null;
  readonly snapshot: string | null;
  readonly generation: { rootVersion: number; timestamp: string; snapshot: string; roles: [string, string][] } | null;
  readonly etag: string | null;
  readonly floor: Floor;
}

const STATE_FILE = 'state.json';
const FLOOR_FILE = 'floor.json';
const PINNED_FILE = 'pinned.root.json';
const FILES = 'files';
const STATE_BYTES = 16 * 1024 * 1024;
const FLOOR_BYTES = 512 * 1024;
/** Files looked at when a damaged state is rebuilt. */
const SALVAGE_FILES = 40_000;

/** Small files carry the SHA-256 of their content, so that a torn or zeroed one is told from a whole one. */
function withSum(value: object): string {
  const text = JSON.stringify(value);
  return `{"sum":"${hash('sha256', text)}","content":${text}}\n`;
}
function fromSum(bytes: Uint8Array | undefined): unknown {
  const text = bytes === undefined ? '' : Buffer.from(bytes).toString('utf8');
  const content = text.slice(84, -2);
  if (text.slice(0, 8) !== '{"sum":"' || hash('sha256', content) !== text.slice(8, 72)) return undefined;
  return JSON.parse(content);
}

/** Moment and versions of `floor` or above: both copies are read, the higher one counts. */
export function higherFloor(a: Floor, b: Floor): Floor {
  if (a.keys !== b.keys) return a.keys === '' ? b : a;
  return {
    keys: a.keys,
    timestamp: Math.max(a.timestamp, b.timestamp),
    snapshot: Math.max(a.snapshot, b.snapshot),
    signed: Math.max(a.signed, b.signed),
    noted: Math.max(a.noted, b.noted),
  };
}

export function statePath(folder: string, name: 'lock'): string {
  return join(folder, name);
}

/** SHA-256 of the state file as it stands; `''` when there is none. */
export function stampOf(folder: string): string {
  const bytes = readIfSane(join(folder, STATE_FILE));
  return bytes === undefined ? '' : hash('sha256', bytes);
}

/** A file of ours that has grown beyond all reason is damaged like any other: empty, not an error. */
function readIfSane(path: string): Uint8Array | undefined {
  try {
    return readFileBounded(path, STATE_BYTES);
  } catch (error) {
    if (isFault(error, 'files.too-large')) return new Uint8Array(0);
    throw error;
  }
}

/**
 * Reads the state and verifies it again from the pinned root; what is damaged is rebuilt from what verifies.
 * @throws trust.no-root when no root is known, trust.other-root when `pinnedRoot` contradicts the folder
 */
export function loadState(folder: string, pinnedRoot: Uint8Array | undefined, limits: TrustLimits): TrustState {
  const stateBytes = readIfSane(join(folder, STATE_FILE));
  const floorFile = readFloor(folder);
  const file = parseStateFile(stateBytes);
  const pinned = findPinned(folder, pinnedRoot, file, limits);
  const stamp = stateBytes === undefined ? '' : hash('sha256', stateBytes);
  let state: TrustState | undefined;
  let rebuilt: string | undefined;
  if (file !== undefined) {
    try {
      state = { ...restore(folder, file, pinned, limits), stamp };
    } catch (error) {
      rebuilt = `a stored file is damaged: ${(error as Error).message}`;
    }
  } else if (stateBytes !== undefined) rebuilt = `${STATE_FILE} is damaged`;
  else if (floorFile !== undefined || fs.existsSync(join(folder, PINNED_FILE))) rebuilt = `${STATE_FILE} is gone`;
  if (state === undefined)
    state = { ...salvage(pinned, storedFiles(folder, limits)), etag: undefined, floor: NO_FLOOR, stamp, rebuilt };
  const floor = [floorFile, file?.floor].reduce<Floor>(
    (sum, next) => (next === undefined ? sum : higherFloor(sum, next)),
    state.floor,
  );
  refuseOtherRoot(pinnedRoot, state.roots);
  return { ...state, floor };
}

/** The root everything starts from: the folder's own copy, else the one in the state file, else the one handed over. */
function findPinned(
  folder: string,
  given: Uint8Array | undefined,
  file: StateFile | undefined,
  limits: TrustLimits,
): RootMetadata {
  const candidates = [
    () => readFileBounded(join(folder, PINNED_FILE), limits.rootBytes),
    () => (file?.roots[0] === undefined ? undefined : readStored(folder, file.roots[0], limits.rootBytes)),
  ];
  for (const candidate of candidates) {
    try {
      const bytes = candidate();
      if (bytes !== undefined) return trustedRoot(bytes);
    } catch {
      // damaged: the next copy is tried
    }
  }
  if (given === undefined) throw fault('no-root', `${folder} holds no usable root`, { where: folder });
  return trustedRoot(given);
}

/** A root handed over that contradicts the chain known here is another repository's. */
function refuseOtherRoot(given: Uint8Array | undefined, roots: readonly RootMetadata[]): void {
  if (given === undefined) return;
  const root = trustedRoot(given);
  const known = roots.find((item) => item.signed.version === root.signed.version);
  if (known !== undefined && known.sha256 !== root.sha256 && !Buffer.from(known.canonical).equals(root.canonical)) {
    throw fault('other-root', `another root ${root.signed.version} is trusted here than the one handed over`);
  }
}

function readFloor(folder: string): Floor | undefined {
  try {
    const value = fromSum(readFileBounded(join(folder, FLOOR_FILE), FLOOR_BYTES)) as Floor | undefined;
    return value !== undefined && typeof value.keys === 'string' ? { ...NO_FLOOR, ...value } : undefined;
  } catch {
    return undefined;
  }
}

function parseStateFile(bytes: Uint8Array | undefined): StateFile | undefined {
  try {
    const value = fromSum(bytes) as StateFile | undefined;
    return value?.schema === 'patchferry/trust-state' && value.schemaVersion === 1 ? value : undefined;
  } catch {
    return undefined;
  }
}

function storedPath(folder: string, sha256: string): string {
  return join(folder, FILES, `${sha256}.json`);
}

function readStored(folder: string, sha256: string, limit: number): Uint8Array {
  const bytes = /^[0-9a-f]{64}$/.test(sha256) ? readFileBounded(storedPath(folder, sha256), limit) : undefined;
  if (bytes === undefined) throw fault('missing', `${sha256}.json is gone`);
  if (hash('sha256', bytes) !== sha256) throw fault('malformed', `${sha256}.json is torn`);
  return bytes;
}

/** Every stored file that is whole, by its SHA-256; for rebuilding. */
function* storedFiles(folder: string, limits: TrustLimits): Generator<[sha256: string, bytes: Uint8Array]> {
  const names = fs.existsSync(join(folder, FILES)) ? fs.readdirSync(join(folder, FILES)).slice(0, SALVAGE_FILES) : [];
  for (const name of names) {
    const sha256 = name.slice(0, 64);
    try {
      yield [sha256, readStored(folder, sha256, limits.targetsBytes)];
    } catch {
      // torn
    }
  }
}

function restore(folder: string, file: StateFile, pinned: RootMetadata, limits: TrustLimits): TrustState {
  const roots: RootMetadata[] = [pinned];
  for (const sha256 of file.roots.slice(1)) {
    roots.push(nextRoot(roots.at(-1) as RootMetadata, readStored(folder, sha256, limits.rootBytes)));
  }
  const timestamp = (sha256: string) =>
    readMetadata('timestamp', readStored(folder, sha256, limits.timestampBytes), 'stored timestamp');
  const snapshot = (sha256: string) =>
    readMetadata('snapshot', readStored(folder, sha256, limits.snapshotBytes), 'stored snapshot');
  let generation: Generation | undefined;
  if (file.generation !== null) {
    const wanted = file.generation;
    const root = roots.find((item) => item.signed.version === wanted.rootVersion);
    if (root === undefined) throw fault('missing', `root ${wanted.rootVersion} is gone`);
    const roles = new Map<string, TargetsMetadata>();
    for (const [name, sha256] of wanted.roles) {
      roles.set(name, readMetadata('targets', readStored(folder, sha256, limits.targetsBytes), `stored ${name}`));
    }
    generation = { root, timestamp: timestamp(wanted.timestamp), snapshot: snapshot(wanted.snapshot), roles };
    checkSignaturesOf(generation);
  }
  // The newest files are nearly always the generation's own: read once.
  const same =
    generation !== undefined && file.timestamp === generation.timestamp.sha256 && file.snapshot === generation.snapshot.sha256;
  return {
    roots,
    timestamp: same ? generation?.timestamp : file.timestamp === null ? undefined : timestamp(file.timestamp),
    snapshot: same ? generation?.snapshot : file.snapshot === null ? undefined : snapshot(file.snapshot),
    generation,
    etag: file.etag ?? undefined,
    floor: file.floor,
    rebuilt: undefined,
    stamp: '',
  };
}

/**
 * Makes `state` the one on disk: new files, then the floor, then the state file, then what nothing names any more is removed.
 * The caller holds the lock. @returns the state with its new stamp
 */
export function saveState(folder: string, state: TrustState): TrustState {
  fs.mkdirSync(join(folder, FILES), { recursive: true });
  const named = new Set<string>();
  const added: [string, Uint8Array][] = [];
  const keep = (item: { sha256: string; bytes: Uint8Array }) => {
    if (named.has(item.sha256)) return item.sha256;
    named.add(item.sha256);
    const path = storedPath(folder, item.sha256);
    if (!holdsAlready(path, item.bytes)) added.push([path, item.bytes]);
    return item.sha256;
  };
  const [pinned] = state.roots;
  if (pinned !== undefined) {
    const there = readIfSane(join(folder, PINNED_FILE));
    if (there === undefined || !Buffer.from(there).equals(pinned.bytes))
      writeFileAtomic(join(folder, PINNED_FILE), pinned.bytes);
  }
  const { generation } = state;
  const content: StateFile = {
    schema: 'patchferry/trust-state',
    schemaVersion: 1,
    roots: state.roots.map(keep),
    timestamp: state.timestamp === undefined ? null : keep(state.timestamp),
    snapshot: state.snapshot === undefined ? null : keep(state.snapshot),
    generation:
      generation === undefined
        ? null
        : {
            rootVersion: generation.root.signed.version,
            timestamp: keep(generation.timestamp),
            snapshot: keep(generation.snapshot),
            roles: [...generation.roles].map(([name, item]) => [name, keep(item)]),
          },
    etag: state.etag ?? null,
    floor: state.floor,
  };
  writeNew(join(folder, FILES), added);
  saveFloor(folder, state.floor);
  const text = withSum(content);
  writeFileAtomic(join(folder, STATE_FILE), text);
  prune(folder, named);
  return { ...state, rebuilt: undefined, stamp: hash('sha256', text) };
}

/** Whether `path` is there with these very bytes: a torn file of the right name is written anew. */
function holdsAlready(path: string, bytes: Uint8Array): boolean {
  if (fs.statSync(path, { throwIfNoEntry: false })?.size !== bytes.length) return false;
  const there = readFileBounded(path, bytes.length);
  return there !== undefined && Buffer.compare(there, bytes) === 0;
}

/** As `writeFileAtomic` for many new files of one folder, which is flushed once, after the last: nothing names them before. */
function writeNew(folder: string, files: readonly [string, Uint8Array][]): void {
  for (const [path, bytes] of files) {
    const temporary = temporaryNameFor(path);
    try {
      const handle = fs.openSync(temporary, 'wx', 0o644);
      try {
        fs.writeFileSync(handle, bytes);
        fs.fsyncSync(handle);
      } finally {
        fs.closeSync(handle);
      }
      fs.renameSync(temporary, path);
    } catch (cause) {
      fs.rmSync(temporary, { force: true });
      throw fault('state', `cannot write ${path}: ${(cause as Error).message}`, { where: path, cause });
    }
  }
  if (files.length > 0) syncFolder(folder);
}

/** The redundant copy of the floor alone; small, so that own results can raise it often. */
export function saveFloor(folder: string, floor: Floor): void {
  writeFileAtomic(join(folder, FLOOR_FILE), withSum(floor));
}

/** Removes files nothing names and left-overs of interrupted writes. */
function prune(folder: string, named: ReadonlySet<string>): void {
  removeTemporaries(folder);
  for (const name of fs.readdirSync(join(folder, FILES))) {
    if (!named.has(name.slice(0, 64))) fs.rmSync(join(folder, FILES, name), { force: true });
  }
}
