// The few file operations that packing and collecting are made of. Passed in, so that a test can pull the stick at any of them.
import * as fs from 'node:fs';

export interface Disk {
  /** Never follows a link at the last part. */
  open(path: string, flags: 'r' | 'r+' | 'wx', mode?: number): number;
  close(handle: number): void;
  /** Bytes read; fewer than asked only at the end. */
  read(handle: number, into: Uint8Array, position: number): number;
  /** Writes all of it. */
  write(handle: number, bytes: Uint8Array, position: number): void;
  truncate(handle: number, length: number): void;
  sync(handle: number): void;
  /** Flushes many files, several at once: the disk's journal then takes them together. */
  syncFiles(paths: readonly string[]): Promise<void>;
  syncFolder(path: string): void;
  rename(from: string, to: string): void;
  makeFolder(path: string, mode?: number): void;
  remove(path: string): void;
  /** Names in a folder; undefined when it does not exist. */
  list(path: string): string[] | undefined;
  /** What lies there, a link not followed. */
  facts(path: string): { readonly kind: 'file' | 'folder' | 'other'; readonly size: number } | undefined;
  /** Bytes free for this user. */
  free(path: string): number;
}

const NO_FOLLOW = fs.constants.O_NOFOLLOW ?? 0;
const FLAGS = {
  r: fs.constants.O_RDONLY | NO_FOLLOW,
  'r+': fs.constants.O_RDWR | NO_FOLLOW,
  wx: fs.constants.O_RDWR | fs.constants.O_CREAT | fs.constants.O_EXCL | NO_FOLLOW,
} as const;

/** Node has four threads for this. */
const SYNCS_AT_ONCE = 4;

export const realDisk: Disk = {
  open: (path, flags, mode = 0o644) => fs.openSync(path, FLAGS[flags], mode),
  close: (handle) => fs.closeSync(handle),
  read(handle, into, position) {
    let done = 0;
    while (done < into.length) {
      const got = fs.readSync(handle, into, done, into.length - done, position + done);
      if (got === 0) break;
      done += got;
    }
    return done;
  },
  write(handle, bytes, position) {
    for (let done = 0; done < bytes.length; ) {
      done += fs.writeSync(handle, bytes, done, bytes.length - done, position + done);
    }
  },
  truncate: (handle, length) => fs.ftruncateSync(handle, length),
  sync: (handle) => fs.fsyncSync(handle),
  async syncFiles(paths) {
    const waiting = [...paths];
    const worker = async () => {
      for (let path = waiting.pop(); path !== undefined; path = waiting.pop()) {
        const handle = await fs.promises.open(path, 'r+');
        try {
          await handle.sync();
        } finally {
          await handle.close();
        }
      }
    };
    await Promise.all(Array.from({ length: SYNCS_AT_ONCE }, worker));
  },
  syncFolder(path) {
    if (process.platform === 'win32') return; // Windows cannot open a folder for this
    const handle = fs.openSync(path, 'r');
    try {
      fs.fsyncSync(handle);
    } catch (cause) {
      // FAT through FUSE, and some network shares, cannot flush a folder; the files themselves are flushed.
      if (!['EINVAL', 'ENOSYS', 'ENOTSUP'].includes((cause as NodeJS.ErrnoException).code ?? '')) throw cause;
    } finally {
      fs.closeSync(handle);
    }
  },
  rename: (from, to) => fs.renameSync(from, to),
  makeFolder: (path, mode = 0o755) => void fs.mkdirSync(path, { recursive: true, mode }),
  remove: (path) => fs.rmSync(path, { recursive: true, force: true }),
  list(path) {
    try {
      return fs.readdirSync(path);
    } catch (cause) {
      if ((cause as NodeJS.ErrnoException).code === 'ENOENT') return undefined;
      throw cause;
    }
  },
  facts(path) {
    const facts = fs.lstatSync(path, { throwIfNoEntry: false });
    if (facts === undefined) return undefined;
    return { kind: facts.isFile() ? 'file' : facts.isDirectory() ? 'folder' : 'other', size: facts.size };
  },
  free(path) {
    const { bavail, bsize } = fs.statfsSync(path);
    return bavail * bsize;
  },
};
