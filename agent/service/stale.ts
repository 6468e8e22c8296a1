// Programs that still run with libraries that are replaced on disk (what needrestart looks for), and what helps: restarting
// their services. A deleted file that a process maps for execution is the evidence.
import * as fs from 'node:fs';
import { join } from 'node:path';
import { run } from '#manifests/platform/process';
import type { StaleUse } from '../run/index.ts';

const LIMITS = {
  /** Processes looked at. */
  processes: 4_096,
  /** Read of one process's list of mappings, bytes. */
  mapsBytes: 4 * 1024 * 1024,
  restartMs: 120_000,
} as const;

/** Where programs and libraries live; deleted files elsewhere (scratch files, caches of compilers) say nothing. */
const CODE = /^\/(?:usr\/(?!local\/)|lib|lib64\/|bin\/|sbin\/|opt\/)/;

/** Services whose restart does more harm than their old library, or which is this very agent. */
const NEVER =
  /^(?:dbus(?:-broker)?|systemd-logind|user@.*|getty@.*|serial-getty@.*|console-getty|display-manager|patchferry-.*)\.service$/;

/** The first replaced file that a process maps for execution. `maps` is the text of `/proc/PID/maps`. */
export function replacedIn(maps: string): string | undefined {
  for (const row of maps.split('\n')) {
    const found = /^\S+ ..x. \S+ \S+ \S+ +(\/.*) \(deleted\)$/.exec(row);
    if (found?.[1] !== undefined && CODE.test(found[1])) return found[1];
  }
  return undefined;
}

/** The systemd service a process belongs to, by the text of `/proc/PID/cgroup`; null for logins and what no service owns. */
export function serviceIn(cgroup: string): string | null {
  const path = /^0::(.*)$/m.exec(cgroup)?.[1] ?? /^\d+:name=systemd:(.*)$/m.exec(cgroup)?.[1] ?? '';
  if (path.includes('/user.slice/')) return null;
  return path.split('/').findLast((part) => part.endsWith('.service')) ?? null;
}

/** What runs replaced code now, one entry for each service and file. `proc` is `/proc` but in tests. */
export function staleUses(proc = '/proc'): StaleUse[] {
  const found = new Map<string, StaleUse>();
  const names = fs.existsSync(proc) ? fs.readdirSync(proc).filter((name) => /^\d+$/.test(name)) : [];
  for (const pid of names.slice(0, LIMITS.processes)) {
    try {
      const file = replacedIn(readStart(join(proc, pid, 'maps')));
      if (file === undefined) continue;
      const unit = pid === '1' ? 'init' : serviceIn(readStart(join(proc, pid, 'cgroup')));
      const program = readStart(join(proc, pid, 'comm')).trim();
      found.set(`${unit ?? program} ${file}`, { unit, program, file });
    } catch {
      // it has ended meanwhile
    }
  }
  return [...found.values()];
}

function readStart(path: string): string {
  const file = fs.openSync(path, 'r');
  try {
    const parts: Buffer[] = [];
    let left: number = LIMITS.mapsBytes;
    while (left > 0) {
      const part = Buffer.alloc(Math.min(left, 65_536));
      const read = fs.readSync(file, part);
      if (read === 0) break;
      parts.push(part.subarray(0, read));
      left -= read;
    }
    return Buffer.concat(parts).toString('latin1');
  } finally {
    fs.closeSync(file);
  }
}

/** Whether a restart may help here at all. */
export function mayRestart(unit: string | null): unit is string {
  return unit !== null && !NEVER.test(unit);
}

/** Restarts one service that runs (or has PID 1 start itself anew) and says whether it runs again. */
export async function restartUnit(unit: string): Promise<{ ok: boolean; says: string }> {
  const args = unit === 'init' ? ['daemon-reexec'] : ['try-restart', '--', unit];
  const { code, stderr, timedOut } = await run('systemctl', args, { timeoutMs: LIMITS.restartMs });
  if (code !== 0 || timedOut) return { ok: false, says: timedOut ? 'no answer in time' : stderr.trim().slice(-500) };
  if (unit === 'init') return { ok: true, says: 'init started itself anew' };
  const { stdout } = await run('systemctl', ['is-failed', '--', unit], { timeoutMs: LIMITS.restartMs });
  return { ok: stdout.trim() !== 'failed', says: `${unit} is ${stdout.trim()}` };
}
