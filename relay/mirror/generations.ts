// Generations on disk: `generations/N` is a whole repository tree (hard links of what did not change, one link to the shared
// payloads), `current` is a link to one of them and is replaced by rename. `generation.json` says what a generation holds.
import * as fs from 'node:fs';
import { dirname, join } from 'node:path';
import { z } from 'zod';
import { readFileBounded, syncFolder, writeFileAtomic } from '#manifests/platform/files';
import { hashInPath, metadataPath, targetFilePath } from '#manifests/repository';
import { count, moment, name, relativePath, sha256, sha256Of } from '#manifests/schema';
import { fault } from './faults.ts';
import { PAYLOAD_CHOICES } from './wanted.ts';

const target = z.strictObject({ path: relativePath, sha256, length: count, role: z.string().max(255) });

const generationRecord = z.strictObject({
  schema: z.literal('patchferry/generation'),
  schemaVersion: z.literal(1),
  number: z.int().min(1),
  madeAt: moment,
  from: z.string().max(2_000),
  versions: z.strictObject({ root: count, timestamp: count, snapshot: count, targets: count }),
  payloads: z.enum(PAYLOAD_CHOICES),
  /** Products whose payloads are kept; none means all. */
  only: z.array(name).default([]),
  /** The signed documents. */
  targets: z.array(target),
  /** Names of the files in metadata/ that are this generation's own (others are kept for clients on their way). */
  metadata: z.array(z.string().max(300)),
  /** Payloads that the documents name and that are here, and those that the upstream did not have and no approval needs. */
  payloadCount: count,
  payloadBytes: count,
  absent: count,
  /** Payloads that the settings ask for and that are put off: until a free hour of the line, or for want of room. */
  waiting: count.default(0),
  overQuota: count.default(0),
  /** The hashes of all these. */
  lacking: z.array(sha256).default([]),
  products: z.array(name),
});
export type Generation = z.infer<typeof generationRecord>;

/** A generation without its long lists, for reports. */
export function summaryOf(
  generation: Generation,
): Omit<Generation, 'targets' | 'metadata' | 'lacking'> & { documents: number } {
  const { targets, metadata, lacking: _, ...rest } = generation;
  return { ...rest, documents: targets.length + metadata.length };
}

/** What of a repository's root is where in the mirror's folder. */
export interface MirrorLayout {
  readonly root: string;
  readonly payloads: string;
  readonly generations: string;
  readonly current: string;
  /** A generation in the making; kept between attempts so that nothing is fetched twice. */
  readonly next: string;
  /** What has arrived of signed documents that a cut has kept from being whole. */
  readonly parts: string;
  /** Is there when something was found damaged: the next sync looks after everything even if nothing is new. Hashes of payloads. */
  readonly damaged: string;
  /** How far the last looks at everything got, what they found, and what came of it. */
  readonly checked: string;
  /** When each payload was asked for last, and which packages agents asked for. */
  readonly usage: string;
}

/** @param root the mirror's own folder */
export function mirrorLayout(root: string): MirrorLayout {
  return {
    root,
    payloads: join(root, 'payloads'),
    generations: join(root, 'generations'),
    current: join(root, 'current'),
    next: join(root, 'generations', '.next'),
    parts: join(root, '.documents'),
    damaged: join(root, 'damaged'),
    checked: join(root, 'checked.json'),
    usage: join(root, 'usage.json'),
  };
}

const RECORD_BYTES = 64 * 1024 * 1024;

/** The generation that is served; undefined before the first sync. @throws mirror.record */
export function currentGeneration(layout: MirrorLayout): Generation | undefined {
  let link: string;
  try {
    link = fs.readlinkSync(layout.current);
  } catch (cause) {
    if ((cause as NodeJS.ErrnoException).code === 'ENOENT') return undefined;
    throw cause;
  }
  return readRecord(join(layout.root, link));
}

/** The record of one generation's folder; undefined when it is torn or gone (such a generation is made anew). */
export function readRecord(folder: string): Generation | undefined {
  const bytes = readFileBounded(join(folder, 'generation.json'), RECORD_BYTES);
  if (bytes === undefined) return undefined;
  try {
    return generationRecord.parse(JSON.parse(Buffer.from(bytes).toString('utf8')));
  } catch {
    return undefined;
  }
}

/** Numbers of the generations on disk, ascending. */
export function generationNumbers(layout: MirrorLayout): number[] {
  if (!fs.existsSync(layout.generations)) return [];
  return fs
    .readdirSync(layout.generations)
    .filter((entry) => /^[1-9]\d{0,14}$/.test(entry))
    .map(Number)
    .toSorted((a, b) => a - b);
}

/**
 * Generations before the current one, the newest first, each with the moment since when another one is served in its place,
 * milliseconds. @param most how many at most
 */
