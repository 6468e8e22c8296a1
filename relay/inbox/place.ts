// Files of the spool: written whole under a temporary name, and flushed, at once or many together later.
import { randomBytes } from 'node:crypto';
import * as fs from 'node:fs';
import { dirname, join } from 'node:path';
import { run } from '#manifests/platform/process';
import { INBOX_LIMITS } from './limits.ts';

const temporaryIn = (folder: string) => join(folder, `.tmp-${randomBytes(9).toString('hex')}`);

/** Writes a file under a temporary name and gives it its own; flushed later. */
export function placeFile(temporaryFolder: string, file: string, bytes: Uint8Array): void {
  const temporary = temporaryIn(temporaryFolder);
  try {
    fs.writeFileSync(temporary, bytes, { flag: 'wx', mode: 0o640 });
    try {
      fs.renameSync(temporary, file);
    } catch (cause) {
      if ((cause as NodeJS.ErrnoException).code !== 'ENOENT') throw cause;
      fs.mkdirSync(dirname(file), { recursive: true });
      fs.renameSync(temporary, file);
    }
  } catch (cause) {
    fs.rmSync(temporary, { force: true });
    throw cause;
  }
}

/** Flushes files and the folders they lie in; those that are gone need none. Many at once are one call to the system. */
export async function flushFiles(root: string, paths: readonly string[], signal?: AbortSignal): Promise<void> {
  if (paths.length > INBOX_LIMITS.flushOneByOne && process.platform === 'linux') {
    const all = await run('sync', ['-f', root], { timeoutMs: INBOX_LIMITS.flushMs, signal }).catch(() => undefined);
    if (all?.code === 0) return;
  }
  const folders = new Set<string>();
  for (const path of paths) {
    signal?.throwIfAborted();
    try {
      const handle = await fs.promises.open(join(root, path), 'r');
      try {
        await handle.sync();
      } finally {
        await handle.close();
      }
    } catch (cause) {
      if ((cause as NodeJS.ErrnoException).code !== 'ENOENT') throw cause; // it went on meanwhile
      continue;
    }
    for (let up = dirname(path); up !== '.'; up = dirname(up)) folders.add(up);
    folders.add('');
  }
  for (const path of folders) {
    signal?.throwIfAborted();
    await flushFolder(join(root, path));
  }
}

/**
 * Writes bytes under a temporary name, flushes them, gives them their name and flushes every folder that got a new entry.
 * Asynchronous, so that a disk that flushes slowly does not hold up other requests.
 */
export async function placeDurably(temporaryFolder: string, file: string, bytes: Uint8Array, root: string): Promise<void> {
  const temporary = temporaryIn(temporaryFolder);
  try {
    const handle = await fs.promises.open(temporary, 'wx', 0o640);
    try {
      await handle.writeFile(bytes);
      await handle.sync();
    } finally {
      await handle.close();
    }
    const parent = dirname(file);
    const made = await fs.promises.mkdir(parent, { recursive: true });
    await fs.promises.rename(temporary, file);
    await flushFolder(parent);
    if (made !== undefined) for (let up = parent; up.length > root.length; up = dirname(up)) await flushFolder(dirname(up));
  } catch (cause) {
    await fs.promises.rm(temporary, { force: true });
    throw cause;
  }
}

async function flushFolder(folder: string): Promise<void> {
  if (process.platform === 'win32') return; // NTFS journals the rename itself
  let handle: fs.promises.FileHandle;
  try {
    handle = await fs.promises.open(folder, 'r');
  } catch (cause) {
    if ((cause as NodeJS.ErrnoException).code === 'ENOENT') return; // emptied and removed meanwhile
    throw cause;
  }
  try {
    await handle.sync();
  } finally {
    await handle.close();
  }
}
