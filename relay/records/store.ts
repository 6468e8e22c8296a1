// What relays said under their own names: halts of a site, and results that were dropped. Kept as they were signed, one file each;
// what has to go on to the publisher lies in the inbox beside the results.
import * as fs from 'node:fs';
import { join } from 'node:path';
import { type HeldSiteHalt, judgeSiteHalt, type SiteHaltVerdict } from '#manifests/decide';
import { isFault } from '#manifests/errors';
import { readFileBounded, writeFileAtomic } from '#manifests/platform/files';
import { decodePlain, type RelayGap, type SignedDelegation } from '#manifests/schema';
import { openRecord } from '#manifests/trust';
import { RECORDS_LIMITS } from './limits.ts';

export interface KeptHalt extends HeldSiteHalt {
  readonly record: Uint8Array;
}

export interface KeptGap {
  readonly id: string;
  readonly key: string;
  readonly gap: RelayGap;
}

export interface RecordStore {
  /** Everything that was kept of halts, oldest first, in force or not. */
  halts(): readonly KeptHalt[];
  /** The newest records of drops, newest first. */
  gaps(): readonly KeptGap[];
  has(kind: 'halts' | 'gaps', id: string): boolean;
  /** Durable when it returns. @throws files.unwritable */
  put(kind: 'halts' | 'gaps', id: string, record: Uint8Array): void;
  /** Forgets halts that count no more for long, and all but the newest records of drops. @param now milliseconds */
  tidy(now: number, delegationOf: (site: string) => SignedDelegation | undefined): void;
}

const NAME = /^[0-9a-f]{64}\.pfr$/;

/** @param folder made when something is put there */
export function openRecordStore(folder: string): RecordStore {
  /** Read once and again when a folder has changed: another process may have added to it. */
  const known = new Map<'halts' | 'gaps', { stamp: string; items: readonly (KeptHalt | KeptGap)[] }>();

  function read<T extends KeptHalt | KeptGap>(
    kind: 'halts' | 'gaps',
    make: (bytes: Uint8Array, since: number) => T,
  ): readonly T[] {
    const place = join(folder, kind);
    const stamp = String(fs.statSync(place, { throwIfNoEntry: false })?.mtimeMs ?? 'none');
    const before = known.get(kind);
    if (before?.stamp === stamp) return before.items as readonly T[];
    const items = namesIn(place).flatMap((name): T[] => {
      const file = join(place, name);
      try {
        const bytes = readFileBounded(file, RECORDS_LIMITS.recordBytes);
        return bytes === undefined ? [] : [make(bytes, fs.statSync(file).mtimeMs)];
      } catch (error) {
        if (!isFault(error) && (error as NodeJS.ErrnoException).code !== 'ENOENT') throw error;
        return []; // torn on the disk: whoever signed it sends it again, or it is gone
      }
    });
    known.set(kind, { stamp, items });
    return items;
  }

  const halts = () =>
    read('halts', (record, since): KeptHalt => {
      const { key, id, body } = openRecord(record);
      return { key, id, since, record, halt: decodePlain('site-halt', body, 'a halt of a site') };
    }).toSorted((a, b) => a.since - b.since);
  const gaps = () =>
    read('gaps', (record): KeptGap => {
      const { key, id, body } = openRecord(record);
      return { key, id, gap: decodePlain('relay-gap', body, 'a record of a drop') };
    }).toSorted((a, b) => (a.gap.signedAt > b.gap.signedAt ? -1 : 1));
  const fileOf = (kind: 'halts' | 'gaps', id: string) => join(folder, kind, `${id}.pfr`);

  return {
    halts,
    gaps,
    has: (kind, id) => fs.existsSync(fileOf(kind, id)),
    put(kind, id, record) {
      writeFileAtomic(fileOf(kind, id), record, { mode: 0o640 });
      known.delete(kind);
    },
    tidy(now, delegationOf) {
      for (const halt of halts()) {
        const end = judgeSiteHalt(halt, delegationOf(halt.halt.site) ?? null);
        if (now - halt.since > RECORDS_LIMITS.overMs && !inForce(end, now))
          fs.rmSync(fileOf('halts', halt.id), { force: true });
      }
      for (const { id } of gaps().slice(RECORDS_LIMITS.gaps)) fs.rmSync(fileOf('gaps', id), { force: true });
    },
  };
}

/** Whether a halt stops somebody now. @param now milliseconds */
export function inForce(verdict: SiteHaltVerdict, now: number): boolean {
  return verdict.kind === 'counts' && (verdict.halt.until === null || now < Date.parse(verdict.halt.until));
}

function namesIn(folder: string): string[] {
  try {
    return fs
      .readdirSync(folder)
      .filter((name) => NAME.test(name))
      .toSorted();
  } catch (cause) {
    if ((cause as NodeJS.ErrnoException).code === 'ENOENT') return [];
    throw cause;
  }
}
