// Other programs: an argument array (never a shell), a time-out that kills the whole process group, bounded output.
import { spawn } from 'node:child_process';
import { closeSync, openSync } from 'node:fs';
import { defineFaults, EXIT } from '#manifests/errors';

const fault = defineFaults('process', {
  missing: { exit: EXIT.usage, next: 'Install the program named here, or correct its path in the settings.' },
  failed: { exit: EXIT.findings, next: 'Read what the program printed; run it by hand with the same arguments.' },
});

export const PROCESS_LIMITS = {
  /** Kept of each of stdout and stderr; what goes beyond is counted and dropped. */
  outputBytes: 4 * 1024 * 1024,
  /** From SIGTERM to SIGKILL for a group that ran out of time. */
  graceMs: 5_000,
} as const;

export interface RunOptions {
  /** After this many milliseconds the whole process group is stopped. Required: nothing runs without an end. */
  readonly timeoutMs: number;
  readonly cwd?: string | undefined;
  /** The whole environment of the program; when absent, ours with `LC_ALL=C.UTF-8` so that output can be parsed. */
  readonly env?: Readonly<Record<string, string>> | undefined;
  readonly input?: Uint8Array | string | undefined;
  readonly outputBytes?: number | undefined;
  readonly signal?: AbortSignal | undefined;
  /** Sees output as it comes, for progress. */
  readonly onOutput?: ((text: string, stream: 'stdout' | 'stderr') => void) | undefined;
}

export interface RunResult {
  /** Exit code, or null when a signal ended it. */
  readonly code: number | null;
  readonly signal: NodeJS.Signals | null;
  readonly stdout: string;
  readonly stderr: string;
  readonly timedOut: boolean;
  readonly droppedBytes: number;
  readonly durationMs: number;
}

/** Runs a program to its end. A non-zero exit is a result, not an error. @throws process.missing when it cannot start */
export function run(command: string, args: readonly string[], options: RunOptions): Promise<RunResult> {
  return new Promise((resolve, reject) => {
    const started = performance.now();
    const limit = options.outputBytes ?? PROCESS_LIMITS.outputBytes;
    const child = spawn(command, [...args], {
      cwd: options.cwd,
      env: options.env ?? { ...process.env, LC_ALL: 'C.UTF-8' },
      stdio: [options.input === undefined ? 'ignore' : 'pipe', 'pipe', 'pipe'],
      detached: process.platform !== 'win32', // its own process group, so that children of children can be stopped too
      shell: false,
      windowsHide: true,
    });
    const kept = { stdout: [] as Buffer[], stderr: [] as Buffer[] };
    const sizes = { stdout: 0, stderr: 0 };
    let droppedBytes = 0;
    let timedOut = false;

    const killGroup = (signal: NodeJS.Signals) => {
      try {
        if (child.pid === undefined) return;
        if (process.platform === 'win32') child.kill(signal);
        else process.kill(-child.pid, signal);
      } catch {
        // already gone
      }
    };
    let hardTimer: NodeJS.Timeout | undefined;
    const stop = () => {
      killGroup('SIGTERM');
      hardTimer = setTimeout(() => {
        killGroup('SIGKILL');
        child.stdout?.destroy();
        child.stderr?.destroy();
      }, PROCESS_LIMITS.graceMs);
    };
    const timer = setTimeout(() => {
      timedOut = true;
      stop();
    }, options.timeoutMs);
    const onAbort = () => stop();
    options.signal?.addEventListener('abort', onAbort, { once: true });

    for (const stream of ['stdout', 'stderr'] as const) {
      child[stream]?.on('data', (chunk: Buffer) => {
        options.onOutput?.(chunk.toString('utf8'), stream);
        const room = limit - sizes[stream];
        if (room <= 0) droppedBytes += chunk.length;
        else {
          kept[stream].push(chunk.length > room ? chunk.subarray(0, room) : chunk);
          sizes[stream] += Math.min(chunk.length, room);
          droppedBytes += Math.max(0, chunk.length - room);
        }
      });
    }
    child.stdin?.on('error', () => undefined); // it may end before it read everything
    if (options.input !== undefined) child.stdin?.end(options.input);

    const cleanUp = () => {
      clearTimeout(timer);
      clearTimeout(hardTimer);
      options.signal?.removeEventListener('abort', onAbort);
    };
    child.once('error', (cause) => {
      cleanUp();
      reject(fault('missing', `cannot start ${command}: ${cause.message}`, { where: command, cause }));
    });
    child.once('close', (code, signal) => {
      cleanUp();
      if (timedOut) killGroup('SIGKILL'); // whoever of the group outlived the leader
      resolve({
        code,
        signal,
        stdout: Buffer.concat(kept.stdout).toString('utf8'),
        stderr: Buffer.concat(kept.stderr).toString('utf8'),
        timedOut,
        droppedBytes,
        durationMs: performance.now() - started,
      });
    });
  });
}

