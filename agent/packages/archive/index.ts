// Own software from checked archives: versioned folders beside each other and a link that is switched in one step.
import { randomBytes } from 'node:crypto';
import * as fs from 'node:fs';
import { join } from 'node:path';
import { isFault } from '#manifests/errors';
import { syncFolder } from '#manifests/platform/files';
import { formatBytes } from '#manifests/platform/progress';
import type { Placement } from '#manifests/schema';
import { fault, reach } from '../host.ts';
import type { HostContext, InstallItem, InstallOutcome, InstallPlan, PackageSystem } from '../system.ts';
import {
  componentFolder,
  componentNames,
  currentVersion,
  existingParent,
  isComponent,
  sweep,
  versionFolder,
} from './components.ts';
import { applyPlacement, ownerOf } from './ownership.ts';
import { finishServices, interruptedServices, switchWithServices } from './services.ts';
import { unpackArchive } from './unpack.ts';

/** Unpacked bytes expected of one packed byte, for the check of room; programs pack to a third or quarter. */
const EXPECTED_RATIO = 4;

async function install(plan: InstallPlan, context: HostContext, only?: ReadonlySet<string>): Promise<InstallOutcome> {
  const output: string[] = [];
  const items = plan.items.filter(({ patch }) => only === undefined || only.has(patch));
  for (const { name, to, sha256, path, patch } of items) {
    sweep(context, name);
    const placement = plan.placements?.[patch] ?? {};
    if (currentVersion(context, name) === to) {
      const problem = await finishServices(context, name);
      if (problem !== undefined)
        return { ok: false, says: `${name} ${to}: ${problem}`, output: output.join('\n'), broken: [name] };
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
    applyPlacement(context, quarantine, placement);
    fs.renameSync(quarantine, target);
    syncFolder(join(target, '..'));
    const problem = await switchWithServices(context, name, to, placement.services ?? []);
    if (problem !== undefined) {
      fs.rmSync(target, { recursive: true, force: true });
      return { ok: false, says: `${name} ${to}: ${problem}`, output: output.join('\n'), broken: [name] };
    }
    output.push(`${name} ${to}: unpacked and in use`);
  }
  return { ok: true, says: `${items.length} components changed`, output: output.join('\n') };
}

/** How each patch is put in place, as its catalog says. */
function placementsOf(items: readonly InstallItem[], { catalogs }: HostContext): Record<string, Placement> {
  const ids = new Set(items.filter(({ format }) => format === 'archive').map(({ patch }) => patch));
  const found = catalogs.flatMap(({ patches }) => patches.filter(({ id, format }) => format === 'archive' && ids.has(id)));
  return Object.fromEntries(found.flatMap(({ id, placement }) => (placement === undefined ? [] : [[id, placement]])));
}

/** Why this host cannot put a component in place as it is described. */
function cannotPlace(context: HostContext, { owner, services = [] }: Placement = {}): string | undefined {
  if (owner !== undefined) {
    const ids = ownerOf(context, owner);
    if ('lacks' in ids) return ids.lacks;
    if (process.getuid?.() !== 0 && process.getuid?.() !== ids.uid) return `only root can give it to ${owner}`;
  }
  if (services.length > 0 && context.services === undefined && !fs.existsSync(reach(context, '/run/systemd/system')))
    return 'its services are systemd’s, which does not run this host';
  return undefined;
}

async function audit(context: HostContext): Promise<string[]> {
  const gone = componentNames(context).flatMap((name) => {
    const version = currentVersion(context, name);
    if (version === null || fs.existsSync(versionFolder(context, name, version))) return [];
    return [`${name}: current points to version ${version}, which is not there`];
  });
  const waiting = componentNames(context).filter((name) => interruptedServices(context, name) !== undefined);
  return [...gone, ...waiting.map((name) => `${name}: its services were stopped for a switch that was cut off`)];
}

export const archive: PackageSystem = {
  format: 'archive',
  available: async () => true,
  indexPayloads: () => [],
  async plan(items, _policy, context) {
    const keptBack: { name: string; arch: string; says: string }[] = [];
    const placements = placementsOf(items, context);
    const wanted = items.filter((item) => {
      if (item.format !== 'archive' || currentVersion(context, item.name) === item.to) return false;
      const says = isComponent(item.name, item.to)
        ? cannotPlace(context, placements[item.patch])
        : 'its name or version cannot be the name of a folder';
      if (says !== undefined) keptBack.push({ name: item.name, arch: item.arch, says });
      return says === undefined;
    });
    const refused = wanted.length === 0 && keptBack.length > 0;
    return {
      format: 'archive',
      items: wanted,
      newPackages: [],
      removals: [],
      keptBack,
      ...(Object.keys(placements).length === 0 ? {} : { placements }),
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
    for (const name of componentNames(context)) {
      sweep(context, name);
      await finishServices(context, name);
    }
    const broken = await audit(context);
    return { ok: broken.length === 0, says: broken.length === 0 ? 'the components are healthy' : broken.join('; ') };
  },
  audit,
};
