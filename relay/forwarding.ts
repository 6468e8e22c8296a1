// When results go on: rounds of forwarding, one at a time, the next one sooner or later by how the last one ended.
import type { Clock } from '#manifests/platform/clock';
import type { Log } from '#manifests/platform/log';
import { type ForwardReport, forwardAll, type Hop, type Ledger, type Spool } from './inbox/index.ts';
import { openAlarm, retryMs } from './retry.ts';

export const FORWARDING_LIMITS = {
  /** Milliseconds until it is looked whether something waits, when nothing came; the longest after failures. */
  everyMs: 15_000,
  longestRetryMs: 600_000,
} as const;

export interface ForwardingOptions {
  readonly spool: Spool;
  readonly ledger: Ledger;
  /** In order of preference; with none, nothing is due. */
  readonly hops: readonly Hop[];
  readonly clock: Clock;
  readonly log: Log;
  readonly signal: AbortSignal;
  /** In [0, 1). */
  readonly random: () => number;
  /** Told how many items have gone on. */
  readonly onPassedOn: (items: number) => void;
}

export interface Forwarding {
  /** Brings on all that is here now: what came after the round under way began is brought on by the next one. Never throws. */
  all(): Promise<ForwardReport>;
  /** A round, when it is time for one and none is under way. */
  ifDue(): void;
  /** Rings no more by itself. */
  cancel(): void;
  /** When nothing is under way any more. */
  idle(): Promise<unknown>;
}

export function openForwarding({ spool, ledger, hops, clock, log, signal, random, onPassedOn }: ForwardingOptions): Forwarding {
  let dueAt = 0;
  let failures = 0;
  let running: Promise<ForwardReport> | undefined;
  let following: Promise<ForwardReport> | undefined;

  function round(): Promise<ForwardReport> {
    running ??= forwardAll(spool, ledger, hops, { log, signal })
      .then((report) => {
        failures = report.waiting === 0 ? 0 : failures + 1;
        onPassedOn(report.delivered);
        if (report.waiting > 0) log.warn({ waiting: report.waiting, reasons: report.reasons }, 'results wait to be forwarded');
        else if (report.delivered > 0) log.info({ delivered: report.delivered }, 'results forwarded');
        return report;
      })
      .catch((error: Error) => {
        failures += 1;
        if (!signal.aborted) log.error({ error: error.message }, 'forwarding failed');
        return { delivered: 0, waiting: 0, refused: 0, reasons: [error.message] };
      })
      .finally(() => {
        const { everyMs, longestRetryMs } = FORWARDING_LIMITS;
        const wait = failures === 0 ? everyMs : retryMs(failures, longestRetryMs, random());
        dueAt = clock.monotonic() + wait;
        running = undefined;
        alarm.set(wait);
      });
    return running;
  }

  const ifDue = () => void (hops.length > 0 && !signal.aborted && clock.monotonic() >= dueAt && round());
  const alarm = openAlarm(ifDue);

  return {
    all() {
      if (running === undefined) return round();
      following ??= running.then(() => {
        following = undefined;
        return round();
      });
      return following;
    },
    ifDue,
    cancel: () => alarm.cancel(),
    idle: () => Promise.allSettled([running, following]),
  };
}
