// The relays of this host as one thing to ask: in the order that `choice` gives, with what becomes known of them kept in the
// journal. Downloads go on at the next relay in mid-file.
import { isFault, PatchferryError } from '#manifests/errors';
import { type Clock, utcSeconds } from '#manifests/platform/clock';
import type { Origin } from '#manifests/transfer';
import { BEHIND_LIMITS, behindFault, isSeveral, judgeOlder, noteBehind, noteServed } from './behind.ts';
import {
  failuresOf,
  noteFailed,
  noteGood,
  noteNoPosts,
  noteSpeed,
  orderRelays,
  type RELAY_CHOICES,
  type RelayMemory,
  readMemory,
  recordOf,
  takesPosts,
  tryOut,
} from './choice.ts';

/** Key in the journal. */
const MEMORY = 'relays';

/** A small store of named texts (structurally the journal's). */
interface Notes {
  meta(key: string): string | undefined;
  setMeta(key: string, value: string | null): void;
}

export interface RelaysOptions {
  /** In the order of the settings. */
  readonly origins: readonly Origin[];
  readonly notes: Notes;
  /** Spreads rests over many hosts. */
  readonly agent: string;
  readonly clock: Clock;
  readonly choice: (typeof RELAY_CHOICES)[number];
}

/** One relay, as `status` shows it. Moments in UTC, null when never. */
export interface RelayReport {
  readonly relay: string;
  /** This one is asked first. */
  readonly first: boolean;
  readonly bytesPerSecond: number | null;
  readonly lastGood: string | null;
  readonly lastFailure: { readonly code: string; readonly says: string; readonly at: string } | null;
  /** Failures that still lengthen its next rest. */
  readonly failures: number;
  readonly restsUntil: string | null;
  readonly takesResults: boolean;
}

export interface Relays {
  readonly origins: readonly Origin[];
  /** Those to ask now, in order; with `eager` those that rest too, last. */
  order(eager: boolean): readonly Origin[];
  /** Those that results are posted to, in order, without places that take none. */
  posts(eager: boolean): readonly Origin[];
  /** When the first of them has rested, ms; only meaningful when `order(false)` is empty. */
  restsUntil(): number;
  /** It gave a verified state. @param mixed an older one as well, at an earlier try of the same poll */
  good(origin: Origin, timestamp: number, mixed: boolean): void;
  /** What it is called when a relay does not give a state as new as the one held; noted so. */
  noted(
    origin: Origin,
    error: PatchferryError,
    held: { timestamp: number; expired: boolean },
  ): { behind: boolean; error: PatchferryError };
  failed(origin: Origin, error: PatchferryError): void;
  takesNoPosts(origin: Origin): void;
  /** Fetches payloads: from the preferred relay, on at the next one in mid-file when it fails. */
  download: Origin['download'];
  /** Which relay is asked first and why, and what is known of each. */
  report(): { readonly why: string; readonly used: string | null; readonly relays: readonly RelayReport[] };
}

/** Errors that are this host's own doing or no fault of the relay's: nothing is noted against it. */
const NO_BLAME = ['transfer.unwritable', 'files.unwritable', 'repository.unwritable', 'transfer.missing', 'poll.line-closed'];

export function openRelays({ origins, notes, agent, clock, choice }: RelaysOptions): Relays {
  const names = origins.map(({ name }) => name);
  let memory = readMemory(notes.meta(MEMORY), names);
  const keep = (next: RelayMemory) => {
    if (next === memory) return;
    memory = next;
    notes.setMeta(MEMORY, JSON.stringify(next));
  };
  const now = () => clock.now();
  const ordered = () => orderRelays(memory, names, choice, now());
  const named = (list: readonly string[]) => list.flatMap((name) => origins.find((origin) => origin.name === name) ?? []);
  const order = (eager: boolean) => {
    const { awake, resting } = ordered();
    return named(eager ? [...awake, ...resting] : awake);
  };
  const failed = (origin: Origin, error: PatchferryError) => {
    if (NO_BLAME.includes(error.code)) return;
    keep(noteFailed(memory, origin.name, { code: error.code, says: error.message }, agent, now()));
  };

  /** What one relay behind a name lacks another may have. */
  const patient =
    (origin: Origin): Origin['download'] =>
    async (...wanted) => {
      for (let tries = 1; ; tries += 1) {
        try {
          return await origin.download(...wanted);
        } catch (error) {
          const again = isFault(error, 'transfer.missing') && isSeveral(recordOf(memory, origin.name), now());
          if (!again || tries >= BEHIND_LIMITS.missingTries) throw error;
          origin.renew?.();
        }
      }
    };

  /** The same origin, its speed measured and its failures noted. */
  const measured = (origin: Origin): Origin => ({
    ...origin,
    async download(path, want, destination, options = {}) {
      const started = clock.monotonic();
      let bytes = 0;
      try {
        await patient(origin)(path, want, destination, {
          ...options,
          onBytes: (count) => {
            bytes += count;
            options.onBytes?.(count);
          },
        });
      } catch (error) {
        if (error instanceof PatchferryError) failed(origin, error);
        throw error;
      } finally {
        keep(noteSpeed(memory, origin.name, bytes, clock.monotonic() - started, now()));
      }
    },
  });

  return {
    origins,
    order,
    posts: (eager) => order(eager).filter(({ name }) => /^https?:/.test(name) && takesPosts(recordOf(memory, name), now())),
    restsUntil: () => Math.min(...names.map((name) => recordOf(memory, name).restsUntil)),
    good: (origin, timestamp, mixed) =>
      keep(noteServed(noteGood(memory, origin.name, ordered().why, now()), origin.name, timestamp, mixed, now())),
    noted(origin, error, held) {
      if (judgeOlder(memory, origin.name, error, held, now()) === 'refused') {
        failed(origin, error);
        return { behind: false, error };
      }
      keep(noteBehind(memory, origin.name, error.message, now()));
      return { behind: true, error: behindFault(origin.name, error) };
    },
    failed,
    takesNoPosts: (origin) => keep(noteNoPosts(memory, origin.name, now())),
    async download(path, want, destination, options) {
      const { failover } = await import('#manifests/transfer');
      const found = ordered();
      const other = tryOut(memory, found, choice, want.size, now());
      const asked = [...new Set([...(other === undefined ? [] : [other]), ...found.awake, ...found.resting])];
      await failover(named(asked).map(measured), { clock }).download(path, want, destination, options);
    },
    report() {
      const { awake, resting, why } = ordered();
      const first = awake[0] ?? null;
      return {
        why,
        used: memory.used,
        relays: [...awake, ...resting].map((name) => {
          const record = recordOf(memory, name);
          const { lastFailure, lastGood } = record;
          return {
            relay: name,
            first: name === first,
            bytesPerSecond: record.bytesPerSecond,
            lastGood: lastGood === null ? null : utcSeconds(lastGood),
            lastFailure: lastFailure === null ? null : { ...lastFailure, at: utcSeconds(lastFailure.at) },
            failures: failuresOf(record, now()),
            restsUntil: resting.includes(name) ? utcSeconds(record.restsUntil) : null,
            takesResults: /^https?:/.test(name) && takesPosts(record, now()),
          };
        }),
      };
    },
  };
}
