// Everything a relay holds, file by file in a fixed order, each with the hash that it must have: the signed files of all
// generations that are kept, the newest first, then the payloads. What looks again at all of it walks along this.
import * as fs from 'node:fs';
import { join } from 'node:path';
import { readFileBounded } from '#manifests/platform/files';
import { hashInPath, metadataPath, openPayloadStore } from '#manifests/repository';
import { sha256Of } from '#manifests/schema';
import { openTrust } from '#manifests/trust';
import { type Generation, generationNumbers, type MirrorLayout, readRecord, signedPathsOf } from './generations.ts';

export interface HeldFile {
  /** Its place in the order; compared as text. */
  readonly key: string;
  /** In the repository; of an older generation with its number in front. */
  readonly path: string;
  /** Where it lies. */
  readonly file: string;
  readonly kind: 'metadata' | 'document' | 'payload';
  /** What it must have; undefined when nothing that is here says so. */
  readonly sha256: string | undefined;
  /** The generation it belongs to when that is not the one that is served. */
  readonly older: number | undefined;
}

const METADATA_BYTES = 64 * 1024 * 1024;
/** Payloads come behind every signed file. */
const PAYLOADS = 'p/';

/**
 * Walks along what is held. A payload that came during the walk and lies before `after` is not met: it was checked when it came.
 * @param generation the one that is served @param after the key of the file that was looked at last @throws trust.*
 */
export function* heldFiles(
  layout: MirrorLayout,
  generation: Generation,
  trust: { folder: string; now: () => number },
  after = '',
): Generator<HeldFile> {
  if (after < PAYLOADS) {
    const signed = signedFiles(layout, generation, trust).toSorted((a, b) => (a.key < b.key ? -1 : 1));
    for (const each of signed) if (each.key > after) yield each;
  }
  const store = openPayloadStore(layout.payloads);
  for (const { sha256 } of store.list(after.startsWith(PAYLOADS) ? after.slice(PAYLOADS.length) : '')) {
    const file = store.pathOf(sha256);
    const path = file.slice(layout.root.length + 1).replaceAll('\\', '/');
    yield { key: PAYLOADS + sha256, path, file, kind: 'payload', sha256, older: undefined };
  }
}

function signedFiles(
  layout: MirrorLayout,
  current: Generation,
  { folder: trustFolder, now }: { folder: string; now: () => number },
): HeldFile[] {
  const trust = openTrust({ folder: trustFolder, now });
  const hashes = new Map(trust.metadataFiles().map(({ name, bytes }) => [name, sha256Of(bytes)]));
  // A sync may have got further than what is served; then what a generation says itself comes first, and the timestamp of the
  // trusted state is another one.
  const inStep = trust.versions()?.timestamp === current.versions.timestamp;
  const numbers = generationNumbers(layout).filter((number) => number <= current.number);
  const found: HeldFile[] = [];
  const own = new Set(signedPathsOf(current));
  for (const number of numbers.toReversed()) {
    const folder = join(layout.generations, String(number));
    const record = number === current.number ? current : readRecord(folder);
    if (record === undefined) continue; // an attempt that never became current
    const said = saidBy(folder, record);
    const older = number === current.number ? undefined : number;
    const expected = (path: string) => {
      if (!path.startsWith('metadata/')) return hashInPath(path);
      const name = path.slice('metadata/'.length);
      if (older === undefined && inStep) return hashes.get(name) ?? said.get(name);
      return said.get(name) ?? (/^\d+\.root\.json$/.test(name) ? hashes.get(name) : undefined);
    };
    for (const path of signedPathsOf(record)) {
      const kind = path.startsWith('metadata/') ? 'metadata' : 'document';
      const common = { kind, sha256: expected(path) } as const;
      const at = `g/${String(Number.MAX_SAFE_INTEGER - number)}/`;
      const where = older === undefined ? path : `generations/${number}/${path}`;
      found.push({ ...common, key: at + path, path: where, file: join(folder, path), older });
      // Kept for clients on their way; mostly the very same file, but not where a file system has no hard links. They are served,
      // so they come before the generation's own: with that gone, nothing would say what they must be.
      const carried = join(layout.generations, String(current.number), path);
      if (older === undefined || own.has(path) || !fs.existsSync(carried)) continue;
      found.push({ ...common, key: `${at}!${path}`, path, file: carried, older: undefined });
    }
  }
  return found;
}

/**
 * Hashes of a generation's metadata by what it says itself (TUF specification 1.0.31, 4.4): the timestamp of the snapshot, the
 * snapshot of the rest, if it is that very snapshot. A timestamp that cannot be read has the hash of nothing: it is damaged.
 */
function saidBy(folder: string, record: Generation): Map<string, string> {
  const said = new Map<string, string>();
  const names = new Set(record.metadata);
  const read = (name: string) => readFileBounded(join(folder, metadataPath(name)), METADATA_BYTES);
  const note = (bytes: Uint8Array): void => {
    const { signed } = JSON.parse(Buffer.from(bytes).toString('utf8')) as { signed: { meta: object } };
    for (const [name, meta] of Object.entries(signed.meta)) {
      const { version, hashes } = meta as { version: number; hashes?: { sha256?: string } };
      const versioned = `${version}.${name}`;
      if (hashes?.sha256 !== undefined) said.set(names.has(versioned) ? versioned : name, hashes.sha256);
    }
  };
  const timestamp = read('timestamp.json');
  try {
    if (timestamp !== undefined) note(timestamp);
  } catch {
    return new Map([['timestamp.json', '']]);
  }
  const snapshot = [...said.keys()].find((name) => name.endsWith('snapshot.json'));
  const bytes = snapshot === undefined ? undefined : read(snapshot);
  if (bytes !== undefined && sha256Of(bytes) === said.get(snapshot ?? '')) note(bytes);
  return said;
}
