// Putting a draft onto a medium as a folder of parts: what is there and right is kept, the rest is written, the index comes last.

import { join } from 'node:path';
import { formatBytes } from '#manifests/platform/progress';
import type { Signer } from '#manifests/trust';
import { type Disk, realDisk } from './disk.ts';
import type { Draft } from './draft.ts';
import { fault } from './faults.ts';
import { onMedium, replaceFile } from './files.ts';
import { FOLDER_SUFFIX, INDEX_SUFFIX, LEAVES_FILE, LIST_FILE, PARTS_FILE, storedBytes } from './format.ts';
import { BUNDLE_LIMITS } from './limits.ts';
import { HASH_BYTES } from './merkle.ts';
import { type ChunkRange, partName, partRange, rangesOf } from './names.ts';
import { signedBytes } from './signed.ts';
import { digest } from './stream.ts';

export interface FillOptions {
  readonly draft: Draft;
  /** Root of the medium, or any folder. */
  readonly place: string;
  readonly signer: Signer;
  /** Only these chunks: what another medium could not take, or what arrived damaged. All when absent. */
  readonly only?: readonly number[] | undefined;
  /** Bytes of one part; a FAT32 file holds 4 GiB - 1. */
  readonly partBytes?: number | undefined;
  /** Bytes that may be used on the medium; its free space when absent. */
  readonly capacityBytes?: number | undefined;
  /** What to do when not all fits: refuse before anything is written, or fill it and say what is left for the next one. */
  readonly whenFull?: 'refuse' | 'fill' | undefined;
  readonly onProgress?: ((bytes: number, total: number) => void) | undefined;
  readonly signal?: AbortSignal | undefined;
  readonly disk?: Disk | undefined;
}

export interface Filled {
  /** Path of the signed index on the medium. */
  readonly index: string;
  /** Chunks that are on this medium now. */
  readonly here: readonly ChunkRange[];
  /** Of the chunks asked for, those that did not fit. */
  readonly left: readonly ChunkRange[];
  /** Bytes written in this run; what was there already is not counted. */
  readonly bytes: number;
}

/**
 * Writes the bundle, or a subset of its chunks. Run again after an interruption it goes on: parts that are complete are read
 * back and kept, the open one is continued at its last whole chunk. Until the index is written last, no reader sees a bundle.
 * @throws bundle.no-space, bundle.medium-gone, bundle.source-changed, bundle.unwritable
 */
export function fillFolder(options: FillOptions): Promise<Filled> {
  return onMedium(options.place, () => fill(options));
}

async function fill(options: FillOptions): Promise<Filled> {
  const { draft, place, signal } = options;
  const disk = options.disk ?? realDisk;
  const { index } = draft;
  const folder = join(place, draft.name + FOLDER_SUFFIX);
  const partBytes = Math.min(options.partBytes ?? BUNDLE_LIMITS.partBytes, BUNDLE_LIMITS.mostPartBytes);
  const chunksPerPart = Math.floor(partBytes / (storedBytes({ ...index, streamBytes: index.chunkBytes }, 0, 0) || 1));
  if (chunksPerPart < 1) throw fault('name', `a part of ${partBytes} bytes cannot hold a chunk`);
  disk.makeFolder(folder);

  const parts = await partsHere(disk, folder, draft, signal);
  const here = new Set(parts.flatMap(({ first, last }) => numbers(first, last)));
  const wanted = [...(options.only ?? numbers(0, index.chunkCount - 1))].filter((chunk) => !here.has(chunk));
  const fits = howManyFit(options, disk, folder, wanted);
  const planned = rangesOf(wanted.slice(0, fits)).flatMap((range) => cut(range, chunksPerPart));
  const total = planned.reduce((sum, { first, last }) => sum + storedBytes(index, first, last), 0);

  dropOtherTemporaries(disk, folder, new Set(planned.map((range) => temporaryOf(partName(range)))));
  let written = 0;
  let done = 0;
  for (const range of planned) {
    const size = storedBytes(index, range.first, range.last);
    written += await writePart(disk, folder, draft, range, signal, (bytes) => options.onProgress?.(done + bytes, total));
    done += size;
    parts.push(range);
  }
  replaceFile(disk, join(folder, LIST_FILE), draft.list);
  replaceFile(disk, join(folder, LEAVES_FILE), draft.leaves);
  const stated = parts
    .toSorted((a, b) => a.first - b.first)
    .map((range) => ({ name: partName(range), size: storedBytes(index, range.first, range.last) }));
  const body = { schema: 'patchferry/bundle-parts', schemaVersion: 1, bundle: index.id, parts: stated };
  replaceFile(disk, join(folder, PARTS_FILE), await signedBytes('parts', body, options.signer));
  disk.syncFolder(place);
  const path = join(place, draft.name + INDEX_SUFFIX);
  replaceFile(disk, path, await signedBytes('index', { ...index, container: null }, options.signer));
  return {
    index: path,
    here: rangesOf(parts.flatMap(({ first, last }) => numbers(first, last))),
    left: rangesOf(wanted.slice(fits)),
    bytes: written,
  };
}

