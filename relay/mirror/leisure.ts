// Looking again at leisure: while a relay runs, everything it holds is hashed anew, a little at a time, so that a whole pass ends
// within the days that are set. What is rotten is out of view at once and asked for again.
import { type Clock, pause, utcSeconds } from '#manifests/platform/clock';
import type { Log } from '#manifests/platform/log';
import { openPayloadStore } from '#manifests/repository';
import { checkHeld, documentsOf, type Finding, missingPayloads, titlesOf } from './check.ts';
import { type Checked, readChecked, settleChecked, updateChecked, withFindings } from './checked.ts';
import { currentGeneration, type Generation, mirrorLayout } from './generations.ts';
import { heldFiles } from './held.ts';

export const LEISURE_LIMITS = {
  /** Share of the days that are set in which a pass is done when nothing comes between; the rest is for relays that were off. */
  passShare: 0.8,
  /** Bytes that are read and hashed at a time: well under a millisecond of the thread that serves. */
  pieceBytes: 128 * 1024,
  /** Bytes a second at most, also to make up for days in which the relay was off. */
  bytesPerSecond: 8 * 1024 * 1024,
  /** Times what a piece took that is waited after it: when disk or processor are wanted by others, the walk falls behind them. */
  restTimes: 19,
  /** Bytes that a file counts beyond its own, for finding and opening it. */
  fileBytes: 4_096,
  /** Milliseconds of one turn; of a pass that is behind, the next turn comes with the next tick. */
  turnMs: 10_000,
  /** Milliseconds between two notes of how far it got. */
  noteMs: 60_000,
  /** Milliseconds after which what no upstream had is asked for again; how many at a time. */
  askAgainMs: 3_600_000,
  askAtOnce: 20,
  /** Files that are counted before others get a turn. */
  countAtOnce: 100,
} as const;

const DAY = 86_400_000;

/** The share of a pass that should be done by now; more than 1: all of it. Pure. @param now milliseconds, as all */
export function dueShare(startedAt: number, now: number, everyMs: number): number {
  return Math.max(0, now - startedAt) / (everyMs * LEISURE_LIMITS.passShare);
}

/** Whether a new pass begins now. A clock that was set back does not put it off for ever. Pure. */
export function beginsNow(last: Checked['last'], everyDays: number, now: number): boolean {
  return last === null || Math.abs(now - Date.parse(last.startedAt)) >= everyDays * DAY;
}

export interface LeisureOptions {
  /** The mirror's folder; where the trusted metadata is kept. */
  readonly mirror: string;
  readonly trust: string;
  /** Days within which a whole pass ends; 0: never looks. */
  readonly everyDays: number;
  readonly clock: Clock;
  readonly log: Log;
  readonly signal: AbortSignal;
  /** Something was found that a sync can bring back. */
  readonly onRotten: () => void;
  /** Asks the upstreams for a payload by itself. */
  readonly pull: (sha256: string) => Promise<{ readonly kind: string }>;
  /** Waits so many milliseconds. */
  readonly pause?: (milliseconds: number, signal: AbortSignal) => Promise<void>;
}

export interface Leisure {
  /** Does what is due; one at a time. Never throws. */
  look(): Promise<void>;
  /** Resolves when no look is in progress; notes how far it got. */
  close(): Promise<void>;
}

type Pass = NonNullable<Checked['pass']>;

