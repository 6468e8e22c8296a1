// The openings of windows to come, for people who want to know or choose.
import type { MaintenanceWindow } from '#manifests/schema';
import { type WindowOptions, windowState } from './window.ts';

/** All moments in milliseconds. */
export interface Opening {
  readonly window: string;
  /** The zone it is reckoned in, `host` resolved. */
  readonly zone: string;
  readonly opensAt: number;
  readonly closesAt: number;
  readonly startsUntil: number;
}

/** The next openings of one window, one that is open now first. @param at milliseconds of trusted time */
export function nextOpenings(
  window: MaintenanceWindow,
  at: number,
  hostZone: string,
  count: number,
  options: WindowOptions = {},
): Opening[] {
  const found: Opening[] = [];
  const take = (moment: number): number | null => {
    const state = windowState([window], moment, hostZone, options);
    if (!state.open) return state.opensAt;
    const { zone, opensAt, closesAt, startsUntil } = state;
    found.push({ window: window.name, zone, opensAt, closesAt, startsUntil });
    return state.nextOpensAt;
  };
  let next = take(at);
  while (next !== null && found.length < count) {
    const before = next;
    next = take(before);
    if (next !== null && next <= before) break;
  }
  return found;
}
