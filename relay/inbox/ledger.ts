// What was forwarded: hashes by agent, so that an envelope that comes again after it went on is known as a duplicate. Only a
// saving: when a ledger is lost, the envelope goes on once more and the collector knows it.
import * as fs from 'node:fs';
import { join } from 'node:path';
import { writeFileAtomic } from '#manifests/platform/files';
import { INBOX_LIMITS } from './limits.ts';

export interface Ledger {
  has(agent: string, hash: string): boolean;
  add(agent: string, hash: string): void;
}

/** @param folder holds one text file an agent, a hash a line */
export function openLedger(folder: string): Ledger {
  fs.mkdirSync(folder, { recursive: true });
  const known = new Map<string, Set<string>>();

  function of(agent: string): Set<string> {
    let hashes = known.get(agent);
    if (hashes === undefined) {
      hashes = new Set(readLines(join(folder, agent)));
      if (known.size >= INBOX_LIMITS.ledgersInMemory) known.delete(known.keys().next().value ?? '');
    } else known.delete(agent);
    known.set(agent, hashes); // the newest last, so that the first is the one least used
    return hashes;
  }

  return {
    has: (agent, hash) => of(agent).has(hash),
    add(agent, hash) {
      const hashes = of(agent);
      if (hashes.has(hash)) return;
      hashes.add(hash);
      if (hashes.size > INBOX_LIMITS.ledgerEntries * 2) {
        const newest = [...hashes].slice(-INBOX_LIMITS.ledgerEntries);
        known.set(agent, new Set(newest));
        writeFileAtomic(join(folder, agent), `${newest.join('\n')}\n`);
      } else fs.appendFileSync(join(folder, agent), `${hash}\n`);
    },
  };
}

function readLines(file: string): string[] {
  try {
    const text = fs.readFileSync(file, 'latin1');
    if (text !== '' && !text.endsWith('\n')) fs.appendFileSync(file, '\n'); // so that the next line is not glued to a torn one
    return text.split('\n').filter((line) => /^[0-9a-f]{64}$/.test(line)); // a torn last line is no hash
  } catch {
    return [];
  }
}
