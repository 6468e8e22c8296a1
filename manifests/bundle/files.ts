// Small files through a Disk: read bounded, replaced whole; and what an error of the operating system means to a courier.
import { randomBytes } from 'node:crypto';
import { basename, dirname, join } from 'node:path';
import { PatchferryError } from '#manifests/errors';
import type { Disk } from './disk.ts';
import { fault } from './faults.ts';

/** Bytes of a regular file, or undefined when it is not there. @throws bundle.too-large, bundle.hostile-entry */
export function readSmall(disk: Disk, path: string, limitBytes: number): Buffer | undefined {
  const facts = disk.facts(path);
  if (facts === undefined) return undefined;
  if (facts.kind !== 'file') throw fault('hostile-entry', `${path} is a link, folder or device, not a file`, { where: path });
  if (facts.size > limitBytes) {
    throw fault('too-large', `${path} has ${facts.size} bytes, the limit is ${limitBytes}`, { where: path });
  }
  const handle = disk.open(path, 'r');
  try {
    const bytes = Buffer.alloc(facts.size);
    return bytes.subarray(0, disk.read(handle, bytes, 0));
  } finally {
    disk.close(handle);
  }
}

/** Replaces `path` by `bytes`: temporary name, flush, rename, flush of the folder. */
export function replaceFile(disk: Disk, path: string, bytes: Uint8Array, mode = 0o644): void {
  const temporary = join(dirname(path), `.tmp-${randomBytes(6).toString('hex')}-${basename(path).slice(0, 100)}`);
  const handle = disk.open(temporary, 'wx', mode);
  try {
    disk.write(handle, bytes, 0);
    disk.sync(handle);
  } finally {
    disk.close(handle);
  }
  disk.rename(temporary, path);
  disk.syncFolder(dirname(path));
}

const GONE = ['ENODEV', 'ENXIO', 'EIO', 'ENOTCONN', 'ESTALE', 'ENOMEDIUM', 'ENOENT', 'EBADF'];
const FULL = ['ENOSPC', 'EDQUOT'];

/** Runs work on a medium; an error of the operating system becomes one a courier understands, ours pass through. */
export async function onMedium<T>(place: string, work: () => Promise<T> | T): Promise<T> {
  try {
    return await work();
  } catch (cause) {
    if (cause instanceof PatchferryError || !(cause instanceof Error) || !('code' in cause)) throw cause;
    const code = String(cause.code);
    const detail = { where: place, cause };
    if (FULL.includes(code)) throw fault('no-space', `there is no room left (${cause.message})`, detail);
    if (GONE.includes(code)) throw fault('medium-gone', `the medium went away or failed: ${cause.message}`, detail);
    if (code.startsWith('E') && 'syscall' in cause) throw fault('unwritable', cause.message, detail);
    throw cause;
  }
}
