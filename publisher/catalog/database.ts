// The file behind the catalog store: its tables, and how an older one becomes a present one.
import * as fs from 'node:fs';
import { join } from 'node:path';
import { DatabaseSync } from 'node:sqlite';
import { isFault } from '#manifests/errors';
import { fault } from './faults.ts';

/**
 * Steps from version to version, in order; `user_version` counts those done. A step that was released is never edited.
 * Times are ms since 1970. A patch is kept per repository that offers it, with `withdrawn_at` set once it no longer does.
 */
const MIGRATIONS: readonly string[] = [
  `CREATE TABLE repository (
     product TEXT NOT NULL,
     name TEXT NOT NULL,
     document TEXT NOT NULL,
     PRIMARY KEY (product, name)
   ) STRICT, WITHOUT ROWID;
   CREATE TABLE patch (
     product TEXT NOT NULL,
     repository TEXT NOT NULL,
     id TEXT NOT NULL,
     source TEXT NOT NULL,
     version TEXT NOT NULL,
     document TEXT NOT NULL,
     first_seen INTEGER NOT NULL,
     withdrawn_at INTEGER,
     PRIMARY KEY (product, repository, id)
   ) STRICT;
   CREATE INDEX patch_source ON patch (product, source);
   CREATE TABLE enrichment (
     product TEXT NOT NULL,
     id TEXT NOT NULL,
     after_version TEXT NOT NULL,
     payloads INTEGER NOT NULL,
     known INTEGER NOT NULL,
     cves TEXT NOT NULL,
     severity TEXT NOT NULL,
     PRIMARY KEY (product, id)
   ) STRICT, WITHOUT ROWID;`,
];

/** Opens `catalog.sqlite` in the folder, makes or migrates it. @throws catalog.newer, catalog.damaged */
export function openDatabase(folder: string): DatabaseSync {
  fs.mkdirSync(folder, { recursive: true });
  const where = join(folder, 'catalog.sqlite');
  let database: DatabaseSync | undefined;
  try {
    database = new DatabaseSync(where, { timeout: 5_000 });
    database.exec('PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL');
    migrate(database, where);
    return database;
  } catch (cause) {
    database?.close();
    if (isFault(cause)) throw cause;
    throw fault('damaged', `${where} cannot be opened: ${(cause as Error).message}`, { where, cause });
  }
}

function migrate(database: DatabaseSync, where: string): void {
  const found = Number(database.prepare('PRAGMA user_version').get()?.['user_version'] ?? 0);
  if (found > MIGRATIONS.length) {
    throw fault('newer', `${where} has version ${found}, this patchferry knows ${MIGRATIONS.length}`, { where });
  }
  if (found === MIGRATIONS.length) return;
  transaction(database, () => {
    for (const step of MIGRATIONS.slice(found)) database.exec(step);
    database.exec(`PRAGMA user_version=${MIGRATIONS.length}`);
  });
}

/** All of `work`, or nothing of it. */
export function transaction<T>(database: DatabaseSync, work: () => T): T {
  database.exec('BEGIN IMMEDIATE');
  try {
    const result = work();
    database.exec('COMMIT');
    return result;
  } catch (cause) {
    database.exec('ROLLBACK');
    throw cause;
  }
}
