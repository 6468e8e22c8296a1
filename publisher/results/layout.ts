// The store's tables, and how an older store becomes a newer one. README.md describes them for people.
import * as fs from 'node:fs';
import { dirname } from 'node:path';
import { DatabaseSync } from 'node:sqlite';
import { defineFaults, EXIT } from '#manifests/errors';
import { RESULT_LIMITS } from './limits.ts';

export const fault = defineFaults('results', {
  'store-missing': { exit: EXIT.usage, next: 'Run `collect` first, or correct the path of the store.' },
  'store-foreign': {
    exit: EXIT.usage,
    next: 'Name the result store (store.sqlite in the publisher home); this file is left as it is.',
  },
  'store-newer': {
    exit: EXIT.usage,
    next: 'A newer patchferry wrote this store: update this one. The store is left as it is.',
  },
  'store-damaged': {
    exit: EXIT.handsNeeded,
    next: 'Keep the file, take the store back from a backup, and run `collect` again: agents hold what was not acked.',
  },
  'inbox-missing': { exit: EXIT.usage, next: 'Check the path; a folder that is not there is never read as an empty one.' },
});

/** `PRAGMA application_id` of a result store: "PFrs". */
const APPLICATION_ID = 0x50467273;

/** Each entry brings a store from the version of its index to the next one. Entries are never changed, only added. */
const MIGRATIONS: readonly string[] = [
  `
  CREATE TABLE agents (
    id INTEGER PRIMARY KEY,
    agent TEXT NOT NULL UNIQUE,
    watermark_sequence INTEGER,
    watermark_hash TEXT,
    max_sequence INTEGER,
    gaps TEXT NOT NULL DEFAULT '[]',
    forks TEXT NOT NULL DEFAULT '[]',
    odd INTEGER NOT NULL DEFAULT 0
  ) STRICT;

  CREATE TABLE results (
    id INTEGER PRIMARY KEY,
    agent_id INTEGER NOT NULL REFERENCES agents (id),
    sequence INTEGER NOT NULL,
    hash TEXT NOT NULL,
    previous TEXT,
    content_sha256 TEXT NOT NULL,
    kind TEXT NOT NULL,
    boot TEXT NOT NULL,
    trusted_at TEXT NOT NULL,
    received_at TEXT NOT NULL,
    body BLOB NOT NULL,
    UNIQUE (agent_id, sequence, hash)
  ) STRICT;

  CREATE TABLE envelopes (
    result_id INTEGER PRIMARY KEY REFERENCES results (id),
    bytes BLOB NOT NULL
  ) STRICT;

  CREATE TABLE enrolments (
    id INTEGER PRIMARY KEY,
    agent TEXT NOT NULL,
    hash TEXT NOT NULL UNIQUE,
    sequence INTEGER NOT NULL,
    activation TEXT NOT NULL,
    received_at TEXT NOT NULL,
    body BLOB NOT NULL,
    bytes BLOB NOT NULL
  ) STRICT;
  CREATE INDEX enrolments_by_agent ON enrolments (agent);

  CREATE TRIGGER results_keep BEFORE UPDATE ON results BEGIN SELECT RAISE(ABORT, 'results are append-only'); END;
  CREATE TRIGGER results_stay BEFORE DELETE ON results BEGIN SELECT RAISE(ABORT, 'results are append-only'); END;
  CREATE TRIGGER envelopes_keep BEFORE UPDATE ON envelopes BEGIN SELECT RAISE(ABORT, 'results are append-only'); END;
  CREATE TRIGGER envelopes_stay BEFORE DELETE ON envelopes BEGIN SELECT RAISE(ABORT, 'results are append-only'); END;

  CREATE TABLE inventories (
    agent_id INTEGER NOT NULL REFERENCES agents (id),
    sha256 TEXT NOT NULL,
    result_id INTEGER NOT NULL REFERENCES results (id),
    PRIMARY KEY (agent_id, sha256)
  ) STRICT, WITHOUT ROWID;

  CREATE TABLE hosts (
    agent_id INTEGER PRIMARY KEY REFERENCES agents (id),
    last_result INTEGER NOT NULL REFERENCES results (id),
    last_at TEXT NOT NULL,
    last_boot TEXT NOT NULL,
    scan_result INTEGER REFERENCES results (id),
    evidence_at TEXT,
    counts TEXT,
    non_compliant INTEGER,
    findings_sha256 TEXT,
    policy TEXT,
    next TEXT,
    facts TEXT,
    run_result INTEGER REFERENCES results (id),
    run TEXT,
    kernels TEXT,
    alert_result INTEGER REFERENCES results (id),
    alert TEXT
  ) STRICT;

  CREATE TABLE patches (
    id INTEGER PRIMARY KEY,
    product TEXT NOT NULL,
    patch TEXT NOT NULL,
    UNIQUE (product, patch)
  ) STRICT;

  CREATE TABLE host_patches (
    agent_id INTEGER NOT NULL REFERENCES agents (id),
    patch_id INTEGER NOT NULL REFERENCES patches (id),
    state INTEGER NOT NULL,
    compliant INTEGER NOT NULL,
    level TEXT NOT NULL,
    changes_at TEXT,
    PRIMARY KEY (agent_id, patch_id)
  ) STRICT, WITHOUT ROWID;
  `,
  // What policy asks for: exceptions that owners want, what they chose, and how long runs took.
  `
  CREATE INDEX results_waivers ON results (agent_id, sequence) WHERE kind = 'waiver-request';
  CREATE INDEX results_choices ON results (agent_id, sequence) WHERE kind = 'owner-choice';
  CREATE INDEX results_runs ON results (trusted_at) WHERE kind = 'run';
  `,
];

