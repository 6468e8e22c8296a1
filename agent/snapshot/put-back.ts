// Puts files back in place from a tree that has them as they were: first all copies beside their places, flushed; then renames,
// each of which shows the old or the new file and never half of one. Killed anywhere, doing it again comes to the same end.
import * as fs from 'node:fs';
import { dirname, join } from 'node:path';
import { type HostContext, reach } from '../packages/index.ts';
import { copyPaths, syncFileSystem } from './copy.ts';
import { restoreAttributes } from './folders.ts';
import { rpmRank } from './rpm.ts';
import { isInRoots } from './scope.ts';
import { type Difference, difference, type Entry, scan, type Tree } from './tree.ts';

export interface PutBack {
  /** Names the staging folders; those of an earlier try with the same name are removed. */
  readonly id: string;
  /** Tree that has the files as they were. */
  readonly source: string;
  /** Everything covered, as it was. */
  readonly before: ReadonlyMap<string, Entry>;
  /** Covered folders and single paths, for looking at what is there now. */
  readonly roots: readonly string[];
  readonly paths: readonly string[];
  /** Whether `source` has this path. Files that it does not have are moved back or put right by their attributes where possible. */
  has(path: string): boolean;
  /** Archive that holds the folders (copy.ts), where `source` does not have them as they were. */
  readonly folders?: string;
  /** Gives back room that was set aside, when the disk is full. */
  releaseRoom?(): void;
}

export interface PutBackOutcome {
  readonly restored: number;
  readonly removed: number;
  /** What could not be put back, in words. */
  readonly failed: string[];
}

/**
 * Seconds as `utimes` takes them: a double, good to about a quarter of a microsecond today, of which the system keeps what is
 * below. Half a microsecond more makes that the right microsecond, never the one before.
 */
const secondsOf = (entry: Entry) => (Number(BigInt(entry.mtime) / 1_000n) + 0.5) / 1_000_000;

/** The topmost folder on the same file system as `path` (or as its nearest folder that exists). */
function mountTop(context: HostContext, path: string): string {
  const exists = (each: string) => fs.statSync(each, { throwIfNoEntry: false });
  let folder = dirname(path);
  while (exists(folder) === undefined) folder = dirname(folder);
  const device = fs.statSync(folder).dev;
  while (folder !== context.root && folder !== '/' && fs.statSync(dirname(folder)).dev === device) folder = dirname(folder);
  return folder;
}

/** Files that the source does not have: renamed away by the run (`dpkg-divert`), or only their owner or mode changed. */
function withoutCopy(
  context: HostContext,
  path: string,
  was: Entry,
  now: Tree,
  added: ReadonlyMap<string, string>,
): string | undefined {
  const live = reach(context, path);
  const is = now.entries.get(path);
  const moved = is === undefined ? added.get(`${was.inode} ${was.size} ${was.mtime}`) : undefined;
  if (moved !== undefined) fs.renameSync(reach(context, moved), live);
  else if (is === undefined || is.inode !== was.inode || is.size !== was.size || is.mtime !== was.mtime) {
    return `${path} changed, and no copy of it was kept`;
  }
  if (was.type !== 'link') {
    const current = fs.lstatSync(live);
    // Only where it differs: a change of owner makes the kernel drop the file's capabilities.
    if (current.uid !== was.uid || current.gid !== was.gid) fs.lchownSync(live, was.uid, was.gid);
    if ((fs.lstatSync(live).mode & 0o7777) !== was.mode) fs.chmodSync(live, was.mode);
  }
  return undefined;
}

/** Makes way where a folder stands in the place of a file: what the run put there goes, anything else keeps it. */
function clearFolder(context: HostContext, path: string, remove: readonly string[]): void {
  for (const added of remove) {
    if (added.startsWith(`${path}/`)) removeOne(reach(context, added));
  }
  fs.rmdirSync(reach(context, path));
}

/** Removes a file, link or empty folder; a folder that still holds something stays. True when it is gone. */
function removeOne(path: string): boolean {
  const stat = fs.lstatSync(path, { throwIfNoEntry: false });
  if (stat === undefined) return false;
  if (!stat.isDirectory()) fs.unlinkSync(path);
  else if (fs.readdirSync(path).length === 0) fs.rmdirSync(path);
  else return false;
  return true;
}

/** The order in which files come back: the package database last, so that it never claims more than is there. */
function inOrder(paths: readonly string[]): string[] {
  const rank = (path: string) => (path.startsWith('/var/lib/dpkg/') ? 1 : rpmRank(path));
  return paths.toSorted((a, b) => rank(a) - rank(b) || (a < b ? -1 : 1));
}

