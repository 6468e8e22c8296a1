// Limits of the inbox, with units, and its error codes.
import { defineFaults, EXIT } from '#manifests/errors';

export const INBOX_LIMITS = {
  /** Bytes of one envelope. */
  envelopeBytes: 16 * 1024 * 1024,
  /** Bytes of bodies in memory at a time, for each kind. */
  memoryBytes: 64 * 1024 * 1024,
  /** Enrolments that wait at a time, and of one agent. */
  enrolments: 10_000,
  enrolmentsOfOne: 4,
  /**
   * Milliseconds after which an envelope of the journal that has not gone on gets its own file; how many at a time when none came
   * for so long, and otherwise.
   */
  placeAfterMs: 1_000,
  quietMs: 100,
  placeAtOnce: 128,
  placeWhenBusy: 8,
  /** Envelopes without a file of their own, and their bytes, from which each that comes gives others theirs. */
  backlog: 100_000,
  backlogBytes: 128 * 1024 * 1024,
  /** Milliseconds of quiet until files are flushed and the journal is emptied, at the latest; files that may wait for that. */
  settleAfterMs: 1_500,
  settleAtLatestMs: 30_000,
  unsettled: 50_000,
  /** Files up to which each is flushed by itself; more are flushed with their whole file system, within so many milliseconds. */
  flushOneByOne: 64,
  flushMs: 300_000,
  /** Milliseconds that a stop takes for giving files to what has none, and for flushing them; the rest stays in the journal. */
  closePlaceMs: 1_000,
  closeFlushMs: 2_000,
  /** Milliseconds by which the time of a file may lie before the clock's: kernels count it in ticks. */
  fileTickMs: 20,
  /** Bytes of the disk that are left free, so that what must be written can be. */
  reserveBytes: 64 * 1024 * 1024,
  /** Milliseconds between two looks at the disk; after which the spool is counted anew; the same when it seems full. */
  diskLookMs: 1_000,
  countMs: 3_600_000,
  recountMs: 2_000,
  /** Share of the quota that is made free beyond what is needed, and results that go in one go at most. */
  slackShare: 0.05,
  /** Share of the quota that must be free before an agent is asked for what was dropped, and runs of sequences it is told of. */
  againShare: 0.25,
  againRuns: 32,
  dropAtOnce: 5_000,
  /** Milliseconds after which a result that went on and comes again goes on again: the next hop may be lost for good. */
  ledgerMs: 5 * 3_600_000,
  /** Entries of the ledger of what went on, the newest; what is forgotten goes on again and is recognised by the collector. */
  ledgerEntries: 200_000,
  /** Entries of one of its files. */
  ledgerSegment: 50_000,
  /** Agents whose results are forwarded at the same time; one agent's go in order. */
  parallelAgents: 4,
} as const;

export const fault = defineFaults('inbox', {
  malformed: { exit: EXIT.refused, next: 'Send an envelope as it was sealed.' },
  kind: { exit: EXIT.refused, next: 'Send results to /inbox/results and enrolments to /inbox/enrolments.' },
  'unknown-agent': { exit: EXIT.refused, next: 'Enrol this agent, have the publisher approve it, and let this relay sync.' },
  'revoked-agent': { exit: EXIT.refused, next: 'The publisher revoked this agent; enrol it anew if it shall come back.' },
  signature: {
    exit: EXIT.refused,
    next: 'Only the agent itself can sign its results; look for a clone or a fault on the way.',
  },
  'no-roster': { exit: EXIT.unreachable, next: 'This relay has not synced yet; try again later or use another relay.' },
  full: { exit: EXIT.unreachable, next: 'Keep it and try again later or at another relay; free space on this one.' },
  dropped: {
    exit: EXIT.unreachable,
    next: 'Keep it and try again later or at another relay; what comes after it may be sent before it.',
  },
  'too-many': { exit: EXIT.unreachable, next: 'Try again after the publisher has collected the enrolments that wait.' },
  'no-folder': { exit: EXIT.unreachable, next: 'Make the inbox folder, or mount its medium; it is never made by itself.' },
});

/** What a relay says to bytes that it will never take; anything else may change (a roster that lags, a full disk). */
export const FOR_GOOD: readonly string[] = [
  'inbox.malformed',
  'inbox.kind',
  'inbox.signature',
  'inbox.revoked-agent',
  'serve.too-large',
  'record.malformed',
  'record.signature',
];

/** What is said of one item alone and holds none behind it up: these, and what is not taken for good. */
export const ALONE = 'inbox.dropped';
