// A medium or drop folder as it is found: which bundles lie there, and the parts of one that is a folder. Nothing is believed yet.
import { join } from 'node:path';
import { sha256Of } from '#manifests/schema';
import { type Disk, realDisk } from './disk.ts';
import { fault } from './faults.ts';
import { readSmall } from './files.ts';
import {
  type BundleIndex,
  FOLDER_SUFFIX,
  INDEX_SUFFIX,
  LEAVES_FILE,
  LIST_FILE,
  PARTS_FILE,
  partsSchema,
  storedBytes,
} from './format.ts';
import { BUNDLE_LIMITS } from './limits.ts';
import { HASH_BYTES } from './merkle.ts';
import { type ChunkRange, isDesktopLitter, nameFault, partRange } from './names.ts';
import { type Keys, readSigned } from './signed.ts';
import { type ListAndLeaves, rightLeaves } from './staging.ts';

/** Why one chunk or part did not arrive; the rest of the bundle may be good. */
export interface Problem {
  readonly code: 'bundle.file-changed' | 'bundle.file-removed' | 'bundle.truncated';
  /** File on the medium. */
  readonly part: string;
  /** Chunks concerned. */
  readonly chunks: ChunkRange;
  readonly says: string;
}

export interface FoundBundle {
  /** `ward-7-000012-content`. */
  readonly name: string;
  /** Path of its signed index. */
  readonly index: string;
}

/** The bundles in a folder, by their index files, sorted by name. What else lies there is none of our business. */
export function findBundles(place: string, disk: Disk = realDisk): FoundBundle[] {
  const names = disk.list(place) ?? [];
  if (names.length > BUNDLE_LIMITS.namesOnMedium) {
    throw fault('too-large', `${place} holds ${names.length} files; a stick for bundles does not`, { where: place });
  }
  return names
    .filter((name) => name.endsWith(INDEX_SUFFIX) && !isDesktopLitter(name) && nameFault(name) === undefined)
    .toSorted()
    .map((name) => ({ name: name.slice(0, -INDEX_SUFFIX.length), index: join(place, name) }));
}

/** A part that is on the medium. */
export interface PartHere {
  readonly name: string;
  readonly path: string;
  readonly range: ChunkRange;
  readonly size: number;
}

export interface FolderHere {
  readonly folder: string;
  readonly lists: ListAndLeaves | undefined;
  readonly parts: readonly PartHere[];
  readonly problems: readonly Problem[];
}

export function folderOf(indexPath: string): string {
  return indexPath.slice(0, -INDEX_SUFFIX.length) + FOLDER_SUFFIX;
}

/**
 * Looks at the folder of parts beside an index: only files that belong there, each a regular file.
 * @throws bundle.file-added, bundle.file-removed, bundle.file-changed, bundle.hostile-entry
 */
export function lookIntoFolder(disk: Disk, indexPath: string, index: BundleIndex, keys: Keys): FolderHere {
  const folder = folderOf(indexPath);
  const top = disk.facts(folder);
  if (top === undefined) throw fault('file-removed', `${folder} is gone, only its index is there`, { where: folder });
  if (top.kind !== 'folder') throw fault('hostile-entry', `${folder} is no folder`, { where: folder });
  const names = disk.list(folder) ?? [];
  if (names.length > BUNDLE_LIMITS.namesOnMedium) {
    throw fault('hostile-entry', `${folder} holds ${names.length} files`, { where: folder });
  }
  const beside = index.version === 1 ? [] : [LIST_FILE, LEAVES_FILE, PARTS_FILE];
  const parts: PartHere[] = [];
  for (const name of names.toSorted()) {
    // Ours from an export that was cut, or a desktop's: never opened.
    if (isDesktopLitter(name) || name.startsWith('.tmp-')) continue;
    const path = join(folder, name);
    const range = partRange(name, index.chunkCount);
    if (range === undefined && !beside.includes(name)) {
      const says = nameFault(name);
      if (says !== undefined) {
        throw fault('hostile-entry', `${folder} holds ${JSON.stringify(name.slice(0, 200))}, which ${says}`, { where: folder });
      }
      throw fault('file-added', `${name} does not belong into ${folder}`, { where: path });
    }
    const facts = disk.facts(path);
    if (facts?.kind !== 'file')
      throw fault('hostile-entry', `${path} is a link, folder or device, not a file`, { where: path });
    if (range !== undefined) parts.push({ name, path, range, size: facts.size });
  }
  if (index.version === 1) return { folder, lists: undefined, parts, problems: sizeProblems(parts, index) };

  const lists = readLists(disk, folder, index);
  const stated = readSmall(disk, join(folder, PARTS_FILE), BUNDLE_LIMITS.indexBytes);
  if (stated === undefined) throw fault('file-removed', `${PARTS_FILE} is gone from ${folder}`, { where: folder });
  const { body } = readSigned('parts', stated, { schema: partsSchema, keys, where: join(folder, PARTS_FILE) });
  if (body.bundle !== index.id)
    throw fault('file-changed', `${PARTS_FILE} in ${folder} is of another bundle`, { where: folder });
  const known = new Map(body.parts.map(({ name, size }) => [name, size]));
  const added = parts.find(({ name }) => !known.has(name));
  if (added !== undefined)
    throw fault('file-added', `${added.name} was not put into ${folder} by its maker`, { where: added.path });
  const here = new Set(parts.map(({ name }) => name));
  const removed = body.parts.flatMap(({ name }): Problem[] => {
    const chunks = partRange(name, index.chunkCount);
    if (here.has(name) || chunks === undefined) return [];
    return [{ code: 'bundle.file-removed', part: name, chunks, says: `${name} was put onto this medium and is gone` }];
  });
  return { folder, lists, parts, problems: [...removed, ...sizeProblems(parts, index)] };
}

