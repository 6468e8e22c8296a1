// Group commit: envelopes that come at the same time are appended to one file and flushed by one call, and only then answered.
// They get their own files a moment later; until those are flushed too, a segment of this journal is what a power cut leaves.
import { createHash, hash } from 'node:crypto';
import * as fs from 'node:fs';
import { join } from 'node:path';
import { syncFolder } from '#manifests/platform/files';

export const JOURNAL_LIMITS = {
  /** Bytes that go into one flush at most. */
  batchBytes: 4 * 1024 * 1024,
  /** Bytes of a segment from which the next commit begins a new one. */
  segmentBytes: 64 * 1024 * 1024,
  /** Bytes of a path, and of one envelope, in a record that is read back. */
  pathBytes: 200,
  envelopeBytes: 72 * 1024 * 1024,
  /** Bytes that are read at a time. */
  readBytes: 1024 * 1024,
} as const;

export interface JournalRecord {
  /** Relative to the inbox folder. */
  readonly path: string;
  readonly bytes: Uint8Array;
  /** When it came, milliseconds since 1970; undefined in records of older versions. */
  readonly cameAt: number | undefined;
}

/** Where the bytes of a record lie: the name of a segment, and from which byte of it how many. */
export interface JournalPlace {
  readonly segment: string;
  readonly at: number;
  readonly length: number;
}

export interface Journal {
  /** Resolves when the record is flushed; many calls share one flush. Rejects with the system's error when it is not. */
  append(record: JournalRecord): Promise<JournalPlace>;
  /** The bytes of a record whose segment was not dropped. @throws the system's error */
  read(place: JournalPlace): Buffer;
  /** Begins a new segment; gives the names of those before it, which `drop` may remove once their records are safe elsewhere. */
  rotate(): Promise<string[]>;
  drop(segments: readonly string[]): void;
  close(): Promise<void>;
}

/** Magic, length of the path (2 bytes), length of the bytes (4), since `PFJ2` when it came (6, milliseconds), SHA-256 of path and bytes. */
const MAGICS = [Buffer.from('PFJ1', 'latin1'), Buffer.from('PFJ2', 'latin1')] as const;
const HEADS = [4 + 2 + 4 + 32, 4 + 2 + 4 + 6 + 32] as const;
const [, MAGIC] = MAGICS;
const [, HEAD_BYTES] = HEADS;

interface Waiting {
  /** What stands before the bytes: the head, the path. */
  readonly before: Buffer;
  readonly record: JournalRecord;
  done(place: JournalPlace): void;
  failed(cause: unknown): void;
}

/** Opens the journal in `folder`. What earlier segments hold is given by `readJournal`, before this is called. */
export function openJournal(folder: string): Journal {
  fs.mkdirSync(folder, { recursive: true });
  const queue: Waiting[] = [];
  /** One thing at a time: a flush of what waits, or a change of the segment. */
  let turn: Promise<void> = Promise.resolve();
  let scheduled = false;
  let segment: { name: string; handle: fs.promises.FileHandle; bytes: number } | undefined;
  /** The segment that was read from last. */
  let reading: { name: string; handle: number } | undefined;
  let next = Math.max(0, ...segmentsIn(folder).map((name) => Number.parseInt(name, 10))) + 1;

  async function opened() {
    if (segment !== undefined) return segment;
    const name = `${String(next).padStart(12, '0')}.pfj`;
    next += 1;
    const handle = await fs.promises.open(join(folder, name), 'ax', 0o640);
    segment = { name, handle, bytes: 0 };
    syncFolder(folder);
    return segment;
  }

  async function closeSegment() {
    const old = segment;
    segment = undefined;
    await old?.handle.close();
  }

  function closeReading(): void {
    if (reading !== undefined) fs.closeSync(reading.handle);
    reading = undefined;
  }

  function taken(): Waiting[] {
    let bytes = 0;
    let count = 0;
    for (const { record } of queue) {
      bytes += record.bytes.length;
      if (count > 0 && bytes > JOURNAL_LIMITS.batchBytes) break;
      count += 1;
    }
    return queue.splice(0, count);
  }

  /** Flushes what waits; what comes meanwhile goes with the next flush. */
  async function flush(): Promise<void> {
    const batch = taken();
    try {
      const here = await opened();
      await writeAll(
        here.handle,
        batch.flatMap(({ before, record }) => [before, record.bytes]),
      );
      await here.handle.datasync();
      for (const waiting of batch) {
        const { length } = waiting.record.bytes;
        waiting.done({ segment: here.name, at: here.bytes + waiting.before.length, length });
        here.bytes += waiting.before.length + length;
      }
      if (here.bytes > JOURNAL_LIMITS.segmentBytes) await closeSegment();
    } catch (cause) {
      // What of this batch is on disk is unknown: it ends its segment, so that nothing later stands behind a torn record.
      await closeSegment().catch(() => undefined);
      for (const each of batch) each.failed(cause);
    }
  }

  function flushSoon(): void {
    if (scheduled) return;
    scheduled = true;
    turn = turn.then(async () => {
      scheduled = false;
      await flush();
      if (queue.length > 0) flushSoon();
    });
  }

  return {
    append(record) {
      const before = Buffer.alloc(HEAD_BYTES + record.path.length);
      MAGIC.copy(before);
      before.writeUInt16BE(record.path.length, 4);
      before.writeUInt32BE(record.bytes.length, 6);
      before.writeUIntBE(Math.max(0, Math.trunc(record.cameAt ?? 0)), 10, 6);
      before.write(record.path, HEAD_BYTES, 'latin1');
      createHash('sha256').update(before.subarray(HEAD_BYTES)).update(record.bytes).digest().copy(before, 16);
      return new Promise((done, failed) => {
        queue.push({ before, record, done, failed });
        flushSoon();
      });
    },
    read({ segment: name, at, length }) {
      if (reading?.name !== name) {
        closeReading();
        reading = { name, handle: fs.openSync(join(folder, name), 'r') };
      }
      const bytes = Buffer.alloc(length);
      for (let done = 0; done < length; ) {
        const count = fs.readSync(reading.handle, bytes, done, length - done, at + done);
        if (count === 0) throw new Error(`segment ${name} of the journal is shorter than it was`);
        done += count;
      }
      return bytes;
    },
    async rotate() {
      turn = turn.then(closeSegment).catch(() => undefined);
      await turn;
      return segmentsIn(folder).filter((name) => name !== segment?.name);
    },
    drop(segments) {
      if (segments.includes(reading?.name ?? '')) closeReading();
      for (const name of segments) fs.rmSync(join(folder, name), { force: true });
    },
    async close() {
      for (let last: unknown; last !== turn; ) {
        last = turn;
        await turn;
      }
      await closeSegment();
      closeReading();
    },
  };
}

