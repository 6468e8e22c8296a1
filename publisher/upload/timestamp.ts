// The last step of an upload: `timestamp.json` is replaced only where nothing newer has come meanwhile, so that of two publishers who
// upload at the same time the older never takes the newer one's place. By a conditional write where the store honours one; where it
// does not, by comparing just before and looking again just after.
import { fault, UPLOAD_LIMITS } from './faults.ts';
import type { S3Body, S3Store } from './s3.ts';

/** Whether the store refuses a write whose condition does not hold, or writes all the same. */
export type Conditions = 'honoured' | 'ignored';

export interface TimestampFile {
  readonly path: string;
  readonly bytes: Uint8Array;
  readonly version: number;
  readonly body: S3Body;
  readonly headers: Readonly<Record<string, string>>;
}

/** A file that is there and never changes, to try on it whether conditions are honoured: at worst it is written as it was. */
export interface Unchanging {
  readonly path: string;
  readonly body: S3Body;
  readonly headers: Readonly<Record<string, string>>;
}

const IMPOSSIBLE = '"00000000000000000000000000000000"';
const WRITTEN = [200, 201];
/** What stores say when a condition does not hold, or another write of the same object is under way. */
const CHANGED = [409, 412];
/** A condition that a store does not know. */
const UNKNOWN = [400, 501];

/** @throws upload.older, upload.raced, upload.refused, upload.unreachable */
export async function replaceTimestamp(
  store: S3Store,
  ours: TimestampFile,
  unchanging: Unchanging,
  versionOf: (bytes: Uint8Array) => number | null,
): Promise<Conditions> {
  let conditions: Conditions | undefined;
  for (let tries = 0; tries < UPLOAD_LIMITS.races; tries += 1) {
    const there = await store.read(ours.path);
    if (there !== undefined && Buffer.from(there.bytes).equals(ours.bytes)) return conditions ?? 'ignored';
    const version = there === undefined ? null : versionOf(there.bytes);
    if (version !== null && version >= ours.version)
      throw fault('older', `timestamp ${version} is there already, here is ${ours.version}; it was not touched`);
    const condition: Record<string, string> =
      there === undefined ? { 'if-none-match': '*' } : there.etag === undefined ? {} : { 'if-match': there.etag };
    conditions = await tried(store, unchanging, there === undefined);
    const asked = conditions === 'honoured' ? condition : {};
    const status = await store.putWhere(ours.path, ours.body, { ...ours.headers, ...asked }, [...WRITTEN, ...CHANGED]);
    if (!WRITTEN.includes(status)) continue; // somebody was faster: what is there now is looked at
    if (conditions === 'honoured') return conditions;
    const after = await store.read(ours.path);
    const last = after === undefined ? null : versionOf(after.bytes);
    if (last !== null && last >= ours.version) return conditions;
  }
  throw fault('raced', `others replaced ${ours.path} ${UPLOAD_LIMITS.races} times in between`);
}

/** Tries a condition that cannot hold. */
async function tried(store: S3Store, { path, body, headers }: Unchanging, first: boolean): Promise<Conditions> {
  const condition = first ? { 'if-none-match': '*' } : { 'if-match': IMPOSSIBLE };
  const status = await store.putWhere(path, body, { ...headers, ...condition }, [...WRITTEN, ...CHANGED, ...UNKNOWN]);
  return CHANGED.includes(status) ? 'honoured' : 'ignored';
}
