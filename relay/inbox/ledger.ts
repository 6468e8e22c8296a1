// What was forwarded: hashes with the time, so that an envelope that comes again after it went on is known as a duplicate. Only a
// saving, and only for some hours: an agent sends a result again when no ack has come for long, and then the hop that had it
// may be lost for good, so it goes on once more; the collector knows it by its hash.
import * as fs from 'node:fs';
import { join } from 'node:path';
import { writeFileAtomic } from '#manifests/platform/files';
import { INBOX_LIMITS } from './limits.ts';

export interface Ledger {
  /** @param hash SHA-256 of an envelope, hex */
  has(hash: string): boolean;
  /** Those that went on together are one write. */
  add(hashes: readonly string[]): void;
}

/** Says of a hash whether it went on, by what is on disk. */
export type LedgerView = Pick<Ledger, 'has'>;

const HEAD = 'patchferry-forwarded 2\n';
const SEGMENT = /^\d{12}\.log$/;
/** Version 1: a file for each agent, without a head, of the same lines. */
const OF_AGENT = /^[0-9a-f]{32}$/;

const nameOf = (number: number) => `${String(number).padStart(12, '0')}.log`;

/**
 * The ledger in `folder`: text files of a head and lines of a hash and the second it went on. A relay that runs brings what
 * earlier runs left together into one file. @param now milliseconds
 */
export function openLedger(folder: string, now: () => number = Date.now): Ledger {
  fs.mkdirSync(folder, { recursive: true });
  const { entries: known, names } = readAll(folder, now());
  let number = lastNumber(names);
  /** The files, oldest first. */
  let segments: { name: string; entries: number; newest: number }[] = [];
  if (known.size > 0) {
    const name = nameOf((number += 1));
    writeFileAtomic(join(folder, name), HEAD + linesOf([...known]));
    segments.push({ name, entries: known.size, newest: now() });
  }
  for (const name of names) fs.rmSync(join(folder, name), { force: true });

  /** The file to write to: a new one now and then, so that old ones can go as a whole. */
  function segment() {
    const last = segments.at(-1);
    if (last !== undefined && last.entries < INBOX_LIMITS.ledgerSegment) return last;
    const oldest = now() - INBOX_LIMITS.ledgerMs;
    const most = Math.ceil(INBOX_LIMITS.ledgerEntries / INBOX_LIMITS.ledgerSegment);
    const gone = segments.filter(({ newest }, index) => newest < oldest || segments.length - index > most);
    for (const { name } of gone) fs.rmSync(join(folder, name), { force: true });
    const made = { name: nameOf((number += 1)), entries: 0, newest: 0 };
    segments = [...segments.filter((each) => !gone.includes(each)), made];
    return made;
  }

  return {
    has: (hash) => isRecent(known.get(hash), now()),
    add(hashes) {
      if (hashes.length === 0) return;
      const at = Math.trunc(now() / 1_000);
      const here = segment();
      append(join(folder, here.name), hashes, at);
      here.entries += hashes.length;
      here.newest = now();
      for (const hash of hashes) {
        known.delete(hash);
        known.set(hash, at); // the newest last
      }
      for (const [hash, since] of known) {
        if (known.size <= INBOX_LIMITS.ledgerEntries && isRecent(since, now())) break;
        known.delete(hash);
      }
    },
  };
}

/** Writes down what went on, for a command: beside a relay that runs it leaves that one's files alone. @param now milliseconds */
export function noteForwarded(folder: string, hashes: readonly string[], now: number): void {
  if (hashes.length === 0) return;
  fs.mkdirSync(folder, { recursive: true });
  append(join(folder, nameOf(lastNumber(namesIn(folder)) + 1)), hashes, Math.trunc(now / 1_000));
}

/** The ledger as it is on disk, beside a relay that writes it. Changes nothing. @param now milliseconds */
export function readLedger(folder: string, now: number): LedgerView {
  const { entries } = readAll(folder, now);
  return { has: (hash) => isRecent(entries.get(hash), now) };
}

function isRecent(at: number | undefined, now: number): boolean {
  return at !== undefined && Math.abs(now - at * 1_000) < INBOX_LIMITS.ledgerMs;
}

const linesOf = (entries: ReadonlyArray<readonly [string, number]>) => entries.map(([hash, at]) => `${hash} ${at}\n`).join('');

const lastNumber = (names: readonly string[]) =>
  Math.max(0, ...names.filter((name) => SEGMENT.test(name)).map((name) => Number.parseInt(name, 10)));

/** One write for all of them. @param at seconds */
function append(file: string, hashes: readonly string[], at: number): void {
  const lines = linesOf(hashes.map((hash) => [hash, at]));
  fs.appendFileSync(file, fs.existsSync(file) ? lines : HEAD + lines, { mode: 0o640 });
}

/** What went on lately, oldest first, and the files that say so, old ones of either version too. */
function readAll(folder: string, now: number): { entries: Map<string, number>; names: string[] } {
  const found: [string, number][] = [];
  const names = namesIn(folder).filter((name) => SEGMENT.test(name) || OF_AGENT.test(name));
  for (const name of names) for (const entry of readLines(join(folder, name))) if (isRecent(entry[1], now)) found.push(entry);
  const entries = new Map<string, number>();
  for (const [hash, at] of found.toSorted((a, b) => a[1] - b[1]).slice(-INBOX_LIMITS.ledgerEntries)) {
    entries.delete(hash);
    entries.set(hash, at);
  }
  return { entries, names };
}

function namesIn(folder: string): string[] {
  try {
    return fs.readdirSync(folder);
  } catch {
    return [];
  }
}

function readLines(file: string): [string, number][] {
  try {
    return fs
      .readFileSync(file, 'latin1')
      .split('\n')
      .filter((line) => /^[0-9a-f]{64} \d{1,12}$/.test(line)) // a torn line is none
      .map((line) => [line.slice(0, 64), Number(line.slice(65))]);
  } catch {
    return []; // gone this moment
  }
}
