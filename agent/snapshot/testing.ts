// For tests of drivers: programs of a host that answer from a script, and what was asked of them.
import * as fs from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { systemClock } from '#manifests/platform/clock';
import { silentLog } from '#manifests/platform/log';
import type { RunResult } from '#manifests/platform/process';
import type { HostContext, InstallPlan } from '../packages/index.ts';

/** What a program answers: its output, or the exit code and what it says about it. */
export type Answer = string | { readonly code: number; readonly stderr: string };

/** Programs played by `answer`, asked by their whole command line; every line is kept. */
export function playedCommand(answer: (line: string) => Answer | Promise<Answer>) {
  const asked: string[] = [];
  const command = async (_context: unknown, program: string, args: readonly string[]): Promise<RunResult> => {
    const line = [program, ...args].join(' ');
    asked.push(line);
    const came = await answer(line);
    const [code, stdout, stderr] = typeof came === 'string' ? [0, came, ''] : [came.code, '', came.stderr];
    return { code, signal: null, stdout, stderr, timedOut: false, droppedBytes: 0, durationMs: 1 };
  };
  return { asked, command };
}

/** A tree with what the drivers look for, and a context for it. */
export function smallTree(programs: readonly string[]): { context: HostContext; remove: () => void } {
  const root = fs.mkdtempSync(join(tmpdir(), 'patchferry-driver-'));
  for (const name of ['usr/sbin', 'etc', 'var/lib/dpkg/info', 'work']) fs.mkdirSync(join(root, name), { recursive: true });
  for (const name of programs) fs.writeFileSync(join(root, 'usr/sbin', name), '');
  const context: HostContext = {
    root,
    workFolder: join(root, 'work'),
    payloadPath: (sha256) => sha256,
    catalogs: [],
    log: silentLog,
    clock: systemClock,
    signal: new AbortController().signal,
    archiveRoot: join(root, 'opt'),
  };
  return { context, remove: () => fs.rmSync(root, { recursive: true, force: true }) };
}

/** A plan that changes nothing that is on the tree. */
export const EMPTY_PLAN: InstallPlan = {
  format: 'deb',
  items: [],
  newPackages: [],
  removals: [],
  keptBack: [],
  payloads: [],
  changes: [],
  refused: null,
  diskBytes: 0,
  touches: [],
};
