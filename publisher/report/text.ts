// Words that all renderings share.
import type { Verdict } from './schema.ts';

export const VERDICT_WORDS: Readonly<Record<Verdict, string>> = {
  compliant: 'compliant',
  'non-compliant': 'not compliant',
  stale: 'stale',
  'never-reported': 'never reported',
  disputed: 'disputed',
};
