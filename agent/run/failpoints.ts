// Named places where tests make a run die, fail or run out of disk. Armed only when the settings say `testing.failPoints`.
import { RUN_STATES } from './states.ts';

/** Every fail point: before and after the act of each state, and around the one transaction that ends a run. */
export const FAIL_POINTS: readonly string[] = [
  ...RUN_STATES.flatMap((state) => [`${state}.entered`, `${state}.done`]),
  'Precheck.fix',
  'Install.batch',
  'Install.middle',
  'Install.restoring',
  'Rollback.middle',
  'RootSwitch.made',
  'RootSwitch.noted',
  'RootSwitch.carried',
  'RootSwitch.still',
  'RootSwitch.switched',
  'result.before',
  'result.after',
  'outbox.sealed',
  'outbox.posted',
];

export type FailPoint = (name: string) => void;

/** A fail point function that does nothing: what every real run has. */
export const noFailPoints: FailPoint = () => undefined;

/**
 * Reads `NAME`, `NAME:kill`, `NAME:fail` or `NAME:enospc` (from PATCHFERRY_FAILPOINT); `allowed` is the setting.
 * `kill` ends the process as a power cut would: no handler runs, nothing is flushed.
 */
export function armFailPoints(text: string | undefined, allowed: boolean): FailPoint {
  if (!allowed || text === undefined || text === '') return noFailPoints;
  const [armed, action = 'kill'] = text.split(':');
  if (armed === undefined || !FAIL_POINTS.includes(armed)) throw new TypeError(`PATCHFERRY_FAILPOINT: unknown place ${text}`);
  let fired = false;
  return (name) => {
    if (name !== armed || fired) return;
    fired = true;
    if (action === 'kill') {
      process.kill(process.pid, 'SIGKILL');
      Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 10_000); // the signal arrives meanwhile
    }
    if (action === 'enospc') {
      throw Object.assign(new Error(`ENOSPC: no space left on device (fail point ${name})`), { code: 'ENOSPC' });
    }
    throw new Error(`fail point ${name}`);
  };
}
