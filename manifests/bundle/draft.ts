// A bundle in the making, kept in a work folder: what goes in, read and hashed once; it can then be put on any number of media.
import { createHash, randomBytes } from 'node:crypto';
import { join } from 'node:path';
import { z } from 'zod';
import { utcSeconds } from '#manifests/platform/clock';
import { canonicalJson, sha256Of } from '#manifests/schema';
import { type Disk, realDisk } from './disk.ts';
import { fault } from './faults.ts';
import { onMedium, readSmall, replaceFile } from './files.ts';
import {
  type Answered,
  type BundleEntry,
  type BundleKind,
  bundleId,
  encodeList,
  type IndexV2,
  LEAVES_FILE,
  LIST_FILE,
} from './format.ts';
import { BUNDLE_LIMITS } from './limits.ts';
import { HASH_BYTES, merkleRoot } from './merkle.ts';
import { nameFault, namesFault } from './names.ts';
import { LIST_PIECE, type Seal, sealWith, wrapContentKey } from './seal.ts';
import { digest, type Layout, layoutOf } from './stream.ts';

/** One file to pack: from a file on disk (its hash checked when it is known), or from bytes. */
export type SourceEntry =
  | { readonly path: string; readonly file: string; readonly sha256?: string }
  | { readonly path: string; readonly bytes: Uint8Array };

export interface BundleAbout {
  readonly kind: BundleKind;
  readonly site: string;
  readonly sequence: number;
  /** Who makes it, in words. */
  readonly from: string;
  readonly since?: number | undefined;
  readonly answers?: Answered | undefined;
  readonly note?: string | undefined;
  /** Milliseconds since 1970. */
  readonly madeAt: number;
  readonly expires: number;
}

export interface DraftOptions {
  /** Folder for drafts; this one becomes a folder in it. */
  readonly work: string;
  readonly about: BundleAbout;
  /** In the order in which they are packed: small and urgent ones first. */
  readonly entries: readonly SourceEntry[];
  /** X25519 keys (hex) that can open it; absent: anybody can read what is in it. */
  readonly sealTo?: readonly string[] | undefined;
  readonly chunkBytes?: number | undefined;
  readonly onProgress?: ((bytes: number, total: number) => void) | undefined;
  readonly signal?: AbortSignal | undefined;
  readonly disk?: Disk | undefined;
}

/** The signed part of the index as far as it is known before a container is made. */
export type DraftIndex = Omit<IndexV2, 'container'>;

export interface Draft {
  readonly folder: string;
  readonly name: string;
  readonly index: DraftIndex;
  readonly layout: Layout;
  readonly leaves: Buffer;
  /** The list as it goes onto the medium. */
  readonly list: Buffer;
  /** Reads a chunk from the sources, sealed when the bundle is. @throws bundle.source-changed */
  readChunk(chunk: number, into: Buffer): Buffer;
  /** Closes the source file that is still open. */
  close(): void;
}

/** `ward-7-000012-content`: site, number, kind. */
export function bundleName(about: Pick<BundleAbout, 'site' | 'sequence' | 'kind'>): string {
  const name = `${about.site}-${String(about.sequence).padStart(6, '0')}-${about.kind}`;
  const says = nameFault(name);
  if (says !== undefined) throw fault('name', `the site name ${JSON.stringify(about.site)} ${says}`);
  return name;
}

const storedDraft = z.strictObject({
  index: z.custom<DraftIndex>((value) => typeof value === 'object' && value !== null),
  entries: z.array(z.custom<BundleEntry>((value) => typeof value === 'object' && value !== null)),
  files: z.array(z.string()),
  contentKey: z.string().nullable(),
  /** What was asked for, without the moments: an export made again goes on with this draft when it is equal. */
  asked: z.string(),
});
const DRAFT_FILE = 'draft.json';
/** A draft is our own file; the bound only keeps a damaged one from filling memory. */
const DRAFT_BYTES = 512 * 1024 * 1024;

/**
 * Reads and hashes everything once: entries against the hashes they must have, chunks for the index. Writes only into `work`.
 * @throws bundle.source-changed, bundle.name, bundle.no-space
 */
export function draftBundle(options: DraftOptions): Promise<Draft> {
  return onMedium(options.work, () => makeDraft(options));
}

