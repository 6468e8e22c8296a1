// Time as it is passed around: the wall clock for what is written down, the monotonic one for how long something took.

export interface Clock {
  /** Milliseconds since 1970-01-01T00:00:00Z by the host's clock, which may be wrong; see trusted time in `trust`. */
  now(): number;
  /** Milliseconds that only move forward; meaningful as a difference only. */
  monotonic(): number;
}

export const systemClock: Clock = { now: () => Date.now(), monotonic: () => performance.now() };

/** A moment in files and metadata: UTC, to the second, `YYYY-MM-DDTHH:MM:SSZ` (TUF specification 1.0.31, 4.2). */
export function utcSeconds(milliseconds: number): string {
  return `${new Date(milliseconds).toISOString().slice(0, 19)}Z`;
}

/** Resolves after `milliseconds`, or rejects at once when `signal` aborts. For waits that retry or pace, never for tests. */
export function pause(milliseconds: number, signal?: AbortSignal): Promise<void> {
  return new Promise((resolve, reject) => {
    if (signal?.aborted) return reject(signal.reason as Error);
    const onAbort = () => {
      clearTimeout(timer);
      reject(signal?.reason as Error);
    };
    const timer = setTimeout(() => {
      signal?.removeEventListener('abort', onAbort);
      resolve();
    }, milliseconds);
    signal?.addEventListener('abort', onAbort, { once: true });
  });
}
