// What the agent has to tell, numbered: bodies wait here until the outbox has sealed them, and stay until an ack covers them.
import type { DatabaseSync } from 'node:sqlite';
import { canonicalJson, type Result } from '#manifests/schema';

type ResultKind = Result['kind'];

export interface ResultRow {
  readonly sequence: number;
  readonly kind: ResultKind;
  /** JSON of the body. */
  readonly body: string;
  readonly boot: string;
  readonly trusted_time: string;
  readonly wall_time: string;
  /** Hash of the envelope; null until it is sealed. */
  readonly hash: string | null;
  /** Name of the envelope's file in the outbox folder. */
  readonly file: string | null;
  readonly size: number | null;
  readonly sent_at: number | null;
  readonly sent_to: string | null;
  /** How often it was sent; 0 also when its relay has lost it and asks for it again. */
  readonly sends: number;
}

export interface ResultStamp {
  readonly boot: string;
  /** UTC to the second. */
  readonly trustedTime: string;
  readonly wallTime: string;
}

export interface ResultBook {
  /** Gives the next number to a body and keeps it. @returns its sequence */
  append(kind: ResultKind, body: unknown, stamp: ResultStamp): number;
  /** All that no ack has covered, in order. */
  pending(): ResultRow[];
  sealed(sequence: number, envelope: { hash: string; file: string; size: number }): void;
  sent(sequence: number, at: number, to: string): void;
  /** It has to be sent again now. */
  again(sequence: number): void;
  get(sequence: number): ResultRow | undefined;
  /** Drops everything up to `sequence`; `hash` is the envelope's that the ack names. */
  acknowledge(sequence: number, hash: string): void;
  /**
   * Continues the chain after a foreign head: what was never sent gets new numbers after `sequence`, what was sent up to there
   * is dropped (the publisher has its own). @returns files of envelopes that are void now
   */
  continueAfter(sequence: number, hash: string): string[];
  /** Another identity begins: nothing of the old chain is told any more, numbers begin at 1. */
  startAnew(): void;
  /** An envelope was lost from the disk: this one and all after it are sealed again. */
  unsealFrom(sequence: number): void;
  /** The last number given, and the hash that the next envelope to be sealed has to name. */
  head(): { sequence: number; previous: string | null };
  /** The newest ack that was taken. */
  acked(): { sequence: number; hash: string } | undefined;
}

interface Shared {
  readonly meta: (key: string) => string | undefined;
  readonly setMeta: (key: string, value: string | null) => void;
  readonly atomically: <T>(act: () => T) => T;
}

export function resultBook(database: DatabaseSync, { meta, setMeta, atomically }: Shared): ResultBook {
  const insert = database.prepare(
    'INSERT INTO results (sequence, kind, body, boot, trusted_time, wall_time) VALUES (?, ?, ?, ?, ?, ?)',
  );
  const rows = database.prepare('SELECT * FROM results ORDER BY sequence');
  const one = database.prepare('SELECT * FROM results WHERE sequence = ?');
  const seal = database.prepare(
    'UPDATE results SET hash = ?, file = ?, size = ?, sent_at = NULL, sent_to = NULL, sends = 0 WHERE sequence = ?',
  );
  const send = database.prepare('UPDATE results SET sent_at = ?, sent_to = ?, sends = sends + 1 WHERE sequence = ?');
  const sendAgain = database.prepare('UPDATE results SET sends = 0 WHERE sequence = ?');
  const drop = database.prepare('DELETE FROM results WHERE sequence <= ?');
  const unseal = database.prepare(
    'UPDATE results SET sequence = ?, hash = NULL, file = NULL, size = NULL, sent_at = NULL, sent_to = NULL, sends = 0 WHERE sequence = ?',
  );
  const remove = database.prepare('DELETE FROM results WHERE sequence = ?');

  const pending = () => rows.all() as unknown as ResultRow[];
  const lastSequence = () => Number(meta('chain.sequence') ?? '0');
  const book: ResultBook = {
    append: (kind, body, stamp) =>
      atomically(() => {
        const sequence = lastSequence() + 1;
        insert.run(sequence, kind, canonicalJson(body), stamp.boot, stamp.trustedTime, stamp.wallTime);
        setMeta('chain.sequence', String(sequence));
        return sequence;
      }),
    pending,
    sealed: (sequence, { hash, file, size }) =>
      atomically(() => {
        seal.run(hash, file, size, sequence);
        setMeta('chain.hash', hash);
      }),
    sent: (sequence, at, to) => void send.run(at, to, sequence),
    again: (sequence) => void sendAgain.run(sequence),
    get: (sequence) => one.get(sequence) as unknown as ResultRow | undefined,
    acknowledge: (sequence, hash) =>
      atomically(() => {
        drop.run(sequence);
        setMeta('ack', JSON.stringify({ sequence, hash }));
      }),
    continueAfter: (sequence, hash) =>
      atomically(() => {
        const all = pending();
        const voided = all.flatMap(({ file }) => (file === null ? [] : [file]));
        const kept = all.filter((row) => row.sent_at === null || row.sequence > sequence);
        for (const row of all) if (!kept.includes(row)) remove.run(row.sequence);
        // first out of the way, then to their new places: the numbers may overlap
        const away = sequence + all.length + lastSequence() + 1;
        for (const [index, row] of kept.entries()) unseal.run(away + index, row.sequence);
        for (const index of kept.keys()) unseal.run(sequence + 1 + index, away + index);
        setMeta('chain.sequence', String(sequence + kept.length));
        setMeta('chain.hash', hash);
        setMeta('ack', JSON.stringify({ sequence, hash }));
        return voided;
      }),
    startAnew: () =>
      atomically(() => {
        for (const row of pending()) remove.run(row.sequence);
        for (const key of ['chain.sequence', 'chain.hash', 'chain.start', 'chain.lost', 'ack', 'scan.digest', 'scan.inventory'])
          setMeta(key, null);
      }),
    unsealFrom: (sequence) =>
      atomically(() => {
        const all = pending();
        const before =
          all.findLast((row) => row.sequence < sequence)?.hash ?? book.acked()?.hash ?? meta('chain.start') ?? null;
        for (const row of all) if (row.sequence >= sequence) unseal.run(row.sequence, row.sequence);
        setMeta('chain.hash', before);
      }),
    head: () => ({ sequence: lastSequence(), previous: meta('chain.hash') ?? meta('chain.start') ?? null }),
    acked() {
      const text = meta('ack');
      return text === undefined ? undefined : (JSON.parse(text) as { sequence: number; hash: string });
    },
  };
  return book;
}
