// A disk that fails at its n-th act: the stick pulled out (every act on it fails from then on), or the process killed for real.
import { type Disk, realDisk } from '../disk.ts';

export interface FaultyDisk extends Disk {
  /** Acts so far. */
  acts(): number;
}

/**
 * @param at the act that fails, counted from 1; one that writes does half of it first. 0: none, only counts.
 * @param how `pull`: this and every later act throws ENODEV. `kill`: the process ends itself with SIGKILL.
 */
export function faultyDisk(at: number, how: 'pull' | 'kill'): FaultyDisk {
  let acts = 0;
  let gone = false;
  const act = (name: string, half?: () => void) => {
    acts += 1;
    if (at === 0 || (!gone && acts < at)) return;
    if (!gone) half?.();
    gone = true;
    if (how === 'kill') process.kill(process.pid, 'SIGKILL');
    throw Object.assign(new Error(`ENODEV: no such device, ${name}`), { code: 'ENODEV', syscall: name });
  };
  return {
    ...realDisk,
    acts: () => acts,
    open(path, flags, mode) {
      act('open');
      return realDisk.open(path, flags, mode);
    },
    read(handle, into, position) {
      act('read');
      return realDisk.read(handle, into, position);
    },
    write(handle, bytes, position) {
      act('write', () => realDisk.write(handle, bytes.subarray(0, bytes.length >> 1), position));
      realDisk.write(handle, bytes, position);
    },
    truncate(handle, length) {
      act('truncate');
      realDisk.truncate(handle, length);
    },
    sync(handle) {
      act('fsync');
      realDisk.sync(handle);
    },
    syncFiles(paths) {
      return new Promise((resolve) => {
        act('fsync');
        resolve(realDisk.syncFiles(paths));
      });
    },
    syncFolder(path) {
      act('fsync');
      realDisk.syncFolder(path);
    },
    rename(from, to) {
      act('rename');
      realDisk.rename(from, to);
    },
    makeFolder(path, mode) {
      act('mkdir');
      realDisk.makeFolder(path, mode);
    },
    remove(path) {
      act('rm');
      realDisk.remove(path);
    },
    list(path) {
      act('scandir');
      return realDisk.list(path);
    },
    facts(path) {
      act('lstat');
      return realDisk.facts(path);
    },
  };
}
