// The format: index (versions 1 and 2), list of entries, marker of a medium, list of parts; what each field may be. Pure.
import { zstdCompressSync, zstdDecompressSync } from 'node:zlib';
import { z } from 'zod';
import { canonicalJson, count, line, list, moment, name, publicKeyHex, sha256, sha256Of } from '#manifests/schema';
import { fault } from './faults.ts';
import { BUNDLE_LIMITS } from './limits.ts';
import { HASH_BYTES, merkleRoot } from './merkle.ts';
import { nameFault, namesFault, partRange } from './names.ts';
import { type Keys, readSigned, type Signed } from './signed.ts';

const id = z.string().regex(/^[0-9a-f]{32}$/, { error: 'must be 32 hex digits' });
const plainName = z.string().refine((value) => nameFault(value) === undefined && !value.includes('/'), {
  error: 'must be a plain file name',
});

/** Where a bundle goes: `content` into a site, `return` (results, requests, receipts) from it. */
export const bundleKind = z.enum(['content', 'return']);
export type BundleKind = z.infer<typeof bundleKind>;

/** The request a bundle answers, and its number, so that an old request's answer is known as old. */
const answered = z.strictObject({ id, sequence: count });
export type Answered = z.infer<typeof answered>;

const entry = z.strictObject({ path: z.string(), size: count, sha256 });
/** One file in a bundle. */
export type BundleEntry = z.infer<typeof entry>;

const about = {
  id,
  kind: bundleKind,
  /** The site it is for, or comes from. */
  site: name,
  /** Number of this bundle in its channel (site and kind); only ever grows. */
  sequence: count.min(1),
  madeAt: moment,
  expires: moment,
  answers: answered.nullable(),
  chunkBytes: z.int().min(BUNDLE_LIMITS.leastChunkBytes).max(BUNDLE_LIMITS.mostChunkBytes),
  /** Bytes of all entries, one after the other. */
  streamBytes: count,
};

/** Version 1, read only: all lists inside the index, a folder of parts, never sealed. */
const indexV1 = z.strictObject({
  schema: z.literal('patchferry/bundle'),
  schemaVersion: z.literal(1),
  ...about,
  chunks: list(sha256, BUNDLE_LIMITS.chunks),
  entries: list(entry, BUNDLE_LIMITS.entries),
});

const sealing = z.strictObject({
  scheme: z.literal('x25519-hkdf-sha256-chacha20-poly1305'),
  ephemeral: publicKeyHex,
  wraps: z
    .array(z.strictObject({ key: publicKeyHex, wrapped: z.string().regex(/^[0-9a-f]{96}$/) }))
    .min(1)
    .max(BUNDLE_LIMITS.recipients),
});
/** Who can open the contents: the content key, wrapped for each recipient. */
export type Sealing = z.infer<typeof sealing>;

const container = z.strictObject({
  format: z.enum(['tar', '7z']),
  /** Files on the medium, in the order in which they follow each other. */
  files: z
    .array(z.strictObject({ name: plainName, size: z.int().min(1).max(Number.MAX_SAFE_INTEGER), sha256 }))
    .min(1)
    .max(BUNDLE_LIMITS.volumes),
  /** Files inside, in their order. */
  members: z
    .array(z.strictObject({ name: plainName, size: count }))
    .min(1)
    .max(BUNDLE_LIMITS.members),
});
export type Container = z.infer<typeof container>;

const indexV2 = z.strictObject({
  schema: z.literal('patchferry/bundle'),
  schemaVersion: z.literal(2),
  ...about,
  /** Who made it, in words: a publisher, a relay, an agent. */
  from: line(200),
  /** What it builds on: everything of this channel up to that number; null when it is full. */
  since: count.nullable(),
  /** For people: what it is for. */
  note: line(1_000),
  chunkCount: count.max(BUNDLE_LIMITS.chunks),
  /** Merkle root over the chunks as they lie on the medium. */
  root: sha256,
  /** The list of entries, as it lies on the medium. */
  list: z.strictObject({ sha256, size: count.max(BUNDLE_LIMITS.listBytes) }),
  entryCount: count.max(BUNDLE_LIMITS.entries),
  sealed: sealing.nullable(),
  container: container.nullable(),
});
export type IndexV2 = z.infer<typeof indexV2>;

