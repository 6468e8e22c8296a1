// Making room: generations that are no longer needed and payloads that no kept generation's documents name. Nothing is ever
// deleted because something is missing: when a document cannot be read, no payload is touched.
import * as fs from 'node:fs';
import { join } from 'node:path';
import { takeLock } from '#manifests/platform/lock';
import { openPayloadStore, targetFilePath } from '#manifests/repository';
import { fault } from './faults.ts';
import {
  checkedBytes,
  currentGeneration,
  generationNumbers,
  mirrorLayout,
  olderGenerations,
  readRecord,
} from './generations.ts';
import { type Documents, readInto, wantedPayloads } from './wanted.ts';

export const GARBAGE_LIMITS = {
  /** Generations kept beside the current one in any case, for clients on their way and for a person who looks back. */
  olderGenerations: 2,
  /** And all that were served within this time, milliseconds, up to so many: a publisher may sign several times an hour. */
  keptForMs: 24 * 3_600_000,
  generationsAtMost: 50,
} as const;

export interface GarbageReport {
  readonly generations: readonly number[];
  readonly payloads: number;
  readonly bytes: number;
}

export interface GarbageOptions {
  readonly mirror: string;
  readonly lock: string;
  readonly dryRun: boolean;
  /** Milliseconds. */
  readonly now: number;
}

/** Removes (or, with `dryRun`, names) what can go. @throws lock.held, mirror.empty, mirror.damaged */
export function collectGarbage(options: GarbageOptions): GarbageReport {
  const lock = takeLock(options.lock, 'gc');
  try {
    return collect(options);
  } finally {
    lock.release();
  }
}

function collect(options: Omit<GarbageOptions, 'lock'>): GarbageReport {
  const layout = mirrorLayout(options.mirror);
  const current = currentGeneration(layout);
  if (current === undefined) throw fault('empty', 'nothing has been mirrored yet', { where: layout.root });
  const numbers = generationNumbers(layout);
  const { olderGenerations: always, keptForMs, generationsAtMost } = GARBAGE_LIMITS;
  const older = olderGenerations(layout, current, generationsAtMost).filter(
    ({ since }, index) => index < always || options.now - since < keptForMs,
  );
  const kept = new Set([current.number, ...older.map(({ number }) => number)]);
  const gone = numbers.filter((number) => !kept.has(number));

  const named = new Set<string>();
  for (const number of kept)
    for (const sha256 of payloadsNamedBy(join(layout.generations, String(number)), number)) named.add(sha256);

  const store = openPayloadStore(layout.payloads);
  const unnamed = [...store.list()].filter(({ sha256 }) => !named.has(sha256));
  if (!options.dryRun) {
    for (const number of gone) fs.rmSync(join(layout.generations, String(number)), { recursive: true, force: true });
    for (const { sha256 } of unnamed) store.remove(sha256);
  }
  return { generations: gone, payloads: unnamed.length, bytes: unnamed.reduce((sum, { size }) => sum + size, 0) };
}

/** Every payload any catalog of a generation names, approved or not: what is named may be asked for. */
function payloadsNamedBy(folder: string, number: number): string[] {
  const record = readRecord(folder);
  if (record === undefined) throw fault('damaged', `generation ${number} has no readable record`, { where: folder });
  const documents: Documents = { catalogs: [], baselines: [] };
  for (const target of record.targets) {
    const bytes = checkedBytes(folder, targetFilePath(target.path, target.sha256), target.length);
    if (bytes === undefined) throw fault('damaged', `${target.path} of generation ${number} is damaged`, { where: folder });
    readInto(documents, target.path, bytes);
  }
  return wantedPayloads(documents, { payloads: 'all' }).map(({ sha256 }) => sha256);
}