function howManyFit(options: FillOptions, disk: Disk, folder: string, wanted: readonly number[]): number {
  const { draft, place } = options;
  const { index } = draft;
  const reusable = (disk.list(folder) ?? [])
    .filter((name) => name.startsWith('.tmp-'))
    .reduce((sum, name) => sum + (disk.facts(join(folder, name))?.size ?? 0), 0);
  const room = Math.min(options.capacityBytes ?? Number.MAX_SAFE_INTEGER, disk.free(place) + reusable);
  const beside = draft.list.length + draft.leaves.length + BUNDLE_LIMITS.noteBytes;
  const budget = room - beside - (options.capacityBytes === undefined ? BUNDLE_LIMITS.reserveBytes : 0);
  let bytes = 0;
  let fits = 0;
  for (const chunk of wanted) {
    bytes += storedBytes(index, chunk, chunk);
    if (bytes > budget) break;
    fits += 1;
  }
  if (fits === wanted.length) return fits;
  const needs = wanted.reduce((sum, chunk) => sum + storedBytes(index, chunk, chunk), beside);
  if (options.whenFull !== 'fill' || fits === 0) {
    throw fault('no-space', `${place} has room for ${formatBytes(Math.max(0, room))}, ${formatBytes(needs)} are needed`, {
      where: place,
    });
  }
  return fits;
}

/** Parts on the medium whose every chunk is right; damaged ones are removed, so that they are written again. */
async function partsHere(disk: Disk, folder: string, draft: Draft, signal: AbortSignal | undefined): Promise<ChunkRange[]> {
  const found: ChunkRange[] = [];
  const buffer = Buffer.alloc(draft.index.chunkBytes + 16);
  for (const name of (disk.list(folder) ?? []).toSorted()) {
    const range = partRange(name, draft.index.chunkCount);
    if (range === undefined) continue;
    const path = join(folder, name);
    const right = disk.facts(path)?.kind === 'file' ? await rightChunks(disk, path, draft, range, buffer, signal) : 0;
    if (right === range.last - range.first + 1) found.push(range);
    else disk.remove(path);
  }
  return found;
}

/** How many chunks at the beginning of a file are those of `range`. */
async function rightChunks(
  disk: Disk,
  path: string,
  draft: Draft,
  range: ChunkRange,
  buffer: Buffer,
  signal: AbortSignal | undefined,
): Promise<number> {
  const handle = disk.open(path, 'r');
  try {
    let position = 0;
    for (let chunk = range.first; chunk <= range.last; chunk++) {
      signal?.throwIfAborted();
      const bytes = buffer.subarray(0, storedBytes(draft.index, chunk, chunk));
      if (disk.read(handle, bytes, position) !== bytes.length) return chunk - range.first;
      if (!(await digest(bytes)).equals(leafOf(draft, chunk))) return chunk - range.first;
      position += bytes.length;
    }
    return range.last - range.first + 1;
  } finally {
    disk.close(handle);
  }
}

const leafOf = (draft: Draft, chunk: number) => draft.leaves.subarray(chunk * HASH_BYTES, (chunk + 1) * HASH_BYTES);
const temporaryOf = (name: string) => `.tmp-${name}`;

/** Writes one part under a temporary name, going on where an earlier run stopped. Gives the bytes written now. */
async function writePart(
  disk: Disk,
  folder: string,
  draft: Draft,
  range: ChunkRange,
  signal: AbortSignal | undefined,
  onBytes: (bytes: number) => void,
): Promise<number> {
  const { index } = draft;
  const temporary = join(folder, temporaryOf(partName(range)));
  // Three buffers, used in turn: one is written while the next is hashed on another thread and the one after it is read.
  const buffers = [0, 1, 2].map(() => Buffer.alloc(index.chunkBytes + 16));
  const facts = disk.facts(temporary);
  const kept = facts?.kind === 'file' ? await rightChunks(disk, temporary, draft, range, buffers[0] as Buffer, signal) : 0;
  if (facts !== undefined && kept === 0) disk.remove(temporary);
  const handle = disk.open(temporary, kept > 0 ? 'r+' : 'wx');
  const start = kept === 0 ? 0 : storedBytes(index, range.first, range.first + kept - 1);
  let position = start;
  try {
    // What lies behind is written over. Lengths are set only where a file is too long: some FAT drivers cannot.
    if ((facts?.size ?? 0) > storedBytes(index, range.first, range.last) && kept > 0) disk.truncate(handle, position);
    const write = async (chunk: number, bytes: Buffer, leaf: Promise<Buffer>) => {
      if (!(await leaf).equals(leafOf(draft, chunk))) {
        throw fault('source-changed', `chunk ${chunk} is not what it was when the bundle was made: a source file changed`);
      }
      disk.write(handle, bytes, position);
      position += bytes.length;
      onBytes(position);
    };
    let before: { chunk: number; bytes: Buffer; leaf: Promise<Buffer> } | undefined;
    for (let chunk = range.first + kept; chunk <= range.last; chunk++) {
      signal?.throwIfAborted();
      const bytes = draft.readChunk(chunk, buffers[chunk % 3] as Buffer);
      const leaf = digest(bytes);
      if (before !== undefined) await write(before.chunk, before.bytes, before.leaf);
      before = { chunk, bytes, leaf };
    }
    if (before !== undefined) await write(before.chunk, before.bytes, before.leaf);
    disk.sync(handle);
  } finally {
    disk.close(handle);
    draft.close();
  }
  disk.rename(temporary, join(folder, partName(range)));
  disk.syncFolder(folder);
  return position - start;
}

function dropOtherTemporaries(disk: Disk, folder: string, keep: ReadonlySet<string>): void {
  for (const name of disk.list(folder) ?? []) {
    if (name.startsWith('.tmp-') && !keep.has(name)) disk.remove(join(folder, name));
  }
}

function cut({ first, last }: ChunkRange, most: number): ChunkRange[] {
  const found: ChunkRange[] = [];
  for (let at = first; at <= last; at += most) found.push({ first: at, last: Math.min(last, at + most - 1) });
  return found;
}

function numbers(first: number, last: number): number[] {
  return Array.from({ length: Math.max(0, last - first + 1) }, (_, at) => first + at);
}
