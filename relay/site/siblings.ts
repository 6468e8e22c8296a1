// Reads what the other relays of the site have counted, a page at a time from where it stopped. They are not believed: each envelope
// is checked as if its host had brought it, so one that lies, floods or is of another site can add nothing that no host said, and
// what it withholds is what it could never be made to tell.
import { isFault } from '#manifests/errors';
import { type Clock, utcSeconds } from '#manifests/platform/clock';
import type { Log } from '#manifests/platform/log';
import type { RosterAgent } from '#manifests/schema';
import type { Origin } from '#manifests/transfer';
import { checkResult } from '../inbox/index.ts';
import { retryMs } from '../retry.ts';
import type { FuseBox } from './fuse.ts';
import type { SiblingCursor } from './fuse-file.ts';
import { SITE_LIMITS } from './limits.ts';
import { decodeRuns, type RunsPage, runsPath } from './site-runs.ts';

export interface SiblingsOptions {
  readonly origins: readonly Pick<Origin, 'name' | 'fetchSmall'>[];
  readonly site: string | undefined;
  readonly fuse: Pick<FuseBox, 'armed' | 'cursor' | 'knows' | 'log' | 'take'>;
  readonly documents: { roster(): ReadonlyMap<string, RosterAgent> | undefined; rosterSignedAt(): string | undefined };
  /** Told after something counted. */
  readonly onCounted: () => void;
  readonly signal: AbortSignal;
  readonly clock: Clock;
  /** In [0, 1). */
  readonly random: () => number;
  readonly log: Log;
}

export interface Siblings {
  /** Ends when no reading is going on. */
  idle(): Promise<unknown>;
  /** Reads each that does not rest and was not read lately; with `soon` also those. Never throws: what is wrong is kept and logged. */
  look(soon?: boolean): Promise<void>;
}

interface State {
  failures: number;
  /** Monotonic milliseconds. */
  restsUntil: number;
  readAt: number;
  running: Promise<void> | undefined;
  again: boolean;
}

const FRESH = { log: '', after: 0, unknown: null, failing: null };

export function openSiblings(options: SiblingsOptions): Siblings {
  const { origins, site, fuse, documents, clock, log, signal } = options;
  const states = new Map(
    origins.map(({ name }): [string, State] => [
      name,
      { failures: 0, restsUntil: 0, readAt: Number.NEGATIVE_INFINITY, running: undefined, again: false },
    ]),
  );

  /** One look at one sibling: a bounded number of pages. @throws what says why it does not tell */
  async function read(origin: SiblingsOptions['origins'][number], of: string): Promise<boolean> {
    const known = fuse.cursor(origin.name);
    let cursor: SiblingCursor = rewound(
      { ...FRESH, ...known, sibling: origin.name, failing: null },
      documents.rosterSignedAt(),
    );
    let counted = false;
    for (let pages = 0; pages < SITE_LIMITS.pagesAtOnce; pages += 1) {
      const asked = { site: of, log: cursor.log === '' ? undefined : cursor.log, after: cursor.after };
      const limitBytes = SITE_LIMITS.pageBytes + SITE_LIMITS.runsHeadBytes;
      const got = await origin.fetchSmall(runsPath(of, asked.log, asked.after), { limitBytes, signal });
      if (got.kind !== 'found')
        throw new Error('it does not tell what it counts: it is of another site or of an older version');
      const page = decodeRuns(got.bytes, asked);
      if (typeof page === 'string') throw new Error(`what it tells cannot be used: ${page}`);
      if (page.log === fuse.log) throw new Error('this is the address of this relay itself');
      const { good, unknown, refused } = await checked(page);
      const after = page.items.at(-1)?.number ?? (page.log === asked.log ? asked.after : 0);
      cursor = { ...cursor, log: page.log, after, unknown: (page.log === asked.log ? cursor.unknown : null) ?? unknown };
      counted = fuse.take(good, cursor) || counted;
      if (refused.length > 0)
        log.warn({ sibling: origin.name, results: refused.length, reason: refused[0] }, 'forged or damaged runs');
      if (refused.length > SITE_LIMITS.refusedAtOnce) throw new Error(`what it tells is not genuine: ${refused[0]}`);
      if (!page.more) break;
    }
    return counted;
  }

  /** Which envelopes of a page hold, and what is wrong with the others. */
  async function checked({ items }: RunsPage) {
    const good: Uint8Array[] = [];
    const refused: string[] = [];
    let unknown: SiblingCursor['unknown'] = null;
    for (const { number, envelope } of items) {
      try {
        if (fuse.knows(envelope)) continue;
        await checkResult(envelope, (id) => documents.roster()?.get(id));
        good.push(envelope);
      } catch (error) {
        if (!isFault(error)) throw error;
        if (error.code === 'inbox.unknown-agent') unknown ??= { number, roster: documents.rosterSignedAt() ?? '' };
        else if (error.code !== 'inbox.revoked-agent') refused.push(error.message);
      }
    }
    return { good, unknown, refused };
  }

  async function readAndNote(origin: SiblingsOptions['origins'][number], of: string, state: State): Promise<void> {
    try {
      const counted = await read(origin, of);
      state.failures = 0;
      if (fuse.cursor(origin.name)?.failing !== null) note(origin.name, null);
      if (counted) options.onCounted();
    } catch (error) {
      if (signal.aborted) return;
      const says = (error as Error).message.split('\n', 1)[0]?.slice(0, 300) ?? '';
      state.failures += 1;
      state.restsUntil = clock.monotonic() + retryMs(state.failures, SITE_LIMITS.siblingRestMs, options.random());
      if (state.failures === 1)
        log.warn({ sibling: origin.name, reason: says }, 'another relay of the site does not tell its runs');
      const before = fuse.cursor(origin.name)?.failing;
      if (before?.says !== says) note(origin.name, { since: before?.since ?? utcSeconds(clock.now()), says });
    } finally {
      state.readAt = clock.monotonic();
    }
  }

  function note(sibling: string, failing: SiblingCursor['failing']): void {
    try {
      fuse.take([], { ...FRESH, ...fuse.cursor(sibling), sibling, failing });
    } catch (error) {
      log.error({ reason: (error as Error).message }, 'how far another relay was read cannot be written');
    }
  }

  async function whileAsked(origin: SiblingsOptions['origins'][number], of: string, state: State): Promise<void> {
    do {
      state.again = false;
      await readAndNote(origin, of, state);
    } while (state.again && !signal.aborted && clock.monotonic() >= state.restsUntil);
    state.running = undefined;
  }

  return {
    idle: () => Promise.all([...states.values()].flatMap(({ running }) => running ?? [])),
    async look(soon = false) {
      if (site === undefined || signal.aborted || origins.length === 0) return;
      if (documents.roster() === undefined || !fuse.armed()) return;
      const now = clock.monotonic();
      const running = origins.flatMap((origin) => {
        const state = states.get(origin.name);
        if (state === undefined) return [];
        if (state.running !== undefined) state.again ||= soon;
        else if (now >= state.restsUntil && (soon || now - state.readAt >= SITE_LIMITS.siblingLookMs))
          state.running = whileAsked(origin, site, state);
        return state.running ?? [];
      });
      await Promise.all(running);
    },
  };
}

/** Where hosts were not known, and the roster is another one by now, it is read again from there. */
function rewound(cursor: SiblingCursor, roster: string | undefined): SiblingCursor {
  const { unknown } = cursor;
  if (unknown === null || unknown.roster === (roster ?? '')) return cursor;
  return { ...cursor, after: Math.min(cursor.after, unknown.number - 1), unknown: null };
}
