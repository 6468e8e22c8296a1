// When a window opens and closes: its calendar, by the wall clock of its zone, cut by validity and blackout dates.
//
// Clock changes (trap 8): a start that the wall clock skips is taken at the first instant after the gap; one that comes twice,
// at the first of the two. The length is elapsed time, so neither stretches nor cuts a window.
import type { MaintenanceWindow } from '#manifests/schema';
import { calendarOf, dayOf } from './calendar.ts';
import { DAY_MS, momentOf } from './text.ts';
import { type Zone, zoneOf } from './zones.ts';

export const MINUTE_MS = 60_000;
/** The longest pause between two days of any calendar: from one 29th of February to the next over 2100. */
const SEARCH_DAYS = 3_000;
/** No occurrence is longer than a week; a day more for zones on either side of UTC. */
const BACK_DAYS = 9;

/** All times in milliseconds since 1970, UTC. */
export interface Occurrence {
  readonly window: MaintenanceWindow;
  readonly zone: string;
  readonly opensAt: number;
  readonly closesAt: number;
  /** Nothing new starts from here on. */
  readonly startsUntil: number;
  readonly notes: readonly string[];
}

/** Occurrences that are not over at `from`, by their opening; null when nobody knows the zone. */
export function occurrencesFrom(window: MaintenanceWindow, hostZone: string, from: number): Iterable<Occurrence> | null {
  const zone = zoneOf(window.zone === 'host' ? hostZone : window.zone);
  return zone === null ? null : walk(window, zone, from);
}

function* walk(window: MaintenanceWindow, zone: Zone, from: number): Generator<Occurrence> {
  const validFrom = window.validFrom === null ? Number.NEGATIVE_INFINITY : Date.parse(window.validFrom);
  const validUntil = window.validUntil === null ? Number.POSITIVE_INFINITY : Date.parse(window.validUntil);
  const calendar = calendarOf(window);
  const dark = blackoutsOf(window, zone);
  const first = Math.floor(zone.wallAt(Math.max(from, validFrom)) / DAY_MS) - BACK_DAYS;
  for (let day = first; day <= first + BACK_DAYS + SEARCH_DAYS; day += 1) {
    if (!calendar.isDay(day)) continue;
    for (const minute of calendar.starts) {
      const wall = day * DAY_MS + minute * MINUTE_MS;
      const opensAt = zone.firstInstant(wall);
      if (opensAt >= validUntil) return;
      if (opensAt < validFrom || dark.some(([start, end]) => start <= opensAt && opensAt < end)) continue;
      const next = dark.reduce((least, [start]) => (start > opensAt ? Math.min(least, start) : least), validUntil);
      const closesAt = Math.min(opensAt + window.durationMinutes * MINUTE_MS, next);
      if (closesAt <= from) continue;
      yield {
        window,
        zone: zone.name,
        opensAt,
        closesAt,
        startsUntil: Math.max(opensAt, closesAt - window.cutoffMinutes * MINUTE_MS),
        notes: notesOf(window, zone, wall, opensAt),
      };
    }
  }
}

/** From the first instant of the first day to the first instant after the last, by the wall clock of the zone. */
function blackoutsOf(window: MaintenanceWindow, zone: Zone): [number, number][] {
  return (window.blackouts ?? []).map(({ from, until }) => [
    zone.firstInstant(dayOf(from) * DAY_MS),
    zone.firstInstant((dayOf(until) + 1) * DAY_MS),
  ]);
}

function notesOf(window: MaintenanceWindow, zone: Zone, wall: number, opensAt: number): string[] {
  const comes = zone.comes(wall);
  if (comes === 'once') return [];
  const says = `window ${window.name}: ${momentOf(wall).slice(0, 16)} ${zone.name}`;
  return comes === 'twice'
    ? [`${says} comes twice; the first counts (${momentOf(opensAt)})`]
    : [`${says} does not exist; it opens at ${momentOf(opensAt)} instead`];
}

/**
 * The parts of an occurrence during which one of `limits` is open too, by their opening (a site's windows): both must be open,
 * and new work starts only where both let it. Without limits, the occurrence itself.
 */
export function within(occurrence: Occurrence, limits: readonly MaintenanceWindow[], hostZone: string): Occurrence[] {
  if (limits.length === 0) return [occurrence];
  const parts: Occurrence[] = [];
  for (const limit of limits) {
    for (const other of occurrencesFrom(limit, hostZone, occurrence.opensAt) ?? []) {
      if (other.opensAt >= occurrence.closesAt) break;
      const opensAt = Math.max(occurrence.opensAt, other.opensAt);
      parts.push({
        ...occurrence,
        opensAt,
        closesAt: Math.min(occurrence.closesAt, other.closesAt),
        startsUntil: Math.max(opensAt, Math.min(occurrence.startsUntil, other.startsUntil)),
        notes: [...occurrence.notes, ...other.notes, `narrowed by window ${limit.name} of the site`],
      });
    }
  }
  return parts.toSorted((a, b) => a.opensAt - b.opensAt || b.closesAt - a.closesAt);
}
