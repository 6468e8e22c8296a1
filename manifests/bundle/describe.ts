// Showing and checking a bundle without importing it: exactly what is in it, who signed it, whether every byte is right.
import { createHash } from 'node:crypto';
import { dirname, join } from 'node:path';
import { formatBytes } from '#manifests/platform/progress';
import { sha256Of } from '#manifests/schema';
import type { BoxKeyPair } from '#manifests/trust';
import { type Disk, realDisk } from './disk.ts';
import { fault } from './faults.ts';
import { onMedium, readSmall } from './files.ts';
import { type BundleEntry, type BundleIndex, LIST_FILE } from './format.ts';
import { readBundleIndex } from './import.ts';
import { HASH_BYTES } from './merkle.ts';
import { type ChunkRange, rangesOf } from './names.ts';
import { folderChunks, folderOf, lookIntoFolder, type Problem } from './place.ts';
import type { Keys } from './signed.ts';
import { type ListAndLeaves, openList } from './staging.ts';
import { digest } from './stream.ts';
import { TAR_BLOCK, tarPadding } from './tar.ts';

export interface Description {
  readonly index: BundleIndex;
  /** Whether the key that signed it is one of the keys that were given. */
  readonly known: boolean;
  /** Undefined when it is sealed and this side cannot open it. */
  readonly entries: readonly BundleEntry[] | undefined;
  /** All of it for a person, one line for each file. */
  readonly text: string;
}

/**
 * What is in a bundle of either direction. The signature must hold; whether its key counts is said, not demanded. No tool and no
 * archive reader is used: the list of entries is read from where it must lie and counts only with its signed hash.
 * @throws bundle.no-bundle, bundle.signature, bundle.malformed, bundle.file-changed
 */
export function describeBundle(options: {
  readonly index: string;
  readonly keys: readonly string[];
  readonly recipient?: BoxKeyPair | undefined;
  readonly disk?: Disk | undefined;
}): Promise<Description> {
  const disk = options.disk ?? realDisk;
  return onMedium(dirname(options.index), () => {
    const { index } = readBundleIndex(options.index, 'any', disk);
    const known = options.keys.includes(index.signedBy);
    const canOpen = index.sealed === null || index.sealed.wraps.some(({ key }) => key === options.recipient?.publicKey);
    const entries = canOpen
      ? openList(index, listsOf(disk, options.index, index), options.recipient, options.index).entries
      : undefined;
    return { index, known, entries, text: textOf(index, known, entries) };
  });
}

function listsOf(disk: Disk, path: string, index: BundleIndex): ListAndLeaves | undefined {
  if (index.list === null) return undefined;
  const list =
    index.container === null
      ? readSmall(disk, join(folderOf(path), LIST_FILE), index.list.size)
      : memberBytes(disk, dirname(path), index, LIST_FILE);
  if (list === undefined) throw fault('file-removed', `${LIST_FILE} of ${path} is not on this medium`, { where: path });
  if (sha256Of(list) !== index.list.sha256) throw fault('file-changed', `${LIST_FILE} of ${path} was changed`, { where: path });
  return { list, leaves: Buffer.alloc(0) };
}

/** Bytes before the first member of a stored 7z file: its signature header. */
const SEVEN_START = 32;

/** The bytes where a member must lie: members are stored one after the other, in tar with headers and padding. */
function memberBytes(disk: Disk, place: string, { container }: BundleIndex, name: string): Buffer | undefined {
  if (container === null) return undefined;
  const isTar = container.format === 'tar';
  let position = isTar ? 0 : SEVEN_START;
  for (const member of container.members) {
    if (isTar) position += TAR_BLOCK;
    if (member.name === name) return readAcross(disk, place, container.files, position, member.size);
    position += member.size + (isTar ? tarPadding(member.size) : 0);
  }
  return undefined;
}

function readAcross(
  disk: Disk,
  place: string,
  files: readonly { readonly name: string; readonly size: number }[],
  from: number,
  length: number,
): Buffer | undefined {
  const bytes = Buffer.alloc(length);
  let done = 0;
  let start = 0;
  for (const { name, size } of files) {
    const position = from + done - start;
    if (done < length && position < size) {
      if (disk.facts(join(place, name))?.kind !== 'file') return undefined;
      const handle = disk.open(join(place, name), 'r');
      try {
        done += disk.read(handle, bytes.subarray(done, done + Math.min(length - done, size - position)), position);
      } finally {
        disk.close(handle);
      }
    }
    start += size;
  }
  return bytes.subarray(0, done);
}

