// Debian's packages through the host's own apt, offline: this file is the table of contents of the folder.
import * as fs from 'node:fs';
import { reach } from '../host.ts';
import type { PackageSystem } from '../system.ts';
import { auditApt, installApt, repairApt } from './install.ts';
import { planApt } from './plan.ts';
import { indexPayloads } from './repository.ts';
import { checkLock, checkPayloads, checkRoom } from './room.ts';

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
    ];
  },
  install: installApt,
  repair: repairApt,
  audit: auditApt,
};
