// Results on their way: numbered and kept in the journal, here chained, sealed, spooled as files, sent, and dropped once the
// publisher's ack covers them. Nothing is lost with any relay.
import * as fs from 'node:fs';
import { join } from 'node:path';
import { utcSeconds } from '#manifests/platform/clock';
import { readFileBounded, removeTemporaries, writeFileAtomic } from '#manifests/platform/files';
import { type Ack, encodePlain, type Result } from '#manifests/schema';
import type { Origin } from '#manifests/transfer';
import { envelopeHash, sealEnvelope } from '#manifests/trust';
import { cleanText, type FailPoint, type Journal, oneLine, type ResultRow, type ResultStamp } from '../run/index.ts';
import { OUTBOX_LIMITS } from './faults.ts';
import type { AgentKeys } from './keys.ts';

export interface OutboxOptions {
  readonly journal: Journal;
  /** Where sealed envelopes lie, one file each. */
  readonly folder: string;
  readonly keys: AgentKeys;
  readonly failPoint: FailPoint;
}

interface OutboxStatus {
  readonly waiting: number;
  readonly bytes: number;
  readonly unsent: number;
  readonly lastSequence: number;
  readonly acked: { readonly sequence: number; readonly hash: string } | null;
}

export interface Outbox {
  /** Takes the publisher's word up to where results have arrived. Says so when this machine is not the one that told last. */
  applyAck(ack: Ack | null, stamp: ResultStamp): 'same' | 'covered' | 'reverted' | 'fork';
  /** Seals what is not sealed yet, in order, to these recipients. */
  seal(recipients: readonly string[]): void;
  /** Sends what has to be sent, in order, to the first relay that takes it. */
  upload(
    relays: readonly Origin[],
    now: number,
    signal?: AbortSignal,
    /** Told of a place that takes no results at all: a plain web server. */
    onNoPosts?: (relay: Origin) => void,
  ): Promise<{ sent: number; left: number; says: string | null }>;
  /** Writes every envelope that is kept into an inbox folder, for a courier. @returns how many */
  exportTo(folder: string): number;
  status(): OutboxStatus;
}

/** Name of a sealed result in an inbox, as relays and the publisher have it. */
function envelopeName(sequence: number, hash: string): string {
  return `${String(sequence).padStart(12, '0')}-${hash.slice(0, 16)}.pfe`;
}

/** What a web server that only has files, or a bucket of an object store, answers to a POST. */
const NO_POSTS: readonly number[] = [401, 404, 405, 501];

/** A relay that refuses one says why in its own words; a bucket's 403 is about all of them. */
function takesNone(status: number, words: string): boolean {
  return NO_POSTS.includes(status) || (status === 403 && !/"code":"[a-z]+\.[a-z-]+"/.test(words));
}

/** Too many, busy, no room: a relay says which in its own words. */
const WORDS_FOLLOW: readonly number[] = [429, 503, 507];

/** Codes by which a relay refuses one result for what it is, and no other. */
const ALONE: readonly string[] = ['inbox.dropped', 'inbox.malformed', 'inbox.kind', 'serve.too-large'];

/** `again` in the answer of a relay: sequences from and to. Nothing else is believed of it, and nothing of it is an error. */
function runsIn(answer: Uint8Array): [number, number][] {
  if (answer.length > OUTBOX_LIMITS.answerBytes) return [];
  try {
    const { again } = JSON.parse(Buffer.from(answer).toString('utf8')) as { again?: unknown };
    return Array.isArray(again)
      ? again.filter((run): run is [number, number] => Array.isArray(run) && run.every(Number.isSafeInteger))
      : [];
  } catch {
    return [];
  }
}

const ENVELOPE_BYTES = 64 * 1024 * 1024;

