// Who holds the locks of the host's package manager. Looks only; a lock is never taken away from its holder.
import * as fs from 'node:fs';
import { pause } from '#manifests/platform/clock';
import { fault, reach } from './host.ts';
import type { HostContext } from './system.ts';

/** apt's and dpkg's own locks, in the order in which a front end takes them. */
const LOCK_FILES = ['/var/lib/dpkg/lock-frontend', '/var/lib/dpkg/lock', '/var/cache/apt/archives/lock'] as const;

const WAIT = {
  /** For another package manager to end, unless the context says otherwise. */
  defaultMs: 120_000,
  /** Between two looks. */
  stepMs: 500,
} as const;

export interface LockHolder {
  readonly file: string;
  /** 0 when it lives in another process namespace. */
  readonly pid: number;
  /** Its command, as the kernel names it. */
  readonly command: string;
}

/** One row of /proc/locks: who has which inode (proc_locks(5)). Waiting rows (`->`) are not holders. */
export function parseProcLocks(text: string): { pid: number; inode: string; device: string }[] {
  return text.split('\n').flatMap((line) => {
    const parts = /^\d+: \S+\s+\S+\s+WRITE\s+(-?\d+)\s+([0-9a-f]+:[0-9a-f]+):(\d+)\s/.exec(line);
    if (parts?.[1] === undefined || parts[2] === undefined || parts[3] === undefined) return [];
    return [{ pid: Math.max(0, Number(parts[1])), device: parts[2], inode: parts[3] }];
  });
}

/** A device number of stat(2) as /proc/locks prints it: major and minor in hex (glibc's gnu_dev_major, gnu_dev_minor). */
function deviceNumber(dev: number): string {
  const hex = (value: number) => value.toString(16).padStart(2, '0');
  return `${hex((dev >>> 8) & 0xfff)}:${hex((dev & 0xff) | ((dev >>> 12) & 0xfff00))}`;
}

/** True when process `pid` has `file` open, by its file table; false too when that cannot be seen. */
function hasOpen(pid: number, file: fs.Stats): boolean {
  try {
    return fs.readdirSync(`/proc/${pid}/fd`).some((name) => {
      const open = fs.statSync(`/proc/${pid}/fd/${name}`, { throwIfNoEntry: false });
      return open?.ino === file.ino && open.dev === file.dev;
    });
  } catch {
    return false;
  }
}

export function commandOf(pid: number): string {
  try {
    return fs.readFileSync(`/proc/${pid}/comm`, 'utf8').trim().slice(0, 64);
  } catch {
    return 'another process';
  }
}

/** The first holder of one of the locks, or undefined when all are free. */
export function lockHolder(context: Pick<HostContext, 'root'>, files: readonly string[] = LOCK_FILES): LockHolder | undefined {
  let rows: ReturnType<typeof parseProcLocks>;
  try {
    rows = parseProcLocks(fs.readFileSync('/proc/locks', 'utf8'));
  } catch {
    return undefined; // no /proc: apt's own lock still holds, with its own words
  }
  for (const file of files) {
    const stat = fs.statSync(reach(context, file), { throwIfNoEntry: false });
    if (stat === undefined) continue;
    const device = deviceNumber(stat.dev);
    for (const row of rows) {
      if (row.inode !== String(stat.ino)) continue;
      // On btrfs the kernel's table has another device number than stat(2): then the holder's file table decides.
      if (row.device === device || hasOpen(row.pid, stat)) return { file, pid: row.pid, command: commandOf(row.pid) };
    }
  }
  return undefined;
}

/** `apt-get (process 812) holds /var/lib/dpkg/lock-frontend` */
export function describeHolder(holder: LockHolder): string {
  return `${holder.command}${holder.pid === 0 ? '' : ` (process ${holder.pid})`} holds ${holder.file}`;
}

/**
 * Waits until no one holds a lock, saying who does. @param look finds the holder; of apt's and dpkg's locks unless told
 * @throws packages.locked after the wait that the context allows
 */
export async function waitForLocks(
  context: HostContext,
  look: (context: HostContext) => LockHolder | undefined = lockHolder,
): Promise<void> {
  const until = context.clock.monotonic() + (context.lockWaitMs ?? WAIT.defaultMs);
  let told = '';
  for (let holder = look(context); holder !== undefined; holder = look(context)) {
    const says = describeHolder(holder);
    if (context.clock.monotonic() >= until) throw fault('locked', says, { where: holder.file });
    if (says !== told) {
      context.onProgress?.(`waits: ${says}`);
      context.log.info({ pid: holder.pid, command: holder.command, file: holder.file }, 'waits for a package manager lock');
      told = says;
    }
    await pause(WAIT.stepMs, context.signal);
  }
}
