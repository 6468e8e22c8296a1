// Maintenance windows: as people write them, and as they are signed inside a group. When one is open is decided in `decide`.
import { z } from 'zod';
import { authored, calendarDate, line, list, moment, name, zone } from './common.ts';
import { parseCron } from './cron.ts';

export const WEEKDAYS = ['mon', 'tue', 'wed', 'thu', 'fri', 'sat', 'sun'] as const;

/** What a host may do while a window is open. */
export const PURPOSES = ['download', 'install', 'reboot'] as const;
export type Purpose = (typeof PURPOSES)[number];

/** The nth weekday of each month and so many days after (or before) it: Patch Tuesday + 2. A month without a fifth has none. */
export const monthlyDay = z.strictObject({
  nth: z.union([z.int().min(1).max(5), z.literal('last')], { error: 'must be 1 to 5, or last' }),
  weekday: z.enum(WEEKDAYS),
  offsetDays: z.int().min(-14).max(14).default(0),
});

/** Both days belong to it. Reckoned by the wall clock of the window's zone. */
export const blackout = z
  .strictObject({ from: calendarDate, until: calendarDate, reason: line(200).optional() })
  .refine(({ from, until }) => from <= until, { path: ['until'], error: 'must not be before from' });
export type Blackout = z.infer<typeof blackout>;

/**
 * What follows when a host was off or asleep through a window: nothing until the next one, a run within so many hours of
 * waking, or a run before the machine is handed over (`agent gate`).
 */
export const catchUp = z.union(
  [z.literal('next-window'), z.literal('before-handover'), z.strictObject({ withinHours: z.int().min(1).max(168) })],
  {
    error: 'must be next-window, before-handover, or withinHours (1 to 168)',
  },
);
export type CatchUp = z.infer<typeof catchUp>;

const start = z.string({ error: 'must be "HH:MM", quoted' }).regex(/^(?:[01]\d|2[0-3]):[0-5]\d$/, { error: 'must be "HH:MM"' });
/** `minute hour day-of-month month day-of-week`; see cron.ts. */
const cron = line(100).superRefine((value, context) => {
  const fields = parseCron(value);
  if ('wrong' in fields) context.addIssue({ code: 'custom', message: fields.wrong });
});
const purposes = list(z.enum(PURPOSES), 3).min(1);
const durationMinutes = z.int().min(1).max(10_080);

interface Opening {
  readonly days?: unknown;
  readonly monthly?: unknown;
  readonly cron?: unknown;
  readonly start?: unknown;
  readonly durationMinutes: number;
  readonly cutoffMinutes: number;
}

/** Exactly one of days, monthly, cron; a start beside the first two. */
function checkOpening(spec: Opening, context: z.RefinementCtx): void {
  const kinds = [spec.days, spec.monthly, spec.cron].filter((kind) => kind !== undefined).length;
  const issue = (path: string[], message: string) => context.addIssue({ code: 'custom', path, message });
  if (kinds !== 1) issue([], 'needs exactly one of days, monthly, cron');
  if (spec.cron === undefined && spec.start === undefined) issue(['start'], 'is missing: write "HH:MM", quoted');
  if (spec.cron !== undefined && spec.start !== undefined) issue(['start'], 'cron says itself when it opens');
  if (spec.cutoffMinutes >= spec.durationMinutes)
    issue(['cutoffMinutes'], 'must be less than durationMinutes, or nothing could ever start');
}

export const window = authored(
  'MaintenanceWindow',
  z
    .strictObject({
      days: z.union([z.literal('daily').transform(() => [...WEEKDAYS]), list(z.enum(WEEKDAYS), 7).min(1)]).optional(),
      monthly: monthlyDay.optional(),
      cron: cron.optional(),
      /** Wall time in `zone`. */
      start: start.optional(),
      durationMinutes,
      cutoffMinutes: z.int().min(0).default(0),
      zone,
      /** Left out: installing and rebooting; downloads then happen at any time. A window that names downloads bounds them. */
      purposes: purposes.optional(),
      blackouts: list(blackout, 100).default([]),
      catchUp: catchUp.default('next-window'),
      validFrom: moment.optional(),
      validUntil: moment.optional(),
    })
    .superRefine(checkOpening),
);
export type Window = z.infer<typeof window>;

/** A window inside a signed group. What is not there means: for every purpose, no blackout, no catching up. */
export const maintenanceWindow = z
  .strictObject({
    name,
    days: list(z.enum(WEEKDAYS), 7).min(1).optional(),
    monthly: monthlyDay.optional(),
    cron: cron.optional(),
    start: start.optional(),
    /** Elapsed minutes, so a clock change does not stretch it. At most a week. */
    durationMinutes,
    /** Nothing new starts in the last so many minutes. */
    cutoffMinutes: z.int().min(0).max(10_079),
    zone,
    purposes: purposes.optional(),
    blackouts: list(blackout, 200).optional(),
    catchUp: catchUp.optional(),
    validFrom: moment.nullable(),
    validUntil: moment.nullable(),
  })
  .superRefine(checkOpening);
export type MaintenanceWindow = z.infer<typeof maintenanceWindow>;
