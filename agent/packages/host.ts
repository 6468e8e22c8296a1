// Programs of the host and paths on it. Tests work in a tree below another root; everything else runs on `/` as it is.
import * as fs from 'node:fs';
import { dirname, join, relative, sep } from 'node:path';
import { defineFaults, EXIT } from '#manifests/errors';
import { type RunResult, run } from '#manifests/platform/process';
import type { HostContext } from './system.ts';

export const fault = defineFaults('packages', {
  'outside-root': { exit: EXIT.bug, next: 'Paths of a host below another root must lie below that root.' },
  'index-missing': { exit: EXIT.refused, next: 'Fetch the payloads that `indexPayloads` names, then plan again.' },
  'payload-missing': { exit: EXIT.refused, next: 'Fetch the payloads that the plan names, then install.' },
  'vendor-signature': {
    exit: EXIT.refused,
    next: "The vendor's signed index does not check out on this host; look at its keyring, then at who published the catalog.",
  },
  'vendor-mismatch': {
    exit: EXIT.refused,
    next: "The catalog and the vendor's signed index disagree about a package; nothing was installed. Ask the publisher.",
  },
  'apt-failed': { exit: EXIT.findings, next: 'Read what apt said; run it by hand on this host with the same arguments.' },
  'dnf-failed': { exit: EXIT.findings, next: 'Read what dnf said; run it by hand on this host with the same arguments.' },
  locked: { exit: EXIT.deferred, next: 'Wait for the other package manager to end; the lock goes with it.' },
  archive: { exit: EXIT.refused, next: 'The archive holds what it may not; it must be built anew. Nothing was placed.' },
});

/** The environment of every program: no questions, no pager, no restarts by hooks, output that can be parsed. */
const ENVIRONMENT: Readonly<Record<string, string>> = {
  PATH: '/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin',
  HOME: '/root',
  LC_ALL: 'C.UTF-8',
  DEBIAN_FRONTEND: 'noninteractive',
  DEBCONF_NONINTERACTIVE_SEEN: 'true',
  APT_LISTCHANGES_FRONTEND: 'none',
  APT_LISTBUGS_FRONTEND: 'none',
  // needrestart would restart services by itself; what has to be restarted is the run's decision.
  NEEDRESTART_SUSPEND: '1',
  UCF_FORCE_CONFFOLD: '1',
  PAGER: 'cat',
};

export interface HostCommandOptions {
  readonly timeoutMs: number;
  readonly signal?: AbortSignal | undefined;
  readonly outputBytes?: number | undefined;
  readonly onOutput?: ((text: string) => void) | undefined;
  /** Working folder on the host; only where the root is `/`. */
  readonly env?: Readonly<Record<string, string>> | undefined;
  /** What the program reads from its standard input. */
  readonly input?: string | undefined;
}

/** Runs one of the host's own programs. @throws process.missing when it is not there */
export function hostCommand(
  context: Pick<HostContext, 'root'>,
  command: string,
  args: readonly string[],
  options: HostCommandOptions,
): Promise<RunResult> {
  const [program, all] = context.root === '/' ? [command, args] : ['chroot', [context.root, command, ...args]];
  return run(program, all, {
    timeoutMs: options.timeoutMs,
    env: { ...ENVIRONMENT, ...options.env },
    signal: options.signal,
    outputBytes: options.outputBytes,
    onOutput: options.onOutput,
    input: options.input,
  });
}

/** A path of the host (`/etc/apt`) as this process reaches it. */
export function reach(context: Pick<HostContext, 'root'>, hostPath: string): string {
  return context.root === '/' ? hostPath : join(context.root, hostPath);
}

/** A path of this process as the host's own programs see it. @throws packages.outside-root */
export function seenByHost(context: Pick<HostContext, 'root'>, path: string): string {
  if (context.root === '/') return path;
  const below = relative(context.root, path);
  if (below === '..' || below.startsWith(`..${sep}`)) {
    throw fault('outside-root', `${path} is not below ${context.root}`, { where: path });
  }
  return `/${below}`;
}

/** The end of what a program said, for a person: its errors when there are any, else its output. */
export function lastWords(result: RunResult, limit = 2_000): string {
  return (result.stderr.trim() || result.stdout.trim()).slice(-limit);
}

/** Puts a payload where the package manager looks for it: a hard link where the store is on the same file system, else a copy. */
export function place(from: string, to: string): void {
  const source = fs.statSync(from);
  const there = fs.statSync(to, { throwIfNoEntry: false });
  if (there !== undefined && there.ino === source.ino && there.dev === source.dev) return;
  fs.mkdirSync(dirname(to), { recursive: true });
  fs.rmSync(to, { force: true });
  try {
    fs.linkSync(from, to);
  } catch {
    fs.copyFileSync(from, to, fs.constants.COPYFILE_FICLONE | fs.constants.COPYFILE_EXCL);
  }
}
