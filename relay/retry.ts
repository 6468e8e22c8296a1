// When something that failed is tried again: back-off with full jitter, so that the relays of a line that came back do not all
// come at once, and the first try is soon. Pure, and a clock that rings.

export const RETRY_LIMITS = {
  /** Milliseconds before which nothing is tried again. */
  leastMs: 2_000,
  /** The longest that the first try may wait, milliseconds; doubled with each further failure, up to what is given. */
  firstMs: 5_000,
} as const;

/**
 * Milliseconds until the next try: anywhere between the least and a bound that doubles ("full jitter").
 * @param failures in a row, at least one @param longestMs the bound never grows beyond it @param random in [0, 1)
 */
export function retryMs(failures: number, longestMs: number, random: number): number {
  const bound = Math.min(longestMs, RETRY_LIMITS.firstMs * 2 ** Math.min(failures - 1, 20));
  const least = Math.min(RETRY_LIMITS.leastMs, bound);
  return Math.round(least + (bound - least) * random);
}

/** Calls once, so many milliseconds after it was last set; keeps no process alive. */
export interface Alarm {
  set(milliseconds: number): void;
  cancel(): void;
}

export function openAlarm(ring: () => void): Alarm {
  let timer: NodeJS.Timeout | undefined;
  const cancel = () => clearTimeout(timer);
  return {
    set(milliseconds) {
      cancel();
      timer = setTimeout(ring, Math.min(Math.ceil(milliseconds) + 1, 2 ** 31 - 1)); // never before its time
      timer.unref();
    },
    cancel,
  };
}
