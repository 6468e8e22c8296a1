// Downloading to disk with resume: what a cut left is taken up again, under If-Range, and the whole is checked by hash.
import { createHash, type Hash } from 'node:crypto';
import * as fs from 'node:fs';
import { dirname } from 'node:path';
import { isFault } from '#manifests/errors';
import { syncFolder, temporaryNameFor } from '#manifests/platform/files';
import { type DownloadOptions, fault, looksLikePage, type Want } from './origin.ts';

/** Where the bytes of a part came from; kept beside it so that a later range is asked of the same content only (S23). */
export interface PartTag {
  /** Name of the origin. */
  readonly from: string;
  /** Strong validator it gave: an ETag or a date; empty when there was none. */
  readonly validator: string;
}

const PART_LIMITS = {
  /** A part is flushed after so many bytes, and not more often than each so many milliseconds: what a power cut can cost. */
  flushBytes: 32 * 1024,
  flushMs: 1_000,
} as const;

/** One answer of an origin: where its bytes start and what they are. */
export interface Stream {
  /** 0 for the whole file; the asked offset when the origin goes on from there. */
  readonly start: number;
  readonly validator: string;
  readonly chunks: AsyncIterable<Uint8Array>;
}

/** Asks an origin for a file from `offset` on; `tag` tells what is here already. */
export type Ask = (offset: number, tag: PartTag | undefined) => Promise<Stream>;

/** The body of `Origin.download`, the same for every kind of origin. @throws transfer.* */
export async function receive(name: string, path: string, want: Want, destination: string, ask: Ask, options: DownloadOptions) {
  const part = `${destination}.part`;
  const tagFile = `${part}.from`;
  fs.mkdirSync(dirname(destination), { recursive: true });
  try {
    const first = await attempt(name, path, want, part, tagFile, ask, options);
    // A part that was spoilt here (torn by a power cut) or before (by another origin) must not be blamed on this one: anew.
    if (first.kind === 'wrong' && first.resumed) {
      forget(part, tagFile);
      const second = await attempt(name, path, want, part, tagFile, ask, options);
      if (second.kind === 'wrong') throw second.error;
    } else if (first.kind === 'wrong') throw first.error;
    fs.renameSync(part, destination);
    fs.rmSync(tagFile, { force: true });
    syncFolder(dirname(destination));
  } catch (cause) {
    if (cause instanceof Error && typeof (cause as NodeJS.ErrnoException).syscall === 'string' && 'path' in cause) {
      throw fault('unwritable', `cannot write ${part}: ${cause.message}`, { where: part, cause });
    }
    throw cause;
  }
}

type Ended = { kind: 'whole' } | { kind: 'wrong'; resumed: boolean; error: Error };