function textOf(index: BundleIndex, known: boolean, entries: readonly BundleEntry[] | undefined): string {
  const { answers, container, sealed } = index;
  const rows = [
    `bundle    ${index.id} (format ${index.version})`,
    `kind      ${index.kind === 'content' ? 'content, into the site' : 'return, from the site'}`,
    `site      ${index.site}, number ${index.sequence}${index.since === null ? '' : `, on top of number ${index.since}`}`,
    ...(index.from === '' ? [] : [`from      ${index.from}`]),
    ...(index.note === '' ? [] : [`note      ${index.note}`]),
    `made      ${index.madeAt}, expires ${index.expires}`,
    ...(answers === null ? [] : [`answers   request ${answers.sequence} (${answers.id})`]),
    `signed    by ${index.signedBy}${known ? '' : ', a key that is NOT known here'}`,
    `medium    ${container === null ? 'a folder of parts' : `${container.files.length} ${container.format} file(s)`}, ${index.chunkCount} chunks of ${formatBytes(index.chunkBytes)}`,
    `contents  ${index.entryCount} files, ${formatBytes(index.streamBytes)} (${index.streamBytes} bytes)`,
    ...(sealed === null ? [] : [`sealed    to ${sealed.wraps.map(({ key }) => key).join(', ')}`]),
  ];
  const files = entries?.map(({ path, size, sha256 }) => `${sha256}  ${String(size).padStart(12)}  ${path}`);
  const list = files ?? ['The contents are sealed: only the site can list them.'];
  return `${[...rows, '', ...list].join('\n')}\n`;
}

export interface Verified {
  readonly index: BundleIndex;
  /** Chunks, or volumes of a container, that are here and right. */
  readonly have: number;
  readonly total: number;
  readonly missing: readonly ChunkRange[];
  readonly problems: readonly Problem[];
}

/**
 * Reads everything that is on a medium and compares it to the signed index; places nothing, opens no container.
 * @throws bundle.unsigned, bundle.signature, bundle.malformed, bundle.file-added, bundle.hostile-entry …
 */
export function verifyBundle(options: {
  readonly index: string;
  readonly keys: Keys;
  readonly onProgress?: ((bytes: number, total: number) => void) | undefined;
  readonly signal?: AbortSignal | undefined;
  readonly disk?: Disk | undefined;
}): Promise<Verified> {
  const disk = options.disk ?? realDisk;
  return onMedium(dirname(options.index), async () => {
    const { index } = readBundleIndex(options.index, options.keys, disk);
    return index.container === null ? await verifyFolder(options, disk, index) : verifyVolumes(options, disk, index);
  });
}

async function verifyFolder(options: Parameters<typeof verifyBundle>[0], disk: Disk, index: BundleIndex): Promise<Verified> {
  const here = lookIntoFolder(disk, options.index, index, options.keys);
  const leaves = index.inline?.leaves ?? here.lists?.leaves ?? Buffer.alloc(0);
  const right = new Set<number>();
  const problems: Problem[] = [...here.problems];
  let done = 0;
  for (const { part, chunk, bytes } of folderChunks(disk, here, index, () => true)) {
    options.signal?.throwIfAborted();
    const leaf = bytes === undefined ? undefined : await digest(bytes);
    if (leaf?.equals(leaves.subarray(chunk * HASH_BYTES, (chunk + 1) * HASH_BYTES)) === true) right.add(chunk);
    else {
      const says = `chunk ${chunk} in ${part} is damaged, cut or was changed`;
      problems.push({ code: 'bundle.file-changed', part, chunks: { first: chunk, last: chunk }, says });
    }
    done += bytes?.length ?? 0;
    options.onProgress?.(done, index.streamBytes);
  }
  const missing = Array.from({ length: index.chunkCount }, (_, chunk) => chunk).filter((chunk) => !right.has(chunk));
  return { index, have: right.size, total: index.chunkCount, missing: rangesOf(missing), problems };
}

const READ_BYTES = 4 * 1024 * 1024;

function verifyVolumes(options: Parameters<typeof verifyBundle>[0], disk: Disk, index: BundleIndex): Verified {
  const files = index.container?.files ?? [];
  const total = files.reduce((sum, { size }) => sum + size, 0);
  const problems: Problem[] = [];
  const missing: number[] = [];
  const buffer = Buffer.alloc(READ_BYTES);
  let done = 0;
  for (const [at, { name, size, sha256 }] of files.entries()) {
    const path = join(dirname(options.index), name);
    const facts = disk.facts(path);
    if (facts?.kind !== 'file') {
      missing.push(at);
      continue;
    }
    const hash = createHash('sha256');
    const handle = disk.open(path, 'r');
    try {
      for (let position = 0; position < facts.size && facts.size === size; position += READ_BYTES) {
        options.signal?.throwIfAborted();
        hash.update(buffer.subarray(0, disk.read(handle, buffer, position)));
        options.onProgress?.(Math.min((done += READ_BYTES), total), total);
      }
    } finally {
      disk.close(handle);
    }
    if (facts.size === size && hash.digest('hex') === sha256) continue;
    missing.push(at);
    const code = facts.size < size ? 'bundle.truncated' : 'bundle.file-changed';
    problems.push({ code, part: name, chunks: { first: at, last: at }, says: `${name} is damaged, cut or was changed` });
  }
  return { index, have: files.length - missing.length, total: files.length, missing: rangesOf(missing), problems };
}