async function makeDraft(options: DraftOptions): Promise<Draft> {
  const { about, signal } = options;
  const disk = options.disk ?? realDisk;
  const chunkBytes = options.chunkBytes ?? BUNDLE_LIMITS.chunkBytes;
  const name = bundleName(about);
  const bad = namesFault(options.entries.map(({ path }) => path));
  if (bad !== undefined) throw fault('name', `the entry ${JSON.stringify(bad.path.slice(0, 200))} ${bad.says}`);
  if (options.entries.length > BUNDLE_LIMITS.entries) throw fault('too-large', `${options.entries.length} files in one bundle`);

  const folder = join(options.work, name);
  disk.remove(folder);
  disk.makeFolder(folder, 0o700);
  const { files, sizes } = placeBytes(disk, folder, options.entries);
  const declared = options.entries.map((entry) => ('file' in entry ? (entry.sha256 ?? null) : sha256Of(entry.bytes)));
  const asked = askedFor(options, sizes, declared);
  const contentKey = options.sealTo === undefined ? undefined : randomBytes(32);
  const sealed = contentKey === undefined ? null : wrapContentKey(contentKey, options.sealTo ?? []);
  const stated = {
    kind: about.kind,
    site: about.site,
    sequence: about.sequence,
    madeAt: utcSeconds(about.madeAt),
    expires: utcSeconds(about.expires),
    answers: about.answers ?? null,
    from: about.from,
    since: about.since ?? null,
    note: about.note ?? '',
    chunkBytes,
    sealed,
  };
  const id = bundleId({ ...stated, paths: options.entries.map(({ path }) => path), sizes, declared });
  const seal = contentKey === undefined ? undefined : sealWith(contentKey, id);

  const unhashed = options.entries.map(({ path }, at) => ({ path, size: sizes[at] ?? 0, sha256: declared[at] ?? '' }));
  const layout = layoutOf(unhashed, chunkBytes);
  if (layout.chunkCount > BUNDLE_LIMITS.chunks) throw fault('too-large', `${layout.chunkCount} chunks in one bundle`);
  const reader = sourceReader(disk, layout, files, seal);
  const leaves = Buffer.alloc(layout.chunkCount * HASH_BYTES);
  const entries: BundleEntry[] = [];
  try {
    const hasher = entryHasher(unhashed, (entry, found) => {
      const wanted = unhashed[entry]?.sha256 ?? '';
      if (wanted !== '' && wanted !== found) {
        throw fault('source-changed', `${files[entry]} has not the hash ${wanted.slice(0, 16)}… that it must have`, {
          where: files[entry],
        });
      }
      entries[entry] = { path: unhashed[entry]?.path ?? '', size: unhashed[entry]?.size ?? 0, sha256: found };
    });
    const buffers = [Buffer.alloc(chunkBytes), Buffer.alloc(chunkBytes)];
    let before: Promise<Buffer> | undefined;
    for (let chunk = 0; chunk < layout.chunkCount; chunk++) {
      signal?.throwIfAborted();
      const plain = reader.plain(chunk, buffers[chunk % 2] as Buffer);
      const leaf = digest(seal?.close(chunk, plain) ?? plain);
      for (const piece of layout.pieces(chunk)) {
        hasher.update(piece.entry, plain.subarray(piece.inChunk, piece.inChunk + piece.length), piece.at);
      }
      if (before !== undefined) (await before).copy(leaves, (chunk - 1) * HASH_BYTES);
      before = leaf;
      options.onProgress?.(Math.min(layout.streamBytes, (chunk + 1) * chunkBytes), layout.streamBytes);
    }
    if (before !== undefined) (await before).copy(leaves, (layout.chunkCount - 1) * HASH_BYTES);
    hasher.end();
  } finally {
    reader.close();
  }

  const plainList = encodeList(entries);
  const list = seal?.close(LIST_PIECE, plainList) ?? plainList;
  const index: DraftIndex = {
    schema: 'patchferry/bundle',
    schemaVersion: 2,
    id,
    ...stated,
    streamBytes: layout.streamBytes,
    chunkCount: layout.chunkCount,
    root: merkleRoot(leaves),
    list: { sha256: sha256Of(list), size: list.length },
    entryCount: entries.length,
  };
  replaceFile(disk, join(folder, LEAVES_FILE), leaves);
  replaceFile(disk, join(folder, LIST_FILE), list);
  const stored = { index, entries, files, contentKey: contentKey?.toString('hex') ?? null, asked };
  replaceFile(disk, join(folder, DRAFT_FILE), Buffer.from(canonicalJson(stored)), 0o600);
  return openParts(disk, folder, name, index, layoutOf(entries, chunkBytes), files, leaves, list, seal);
}

function askedFor(options: DraftOptions, sizes: readonly number[], declared: readonly (string | null)[]): string {
  const { madeAt: _madeAt, expires: _expires, ...about } = options.about;
  const { chunkBytes, sealTo, entries } = options;
  const paths = entries.map((entry) => ('file' in entry ? [entry.path, entry.file] : [entry.path]));
  return sha256Of(canonicalJson({ about, chunkBytes, sealTo, paths, sizes, declared }));
}

/** The draft that an interrupted export left, when the same is asked for again; else a new one. @throws as `draftBundle` */
export async function draftAgain(options: DraftOptions): Promise<Draft> {
  return (await onMedium(options.work, () => knownDraft(options))) ?? draftBundle(options);
}

