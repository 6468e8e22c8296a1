// The stream of a bundle: all entries one after the other, cut into chunks of equal size. Which piece lies where. Pure.
import { webcrypto } from 'node:crypto';
import type { BundleEntry } from './format.ts';

/** A stretch of one entry within one chunk. */
export interface Piece {
  /** Number of the entry in the list. */
  readonly entry: number;
  /** Where it begins in the entry, and in the chunk. */
  readonly at: number;
  readonly inChunk: number;
  readonly length: number;
}

export interface Layout {
  readonly entries: readonly BundleEntry[];
  readonly chunkBytes: number;
  readonly streamBytes: number;
  readonly chunkCount: number;
  /** Bytes of a chunk before sealing. */
  chunkSize(chunk: number): number;
  /** The pieces of a chunk, in order; empty entries have none. */
  pieces(chunk: number): Piece[];
  /** Chunks that an entry lies in; undefined for an empty one. */
  chunksOf(entry: number): { first: number; last: number } | undefined;
}

export function layoutOf(entries: readonly BundleEntry[], chunkBytes: number): Layout {
  const starts = new Float64Array(entries.length + 1);
  for (const [at, { size }] of entries.entries()) starts[at + 1] = (starts[at] as number) + size;
  const streamBytes = starts[entries.length] as number;
  const startOf = (entry: number) => starts[entry] as number;

  /** The last entry that begins at or before `position` and is not empty there. */
  const entryAt = (position: number) => {
    let low = 0;
    let high = entries.length - 1;
    while (low < high) {
      const middle = (low + high + 1) >> 1;
      if (startOf(middle) <= position) low = middle;
      else high = middle - 1;
    }
    return low;
  };
  const chunkSize = (chunk: number) => Math.min(streamBytes, (chunk + 1) * chunkBytes) - chunk * chunkBytes;

  return {
    entries,
    chunkBytes,
    streamBytes,
    chunkCount: Math.ceil(streamBytes / chunkBytes),
    chunkSize,
    pieces(chunk) {
      const from = chunk * chunkBytes;
      const to = from + chunkSize(chunk);
      const found: Piece[] = [];
      for (let entry = entryAt(from), position = from; position < to; entry++) {
        const end = Math.min(startOf(entry + 1), to);
        if (end > position)
          found.push({ entry, at: position - startOf(entry), inChunk: position - from, length: end - position });
        position = Math.max(position, end);
      }
      return found;
    },
    chunksOf(entry) {
      const from = startOf(entry);
      const to = startOf(entry + 1);
      if (from === to) return undefined;
      return { first: Math.floor(from / chunkBytes), last: Math.floor((to - 1) / chunkBytes) };
    },
  };
}

/** SHA-256 of a chunk on another thread, so that reading and writing go on meanwhile. `bytes` must stay as they are until then. */
export async function digest(bytes: Uint8Array): Promise<Buffer> {
  return Buffer.from(await webcrypto.subtle.digest('SHA-256', bytes as Uint8Array<ArrayBuffer>));
}