/** As `run`, but anything else than exit 0 is an error that carries the end of what the program said. @throws process.failed */
export async function runOrThrow(command: string, args: readonly string[], options: RunOptions): Promise<RunResult> {
  const result = await run(command, args, options);
  if (result.code === 0 && !result.timedOut) return result;
  const how = result.timedOut ? `did not end within ${options.timeoutMs} ms` : `ended with ${result.code ?? result.signal}`;
  const said = (result.stderr.trim() || result.stdout.trim()).slice(-2_000);
  throw fault('failed', `${command} ${how}${said === '' ? '' : `: ${said}`}`, {
    where: [command, ...args].join(' ').slice(0, 500),
  });
}

export interface Launched {
  readonly pid: number;
  /** Resolves with exit code or signal when it has ended, whoever ended it. */
  readonly ended: Promise<{ code: number | null; signal: NodeJS.Signals | null }>;
  /** Signals the whole process group; nothing happens when it is gone. */
  kill(signal: NodeJS.Signals): void;
}

/** Starts a program that goes on by itself, in a process group of its own; its output is appended to `logFile`. @throws process.missing */
export async function launch(
  command: string,
  args: readonly string[],
  options: { logFile: string; cwd?: string; env?: Readonly<Record<string, string>> },
): Promise<Launched> {
  const log = openSync(options.logFile, 'a', 0o600);
  try {
    const child = spawn(command, [...args], {
      cwd: options.cwd,
      env: options.env ?? process.env,
      stdio: ['ignore', log, log],
      detached: process.platform !== 'win32',
      shell: false,
    });
    const ended = new Promise<{ code: number | null; signal: NodeJS.Signals | null }>((resolve) => {
      child.once('exit', (code, signal) => resolve({ code, signal }));
    });
    await new Promise<void>((resolve, reject) => {
      child.once('spawn', resolve);
      child.once('error', (cause) =>
        reject(fault('missing', `cannot start ${command}: ${cause.message}`, { where: command, cause })),
      );
    });
    const pid = child.pid ?? 0;
    const kill = (signal: NodeJS.Signals) => {
      try {
        process.kill(process.platform === 'win32' ? pid : -pid, signal);
      } catch {
        // already gone
      }
    };
    return { pid, ended, kill };
  } finally {
    closeSync(log);
  }
}

export interface Piped {
  /** What the program prints, as it comes; reading slowly makes the program wait. Leaving the loop early stops the program. */
  readonly output: AsyncIterable<Buffer>;
  /** How it ended; never rejects. */
  readonly ended: Promise<{ code: number | null; stderr: string; timedOut: boolean }>;
  /** Stops the whole process group at once. */
  kill(): void;
}

/** Starts a program whose standard output is read as a stream, of any length. @throws process.missing when it cannot start */
export async function pipeFrom(
  command: string,
  args: readonly string[],
  options: Pick<RunOptions, 'timeoutMs' | 'cwd' | 'env' | 'signal'>,
): Promise<Piped> {
  const child = spawn(command, [...args], {
    cwd: options.cwd,
    env: options.env ?? { ...process.env, LC_ALL: 'C.UTF-8' },
    stdio: ['ignore', 'pipe', 'pipe'],
    detached: process.platform !== 'win32',
    shell: false,
    windowsHide: true,
  });
  let timedOut = false;
  let stderr = '';
  const kill = () => {
    try {
      if (child.pid === undefined) return;
      if (process.platform === 'win32') child.kill('SIGKILL');
      else process.kill(-child.pid, 'SIGKILL');
    } catch {
      // already gone
    }
  };
  const timer = setTimeout(() => {
    timedOut = true;
    kill();
  }, options.timeoutMs);
  options.signal?.addEventListener('abort', kill, { once: true });
  child.stderr.on('data', (chunk: Buffer) => {
    if (stderr.length < 16_384) stderr += chunk.toString('utf8');
  });
  const ended = new Promise<{ code: number | null; stderr: string; timedOut: boolean }>((resolve) => {
    child.once('close', (code) => {
      clearTimeout(timer);
      options.signal?.removeEventListener('abort', kill);
      resolve({ code, stderr, timedOut });
    });
  });
  await new Promise<void>((resolve, reject) => {
    child.once('spawn', resolve);
    child.once('error', (cause) => {
      clearTimeout(timer);
      reject(fault('missing', `cannot start ${command}: ${cause.message}`, { where: command, cause }));
    });
  });
  async function* output(): AsyncGenerator<Buffer> {
    try {
      for await (const chunk of child.stdout) yield chunk as Buffer;
    } finally {
      if (child.exitCode === null && !child.stdout.readableEnded) kill();
    }
  }
  return { output: output(), ended, kill };
}
