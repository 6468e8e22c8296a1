// What was forwarded: hashes by agent with the time, so that an envelope that comes again after it went on is known as a
// duplicate. Only a saving, and only for some hours: an agent sends a result again when no ack has come for long, and then
// the hop that had it may be lost for good, so it goes on once more; the collector knows it by its hash.
import * as fs from 'node:fs';
import { join } from 'node:path';
import { writeFileAtomic } from '#manifests/platform/files';
import { INBOX_LIMITS } from './limits.ts';

export interface Ledger {
  has(agent: string, hash: string): boolean;
  add(agent: string, hash: string): void;
}

/** @param folder holds one text file an agent, a hash and the second it went on in a line @param now milliseconds */
export function openLedger(folder: string, now: () => number = Date.now): Ledger {
  fs.mkdirSync(folder, { recursive: true });
  const known = new Map<string, Map<string, number>>();

  function of(agent: string): Map<string, number> {
    let hashes = known.get(agent);
    if (hashes === undefined) {
      hashes = new Map(readLines(join(folder, agent)));
      if (known.size >= INBOX_LIMITS.ledgersInMemory) known.delete(known.keys().next().value ?? '');
    } else known.delete(agent);
    known.set(agent, hashes); // the newest last, so that the first is the one least used
    return hashes;
  }

  return {
    has(agent, hash) {
      const at = of(agent).get(hash);
      const age = at === undefined ? Number.POSITIVE_INFINITY : now() - at * 1_000;
      return age >= -INBOX_LIMITS.ledgerMs && age < INBOX_LIMITS.ledgerMs;
    },
    add(agent, hash) {
      const hashes = of(agent);
      const at = Math.trunc(now() / 1_000);
      hashes.delete(hash);
      hashes.set(hash, at); // the newest last
      if (hashes.size > INBOX_LIMITS.ledgerEntries * 2) {
        const newest = [...hashes].slice(-INBOX_LIMITS.ledgerEntries);
        known.set(agent, new Map(newest));
        writeFileAtomic(join(folder, agent), newest.map((entry) => `${entry.join(' ')}\n`).join(''));
      } else fs.appendFileSync(join(folder, agent), `${hash} ${at}\n`);
    },
  };
}

function readLines(file: string): [string, number][] {
  try {
    const text = fs.readFileSync(file, 'latin1');
    if (text !== '' && !text.endsWith('\n')) fs.appendFileSync(file, '\n'); // so that the next line is not glued to a torn one
    return text
      .split('\n')
      .filter((line) => /^[0-9a-f]{64} \d{1,12}$/.test(line)) // a torn last line is none
      .map((line) => [line.slice(0, 64), Number(line.slice(65))]);
  } catch {
    return [];
  }
}
