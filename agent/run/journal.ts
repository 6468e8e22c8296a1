// The journal: what the agent was about to do, what it did, and what it has to tell, in one SQLite file. Every write is on
// disk before the act that it announces (WAL, synchronous=FULL); the end of a run and its result are one transaction.
import * as fs from 'node:fs';
import { dirname } from 'node:path';
import { DatabaseSync } from 'node:sqlite';
import { fault } from './limits.ts';
import { type BackOffBook, backOffBook } from './memory.ts';
import { type ResultBook, resultBook } from './results.ts';
import { type RunBook, runBook } from './runs.ts';
import { type WayBook, wayBook } from './ways.ts';

/** What is stored; each entry brings the file from the version of its index to the next. Never edit one, add one. */
const MIGRATIONS: readonly string[] = [
  `CREATE TABLE meta (key TEXT PRIMARY KEY, value TEXT NOT NULL) STRICT;
   CREATE TABLE runs (
     id TEXT PRIMARY KEY, started TEXT NOT NULL, state TEXT NOT NULL, resumed INTEGER NOT NULL DEFAULT 0,
     deaths INTEGER NOT NULL DEFAULT 0, data TEXT NOT NULL, finished TEXT, outcome TEXT, body TEXT
   ) STRICT;
   CREATE UNIQUE INDEX one_open_run ON runs ((1)) WHERE finished IS NULL;
   CREATE TABLE steps (
     run TEXT NOT NULL REFERENCES runs (id) ON DELETE CASCADE, n INTEGER NOT NULL,
     state TEXT NOT NULL, at TEXT NOT NULL, says TEXT NOT NULL, PRIMARY KEY (run, n)
   ) STRICT;
   CREATE TABLE failed (patch TEXT PRIMARY KEY, at INTEGER NOT NULL, code TEXT NOT NULL) STRICT;
   CREATE TABLE rolled_back (digest TEXT PRIMARY KEY, patches TEXT NOT NULL, at INTEGER NOT NULL) STRICT;
   CREATE TABLE installed (patch TEXT PRIMARY KEY, boot TEXT NOT NULL, reboot INTEGER NOT NULL) STRICT;
   CREATE TABLE back_off (name TEXT PRIMARY KEY, until INTEGER NOT NULL, failures INTEGER NOT NULL, says TEXT NOT NULL) STRICT;
   CREATE TABLE results (
     sequence INTEGER PRIMARY KEY, kind TEXT NOT NULL, body TEXT NOT NULL, boot TEXT NOT NULL,
     trusted_time TEXT NOT NULL, wall_time TEXT NOT NULL,
     hash TEXT, file TEXT, size INTEGER, sent_at INTEGER, sent_to TEXT, sends INTEGER NOT NULL DEFAULT 0
   ) STRICT;`,
  // Several ways back in place of the last one; what was kept before stays.
  `CREATE TABLE ways (
     run TEXT PRIMARY KEY REFERENCES runs (id) ON DELETE CASCADE, taken INTEGER NOT NULL, bytes INTEGER, gone TEXT
   ) STRICT;
   INSERT INTO ways SELECT id, CAST(strftime('%s', coalesce(finished, started)) AS INTEGER) * 1000, NULL, NULL FROM runs
     WHERE id = (SELECT value FROM meta WHERE key = 'last-committed');`,
];

/** The boot in which nothing is written any more. */
const STANDS_STILL = 'root-switched';

export interface Journal {
  readonly runs: RunBook;
  readonly results: ResultBook;
  readonly backOff: BackOffBook;
  readonly ways: WayBook;
  /** A small named value that outlives the process. */
  meta(key: string): string | undefined;
  setMeta(key: string, value: string | null): void;
  /** Everything `act` writes is there afterwards, or nothing of it. */
  atomically<T>(act: () => T): T;
  /** Nothing is written any more until this boot is over: what was written would be left behind in a root that is not started again. */
  standStill(boot: string): void;
  /** Writes again: the root stays. */
  goOn(): void;
  /** Boot in which it stands still; undefined when it does not. */
  readonly standsIn: string | undefined;
  /** Name of the damaged file that was put aside when this journal was opened. */
  readonly putAside: string | undefined;
  close(): void;
  [Symbol.dispose](): void;
}

