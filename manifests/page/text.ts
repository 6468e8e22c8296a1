// Words and figures of pages and tables: ages, moments, counts, and safe one-line text.

/** 5400 -> `1 h 30 min`; at most two units, rounded down. */
export function ageText(seconds: number | null): string {
  if (seconds === null) return '–';
  if (seconds < 60) return `${seconds} s`;
  if (seconds < 3_600) return `${Math.floor(seconds / 60)} min`;
  if (seconds < 86_400) return `${Math.floor(seconds / 3_600)} h ${Math.floor((seconds % 3_600) / 60)} min`;
  return `${Math.floor(seconds / 86_400)} d ${Math.floor((seconds % 86_400) / 3_600)} h`;
}

/** `2026-03-02T12:00:00Z` -> `2026-03-02 12:00 UTC`. */
export function momentText(moment: string | null): string {
  return moment === null ? '–' : `${moment.slice(0, 10)} ${moment.slice(11, 16)} UTC`;
}

/** 1234567 -> `1 234 567` with thin no-break spaces, the same in every locale. */
export function countText(value: number): string {
  return String(value).replace(/\B(?=(\d{3})+$)/g, '\u202f');
}

/** 1 -> `1 host`, 2 -> `2 hosts`. */
export function several(value: number, one: string, many = `${one}s`): string {
  return `${countText(value)} ${value === 1 ? one : many}`;
}

const HIDDEN =
  /[\u0000-\u001f\u007f-\u009f\u00ad\u061c\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff\ud800-\udfff\ufff9-\ufffb]/gu;

/** Text of a host made harmless: what cannot be seen or turns the reading direction is written out as `\u{202e}`. */
export function visible(text: string): string {
  return text.replace(HIDDEN, (character) => `\\u{${character.codePointAt(0)?.toString(16) ?? ''}}`);
}
