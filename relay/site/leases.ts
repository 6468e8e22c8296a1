// Who may reboot now: a counting semaphore for each group, with an end to each lease and a gap between two. Pure: state and
// time come in, the next state goes out. A relay can only slow reboots down with it.
import type { RebootLease } from '#manifests/schema';

export interface Lease {
  readonly id: string;
  readonly group: string;
  /** Milliseconds. */
  readonly since: number;
  readonly until: number;
}

export interface LeaseState {
  readonly leases: readonly Lease[];
  /** When a lease of a group was given last, milliseconds. */
  readonly given: ReadonlyMap<string, number>;
}

export const NO_LEASES: LeaseState = { leases: [], given: new Map() };

export type LeaseAnswer =
  /** `changed`: to be written down before it is told. */
  | { readonly kind: 'held'; readonly until: number; readonly changed: boolean }
  | { readonly kind: 'full'; readonly slots: number; readonly freeAt: number }
  | { readonly kind: 'gap'; readonly freeAt: number };

const MINUTE = 60_000;

/** Leases that have not ended. */
export function liveLeases(state: LeaseState, now: number): Lease[] {
  return state.leases.filter(({ until }) => until > now);
}

/**
 * Asks for a slot. Recursive: who holds one keeps it, and it lasts anew (FleetLock protocol, pre-reboot).
 * @param renewAfterMs a lease is prolonged when so much of it has gone
 */
export function acquire(
  state: LeaseState,
  {
    id,
    group,
    policy,
    now,
    renewAfterMs,
  }: { id: string; group: string; policy: RebootLease; now: number; renewAfterMs: number },
): { state: LeaseState; answer: LeaseAnswer } {
  const live = liveLeases(state, now);
  const ofGroup = live.filter((lease) => lease.group === group);
  const until = now + policy.ttlMinutes * MINUTE;
  const held = ofGroup.find((lease) => lease.id === id);
  if (held !== undefined) {
    if (until - held.until < renewAfterMs) return { state, answer: { kind: 'held', until: held.until, changed: false } };
    const leases = live.map((lease) => (lease === held ? { ...lease, until } : lease));
    return { state: { ...state, leases }, answer: { kind: 'held', until, changed: true } };
  }
  if (ofGroup.length >= policy.slots) {
    // With fewer slots than before, more than one lease must end first.
    const ends = ofGroup.map((lease) => lease.until).toSorted((a, b) => a - b);
    return { state, answer: { kind: 'full', slots: policy.slots, freeAt: ends[ofGroup.length - policy.slots] ?? now } };
  }
  const last = state.given.get(group);
  const freeAt = last === undefined ? now : last + policy.minGapMinutes * MINUTE;
  if (freeAt > now) return { state, answer: { kind: 'gap', freeAt } };
  const given = new Map(state.given).set(group, now);
  return {
    state: { leases: [...live, { id, group, since: now, until }], given },
    answer: { kind: 'held', until, changed: true },
  };
}

/** Gives back whatever `id` holds; nothing held is fine too (FleetLock protocol, steady-state). */
export function release(state: LeaseState, id: string): LeaseState {
  return state.leases.some((lease) => lease.id === id)
    ? { ...state, leases: state.leases.filter((lease) => lease.id !== id) }
    : state;
}
