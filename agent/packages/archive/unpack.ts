// Unpacks one .tar.gz of own software as if it came from an enemy (security.md S31, S32): every entry is judged before a byte
// of it is written, the first bad one ends it, modes are set by us, and all of it happens in a fresh private folder.
import { once } from 'node:events';
import * as fs from 'node:fs';
import { join } from 'node:path';
import { Transform } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import { createGunzip } from 'node:zlib';
import { Parser, type ReadEntry } from 'tar';
import { syncFolder } from '#manifests/platform/files';
import { fault } from '../host.ts';

/** What an archive may hold at most. Bytes and counts. */
export const ARCHIVE_LIMITS = {
  entries: 100_000,
  fileBytes: 2 * 1024 * 1024 * 1024,
  totalBytes: 8 * 1024 * 1024 * 1024,
  /** Unpacked bytes for each packed one, once more than `ratioFromBytes` came out (bombs reach 1,000). */
  ratio: 200,
  ratioFromBytes: 64 * 1024 * 1024,
  pathLength: 1_024,
  depth: 32,
  /** Extended headers (long names); real ones have some hundred bytes. */
  metaBytes: 64 * 1024,
} as const;

/** Names that mean devices on Windows, where the same archive may be read one day. */
const RESERVED = /^(?:con|prn|aux|nul|com\d|lpt\d)(?:\..*)?$/i;
const PART = /^[A-Za-z0-9_+@=,~.-]{1,255}$/;

/** The parts of an entry's path, or why it may not be: absolute, climbing, odd characters, reserved, too deep. */
export function judgePath(path: string): { parts: string[] } | { refused: string } {
  const refuse = (why: string) => ({ refused: `${JSON.stringify(path.slice(0, 200))}: ${why}` });
  if (path.length > ARCHIVE_LIMITS.pathLength) return refuse('path too long');
  if (path.startsWith('/')) return refuse('absolute path');
  const parts = path
    .replace(/^(?:\.\/)+/, '')
    .replace(/\/$/, '')
    .split('/');
  if (parts.length === 1 && (parts[0] === '.' || parts[0] === '')) return { parts: [] };
  if (parts.length > ARCHIVE_LIMITS.depth) return refuse('too many folders');
  for (const part of parts) {
    if (part === '..' || part === '.' || part === '') return refuse('climbs or has an empty part');
    if (!PART.test(part)) return refuse('characters outside letters, digits and _ + @ = , ~ . -');
    if (part.endsWith('.')) return refuse('ends in a dot');
    if (RESERVED.test(part)) return refuse('a name that Windows reserves');
  }
  return { parts };
}

/** Remembers what an archive has named so far and refuses twins: duplicates, and names that differ in case only. */
export function createTwinGuard() {
  const seen = new Map<string, { path: string; folder: boolean; named: boolean }>();
  return (parts: readonly string[], folder: boolean): string | undefined => {
    for (let depth = 1; depth <= parts.length; depth += 1) {
      const path = parts.slice(0, depth).join('/');
      const last = depth === parts.length;
      const known = seen.get(path.toLowerCase());
      if (known === undefined) seen.set(path.toLowerCase(), { path, folder: !last || folder, named: last });
      else if (known.path !== path) return `${path} and ${known.path} differ in case only`;
      else if (!last && !known.folder) return `${path} is a file and a folder`;
      else if (last && (known.named || !known.folder || !folder)) return `${path} comes twice`;
      else if (last) known.named = true;
    }
    return undefined;
  };
}

function judgeEntry(entry: ReadEntry, twins: ReturnType<typeof createTwinGuard>): { parts: string[]; folder: boolean } {
  const folder = entry.type === 'Directory';
  if (!folder && entry.type !== 'File' && entry.type !== 'OldFile') {
    throw fault('archive', `${JSON.stringify(entry.path.slice(0, 200))}: a ${entry.type}, only files and folders may be`);
  }
  const judged = judgePath(entry.path);
  if ('refused' in judged) throw fault('archive', judged.refused);
  if (((entry.mode ?? 0) & 0o7000) !== 0) throw fault('archive', `${entry.path}: set-uid, set-gid or sticky`);
  if (entry.size > ARCHIVE_LIMITS.fileBytes)
    throw fault('archive', `${entry.path}: larger than ${ARCHIVE_LIMITS.fileBytes} bytes`);
  if (folder && entry.size > 0) throw fault('archive', `${entry.path}: a folder with content`);
  const twin = judged.parts.length === 0 ? undefined : twins(judged.parts, folder);
  if (twin !== undefined) throw fault('archive', twin);
  return { parts: judged.parts, folder };
}

/** Writes one regular file: new, never through a link, flushed; executable or not is all that is taken from the archive's mode. */
async function writeEntry(entry: ReadEntry, target: string): Promise<void> {
  const { O_WRONLY, O_CREAT, O_EXCL, O_NOFOLLOW } = fs.constants;
  const handle = fs.openSync(target, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW, 0o600);
  try {
    let written = 0;
    for await (const chunk of entry as unknown as AsyncIterable<Buffer>) {
      written += chunk.length;
      for (let at = 0; at < chunk.length; ) at += fs.writeSync(handle, chunk, at);
    }
    if (written !== entry.size) throw fault('archive', `${entry.path}: ${written} bytes, its header says ${entry.size}`);
    fs.fchmodSync(handle, ((entry.mode ?? 0) & 0o111) === 0 ? 0o644 : 0o755);
    fs.fsyncSync(handle);
  } finally {
    fs.closeSync(handle);
  }
}

