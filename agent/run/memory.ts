// Pauses that outlive the process: what failed, how often, and until when it is left alone.
import type { DatabaseSync } from 'node:sqlite';
import { RUN_LIMITS } from './limits.ts';

export interface BackOff {
  /** Milliseconds since 1970; nothing is tried before. */
  readonly until: number;
  readonly failures: number;
  readonly says: string;
}

export interface BackOffBook {
  get(name: string): BackOff | undefined;
  /** Notes one more failure: the pause starts with `firstMs` and doubles up to `mostMs`. */
  fail(name: string, says: string, at: number, firstMs: number, mostMs: number): BackOff;
  clear(name: string): void;
  /** Ends pauses that last longer from this moment on (ms) than any does: they were made while the clock was wrong. */
  endFar(now: number): void;
  /** All whose name starts so, by name. */
  list(prefix: string): { name: string; until: number; failures: number; says: string }[];
}

/** Between two clocks that count as equal, milliseconds. */
const TOLERANCE_MS = 3_600_000;

export function backOffBook(database: DatabaseSync): BackOffBook {
  const get = database.prepare('SELECT until, failures, says FROM back_off WHERE name = ?');
  const put = database.prepare(
    `INSERT INTO back_off (name, until, failures, says) VALUES (?, ?, ?, ?)
     ON CONFLICT (name) DO UPDATE SET until = excluded.until, failures = excluded.failures, says = excluded.says`,
  );
  const drop = database.prepare('DELETE FROM back_off WHERE name = ?');
  const all = database.prepare(
    'SELECT name, until, failures, says FROM back_off WHERE substr(name, 1, length(?)) = ? ORDER BY name',
  );
  const far = database.prepare('UPDATE back_off SET until = 0 WHERE until > ?');
  const read = (name: string) => get.get(name) as BackOff | undefined;
  return {
    get: read,
    fail(name, says, at, firstMs, mostMs) {
      const failures = (read(name)?.failures ?? 0) + 1;
      const until = at + Math.min(mostMs, firstMs * 2 ** Math.min(failures - 1, 30));
      put.run(name, until, failures, says.slice(0, 500));
      return { until, failures, says };
    },
    clear: (name) => void drop.run(name),
    endFar: (now) => void far.run(now + RUN_LIMITS.retryMostMs + TOLERANCE_MS),
    list: (prefix) => all.all(prefix, prefix) as unknown as { name: string; until: number; failures: number; says: string }[],
  };
}

/** Name of the pause of one set in the journal. */
export function setPause(digest: string): string {
  return `set:${digest}`;
}
