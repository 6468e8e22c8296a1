// The five fields of a cron line (minute, hour, day of month, month, day of week) as sets of numbers. Only what they mean;
// when they come true is decided in `decide`.

/** How often a cron window may open in one day at most. */
const STARTS_A_DAY = 24;

export interface CronFields {
  /** Minutes of the day, ascending. */
  readonly starts: readonly number[];
  /** Months 1 to 12. */
  readonly months: ReadonlySet<number>;
  /** Which days of those months. */
  readonly days:
    | { readonly by: 'every-day' }
    /** Days 1 to 31; `last` is the last of the month. */
    | { readonly by: 'month'; readonly days: ReadonlySet<number>; readonly last: boolean }
    /** 0 is Sunday; `nth` 1 to 5, 6 for the last one of the month, 0 for every one. */
    | { readonly by: 'week'; readonly days: readonly { readonly weekday: number; readonly nth: number }[] };
}

const MONTHS = ['jan', 'feb', 'mar', 'apr', 'may', 'jun', 'jul', 'aug', 'sep', 'oct', 'nov', 'dec'];
const DAYS = ['sun', 'mon', 'tue', 'wed', 'thu', 'fri', 'sat'];

/**
 * Reads `minute hour day-of-month month day-of-week`: numbers, names, `*`, lists, ranges, steps; `L` for the last day of the
 * month, `TUE#2` for the second Tuesday, `FRIL` for the last Friday. Returns what is wrong as a sentence.
 * Both day fields at once are refused: cron takes either of them, which nobody expects.
 */
export function parseCron(text: string): CronFields | { readonly wrong: string } {
  const fields = text.trim().split(/ +/);
  const [minute, hour, day, month, weekday] = fields;
  if (fields.length !== 5 || minute === undefined || hour === undefined || day === undefined || month === undefined) {
    return { wrong: 'must have five fields: minute, hour, day of month, month, day of week' };
  }
  const minutes = numbers(minute, 0, 59, []);
  const hours = numbers(hour, 0, 23, []);
  const months = numbers(month, 1, 12, MONTHS);
  if (minutes === null) return { wrong: `"${minute}" is no minute (0 to 59)` };
  if (hours === null) return { wrong: `"${hour}" is no hour (0 to 23)` };
  if (months === null) return { wrong: `"${month}" is no month (1 to 12 or jan to dec)` };
  const starts = [...hours].flatMap((h) => [...minutes].map((m) => h * 60 + m)).toSorted((a, b) => a - b);
  if (starts.length > STARTS_A_DAY) return { wrong: `opens ${starts.length} times a day; at most ${STARTS_A_DAY}` };
  const anyDay = day === '*' || day === '?';
  const anyWeekday = weekday === '*' || weekday === '?';
  if (!anyDay && !anyWeekday) return { wrong: 'names days of the month and days of the week; write * for one of them' };
  if (anyDay && anyWeekday) return { starts, months, days: { by: 'every-day' } };
  if (!anyDay) {
    const last = day.toLowerCase() === 'l';
    const days = last ? new Set<number>() : numbers(day, 1, 31, []);
    return days === null
      ? { wrong: `"${day}" is no day of a month (1 to 31, or L)` }
      : { starts, months, days: { by: 'month', days, last } };
  }
  const days = weekdays(weekday ?? '');
  return days === null
    ? { wrong: `"${weekday}" is no day of the week (sun to sat, TUE#2, FRIL)` }
    : { starts, months, days: { by: 'week', days } };
}

function weekdays(text: string): { weekday: number; nth: number }[] | null {
  const found: { weekday: number; nth: number }[] = [];
  for (const part of text.toLowerCase().split(',')) {
    const [, name = '', nth = ''] = /^([a-z]{3}|[0-7])(#[1-5]|l)$/.exec(part) ?? [];
    const plain = numbers(name === '' ? part : name, 0, 7, DAYS);
    if (plain === null) return null;
    for (const weekday of plain)
      found.push({ weekday: weekday % 7, nth: nth === '' ? 0 : nth === 'l' ? 6 : Number(nth.slice(1)) });
  }
  return found;
}

/** One field as a set; null when it is none. */
function numbers(text: string, least: number, most: number, names: readonly string[]): Set<number> | null {
  const found = new Set<number>();
  const one = (word: string): number => {
    const named = names.indexOf(word.toLowerCase());
    if (named >= 0) return named + (names === MONTHS ? 1 : 0);
    return /^\d{1,2}$/.test(word) ? Number(word) : Number.NaN;
  };
  for (const part of text.split(',')) {
    const [range = '', step] = part.split('/');
    if (step !== undefined && !/^[1-9]\d?$/.test(step)) return null;
    const [first = '', last] = range.split('-');
    const from = range === '*' ? least : one(first);
    const to = range === '*' || (last === undefined && step !== undefined) ? most : one(last ?? first);
    if (!(from >= least && to <= most && from <= to)) return null;
    for (let value = from; value <= to; value += Number(step ?? 1)) found.add(value);
  }
  return found;
}
