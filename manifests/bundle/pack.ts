// Putting a draft onto a medium as one tar or 7z file, or as volumes of it: container first, its hashes into the index, the index last.

import { createHash } from 'node:crypto';
import { join } from 'node:path';
import { formatBytes } from '#manifests/platform/progress';
import type { Signer } from '#manifests/trust';
import { type Disk, realDisk } from './disk.ts';
import type { Draft } from './draft.ts';
import { fault } from './faults.ts';
import { onMedium, replaceFile } from './files.ts';
import type { Filled } from './fill.ts';
import { type Container, INDEX_SUFFIX, LEAVES_FILE, LIST_FILE, storedBytes } from './format.ts';
import { BUNDLE_LIMITS } from './limits.ts';
import { HASH_BYTES } from './merkle.ts';
import { type ChunkRange, partName } from './names.ts';
import { list7z, pack7z, sevenZipProgram } from './seven.ts';
import { signedBytes } from './signed.ts';
import { digest } from './stream.ts';
import { tarBytes, tarHeader, tarPadding } from './tar.ts';

export interface PackOptions {
  readonly draft: Draft;
  readonly place: string;
  readonly signer: Signer;
  readonly format: Container['format'];
  /** Bytes of one volume; a FAT32 file holds 4 GiB - 1, which is the most and the default. */
  readonly volumeBytes?: number | undefined;
  /** Bytes of a part inside. */
  readonly partBytes?: number | undefined;
  readonly sevenZip?: string | undefined;
  readonly onProgress?: ((bytes: number, total: number) => void) | undefined;
  readonly signal?: AbortSignal | undefined;
  readonly disk?: Disk | undefined;
}

/**
 * Writes the whole bundle as one container. Run again after an interruption it compares what is on the medium and writes the
 * rest; until the index is written last, no reader sees a bundle. A 7z file is first made in the draft's folder.
 * @throws bundle.no-space, bundle.medium-gone, bundle.source-changed, bundle.no-7zip
 */
export function packContainer(options: PackOptions): Promise<Filled> {
  return onMedium(options.place, () => pack(options));
}

async function pack(options: PackOptions): Promise<Filled> {
  const { draft, place, format } = options;
  const disk = options.disk ?? realDisk;
  const { index } = draft;
  const volumeBytes = Math.min(options.volumeBytes ?? BUNDLE_LIMITS.mostPartBytes, BUNDLE_LIMITS.mostPartBytes);
  const parts = partsOf(draft, Math.min(options.partBytes ?? BUNDLE_LIMITS.partBytes, BUNDLE_LIMITS.mostPartBytes));
  let members: Container['members'] = [
    { name: LIST_FILE, size: draft.list.length },
    { name: LEAVES_FILE, size: draft.leaves.length },
    ...parts.map((range) => ({ name: partName(range), size: storedBytes(index, range.first, range.last) })),
  ];
  let archive: { readonly path: string; readonly size: number } | undefined;
  if (format === '7z') {
    archive = await make7z(options, disk, parts, members);
    members = await list7z(sevenZipProgram(options.sevenZip), archive.path, { where: archive.path, signal: options.signal });
  }
  const total = archive?.size ?? tarBytes(members.map(({ size }) => size));
  if (Math.ceil(total / volumeBytes) > BUNDLE_LIMITS.volumes)
    throw fault('name', `volumes of ${volumeBytes} bytes are too small`);
  const name = `${draft.name}.${format}`;
  const volumes = volumeWriter(disk, place, volumeNames(name, total, volumeBytes));
  const room = disk.free(place) + volumes.there;
  if (room < total + BUNDLE_LIMITS.reserveBytes) {
    throw fault('no-space', `${place} has room for ${formatBytes(room)}, ${formatBytes(total)} are needed`, { where: place });
  }
  const pieces = archive === undefined ? tarPieces(draft, parts) : filePieces(disk, archive.path, archive.size);
  let done = 0;
  try {
    for await (const piece of pieces) {
      options.signal?.throwIfAborted();
      volumes.write(piece);
      done += piece.length;
      options.onProgress?.(done, total);
    }
  } finally {
    volumes.close();
    draft.close();
  }
  const container: Container = { format, files: volumes.files(), members };
  const path = join(place, draft.name + INDEX_SUFFIX);
  replaceFile(disk, path, await signedBytes('index', { ...index, container }, options.signer));
  if (archive !== undefined) disk.remove(archive.path);
  const here = index.chunkCount === 0 ? [] : [{ first: 0, last: index.chunkCount - 1 }];
  return { index: path, here, left: [], bytes: volumes.written() };
}