export const STORE_VERSION = MIGRATIONS.length;

/**
 * Opens a store, makes a new one when there is none, and brings an older one up to date (in one transaction).
 * @throws results.store-foreign, results.store-newer, results.store-damaged
 */
export function openDatabase(file: string): DatabaseSync {
  fs.mkdirSync(dirname(file), { recursive: true });
  return guarded(file, () => {
    const database = new DatabaseSync(file, { timeout: RESULT_LIMITS.busyMs });
    try {
      const found = versionOf(database, file);
      database.exec('PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL; PRAGMA foreign_keys=ON; PRAGMA cache_size=-65536');
      fs.chmodSync(file, 0o600);
      if (found < STORE_VERSION) {
        database.exec('BEGIN IMMEDIATE');
        const from = versionOf(database, file); // another process may have been faster
        for (const sql of MIGRATIONS.slice(from)) database.exec(sql);
        database.exec(`PRAGMA application_id=${APPLICATION_ID}; PRAGMA user_version=${STORE_VERSION}; COMMIT`);
      }
      return database;
    } catch (error) {
      database.close();
      throw error;
    }
  });
}

/**
 * Opens an existing store for reading only.
 * @throws results.store-missing, results.store-foreign, results.store-newer, results.store-damaged
 */
export function openForReading(file: string): DatabaseSync {
  if (!fs.existsSync(file)) throw fault('store-missing', `there is no result store at ${file}`, { where: file });
  return guarded(file, () => {
    const writable = new DatabaseSync(file, { readOnly: true, timeout: RESULT_LIMITS.busyMs });
    try {
      const version = versionOf(writable, file);
      if (version === STORE_VERSION) return writable;
    } catch (error) {
      writable.close();
      throw error;
    }
    writable.close();
    openDatabase(file).close();
    return new DatabaseSync(file, { readOnly: true, timeout: RESULT_LIMITS.busyMs });
  });
}

function versionOf(database: DatabaseSync, file: string): number {
  const application = pragma(database, 'application_id');
  const version = pragma(database, 'user_version');
  const tables = database.prepare('SELECT count(*) AS n FROM sqlite_schema').get()?.['n'];
  if (application !== APPLICATION_ID && !(application === 0 && version === 0 && tables === 0)) {
    throw fault('store-foreign', `${file} is a database of another program`, { where: file });
  }
  if (version > STORE_VERSION) {
    throw fault('store-newer', `${file} has version ${version}, this patchferry knows ${STORE_VERSION}`, { where: file });
  }
  return version;
}

function pragma(database: DatabaseSync, name: string): number {
  return Number(database.prepare(`PRAGMA ${name}`).get()?.[name] ?? 0);
}

function guarded<T>(file: string, open: () => T): T {
  try {
    return open();
  } catch (cause) {
    const code = (cause as { errcode?: number }).errcode;
    if (code === SQLITE_NOTADB) throw fault('store-foreign', `${file} is not an SQLite database`, { where: file, cause });
    if (code === SQLITE_CORRUPT) throw fault('store-damaged', `${file} is damaged`, { where: file, cause });
    throw cause;
  }
}

/** Result codes of SQLite (sqlite3.h). */
const SQLITE_CORRUPT = 11;
const SQLITE_NOTADB = 26;
