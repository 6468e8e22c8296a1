// The three components as a person starts them: commands with the Node that runs us, services in the background.
import { join, resolve } from 'node:path';
import { type Launched, launch, type RunResult, run } from '#manifests/platform/process';

export const PROJECT = resolve(import.meta.dirname, '../..');

const COMMAND_MS = 600_000;

export type ComponentName = 'publisher' | 'relay' | 'agent';

/** Runs a command of a component. `accept` lists the exit codes that are no failure. */
export async function command(
  component: ComponentName,
  args: readonly string[],
  accept: readonly number[] = [0, 3],
): Promise<RunResult> {
  const result = await run(process.execPath, [join(PROJECT, component, 'main.ts'), ...args], { timeoutMs: COMMAND_MS });
  if (!accept.includes(result.code ?? -1)) {
    throw new Error(
      `${component} ${args.join(' ')} ended with ${result.code ?? result.signal}:\n${result.stdout}${result.stderr}`,
    );
  }
  return result;
}

/** As `command` with `--json`, parsed. */
export async function report<T>(component: ComponentName, args: readonly string[], accept?: readonly number[]): Promise<T> {
  return JSON.parse((await command(component, [...args, '--json'], accept)).stdout) as T;
}

/** Starts a component's service in the background. */
export function service(component: ComponentName, args: readonly string[], logFile: string): Promise<Launched> {
  return launch(process.execPath, [join(PROJECT, component, 'main.ts'), ...args], { logFile });
}

/** Asks again and again until `probe` gives something, for at most `seconds`. */
export async function until<T>(what: string, seconds: number, probe: () => Promise<T | undefined> | T | undefined): Promise<T> {
  const end = performance.now() + seconds * 1000;
  for (;;) {
    const found = await probe();
    if (found !== undefined) return found;
    if (performance.now() > end) throw new Error(`waited ${seconds} s for ${what}, in vain`);
    await new Promise((resolve) => setTimeout(resolve, 250));
  }
}
