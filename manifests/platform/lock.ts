// One process at a time: an operating-system lock (taken through SQLite) that dies with its holder, and a note of who holds it.
import * as fs from 'node:fs';
import { dirname } from 'node:path';
import { DatabaseSync } from 'node:sqlite';
import { defineFaults, EXIT } from '#manifests/errors';

const fault = defineFaults('lock', {
  held: { exit: EXIT.deferred, next: 'Wait for the other process to end, or stop it; the lock goes with it.' },
  unusable: { exit: EXIT.deferred, next: 'Look at the disk that holds it: space, faults, permissions.' },
});

export interface Lock {
  release(): void;
  [Symbol.dispose](): void;
}

/** Keeps the handles of held locks: one that only a forgotten variable holds would be collected, and the lock with it. */
const heldHandles = new Set<DatabaseSync>();

/** SQLITE_BUSY and SQLITE_LOCKED: somebody has it. Everything else is trouble with the disk. */
function isBusy(cause: unknown): boolean {
  const code = ((cause as { errcode?: number }).errcode ?? 0) & 0xff;
  return code === 5 || code === 6;
}

/**
 * Takes the lock at `path` or says who holds it. A killed holder leaves no stale lock.
 * @param purpose what the holder does, in words for a person ("publish", "agent run"). @throws lock.held, lock.unusable
 */
export function takeLock(path: string, purpose: string): Lock {
  fs.mkdirSync(dirname(path), { recursive: true });
  const noteFile = `${path}.holder`;
  const database = new DatabaseSync(path, { timeout: 0 });
  try {
    database.exec('PRAGMA journal_mode=DELETE; PRAGMA synchronous=OFF; BEGIN EXCLUSIVE');
  } catch (cause) {
    database.close();
    if (!isBusy(cause)) throw fault('unusable', `${purpose}: ${(cause as Error).message}`, { where: path, cause });
    let holder = 'another process';
    try {
      holder = fs.readFileSync(noteFile, 'utf8').slice(0, 200).trim();
    } catch {
      // the holder has not written its note yet
    }
    throw fault('held', `${purpose}: ${path} is held by ${holder}`, { where: path, cause });
  }
  try {
    fs.writeFileSync(noteFile, `${purpose} (process ${process.pid})\n`, { mode: 0o644 });
  } catch {
    // no room for it: the lock holds, only who has it is not said
  }
  let held = true;
  heldHandles.add(database);
  const release = () => {
    if (!held) return;
    held = false;
    heldHandles.delete(database);
    fs.rmSync(noteFile, { force: true });
    database.exec('ROLLBACK');
    database.close();
  };
  return { release, [Symbol.dispose]: release };
}
