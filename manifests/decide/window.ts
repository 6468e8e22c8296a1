// Maintenance windows: "may this host change now, and until when?" When each opens is in occurrences.ts.
import type { MaintenanceWindow, Purpose } from '#manifests/schema';
import { type Occurrence, occurrencesFrom, within } from './occurrences.ts';
import { byText } from './text.ts';

/** All times in milliseconds since 1970, UTC. */
export type WindowState =
  | {
      readonly open: false;
      /** The next opening; null when none is known (no window, all ended, or a zone nobody knows). */
      readonly opensAt: number | null;
      /** Name of the window that opens next. */
      readonly name: string | null;
      readonly zone: string | null;
      readonly notes: readonly string[];
    }
  | {
      readonly open: true;
      readonly name: string;
      /** The zone it is reckoned in, `host` resolved. */
      readonly zone: string;
      readonly opensAt: number;
      readonly closesAt: number;
      /** Nothing new starts from here on. */
      readonly startsUntil: number;
      readonly mayStart: boolean;
      /** The next opening of any window after this moment. */
      readonly nextOpensAt: number | null;
      readonly notes: readonly string[];
    };

/** Further windows, of which one must be open as well (a site's): nothing is open but while both are. */
export interface WindowOptions {
  readonly limits?: readonly MaintenanceWindow[];
}

/** How many occurrences are looked at where a site's windows leave nothing of the first ones. */
const NARROWED = 500;

/**
 * The state of a host's windows at one instant. Of several open ones the one counts in which work may begin, then the
 * one that stays open longest. `validUntil` closes an open window; one that began before `validFrom` does not open.
 * @param at milliseconds of trusted time @param hostZone IANA name, for windows in zone `host`
 */
export function windowState(
  windows: readonly MaintenanceWindow[],
  at: number,
  hostZone: string,
  { limits = [] }: WindowOptions = {},
): WindowState {
  const notes: string[] = windows.length === 0 ? ['no maintenance window: nothing is installed by itself'] : [];
  const around: Occurrence[] = [];
  let next: Occurrence | undefined;
  for (const window of windows) {
    const occurrences = occurrencesFrom(window, hostZone, at);
    if (occurrences === null) {
      const zone = window.zone === 'host' ? hostZone : window.zone;
      notes.push(`window ${window.name} never opens: nobody here knows the time zone ${JSON.stringify(zone)}`);
      continue;
    }
    let looked = 0;
    let mine: Occurrence | undefined;
    for (const occurrence of occurrences) {
      looked += 1;
      if ((mine !== undefined && occurrence.opensAt >= mine.opensAt) || looked > NARROWED) break;
      for (const part of within(occurrence, limits, hostZone)) {
        if (part.opensAt > at) {
          if (mine === undefined || comesFirst(part, mine) < 0) mine = part;
        } else if (at < part.closesAt) around.push(part);
      }
    }
    if (mine !== undefined && (next === undefined || comesFirst(mine, next) < 0)) next = mine;
  }
  const now = around.toSorted(
    (a, b) =>
      Number(at < b.startsUntil) - Number(at < a.startsUntil) ||
      b.closesAt - a.closesAt ||
      byText(a.window.name, b.window.name),
  )[0];
  if (now === undefined) {
    return {
      open: false,
      opensAt: next?.opensAt ?? null,
      name: next?.window.name ?? null,
      zone: next?.zone ?? null,
      notes: [...notes, ...(next?.notes ?? [])],
    };
  }
  return {
    open: true,
    name: now.window.name,
    zone: now.zone,
    opensAt: now.opensAt,
    closesAt: now.closesAt,
    startsUntil: now.startsUntil,
    mayStart: at < now.startsUntil,
    nextOpensAt: next?.opensAt ?? null,
    notes: [...notes, ...now.notes],
  };
}

function comesFirst(a: Occurrence, b: Occurrence): number {
  return a.opensAt - b.opensAt || b.closesAt - a.closesAt || byText(a.window.name, b.window.name);
}

/** The last day that a moment can be written of. */
const LATEST_MS = Date.parse('9999-12-31T00:00:00Z');

/** Open at any time: what a host may do that no window speaks of. */
export const ALWAYS_OPEN: WindowState = {
  open: true,
  name: 'any time',
  zone: 'UTC',
  opensAt: 0,
  closesAt: LATEST_MS,
  startsUntil: LATEST_MS,
  mayStart: true,
  nextOpensAt: null,
  notes: [],
};

/**
 * The windows that count for a purpose. A window without purposes is for installing and rebooting. Downloads may happen at any
 * time (null) but where a window names them: a thin line must not eat the window. Where no window is for reboots, they happen in
 * those for installing.
 */
export function windowsFor(windows: readonly MaintenanceWindow[], purpose: Purpose): readonly MaintenanceWindow[] | null {
  if (purpose === 'download') {
    const named = windows.filter(({ purposes }) => purposes?.includes('download') === true);
    return named.length > 0 ? named : null;
  }
  const named = windows.filter(({ purposes }) => purposes === undefined || purposes.includes(purpose));
  return named.length > 0 || purpose === 'install' ? named : windowsFor(windows, 'install');
}

/** As `windowState`, of the windows for one purpose. */
export function purposeState(
  windows: readonly MaintenanceWindow[],
  purpose: Purpose,
  at: number,
  hostZone: string,
  options: WindowOptions = {},
): WindowState {
  const chosen = windowsFor(windows, purpose);
  return chosen === null ? ALWAYS_OPEN : windowState(chosen, at, hostZone, options);
}
