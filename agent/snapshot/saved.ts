// A part of the host kept as copies: a list of everything covered, and a tree with the files that a run may change.
//   <folder>/files/…       the copies, below their own paths
//   <folder>/folders.tar   every covered folder without what is in it
//   <folder>/reserve       room for a restore on a full disk
//   <folder>/list.json.zst what was there (tree.ts, one row a path), what of it was copied, when; written last, so that it
//                          stands for a whole copy
import { randomBytes } from 'node:crypto';
import * as fs from 'node:fs';
import { join } from 'node:path';
import { zstdCompressSync, zstdDecompressSync } from 'node:zlib';
import { readFileBounded, syncFolder, writeFileAtomic } from '#manifests/platform/files';
import type { HostContext, InstallPlan } from '../packages/index.ts';
import { copyPaths, fault, packFolders, syncFileSystem } from './copy.ts';
import { type PutBackOutcome, putBack } from './put-back.ts';
import { isRpmDatabase } from './rpm.ts';
import { isInRoots, pathsOfAll, pathsOfChanged, pathsWithCapabilities } from './scope.ts';
import { type Entry, fromRows, scan, toRows } from './tree.ts';

const LIMITS = {
  /** Bytes of the list, packed and plain; a host with a million files has about 150 MB of rows. */
  listBytes: 512 * 1024 * 1024,
  /** Set aside beside the copies, so that a full disk has room for the folders and lists of a restore. */
  reserveBytes: 24 * 1024 * 1024,
} as const;

/** What of the host one saved part covers. */
export interface Part {
  /** Folders that are compared as a whole. */
  readonly roots: readonly string[];
  /** Further single paths that the changed packages list. */
  readonly paths: readonly string[];
}

interface SavedList {
  readonly version: 1;
  readonly takenAtMs: number;
  readonly roots: readonly string[];
  readonly paths: readonly string[];
  readonly rows: ReturnType<typeof toRows>;
  readonly copied: readonly string[];
}

/**
 * The files of the part that have to be copied, because a run can change them: all settings and databases (/etc, /var), the
 * files of packages that change, files with capabilities, and files that no package owns (caches, initial RAM disks, compiled
 * Python). Other files of packages that stay are only listed: nothing changes them but a diversion, which is undone by moving the file back.
 */
async function choose(
  context: HostContext,
  part: Part,
  plans: readonly InstallPlan[],
): Promise<{ before: Map<string, Entry>; copied: string[] }> {
  const changed = new Set([...(await pathsOfChanged(context, plans)), ...(await pathsWithCapabilities(context))]);
  const owned = await pathsOfAll(context);
  const { entries } = scan(context.root, part.roots, part.paths); // after the questions: asking rpm touches its database
  const copied: string[] = [];
  for (const [path, { type }] of entries) {
    if (type === 'folder') continue;
    const kept =
      /^\/(?:etc|var)\//.test(path) ||
      isRpmDatabase(path) ||
      changed.has(path) ||
      (!owned.has(path) && !path.startsWith('/opt/'));
    if (kept) copied.push(path);
  }
  return { before: entries, copied };
}

/** Bytes of the copies that `takeSaved` would make. */
export async function savedBytes(context: HostContext, part: Part, plans: readonly InstallPlan[]): Promise<number> {
  const { before, copied } = await choose(context, part, plans);
  return copied.reduce((sum, path) => sum + Math.max(4096, before.get(path)?.size ?? 0), LIMITS.reserveBytes);
}

/** Copies the part into `folder`, which must be empty. @throws wayback.copy */
export async function takeSaved(
  context: HostContext,
  folder: string,
  part: Part,
  plans: readonly InstallPlan[],
): Promise<number> {
  const { before, copied } = await choose(context, part, plans);
  const takenAtMs = context.clock.now();
  await copyPaths(context, context.root, join(folder, 'files'), copied, before);
  const folders = [...before].flatMap(([path, { type }]) => (type === 'folder' ? [path] : []));
  await packFolders(context, context.root, join(folder, 'folders.tar'), folders);
  fs.writeFileSync(join(folder, 'reserve'), randomBytes(LIMITS.reserveBytes)); // random, since zeros would be compressed away
  await syncFileSystem(context, folder);
  const list: SavedList = { version: 1, takenAtMs, roots: part.roots, paths: part.paths, rows: toRows(before), copied };
  writeFileAtomic(join(folder, 'list.json.zst'), zstdCompressSync(JSON.stringify(list)), { mode: 0o600 });
  return copied.length;
}

/**
 * Gives back the room that was set aside for a restore on a full disk. A journaling file system hands blocks out again only when
 * the removal is committed, hence the flush.
 */
export function releaseReserve(folder: string): void {
  const reserve = join(folder, 'reserve');
  if (!fs.existsSync(reserve)) return;
  fs.rmSync(reserve);
  syncFolder(folder);
}

/** Puts the part back; see PutBack. @throws wayback.unknown, wayback.copy */
export async function restoreSaved(
  context: HostContext,
  folder: string,
  id: string,
  newPaths: readonly string[],
): Promise<PutBackOutcome> {
  const packed = readFileBounded(join(folder, 'list.json.zst'), LIMITS.listBytes);
  if (packed === undefined) throw fault('unknown', `${folder} holds no whole copy`, { where: folder });
  const list = JSON.parse(zstdDecompressSync(packed, { maxOutputLength: LIMITS.listBytes }).toString('utf8')) as SavedList;
  const before = fromRows(list.rows);
  const copied = new Set(list.copied);
  // Outside the compared folders only what the new versions brought is taken away: a path that was there before the copy was
  // made stays, although no list named it.
  const brought = newPaths.filter((path) => {
    if (isInRoots(path) || before.has(path)) return false;
    const stat = fs.lstatSync(join(context.root, path), { throwIfNoEntry: false });
    return stat !== undefined && stat.ctimeMs >= list.takenAtMs;
  });
  return putBack(context, {
    id,
    source: join(folder, 'files'),
    before,
    roots: list.roots,
    paths: [...list.paths, ...brought],
    has: (path) => copied.has(path),
    folders: join(folder, 'folders.tar'),
    releaseRoom: () => releaseReserve(folder),
  });
}
