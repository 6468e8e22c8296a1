// The whole root put back at the next boot: what a way back has to offer for it, and what every kind of it carries over. In-place
// restores (wayback.ts) are the rule; this is for where everything on the root is to be as it was.
import * as fs from 'node:fs';
import { dirname, join } from 'node:path';
import { type HostContext, hostCommand, lastWords, reach, seenByHost } from '../packages/index.ts';
import { fault } from './copy.ts';

const COPY_MS = 60 * 60_000;

/** A root that was or will be started from. */
export interface RootId {
  /** What the running system can be asked for: number of the btrfs subvolume, name of the ZFS dataset, id of the thin volume. */
  readonly id: string;
  /** Where it lies, for a person and for the next act. */
  readonly name: string;
}

/** The root that runs, and the one that is put in its place. */
export interface RootPair {
  /** How the next boot finds its root. */
  readonly method: string;
  readonly from: RootId;
  readonly to: RootId;
}

export interface RootAnswer {
  readonly possible: boolean;
  /** For a person: how it would be done and what it takes along, or why it is not possible and what to do instead. */
  readonly says: string;
}

/** Every act may be repeated after a kill or a power cut and comes to the same end. */
export interface WholeRoot {
  /** Whether the way back `id` (null: one that is still to be taken) could become the root of the next boot. */
  assess(id: string | null, context: HostContext): Promise<RootAnswer>;
  /** Makes a root that can be written to out of the way back; one of an earlier try is removed. */
  make(id: string, context: HostContext): Promise<RootPair>;
  /** Copies what must not go back in time from the running root into the other one of the pair, and flushes it. */
  carry(pair: RootPair, id: string, context: HostContext): Promise<void>;
  /** From now on the next boot starts from this one. One step: cut off at any moment, it is the one or the other. */
  switchTo(pair: RootPair, to: 'from' | 'to', context: HostContext): Promise<void>;
  /** The root that runs now, and the one that the next boot starts from: ids. */
  look(pair: RootPair, context: HostContext): Promise<{ readonly runs: string; readonly next: string }>;
  /** The root that was switched to is well and stays: what its kind still has to do. */
  settle?(pair: RootPair, context: HostContext): Promise<void>;
  /** Removes a root that neither runs nor is to be started from: `id`, or (null) what an unfinished `make` of this run left. */
  discard(run: string, id: string | null, context: HostContext): Promise<void>;
}

/** Of the running host, not of its software; small files. */
const IDENTITY = ['/etc/machine-id', '/etc/hostname', '/etc/adjtime', '/etc/resolv.conf'] as const;

/** Host paths that are carried into another root: the agent's own, and who this host is. */
export function carriedPaths(context: Pick<HostContext, 'ownPaths'>): string[] {
  return [...IDENTITY, '/etc/patchferry', ...(context.ownPaths ?? [])];
}

/** Name, size and time of the kernels and initial RAM disks in a folder. */
export function kernelsIn(boot: string): string {
  const names = fs.existsSync(boot) ? fs.readdirSync(boot).filter((name) => /^(?:vmlinu|initr)/.test(name)) : [];
  const row = (name: string) => {
    const { size, mtimeMs } = fs.statSync(join(boot, name));
    return `${name} ${size} ${mtimeMs}`;
  };
  return names.toSorted().map(row).join('\n');
}

/** Said wherever the whole root is refused. */
export const IN_PLACE = '; `rollback` without --whole-root puts back in place what the run changed';

/** What of a host is not in its root's snapshot and yet would have to be; in words. Undefined: nothing. */
export function elsewhere(context: HostContext, roots: readonly string[]): string | undefined {
  const device = fs.statSync(context.root).dev;
  const away = roots.filter((path) => fs.statSync(reach(context, path), { throwIfNoEntry: false })?.dev !== device);
  const other = away.filter((path) => path !== '/boot');
  return other.length === 0 ? undefined : `${other.join(', ')} is on another file system and would stay as it is`;
}

/** Copies each path (host paths) from the running root into the tree at `target`, with all attributes; what is not there goes there too. */
export async function carryPaths(context: HostContext, paths: readonly string[], target: string): Promise<void> {
  const device = fs.statSync(context.root).dev;
  for (const path of new Set(paths)) {
    const live = reach(context, path);
    const stat = fs.lstatSync(live, { throwIfNoEntry: false });
    if (stat !== undefined && stat.dev !== device) continue; // on another file system: no root takes it back in time
    const there = join(target, path);
    fs.rmSync(there, { recursive: true, force: true });
    if (stat === undefined) continue;
    fs.mkdirSync(dirname(there), { recursive: true, mode: 0o755 });
    const names = [live, there].map((each) => seenByHost(context, each));
    const args = ['--archive', '--reflink=auto', '--one-file-system', '--no-target-directory', '--', ...names];
    const result = await hostCommand(context, 'cp', args, { timeoutMs: COPY_MS });
    if (result.code !== 0) throw fault('copy', `carrying ${path} over: ${lastWords(result, 500)}`, { where: path });
  }
}
