// Words that all renderings share.
import type { Verdict } from './schema.ts';

export const VERDICT_WORDS: Readonly<Record<Verdict, string>> = {
  compliant: 'compliant',
  'non-compliant': 'not compliant',
  stale: 'stale',
  'never-reported': 'never reported',
  disputed: 'disputed',
};

/** How a halt of a site stands. */
export const HALT_WORDS = {
  'in-force': 'in force',
  over: 'has ended',
  lifted: 'lifted by the publisher',
  refused: 'not heeded: policy does not allow it',
} as const;

/** Sequence numbers, the first few runs with the rest counted. */
export function rangesText(ranges: ReadonlyArray<{ readonly from: number; readonly to: number }>): string {
  const shown = ranges.slice(0, 8).map(({ from, to }) => (from === to ? String(from) : `${from}\u2013${to}`));
  return shown.join(', ') + (ranges.length > 8 ? ` and ${ranges.length - 8} more` : '');
}

/** Whose record it is. */
export function relayText(site: string | null, delegated: boolean): string {
  const of = site === null ? 'a relay without a site' : `a relay of ${site}`;
  return delegated ? of : `${of}, which no delegation names`;
}
