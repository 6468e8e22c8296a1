// Where ways back lie, one folder a run: made whole or not at all (`complete.json` is written last), listed, given back.
import * as fs from 'node:fs';
import { join } from 'node:path';
import { PatchferryError } from '#manifests/errors';
import { utcSeconds } from '#manifests/platform/clock';
import { readFileBounded, syncFolder, writeFileAtomic } from '#manifests/platform/files';
import { type HostContext, type InstallPlan, reach } from '../packages/index.ts';
import { fault } from './copy.ts';
import { pathsOfChanged } from './scope.ts';

const SMALL_FILE_BYTES = 64 * 1024 * 1024;

/** Folder of the ways back that are files. */
export function fileStore(context: HostContext, kind: string): string {
  return join(context.wayBackFolder ?? reach(context, '/var/lib/patchferry/way-back'), kind);
}

/** The folder of one run. @throws wayback.unknown when the id cannot be one of ours */
export function folderOf(store: string, id: string): string {
  if (!/^[A-Za-z0-9][A-Za-z0-9._-]{0,99}$/.test(id)) throw fault('unknown', `${JSON.stringify(id)} is no id of a run`);
  return join(store, id);
}

/** Makes the fresh private folder of one run. */
export function startFolder(store: string, id: string): string {
  const folder = folderOf(store, id);
  fs.mkdirSync(store, { recursive: true, mode: 0o700 });
  fs.chmodSync(store, 0o700);
  fs.mkdirSync(folder, { mode: 0o700 });
  return folder;
}

export function complete(folder: string, context: HostContext): void {
  writeFileAtomic(join(folder, 'complete.json'), `${JSON.stringify({ takenAt: utcSeconds(context.clock.now()) })}\n`, {
    mode: 0o600,
  });
}

export function isComplete(folder: string): boolean {
  return fs.existsSync(join(folder, 'complete.json'));
}

export function listStore(store: string): { id: string; takenAt: string }[] {
  if (!fs.existsSync(store)) return [];
  const found = fs.readdirSync(store).flatMap((id) => {
    const bytes = readFileBounded(join(store, id, 'complete.json'), SMALL_FILE_BYTES);
    if (bytes === undefined) return [];
    const { takenAt } = JSON.parse(Buffer.from(bytes).toString('utf8')) as { takenAt: string };
    return [{ id, takenAt }];
  });
  return found.toSorted((a, b) => (a.takenAt < b.takenAt ? -1 : 1));
}

/** Room that a folder takes on the disk; a file with several names counts once. Nothing when it is not there. */
export function folderBytes(folder: string): number {
  if (!fs.existsSync(folder)) return 0;
  const seen = new Set<number>();
  let bytes = 0;
  for (const entry of fs.readdirSync(folder, { recursive: true, withFileTypes: true })) {
    const stat = fs.lstatSync(join(entry.parentPath, entry.name), { throwIfNoEntry: false });
    if (stat === undefined || (stat.nlink > 1 && !stat.isDirectory() && seen.has(stat.ino))) continue;
    seen.add(stat.ino);
    bytes += stat.blocks * 512;
  }
  return bytes;
}

/** Removes a folder of copies: no longer whole first, then gone. */
export function discardFolder(folder: string): void {
  if (!fs.existsSync(folder)) return;
  fs.rmSync(join(folder, 'complete.json'), { force: true });
  syncFolder(folder);
  fs.rmSync(folder, { recursive: true, force: true });
}

/**
 * The paths that the changed packages list now, as this and earlier tries of a restore found them: a later try no longer sees
 * the new versions' lists.
 * @param releaseRoom gives back what was set aside for a full disk
 */
export async function pathsAtFirstTry(
  folder: string,
  context: HostContext,
  plans: readonly InstallPlan[],
  releaseRoom: () => void,
): Promise<string[]> {
  const file = join(folder, 'new-paths.json');
  const noted = readFileBounded(file, SMALL_FILE_BYTES);
  const known = noted === undefined ? [] : (JSON.parse(Buffer.from(noted).toString('utf8')) as string[]);
  // A run may come here more than once, each time with other packages installed (a batch that failed, then another).
  const paths = [...new Set([...known, ...(await pathsOfChanged(context, plans))])];
  if (paths.length === known.length) return paths;
  const note = () => writeFileAtomic(file, JSON.stringify(paths), { mode: 0o600 });
  if (fits(note)) return paths;
  releaseRoom();
  // A restore goes on without the note: it makes room itself, and only one that is cut off would miss it.
  if (!fits(note)) context.log.warn({ event: 'wayback.note-left-out', path: file }, 'no room to note what the run brought');
  return paths;
}

/** What is free by the file system's own count may be blocks that it does not hand out yet, so that only trying tells. */
function fits(write: () => void): boolean {
  try {
    write();
    return true;
  } catch (error) {
    if (error instanceof PatchferryError && (error.cause as NodeJS.ErrnoException | undefined)?.code === 'ENOSPC') return false;
    throw error;
  }
}