/**
 * Every whole record of the segments in `folder`; a torn end, which nobody was promised, is passed over, as is a segment that is
 * gone this moment. Changes nothing.
 */
export function* readJournal(folder: string): Generator<JournalRecord & { readonly place: JournalPlace }> {
  for (const name of segmentsIn(folder)) {
    const handle = openIfThere(join(folder, name));
    if (handle === undefined) continue;
    try {
      const read = ahead(handle);
      for (let at = 0; ; ) {
        const magic = read(4);
        const version = MAGICS.findIndex((each) => magic?.equals(each) === true);
        const headBytes = HEADS[version];
        const head = headBytes === undefined ? undefined : read(headBytes - 4);
        if (headBytes === undefined || head === undefined) break;
        const [pathBytes, envelopeBytes] = [head.readUInt16BE(0), head.readUInt32BE(2)];
        if (pathBytes > JOURNAL_LIMITS.pathBytes || envelopeBytes > JOURNAL_LIMITS.envelopeBytes) break;
        const cameAt = version === 0 ? undefined : head.readUIntBE(6, 6);
        const sum = Buffer.from(head.subarray(headBytes - 4 - 32));
        const content = read(pathBytes + envelopeBytes);
        if (content === undefined || !hash('sha256', content, 'buffer').equals(sum)) break;
        const path = content.toString('latin1', 0, pathBytes);
        at += headBytes + pathBytes;
        yield {
          path,
          bytes: Buffer.from(content.subarray(pathBytes)),
          cameAt,
          place: { segment: name, at, length: envelopeBytes },
        };
        at += envelopeBytes;
      }
    } finally {
      fs.closeSync(handle);
    }
  }
}

function openIfThere(file: string): number | undefined {
  try {
    return fs.openSync(file, 'r');
  } catch (cause) {
    if ((cause as NodeJS.ErrnoException).code === 'ENOENT') return undefined;
    throw cause;
  }
}

/** Reads a file from its beginning in large pieces; what it gives is good until the next call. Undefined: there is not as much. */
function ahead(handle: number): (length: number) => Buffer | undefined {
  let buffer = Buffer.alloc(JOURNAL_LIMITS.readBytes);
  let [start, end] = [0, 0];
  return (length) => {
    if (end - start < length) {
      const grown = length > buffer.length ? Buffer.alloc(length) : buffer;
      buffer.copy(grown, 0, start, end);
      [buffer, end, start] = [grown, end - start, 0];
      for (let count = -1; end < length && count !== 0; end += count)
        count = fs.readSync(handle, buffer, end, buffer.length - end, null);
      if (end < length) return undefined;
    }
    start += length;
    return buffer.subarray(start - length, start);
  };
}

/** Names of the segments, oldest first. */
export function segmentsIn(folder: string): string[] {
  if (!fs.existsSync(folder)) return [];
  return fs
    .readdirSync(folder)
    .filter((name) => /^\d{12}\.pfj$/.test(name))
    .toSorted();
}

async function writeAll(handle: fs.promises.FileHandle, buffers: readonly Uint8Array[]): Promise<void> {
  const PER_CALL = 900; // a system takes 1,024 buffers in one call
  for (let at = 0; at < buffers.length; at += PER_CALL) {
    const part = buffers.slice(at, at + PER_CALL);
    const wanted = part.reduce((sum, { length }) => sum + length, 0);
    const { bytesWritten } = await handle.writev(part);
    if (bytesWritten < wanted) await handle.writeFile(Buffer.concat(part).subarray(bytesWritten));
  }
}
