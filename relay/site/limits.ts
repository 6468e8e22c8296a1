// Bounds of the site station, with units.

export const SITE_LIMITS = {
  /** Bytes of a FleetLock request. */
  leaseRequestBytes: 4 * 1024,
  leaseMemoryBytes: 1024 * 1024,
  /** How far the time in a signed request may be from this relay's, milliseconds. */
  requestSkewMs: 600_000,
  /** A lease is written anew only when this much of it has gone, milliseconds. */
  renewAfterMs: 60_000,
  /** Bytes of the files of this station. */
  leaseFileBytes: 16 * 1024 * 1024,
  observedFileBytes: 256 * 1024 * 1024,
  /** Bytes of what the fuse has counted, and reports that are kept. */
  fuseFileBytes: 32 * 1024 * 1024,
  fuseReports: 50_000,
  /**
   * Envelopes kept for the other relays of the site: bytes of one, of all, and of the disk that must stay free. A run's result is
   * some KiB.
   */
  sharedBytes: 1024 * 1024,
  sharedTotalBytes: 256 * 1024 * 1024,
  sharedReserveBytes: 256 * 1024 * 1024,
  /** Envelopes and bytes of one page of them, and bytes of its first line. */
  pageRuns: 128,
  pageBytes: 1024 * 1024,
  runsHeadBytes: 16 * 1024,
  /** Pages read of one sibling in one go; envelopes in these that do not hold, from which on it is left alone for a while. */
  pagesAtOnce: 8,
  refusedAtOnce: 8,
  /** The longest that a sibling which does not answer is left alone, milliseconds. */
  siblingRestMs: 120_000,
  /** Milliseconds between two looks at a sibling when nothing comes here. */
  siblingLookMs: 10_000,
  /** Milliseconds between two writes of what was observed. */
  observedEveryMs: 60_000,
  /** Milliseconds for which a host whose result came here counts as one of this relay's. */
  heardMs: 30 * 86_400_000,
  /** Days of line usage that are kept. */
  usageDays: 35,
  /** Milliseconds for which what was gathered is told again, or so many times what it took to gather. */
  rememberMs: 2_000,
  rememberTimes: 20,
  /** Rows of one table of the page; what is beyond is counted there. */
  rows: 2_000,
} as const;

/** From where on something needs a look. */
export const CONCERNS = {
  /** Share of a file system that is free, and bytes. */
  freeShare: 0.05,
  freeBytes: 1024 ** 3,
  /** Bytes below which envelopes are soon refused. */
  fullBytes: 64 * 1024 ** 2,
  /** Hours that something waits to be passed on. */
  spoolHours: 24,
  /** Hours without a result after which a host counts as silent. */
  silentHours: 72,
  /** Days that the roster's signature is old. */
  rosterDays: 60,
  /** Hours before a window opens for which something is lacking. */
  stagingHours: 2,
  /** Rotten files that are named in one sentence. */
  rotNames: 5,
  /** Hours before the hard expiry. */
  expiryHours: 48,
} as const;
