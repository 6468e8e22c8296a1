// Own software from checked archives: versioned folders beside each other and a link that is switched in one step.
import { randomBytes } from 'node:crypto';
import * as fs from 'node:fs';
import { join } from 'node:path';
import { isFault } from '#manifests/errors';
import { syncFolder } from '#manifests/platform/files';
import { formatBytes } from '#manifests/platform/progress';
import { fault } from '../host.ts';
import type { HostContext, InstallOutcome, InstallPlan, PackageSystem } from '../system.ts';
import {
  componentFolder,
  componentNames,
  currentVersion,
  existingParent,
  isComponent,
  sweep,
  switchTo,
  versionFolder,
} from './components.ts';
import { unpackArchive } from './unpack.ts';

/** Unpacked bytes expected of one packed byte, for the check of room; programs pack to a third or quarter. */
const EXPECTED_RATIO = 4;

async function install(plan: InstallPlan, context: HostContext, only?: ReadonlySet<string>): Promise<InstallOutcome> {
  const output: string[] = [];
  const items = plan.items.filter(({ patch }) => only === undefined || only.has(patch));
  for (const { name, to, sha256, path } of items) {
    sweep(context, name);
    if (currentVersion(context, name) === to) {
      output.push(`${name} ${to}: in use already`);
      continue;
    }
    context.signal.throwIfAborted();
    context.onProgress?.(`Unpacking ${name} ${to}`);
    const payload = context.payloadPath(sha256);
    if (!fs.existsSync(payload)) throw fault('payload-missing', `payload ${sha256} (${path}) is not here`, { where: path });
    const target = versionFolder(context, name, to);
    fs.mkdirSync(join(target, '..'), { recursive: true, mode: 0o755 });
    const quarantine = join(componentFolder(context, name), `.quarantine-${randomBytes(6).toString('hex')}`);
    try {
      await unpackArchive(payload, quarantine);
    } catch (error) {
      if (isFault(error, 'packages.archive'))
        return { ok: false, says: `${name} ${to}: ${error.message}`, output: output.join('\n') };
      throw error;
    }
    fs.rmSync(target, { recursive: true, force: true }); // of an earlier try or another payload; `current` does not point here
    fs.chmodSync(quarantine, 0o755);
    fs.renameSync(quarantine, target);
    syncFolder(join(target, '..'));
    switchTo(context, name, to);
    output.push(`${name} ${to}: unpacked and in use`);
  }
  return { ok: true, says: `${items.length} components changed`, output: output.join('\n') };
}

async function audit(context: HostContext): Promise<string[]> {
  return componentNames(context).flatMap((name) => {
    const version = currentVersion(context, name);
    if (version === null || fs.existsSync(versionFolder(context, name, version))) return [];
    return [`${name}: current points to version ${version}, which is not there`];
  });
}

export const archive: PackageSystem = {
  format: 'archive',
  available: async () => true,
  indexPayloads: () => [],
  async plan(items, _policy, context) {
    const keptBack: { name: string; arch: string; says: string }[] = [];
    const wanted = items.filter((item) => {
      if (item.format !== 'archive' || currentVersion(context, item.name) === item.to) return false;
      if (isComponent(item.name, item.to)) return true;
      keptBack.push({ name: item.name, arch: item.arch, says: 'its name or version cannot be the name of a folder' });
      return false;
    });
    const refused = wanted.length === 0 && keptBack.length > 0;
    return {
      format: 'archive',
      items: wanted,
      newPackages: [],
      removals: [],
      keptBack,
      payloads: wanted.map(({ sha256, size, path }) => ({ sha256, size, path })),
      changes: wanted.map(({ name, arch, to }) => ({ name, arch, from: currentVersion(context, name), to })),
      refused: refused
        ? { code: 'packages.kept-back', says: keptBack.map(({ name, says }) => `${name}: ${says}`).join('; ') }
        : null,
      diskBytes: wanted.reduce((sum, { size }) => sum + size * EXPECTED_RATIO, 0),
      touches: wanted.length === 0 ? [] : [context.archiveRoot],
    };
  },
  async precheck(plan, policy, context) {
    const missing = plan.payloads.filter(
      ({ sha256, size }) => fs.statSync(context.payloadPath(sha256), { throwIfNoEntry: false })?.size !== size,
    );
    const folder = existingParent(context.archiveRoot);
    const { bavail, bsize } = fs.statfsSync(folder);
    const free = bavail * bsize;
    const broken = await audit(context);
    return [
      {
        name: 'payloads',
        ok: missing.length === 0,
        says: `${missing.length} of ${plan.payloads.length} missing`,
        retryLater: true,
      },
      {
        name: `room ${context.archiveRoot}`,
        ok: free >= plan.diskBytes + policy.freeBytes,
        says: `${formatBytes(free)} free, ${formatBytes(plan.diskBytes)} needed and ${formatBytes(policy.freeBytes)} to stay free`,
        retryLater: false,
      },
      {
        name: 'components',
        ok: broken.length === 0,
        says: broken.length === 0 ? 'healthy' : broken.join('; '),
        retryLater: false,
      },
    ];
  },
  install,
  async repair(context) {
    for (const name of componentNames(context)) sweep(context, name);
    const broken = await audit(context);
    return { ok: broken.length === 0, says: broken.length === 0 ? 'the components are healthy' : broken.join('; ') };
  },
  audit,
};
