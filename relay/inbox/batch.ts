// Many envelopes in one upload, compressed: what a relay sends to the next one over a thin line. Each is judged for itself, so a
// batch that is sent twice does no harm.
import { zstdCompressSync, zstdDecompressSync } from 'node:zlib';
import { fault } from './limits.ts';
import type { SpoolKind } from './spool.ts';

export const BATCH_LIMITS = {
  /** Envelopes of a batch, and their bytes before compression; a larger one goes alone. */
  items: 256,
  plainBytes: 512 * 1024,
  /** Bytes of a batch as it is sent. */
  bytes: 1024 * 1024,
  /** Bytes of a refusal's words in the answer. */
  saysBytes: 160,
} as const;

export interface BatchItem {
  readonly kind: Exclude<SpoolKind, 'records'>;
  readonly bytes: Uint8Array;
}

const MAGIC = Buffer.from('PFB1', 'latin1');
const KINDS = ['results', 'enrolments'] as const;

/** `PFB1`, then for each: kind (one byte), length (four bytes, big-endian), the envelope; all of it as one zstd frame. */
export function encodeBatch(items: readonly BatchItem[]): Uint8Array {
  const parts = items.flatMap(({ kind, bytes }) => {
    const head = Buffer.alloc(5);
    head[0] = KINDS.indexOf(kind);
    head.writeUInt32BE(bytes.length, 1);
    return [head, bytes];
  });
  return zstdCompressSync(Buffer.concat([MAGIC, ...parts]));
}

/** @throws inbox.malformed */
export function decodeBatch(batch: Uint8Array): BatchItem[] {
  const malformed = (says: string) => fault('malformed', `not a batch: ${says}`);
  let plain: Buffer;
  try {
    plain = zstdDecompressSync(batch, { maxOutputLength: BATCH_LIMITS.plainBytes + MAGIC.length + BATCH_LIMITS.items * 5 });
  } catch (cause) {
    throw fault('malformed', `not a batch: ${(cause as Error).message}`, { cause });
  }
  if (!plain.subarray(0, 4).equals(MAGIC)) throw malformed('its first bytes are others');
  const items: BatchItem[] = [];
  for (let at = 4; at < plain.length; ) {
    const kind = KINDS[plain[at] ?? 255];
    if (kind === undefined || at + 5 > plain.length) throw malformed(`item ${items.length} is of no kind`);
    const end = at + 5 + plain.readUInt32BE(at + 1);
    if (end > plain.length) throw malformed(`item ${items.length} is cut`);
    if (items.length === BATCH_LIMITS.items) throw malformed(`more than ${BATCH_LIMITS.items} items`);
    items.push({ kind, bytes: plain.subarray(at + 5, end) });
    at = end;
  }
  return items;
}
