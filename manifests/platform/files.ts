// Files that survive a power cut: written under a temporary name, fsynced, renamed, folder fsynced. Reads are bounded.
import { randomBytes } from 'node:crypto';
import * as fs from 'node:fs';
import { basename, dirname, join } from 'node:path';
import { defineFaults, EXIT } from '#manifests/errors';

export const fault = defineFaults('files', {
  'too-large': { exit: EXIT.refused, next: 'The file is larger than its kind can be; look at where it came from.' },
  unreadable: { exit: EXIT.usage, next: 'Check that the path exists and that this user may read it.' },
  unwritable: { exit: EXIT.usage, next: 'Check free space, permissions, and that the file system is writable.' },
});

/** Flushes a folder's own entries to disk (a rename is only durable after this; POSIX fsync on a directory). */
export function syncFolder(folder: string): void {
  if (process.platform === 'win32') return; // Windows cannot open a folder for this; NTFS journals the rename itself.
  const handle = fs.openSync(folder, 'r');
  try {
    fs.fsyncSync(handle);
  } finally {
    fs.closeSync(handle);
  }
}

/** A name beside `path` for a file in the making. Starts with `.tmp-`, so that left-overs are recognised and removed. */
export function temporaryNameFor(path: string): string {
  return join(dirname(path), `.tmp-${randomBytes(6).toString('hex')}-${basename(path)}`.slice(0, 200));
}

/**
 * Replaces `path` by `data`, or leaves it as it was: readers see the old or the new content, never half.
 * @param options.mode permission bits, 0644 unless told; secrets pass 0600.
 * @throws files.unwritable
 */
export function writeFileAtomic(path: string, data: Uint8Array | string, options: { mode?: number } = {}): void {
  const temporary = temporaryNameFor(path);
  try {
    fs.mkdirSync(dirname(path), { recursive: true });
    const handle = fs.openSync(temporary, 'wx', options.mode ?? 0o644);
    try {
      fs.writeFileSync(handle, data);
      if (options.mode !== undefined) fs.fchmodSync(handle, options.mode);
      fs.fsyncSync(handle);
    } finally {
      fs.closeSync(handle);
    }
    fs.renameSync(temporary, path);
    syncFolder(dirname(path));
  } catch (cause) {
    try {
      fs.rmSync(temporary, { force: true });
    } catch {
      // the folder itself is no folder, or gone; the first error says so
    }
    throw fault('unwritable', `cannot write ${path}: ${(cause as Error).message}`, { where: path, cause });
  }
}

/**
 * The bytes of `path`, or undefined when there is none.
 * @param limitBytes refused when the file is larger. @throws files.too-large, files.unreadable
 */
export function readFileBounded(path: string, limitBytes: number): Uint8Array | undefined {
  let handle: number;
  try {
    handle = fs.openSync(path, 'r');
  } catch (cause) {
    if ((cause as NodeJS.ErrnoException).code === 'ENOENT') return undefined;
    throw fault('unreadable', `cannot read ${path}: ${(cause as Error).message}`, { where: path, cause });
  }
  try {
    const facts = fs.fstatSync(handle);
    const { size } = facts;
    if (facts.isDirectory()) throw fault('unreadable', `cannot read ${path}: it is a folder`, { where: path });
    if (size > limitBytes) {
      throw fault('too-large', `${path} has ${size} bytes, the limit is ${limitBytes}`, { where: path });
    }
    const data = fs.readFileSync(handle);
    if (data.length > limitBytes) {
      throw fault('too-large', `${path} grew past the limit of ${limitBytes} bytes`, { where: path });
    }
    return data;
  } finally {
    fs.closeSync(handle);
  }
}

/** Removes left-overs of writes that never finished from one folder (not from the folders below it). */
export function removeTemporaries(folder: string): void {
  for (const name of fs.existsSync(folder) ? fs.readdirSync(folder) : []) {
    if (name.startsWith('.tmp-')) fs.rmSync(join(folder, name), { recursive: true, force: true });
  }
}
