// Trusted time and the two expiries: what the host's clock says, and what signatures prove it must at least be.
import type { TrustLimits } from './limits.ts';
import type { TrustState } from './state.ts';

export interface Freshness {
  /** Milliseconds: the wall clock, or the floor when that is later. */
  readonly trustedTime: number;
  /** Past `softExpires` of the timestamp: warn. */
  readonly softExpired: boolean;
  /** Past TUF's expiry of any file in force, or nothing verified yet: no new installs. */
  readonly hardExpired: boolean;
  /** The earliest expiry, `YYYY-MM-DDTHH:MM:SSZ`; empty when nothing was verified yet. */
  readonly expires: string;
  /** `behind`: the wall clock is before what signatures prove. `suspect`: further ahead of it than is plausible. */
  readonly clock: 'ok' | 'behind' | 'suspect';
  /** Since when it is expired, if it is. */
  readonly since?: string;
}

const moment = (ms: number) => `${new Date(ms).toISOString().slice(0, 19)}Z`;

/** Never before a moment that a signature vouches for, nor before own results. The wall clock itself raises no floor. */
export function trustedTimeOf(state: TrustState, now: number): number {
  return Math.max(now, state.floor.signed, state.floor.noted);
}

/**
 * How far a moment of own results may raise the floor: to the expiry of the timestamp in force and no further. That is enough
 * to keep expired metadata expired when the clock is set back, and never enough to refuse its successor, however wrong the
 * clock was when the result was made.
 */
export function notedWithin(state: TrustState, at: number): number {
  return Math.min(at, state.generation?.timestamp.signed.expires ?? 0);
}

export function freshnessOf(state: TrustState, now: number, limits: TrustLimits): Freshness {
  const trustedTime = trustedTimeOf(state, now);
  const floor = Math.max(state.floor.signed, state.floor.noted);
  const clock =
    now + limits.clockToleranceMs < floor
      ? 'behind'
      : state.floor.signed > 0 && now > state.floor.signed + limits.clockLeadMs
        ? 'suspect'
        : 'ok';
  const { generation } = state;
  if (generation === undefined) return { trustedTime, softExpired: true, hardExpired: true, expires: '', clock };
  const newestRoot = state.roots.at(-1) ?? generation.root;
  const files = [newestRoot, generation.timestamp, generation.snapshot, ...generation.roles.values()];
  const hard = files.reduce((least, file) => Math.min(least, file.signed.expires), Number.POSITIVE_INFINITY);
  const soft = Math.min(generation.timestamp.signed.softExpires ?? hard, hard);
  const hardExpired = trustedTime >= hard;
  const softExpired = trustedTime >= soft;
  const since = hardExpired ? hard : softExpired ? soft : undefined;
  return {
    trustedTime,
    softExpired,
    hardExpired,
    expires: moment(hard),
    clock,
    ...(since !== undefined && { since: moment(since) }),
  };
}
