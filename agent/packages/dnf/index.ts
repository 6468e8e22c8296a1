// RPM packages through the host's own dnf (4 or 5), offline: this file is the table of contents of the folder.
import * as fs from 'node:fs';
import { join } from 'node:path';
import { reach } from '../host.ts';
import { describeHolder } from '../locks.ts';
import { checkNeeds, checkPayloads } from '../room.ts';
import type { HostContext, InstallPlan, PackageSystem, Precheck } from '../system.ts';
import { auditRpm } from './database.ts';
import { installDnf, repairDnf } from './install.ts';
import { rpmLockHolder } from './locks.ts';
import { planDnf } from './plan.ts';
import { dnfProgram } from './program.ts';
import { indexPayloads } from './repository.ts';

/** Estimates where the metadata does not say. Bytes and counts. */
const ROOM = {
  /** rpm's and dnf's databases, logs, and what scripts write. */
  varBytes: 64 * 1024 * 1024,
  etcBytes: 4 * 1024 * 1024,
  /** A kernel image with its map and settings; an initial RAM disk where none is there to judge by. */
  kernelBytes: 32 * 1024 * 1024,
  initrdBytes: 96 * 1024 * 1024,
  filesOfPackage: 500,
} as const;

export const rpm: PackageSystem = {
  format: 'rpm',
  available: async (context) => dnfProgram(context) !== undefined && fs.existsSync(reach(context, '/usr/bin/rpm')),
  indexPayloads,
  plan: planDnf,
  async precheck(plan, policy, context) {
    const wrong = await auditRpm(context);
    const holder = rpmLockHolder(context);
    return [
      checkPayloads(context, plan),
      ...checkNeeds(context, needsOf(context, plan), policy.freeBytes),
      {
        name: 'package database',
        ok: wrong.length === 0,
        says: wrong.length === 0 ? 'healthy' : wrong.join('; ').slice(0, 1_000),
        retryLater: false,
      },
      {
        name: 'package manager lock',
        ok: holder === undefined,
        says: holder === undefined ? 'free' : describeHolder(holder),
        retryLater: true,
      } satisfies Precheck,
    ];
  },
  install: installDnf,
  fixes: {
    'configure-packages': async (context) => {
      if ((await auditRpm(context)).length === 0) return { outcome: 'nothing', says: 'the package database is healthy' };
      const { ok, says } = await repairDnf(context);
      return { outcome: ok ? 'done' : 'failed', says };
    },
  },
  repair: repairDnf,
  audit: auditRpm,
};

function needsOf(context: HostContext, plan: InstallPlan) {
  const files = plan.changes.filter(({ to }) => to !== null).length * ROOM.filesOfPackage;
  const needs = [
    { folder: '/usr', bytes: plan.diskBytes, inodes: files },
    { folder: '/etc', bytes: ROOM.etcBytes, inodes: 100 },
    { folder: '/var/lib', bytes: ROOM.varBytes, inodes: 100 },
  ];
  if (plan.touches.includes('/boot')) needs.push({ folder: '/boot', bytes: bootBytes(context, plan), inodes: 20 });
  return needs;
}

/** Room in /boot for each new kernel: its image and an initial RAM disk like the largest that is there (trap 23). */
function bootBytes(context: HostContext, plan: InstallPlan): number {
  const folder = reach(context, '/boot');
  const names = fs.existsSync(folder) ? fs.readdirSync(folder) : [];
  const sizes = names
    .filter((name) => /^init(?:ramfs|rd)-/.test(name) && !name.includes('rescue'))
    .map((name) => fs.statSync(join(folder, name), { throwIfNoEntry: false })?.size ?? 0);
  const initrd = sizes.length === 0 ? ROOM.initrdBytes : Math.max(...sizes);
  const kernels = plan.changes.filter(
    ({ name, to }) => to !== null && /^kernel(?:-core|-rt-core|-uek-core)?$/.test(name),
  ).length;
  return kernels * (ROOM.kernelBytes + initrd);
}