function partsOf(draft: Draft, partBytes: number): ChunkRange[] {
  const { index } = draft;
  const most = Math.max(
    1,
    Math.floor(partBytes / (index.chunkBytes + 16)),
    Math.ceil(index.chunkCount / (BUNDLE_LIMITS.members - 2)),
  );
  const found: ChunkRange[] = [];
  for (let first = 0; first < index.chunkCount; first += most) {
    found.push({ first, last: Math.min(index.chunkCount, first + most) - 1 });
  }
  return found;
}

/** `NAME.7z`, or `NAME.7z.001`, `.002` … as 7-Zip's own `-v` names them. */
function volumeNames(name: string, total: number, volumeBytes: number): { name: string; size: number }[] {
  if (total <= volumeBytes) return [{ name, size: total }];
  return Array.from({ length: Math.ceil(total / volumeBytes) }, (_, at) => ({
    name: `${name}.${String(at + 1).padStart(3, '0')}`,
    size: Math.min(volumeBytes, total - at * volumeBytes),
  }));
}

/** Chunks of the draft, each against its leaf, so that no changed source gets into a container. */
async function* checkedChunks(draft: Draft, { first, last }: ChunkRange): AsyncGenerator<Buffer> {
  const buffers = [0, 1].map(() => Buffer.alloc(draft.index.chunkBytes + 16));
  let next: { bytes: Buffer; leaf: Promise<Buffer> } | undefined;
  for (let chunk = first; chunk <= last; chunk++) {
    const { bytes, leaf }: { bytes: Buffer; leaf: Promise<Buffer> } = next ?? start(chunk);
    next = chunk < last ? start(chunk + 1) : undefined;
    if (!(await leaf).equals(draft.leaves.subarray(chunk * HASH_BYTES, (chunk + 1) * HASH_BYTES))) {
      throw fault('source-changed', `chunk ${chunk} is not what it was when the bundle was made: a source file changed`);
    }
    yield bytes;
  }
  function start(chunk: number) {
    const bytes = draft.readChunk(chunk, buffers[chunk % 2] as Buffer);
    return { bytes, leaf: digest(bytes) };
  }
}

async function* tarPieces(draft: Draft, parts: readonly ChunkRange[]): AsyncGenerator<Buffer> {
  for (const [name, bytes] of [
    [LIST_FILE, draft.list],
    [LEAVES_FILE, draft.leaves],
  ] as const) {
    yield tarHeader(name, bytes.length);
    yield bytes;
    yield Buffer.alloc(tarPadding(bytes.length));
  }
  for (const range of parts) {
    const size = storedBytes(draft.index, range.first, range.last);
    yield tarHeader(partName(range), size);
    yield* checkedChunks(draft, range);
    yield Buffer.alloc(tarPadding(size));
  }
  yield Buffer.alloc(1024);
}

const COPY_BYTES = 4 * 1024 * 1024;

function* filePieces(disk: Disk, path: string, size: number): Generator<Buffer> {
  const handle = disk.open(path, 'r');
  try {
    const buffer = Buffer.alloc(COPY_BYTES);
    for (let position = 0; position < size; ) {
      const got = disk.read(handle, buffer.subarray(0, Math.min(buffer.length, size - position)), position);
      if (got === 0) throw fault('source-changed', `${path} became shorter`, { where: path });
      yield buffer.subarray(0, got);
      position += got;
    }
  } finally {
    disk.close(handle);
  }
}

