// Which delegation a target path falls under: path patterns, hash prefixes, hash bins (TUF specification 1.0.31, 4.5; TAP 15).
import { hash } from 'node:crypto';
import type { Delegation, SuccinctBins } from './forms.ts';

/**
 * True when `path` matches `pattern`: `*` stands for any characters and `?` for one, neither for `/`; all else is literal.
 * No regular expressions and no recursion: at worst the product of the two lengths.
 */
export function matchesPattern(pattern: string, path: string): boolean {
  let inPattern = 0;
  let inPath = 0;
  let star = -1;
  let starPath = 0;
  while (inPath < path.length) {
    const wanted = pattern[inPattern];
    if (wanted === '*') {
      star = inPattern++;
      starPath = inPath;
    } else if (wanted !== undefined && (wanted === '?' ? path[inPath] !== '/' : wanted === path[inPath])) {
      inPattern++;
      inPath++;
    } else if (star >= 0 && path[starPath] !== '/') {
      inPattern = star + 1;
      inPath = ++starPath;
    } else return false;
  }
  while (pattern[inPattern] === '*') inPattern++;
  return inPattern === pattern.length;
}

/** SHA-256 of a target path in hex, what hash prefixes and bins go by. */
export function pathHash(path: string): string {
  return hash('sha256', path);
}

/** Whether `delegation` covers `path` (4.5: `paths` or `path_hash_prefixes`, never both). */
export function covers(delegation: Delegation, path: string): boolean {
  if (delegation.paths !== undefined) return delegation.paths.some((pattern) => matchesPattern(pattern, path));
  const digest = pathHash(path);
  return delegation.pathHashPrefixes?.some((prefix) => digest.startsWith(prefix)) ?? false;
}

/** Name of the bin that holds `path` (TAP 15: the first bits of its SHA-256). */
export function binOf(bins: SuccinctBins, path: string): string {
  return binName(bins, Number.parseInt(pathHash(path).slice(0, 8), 16) >>> (32 - bins.bitLength));
}

export function binName(bins: SuccinctBins, number: number): string {
  return `${bins.namePrefix}-${number.toString(16).padStart(suffixLength(bins), '0')}`;
}

export function isBin(bins: SuccinctBins, name: string): boolean {
  if (!name.startsWith(`${bins.namePrefix}-`)) return false;
  const suffix = name.slice(bins.namePrefix.length + 1);
  return (
    suffix.length === suffixLength(bins) && /^[0-9a-f]+$/.test(suffix) && Number.parseInt(suffix, 16) < 2 ** bins.bitLength
  );
}

function suffixLength(bins: SuccinctBins): number {
  return (2 ** bins.bitLength - 1).toString(16).length;
}
