// Services around the switch of a component: stopped before it, started after it, and the old version back in use when they do not
// run with the new one. Which ones ran is written down before the first is stopped, so that a kill anywhere loses none of them.
import * as fs from 'node:fs';
import { join } from 'node:path';
import { pause } from '#manifests/platform/clock';
import { readFileBounded, writeFileAtomic } from '#manifests/platform/files';
import { hostCommand, lastWords } from '../host.ts';
import type { HostContext, ServiceControl } from '../system.ts';
import { componentFolder, currentVersion, switchTo } from './components.ts';

const SERVICE_LIMITS = {
  /** For one stop or start, as systemd itself allows by default. */
  controlMs: 120_000,
  /** A service that dies within this time after its start has not started. */
  settleMs: 2_000,
  stepMs: 200,
  noteBytes: 65_536,
} as const;

/** systemd of the host. */
function systemdOf(context: HostContext): ServiceControl {
  const ask = (...args: string[]) => hostCommand(context, 'systemctl', args, { timeoutMs: SERVICE_LIMITS.controlMs });
  const isActive = async (unit: string) =>
    ['active', 'activating', 'reloading'].includes((await ask('is-active', '--', unit)).stdout.trim());
  return {
    isActive,
    async stop(unit) {
      const result = await ask('stop', '--', unit);
      return result.code === 0 ? undefined : lastWords(result, 300);
    },
    async start(unit) {
      const result = await ask('start', '--', unit);
      if (result.code !== 0) return lastWords(result, 300);
      for (let waited = 0; waited < SERVICE_LIMITS.settleMs; waited += SERVICE_LIMITS.stepMs) {
        await pause(SERVICE_LIMITS.stepMs);
        if (!(await isActive(unit))) return `it ended within ${SERVICE_LIMITS.settleMs / 1000} s of its start`;
      }
      return undefined;
    },
  };
}

const noteOf = (context: HostContext, name: string) => join(componentFolder(context, name), '.services.json');

/** Which of these services run now. */
export async function runningOf(context: HostContext, units: readonly string[]): Promise<string[]> {
  const control = context.services ?? systemdOf(context);
  const running: string[] = [];
  for (const unit of units) if (await control.isActive(unit)) running.push(unit);
  return running;
}

/** Services of a component that ran when its switch began and have not been started again. */
export function interruptedServices(context: HostContext, name: string): string[] | undefined {
  const bytes = readFileBounded(noteOf(context, name), SERVICE_LIMITS.noteBytes);
  if (bytes === undefined) return undefined;
  return (JSON.parse(Buffer.from(bytes).toString('utf8')) as { running: string[] }).running;
}

async function startAll(control: ServiceControl, units: readonly string[]): Promise<string | undefined> {
  for (const unit of units) {
    const problem = (await control.isActive(unit)) ? undefined : await control.start(unit);
    if (problem === undefined) continue;
    const again = await control.start(unit); // once more: a port may not have been free yet
    if (again !== undefined) return `${unit} does not start: ${again}`;
  }
  return undefined;
}

async function stopAll(control: ServiceControl, units: readonly string[]): Promise<string | undefined> {
  for (const unit of units.toReversed()) {
    const problem = (await control.isActive(unit)) ? await control.stop(unit) : undefined;
    if (problem !== undefined) return `${unit} does not stop: ${problem}`;
  }
  return undefined;
}

/**
 * Points a component at another version with its services stopped, and starts those that ran. When one does not run with it, the
 * version of before is back in use and its services run again. May be repeated after a kill.
 * @param alsoStart services that are to run afterwards although they may not run now
 * @returns why it is not in use; undefined when it is
 */
export async function switchWithServices(
  context: HostContext,
  name: string,
  to: string | null,
  units: readonly string[],
  alsoStart: readonly string[] = [],
): Promise<string | undefined> {
  const control = context.services ?? systemdOf(context);
  const note = noteOf(context, name);
  const was = currentVersion(context, name);
  const running = [...new Set([...(interruptedServices(context, name) ?? []), ...alsoStart])];
  for (const unit of units) if (!running.includes(unit) && (await control.isActive(unit))) running.push(unit);
  if (running.length > 0) writeFileAtomic(note, JSON.stringify({ version: 1, running }));
  const held = await stopAll(control, units);
  if (held !== undefined) {
    await startAll(control, running);
    fs.rmSync(note, { force: true });
    return held;
  }
  switchTo(context, name, to);
  const problem = to === null ? undefined : await startAll(control, running);
  if (problem !== undefined) {
    await stopAll(control, units);
    switchTo(context, name, was);
    const back = was === null ? undefined : await startAll(control, running);
    fs.rmSync(note, { force: true });
    const after = back === undefined ? `version ${was ?? 'none'} is back in use` : `and neither with version ${was}: ${back}`;
    return `${problem}; ${after}`;
  }
  fs.rmSync(note, { force: true });
  return undefined;
}

/** Ends what a kill left between the switch and the start. @returns why a service does not run */
export async function finishServices(context: HostContext, name: string): Promise<string | undefined> {
  const running = interruptedServices(context, name);
  if (running === undefined) return undefined;
  const problem = await startAll(context.services ?? systemdOf(context), running);
  if (problem === undefined) fs.rmSync(noteOf(context, name), { force: true });
  return problem;
}
