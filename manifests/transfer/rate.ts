// How fast a line may be used: a token bucket whose rate may change from moment to moment. Time is passed in.

export const RATE_LIMITS = {
  /** Milliseconds of unused rate that may be used at once later. */
  burstMs: 1_000,
  /** Bytes that may always go at once, however slow the line. */
  burstBytes: 16 * 1024,
} as const;

export interface Rate {
  /** Notes that `bytes` were used; gives the milliseconds to wait before more are. */
  take(bytes: number): number;
}

/**
 * @param bytesPerSecond the rate at this moment; undefined is no limit
 * @param now monotonic milliseconds
 */
export function openRate(bytesPerSecond: () => number | undefined, now: () => number): Rate {
  let tokens = 0;
  let at = now();
  let started = false;
  return {
    take(bytes) {
      const rate = bytesPerSecond();
      const then = at;
      at = now();
      if (rate === undefined) {
        tokens = 0;
        return 0;
      }
      const most = Math.max(RATE_LIMITS.burstBytes, (rate * RATE_LIMITS.burstMs) / 1_000);
      tokens = started ? Math.min(most, tokens + (rate * (at - then)) / 1_000) : most;
      started = true;
      tokens -= bytes;
      return tokens >= 0 ? 0 : (-tokens / rate) * 1_000;
    },
  };
}
