// The book of ways back: which committed runs can still be taken back, what that costs, and why others no longer can. It is
// written before anything of a way back is removed from the disk, so that none is offered that may be half gone.
import type { DatabaseSync } from 'node:sqlite';
import { LAST_COMMITTED } from './ending.ts';

/** A run that can be taken back. */
export interface KeptWay {
  readonly run: string;
  /** Milliseconds of trusted time at which the run was committed. */
  readonly takenAt: number;
  /** Room on the disk as last measured; null until then. */
  readonly bytes: number | null;
  readonly patches: readonly string[];
}

export interface WayBook {
  /** Oldest first. Only the last can be taken back at a time: the others lie below it. */
  kept(): KeptWay[];
  /** The run was committed and its way back is whole. */
  keep(run: string, takenAt: number): void;
  measured(run: string, bytes: number): void;
  /** It is no longer offered; what is left of it on the disk may go. */
  giveUp(run: string, why: string): void;
  /** Why a run can no longer be taken back; null when it still can, undefined when it never could. */
  gone(run: string): string | null | undefined;
}

interface Shared {
  readonly atomically: <T>(act: () => T) => T;
  readonly setMeta: (key: string, value: string | null) => void;
}

export function wayBook(database: DatabaseSync, { atomically, setMeta }: Shared): WayBook {
  const kept = database.prepare(
    `SELECT ways.run AS run, taken, bytes, json_extract(runs.data, '$.patches') AS patches
     FROM ways JOIN runs ON runs.id = ways.run WHERE gone IS NULL ORDER BY runs.rowid`,
  );
  const put = database.prepare('INSERT OR REPLACE INTO ways (run, taken, bytes, gone) VALUES (?, ?, NULL, NULL)');
  const measure = database.prepare('UPDATE ways SET bytes = ? WHERE run = ?');
  const drop = database.prepare('UPDATE ways SET gone = ? WHERE run = ? AND gone IS NULL');
  const one = database.prepare('SELECT gone FROM ways WHERE run = ?');
  const rows = () => kept.all() as { run: string; taken: number; bytes: number | null; patches: string }[];
  const noteNewest = () => setMeta(LAST_COMMITTED, rows().at(-1)?.run ?? null);
  return {
    kept: () =>
      rows().map(({ run, taken, bytes, patches }) => ({
        run,
        takenAt: taken,
        bytes,
        patches: JSON.parse(patches) as string[],
      })),
    keep: (run, takenAt) =>
      atomically(() => {
        put.run(run, takenAt);
        noteNewest();
      }),
    measured: (run, bytes) => void measure.run(bytes, run),
    giveUp: (run, why) =>
      atomically(() => {
        drop.run(why, run);
        noteNewest();
      }),
    gone: (run) => (one.get(run) as { gone: string | null } | undefined)?.gone,
  };
}
