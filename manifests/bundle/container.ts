// Containers on the receiving side: volumes gathered and hashed into a private copy; only then opened, and compared to the signed index.

import { createHash } from 'node:crypto';
import { dirname, join } from 'node:path';
import { formatBytes } from '#manifests/platform/progress';
import { sha256Of } from '#manifests/schema';
import type { Disk } from './disk.ts';
import { fault } from './faults.ts';
import { readSmall, replaceFile } from './files.ts';
import { type BundleIndex, type Container, LEAVES_FILE, LIST_FILE, storedBytes } from './format.ts';
import { BUNDLE_LIMITS } from './limits.ts';
import { type ChunkRange, partRange } from './names.ts';
import { checkLists, type Problem, type ReadChunk } from './place.ts';
import { list7z, looksLike7z, sevenZipProgram, unpack7z } from './seven.ts';
import { type ListAndLeaves, stagedFolder } from './staging.ts';
import { looksLikeTar, readTar, TAR_BLOCK } from './tar.ts';

export type Gathered =
  | {
      readonly kind: 'partial';
      readonly have: number;
      readonly total: number;
      readonly missing: number[];
      readonly problems: Problem[];
    }
  | {
      readonly kind: 'planned';
      readonly have: number;
      readonly total: number;
      readonly bytes: number;
      readonly problems: Problem[];
    }
  /** All volumes, one after the other, in one file that nobody else can write; every one of them was hashed. */
  | { readonly kind: 'whole'; readonly file: string; drop(): void };

export interface GatherOptions {
  readonly disk: Disk;
  readonly indexPath: string;
  readonly index: BundleIndex;
  readonly staging: string;
  readonly dryRun: boolean;
  readonly onProgress?: ((bytes: number, total: number) => void) | undefined;
  readonly signal?: AbortSignal | undefined;
}

/** Bytes copied at a time. */
const COPY_BYTES = 4 * 1024 * 1024;

/**
 * Copies the volumes that are on this medium into the staging folder, each hashed on the way and kept only when it is the
 * signed one. The copy is what gets opened: a medium could show one thing to the hash and another to the tool.
 */
export async function gatherContainer(options: GatherOptions): Promise<Gathered> {
  const { disk, index, signal } = options;
  const { files } = containerOf(index);
  const place = dirname(options.indexPath);
  const folder = join(stagedFolder(options.staging, index.id), `container-${sha256Of(JSON.stringify(files)).slice(0, 16)}`);
  const copy = join(folder, 'volumes');
  const doneFile = join(folder, 'done.bin');
  const kept = readSmall(disk, doneFile, BUNDLE_LIMITS.volumes);
  const done = kept?.length === files.length ? Buffer.from(kept) : Buffer.alloc(files.length);
  const problems: Problem[] = [];

  const todo: { at: number; offset: number }[] = [];
  let offset = 0;
  for (const [at, { name, size }] of files.entries()) {
    const facts = done[at] === 1 ? undefined : disk.facts(join(place, name));
    if (facts !== undefined) {
      if (facts.kind !== 'file')
        throw fault('hostile-entry', `${name} is a link, folder or device, not a file`, { where: name });
      if (facts.size === size) todo.push({ at, offset });
      else {
        const says = `${name} has ${facts.size} bytes, signed are ${size}`;
        const code = facts.size < size ? 'bundle.truncated' : 'bundle.file-changed';
        problems.push({ code, part: name, chunks: { first: at, last: at }, says });
      }
    } else if (done[at] !== 1 && files.length === 1) {
      const says = `${name} is gone, only its index is there`;
      problems.push({ code: 'bundle.file-removed', part: name, chunks: { first: at, last: at }, says });
    }
    offset += size;
  }
  const total = todo.reduce((sum, { at }) => sum + (files[at]?.size ?? 0), 0);
  const have = () => done.reduce((sum, flag) => sum + flag, 0);
  if (options.dryRun) return { kind: 'planned', have: have(), total: files.length, bytes: total, problems };
  const room = disk.free(options.staging);
  if (room < total + index.streamBytes + BUNDLE_LIMITS.reserveBytes) {
    const needs = total + index.streamBytes;
    throw fault('no-space', `${options.staging} has room for ${formatBytes(room)}, ${formatBytes(needs)} are needed`, {
      where: options.staging,
    });
  }

  disk.makeFolder(folder, 0o700);
  const target = disk.open(copy, disk.facts(copy) === undefined ? 'wx' : 'r+', 0o600);
  try {
    const buffer = Buffer.alloc(COPY_BYTES);
    let copied = 0;
    for (const { at, offset: start } of todo) {
      const { name, size, sha256 } = files[at] as Container['files'][number];
      const source = disk.open(join(place, name), 'r');
      try {
        const hash = createHash('sha256');
        for (let position = 0; position < size; ) {
          signal?.throwIfAborted();
          const got = disk.read(source, buffer.subarray(0, Math.min(buffer.length, size - position)), position);
          if (got === 0) break;
          disk.write(target, buffer.subarray(0, got), start + position);
          hash.update(buffer.subarray(0, got));
          position += got;
          options.onProgress?.(copied + position, total);
        }
        copied += size;
        if (hash.digest('hex') === sha256) {
          disk.sync(target);
          done[at] = 1;
          replaceFile(disk, doneFile, done);
        } else {
          const says = `${name} is damaged or was changed`;
          problems.push({ code: 'bundle.file-changed', part: name, chunks: { first: at, last: at }, says });
        }
      } finally {
        disk.close(source);
      }
    }
  } finally {
    disk.close(target);
  }
  const missing = [...done.keys()].filter((at) => done[at] !== 1);
  if (missing.length > 0) return { kind: 'partial', have: have(), total: files.length, missing, problems };
  return { kind: 'whole', file: copy, drop: () => disk.remove(folder) };
}

