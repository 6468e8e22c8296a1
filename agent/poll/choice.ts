// Which relay is asked first: the list's order, what was measured, and damping, so that no host swings from one to another
// (trap 28). Pure: what is known of each relay goes in, an order with its reason comes out.
import { createHash } from 'node:crypto';
import { utcSeconds } from '#manifests/platform/clock';

export const CHOICE_LIMITS = {
  /** A relay that failed rests this long at first, milliseconds; doubled with each further failure that still counts. */
  firstRestMs: 60_000,
  longestRestMs: 3_600_000,
  /** For each of these without a failure, milliseconds, one failure is forgiven: a good answer alone forgives none. */
  forgiveMs: 3_600_000,
  /** A relay that was changed to is kept at least this long, milliseconds, unless it fails. */
  stayMs: 600_000,
  /** Another relay has to be so many times as fast before it is preferred to one that stands before it in the list. */
  timesFaster: 2,
  /** How long a measurement counts, milliseconds. */
  measuredMs: 24 * 3_600_000,
  /** Bytes of a download below which its speed says nothing. */
  sampleBytes: 64 * 1024,
  /** Bytes a second above which no other relay is tried out. */
  plenty: 1024 * 1024,
  /** A place that takes no results (a plain web server, say) is asked again after this long, milliseconds. */
  noPostsMs: 24 * 3_600_000,
} as const;

/** `measured`: a relay much faster than those before it in the list is preferred. `listed`: the list alone counts. */
export const RELAY_CHOICES = ['measured', 'listed'] as const;
type RelayChoice = (typeof RELAY_CHOICES)[number];

/** What is known of one relay. Moments in milliseconds of the host's clock. */
export interface RelayRecord {
  /** Failures that still count, as of `failedAt`. */
  readonly failures: number;
  readonly failedAt: number | null;
  readonly restsUntil: number;
  readonly lastFailure: { readonly code: string; readonly says: string; readonly at: number } | null;
  readonly lastGood: number | null;
  readonly bytesPerSecond: number | null;
  readonly measuredAt: number | null;
  /** It takes no results, until this moment. */
  readonly noPostsUntil: number;
  /** Version of the newest timestamp that it gave and that held. */
  readonly served: number | null;
  /** Since when it answers with an older state than this host holds. */
  readonly behindSince: number | null;
  /** When it last answered with an older and a newer state in one poll: several relays stand behind its name. */
  readonly severalAt: number | null;
}

/** What is kept between processes. */
export interface RelayMemory {
  readonly schemaVersion: 1;
  /** The relay that answered last, since when it is the one, and why. */
  readonly used: string | null;
  readonly since: number;
  readonly why: string;
  readonly relays: Readonly<Record<string, RelayRecord>>;
}

export const NO_MEMORY: RelayMemory = { schemaVersion: 1, used: null, since: 0, why: '', relays: {} };

const UNKNOWN: RelayRecord = {
  failures: 0,
  failedAt: null,
  restsUntil: 0,
  lastFailure: null,
  lastGood: null,
  bytesPerSecond: null,
  measuredAt: null,
  noPostsUntil: 0,
  served: null,
  behindSince: null,
  severalAt: null,
};

export function recordOf(memory: RelayMemory, relay: string): RelayRecord {
  // A record of an earlier version lacks what was added since.
  return Object.hasOwn(memory.relays, relay) ? { ...UNKNOWN, ...memory.relays[relay] } : UNKNOWN;
}

/** A number in [0, 1) that is the same for one agent and subject always, and spreads evenly over many agents. */
function spreadOf(agent: string, subject: string): number {
  return createHash('sha256').update(`patchferry-relay-1\n${agent}\n${subject}`).digest().readUInt32BE(0) / 2 ** 32;
}

export interface RelayOrder {
  /** Those that may be asked, the preferred one first. */
  readonly awake: readonly string[];
  /** Those that rest after failures, the one that rests least first. */
  readonly resting: readonly string[];
  /** Why the first one is first. */
  readonly why: string;
}

/** @param listed the relays as the settings have them */
export function orderRelays(memory: RelayMemory, listed: readonly string[], choice: RelayChoice, now: number): RelayOrder {
  const names = [...new Set(listed)];
  // a rest cannot end later than the longest one from now: a clock that was set back must not make it endless
  const rests = (name: string) => {
    const { restsUntil } = recordOf(memory, name);
    return restsUntil > now && restsUntil <= now + 2 * CHOICE_LIMITS.longestRestMs ? restsUntil : 0;
  };
  const resting = names.filter((name) => rests(name) > 0).toSorted((a, b) => rests(a) - rests(b));
  const awake = names.filter((name) => rests(name) === 0);
  const [first] = awake;
  if (first === undefined) return { awake, resting, why: 'every relay rests after failures' };
  const best = choice === 'listed' ? first : fastest(memory, awake, first, now);
  const { used, since } = memory;
  const stays = since + CHOICE_LIMITS.stayMs;
  if (used !== null && used !== best && awake.includes(used) && since <= now && now < stays) {
    const why = `kept until ${utcSeconds(stays)}, then ${best} is preferred again`;
    return { awake: [used, ...awake.filter((name) => name !== used)], resting, why };
  }
  return { awake: [best, ...awake.filter((name) => name !== best)], resting, why: whyBest(memory, names, best, first, now) };
}