export function openLeisure(options: LeisureOptions): Leisure {
  const { clock, log, signal, everyDays } = options;
  const wait = options.pause ?? pause;
  const layout = mirrorLayout(options.mirror);
  const every = everyDays * DAY;
  /** The pass under way, ahead of what is noted of it. */
  let pass: Pass | null = readChecked(layout).pass;
  let notedAt = clock.monotonic();
  let dirty = false;
  let looking: Promise<void> | undefined;

  function note(change: (before: Checked) => Checked = (before) => before): void {
    updateChecked(layout, (before) => change({ ...before, pass }));
    notedAt = clock.monotonic();
    dirty = false;
  }

  /** Hashing never goes faster than its share of a second and of the disk. */
  function pacer(): (bytes: number) => Promise<void> {
    let began = clock.monotonic();
    return async (bytes) => {
      const took = clock.monotonic() - began;
      const least = (bytes / LEISURE_LIMITS.bytesPerSecond) * 1_000;
      await wait(Math.max(least, took * LEISURE_LIMITS.restTimes), signal);
      began = clock.monotonic();
    };
  }

  async function begin(): Promise<Pass> {
    let [ofBytes, count] = [0, 0];
    for (const { size } of openPayloadStore(layout.payloads).list()) {
      ofBytes += size + LEISURE_LIMITS.fileBytes;
      count += 1;
      if (count % LEISURE_LIMITS.countAtOnce === 0) await wait(1, signal);
    }
    return { startedAt: utcSeconds(clock.now()), after: '', files: 0, bytes: 0, ofBytes };
  }

  function tell(findings: readonly Finding[], titleOf: (sha256: string | null) => string | null): void {
    for (const { path, sha256, says } of findings)
      log.error({ path, title: titleOf(sha256), says }, 'a file that is held was rotten and is served no more');
    note((before) => withFindings(before, findings, titleOf, clock.now()));
    if (findings.some(({ repairable }) => repairable)) options.onRotten();
  }

  /** @returns whether the whole pass is done */
  async function walk(generation: Generation, under: Pass): Promise<boolean> {
    const until = clock.monotonic() + LEISURE_LIMITS.turnMs;
    const files = heldFiles(layout, generation, { folder: options.trust, now: () => clock.now() }, under.after);
    const { pieceBytes } = LEISURE_LIMITS;
    const isDue = () => {
      const share = dueShare(Date.parse(under.startedAt), clock.now(), every);
      return clock.monotonic() < until && (share >= 1 || under.bytes < share * Math.max(under.ofBytes, 1));
    };
    if (!isDue()) return false;
    for await (const { held, bytes, finding } of checkHeld({ layout, files, pieceBytes, onPiece: pacer(), signal })) {
      under = { ...under, after: held.key, files: under.files + 1, bytes: under.bytes + bytes + LEISURE_LIMITS.fileBytes };
      pass = under;
      dirty = true;
      if (finding !== undefined) tell([finding], titlesOf(documentsOf(layout, generation)));
      if (clock.monotonic() - notedAt >= LEISURE_LIMITS.noteMs) note();
      if (!isDue()) return false;
    }
    return true;
  }

  function end(generation: Generation, done: Pass): void {
    const documents = documentsOf(layout, generation);
    const missing = missingPayloads(layout, generation, documents);
    if (missing.length > 0) tell(missing, titlesOf(documents));
    const { startedAt, files, bytes } = done;
    const endedAt = utcSeconds(clock.now());
    pass = null;
    note((before) => {
      const found = before.rotten.filter(({ foundAt }) => foundAt >= startedAt).length;
      return {
        ...before,
        last: { startedAt, endedAt, files, bytes: Math.max(0, bytes - files * LEISURE_LIMITS.fileBytes), found },
      };
    });
    log.info({ files, bytes }, 'everything that is held was hashed anew');
  }

  /** What no upstream had is asked for now and then: one may have it by now. */
  async function askAgain(): Promise<void> {
    const now = clock.now();
    const due = settleChecked(layout).rotten.filter(
      ({ lost, sha256, askedAt }) =>
        lost && sha256 !== null && Math.abs(now - Date.parse(askedAt ?? '')) >= LEISURE_LIMITS.askAgainMs,
    );
    if (due.length === 0) return;
    const asked = new Set(due.slice(0, LEISURE_LIMITS.askAtOnce).map(({ sha256 }) => sha256 ?? ''));
    for (const sha256 of asked) await options.pull(sha256);
    updateChecked(layout, (before) => ({
      ...before,
      rotten: before.rotten.map((each) => (asked.has(each.sha256 ?? '') ? { ...each, askedAt: utcSeconds(now) } : each)),
    }));
    settleChecked(layout);
  }

  async function once(): Promise<void> {
    const generation = currentGeneration(layout);
    if (generation === undefined) return;
    await askAgain();
    if (everyDays === 0) return;
    if (pass === null) {
      if (!beginsNow(readChecked(layout).last, everyDays, clock.now())) return;
      pass = await begin();
      note();
    }
    // A clock that was set back: the pass goes on from where it is.
    if (Date.parse(pass.startedAt) > clock.now() + DAY) pass = { ...pass, startedAt: utcSeconds(clock.now()) };
    if ((await walk(generation, pass)) && !signal.aborted) end(generation, pass);
    else if (dirty && clock.monotonic() - notedAt >= LEISURE_LIMITS.noteMs) note();
  }

  return {
    look() {
      looking ??= once()
        .catch((error: Error) => {
          if (!signal.aborted) log.error({ reason: error.message }, 'what is held could not be looked at');
        })
        .finally(() => {
          looking = undefined;
        });
      return looking;
    },
    async close() {
      await looking;
      if (!dirty) return;
      try {
        note();
      } catch (error) {
        log.warn({ reason: (error as Error).message }, 'how far the look at everything got cannot be written');
      }
    },
  };
}
