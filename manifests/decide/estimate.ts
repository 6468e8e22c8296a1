// How long a set of patches needs, from what the fleet took for each of them before, never below a floor, with what has to come
// after it (traps 6 and 7); and what of it still fits into the rest of a window.
import type { Group, Reserve } from '#manifests/schema';

/** Where a group does not say: five minutes a patch, fifteen for a reboot (Azure's figures), ten to check and take back. */
export const RESERVE: Reserve = { floorMinutes: 5, rebootMinutes: 15, verifyMinutes: 10 };
/** Runs of a patch from which on its own history counts. */
const RUNS_NEEDED = 3;
const MINUTE_MS = 60_000;

export interface Estimate {
  readonly ms: number;
  /** Patches whose own history was known. */
  readonly fromHistory: number;
}

/**
 * Time for a set: the floor at least once, each patch by its history where there is enough of it, else by the floor shared out
 * (a set of hundred small packages is one run of the package manager, not a hundred), and the reserve for reboot and checks.
 */
export function timeNeeded(patches: readonly string[], group: Pick<Group, 'timings' | 'reserve' | 'reboot'>): Estimate {
  const { floorMinutes, rebootMinutes, verifyMinutes } = group.reserve ?? RESERVE;
  const known = new Map(
    (group.timings ?? []).flatMap(({ patch, seconds, runs }) => (runs >= RUNS_NEEDED ? [[patch, seconds]] : [])),
  );
  let seconds = 0;
  let fromHistory = 0;
  for (const patch of patches) {
    const took = known.get(patch);
    if (took !== undefined) fromHistory += 1;
    seconds += took ?? UNKNOWN_SECONDS;
  }
  const work = Math.max(floorMinutes * MINUTE_MS, seconds * 1_000);
  const reserve = (group.reboot === 'never' ? 0 : rebootMinutes) + verifyMinutes;
  return { ms: patches.length === 0 ? 0 : work + reserve * MINUTE_MS, fromHistory };
}

/** A patch nobody has timed yet, beyond the floor of the whole run. */
const UNKNOWN_SECONDS = 20;

/** The first patches, in the order given, that fit into so many milliseconds; all of them, where all fit. */
export function fitting(
  patches: readonly string[],
  leftMs: number,
  group: Pick<Group, 'timings' | 'reserve' | 'reboot'>,
): readonly string[] {
  if (timeNeeded(patches, group).ms <= leftMs) return patches;
  let count = 0;
  while (count < patches.length && timeNeeded(patches.slice(0, count + 1), group).ms <= leftMs) count += 1;
  return patches.slice(0, count);
}
