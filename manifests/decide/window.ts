// Maintenance windows: "may this host change now, and until when?" Pure; wall time becomes instants by Temporal alone.
//
// Clock changes (trap 8): a start that the wall clock skips is taken at the first instant after the gap; one that comes
// twice, at the first of the two. The length is elapsed time, so neither stretches nor cuts a window.
import { type MaintenanceWindow, WEEKDAYS } from '#manifests/schema';
import { byText, DAY_MS, momentOf } from './text.ts';

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

const MINUTE_MS = 60_000;
/** No occurrence is longer than a week, and each weekday comes once in it; a day more for zones on either side of UTC. */
const SEARCH_DAYS = 9;

interface Occurrence {
  readonly window: MaintenanceWindow;
  readonly zone: string;
  readonly opensAt: number;
  readonly closesAt: number;
  readonly startsUntil: number;
  readonly notes: readonly string[];
}

/**
 * The state of a host's windows at one instant. Of several open ones the one counts in which work may begin, then the
 * one that stays open longest. `validUntil` closes an open window; one that began before `validFrom` does not open.
 * @param at milliseconds of trusted time @param hostZone IANA name, for windows in zone `host`
 */
export function windowState(windows: readonly MaintenanceWindow[], at: number, hostZone: string): WindowState {
  const notes: string[] = windows.length === 0 ? ['no maintenance window: nothing is installed by itself'] : [];
  const around: Occurrence[] = [];
  const coming: Occurrence[] = [];
  for (const window of windows) {
    const zone = window.zone === 'host' ? hostZone : window.zone;
    if (!isZone(zone)) {
      notes.push(`window ${window.name} never opens: nobody here knows the time zone ${JSON.stringify(zone)}`);
      continue;
    }
    for (const occurrence of occurrences(window, zone, at)) {
      if (occurrence.opensAt <= at && at < occurrence.closesAt) around.push(occurrence);
      else if (occurrence.opensAt > at) coming.push(occurrence);
    }
  }
  const next = coming.toSorted(
    (a, b) => a.opensAt - b.opensAt || b.closesAt - a.closesAt || byText(a.window.name, b.window.name),
  )[0];
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

/** Occurrences that may hold `at`, and the next ones after it (or after `validFrom`, when that is later). */
function occurrences(window: MaintenanceWindow, zone: string, at: number): Occurrence[] {
  const validFrom = window.validFrom === null ? Number.NEGATIVE_INFINITY : Date.parse(window.validFrom);
  const validUntil = window.validUntil === null ? Number.POSITIVE_INFINITY : Date.parse(window.validUntil);
  if (Math.max(at, validFrom) >= validUntil) return [];
  const from = Temporal.Instant.fromEpochMilliseconds(Math.max(at, validFrom)).toZonedDateTimeISO(zone).toPlainDate();
  const back = Math.ceil((window.durationMinutes * MINUTE_MS) / DAY_MS) + 1;
  const [hour, minute] = window.start.split(':').map(Number);
  const time = new Temporal.PlainTime(hour, minute);
  const found: Occurrence[] = [];
  for (let day = -back; day <= SEARCH_DAYS; day += 1) {
    const date = from.add({ days: day });
    const weekday = WEEKDAYS[date.dayOfWeek - 1];
    if (weekday === undefined || !window.days.includes(weekday)) continue;
    const start = firstInstant(date.toPlainDateTime(time), zone);
    if (start.at < validFrom || start.at >= validUntil) continue;
    const closesAt = Math.min(start.at + window.durationMinutes * MINUTE_MS, validUntil);
    found.push({
      window,
      zone,
      opensAt: start.at,
      closesAt,
      startsUntil: Math.max(start.at, closesAt - window.cutoffMinutes * MINUTE_MS),
      notes: start.note === null ? [] : [`window ${window.name}: ${start.note}`],
    });
  }
  return found;
}

/** The first instant at or after a wall time: in a gap its end, of two equal wall times the first. */
function firstInstant(wall: Temporal.PlainDateTime, zone: string): { at: number; note: string | null } {
  const early = wall.toZonedDateTime(zone, { disambiguation: 'earlier' });
  const late = wall.toZonedDateTime(zone, { disambiguation: 'later' });
  const says = `${wall.toString({ smallestUnit: 'minute' })} ${zone}`;
  if (early.epochMilliseconds === late.epochMilliseconds) return { at: early.epochMilliseconds, note: null };
  if (early.toPlainDateTime().equals(wall)) {
    return {
      at: early.epochMilliseconds,
      note: `${says} comes twice; the first counts (${momentOf(early.epochMilliseconds)})`,
    };
  }
  const gap = early.getTimeZoneTransition('next') ?? late; // `early` lies before the gap, so the next change is the gap
  return { at: gap.epochMilliseconds, note: `${says} does not exist; it opens at ${momentOf(gap.epochMilliseconds)} instead` };
}

function isZone(zone: string): boolean {
  try {
    Temporal.Instant.fromEpochMilliseconds(0).toZonedDateTimeISO(zone);
    return true;
  } catch {
    return false;
  }
}
