// After a host was off or asleep through its windows: whether it may make up for that now. However many windows it missed, there is
// one run (field guide 9.3).
import type { MaintenanceWindow } from '#manifests/schema';
import { occurrencesFrom } from './occurrences.ts';
import type { WindowState } from './window.ts';

/** Of the last time this host was off or asleep. All in milliseconds. */
export interface Wake {
  /** The last sign of life before. */
  readonly asleepSince: number;
  readonly wokeAt: number;
  /** A run has been made since: there is nothing left to make up for. */
  readonly ranSince: boolean;
  /** Given to its user (`agent gate` has let it pass). */
  readonly handedOver: boolean;
}

export interface CatchUpState {
  /** Windows that opened and closed to new work while the host slept. */
  readonly missed: number;
  /** Set when a run may be made now. */
  readonly window: Extract<WindowState, { open: true }> | null;
}

/** Occurrences looked at for each window: a machine that slept for years has missed enough. */
const COUNTED = 1_000;
const HOUR_MS = 3_600_000;
/** How long a machine that is not handed over yet may take. */
const BEFORE_HANDOVER_MS = 12 * HOUR_MS;

/**
 * Whether a host may run outside its windows because it slept through them. Of several windows that let it, the one that lets it
 * longest. @param at milliseconds of trusted time
 */
export function catchUp(
  windows: readonly MaintenanceWindow[],
  wake: Wake | null | undefined,
  at: number,
  hostZone: string,
): CatchUpState {
  if (wake === null || wake === undefined || wake.wokeAt <= wake.asleepSince) return { missed: 0, window: null };
  let missed = 0;
  let best: CatchUpState['window'] = null;
  for (const window of windows) {
    const mine = missedOf(window, wake, hostZone);
    missed += mine;
    const rule = window.catchUp ?? 'next-window';
    if (mine === 0 || wake.ranSince || rule === 'next-window') continue;
    if (rule === 'before-handover' && wake.handedOver) continue;
    const closesAt = wake.wokeAt + (rule === 'before-handover' ? BEFORE_HANDOVER_MS : rule.withinHours * HOUR_MS);
    if (at < wake.wokeAt || at >= closesAt || (best !== null && best.closesAt >= closesAt)) continue;
    best = {
      open: true,
      name: `${window.name} (made up for)`,
      zone: window.zone === 'host' ? hostZone : window.zone,
      opensAt: wake.wokeAt,
      closesAt,
      startsUntil: closesAt,
      mayStart: true,
      nextOpensAt: null,
      notes: [
        `this host slept through window ${window.name} ${mine === 1 ? 'once' : `${mine} times`} and makes up for it once`,
      ],
    };
  }
  return { missed, window: best };
}

function missedOf(window: MaintenanceWindow, { asleepSince, wokeAt }: Wake, hostZone: string): number {
  let missed = 0;
  let looked = 0;
  for (const { opensAt, startsUntil } of occurrencesFrom(window, hostZone, asleepSince) ?? []) {
    looked += 1;
    if (opensAt >= wokeAt || looked > COUNTED) break;
    if (opensAt >= asleepSince && startsUntil <= wokeAt) missed += 1;
  }
  return missed;
}