function containerOf(index: BundleIndex): Container {
  if (index.container === null) throw new TypeError('this bundle is a folder');
  return index.container;
}

export interface OpenedContainer {
  readonly lists: ListAndLeaves;
  /** The wanted chunks in order. A buffer is used again three chunks later. */
  chunks(wants: (chunk: number) => boolean): Iterable<ReadChunk> | AsyncIterable<ReadChunk>;
  close(): Promise<void>;
}

export interface OpenContainerOptions {
  readonly disk: Disk;
  readonly index: BundleIndex;
  /** The gathered, hashed file. */
  readonly file: string;
  /** What people know it by. */
  readonly where: string;
  readonly sevenZip: string | undefined;
  readonly signal: AbortSignal | undefined;
}

/**
 * Opens a hashed container: format by content, then entries against the signed list, then the contents.
 * @throws bundle.other-format, bundle.hostile-entry, bundle.truncated, bundle.file-changed, bundle.no-7zip
 */
export async function containerChunks(options: OpenContainerOptions): Promise<OpenedContainer> {
  const { disk, index, file, where } = options;
  const { format } = containerOf(index);
  const handle = disk.open(file, 'r');
  try {
    const start = Buffer.alloc(TAR_BLOCK);
    disk.read(handle, start, 0);
    if (!(format === 'tar' ? looksLikeTar(start) : looksLike7z(start))) {
      throw fault('other-format', `${where} names a ${format} file, but the bytes are not of that format`, { where });
    }
    return format === 'tar' ? openTar(options, handle) : await open7z(options, handle);
  } catch (cause) {
    disk.close(handle);
    throw cause;
  }
}

function openTar({ disk, index, file, where }: OpenContainerOptions, handle: number): OpenedContainer {
  const read = (position: number, length: number) => {
    const bytes = Buffer.alloc(length);
    return bytes.subarray(0, disk.read(handle, bytes, position));
  };
  const { members } = containerOf(index);
  const found = readTar(read, disk.facts(file)?.size ?? 0, members, where);
  const whole = (name: string) => {
    const member = found.find((one) => one.name === name);
    return read(member?.at ?? 0, member?.size ?? 0);
  };
  const lists = { list: whole(LIST_FILE), leaves: whole(LEAVES_FILE) };
  checkLists(lists, index, where);
  function* chunks(wants: (chunk: number) => boolean): Generator<ReadChunk> {
    const buffers = threeBuffers(index);
    let turn = 0;
    for (const { name, at } of found) {
      const range = partRange(name, index.chunkCount);
      if (range === undefined) continue;
      for (let chunk = range.first; chunk <= range.last; chunk++) {
        if (!wants(chunk)) continue;
        const into = (buffers[turn++ % 3] as Buffer).subarray(0, storedBytes(index, chunk, chunk));
        const before = chunk === range.first ? 0 : storedBytes(index, range.first, chunk - 1);
        const got = disk.read(handle, into, at + before);
        yield { part: name, chunk, bytes: got === into.length ? into : undefined };
      }
    }
  }
  return {
    lists,
    chunks,
    close() {
      disk.close(handle);
      return Promise.resolve();
    },
  };
}

