// Looks for a few files in a tar stream and reads nothing else; writes nothing to disk. For the data member of a .deb.
// Format: POSIX.1-1988 ustar with GNU long names, as dpkg-deb writes it (deb(5)).
import { fault } from '../faults.ts';

export const TAR_LIMITS = {
  /** Bytes of one wanted file. */
  fileBytes: 16 * 1024 * 1024,
  /** Entries of an archive that are looked at. */
  entries: 1_000_000,
  /** Bytes of a GNU long name. */
  nameBytes: 4_096,
  /** Bytes of the whole archive, unpacked. */
  plainBytes: 16 * 1024 * 1024 * 1024,
} as const;

const BLOCK = 512;

/**
 * Contents of the regular files whose name (without leading `./`) is wanted; the first of a name counts. Stops reading
 * as soon as `enough` says so. Links, devices and folders are passed over, whatever they are called.
 * @throws source.payload for anything that is no tar, or too large
 */
export async function readFromTar(
  chunks: AsyncIterable<Uint8Array>,
  wanted: (name: string) => boolean,
  enough: (found: ReadonlyMap<string, Uint8Array>) => boolean,
  where: string,
): Promise<Map<string, Uint8Array>> {
  const bad = (says: string) => fault('payload', `${where}: ${says}`, { where });
  const found = new Map<string, Uint8Array>();
  const header = new Uint8Array(BLOCK);
  let filled = 0; // bytes of `header` that have come
  let left = 0; // bytes of the present entry's content that are still to come
  let padding = 0;
  let keep: { name: string; into: Uint8Array; at: number } | undefined;
  let longName: string | undefined;
  let entries = 0;
  let total = 0;
  let ended = false;

  const entryDone = () => {
    if (keep === undefined) return;
    if (keep.name === LONG_NAME) longName = textOf(keep.into);
    else found.set(keep.name, keep.into);
    keep = undefined;
  };
  for await (const chunk of chunks) {
    total += chunk.length;
    if (total > TAR_LIMITS.plainBytes) throw bad(`unpacks to more than ${TAR_LIMITS.plainBytes} bytes`);
    let at = 0;
    while (at < chunk.length && !ended) {
      if (left > 0) {
        const part = chunk.subarray(at, at + Math.min(left, chunk.length - at));
        if (keep !== undefined) {
          keep.into.set(part, keep.at);
          keep.at += part.length;
        }
        at += part.length;
        left -= part.length;
        if (left === 0) entryDone();
        continue;
      }
      if (padding > 0) {
        const skipped = Math.min(padding, chunk.length - at);
        at += skipped;
        padding -= skipped;
        continue;
      }
      const part = chunk.subarray(at, at + BLOCK - filled);
      header.set(part, filled);
      filled += part.length;
      at += part.length;
      if (filled < BLOCK) continue;
      filled = 0;
      const entry = readHeader(header, bad);
      if (entry === undefined) {
        ended = true; // an empty block ends the archive
        break;
      }
      entries += 1;
      if (entries > TAR_LIMITS.entries) throw bad(`has more than ${TAR_LIMITS.entries} entries`);
      left = entry.size;
      padding = (BLOCK - (entry.size % BLOCK)) % BLOCK;
      if (entry.type === 'L') {
        if (entry.size > TAR_LIMITS.nameBytes) throw bad(`has a name of ${entry.size} bytes`);
        keep = { name: LONG_NAME, into: new Uint8Array(entry.size), at: 0 };
      } else {
        const name = (longName ?? entry.name).replace(/^(?:\.?\/)+/, '');
        if (entry.type !== 'K') longName = undefined;
        if (entry.type === '0' && wanted(name) && !found.has(name)) {
          if (entry.size > TAR_LIMITS.fileBytes) throw bad(`${name} has ${entry.size} bytes`);
          keep = { name, into: new Uint8Array(entry.size), at: 0 };
        }
      }
      if (left === 0) entryDone();
    }
    if (ended || enough(found)) return found;
  }
  if (left > 0 || filled > 0) throw bad('ends in the middle of an entry');
  return found;
}

/** Not a name that an entry can have. */
const LONG_NAME = '\0long name';

/** Undefined for an empty block. */
function readHeader(block: Uint8Array, bad: (says: string) => Error): { name: string; size: number; type: string } | undefined {
  if (block.every((byte) => byte === 0)) return undefined;
  let sum = 8 * 32; // the checksum's own field counts as blanks
  for (let at = 0; at < BLOCK; at += 1) if (at < 148 || at >= 156) sum += block[at] ?? 0;
  if (octal(block.subarray(148, 156)) !== sum) throw bad('is not a tar archive (checksum of an entry)');
  const size = octal(block.subarray(124, 136));
  if (size === undefined || size > TAR_LIMITS.plainBytes) throw bad('has an entry of unreadable size');
  const code = block[156] ?? 0;
  const type = code === 0 ? '0' : String.fromCharCode(code);
  const isUstar = textOf(block.subarray(257, 263)) === 'ustar' && block[262] === 0;
  const prefix = isUstar ? textOf(block.subarray(345, 500)) : '';
  const name = textOf(block.subarray(0, 100));
  // Links and the like carry no content, whatever their size field says (POSIX pax, "ustar Interchange Format").
  return { name: prefix === '' ? name : `${prefix}/${name}`, size: /[1-6]/.test(type) ? 0 : size, type };
}

/** An octal number, padded with blanks or zeros; or GNU's base 256 when the top bit is set. */
function octal(field: Uint8Array): number | undefined {
  if (((field[0] ?? 0) & 0x80) !== 0) {
    let value = (field[0] ?? 0) & 0x7f;
    for (const byte of field.subarray(1)) value = value * 256 + byte;
    return Number.isSafeInteger(value) ? value : undefined;
  }
  const digits = textOf(field).trim();
  return /^[0-7]{1,12}$/.test(digits) ? Number.parseInt(digits, 8) : undefined;
}

/** Bytes up to the first zero. */
function textOf(bytes: Uint8Array): string {
  const end = bytes.indexOf(0);
  return Buffer.from(end < 0 ? bytes : bytes.subarray(0, end)).toString('utf8');
}
