// Long sleep: that this host was off or asleep through several polls is noticed, told when windows were missed by it, and kept,
// so that a window whose policy says so is made up for once (manifests/decide/catch-up.ts decides that).
import { catchUp, type Wake } from '#manifests/decide';
import { utcSeconds } from '#manifests/platform/clock';
import type { MaintenanceWindow } from '#manifests/schema';
import type { Journal } from '../run/index.ts';

const WAKE = 'wake';
const TOLD = 'wake.told';
const HOUR_MS = 3_600_000;
/** Fewer missed polls than this are a reboot or a slow line. */
const LEAST_POLLS = 3;

/** Whether so many milliseconds off or asleep are a long sleep to a host that polls so often. */
export function isSleep(ms: number, pollMs: number): boolean {
  return ms >= HOUR_MS && ms >= LEAST_POLLS * pollMs;
}

/** Notes a time off or asleep, when it was long enough. All are milliseconds. @returns whether the host counts as having slept */
export function noteSleep(journal: Journal, asleepSince: number, wokeAt: number, pollMs: number): boolean {
  if (!isSleep(wokeAt - asleepSince, pollMs)) return false;
  journal.setMeta(WAKE, JSON.stringify({ asleepSince, wokeAt, ranSince: false, handedOver: false } satisfies Wake));
  return true;
}

/** The last long sleep, as the decision wants it; null when there was none. */
export function wakeOf(journal: Pick<Journal, 'meta'>): Wake | null {
  const text = journal.meta(WAKE);
  return text === undefined ? null : (JSON.parse(text) as Wake);
}

/** A run has ended: nothing is left to make up for. */
export function noteRun(journal: Journal): void {
  const wake = wakeOf(journal);
  if (wake !== null && !wake.ranSince) journal.setMeta(WAKE, JSON.stringify({ ...wake, ranSince: true }));
}

/** Given to its user: what was to be done before that is done. */
export function noteHandedOver(journal: Pick<Journal, 'meta' | 'setMeta'>): void {
  const wake = wakeOf(journal);
  if (wake !== null && !wake.handedOver) journal.setMeta(WAKE, JSON.stringify({ ...wake, handedOver: true }));
}

/** What is to be told of a sleep that has not been told yet; undefined where it cost no window. */
export function missedBySleep(journal: Journal, windows: readonly MaintenanceWindow[], zone: string): string | undefined {
  const wake = wakeOf(journal);
  if (wake === null || journal.meta(TOLD) === String(wake.wokeAt)) return undefined;
  const { missed, window } = catchUp(windows, wake, wake.wokeAt, zone);
  if (missed === 0) return undefined;
  journal.setMeta(TOLD, String(wake.wokeAt));
  const then = window === null ? 'the next one is waited for' : `made up for until ${utcSeconds(window.closesAt)}`;
  return `off or asleep from ${utcSeconds(wake.asleepSince)} to ${utcSeconds(wake.wokeAt)}: ${missed} windows were missed; ${then}`;
}