const threeBuffers = (index: BundleIndex) => [0, 1, 2].map(() => Buffer.alloc(index.chunkBytes + 16));

async function open7z(options: OpenContainerOptions, handle: number): Promise<OpenedContainer> {
  const { disk, index, file, where, signal } = options;
  const program = sevenZipProgram(options.sevenZip);
  const { members } = containerOf(index);
  const listed = await list7z(program, file, { where, signal });
  for (const [at, wanted] of members.entries()) {
    const one = listed[at];
    if (one?.name !== wanted.name || one.size !== wanted.size) {
      const found = one === undefined ? 'nothing' : `${JSON.stringify(one.name.slice(0, 200))} with ${one.size} bytes`;
      throw fault('hostile-entry', `${where}: the entry ${found} stands where ${wanted.name} was signed`, { where });
    }
  }
  if (listed.length > members.length) {
    throw fault('hostile-entry', `${where}: the entry ${JSON.stringify(listed[members.length]?.name)} was not signed`, {
      where,
    });
  }
  const cwd = dirname(file);
  const small = async (name: string, size: number) => {
    const piped = await unpack7z(program, file, [name], size, cwd, signal);
    const bytes = Buffer.alloc(size);
    let got = 0;
    for await (const piece of piped.output) {
      if (got + piece.length > size)
        throw fault('hostile-entry', `${where}: ${name} gives more bytes than were signed`, { where });
      got += piece.copy(bytes, got);
    }
    await piped.ended;
    return bytes.subarray(0, got);
  };
  const lists = {
    list: await small(LIST_FILE, index.list?.size ?? 0),
    leaves: await small(LEAVES_FILE, index.chunkCount * 32),
  };
  checkLists(lists, index, where);
  const parts = members.flatMap(({ name }): { name: string; range: ChunkRange }[] => {
    const range = partRange(name, index.chunkCount);
    return range === undefined ? [] : [{ name, range }];
  });
  async function* chunks(wants: (chunk: number) => boolean): AsyncGenerator<ReadChunk> {
    if (parts.length === 0) return;
    const total = storedBytes(index, 0, index.chunkCount - 1);
    const piped = await unpack7z(program, file, ['*.pfp'], total, cwd, signal);
    const pieces = piped.output[Symbol.asyncIterator]();
    let rest: Buffer = Buffer.alloc(0);
    const buffers = threeBuffers(index);
    const skipped = Buffer.alloc(index.chunkBytes + 16);
    let turn = 0;
    try {
      for (const { name, range } of parts) {
        for (let chunk = range.first; chunk <= range.last; chunk++) {
          const wanted = wants(chunk);
          const into = (wanted ? (buffers[turn++ % 3] as Buffer) : skipped).subarray(0, storedBytes(index, chunk, chunk));
          let got = 0;
          while (got < into.length) {
            if (rest.length === 0) {
              const next = await pieces.next();
              if (next.done === true) break;
              rest = next.value;
            }
            const taken = rest.copy(into, got);
            got += taken;
            rest = rest.subarray(taken);
          }
          if (got < into.length) {
            signal?.throwIfAborted();
            yield { part: name, chunk, bytes: undefined };
            return;
          }
          if (wanted) yield { part: name, chunk, bytes: into };
        }
      }
    } finally {
      piped.kill();
      await piped.ended;
    }
  }
  return {
    lists,
    chunks,
    close() {
      disk.close(handle);
      return Promise.resolve();
    },
  };
}