function knownDraft(options: DraftOptions): Draft | undefined {
  const disk = options.disk ?? realDisk;
  const name = bundleName(options.about);
  const bytes = readSmall(disk, join(options.work, name, DRAFT_FILE), DRAFT_BYTES);
  const known = bytes === undefined ? undefined : storedDraft.safeParse(parsed(bytes));
  if (known?.success !== true) return undefined;
  const sizes = options.entries.map((entry) => ('file' in entry ? (disk.facts(entry.file)?.size ?? -1) : entry.bytes.length));
  const declared = options.entries.map((entry) => ('file' in entry ? (entry.sha256 ?? null) : sha256Of(entry.bytes)));
  const { expires } = known.data.index;
  if (known.data.asked !== askedFor(options, sizes, declared) || Date.parse(expires) <= options.about.madeAt) return undefined;
  return openDraft(options.work, name, disk);
}

/** A draft that a failing disk damaged is none: it is made anew. */
function parsed(bytes: Buffer): unknown {
  try {
    return JSON.parse(bytes.toString('utf8'));
  } catch {
    return undefined;
  }
}

/** Opens a finished draft again, for the next stick. @throws bundle.no-bundle */
export function openDraft(work: string, name: string, disk: Disk = realDisk): Draft {
  const folder = join(work, name);
  const bytes = readSmall(disk, join(folder, DRAFT_FILE), DRAFT_BYTES);
  const leaves = readSmall(disk, join(folder, LEAVES_FILE), BUNDLE_LIMITS.chunks * HASH_BYTES);
  const list = readSmall(disk, join(folder, LIST_FILE), BUNDLE_LIMITS.listBytes);
  if (bytes === undefined || leaves === undefined || list === undefined) {
    throw fault('no-bundle', `there is no finished draft ${name} in ${work}`, { where: folder });
  }
  const { index, entries, files, contentKey } = storedDraft.parse(JSON.parse(bytes.toString('utf8')));
  const seal = contentKey === null ? undefined : sealWith(Buffer.from(contentKey, 'hex'), index.id);
  return openParts(disk, folder, name, index, layoutOf(entries, index.chunkBytes), files, leaves, list, seal);
}

function openParts(
  disk: Disk,
  folder: string,
  name: string,
  index: DraftIndex,
  layout: Layout,
  files: readonly string[],
  leaves: Buffer,
  list: Buffer,
  seal: Seal | undefined,
): Draft {
  const reader = sourceReader(disk, layout, files, seal);
  return { folder, name, index, layout, leaves, list, readChunk: reader.stored, close: reader.close };
}

/** Bytes given in memory are put into files, so that a draft can be opened again. */
function placeBytes(disk: Disk, folder: string, entries: readonly SourceEntry[]): { files: string[]; sizes: number[] } {
  const files: string[] = [];
  const sizes: number[] = [];
  const small = join(folder, 'small');
  for (const [at, entry] of entries.entries()) {
    if ('file' in entry) {
      const facts = disk.facts(entry.file);
      if (facts?.kind !== 'file')
        throw fault('source-changed', `${entry.file} is not there, or no file`, { where: entry.file });
      files.push(entry.file);
      sizes.push(facts.size);
    } else {
      const path = join(small, String(at));
      disk.makeFolder(small, 0o700);
      const handle = disk.open(path, 'wx', 0o600);
      disk.write(handle, entry.bytes, 0);
      disk.close(handle);
      files.push(path);
      sizes.push(entry.bytes.length);
    }
  }
  return { files, sizes };
}

function sourceReader(disk: Disk, layout: Layout, files: readonly string[], seal: Seal | undefined) {
  let open: { entry: number; handle: number } | undefined;
  const close = () => {
    if (open !== undefined) disk.close(open.handle);
    open = undefined;
  };
  const plain = (chunk: number, into: Buffer): Buffer => {
    for (const { entry, at, inChunk, length } of layout.pieces(chunk)) {
      const file = files[entry] ?? '';
      if (open?.entry !== entry) {
        close();
        open = { entry, handle: disk.open(file, 'r') };
      }
      const got = disk.read(open.handle, into.subarray(inChunk, inChunk + length), at);
      if (got !== length) throw fault('source-changed', `${file} became shorter while it was read`, { where: file });
    }
    return into.subarray(0, layout.chunkSize(chunk));
  };
  const stored = (chunk: number, into: Buffer): Buffer => {
    const bytes = plain(chunk, into);
    return seal?.close(chunk, bytes) ?? bytes;
  };
  return { plain, stored, close };
}

/** Hashes entries as their pieces come by in order; one that does not begin at its first byte, or has gaps, is left out. */
export function entryHasher(entries: readonly BundleEntry[], onEntry: (entry: number, sha256: string) => void) {
  let open: { entry: number; hash: ReturnType<typeof createHash>; next: number } | undefined;
  return {
    update(entry: number, bytes: Uint8Array, at: number): void {
      if (at === 0) open = { entry, hash: createHash('sha256'), next: 0 };
      if (open?.entry !== entry || open.next !== at) return;
      open.hash.update(bytes);
      open.next += bytes.length;
      if (open.next === entries[entry]?.size) {
        onEntry(entry, open.hash.digest('hex'));
        open = undefined;
      }
    },
    /** Empty entries have no pieces; they are reported here. */
    end(): void {
      const empty = sha256Of(new Uint8Array());
      for (const [entry, { size }] of entries.entries()) if (size === 0) onEntry(entry, empty);
    },
  };
}