/** An index of any version, as the rest of the code knows it. */
export interface BundleIndex extends Omit<IndexV2, 'schema' | 'schemaVersion' | 'list'> {
  readonly version: 1 | 2;
  /** The key that signed it, hex. */
  readonly signedBy: string;
  /** Null in version 1, which has its lists inside. */
  readonly list: IndexV2['list'] | null;
  readonly inline: { readonly entries: BundleEntry[]; readonly leaves: Buffer } | null;
}

/** Suffix of the signed index file; the bundle's name stands before it. */
export const INDEX_SUFFIX = '.pfb.json';
/** Suffix of the folder of parts. */
export const FOLDER_SUFFIX = '.pfb';
export const LIST_FILE = 'list.zst';
export const LEAVES_FILE = 'leaves.bin';
/** Signed: which parts were put on this medium. */
export const PARTS_FILE = 'parts.json';

/**
 * Reads an index: signature first, then shape, then whether it agrees with itself.
 * @throws bundle.malformed, bundle.unsigned, bundle.signature, bundle.unknown-version, bundle.hostile-entry, bundle.too-large
 */
export function readIndex(bytes: Uint8Array, keys: Keys, where: string): BundleIndex {
  if (bytes.length > BUNDLE_LIMITS.indexBytes)
    throw fault('too-large', `${where}: an index of ${bytes.length} bytes`, { where });
  const prepare = (body: unknown) => {
    const frame = body as { schema?: unknown; schemaVersion?: unknown } | null;
    if (frame?.schema === 'patchferry/bundle' && typeof frame.schemaVersion === 'number' && frame.schemaVersion > 2) {
      throw fault('unknown-version', `${where} has version ${frame.schemaVersion}; this patchferry reads 1 and 2`, { where });
    }
  };
  const schema = z.discriminatedUnion('schemaVersion', [indexV1, indexV2]);
  const { body, key }: Signed<z.infer<typeof schema>> = readSigned('index', bytes, { schema, keys, where, prepare });
  const index = body.schemaVersion === 1 ? upgrade(body, key) : fromV2(body, key);
  const wrong = (message: string) => fault('malformed', `${where}: ${message}`, { where });
  if (index.chunkCount !== Math.ceil(index.streamBytes / index.chunkBytes)) throw wrong('chunks and bytes do not agree');
  if (index.inline !== null) checkEntries(index.inline.entries, index, where);
  if (index.container !== null) checkContainer(index.container, index, where);
  return index;
}

function fromV2({ schema: _schema, schemaVersion: _version, ...body }: IndexV2, key: string): BundleIndex {
  return { ...body, version: 2, signedBy: key, inline: null };
}

/** Version 1 as version 2 would have it: the root follows from its chunk hashes. */
function upgrade(body: z.infer<typeof indexV1>, key: string): BundleIndex {
  const { schema: _schema, schemaVersion: _version, chunks, entries, ...rest } = body;
  const leaves = Buffer.from(chunks.join(''), 'hex');
  return {
    ...rest,
    version: 1,
    signedBy: key,
    from: '',
    since: null,
    note: '',
    chunkCount: chunks.length,
    root: merkleRoot(leaves),
    list: null,
    entryCount: entries.length,
    sealed: null,
    container: null,
    inline: { entries, leaves },
  };
}

/** Names and sizes of entries. @throws bundle.hostile-entry, bundle.malformed */
function checkEntries(entries: readonly BundleEntry[], index: BundleIndex, where: string): void {
  const bad = namesFault(entryPaths(entries));
  if (bad !== undefined) {
    throw fault('hostile-entry', `${where}: the entry ${JSON.stringify(bad.path.slice(0, 200))} ${bad.says}`, { where });
  }
  const bytes = entries.reduce((sum, { size }) => sum + size, 0);
  if (bytes !== index.streamBytes || entries.length !== index.entryCount) {
    throw fault('malformed', `${where}: the list of entries does not agree with the index`, { where });
  }
}

function* entryPaths(entries: readonly BundleEntry[]): Generator<string> {
  for (const { path } of entries) yield path;
}