export function olderGenerations(
  layout: MirrorLayout,
  current: Generation,
  most: number,
): { readonly number: number; readonly record: Generation | undefined; readonly since: number }[] {
  let since = Date.parse(current.madeAt);
  const numbers = generationNumbers(layout).filter((number) => number < current.number);
  return numbers
    .slice(-most)
    .toReversed()
    .map((number) => {
      const record = readRecord(join(layout.generations, String(number)));
      const older = { number, record, since };
      if (record !== undefined) since = Date.parse(record.madeAt);
      return older;
    });
}

/** The bytes of a signed document of the current generation, checked against the hash it was verified with. @throws mirror.damaged */
export function readCurrentTarget(layout: MirrorLayout, generation: Generation, path: string): Uint8Array | undefined {
  const found = generation.targets.find((each) => each.path === path);
  if (found === undefined) return undefined;
  const file = join(layout.generations, String(generation.number), targetFilePath(path, found.sha256));
  const bytes = readFileBounded(file, found.length);
  if (bytes === undefined || sha256Of(bytes) !== found.sha256) {
    throw fault('damaged', `${file} is not what was mirrored`, { where: file });
  }
  return bytes;
}

/** Links or writes one file of the generation in the making; flushed by `sealNext`. */
export function placeFile(folder: string, path: string, content: { bytes: Uint8Array } | { linkTo: string }): void {
  const file = join(folder, path);
  fs.mkdirSync(dirname(file), { recursive: true });
  if ('linkTo' in content) {
    try {
      fs.linkSync(content.linkTo, file);
      return;
    } catch (cause) {
      const { code } = cause as NodeJS.ErrnoException;
      if (code === 'EEXIST') return;
      if (code !== 'EPERM' && code !== 'EMLINK' && code !== 'ENOTSUP' && code !== 'EXDEV') throw cause;
      writeFileAtomic(file, fs.readFileSync(content.linkTo)); // a file system without hard links
      return;
    }
  }
  writeFileAtomic(file, content.bytes);
}

/**
 * Completes the generation in the making and makes it current: the tree is flushed before it gets its number, and the link
 * is replaced by rename, so a reader, and a disk after a power cut, has the old generation or the new one (S21).
 */
export function switchTo(layout: MirrorLayout, record: Generation): void {
  const payloads = join(layout.next, 'payloads');
  fs.rmSync(payloads, { recursive: true, force: true });
  fs.symlinkSync(join('..', '..', 'payloads'), payloads);
  writeFileAtomic(join(layout.next, 'generation.json'), `${JSON.stringify(record, null, 1)}\n`);
  flushFolders(layout.next);
  const place = join(layout.generations, String(record.number));
  fs.rmSync(place, { recursive: true, force: true }); // numbered by an attempt that ended before it became current
  fs.renameSync(layout.next, place);
  syncFolder(layout.generations);
  const link = `${layout.current}.new`;
  fs.rmSync(link, { force: true });
  fs.symlinkSync(join('generations', String(record.number)), link);
  fs.renameSync(link, layout.current);
  syncFolder(layout.root);
}

function flushFolders(folder: string): void {
  for (const entry of fs.readdirSync(folder, { withFileTypes: true })) {
    if (entry.isDirectory()) flushFolders(join(folder, entry.name));
  }
  syncFolder(folder);
}

/** Removes generations before the current one that have lost a signed file: they are not served, and would keep garbage for ever. */
export function dropBroken(layout: MirrorLayout, current: number): void {
  for (const number of generationNumbers(layout)) {
    const folder = join(layout.generations, String(number));
    const record = number < current ? readRecord(folder) : undefined;
    if (record === undefined) continue;
    const whole = signedPathsOf(record).every((path) => fs.existsSync(join(folder, path)));
    if (!whole) fs.rmSync(folder, { recursive: true, force: true });
  }
}

/** Paths of a generation's own signed files. */
export function signedPathsOf({ metadata, targets }: Generation): string[] {
  return [...metadata.map(metadataPath), ...targets.map(({ path, sha256 }) => targetFilePath(path, sha256))];
}

/** Removes from the generation in the making whatever does not belong to it (left by an earlier attempt). */
export function pruneNext(layout: MirrorLayout, keep: ReadonlySet<string>, folder = ''): void {
  const here = join(layout.next, folder);
  if (!fs.existsSync(here)) return;
  for (const entry of fs.readdirSync(here, { withFileTypes: true })) {
    const path = folder === '' ? entry.name : `${folder}/${entry.name}`;
    if (entry.isDirectory()) pruneNext(layout, keep, path);
    else if (!keep.has(path)) fs.rmSync(join(layout.next, path), { force: true });
  }
}

/** The checked bytes of a hash-named file that lies below `folder`; undefined when it is absent or other bytes. */
export function checkedBytes(folder: string, path: string, length: number): Uint8Array | undefined {
  const file = join(folder, path);
  const facts = fs.statSync(file, { throwIfNoEntry: false });
  if (facts?.isFile() !== true || facts.size !== length) return undefined;
  const bytes = fs.readFileSync(file);
  return sha256Of(bytes) === hashInPath(path) ? bytes : undefined;
}
