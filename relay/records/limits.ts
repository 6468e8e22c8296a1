// Bounds of the records station, with units, and its error codes.
import { defineFaults, EXIT } from '#manifests/errors';

export const RECORDS_LIMITS = {
  /** Bytes of one record as it is posted. */
  recordBytes: 256 * 1024,
  /** Bytes of records in memory at a time. */
  memoryBytes: 8 * 1024 * 1024,
  /** Records that wait for the next hop: all, and of one key. */
  waiting: 2_000,
  waitingOfOne: 500,
  /** Halts kept of a site, in force or not, and records of drops that are kept to be shown. */
  halts: 100,
  gaps: 500,
  /** Milliseconds after which a halt that counts no more is forgotten here. */
  overMs: 30 * 86_400_000,
} as const;

export const fault = defineFaults('records', {
  'not-allowed': {
    exit: EXIT.refused,
    next: 'Publish a delegation of this site that gives `halt` and names the card of this relay, and let this relay sync.',
  },
  'unknown-agent': {
    exit: EXIT.refused,
    next: 'Let this relay sync; a record about an agent of another fleet is never taken.',
  },
  'too-many': { exit: EXIT.unreachable, next: 'Try again when those that wait have gone on.' },
  full: { exit: EXIT.unreachable, next: 'Keep it and try again later; free space on this relay.' },
});
