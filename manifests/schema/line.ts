// How a line may be used: a rate, a weekly profile of rates and of hours without payloads, as relays and hosts are told in
// their settings. Pure: the moment is passed in.
import { z } from 'zod';
import { line, list } from './common.ts';

const DAYS = ['mon', 'tue', 'wed', 'thu', 'fri', 'sat', 'sun'] as const;
const hour = z.string().regex(/^(?:[01]\d|2[0-3]):[0-5]\d$|^24:00$/, 'write hours as "08:00"');
const kib = z.int().min(1).max(100_000_000);

const profileRow = z.strictObject({
  days: list(z.enum(DAYS), 7).default([...DAYS]),
  from: hour.default('00:00'),
  /** Up to here; not after `from` means the next day. */
  to: hour.default('24:00'),
  kibPerSecond: kib.optional(),
  /** Nothing but metadata and signed documents (halts and recalls among them), and results. */
  metadataOnly: z.boolean().default(false),
});

const zone = line(100).refine((name) => {
  try {
    Temporal.Instant.fromEpochMilliseconds(0).toZonedDateTimeISO(name);
    return true;
  } catch {
    return false;
  }
}, 'is no time zone');

/** Fields of the setting `line`. The first row of the profile that fits counts; without one, `kibPerSecond`; without that, no limit. */
export const lineFields = {
  zone: zone.default('UTC'),
  kibPerSecond: kib.optional(),
  profile: list(profileRow, 50).default([]),
};

const lineProfile = z.strictObject(lineFields);
export type LineProfile = z.infer<typeof lineProfile>;

export interface LineState {
  readonly bytesPerSecond: number | undefined;
  readonly metadataOnly: boolean;
}

/** What holds at a moment, ms. Hours are local: where the clock jumps, the row that the clock shows counts. */
export function lineAt(profile: LineProfile, at: number): LineState {
  const local = localAt(profile, at);
  const minute = local.hour * 60 + local.minute;
  const row = profile.profile.find(({ days, from, to }) => {
    const [start, end] = [minutesOf(from), minutesOf(to)];
    const on = (day: number) => days.includes(DAYS[(day + 6) % 7] ?? 'mon');
    if (start < end) return on(local.dayOfWeek) && minute >= start && minute < end;
    return (on(local.dayOfWeek) && minute >= start) || (on(local.dayOfWeek + 6) && minute < end);
  });
  const rate = row?.kibPerSecond ?? profile.kibPerSecond;
  return { bytesPerSecond: rate === undefined ? undefined : rate * 1024, metadataOnly: row?.metadataOnly ?? false };
}

/** The first moment from `at` on (ms) at which payloads may come; null when the profile never lets them. */
export function payloadsFrom(profile: LineProfile, at: number): number | null {
  if (!lineAt(profile, at).metadataOnly) return at;
  const today = localAt(profile, at).toPlainDate();
  const edges = [...new Set(profile.profile.flatMap(({ from, to }) => [from, to]))].map(minutesOf);
  const moments = Array.from({ length: 9 }, (_, days) => today.add({ days })).flatMap((date) =>
    edges.map(
      (minutes) =>
        date.add({ days: Math.floor(minutes / 1_440) }).toZonedDateTime({
          timeZone: profile.zone,
          plainTime: Temporal.PlainTime.from({ hour: Math.floor(minutes / 60) % 24, minute: minutes % 60 }),
        }).epochMilliseconds,
    ),
  );
  return moments.toSorted((a, b) => a - b).find((moment) => moment > at && !lineAt(profile, moment).metadataOnly) ?? null;
}

function localAt(profile: Pick<LineProfile, 'zone'>, at: number): Temporal.ZonedDateTime {
  return Temporal.Instant.fromEpochMilliseconds(Math.trunc(at)).toZonedDateTimeISO(profile.zone);
}

function minutesOf(text: string): number {
  const [hours = '0', minutes = '0'] = text.split(':');
  return Number(hours) * 60 + Number(minutes);
}
