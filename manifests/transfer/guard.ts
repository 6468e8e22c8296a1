// The watch over one request: time to the headers, then a minimum rate (S13 slow retrieval), and the caller's own abort.
import { fault, type TransferLimits } from './origin.ts';

export interface Guard {
  /** Aborts the request, with the reason as error. */
  readonly signal: AbortSignal;
  gotHeaders(): void;
  gotBytes(count: number): void;
  /** While true, nothing is expected. */
  hold(held: boolean): void;
  end(): void;
}

/** Starts watching a request; `end` must be called. */
export function guard(where: string, limits: TransferLimits, outer: AbortSignal | undefined): Guard {
  const controller = new AbortController();
  const stop = (reason: unknown) => controller.abort(reason);
  const onOuter = () => stop(outer?.reason ?? new Error('aborted'));
  if (outer?.aborted) onOuter();
  outer?.addEventListener('abort', onOuter, { once: true });

  const least = (limits.minimumBytesPerSecond * limits.windowMs) / 1000;
  let inWindow = 0;
  let held = false;
  let window: NodeJS.Timeout | undefined;
  const headers = setTimeout(
    () => stop(fault('timeout', `${where} sent no answer within ${limits.connectMs + limits.headersMs} ms`, { where })),
    limits.connectMs + limits.headersMs,
  );
  return {
    signal: controller.signal,
    gotHeaders() {
      clearTimeout(headers);
      window = setInterval(() => {
        if (inWindow < least && !held) {
          stop(fault('slow', `${where} sends less than ${limits.minimumBytesPerSecond} bytes a second`, { where }));
        }
        inWindow = 0;
      }, limits.windowMs);
    },
    gotBytes(count) {
      inWindow += count;
    },
    hold(now) {
      held = now;
      inWindow += least; // the window that this falls into is not judged
    },
    end() {
      clearTimeout(headers);
      clearInterval(window);
      outer?.removeEventListener('abort', onOuter);
    },
  };
}
