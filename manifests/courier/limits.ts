// Bounds of the courier's loops, each with its unit.

export const COURIER_LIMITS = {
  /** Version of a root up to which a stick's roots are followed. */
  roots: 10_000,
  /** Bytes of a small file of ours: state, keys, notes. */
  smallBytes: 64 * 1024 * 1024,
  /** Payloads in one missing list. */
  missing: 200_000,
  /** Days a bundle from a closed side holds: it waits for a courier. */
  returnDays: 400,
  /** Returns whose items are remembered until they are acknowledged. */
  openReturns: 1_000,
} as const;
