// Several origins of one repository, tried in order: one that failed rests for a while, and the exact reason is kept.
import { isFault, PatchferryError } from '#manifests/errors';
import { type Clock, systemClock, utcSeconds } from '#manifests/platform/clock';
import { fault, type Origin } from './origin.ts';

export const FAILOVER_LIMITS = {
  /** Milliseconds an origin rests after its first failure; doubled with each further one. */
  firstRestMs: 10_000,
  /** Milliseconds it rests at most. */
  longestRestMs: 600_000,
} as const;

/** One failure, as it is recorded. */
export interface Attempt {
  readonly origin: string;
  readonly code: string;
  readonly message: string;
  /** Milliseconds by the clock. */
  readonly at: number;
}

export interface OriginReport {
  readonly origin: string;
  readonly failuresInARow: number;
  readonly lastFailure: Attempt | null;
  /** Moments, UTC; null when never. */
  readonly lastGood: string | null;
  readonly restsUntil: string | null;
}

export interface FailoverOptions {
  readonly clock?: Clock | undefined;
  /** Stretches each rest by up to a half, so that many clients do not return at once; in [0, 1). */
  readonly random?: (() => number) | undefined;
  readonly onFailure?: ((attempt: Attempt) => void) | undefined;
}

export interface Failover extends Origin {
  /**
   * Does a whole operation (a refresh, say) with one origin, and on failure from its beginning with the next. Each failure of
   * this operation is told.
   * @throws transfer.all-failed, transfer.all-refused, or the only origin's own error
   */
  attempt<T>(use: (origin: Origin) => Promise<T>, onFailure?: (attempt: Attempt) => void): Promise<T>;
  report(): OriginReport[];
}

interface State {
  readonly origin: Origin;
  failures: number;
  /** Monotonic milliseconds: a clock that is set ends no rest and prolongs none. */
  restsUntil: number;
  lastFailure: Attempt | null;
  lastGood: number | null;
}

/** Errors that are this host's own: no other origin would help. */
const OWN = ['transfer.unwritable', 'files.unwritable', 'repository.unwritable'];

/**
 * An origin that is the first good one of several, in their order. One that failed is passed over until its rest is over,
 * as long as another is left; when all of them rest, all are tried, so a caller decides how often that is.
 */
export function failover(origins: readonly Origin[], options: FailoverOptions = {}): Failover {
  const clock = options.clock ?? systemClock;
  const random = options.random ?? Math.random;
  const states: State[] = origins.map((origin) => ({
    origin,
    failures: 0,
    restsUntil: Number.NEGATIVE_INFINITY,
    lastFailure: null,
    lastGood: null,
  }));

  async function attempt<T>(use: (origin: Origin) => Promise<T>, onFailure?: (attempt: Attempt) => void): Promise<T> {
    if (states.length === 0) throw fault('all-failed', 'there is no relay or upstream in the settings', { next: 'Name one.' });
    const started = clock.monotonic();
    const awake = states.filter(({ restsUntil }) => restsUntil <= started);
    const resting = states.filter(({ restsUntil }) => restsUntil > started).toSorted((a, b) => a.restsUntil - b.restsUntil);
    const failed: PatchferryError[] = [];
    for (const state of [...awake, ...resting]) {
      try {
        const value = await use(state.origin);
        Object.assign(state, { failures: 0, restsUntil: Number.NEGATIVE_INFINITY, lastGood: clock.now() });
        return value;
      } catch (error) {
        if (!(error instanceof PatchferryError) || isFault(error, ...OWN)) throw error;
        failed.push(error);
        if (isFault(error, 'transfer.no-post')) continue;
        const failure = blame(state, error);
        onFailure?.(failure);
      }
    }
    const [only] = failed;
    if (only !== undefined && failed.length === 1) throw only;
    const reason = failed.every(({ exit }) => exit === only?.exit && exit === 5) ? 'all-refused' : 'all-failed';
    const rows = failed.map((error) => `  ${error.code}: ${error.message}`);
    throw fault(reason, `none of ${failed.length} relays or upstreams could be used:\n${rows.join('\n')}`, {
      cause: new AggregateError(failed),
    });
  }

  function blame(state: State, error: PatchferryError): Attempt {
    state.failures += 1;
    const rest = Math.min(FAILOVER_LIMITS.longestRestMs, FAILOVER_LIMITS.firstRestMs * 2 ** (state.failures - 1));
    const failure = { origin: state.origin.name, code: error.code, message: error.message, at: clock.now() };
    state.restsUntil = clock.monotonic() + rest * (1 + random() / 2);
    state.lastFailure = failure;
    options.onFailure?.(failure);
    return failure;
  }

  return {
    name: states.map(({ origin }) => origin.name).join(', '),
    attempt,
    fetchSmall: (path, fetchOptions) => attempt((origin) => origin.fetchSmall(path, fetchOptions)),
    download: (path, want, destination, downloadOptions) =>
      attempt((origin) => origin.download(path, want, destination, downloadOptions)),
    post: (path, body, postOptions) => attempt((origin) => origin.post(path, body, postOptions)),
    close: async () => {
      await Promise.all(states.map(({ origin }) => origin.close()));
    },
    report: () =>
      states.map(({ origin, failures, restsUntil, lastFailure, lastGood }) => ({
        origin: origin.name,
        failuresInARow: failures,
        lastFailure,
        lastGood: lastGood === null ? null : utcSeconds(lastGood),
        restsUntil: restsUntil > clock.monotonic() ? utcSeconds(clock.now() + restsUntil - clock.monotonic()) : null,
      })),
  };
}
