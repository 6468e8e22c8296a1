// Checks and fixes that ask the host's own services: what keeps the clock, the journal's size; and the line as the agent knows it.
import { type RunResult, run } from '#manifests/platform/process';
import type { FixOutcome } from '../packages/index.ts';
import type { HostCheck, HostLook } from './check.ts';

const SERVICE_LIMITS = {
  askMs: 10_000,
  vacuumMs: 120_000,
  /** Of the journal, what always stays. */
  journalKept: '64M',
} as const;

/** Runs a program of the host; undefined when it is not there. */
export type Ask = (command: string, args: readonly string[], timeoutMs: number) => Promise<RunResult | undefined>;

export const askHost: Ask = (command, args, timeoutMs) => run(command, args, { timeoutMs }).catch(() => undefined);

/** Services that keep a clock, as Debian, Red Hat and others name them, in the order in which one is started. */
const TIME_SERVICES = ['chrony', 'chronyd', 'ntpsec', 'ntp', 'ntpd', 'openntpd', 'systemd-timesyncd'] as const;

export async function checkClock({ policy, clock }: HostLook, ask: Ask = askHost): Promise<HostCheck> {
  const said = await ask('timedatectl', ['show', '--property=NTPSynchronized', '--value'], SERVICE_LIMITS.askMs);
  const kept = said?.stdout.trim() === 'yes' ? 'kept by a time service' : 'no time service keeps it';
  return {
    name: 'clock',
    ok: clock === 'ok',
    blocks: policy.clock === 'refuse',
    says: `${clock === 'ok' ? 'agrees with signed times' : `is ${clock} of signed times`}, ${kept}`,
    retryLater: true,
  };
}

export function checkLine({ policy, line: { metered, says } }: HostLook): HostCheck {
  return {
    name: 'line',
    ok: !metered,
    blocks: policy.meteredLine === 'refuse',
    says: `${metered ? 'it is metered' : 'it is not metered, as far as is known'} (${says})`,
    retryLater: true,
  };
}

/** The fix `start-time-service`. */
export async function startTimeService(ask: Ask = askHost): Promise<FixOutcome> {
  for (const service of TIME_SERVICES) {
    const unit = `${service}.service`;
    const known = await ask('systemctl', ['list-unit-files', '--no-legend', '--no-pager', unit], SERVICE_LIMITS.askMs);
    const state = /^\S+\s+(\S+)/.exec(known?.stdout.trim() ?? '')?.[1];
    if (state === undefined || state === 'masked') continue; // not there, or its owner does not want it
    const started = await ask('systemctl', ['start', unit], SERVICE_LIMITS.askMs);
    const active = await ask('systemctl', ['is-active', unit], SERVICE_LIMITS.askMs);
    if (active?.stdout.trim() === 'active') return { outcome: 'done', says: `${unit} runs` };
    return { outcome: 'failed', says: `${unit} does not start: ${started?.stderr.trim().slice(-300) ?? ''}` };
  }
  return { outcome: 'nothing', says: 'no time service is installed on this host' };
}

/** The fix `vacuum-journal`. */
export async function vacuumJournal(ask: Ask = askHost): Promise<FixOutcome> {
  const said = await ask('journalctl', [`--vacuum-size=${SERVICE_LIMITS.journalKept}`], SERVICE_LIMITS.vacuumMs);
  if (said === undefined) return { outcome: 'nothing', says: 'this host has no systemd journal' };
  if (said.code !== 0) return { outcome: 'failed', says: said.stderr.trim().slice(-300) };
  const freed = [...said.stderr.matchAll(/freed (\S+) of archived/g)]
    .map(([, size]) => size ?? '0B')
    .filter((size) => size !== '0B');
  return freed.length === 0
    ? { outcome: 'nothing', says: `the journal is not longer than ${SERVICE_LIMITS.journalKept}` }
    : { outcome: 'done', says: `freed ${freed.join(' and ')} of the journal` };
}