/** Writes parts into the draft's folder and packs them there. */
async function make7z(
  options: PackOptions,
  disk: Disk,
  parts: readonly ChunkRange[],
  members: Container['members'],
): Promise<{ path: string; size: number }> {
  const { draft } = options;
  const program = sevenZipProgram(options.sevenZip);
  const folder = join(draft.folder, 'members');
  const path = join(draft.folder, `${draft.name}.7z`);
  const bytes = members.reduce((sum, { size }) => sum + size, 0);
  const room = disk.free(draft.folder);
  if (room < 2 * bytes + BUNDLE_LIMITS.reserveBytes) {
    throw fault('no-space', `${draft.folder} has room for ${formatBytes(room)}, ${formatBytes(2 * bytes)} are needed to pack`, {
      where: draft.folder,
    });
  }
  disk.remove(folder);
  disk.remove(path);
  disk.makeFolder(folder, 0o700);
  replaceFile(disk, join(folder, LIST_FILE), draft.list);
  replaceFile(disk, join(folder, LEAVES_FILE), draft.leaves);
  for (const range of parts) {
    const handle = disk.open(join(folder, partName(range)), 'wx');
    try {
      let position = 0;
      for await (const chunk of checkedChunks(draft, range)) {
        disk.write(handle, chunk, position);
        position += chunk.length;
      }
    } finally {
      disk.close(handle);
      draft.close();
    }
  }
  const names = members.map(({ name }) => name);
  await pack7z({ program, folder, names, archive: path, bytes, signal: options.signal });
  disk.remove(folder);
  return { path, size: disk.facts(path)?.size ?? 0 };
}

/**
 * Spreads a stream over volumes. What an earlier run left under the same name is compared and kept as far as it is equal; a
 * volume gets its name when it is complete and flushed.
 */
function volumeWriter(disk: Disk, place: string, volumes: readonly { readonly name: string; readonly size: number }[]) {
  const finished: Container['files'] = [];
  const pathOf = (name: string) => join(place, name);
  const temporaryOf = (name: string) => join(place, `.tmp-${name}`);
  let open:
    | { handle: number; path: string; hash: ReturnType<typeof createHash>; position: number; there: number; longer: boolean }
    | undefined;
  let written = 0;
  const there = volumes.reduce(
    (sum, { name }) => sum + (disk.facts(pathOf(name))?.size ?? disk.facts(temporaryOf(name))?.size ?? 0),
    0,
  );

  const begin = (name: string, size: number) => {
    // A finished volume is compared under its name; one that differs is written anew under a temporary one.
    const facts = disk.facts(pathOf(name));
    if (facts?.kind === 'file' && facts.size === size) disk.rename(pathOf(name), temporaryOf(name));
    const path = temporaryOf(name);
    const left = disk.facts(path);
    if (left !== undefined && left.kind !== 'file') disk.remove(path);
    const handle = disk.open(path, left?.kind === 'file' ? 'r+' : 'wx');
    const there = left?.kind === 'file' ? left.size : 0;
    return { handle, path, hash: createHash('sha256'), position: 0, there, longer: there > size };
  };
  const put = (bytes: Buffer) => {
    if (open === undefined) return;
    if (open.there >= open.position + bytes.length) {
      const old = Buffer.alloc(bytes.length);
      disk.read(open.handle, old, open.position);
      if (!old.equals(bytes)) open.there = open.position;
    } else open.there = Math.min(open.there, open.position);
    if (open.there < open.position + bytes.length) {
      disk.write(open.handle, bytes, open.position);
      written += bytes.length;
    }
    open.hash.update(bytes);
    open.position += bytes.length;
  };

  return {
    there,
    written: () => written,
    files: () => finished,
    write(bytes: Buffer) {
      for (let rest = bytes; rest.length > 0; ) {
        const { name, size } = volumes[finished.length] as { name: string; size: number };
        open ??= begin(name, size);
        const piece = rest.subarray(0, size - open.position);
        put(piece);
        rest = rest.subarray(piece.length);
        if (open.position < size) continue;
        // Only a file that an earlier run left longer; some FAT drivers do not set lengths at all.
        if (open.longer) disk.truncate(open.handle, size);
        disk.sync(open.handle);
        disk.close(open.handle);
        disk.rename(open.path, pathOf(name));
        disk.syncFolder(place);
        finished.push({ name, size, sha256: open.hash.digest('hex') });
        open = undefined;
      }
    },
    close() {
      if (open !== undefined) disk.close(open.handle);
      open = undefined;
    },
  };
}
