// Health checks and hooks as processes, units and connections of the real host. Whatever goes wrong is an answer, not an error.
import { connect } from 'node:net';
import { run } from '#manifests/platform/process';
import type { HealthCheck, Hook } from '#manifests/schema';
import { type HookCame, LATER_EXIT } from '../run/index.ts';

/** Kept of what a check or hook prints, bytes. */
const OUTPUT_BYTES = 65_536;
/** Shown of it, characters. */
const SHOWN = 1_000;
const UNIT_PAUSE_MS = 200;
const SYSTEMCTL_MS = 10_000;

export interface Healthy {
  readonly healthy: boolean;
  readonly says: string;
}

/** One check to its end; one that cannot be made is not healthy. */
export async function checkHealth(check: HealthCheck, signal: AbortSignal): Promise<Healthy> {
  const timeoutMs = check.timeoutSeconds * 1000;
  try {
    if (check.command !== undefined) return await byCommand(check.command, timeoutMs, signal);
    if (check.unit !== undefined) return await byUnit(check.unit, timeoutMs, signal);
    if (check.connect !== undefined) return await byConnection(check.connect, timeoutMs, signal);
    if (check.url !== undefined) return await byAnswer(check.url, check.status ?? 200, timeoutMs, signal);
    return { healthy: false, says: 'this version does not know this kind of check' };
  } catch (cause) {
    return { healthy: false, says: (cause as Error).message };
  }
}

function described(result: Awaited<ReturnType<typeof run>>, timeoutMs: number): string {
  const said = `${result.stdout}\n${result.stderr}`.trim().slice(-SHOWN);
  const how = result.timedOut
    ? `no answer within ${timeoutMs / 1000} s`
    : result.code === 0
      ? 'passed'
      : `ended with ${result.code ?? result.signal}`;
  return said === '' ? how : `${how}: ${said}`;
}

async function byCommand([command = '', ...args]: readonly string[], timeoutMs: number, signal: AbortSignal): Promise<Healthy> {
  const result = await run(command, args, { timeoutMs, outputBytes: OUTPUT_BYTES, signal });
  return { healthy: result.code === 0 && !result.timedOut, says: described(result, timeoutMs) };
}

/** A unit that is still starting is waited for; one that failed or is not there is not. */
async function byUnit(unit: string, timeoutMs: number, signal: AbortSignal): Promise<Healthy> {
  const until = performance.now() + timeoutMs;
  for (;;) {
    const { stdout } = await run('systemctl', ['is-active', '--', unit], { timeoutMs: SYSTEMCTL_MS, signal });
    const state = stdout.trim() || 'unknown';
    const starting = state === 'activating' || state === 'reloading';
    if (!starting || performance.now() > until || signal.aborted)
      return { healthy: state === 'active', says: `${unit} is ${state}` };
    await new Promise((resolve) => setTimeout(resolve, UNIT_PAUSE_MS));
  }
}

function byConnection(target: string, timeoutMs: number, signal: AbortSignal): Promise<Healthy> {
  const colon = target.lastIndexOf(':');
  const host = target.slice(0, colon).replace(/^\[(.*)\]$/, '$1');
  return new Promise((resolve) => {
    const socket = connect({ host, port: Number(target.slice(colon + 1)), signal });
    const end = (healthy: boolean, says: string) => {
      socket.destroy();
      resolve({ healthy, says });
    };
    socket.setTimeout(timeoutMs, () => end(false, `${target} did not answer within ${timeoutMs / 1000} s`));
    socket.once('connect', () => end(true, `${target} takes connections`));
    socket.once('error', (error) => end(false, error.message));
  });
}

async function byAnswer(url: string, status: number, timeoutMs: number, signal: AbortSignal): Promise<Healthy> {
  const limit = AbortSignal.timeout(timeoutMs);
  try {
    const answer = await fetch(url, { redirect: 'manual', signal: AbortSignal.any([signal, limit]) });
    await answer.body?.cancel();
    return {
      healthy: answer.status === status,
      says: `${url} answered ${answer.status}${answer.status === status ? '' : `, not ${status}`}`,
    };
  } catch (cause) {
    const { message, cause: deeper } = cause as Error;
    const why = limit.aborted ? `no answer within ${timeoutMs / 1000} s` : deeper instanceof Error ? deeper.message : message;
    return { healthy: false, says: `${url}: ${why}` };
  }
}

/** Runs one hook to its end. Its time-out stops all that it started. */
export async function runHook(
  { command: [command = '', ...args], timeoutSeconds }: Hook,
  environment: Readonly<Record<string, string>>,
  signal: AbortSignal,
): Promise<HookCame> {
  const timeoutMs = timeoutSeconds * 1000;
  try {
    const { PATH = '/usr/sbin:/usr/bin:/sbin:/bin', HOME = '/root' } = process.env;
    const env = { PATH, HOME, LC_ALL: 'C.UTF-8', ...environment };
    const result = await run(command, args, { timeoutMs, outputBytes: OUTPUT_BYTES, signal, env });
    const how = result.timedOut ? 'failed' : result.code === 0 ? 'done' : result.code === LATER_EXIT ? 'later' : 'failed';
    return { how, says: described(result, timeoutMs) };
  } catch (cause) {
    return { how: 'failed', says: (cause as Error).message };
  }
}
