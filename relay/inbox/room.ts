// Room in the spool: when a quota or the disk is full, the oldest detail goes first, and what went is said before it goes. Only
// detail goes (scans that repeat what is known), never the newest of an agent, never an enrolment, never anything else.
import * as fs from 'node:fs';
import { join } from 'node:path';
import type { Log } from '#manifests/platform/log';
import { isDetailHead } from '#manifests/trust';
import { INBOX_LIMITS } from './limits.ts';
import type { Spool, SpoolItem } from './spool.ts';

/** What one agent lost in one go. */
export interface Dropped {
  readonly agent: string;
  /** Ascending. */
  readonly sequences: readonly number[];
  readonly bytes: number;
  readonly why: 'quota' | 'disk';
}

export interface RoomOptions {
  readonly spool: Pick<Spool, 'folder' | 'items' | 'remove' | 'place' | 'unplacedBytes'>;
  /** Bytes that results and enrolments may take together; undefined: as much as there is on the disk. */
  readonly quotaBytes: number | undefined;
  /** Says durably what will be dropped, before it is. @throws files.unwritable */
  readonly say: (dropped: Dropped) => void;
  /** Sequences of an agent that were dropped here and have not come again. */
  readonly droppedOf: (agent: string) => ReadonlySet<number>;
  readonly log: Log;
  /** Milliseconds, monotonic. */
  readonly monotonic: () => number;
  /** Free bytes of the disk of the spool; the system is asked otherwise. */
  readonly freeBytes?: () => number;
}

export interface Incoming {
  readonly agent: string;
  readonly sequence: number;
  readonly bytes: number;
  readonly detail: boolean;
  /** Whether it is here already; asked only when there is no room. */
  known(): boolean;
}

/** Why something is not kept: `dropped` says it of this one alone, which was here before and went. */
export interface Lacking {
  readonly code: 'full' | 'dropped';
  readonly says: string;
}

export interface Room {
  /** Whether it may be kept; makes room where that is allowed. Undefined: it may; else why not. */
  take(incoming: Incoming): Lacking | undefined;
  /** Of what was dropped of an agent, what may come again: nothing while there is little room. First and last of each run. */
  again(agent: string): readonly (readonly [from: number, to: number])[];
}

interface Detail {
  readonly item: SpoolItem;
  readonly sequence: number;
  readonly bytes: number;
  /** When it came, milliseconds. */
  readonly at: number;
}