const TAR_BLOCK_BYTES = 512;

/** POSIX ustar and GNU headers have this word at 257 (pax(1), "ustar Header Block"). */
function isTar(head: Buffer): boolean {
  return head.subarray(257, 262).toString('latin1') === 'ustar';
}

/** Counts what comes out of the gzip stream and ends it when it is out of proportion; the first bytes must be a tar's. */
function guardStream(packedBytes: number): Transform {
  let total = 0;
  let head: Buffer | undefined = Buffer.alloc(0);
  return new Transform({
    transform(chunk: Buffer, _encoding, done) {
      total += chunk.length;
      if (total > ARCHIVE_LIMITS.totalBytes)
        return done(fault('archive', `it unpacks to more than ${ARCHIVE_LIMITS.totalBytes} bytes`));
      if (total > ARCHIVE_LIMITS.ratioFromBytes && total > packedBytes * ARCHIVE_LIMITS.ratio) {
        return done(fault('archive', `it unpacks to more than ${ARCHIVE_LIMITS.ratio} times its size`));
      }
      if (head === undefined) return done(null, chunk);
      head = Buffer.concat([head, chunk]);
      if (head.length < TAR_BLOCK_BYTES) return done(); // held back until it is known to be a tar
      if (!isTar(head)) return done(fault('archive', 'it is not a tar archive inside (S32)'));
      const first = head;
      head = undefined;
      return done(null, first);
    },
    flush: (done) => done(head === undefined ? null : fault('archive', 'it is not a tar archive inside (S32)')),
  });
}

/**
 * Unpacks `file` into `folder`, which must not exist yet and is removed again when anything is wrong.
 * @throws packages.archive with the entry and the reason
 */
export async function unpackArchive(file: string, folder: string): Promise<void> {
  const { size } = fs.statSync(file);
  const magic = Buffer.alloc(2);
  const handle = fs.openSync(file, 'r');
  fs.readSync(handle, magic);
  fs.closeSync(handle);
  if (magic[0] !== 0x1f || magic[1] !== 0x8b) throw fault('archive', 'it is not a gzip file (S32)', { where: file });
  fs.mkdirSync(folder, { mode: 0o700 });
  const folders = new Set<string>([folder]);
  const makeFolder = (parts: readonly string[]) => {
    for (let depth = 1; depth <= parts.length; depth += 1) {
      const path = join(folder, ...parts.slice(0, depth));
      if (folders.has(path)) continue;
      fs.mkdirSync(path, { mode: 0o755 });
      fs.chmodSync(path, 0o755);
      folders.add(path);
    }
  };
  try {
    const twins = createTwinGuard();
    let entries = 0;
    const parser = new Parser({ strict: true, maxMetaEntrySize: ARCHIVE_LIMITS.metaBytes });
    const failed = new AbortController();
    let writing: Promise<void> = Promise.resolve();
    parser.on('entry', (entry: ReadEntry) => {
      // Entries come one after the other: the parser waits until the one before was read to its end.
      writing = writing.then(async () => {
        entries += 1;
        if (entries > ARCHIVE_LIMITS.entries) throw fault('archive', `more than ${ARCHIVE_LIMITS.entries} entries`);
        const { parts, folder: isFolder } = judgeEntry(entry, twins);
        makeFolder(isFolder ? parts : parts.slice(0, -1));
        if (isFolder) entry.resume();
        else await writeEntry(entry, join(folder, ...parts));
      });
      writing.catch((error: unknown) => failed.abort(error));
    });
    await feed(file, size, parser, failed.signal);
    await writing;
    if (entries === 0) throw fault('archive', 'it is empty');
    for (const path of [...folders].toReversed()) syncFolder(path);
  } catch (cause) {
    fs.rmSync(folder, { recursive: true, force: true });
    const known = cause instanceof Error && cause.name === 'PatchferryError';
    throw known ? cause : fault('archive', `it cannot be read: ${(cause as Error).message}`, { where: file, cause });
  }
}

/** Pushes the unpacked bytes into the parser, stopping at the first refusal. */
async function feed(file: string, size: number, parser: Parser, stop: AbortSignal): Promise<void> {
  const ended = once(parser, 'end');
  ended.catch(() => undefined);
  await pipeline(
    fs.createReadStream(file),
    createGunzip(),
    guardStream(size),
    async (chunks: AsyncIterable<Buffer>) => {
      for await (const chunk of chunks) {
        stop.throwIfAborted();
        if (!parser.write(chunk)) await Promise.race([once(parser, 'drain'), aborted(stop)]);
      }
      parser.end();
      await Promise.race([ended, aborted(stop)]);
    },
    { signal: stop },
  ).catch((error: unknown) => {
    throw stop.aborted ? stop.reason : error;
  });
}

function aborted(signal: AbortSignal): Promise<never> {
  return new Promise((_resolve, reject) => {
    if (signal.aborted) return reject(signal.reason as Error);
    signal.addEventListener('abort', () => reject(signal.reason as Error), { once: true });
  });
}