function whyBest(memory: RelayMemory, names: readonly string[], best: string, first: string, now: number): string {
  if (best !== first) {
    const [fast, slow] = [rateOf(memory, best, now) ?? 0, rateOf(memory, first, now) ?? 1];
    return `measured ${(fast / slow).toFixed(1)} times as fast as ${first}`;
  }
  const before = names.slice(0, names.indexOf(best));
  if (before.length === 0) return names.length === 1 ? 'the only one in the list' : 'the first in the list';
  return `the next in the list: ${before
    .map((name) => {
      const { restsUntil, lastFailure } = recordOf(memory, name);
      return `${name} rests until ${utcSeconds(restsUntil)} after ${lastFailure?.code ?? 'a failure'}`;
    })
    .join(', ')}`;
}

/** The first in the list, or the fastest of those that are much faster than every measured one before them. */
function fastest(memory: RelayMemory, awake: readonly string[], first: string, now: number): string {
  let best = first;
  for (const name of awake) {
    const [rate, known] = [rateOf(memory, name, now), rateOf(memory, best, now)];
    if (rate !== null && known !== null && rate >= known * CHOICE_LIMITS.timesFaster) best = name;
  }
  return best;
}

function rateOf(memory: RelayMemory, relay: string, now: number): number | null {
  const { bytesPerSecond, measuredAt } = recordOf(memory, relay);
  return measuredAt !== null && Math.abs(now - measuredAt) < CHOICE_LIMITS.measuredMs ? bytesPerSecond : null;
}

/**
 * The relay that a download of `size` bytes should try out: one that nothing is known of, when the preferred one is known to
 * be no fast one. Its bytes are needed anyway, so that this costs nothing.
 */
export function tryOut(memory: RelayMemory, { awake }: RelayOrder, choice: RelayChoice, size: number, now: number) {
  const [first] = awake;
  if (choice === 'listed' || first === undefined || size < CHOICE_LIMITS.sampleBytes) return undefined;
  const known = rateOf(memory, first, now);
  if (known === null || known >= CHOICE_LIMITS.plenty) return undefined;
  return awake.find((name) => rateOf(memory, name, now) === null && recordOf(memory, name).failures === 0);
}

export function withRecord(memory: RelayMemory, relay: string, change: Partial<RelayRecord>): RelayMemory {
  return { ...memory, relays: { ...memory.relays, [relay]: { ...recordOf(memory, relay), ...change } } };
}

/** Failures that still count at this moment. */
export function failuresOf({ failures, failedAt }: RelayRecord, now: number): number {
  if (failedAt === null || now < failedAt) return failures;
  return Math.max(0, failures - Math.floor((now - failedAt) / CHOICE_LIMITS.forgiveMs));
}

/** This relay gave a verified state: it is the one in use. */
export function noteGood(memory: RelayMemory, relay: string, why: string, now: number): RelayMemory {
  const known = recordOf(memory, relay);
  const failures = failuresOf(known, now);
  const failedAt = failures === 0 ? null : (known.failedAt ?? now) + (known.failures - failures) * CHOICE_LIMITS.forgiveMs;
  const noted = withRecord(memory, relay, { lastGood: now, restsUntil: 0, failures, failedAt });
  return memory.used === relay ? { ...noted, why } : { ...noted, used: relay, since: now, why };
}

/** This relay failed: it rests, longer each time, a little longer for some hosts than for others (no storm when it is back). */
export function noteFailed(
  memory: RelayMemory,
  relay: string,
  failure: { readonly code: string; readonly says: string },
  agent: string,
  now: number,
): RelayMemory {
  const failures = failuresOf(recordOf(memory, relay), now) + 1;
  const rest = Math.min(CHOICE_LIMITS.longestRestMs, CHOICE_LIMITS.firstRestMs * 2 ** Math.min(failures - 1, 20));
  const jitter = 1 + spreadOf(agent, `${relay} ${failures}`) / 2;
  return withRecord(memory, relay, {
    failures,
    failedAt: now,
    restsUntil: now + Math.round(rest * jitter),
    lastFailure: { code: failure.code, says: failure.says.slice(0, 300), at: now },
  });
}

/** So many bytes came in so many milliseconds; a short transfer says nothing. */
export function noteSpeed(memory: RelayMemory, relay: string, bytes: number, ms: number, now: number): RelayMemory {
  if (bytes < CHOICE_LIMITS.sampleBytes) return memory;
  const measured = (bytes * 1_000) / Math.max(ms, 1);
  const before = rateOf(memory, relay, now);
  return withRecord(memory, relay, {
    bytesPerSecond: Math.round(before === null ? measured : (before + measured) / 2),
    measuredAt: now,
  });
}

/** Whether results may be posted there; a refusal that lasts longer from now on than any was noted while the clock was ahead. */
export function takesPosts({ noPostsUntil }: RelayRecord, now: number): boolean {
  return noPostsUntil <= now || noPostsUntil > now + 2 * CHOICE_LIMITS.noPostsMs;
}

/** This place takes no results. */
export function noteNoPosts(memory: RelayMemory, relay: string, now: number): RelayMemory {
  return withRecord(memory, relay, { noPostsUntil: now + CHOICE_LIMITS.noPostsMs });
}

/** Memory of these relays only, as written; what is not readable counts as nothing. */
export function readMemory(text: string | undefined, listed: readonly string[]): RelayMemory {
  if (text === undefined) return NO_MEMORY;
  try {
    const value = JSON.parse(text) as RelayMemory;
    if (value.schemaVersion !== 1) return NO_MEMORY;
    const relays = Object.fromEntries(
      listed.flatMap((name) => (Object.hasOwn(value.relays, name) ? [[name, recordOf(value, name)]] : [])),
    );
    const used = value.used !== null && listed.includes(value.used) ? value.used : null;
    return { ...value, used, relays };
  } catch {
    return NO_MEMORY;
  }
}
