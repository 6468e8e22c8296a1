// How long test files take: told at the end of a run, and kept beside the code so that the long ones begin first.
import * as fs from 'node:fs';
import { join, relative, resolve } from 'node:path';
import { writeFileAtomic } from '#manifests/platform/files';

const PROJECT = resolve(import.meta.dirname, '../..');
/** Seconds by path, as a whole run on two processors took; written by `npm test -- --keep-durations`. */
const KEPT = join(import.meta.dirname, 'durations.json');
/** Rows of the table at the end of a run. */
const SHOWN = 10;

type Durations = Readonly<Record<string, number>>;

const kept = (): Durations => JSON.parse(fs.readFileSync(KEPT, 'utf8')) as Durations;

/** The longest first, so that none of them is left running alone at the end; those never measured before all others. */
export function longestFirst(files: readonly string[], known: Durations = kept()): string[] {
  const took = (file: string) => known[relative(PROJECT, file)] ?? Number.MAX_VALUE;
  return files.toSorted((a, b) => took(b) - took(a));
}

/** What files took, in seconds by their whole path, is kept for the runs that follow; of files that are gone nothing is. */
export function keepDurations(seconds: ReadonlyMap<string, number>): void {
  const now = Object.fromEntries([...seconds].map(([file, took]) => [relative(PROJECT, file), Math.ceil(took)]));
  const all = Object.entries({ ...kept(), ...now }).filter(([path]) => fs.existsSync(join(PROJECT, path)));
  const sorted = all.toSorted(([a], [b]) => (a < b ? -1 : 1));
  writeFileAtomic(KEPT, `${JSON.stringify(Object.fromEntries(sorted), null, 2)}\n`);
}

/** The slowest files, a line each: `slow`, seconds, path. */
export function slowest(seconds: ReadonlyMap<string, number>): string[] {
  const rows = [...seconds].toSorted(([, a], [, b]) => b - a).slice(0, SHOWN);
  return rows.map(([file, took]) => `slow ${took.toFixed(1).padStart(7)} s  ${relative(PROJECT, file)}`);
}