async function attempt(
  name: string,
  path: string,
  want: Want,
  part: string,
  tagFile: string,
  ask: Ask,
  options: DownloadOptions,
): Promise<Ended> {
  const where = `${name} ${path}`;
  let hash = createHash('sha256');
  dropUnflushed(part, tagFile);
  let length = await hashExisting(part, want.size, hash, options.signal);
  const resumed = length > 0;
  let head: Uint8Array = new Uint8Array();

  if (length < want.size || !resumed) {
    const stream = await ask(length, resumed ? readTag(tagFile) : undefined);
    if (stream.start !== length) {
      hash = createHash('sha256');
      length = 0;
    }
    const handle = fs.openSync(part, length === 0 ? 'w' : 'a', 0o644);
    const tag = { from: name, validator: stream.validator };
    let flushed = { length, at: performance.now() };
    const flush = () => {
      fs.fdatasyncSync(handle);
      flushed = { length, at: performance.now() };
      writeTag(tagFile, tag, length);
    };
    try {
      writeTag(tagFile, tag, length);
      for await (const chunk of stream.chunks) {
        if (head.length < 512) head = Buffer.concat([head, chunk.subarray(0, 512)]);
        if (length + chunk.length > want.size) {
          if (looksLikePage(head)) throw fault('portal', `${where} answers with a web page instead of the file`, { where });
          throw fault('too-large', `${where} sends more than the ${want.size} bytes that were signed`, { where });
        }
        hash.update(chunk);
        for (let done = 0; done < chunk.length; ) done += fs.writeSync(handle, chunk, done);
        length += chunk.length;
        options.onBytes?.(chunk.length);
        const due = length - flushed.length >= PART_LIMITS.flushBytes;
        if (due && performance.now() - flushed.at >= PART_LIMITS.flushMs) flush();
      }
      if (length === want.size) fs.fsyncSync(handle);
    } catch (cause) {
      // More bytes than were signed, or a page: nothing of this stream is worth keeping.
      if (isFault(cause, 'transfer.too-large', 'transfer.portal')) forget(part, tagFile);
      throw cause;
    } finally {
      if (length < want.size && length > flushed.length && fs.existsSync(tagFile)) flushIfPossible(flush);
      fs.closeSync(handle);
    }
    if (length < want.size) {
      if (looksLikePage(head)) {
        forget(part, tagFile);
        throw fault('portal', `${where} answers with a web page instead of the file`, { where });
      }
      throw fault('cut', `${where} ended after ${length} of ${want.size} bytes`, { where });
    }
  } else {
    const handle = fs.openSync(part, 'r+');
    fs.fsyncSync(handle);
    fs.closeSync(handle);
  }

  const found = hash.digest('hex');
  if (found === want.sha256) return { kind: 'whole' };
  const error = looksLikePage(head)
    ? fault('portal', `${where} answers with a web page instead of the file`, { where })
    : fault('hash', `${where} has the hash ${found}, signed is ${want.sha256}`, { where });
  forget(part, tagFile);
  return { kind: 'wrong', resumed, error };
}

/** Hashes what is there; a part that is longer than the file is dropped. Gives its length in bytes. */
async function hashExisting(part: string, size: number, hash: Hash, signal: AbortSignal | undefined): Promise<number> {
  const facts = fs.statSync(part, { throwIfNoEntry: false });
  if (facts === undefined || facts.size === 0) return 0;
  if (facts.size > size) {
    fs.rmSync(part, { force: true });
    return 0;
  }
  let length = 0;
  for await (const chunk of fs.createReadStream(part, { highWaterMark: 1024 * 1024, end: facts.size - 1 })) {
    signal?.throwIfAborted();
    hash.update(chunk as Buffer);
    length += (chunk as Buffer).length;
  }
  return length;
}

function forget(part: string, tagFile: string): void {
  fs.rmSync(part, { force: true });
  fs.rmSync(tagFile, { force: true });
}

function writeTag(tagFile: string, tag: PartTag, flushed: number): void {
  const temporary = temporaryNameFor(tagFile);
  fs.writeFileSync(temporary, `${tag.from}\n${tag.validator}\n${flushed}\n`);
  fs.renameSync(temporary, tagFile); // the old one or the new one; one that a power cut takes back names less
}

/** What ended the download is to be told, not that its part cannot be flushed: that costs only what comes again. */
function flushIfPossible(flush: () => void): void {
  try {
    flush();
  } catch {
    // the tag still names what is safe
  }
}

function readTag(tagFile: string): (PartTag & { readonly flushed: number | undefined }) | undefined {
  try {
    const [from, validator, flushed = ''] = fs.readFileSync(tagFile, 'utf8').slice(0, 4_096).split('\n');
    if (from === undefined || validator === undefined) return undefined;
    return { from, validator, flushed: /^\d{1,15}$/.test(flushed) ? Number(flushed) : undefined };
  } catch {
    return undefined; // no tag: the range is asked for under the content's own hash
  }
}

/**
 * Behind what was flushed a power cut leaves anything, often zeros: that end is asked for again, so that it does not spoil the
 * whole. Tags of earlier versions do not say how much was flushed; all of their parts is tried.
 */
function dropUnflushed(part: string, tagFile: string): void {
  const flushed = readTag(tagFile)?.flushed;
  const length = fs.statSync(part, { throwIfNoEntry: false })?.size;
  if (flushed !== undefined && length !== undefined && length > flushed) fs.truncateSync(part, flushed);
}
