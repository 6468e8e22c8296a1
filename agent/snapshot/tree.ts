// Trees of files as lists of facts: what was there before a run, what is there now, and what differs.
import * as fs from 'node:fs';
import { join } from 'node:path';
import { isExcluded } from './scope.ts';

export interface Entry {
  readonly type: 'file' | 'folder' | 'link' | 'special';
  readonly mode: number;
  readonly uid: number;
  readonly gid: number;
  readonly size: number;
  /** Nanoseconds as decimal text, so that it survives JSON. */
  readonly mtime: string;
  readonly inode: string;
  /** Changes with every write, rename, change of owner, mode or extended attribute: the same means untouched. */
  readonly ctime: string;
  readonly links: number;
}

export interface Tree {
  readonly entries: Map<string, Entry>;
  /** Folders on another file system inside the covered ones: left alone. */
  readonly mounts: Set<string>;
}

type Row = [string, Entry['type'], number, number, number, number, string, string, string, number];

export function toRows(entries: ReadonlyMap<string, Entry>): Row[] {
  return [...entries].map(([path, e]) => [path, e.type, e.mode, e.uid, e.gid, e.size, e.mtime, e.inode, e.ctime, e.links]);
}

export function fromRows(rows: readonly Row[]): Map<string, Entry> {
  return new Map(
    rows.map(([path, type, mode, uid, gid, size, mtime, inode, ctime, links]) => [
      path,
      { type, mode, uid, gid, size, mtime, inode, ctime, links },
    ]),
  );
}

function entryOf(stat: fs.BigIntStats): Entry {
  const type = stat.isDirectory() ? 'folder' : stat.isSymbolicLink() ? 'link' : stat.isFile() ? 'file' : 'special';
  return {
    type,
    mode: Number(stat.mode) & 0o7777,
    uid: Number(stat.uid),
    gid: Number(stat.gid),
    size: type === 'folder' ? 0 : Number(stat.size),
    mtime: String(stat.mtimeNs),
    inode: String(stat.ino),
    ctime: String(stat.ctimeNs),
    links: type === 'folder' ? 1 : Number(stat.nlink),
  };
}

/**
 * Lists everything below the folders `roots` (host paths) and the single `paths`, of the tree at `base`.
 * File systems mounted inside a root are not entered; sockets are no files; names that are not UTF-8 are left out.
 */
export function scan(base: string, roots: readonly string[], paths: readonly string[] = []): Tree {
  const entries = new Map<string, Entry>();
  const mounts = new Set<string>();
  const look = (path: string) => fs.lstatSync(join(base, path), { bigint: true, throwIfNoEntry: false });
  const todo: { path: string; device: bigint }[] = [];
  const add = (path: string, device?: bigint) => {
    if (isExcluded(path)) return;
    const stat = look(path);
    if (stat === undefined || stat.isSocket()) return;
    if (device !== undefined && stat.isDirectory() && stat.dev !== device) {
      mounts.add(path);
      return;
    }
    entries.set(path, entryOf(stat));
    if (device !== undefined && stat.isDirectory()) todo.push({ path, device });
  };
  for (const root of roots) {
    const stat = look(root);
    if (stat !== undefined) add(root, stat.dev);
  }
  for (let next = todo.pop(); next !== undefined; next = todo.pop()) {
    for (const name of fs.readdirSync(join(base, next.path))) {
      if (!name.includes('\ufffd')) add(`${next.path}/${name}`, next.device);
    }
  }
  for (const path of paths) if (!entries.has(path)) add(path);
  return { entries, mounts };
}

export interface Difference {
  /** Files, links and specials that have to come back as they were. */
  readonly bring: string[];
  /** Folders that are gone, parents first. */
  readonly folders: string[];
  /** What was not there before, children before their folders. */
  readonly remove: string[];
}

/** What has to be done to `now` to make it `before` again. */
export function difference(before: ReadonlyMap<string, Entry>, now: Tree): Difference {
  const bring: string[] = [];
  const folders: string[] = [];
  for (const [path, was] of before) {
    if (now.mounts.has(path)) continue;
    const is = now.entries.get(path);
    if (was.type === 'folder') {
      if (is?.type !== 'folder') folders.push(path);
    } else if (is === undefined || is.type !== was.type || is.inode !== was.inode || is.ctime !== was.ctime) bring.push(path);
  }
  const added = [...now.entries.keys()].filter((path) => !before.has(path));
  // A folder always sorts before what is in it, so the other way round empties it first.
  return { bring, folders: folders.toSorted(), remove: added.toSorted().toReversed() };
}