export function openRoom(options: RoomOptions): Room {
  const { spool, quotaBytes, log, monotonic } = options;
  /** Bytes in the spool as last counted, and what was taken since. */
  let counted: { bytes: number; at: number } | undefined;
  let since = 0;
  let disk: { free: number; at: number } | undefined;

  function usedBytes(mostMs: number): number {
    if (counted === undefined || monotonic() - counted.at > mostMs) {
      counted = { bytes: bytesIn(spool.folder) + spool.unplacedBytes(), at: monotonic() };
      since = 0;
    }
    return counted.bytes + since;
  }
  function freeBytes(): number {
    if (disk === undefined || monotonic() - disk.at > INBOX_LIMITS.diskLookMs)
      disk = { free: options.freeBytes?.() ?? freeOf(spool.folder), at: monotonic() };
    return disk.free;
  }

  /** By how many bytes it is too much, and of what. */
  function beyond(bytes: number, mostMs: number): { bytes: number; why: Dropped['why'] } | undefined {
    const disk = bytes + INBOX_LIMITS.reserveBytes - freeBytes();
    if (disk > 0) return { bytes: disk, why: 'disk' };
    if (quotaBytes === undefined) return undefined;
    const quota = usedBytes(mostMs) + bytes - quotaBytes;
    return quota > 0 ? { bytes: quota, why: 'quota' } : undefined;
  }

  function drop(wanted: { bytes: number; why: Dropped['why'] }): number {
    let left = wanted.bytes + Math.floor((quotaBytes ?? wanted.bytes) * INBOX_LIMITS.slackShare);
    const victims: Detail[] = [];
    spool.place(); // what goes must leave the disk, and a segment of the journal stays as a whole
    for (const detail of detailsOf(spool).toSorted((a, b) => a.at - b.at || a.sequence - b.sequence)) {
      if (left <= 0 || victims.length >= INBOX_LIMITS.dropAtOnce) break;
      victims.push(detail);
      left -= detail.bytes;
    }
    for (const [agent, own] of Map.groupBy(victims, ({ item }) => item.agent)) {
      const sequences = own.map(({ sequence }) => sequence).toSorted((a, b) => a - b);
      options.say({ agent, sequences, bytes: own.reduce((sum, { bytes }) => sum + bytes, 0), why: wanted.why });
      for (const { item } of own) spool.remove(item);
    }
    const bytes = victims.reduce((sum, each) => sum + each.bytes, 0);
    if (victims.length > 0)
      log.warn({ results: victims.length, bytes, why: wanted.why }, 'the inbox is full: the oldest detail was dropped');
    counted = undefined;
    disk = undefined;
    return victims.length;
  }

  return {
    take(incoming) {
      const first = beyond(incoming.bytes, INBOX_LIMITS.countMs);
      // What a collector or a courier took is only seen by counting anew.
      const tooMuch = first === undefined ? undefined : beyond(incoming.bytes, INBOX_LIMITS.recountMs);
      if (tooMuch !== undefined) {
        if (incoming.known()) return undefined;
        const says = `the inbox is full (${tooMuch.why})`;
        if (incoming.detail && options.droppedOf(incoming.agent).has(incoming.sequence))
          return { code: 'dropped', says: `${says}; this was dropped before` };
        if (drop(tooMuch) === 0 || beyond(incoming.bytes, 0) !== undefined)
          return { code: 'full', says: `${says}, and nothing in it may be dropped` };
      }
      since += incoming.bytes;
      if (disk !== undefined) disk = { ...disk, free: disk.free - incoming.bytes };
      return undefined;
    },
    again(agent) {
      const dropped = options.droppedOf(agent);
      if (dropped.size === 0) return [];
      const wanted = Math.floor((quotaBytes ?? 0) * INBOX_LIMITS.againShare);
      const little = beyond(wanted, INBOX_LIMITS.countMs) !== undefined && beyond(wanted, INBOX_LIMITS.recountMs) !== undefined;
      const runs = little ? [] : runsOf([...dropped].toSorted((a, b) => a - b));
      return runs.slice(-INBOX_LIMITS.againRuns).map(({ from, to }) => [from, to]);
    },
  };
}

/** Results that may go: marked as detail by their agent, and not the newest of theirs. */
function detailsOf(spool: RoomOptions['spool']): Detail[] {
  return [...Map.groupBy(spool.items('results'), ({ agent }) => agent).values()].flatMap((items) =>
    items.slice(0, -1).flatMap((item): Detail[] => {
      const file = join(spool.folder, item.path);
      const facts = fs.statSync(file, { throwIfNoEntry: false });
      if (facts === undefined || !isDetailHead(headOf(file))) return [];
      return [{ item, sequence: Number.parseInt(item.path.split('/')[2] ?? '', 10), bytes: facts.size, at: facts.mtimeMs }];
    }),
  );
}

function headOf(file: string): Uint8Array {
  const head = Buffer.alloc(8);
  const handle = fs.openSync(file, 'r');
  try {
    fs.readSync(handle, head);
  } finally {
    fs.closeSync(handle);
  }
  return head;
}

/** Bytes of the envelopes in an inbox folder. */
function bytesIn(folder: string): number {
  let sum = 0;
  for (const part of ['results', 'enrolments', 'records']) {
    const place = join(folder, part);
    if (!fs.existsSync(place)) continue;
    for (const name of fs.readdirSync(place, { recursive: true, encoding: 'utf8' }))
      sum += /\.pf[er]$/.test(name) ? (fs.statSync(join(place, name), { throwIfNoEntry: false })?.size ?? 0) : 0;
  }
  return sum;
}

function freeOf(folder: string): number {
  const { bavail, bsize } = fs.statfsSync(folder);
  return bavail * bsize;
}

/** Ascending numbers as runs of neighbours. */
export function runsOf(sequences: readonly number[]): { from: number; to: number }[] {
  const runs: { from: number; to: number }[] = [];
  for (const sequence of sequences) {
    const last = runs.at(-1);
    if (last !== undefined && last.to + 1 === sequence) last.to = sequence;
    else runs.push({ from: sequence, to: sequence });
  }
  return runs;
}