/** Brings the covered part of the host back to `before`. @throws wayback.copy when the copies cannot be made (nothing changed then) */
export async function putBack(context: HostContext, task: PutBack): Promise<PutBackOutcome> {
  const now = scan(context.root, task.roots, task.paths);
  const todo: Difference = difference(task.before, now);
  const copied = inOrder(todo.bring.filter((path) => task.has(path)));
  const byTop = Map.groupBy(copied, (path) => mountTop(context, reach(context, path)));
  const stages = new Map([...byTop.keys()].map((top) => [top, join(top, `.patchferry-stage-${task.id}`)]));
  const failed: string[] = [];
  let removed = 0;
  try {
    for (const stage of stages.values()) fs.rmSync(stage, { recursive: true, force: true });
    for (const [top, paths] of byTop) {
      const stage = stages.get(top) ?? top;
      await fillStage(context, task, stage, paths);
      await syncFileSystem(context, stage);
    }
    context.onProgress?.(`puts back ${copied.length} files`);
    for (const path of todo.folders) makeFolder(context, path, task.before);
    const { source, folders: archive } = task;
    const stage = reach(context, `/.patchferry-stage-${task.id}.tar`);
    failed.push(...(await restoreAttributes(context, touchedFolders(task.before, now), { source, archive, stage })));
    const added = new Map(
      todo.remove.flatMap((path) => {
        const is = now.entries.get(path);
        return is === undefined ? [] : [[`${is.inode} ${is.size} ${is.mtime}`, path] as const];
      }),
    );
    for (const path of todo.bring) {
      const was = task.before.get(path);
      if (was === undefined || task.has(path)) continue;
      const problem = withoutCopy(context, path, was, now, added);
      if (problem !== undefined) failed.push(problem);
    }
    for (const path of copied) {
      const stage = stages.get(mountTop(context, reach(context, path)));
      try {
        if (now.entries.get(path)?.type === 'folder') clearFolder(context, path, todo.remove);
        fs.renameSync(join(stage ?? '', path), reach(context, path));
      } catch (error) {
        failed.push(`${path}: ${(error as Error).message}`);
      }
    }
    for (const path of todo.remove) if (removeOne(reach(context, path))) removed += 1;
    for (const path of [...task.before.keys()].toSorted().toReversed()) setFolder(context, path, task.before, now);
  } finally {
    for (const stage of stages.values()) fs.rmSync(stage, { recursive: true, force: true });
  }
  for (const top of stages.keys()) await syncFileSystem(context, top);
  failed.push(...check(context, task));
  return { restored: copied.length, removed, failed };
}

/**
 * Copies what comes back beside its place. Where there is no room left for that (an installation that filled the disk is what has
 * to be taken back) and the source is on the same file system, its own files are linked in: they hold the same until discarded.
 */
async function fillStage(context: HostContext, task: PutBack, stage: string, paths: readonly string[]): Promise<void> {
  try {
    await copyPaths(context, task.source, stage, paths, task.before);
  } catch (error) {
    fs.rmSync(stage, { recursive: true, force: true });
    if (fs.statSync(task.source).dev !== fs.statSync(dirname(stage)).dev) throw error;
    task.releaseRoom?.();
    await syncFileSystem(context, dirname(stage)); // journaling file systems give room back only then
    context.log.warn({ stage }, 'no room for copies, putting back the kept files themselves');
    await copyPaths(context, task.source, stage, paths, task.before, 'link');
  }
}

/** Folders that are gone or were touched since: anything in them, or of their own. */
function touchedFolders(before: ReadonlyMap<string, Entry>, now: Tree): string[] {
  return [...before].flatMap(([path, was]) => {
    if (was.type !== 'folder' || now.mounts.has(path)) return [];
    const is = now.entries.get(path);
    return is !== undefined && is.inode === was.inode && is.ctime === was.ctime ? [] : [path];
  });
}

/** Makes a folder that is gone; a file in its place goes. */
function makeFolder(context: HostContext, path: string, before: ReadonlyMap<string, Entry>): void {
  const live = reach(context, path);
  const stat = fs.lstatSync(live, { throwIfNoEntry: false });
  if (stat !== undefined && !stat.isDirectory()) fs.unlinkSync(live);
  const was = before.get(path);
  if (stat?.isDirectory() === true || was === undefined) return;
  fs.mkdirSync(live, { recursive: true, mode: was.mode });
  fs.chownSync(live, was.uid, was.gid);
  fs.chmodSync(live, was.mode);
}

/** Owner, mode and time of a folder as they were; last of all, because every rename in it changes its time. */
function setFolder(context: HostContext, path: string, before: ReadonlyMap<string, Entry>, now: Tree): void {
  const was = before.get(path);
  if (was?.type !== 'folder' || now.mounts.has(path)) return;
  const live = reach(context, path);
  const is = fs.lstatSync(live, { bigint: true, throwIfNoEntry: false });
  if (is === undefined || !is.isDirectory()) return;
  if (Number(is.uid) !== was.uid || Number(is.gid) !== was.gid) fs.chownSync(live, was.uid, was.gid);
  if ((Number(is.mode) & 0o7777) !== was.mode) fs.chmodSync(live, was.mode);
  if (isInRoots(path) && String(is.mtimeNs) !== was.mtime) fs.utimesSync(live, secondsOf(was), secondsOf(was));
}

/** Looks again: everything that can be told without reading contents is as before, and nothing is there that was not. */
function check(context: HostContext, task: PutBack): string[] {
  const now = scan(context.root, task.roots, task.paths);
  const wrong: string[] = [];
  for (const [path, was] of task.before) {
    if (now.mounts.has(path)) continue;
    const is = now.entries.get(path);
    if (is === undefined) wrong.push(`${path} is not there`);
    else if (is.type !== was.type || is.mode !== was.mode || is.uid !== was.uid || is.gid !== was.gid)
      wrong.push(`${path} has another owner or mode`);
    else if (was.type === 'file' && (is.size !== was.size || is.mtime !== was.mtime)) wrong.push(`${path} has another content`);
  }
  for (const [path, is] of now.entries)
    if (!task.before.has(path) && is.type !== 'folder') wrong.push(`${path} was not there before`);
  return wrong;
}
