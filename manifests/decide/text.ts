// Small things every decision uses: moments, an order of texts without locale, lines that fit their schema.

export const DAY_MS = 86_400_000;

/** A moment as documents write it: UTC to the second. @param at milliseconds */
export function momentOf(at: number): string {
  return `${new Date(at).toISOString().slice(0, 19)}Z`;
}

/** Order by UTF-16 code units: the same on every machine. */
export function byText(a: string, b: string): number {
  if (a === b) return 0;
  return a < b ? -1 : 1;
}

const LINE = 500;

/** One line of a reason, cut to what the result schema takes. */
export function oneLine(text: string): string {
  if (text.length <= LINE) return text;
  return `${text
    .slice(0, LINE - 1)
    .toWellFormed()
    .replace(/\uFFFD$/, '')}…`;
}

/** `2026-03-29T01:00:00Z`, and the wall time of the zone beside it. @param at milliseconds */
export function inZone(at: number, zone: string): string {
  const utc = momentOf(at);
  if (zone === 'UTC') return utc;
  const wall = Temporal.Instant.fromEpochMilliseconds(at).toZonedDateTimeISO(zone).toPlainDateTime();
  return `${utc} (${wall.toString({ smallestUnit: 'minute' }).replace('T', ' ')} ${zone})`;
}

/** `1 patch`, `3 patches`. */
export function counted(count: number, one: string, many = `${one}s`): string {
  return `${count} ${count === 1 ? one : many}`;
}

/** The first few of a list in words: `a, b and 3 more`. */
export function fewOf(items: readonly string[], shown = 5): string {
  if (items.length <= shown) return items.join(', ');
  return `${items.slice(0, shown).join(', ')} and ${items.length - shown} more`;
}
