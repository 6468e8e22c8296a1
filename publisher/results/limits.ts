// Bounds of the collector and its store, in one place.

export const RESULT_LIMITS = {
  /** Envelopes stored in one transaction. */
  batchEnvelopes: 1_000,
  /** Bytes of envelopes held in memory for one transaction. */
  batchBytes: 32 * 1024 * 1024,
  /** Bodies longer than this (bytes) are kept compressed. */
  plainBodyBytes: 4_096,
  /** Entries named one by one in a collect report for each heading; the counts are always whole. */
  reportEntries: 1_000,
  /** Gaps and forks kept by name for one agent; their number is always whole. */
  chainEntries: 100,
  /** Enrolments without a valid activation code that may wait for an answer at once; further ones stay in the inbox. */
  pendingUnproven: 10_000,
  /** Bytes of one file in the pending folder. */
  pendingBytes: 65_536,
  /** Waiver requests looked at, and runs that history is reckoned from. */
  requests: 20_000,
  runs: 20_000,
  /** Milliseconds to wait for another reader or writer of the store. */
  busyMs: 10_000,
} as const;
