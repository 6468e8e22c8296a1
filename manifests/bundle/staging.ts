// Where the receiving side collects: verified chunks are put straight into the files they belong to, over any number of sticks
// and interruptions. Nothing here is visible to anyone until every entry was hashed and the tree got its name.
import { join } from 'node:path';
import { canonicalJson, sha256Of } from '#manifests/schema';
import type { BoxKeyPair } from '#manifests/trust';
import type { Disk } from './disk.ts';
import { entryHasher } from './draft.ts';
import { fault } from './faults.ts';
import { readSmall, replaceFile } from './files.ts';
import { type BundleEntry, type BundleIndex, decodeList, LEAVES_FILE, LIST_FILE, storedBytes } from './format.ts';
import { BUNDLE_LIMITS } from './limits.ts';
import { HASH_BYTES, merkleRoot } from './merkle.ts';
import { LIST_PIECE, type Seal, sealWith, unwrapContentKey } from './seal.ts';
import { digest, type Layout, layoutOf } from './stream.ts';

/** The folder of one bundle below a staging folder. */
export const stagedFolder = (staging: string, id: string) => join(staging, id);
const TREE = 'tree';
const TREE_PART = 'tree.part';
const DONE = 'done.bin';
const INDEX = 'index.json';
const STAMP = 'contents';

export interface Staged {
  readonly folder: string;
  readonly index: BundleIndex;
  readonly entries: readonly BundleEntry[];
  readonly layout: Layout;
  readonly leaves: Buffer;
  has(chunk: number): boolean;
  missing(): number[];
  /** Takes a chunk that was read from a medium; false when it is not the one that was signed. Never while a flush runs. */
  take(chunk: number, stored: Buffer, leaf: Buffer): boolean;
  /** Makes what was taken so far survive a power cut. */
  flush(): Promise<void>;
  /** Whether enough was taken for a flush. */
  flushDue(): boolean;
  /** Bytes of entries that are still to come. */
  bytesLeft(): number;
  /** Hashes what was not hashed on its way; damaged chunks are forgotten and named. Empty when all entries are right. */
  check(signal?: AbortSignal): Promise<number[]>;
  /** Gives the tree its name. @returns its path */
  reveal(): string;
  close(): void;
}

/** What was collected counts only for the very same contents: same root, same list. */
function stampOf(index: BundleIndex): Buffer {
  const list = index.list?.sha256 ?? sha256Of(canonicalJson(index.inline?.entries));
  return Buffer.from(`${index.version} ${index.root} ${list}\n`);
}

/** The finished tree of a bundle that was collected whole, if it is here. */
export function finishedTree(disk: Disk, staging: string, index: BundleIndex): string | undefined {
  const folder = stagedFolder(staging, index.id);
  const tree = join(folder, TREE);
  if (disk.facts(tree)?.kind !== 'folder') return undefined;
  return readSmall(disk, join(folder, STAMP), 1_000)?.equals(stampOf(index)) === true ? tree : undefined;
}

/** Forgets everything that was collected of a bundle. */
export function dropStaged(disk: Disk, staging: string, id: string): void {
  disk.remove(stagedFolder(staging, id));
}

export interface ListAndLeaves {
  readonly list: Buffer;
  readonly leaves: Buffer;
}

/** The list and leaves kept from an earlier stick, when they are those of this index. */
export function keptLists(disk: Disk, staging: string, index: BundleIndex): ListAndLeaves | undefined {
  const folder = stagedFolder(staging, index.id);
  const list = readSmall(disk, join(folder, LIST_FILE), BUNDLE_LIMITS.listBytes);
  const leaves = readSmall(disk, join(folder, LEAVES_FILE), BUNDLE_LIMITS.chunks * HASH_BYTES);
  if (list === undefined || leaves === undefined) return undefined;
  return sha256Of(list) === index.list?.sha256 && rightLeaves(leaves, index) ? { list, leaves } : undefined;
}

export function rightLeaves(leaves: Buffer, index: BundleIndex): boolean {
  return leaves.length === index.chunkCount * HASH_BYTES && merkleRoot(leaves) === index.root;
}

