// Which days a window opens on, and at which minutes of them: weekdays, the nth weekday of a month and days after it, cron.
// Days are numbers since 1970-01-01, so that a day costs some arithmetic and nothing else.
import { type MaintenanceWindow, parseCron, WEEKDAYS } from '#manifests/schema';
import { DAY_MS } from './text.ts';

export interface Calendar {
  /** Minutes of the day, ascending. */
  readonly starts: readonly number[];
  isDay(day: number): boolean;
}

/** `YYYY-MM-DD` as a day number. */
export function dayOf(date: string): number {
  return Date.parse(`${date}T00:00:00Z`) / DAY_MS;
}

/** 0 is Monday. 1970-01-01 was a Thursday. */
const weekdayOf = (day: number): number => (((day + 3) % 7) + 7) % 7;

interface Civil {
  readonly month: number;
  readonly date: number;
  readonly monthDays: number;
}

function civil(day: number): Civil {
  const moment = new Date(day * DAY_MS);
  const month = moment.getUTCMonth();
  return {
    month: month + 1,
    date: moment.getUTCDate(),
    monthDays: new Date(Date.UTC(moment.getUTCFullYear(), month + 1, 0)).getUTCDate(),
  };
}

/** Whether the day is the nth such weekday of its month. */
function isNth(day: number, weekday: number, nth: number | 'last'): boolean {
  if (weekdayOf(day) !== weekday) return false;
  const { date, monthDays } = civil(day);
  return nth === 'last' ? date + 7 > monthDays : Math.ceil(date / 7) === nth;
}

const NEVER: Calendar = { starts: [], isDay: () => false };

export function calendarOf(window: MaintenanceWindow): Calendar {
  if (window.cron !== undefined) return cronCalendar(window.cron);
  const [hour = 0, minute = 0] = (window.start ?? '').split(':').map(Number);
  const starts = [hour * 60 + minute];
  const { monthly } = window;
  if (monthly !== undefined) {
    const weekday = WEEKDAYS.indexOf(monthly.weekday);
    return { starts, isDay: (day) => isNth(day - monthly.offsetDays, weekday, monthly.nth) };
  }
  const days = new Set((window.days ?? []).map((name) => WEEKDAYS.indexOf(name)));
  return { starts, isDay: (day) => days.has(weekdayOf(day)) };
}

function cronCalendar(text: string): Calendar {
  const fields = parseCron(text);
  if ('wrong' in fields) return NEVER; // the schema lets none through
  const { starts, months, days } = fields;
  const everyMonth = months.size === 12;
  const isMonth = (day: number) => everyMonth || months.has(civil(day).month);
  if (days.by === 'every-day') return { starts, isDay: isMonth };
  if (days.by === 'month') {
    const fits = ({ date, monthDays }: Civil) => days.days.has(date) || (days.last && date === monthDays);
    return { starts, isDay: (day) => isMonth(day) && fits(civil(day)) };
  }
  const nthOf = (nth: number) => (nth === 6 ? 'last' : nth);
  return {
    starts,
    isDay: (day) =>
      days.days.some(({ weekday, nth }) =>
        nth === 0 ? weekdayOf(day) === (weekday + 6) % 7 : isNth(day, (weekday + 6) % 7, nthOf(nth)),
      ) && isMonth(day),
  };
}
