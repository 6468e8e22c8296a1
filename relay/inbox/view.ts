// What lies in an inbox folder, looked at from outside: files, and what a running relay has only in its journal. Changes nothing.
import * as fs from 'node:fs';
import { join } from 'node:path';
import { envelopeHash } from '#manifests/trust';
import { readJournal } from './journal.ts';
import { readLedger } from './ledger.ts';
import { INBOX_LIMITS } from './limits.ts';
import { pathsIn, type Unplaced } from './spool.ts';

export interface ViewOptions {
  /** The folder of the ledger of what went on. */
  readonly ledger: string;
  /** Milliseconds. */
  readonly now: number;
  /** Whether a result that came at a moment was dropped here for want of room since. */
  readonly dropped: (agent: string, sequence: number, cameAt: number) => boolean;
}

/**
 * Everything in the inbox, each once: `results/…`, `enrolments/…`, and `refused/…` by path. The journal is read before the
 * files, and the ledger after them, so that what gets its file or goes on meanwhile is neither missed nor counted twice. What a
 * collector took from the folder is counted until its segment of the journal goes, half a minute later at most.
 */
export function viewInbox(folder: string, options: ViewOptions): Unplaced[] {
  const journaled = new Map<string, { bytes: number; at: number; hash: string }>();
  for (const { path, bytes, cameAt, place } of readJournal(join(folder, '.journal'))) {
    const at = cameAt ?? timeOf(join(folder, '.journal', place.segment)) ?? options.now;
    journaled.set(path, { bytes: bytes.length, at, hash: envelopeHash(bytes) });
  }
  const files = filesIn(folder);
  const here = new Map(files.map(({ path, at }) => [path, at]));
  const ledger = journaled.size === 0 ? undefined : readLedger(options.ledger, options.now);
  const rest = [...journaled].flatMap(([path, { bytes, at, hash }]): Unplaced[] => {
    const refusedAt = here.get(`refused/${path}`) ?? Number.NEGATIVE_INFINITY;
    if (here.has(path) || refusedAt + INBOX_LIMITS.fileTickMs >= at || ledger?.has(hash) === true) return [];
    const [, agent = '', sequence = ''] = /^results\/([0-9a-f]{32})\/(\d{12,16})-/.exec(path) ?? [];
    if (agent !== '' && options.dropped(agent, Number(sequence), at)) return [];
    return [{ path, bytes, at }];
  });
  return [...files, ...rest];
}

/** Those that have a file. */
export function filesIn(folder: string): Unplaced[] {
  const { results, enrolments, refused } = pathsIn(folder);
  return [...results, ...enrolments, ...refused].flatMap((path) => {
    const facts = fs.statSync(join(folder, path), { throwIfNoEntry: false });
    return facts === undefined ? [] : [{ path, bytes: facts.size, at: facts.mtimeMs }]; // otherwise it went on meanwhile
  });
}

const timeOf = (file: string) => fs.statSync(file, { throwIfNoEntry: false })?.mtimeMs;