/** Opens the list of entries of an index whose list and leaves were checked. @throws bundle.sealed and what decodeList throws */
export function openList(
  index: BundleIndex,
  lists: ListAndLeaves | undefined,
  recipient: BoxKeyPair | undefined,
  where: string,
) {
  if (index.inline !== null) return { ...index.inline, seal: undefined as Seal | undefined };
  if (lists === undefined) throw fault('file-removed', `${where}: ${LIST_FILE} or ${LEAVES_FILE} is gone`, { where });
  const seal = index.sealed === null ? undefined : sealWith(unwrapContentKey(index.sealed, recipient), index.id);
  const plain = seal?.open(LIST_PIECE, lists.list) ?? lists.list;
  return { entries: decodeList(plain, index, where), leaves: lists.leaves, seal };
}

export interface OpenStagedOptions {
  readonly disk: Disk;
  readonly staging: string;
  readonly index: BundleIndex;
  readonly indexBytes: Uint8Array;
  readonly lists: ListAndLeaves | undefined;
  readonly recipient: BoxKeyPair | undefined;
  readonly where: string;
}

/** Opens the collection of a bundle, going on with what is there. @throws bundle.sealed, bundle.hostile-entry, bundle.malformed */
export function openStaged(options: OpenStagedOptions): Staged {
  const { disk, staging, index } = options;
  const folder = stagedFolder(staging, index.id);
  const { entries, leaves, seal } = openList(index, options.lists, options.recipient, options.where);
  const layout = layoutOf(entries, index.chunkBytes);
  const tree = join(folder, TREE_PART);

  const stamp = stampOf(index);
  const stampFile = join(folder, STAMP);
  const known = readSmall(disk, stampFile, 1_000);
  if (known !== undefined && !known.equals(stamp)) disk.remove(folder);
  disk.makeFolder(folder, 0o700);
  if (!known?.equals(stamp)) {
    if (options.lists !== undefined) {
      replaceFile(disk, join(folder, LIST_FILE), options.lists.list);
      replaceFile(disk, join(folder, LEAVES_FILE), options.lists.leaves);
    }
    replaceFile(disk, join(folder, INDEX), options.indexBytes);
    replaceFile(disk, stampFile, stamp);
  }
  const kept = readSmall(disk, join(folder, DONE), BUNDLE_LIMITS.chunks);
  /** One byte a chunk: what is on disk for sure, as the file says it. */
  const done = kept?.length === index.chunkCount ? Buffer.from(kept) : Buffer.alloc(index.chunkCount);
  /** Taken, not yet flushed. */
  const fresh = new Set<number>();
  const dirty = new Set<number>();
  const verified = new Set<number>();
  const made = new Set<string>();
  let unflushed = 0;
  let open: { entry: number; handle: number } | undefined;

  const pathOf = (entry: number) => join(tree, ...(entries[entry]?.path ?? '').split('/'));
  const closeOpen = () => {
    if (open !== undefined) disk.close(open.handle);
    open = undefined;
  };
  const handleOf = (entry: number): number => {
    if (open?.entry === entry) return open.handle;
    closeOpen();
    const path = pathOf(entry);
    const parent = join(path, '..');
    if (!made.has(parent)) {
      disk.makeFolder(parent, 0o755);
      made.add(parent);
    }
    open = { entry, handle: disk.open(path, disk.facts(path) === undefined ? 'wx' : 'r+') };
    return open.handle;
  };
  const hasher = entryHasher(entries, (entry, found) => {
    if (found === entries[entry]?.sha256) verified.add(entry);
  });
  const has = (chunk: number) => done[chunk] === 1 || fresh.has(chunk);

  const flush = async () => {
    if (fresh.size === 0) return;
    closeOpen();
    await disk.syncFiles([...dirty].map(pathOf));
    for (const chunk of fresh) done[chunk] = 1;
    replaceFile(disk, join(folder, DONE), done);
    fresh.clear();
    dirty.clear();
    unflushed = 0;
  };

  /** Reads a chunk back from the tree as it lay on the medium. */
  const readBack = (chunk: number): Buffer => {
    const plain = Buffer.alloc(layout.chunkSize(chunk));
    for (const { entry, at, inChunk, length } of layout.pieces(chunk)) {
      if (disk.facts(pathOf(entry)) === undefined) continue;
      disk.read(handleOf(entry), plain.subarray(inChunk, inChunk + length), at);
    }
    return seal?.close(chunk, plain) ?? plain;
  };
  const isRight = (entry: number): boolean => {
    const { size } = entries[entry] as BundleEntry;
    if (disk.facts(pathOf(entry))?.size !== size) return false;
    let found = false;
    const own = entryHasher([{ ...(entries[entry] as BundleEntry) }], (_, sha256) => {
      found = sha256 === entries[entry]?.sha256;
    });
    const buffer = Buffer.alloc(Math.min(size, index.chunkBytes));
    for (let at = 0; at < size; at += buffer.length) {
      const part = buffer.subarray(0, Math.min(buffer.length, size - at));
      if (disk.read(handleOf(entry), part, at) !== part.length) return false;
      own.update(0, part, at);
    }
    return found;
  };

  return {
    folder,
    index,
    entries,
    layout,
    leaves,
    has,
    missing: () => Array.from({ length: index.chunkCount }, (_, chunk) => chunk).filter((chunk) => !has(chunk)),
    take(chunk, stored, leaf) {
      if (has(chunk)) return true;
      if (!leaf.equals(leaves.subarray(chunk * HASH_BYTES, (chunk + 1) * HASH_BYTES))) return false;
      const plain = seal?.open(chunk, stored) ?? stored;
      for (const { entry, at, inChunk, length } of layout.pieces(chunk)) {
        const bytes = plain.subarray(inChunk, inChunk + length);
        disk.write(handleOf(entry), bytes, at);
        hasher.update(entry, bytes, at);
        dirty.add(entry);
      }
      fresh.add(chunk);
      unflushed += plain.length;
      return true;
    },
    flush,
    flushDue: () => unflushed >= BUNDLE_LIMITS.flushBytes,
    bytesLeft() {
      let bytes = 0;
      for (let chunk = 0; chunk < index.chunkCount; chunk++) if (!has(chunk)) bytes += storedBytes(index, chunk, chunk);
      return bytes;
    },
    async check(signal) {
      await flush();
      for (const [entry, { size }] of entries.entries()) {
        if (size === 0) disk.truncate(handleOf(entry), 0);
      }
      const bad = new Set<number>();
      for (const [entry, { size, path }] of entries.entries()) {
        signal?.throwIfAborted();
        if (size === 0 || verified.has(entry) || isRight(entry)) continue;
        const { first, last } = layout.chunksOf(entry) as { first: number; last: number };
        const before = bad.size;
        for (let chunk = first; chunk <= last; chunk++) {
          const leaf = await digest(readBack(chunk));
          if (!leaf.equals(leaves.subarray(chunk * HASH_BYTES, (chunk + 1) * HASH_BYTES))) bad.add(chunk);
        }
        if (bad.size === before && ![...bad].some((chunk) => chunk >= first && chunk <= last)) {
          throw fault('malformed', `the signed list names another hash for ${path} than its signed chunks have`, {
            where: path,
          });
        }
      }
      if (bad.size > 0) {
        for (const chunk of bad) done[chunk] = 0;
        replaceFile(disk, join(folder, DONE), done);
      }
      return [...bad].toSorted((a, b) => a - b);
    },
    reveal() {
      closeOpen();
      disk.makeFolder(tree, 0o755);
      const folders = new Set<string>([tree]);
      for (const { path } of entries) {
        const parts = path.split('/').slice(0, -1);
        for (let deep = 1; deep <= parts.length; deep++) folders.add(join(tree, ...parts.slice(0, deep)));
      }
      for (const one of folders) disk.syncFolder(one);
      const named = join(folder, TREE);
      disk.rename(tree, named);
      disk.syncFolder(folder);
      return named;
    },
    close: closeOpen,
  };
}
