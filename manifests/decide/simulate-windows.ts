// Of a simulation: when hosts may start. Openings are looked up once for each group, zone and choice, not for each host.
import type { Group, MaintenanceWindow } from '#manifests/schema';
import { catchUp } from './catch-up.ts';
import { occurrencesFrom, within } from './occurrences.ts';
import { staggeredStart } from './rollout.ts';
import { chosenWindows } from './schedule.ts';
import { SIMULATION_LIMITS, type SimHost, type SimPolicy } from './simulation.ts';
import { windowsFor } from './window.ts';

export interface Openings {
  readonly opensAt: Float64Array;
  readonly startsUntil: Float64Array;
}

/** The doors of one host: its windows, and those that open for emergencies alone. */
export interface Doors {
  readonly open: Openings;
  readonly emergency: Openings | null;
}

/** Looks doors up. `notes` takes remarks on clock changes. Times in milliseconds. */
export function openDoors(
  policy: Pick<SimPolicy, 'sites'>,
  { from, until, notes }: { readonly from: number; readonly until: number; readonly notes: Set<string> },
): (group: Group, host: SimHost) => Doors {
  const known = new Map<string, Openings>();
  const openings = (key: string, windows: readonly MaintenanceWindow[], site: string, zone: string): Openings => {
    const before = known.get(key);
    if (before !== undefined) return before;
    const limits = policy.sites?.get(site)?.limits ?? [];
    const found: { opensAt: number; startsUntil: number }[] = [];
    for (const window of windowsFor(windows, 'install') ?? []) {
      let count = 0;
      for (const occurrence of occurrencesFrom(window, zone, from) ?? []) {
        count += 1;
        if (occurrence.opensAt >= until || count > SIMULATION_LIMITS.occurrences) break;
        for (const part of within(occurrence, limits, zone)) if (part.startsUntil > from) found.push(part);
        for (const note of occurrence.notes) notes.add(note);
      }
    }
    found.sort((a, b) => a.opensAt - b.opensAt);
    const made = {
      opensAt: Float64Array.from(found, (one) => one.opensAt),
      startsUntil: Float64Array.from(found, (one) => one.startsUntil),
    };
    known.set(key, made);
    return made;
  };
  return (group, host) => {
    const limited = (policy.sites?.get(host.site)?.limits.length ?? 0) > 0;
    const where = `${group.name}|${host.zone}|${limited ? host.site : ''}`;
    const chosen = host.choice?.window ?? null;
    const windows = chosen === null ? group.windows : chosenWindows(group, host.choice ?? null).windows;
    const emergency = group.emergencyWindows ?? [];
    return {
      open: openings(`${where}|${chosen ?? ''}`, windows, host.site, host.zone),
      emergency: emergency.length === 0 ? null : openings(`${where}|!`, emergency, host.site, host.zone),
    };
  };
}

/** Whether a host that wakes up may make up at once for the windows it slept through. */
export function makesUp(group: Group, { asleep, choice, zone }: SimHost): boolean {
  if (asleep === undefined) return false;
  const { windows } = chosenWindows(group, choice ?? null);
  const wake = { asleepSince: asleep.since, wokeAt: asleep.wokeAt, ranSince: false, handedOver: false };
  return catchUp(windowsFor(windows, 'install') ?? [], wake, asleep.wokeAt, zone).window !== null;
}

/** The first moment from `turn` on at which a window lets the host start, at its place in the order of its ring. */
export function startAfter(
  open: Openings,
  turn: number,
  staggered: { readonly ring: Parameters<typeof staggeredStart>[0]; readonly place: number } | null,
  length: number,
): number {
  const { opensAt, startsUntil } = open;
  let low = 0;
  let high = opensAt.length; // the first that opens after the turn
  while (low < high) {
    const middle = (low + high) >>> 1;
    if ((opensAt[middle] ?? 0) <= turn) low = middle + 1;
    else high = middle;
  }
  for (let index = Math.max(0, low - BEFORE); index < opensAt.length; index += 1) {
    const opening = { opensAt: opensAt[index] ?? 0, startsUntil: startsUntil[index] ?? 0 };
    if (opening.startsUntil <= turn) continue;
    const start = staggered === null ? opening.opensAt : staggeredStart(staggered.ring, staggered.place, opening, length);
    return Math.max(start, turn);
  }
  return Number.POSITIVE_INFINITY;
}

/** Openings before the turn that can still be open: those of several windows at once. */
const BEFORE = 50;