function checkContainer({ format, files, members }: Container, index: BundleIndex, where: string): void {
  const hostile = (message: string) => fault('hostile-entry', `${where}: ${message}`, { where });
  const bad = namesFault(files.map((file) => file.name)) ?? namesFault(members.map((member) => member.name));
  if (bad !== undefined) throw hostile(`the file ${JSON.stringify(bad.path.slice(0, 200))} ${bad.says}`);
  for (const { name: file, size } of files) {
    if (size > BUNDLE_LIMITS.mostPartBytes && files.length > 1) throw hostile(`the volume ${file} is too large`);
    if (!file.endsWith(`.${format}`) && !/\.\d{3,4}$/.test(file)) throw hostile(`${file} is no ${format} file`);
  }
  let next = 0;
  const beside = new Map([
    [LIST_FILE, index.list?.size ?? 0],
    [LEAVES_FILE, index.chunkCount * HASH_BYTES],
  ]);
  for (const member of members) {
    if (beside.get(member.name) === member.size) {
      beside.delete(member.name);
      continue;
    }
    const range = partRange(member.name, index.chunkCount);
    if (range === undefined || range.first !== next) throw hostile(`${member.name} does not belong inside`);
    if (member.size !== storedBytes(index, range.first, range.last)) throw hostile(`${member.name} has a wrong size`);
    next = range.last + 1;
  }
  if (beside.size > 0) throw hostile('the list or the leaves are missing inside');
  if (next !== index.chunkCount) throw hostile('parts are missing inside');
}

/** Bytes that chunks `first` to `last` take on the medium. */
export function storedBytes(
  index: Pick<BundleIndex, 'chunkBytes' | 'streamBytes' | 'sealed'>,
  first: number,
  last: number,
): number {
  const plain = Math.min(index.streamBytes, (last + 1) * index.chunkBytes) - first * index.chunkBytes;
  return plain + (index.sealed === null ? 0 : SEAL_BYTES * (last - first + 1));
}

/** Bytes that sealing adds to a chunk. */
export const SEAL_BYTES = 16;

const listSchema = z.strictObject({
  schema: z.literal('patchferry/bundle-list'),
  schemaVersion: z.literal(1),
  entries: list(entry, BUNDLE_LIMITS.entries),
});

/** The list of entries as a file, before sealing. @throws bundle.name */
export function encodeList(entries: readonly BundleEntry[]): Buffer {
  const bad = namesFault(entryPaths(entries));
  if (bad !== undefined) throw fault('name', `${JSON.stringify(bad.path.slice(0, 200))} ${bad.says}`);
  return zstdCompressSync(canonicalJson({ schema: 'patchferry/bundle-list', schemaVersion: 1, entries }));
}

/** Reads the (unsealed) list, whose hash was checked. @throws bundle.malformed, bundle.hostile-entry, bundle.too-large */
export function decodeList(bytes: Uint8Array, index: BundleIndex, where: string): BundleEntry[] {
  let value: unknown;
  try {
    value = JSON.parse(zstdDecompressSync(bytes, { maxOutputLength: BUNDLE_LIMITS.listPlainBytes }).toString('utf8'));
  } catch (cause) {
    const tooLarge = (cause as NodeJS.ErrnoException).code === 'ERR_BUFFER_TOO_LARGE';
    throw fault(
      tooLarge ? 'too-large' : 'malformed',
      `${where}: the list of entries ${tooLarge ? 'is too large' : 'is none'}`,
      {
        where,
        cause,
      },
    );
  }
  const parsed = listSchema.safeParse(value);
  if (!parsed.success) throw fault('malformed', `${where}: the list of entries has no valid form`, { where });
  checkEntries(parsed.data.entries, index, where);
  return parsed.data.entries;
}

/** What was put on one medium, signed by who put it there. */
export const partsSchema = z.strictObject({
  schema: z.literal('patchferry/bundle-parts'),
  schemaVersion: z.literal(1),
  bundle: id,
  parts: z.array(z.strictObject({ name: plainName, size: count })).max(BUNDLE_LIMITS.namesOnMedium),
});

/** An id that follows from the contents, so that the same export made again is the same bundle. */
export function bundleId(parts: Readonly<Record<string, unknown>>): string {
  return sha256Of(canonicalJson(parts)).slice(0, 32);
}