export function openOutbox({ journal, folder, keys, failPoint }: OutboxOptions): Outbox {
  const { results } = journal;
  removeTemporaries(folder);

  /** The envelope of a sealed row. A file that was lost or torn cannot be made again with the same hash: it is void. */
  const bytesOf = (row: ResultRow): Uint8Array | undefined => {
    const bytes = row.file === null ? undefined : readFileBounded(join(folder, row.file), ENVELOPE_BYTES);
    return bytes !== undefined && envelopeHash(bytes) === row.hash ? bytes : undefined;
  };
  /** Results that a relay took, dropped for want of room, and says it has room for again. It is asked for none twice within the hour. */
  const droppedThere = (answer: Uint8Array, relay: string, now: number): ResultRow[] => {
    const runs = runsIn(answer);
    if (runs.length === 0) return [];
    return results.pending().filter(({ sequence, sent_at, sent_to, sends }) => {
      const rested = sent_at !== null && sends > 0 && now - sent_at >= OUTBOX_LIMITS.againElsewhereMs;
      return rested && sent_to === relay && runs.some(([from, to]) => sequence >= from && sequence <= to);
    });
  };
  const removeUnnamed = () => {
    const named = new Set(results.pending().map(({ file }) => file));
    for (const name of fs.existsSync(folder) ? fs.readdirSync(folder) : []) {
      if (name.endsWith('.pfe') && !named.has(name)) fs.rmSync(join(folder, name), { force: true });
    }
  };

  /**
   * Sends these results, in order, to the first relay that takes them; what one does not take, the next one is asked for. A result
   * that is refused for what it is itself (a full relay dropped it before, say) holds none behind it up.
   */
  async function send(
    rows: readonly ResultRow[],
    relays: readonly Origin[],
    now: number,
    signal: AbortSignal | undefined,
    onNoPosts: ((relay: Origin) => void) | undefined,
  ): Promise<{ sent: number; says: string | null }> {
    const left = [...rows];
    /** The last word of each relay that was asked. */
    const said = new Map<string, string>();
    for (const relay of relays) {
      let next = 0;
      try {
        for (let row = left[next]; row !== undefined; row = left[next]) {
          const bytes = bytesOf(row);
          if (bytes === undefined) {
            if (row.file !== null) fs.rmSync(join(folder, row.file), { force: true }); // the next seal makes it anew
            const damaged = `the envelope of result ${row.sequence} is damaged on disk; it is sealed again`;
            return { sent: rows.length - left.length, says: damaged };
          }
          const answer = await relay.post('inbox/results', bytes, { signal, answers: WORDS_FOLLOW });
          failPoint('outbox.posted');
          if (answer.status === 200 || answer.status === 201) {
            results.sent(row.sequence, now, relay.name);
            left.splice(next, 1);
            for (const one of droppedThere(answer.body, relay.name, now)) results.again(one.sequence);
            continue;
          }
          const words = Buffer.from(answer.body).toString('utf8');
          if (takesNone(answer.status, words)) onNoPosts?.(relay);
          said.set(relay.name, `${relay.name} does not take result ${row.sequence}: ${answer.status} ${cleanText(words, 300)}`);
          if (!ALONE.some((code) => words.includes(`"code":"${code}"`))) break;
          next += 1;
        }
        if (left.length === 0) return { sent: rows.length, says: null };
      } catch (error) {
        if (signal?.aborted === true) throw error;
        said.set(relay.name, oneLine(`${relay.name}: ${(error as Error).message}`));
      }
    }
    return { sent: rows.length - left.length, says: said.size === 0 ? null : [...said.values()].join('; ') };
  }

  return {
    applyAck(ack, stamp) {
      const lost = journal.meta('chain.lost') !== undefined;
      if (ack === null) {
        if (lost) journal.setMeta('chain.lost', null); // the publisher has nothing of us: the chain starts anew
        return 'same';
      }
      const known = results.acked();
      if (known?.sequence === ack.sequence && known.hash === ack.hash) return 'same';
      if (!lost && known !== undefined && ack.sequence < known.sequence) return 'same';
      const row = results.get(ack.sequence);
      if (!lost && row?.hash === ack.hash) {
        results.acknowledge(ack.sequence, ack.hash);
        removeUnnamed();
        return 'covered';
      }
      const head = results.head();
      const kind = lost || ack.sequence > head.sequence ? 'reverted' : 'fork';
      const message =
        kind === 'reverted'
          ? `the publisher has results up to ${ack.sequence}, this machine's own last one is ${head.sequence}: it was put back to an older state`
          : `the publisher's result ${ack.sequence} is not the one of this machine: another machine has the same identity`;
      journal.atomically(() => {
        results.continueAfter(ack.sequence, ack.hash);
        results.append('alert', { code: `outbox.${kind}`, message, where: null }, stamp);
        journal.setMeta('scan.digest', null); // it scans anew and tells all of it
        journal.setMeta('scan.inventory', null);
        journal.setMeta('chain.lost', null);
      });
      removeUnnamed();
      return kind;
    },

    seal(recipients) {
      if (recipients.length === 0 || journal.meta('chain.lost') !== undefined) return;
      const damaged = results.pending().find((row) => row.file !== null && !fs.existsSync(join(folder, row.file)));
      if (damaged !== undefined) results.unsealFrom(damaged.sequence);
      for (const row of results.pending()) {
        if (row.hash !== null) continue;
        const value = {
          schema: 'patchferry/result',
          schemaVersion: 1,
          agent: keys.id,
          boot: row.boot,
          sequence: row.sequence,
          previous: results.head().previous,
          trustedTime: row.trusted_time,
          wallTime: row.wall_time,
          kind: row.kind,
          body: JSON.parse(row.body) as unknown,
        } as Result;
        const envelope = sealEnvelope({
          body: encodePlain('result', value),
          kind: 'result',
          agent: keys.id,
          sequence: row.sequence,
          signKey: keys.sign,
          recipients: [...recipients],
          detail: value.kind === 'scan' && value.body.inventory === null,
        });
        const hash = envelopeHash(envelope);
        const file = envelopeName(row.sequence, hash);
        writeFileAtomic(join(folder, file), envelope, { mode: 0o600 }); // killed after this: unnamed, and removed below
        failPoint('outbox.sealed');
        results.sealed(row.sequence, { hash, file, size: envelope.length });
      }
      removeUnnamed();
    },

    async upload(relays, now, signal, onNoPosts) {
      const due = results.pending().filter((row) => {
        if (row.hash === null) return false;
        if (row.sent_at === null || row.sends === 0) return true;
        const first = relays[0]?.name;
        const base = first !== undefined && row.sent_to !== first ? OUTBOX_LIMITS.againElsewhereMs : OUTBOX_LIMITS.againMs;
        const wait = Math.min(base * 2 ** (row.sends - 1), OUTBOX_LIMITS.againAtMostMs);
        return now - row.sent_at >= wait || now < row.sent_at; // sent while the clock was ahead
      });
      if (due.length === 0) return { sent: 0, left: 0, says: null };
      const batch = due.slice(0, OUTBOX_LIMITS.perUpload);
      let sent = 0;
      let says: string | null =
        relays.length === 0 ? 'no relay takes results: `agent export DIR` writes them for a courier' : null;
      // A relay that took a result and never brought it on is asked last for it: it may be lost, or swallow what it is given.
      for (const last of new Set(batch.map(({ sent_to }) => sent_to))) {
        const rows = batch.filter(({ sent_to }) => sent_to === last);
        const places = [...relays.filter(({ name }) => name !== last), ...relays.filter(({ name }) => name === last)];
        const done = await send(rows, places, now, signal, onNoPosts);
        sent += done.sent;
        says = done.says ?? says;
      }
      return { sent, left: due.length - sent, says: sent === batch.length ? null : says };
    },

    exportTo(target) {
      const place = join(target, 'results', keys.id);
      let count = 0;
      for (const row of results.pending()) {
        const bytes = bytesOf(row);
        if (bytes === undefined || row.file === null) continue;
        writeFileAtomic(join(place, row.file), bytes);
        count += 1;
      }
      return count;
    },

    status() {
      const rows = results.pending();
      return {
        waiting: rows.length,
        bytes: rows.reduce((sum, row) => sum + (row.size ?? row.body.length), 0),
        unsent: rows.filter(({ sent_at, sends }) => sent_at === null || sends === 0).length,
        lastSequence: results.head().sequence,
        acked: results.acked() ?? null,
      };
    },
  };
}

/**
 * Tells something that a person has to know; the same is not told again for a day. `about` tells apart what one code says of
 * several things. @returns whether it was told
 */
export function tellAlert(
  journal: Journal,
  alert: { code: string; message: string; where: string | null; about?: string },
  stamp: ResultStamp,
  now: number,
): boolean {
  const key = alert.about === undefined ? `alert:${alert.code}` : `alert:${alert.code}:${alert.about}`;
  const last = journal.meta(key);
  if (last !== undefined) {
    const before = JSON.parse(last) as { at: number; message: string };
    if (before.message === alert.message && now - before.at < OUTBOX_LIMITS.alertEveryMs && now >= before.at) return false;
  }
  journal.atomically(() => {
    journal.results.append(
      'alert',
      {
        code: oneLine(alert.code, 100),
        message: cleanText(alert.message),
        where: alert.where === null ? null : oneLine(alert.where),
      },
      stamp,
    );
    journal.setMeta(key, JSON.stringify({ at: now, message: alert.message, time: utcSeconds(now) }));
  });
  return true;
}
