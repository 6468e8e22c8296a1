// Prechecks of an installation on Debian: payloads, room for bytes and inodes on every mount, /boot headroom, the package
// database, locks.
import * as fs from 'node:fs';
import { join } from 'node:path';
import { reach } from '../host.ts';
import { describeHolder, lockHolder } from '../locks.ts';
import { checkNeeds, type Need } from '../room.ts';
import type { HostContext, InstallPlan, Precheck } from '../system.ts';

/** Estimates where the packages themselves do not say. Bytes and counts. */
const ROOM = {
  /** dpkg's and apt's own databases, logs, and what maintainer scripts write. */
  varBytes: 32 * 1024 * 1024,
  etcBytes: 4 * 1024 * 1024,
  /** A kernel image with its map and settings. */
  kernelBytes: 32 * 1024 * 1024,
  /** An initial RAM disk where none is there to judge by. */
  initrdBytes: 64 * 1024 * 1024,
  /** Files of a package that is not installed yet. */
  filesOfNewPackage: 500,
  /** Files of a kernel with its modules. */
  filesOfKernel: 8_000,
} as const;

export function isKernelPackage(name: string): boolean {
  return /^linux-(?:image|modules)-/.test(name);
}

function namesIn(folder: string): string[] {
  try {
    return fs.readdirSync(folder);
  } catch {
    return [];
  }
}

/** Whether this host builds initial RAM disks: then updates of many packages write a new one into /boot. */
export function bootFolderIsUsed(context: Pick<HostContext, 'root'>): boolean {
  return namesIn(reach(context, '/boot')).some((name) => name.startsWith('initrd.img-'));
}

/** Bytes that /boot must have room for: a new initial RAM disk beside the old one, and for each kernel its image and its own. */
function bootBytes(context: Pick<HostContext, 'root'>, plan: InstallPlan): number {
  const folder = reach(context, '/boot');
  const initrds = namesIn(folder).filter((name) => name.startsWith('initrd.img-'));
  const sizes = initrds.map((name) => fs.statSync(join(folder, name), { throwIfNoEntry: false })?.size ?? 0);
  const initrd = sizes.length === 0 ? ROOM.initrdBytes : Math.max(...sizes);
  const kernels = plan.changes.filter(({ name, to }) => to !== null && /^linux-image-\d/.test(name)).length;
  return kernels * (ROOM.kernelBytes + initrd) + (sizes.length === 0 ? 0 : initrd);
}

/** Files the plan creates for a moment: dpkg keeps old and new ones side by side. */
function filesWritten(context: Pick<HostContext, 'root'>, plan: InstallPlan): number {
  let files = 0;
  for (const { name, arch, to } of plan.changes) {
    if (to === null) continue;
    const lists = [`${name}.list`, `${name}:${arch}.list`].map((file) => reach(context, `/var/lib/dpkg/info/${file}`));
    const list = lists.find((file) => fs.existsSync(file));
    if (list !== undefined) files += fs.readFileSync(list, 'latin1').split('\n').length;
    else files += isKernelPackage(name) ? ROOM.filesOfKernel : ROOM.filesOfNewPackage;
  }
  return files;
}

function needsOf(context: HostContext, plan: InstallPlan): Need[] {
  const files = filesWritten(context, plan);
  const needs: Need[] = [
    { folder: '/usr', bytes: plan.diskBytes, inodes: files },
    { folder: '/etc', bytes: ROOM.etcBytes, inodes: 100 },
    { folder: '/var/lib/dpkg', bytes: ROOM.varBytes, inodes: plan.changes.length * 20 },
  ];
  if (plan.touches.includes('/boot')) needs.push({ folder: '/boot', bytes: bootBytes(context, plan), inodes: 20 });
  return needs;
}

/** Bytes and inodes on each mount that the plan writes to, and that it can be written to at all. */
export function checkRoom(context: HostContext, plan: InstallPlan, freeBytes: number): Precheck[] {
  return checkNeeds(context, needsOf(context, plan), freeBytes);
}

/** Whether another package manager is at work right now. */
export function checkLock(context: HostContext): Precheck {
  const holder = lockHolder(context);
  return {
    name: 'package manager lock',
    ok: holder === undefined,
    says: holder === undefined ? 'free' : describeHolder(holder),
    retryLater: true,
  };
}
