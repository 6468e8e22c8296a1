// Versions of Windows files and products: up to four numbers, `10.0.19045.4291`.
import { compareDigits } from './numbers.ts';

/** Reads one to four numbers joined by dots; null when it is not that. */
export function parseWindows(text: string): readonly number[] | null {
  if (!/^\d{1,9}(?:\.\d{1,9}){0,3}$/.test(text)) return null;
  const numbers = text.split('.').map(Number);
  return [0, 1, 2, 3].map((index) => numbers[index] ?? 0);
}

/**
 * Order of two versions by their first four numbers. Total: a missing number is 0, and what follows the digits of a
 * part (`19041.1 (WinBuild.160101.0800)`) does not count, as in the resource that Windows itself compares.
 */
export function compareWindows(a: string, b: string): number {
  if (a === b) return 0;
  const x = numbersOf(a);
  const y = numbersOf(b);
  for (let index = 0; index < 4; index += 1) {
    const order = compareDigits(x[index] ?? '', y[index] ?? '');
    if (order !== 0) return order;
  }
  return 0;
}

function numbersOf(text: string): string[] {
  return text
    .trim()
    .split('.', 4)
    .map((part) => /^\d*/.exec(part)?.[0] ?? '');
}