/**
 * Opens the journal, brings it to this version, and makes a new one when there is none. A file that is no database any more
 * is put aside, not deleted: what it held of the results' chain is recovered from the publisher's ack.
 * @throws run.journal, run.newer-journal
 */
export function openJournal(path: string, options: { readOnly?: boolean; now: number }): Journal {
  let putAside: string | undefined;
  let database: DatabaseSync;
  try {
    fs.mkdirSync(dirname(path), { recursive: true, mode: 0o700 });
    try {
      database = openDatabase(path, options.readOnly !== true);
    } catch (cause) {
      if (!isDamage(cause) || options.readOnly === true) throw cause;
      putAside = `${path}.damaged-${options.now}`;
      fs.renameSync(path, putAside);
      for (const suffix of ['-wal', '-shm']) fs.rmSync(path + suffix, { force: true });
      database = openDatabase(path, true);
    }
    migrate(database, path);
  } catch (cause) {
    if (cause instanceof Error && cause.name === 'PatchferryError') throw cause;
    throw fault('journal', `cannot use the journal ${path}: ${(cause as Error).message}`, { where: path, cause });
  }

  let depth = 0;
  const atomically = <T>(act: () => T): T => {
    if (depth > 0) return act();
    depth += 1;
    database.exec('BEGIN IMMEDIATE');
    try {
      const value = act();
      database.exec('COMMIT');
      return value;
    } catch (cause) {
      if (database.isTransaction) database.exec('ROLLBACK');
      throw cause;
    } finally {
      depth -= 1;
    }
  };
  const getMeta = database.prepare('SELECT value FROM meta WHERE key = ?');
  const putMeta = database.prepare('INSERT INTO meta VALUES (?, ?) ON CONFLICT (key) DO UPDATE SET value = excluded.value');
  const dropMeta = database.prepare('DELETE FROM meta WHERE key = ?');
  const meta = (key: string) => (getMeta.get(key) as { value: string } | undefined)?.value;
  const setMeta = (key: string, value: string | null) => {
    if (value === null) dropMeta.run(key);
    else putMeta.run(key, value);
  };
  const close = () => {
    if (database.isOpen) database.close();
  };
  const results = resultBook(database, { meta, setMeta, atomically });
  return {
    results,
    runs: runBook(database, { atomically, results }),
    backOff: backOffBook(database),
    ways: wayBook(database, { atomically, setMeta }),
    meta,
    setMeta,
    atomically,
    standStill(boot) {
      if (meta(STANDS_STILL) !== boot) setMeta(STANDS_STILL, boot);
      database.exec('PRAGMA query_only = ON');
    },
    goOn() {
      database.exec('PRAGMA query_only = OFF');
      setMeta(STANDS_STILL, null);
    },
    get standsIn() {
      return meta(STANDS_STILL);
    },
    putAside,
    close,
    [Symbol.dispose]: close,
  };
}

/** @param whole look through all of it for damage, so that nothing is decided or written on rotten ground */
function openDatabase(path: string, whole: boolean): DatabaseSync {
  const database = new DatabaseSync(path, { timeout: 10_000 });
  try {
    database.exec(
      'PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; PRAGMA foreign_keys = ON; PRAGMA trusted_schema = OFF',
    );
    const check = whole ? (database.prepare('PRAGMA quick_check(1)').get() as { quick_check: string }) : undefined;
    if (check !== undefined && check.quick_check !== 'ok') throw Object.assign(new Error(check.quick_check), { errcode: 11 });
    return database;
  } catch (cause) {
    database.close();
    throw cause;
  }
}

/** SQLITE_CORRUPT and SQLITE_NOTADB; everything else (a lock, a full disk) may pass. */
function isDamage(cause: unknown): boolean {
  const code = (cause as { errcode?: number }).errcode ?? 0;
  return (code & 0xff) === 11 || (code & 0xff) === 26;
}

function migrate(database: DatabaseSync, path: string): void {
  const { user_version: version } = database.prepare('PRAGMA user_version').get() as { user_version: number };
  if (version > MIGRATIONS.length) {
    throw fault('newer-journal', `${path} is of version ${version}, this patchferry knows ${MIGRATIONS.length}`, {
      where: path,
    });
  }
  for (const [index, sql] of MIGRATIONS.entries()) {
    if (index < version) continue;
    database.exec(`BEGIN IMMEDIATE; ${sql} PRAGMA user_version = ${index + 1}; COMMIT`);
  }
}
