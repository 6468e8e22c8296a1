// Debian's packages through the host's own apt, offline: this file is the table of contents of the folder.
import * as fs from 'node:fs';
import { reach } from '../host.ts';
import { checkPayloads } from '../room.ts';
import type { HostContext, InstallPlan, PackageSystem, Precheck } from '../system.ts';
import { conflictsOf, settingsAfter } from './conffiles.ts';
import { auditApt, installApt, repairApt } from './install.ts';
import { planApt } from './plan.ts';
import { cleanCache, removeOldKernels, removeUnused } from './removals.ts';
import { indexPayloads } from './repository.ts';
import { checkLock, checkRoom } from './room.ts';

export const deb: PackageSystem = {
  format: 'deb',
  available: async (context) =>
    ['/usr/bin/apt-get', '/usr/bin/apt-cache', '/usr/bin/dpkg', '/var/lib/dpkg/status'].every((path) =>
      fs.existsSync(reach(context, path)),
    ),
  indexPayloads,
  plan: planApt,
  async precheck(plan, policy, context) {
    const wrong = await auditApt(context);
    return [
      checkPayloads(context, plan),
      ...checkRoom(context, plan, policy.freeBytes),
      {
        name: 'package database',
        ok: wrong.length === 0,
        says: wrong.length === 0 ? 'healthy' : wrong.join('; ').slice(0, 1_000),
        retryLater: false,
      },
      checkLock(context),
      ...(await checkSettings(plan, context)),
    ];
  },
  install: installApt,
  finish: removeUnused,
  settingsAfter: (plan, context) => settingsAfter(context, plan),
  fixes: {
    'configure-packages': async (context) => {
      if ((await auditApt(context)).length === 0) return { outcome: 'nothing', says: 'the package database is healthy' };
      const { ok, says } = await repairApt(context);
      return { outcome: ok ? 'done' : 'failed', says };
    },
    'clean-package-cache': cleanCache,
    'remove-old-kernels': removeOldKernels,
  },
  repair: repairApt,
  audit: auditApt,
};

const SAYS = {
  keep: 'they stay, the new ones come beside them',
  new: "the package's come, the old ones beside them",
  fail: 'their patches are not installed',
} as const;

/** Tells beforehand of settings files that were changed on both sides; what is done about them is policy, so this never fails. */
async function checkSettings(plan: InstallPlan, context: HostContext): Promise<Precheck[]> {
  if (checkPayloads(context, plan).ok === false) return [];
  const conflicts = await conflictsOf(context, plan);
  if (conflicts.length === 0) return [];
  const files = conflicts.map(({ path }) => path).join(', ');
  const says = `changed here and in the package: ${files.slice(0, 600)}; ${SAYS[context.conffiles ?? 'keep']}`;
  return [{ name: 'settings files', ok: true, says, retryLater: false }];
}