function sizeProblems(parts: readonly PartHere[], index: BundleIndex): Problem[] {
  return parts.flatMap(({ name, range, size }): Problem[] => {
    const wanted = storedBytes(index, range.first, range.last);
    if (size === wanted) return [];
    const says = `${name} has ${size} bytes, ${wanted} were put there`;
    return [{ code: size < wanted ? 'bundle.truncated' : 'bundle.file-changed', part: name, chunks: range, says }];
  });
}

/** List and leaves beside the parts, checked. @throws bundle.file-removed, bundle.file-changed */
function readLists(disk: Disk, folder: string, index: BundleIndex): ListAndLeaves {
  const list = readSmall(disk, join(folder, LIST_FILE), BUNDLE_LIMITS.listBytes);
  const leaves = readSmall(disk, join(folder, LEAVES_FILE), BUNDLE_LIMITS.chunks * HASH_BYTES);
  if (list === undefined || leaves === undefined) {
    const gone = list === undefined ? LIST_FILE : LEAVES_FILE;
    throw fault('file-removed', `${gone} is gone from ${folder}`, { where: folder });
  }
  checkLists({ list, leaves }, index, folder);
  return { list, leaves };
}

/** @throws bundle.truncated, bundle.file-changed */
export function checkLists({ list, leaves }: ListAndLeaves, index: BundleIndex, where: string): void {
  if (list.length < (index.list?.size ?? 0) || leaves.length < index.chunkCount * HASH_BYTES) {
    throw fault('truncated', `${list.length < (index.list?.size ?? 0) ? LIST_FILE : LEAVES_FILE} in ${where} is cut`, {
      where,
    });
  }
  if (sha256Of(list) !== index.list?.sha256) throw fault('file-changed', `${LIST_FILE} in ${where} was changed`, { where });
  if (!rightLeaves(leaves, index)) throw fault('file-changed', `${LEAVES_FILE} in ${where} was changed`, { where });
}

/** A chunk as it was read, or why it could not be. */
export interface ReadChunk {
  readonly part: string;
  readonly chunk: number;
  readonly bytes: Buffer | undefined;
  readonly says?: string;
}

/**
 * Reads the wanted chunks of the parts. A buffer is used again three chunks later. A chunk that the medium cannot read is
 * given without bytes as long as the medium is there.
 */
export function* folderChunks(
  disk: Disk,
  here: FolderHere,
  index: BundleIndex,
  wants: (chunk: number) => boolean,
): Generator<ReadChunk> {
  const buffers = [0, 1, 2].map(() => Buffer.alloc(index.chunkBytes + 16));
  let turn = 0;
  for (const { name, path, range } of here.parts) {
    if (!anyWanted(range, wants)) continue;
    const handle = disk.open(path, 'r');
    try {
      for (let chunk = range.first; chunk <= range.last; chunk++) {
        if (!wants(chunk)) continue;
        const size = storedBytes(index, chunk, chunk);
        const into = (buffers[turn++ % 3] as Buffer).subarray(0, size);
        const position = chunk === range.first ? 0 : storedBytes(index, range.first, chunk - 1);
        let got: number;
        try {
          got = disk.read(handle, into, position);
        } catch (cause) {
          // A bad sector concerns one chunk; a medium that is gone concerns all.
          if ((cause as NodeJS.ErrnoException).code !== 'EIO' || disk.facts(path) === undefined) throw cause;
          yield { part: name, chunk, bytes: undefined, says: `cannot be read (${(cause as Error).message})` };
          continue;
        }
        if (got === size) yield { part: name, chunk, bytes: into };
        else yield { part: name, chunk, bytes: undefined };
      }
    } finally {
      disk.close(handle);
    }
  }
}

function anyWanted({ first, last }: ChunkRange, wants: (chunk: number) => boolean): boolean {
  for (let chunk = first; chunk <= last; chunk++) if (wants(chunk)) return true;
  return false;
}
