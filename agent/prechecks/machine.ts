// Checks of the machine by the files the kernel keeps: power, load, room, whether the running kernel is still whole. What each
// text means is decided by pure functions; reading them is a line.
import * as fs from 'node:fs';
import * as os from 'node:os';
import { join } from 'node:path';
import { readFileBounded } from '#manifests/platform/files';
import { formatBytes } from '#manifests/platform/progress';
import type { HostCheck, HostLook } from './check.ts';

const MACHINE_LIMITS = {
  /** One file of /sys or /proc, bytes. */
  fileBytes: 64 * 1024,
  /** Free on each folder that maintainer scripts, logs and the run itself write to. */
  roomBytes: 16 * 1024 * 1024,
  inodes: 500,
} as const;

/** What the kernel says of one power supply (Documentation/ABI/testing/sysfs-class-power). */
export interface PowerSupply {
  readonly type: string;
  readonly scope: string;
  readonly online: string;
  readonly status: string;
  readonly capacity: string;
}

function read(path: string): string {
  try {
    return Buffer.from(readFileBounded(path, MACHINE_LIMITS.fileBytes) ?? new Uint8Array())
      .toString('utf8')
      .trim();
  } catch {
    return '';
  }
}

export function readPower(root = '/'): PowerSupply[] {
  const folder = join(root, 'sys/class/power_supply');
  const names = fs.existsSync(folder) ? fs.readdirSync(folder) : [];
  return names.toSorted().map((name) => {
    const field = (file: string) => read(join(folder, name, file));
    return {
      type: field('type'),
      scope: field('scope'),
      online: field('online'),
      status: field('status'),
      capacity: field('capacity'),
    };
  });
}

/** Whether this host lives on a battery now, and how full that is. Batteries of a mouse (`scope: Device`) are none of ours. */
export function onBattery(supplies: readonly PowerSupply[]): { on: boolean; percent: number | null } {
  const own = supplies.filter(({ scope }) => scope !== 'Device');
  const batteries = own.filter(({ type }) => type === 'Battery' || type === 'UPS');
  const mains = own.some(({ type, online }) => type !== 'Battery' && type !== 'UPS' && online === '1');
  const on = !mains && batteries.some(({ status }) => status === 'Discharging');
  const levels = batteries.filter(({ capacity }) => /^\d{1,3}$/.test(capacity)).map(({ capacity }) => Number(capacity));
  return { on, percent: levels.length === 0 ? null : Math.min(...levels) };
}

export function checkPower({ policy, root }: HostLook): HostCheck {
  const { on, percent } = onBattery(readPower(root));
  const enough = percent !== null && percent >= (policy.batteryPercent ?? 101);
  const level = percent === null ? '' : `, ${percent} % left`;
  return {
    name: 'power',
    ok: !on || enough,
    blocks: policy.battery === 'refuse',
    says: on ? `runs on battery${level}` : 'runs on mains, as far as the kernel can tell',
    retryLater: true,
  };
}

/** @param load of the last minute */
export function checkLoad(
  { policy }: HostLook,
  load = os.loadavg()[0] ?? 0,
  processors = os.availableParallelism(),
): HostCheck {
  const each = load / processors;
  const most = policy.loadPerProcessor;
  const limit = most === undefined ? '' : `, at most ${most} is wanted`;
  return {
    name: 'load',
    ok: most === undefined || each <= most,
    blocks: most !== undefined,
    says: `${each.toFixed(2)} for each of ${processors} processors${limit}`,
    retryLater: true,
  };
}

/** Folders besides those of the packages that have to take a file: by mount, bytes and inodes. */
export function checkRoom({ workFolder, root = '/' }: HostLook): HostCheck[] {
  const folders = [workFolder, ...['/tmp', '/var/tmp', '/var/log'].map((path) => join(root, path))];
  const seen = new Set<number>();
  return folders.flatMap((folder): HostCheck[] => {
    const stat = fs.statSync(folder, { throwIfNoEntry: false });
    if (stat === undefined || seen.has(stat.dev)) return [];
    seen.add(stat.dev);
    const { bavail, bsize, ffree, files } = fs.statfsSync(folder);
    const free = bavail * bsize;
    const lacksInodes = files > 0 && ffree < MACHINE_LIMITS.inodes;
    return [
      {
        name: `room ${folder}`,
        ok: free >= MACHINE_LIMITS.roomBytes && !lacksInodes,
        blocks: true,
        says: `${formatBytes(free)}${files > 0 ? ` and ${ffree} inodes` : ''} free, ${formatBytes(MACHINE_LIMITS.roomBytes)} needed`,
        retryLater: false,
      },
    ];
  });
}

/**
 * Whether the kernel that runs can still load its modules. Where the running kernel is not the host's own (a container) and no kernel
 * is installed there is nothing to compare.
 */
export function checkKernel({ policy, inventory, root = '/' }: HostLook): HostCheck {
  const { running, installed } = inventory.kernels;
  const there = ['usr/lib/modules', 'lib/modules'].some((folder) => fs.existsSync(join(root, folder, running)));
  const ok = installed.length === 0 || there;
  return {
    name: 'running kernel',
    ok,
    blocks: policy.runningKernel === 'refuse',
    says: ok ? `${running} is whole` : `${running} runs and its modules are gone from the disk: a reboot is due`,
    retryLater: true,
  };
}

export function checkReboot({ policy, rebootEvidence }: HostLook): HostCheck {
  return {
    name: 'pending reboot',
    ok: rebootEvidence.length === 0,
    blocks: policy.pendingReboot === 'refuse',
    says: rebootEvidence.length === 0 ? 'none' : rebootEvidence.join('; '),
    retryLater: true,
  };
}
