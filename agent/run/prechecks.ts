// The state Precheck: package systems and host are looked at; what fails may be mended, by the fixes that policy names and no other,
// each written down before it is made; then everything is looked at again.
import { FIXES, type FixName, type PrecheckRecord } from '#manifests/schema';
import type { FixOutcome, HostContext, Precheck } from '../packages/index.ts';
import type { HostCheck } from '../prechecks/index.ts';
import type { Attempt } from './acts.ts';
import { RUN_LIMITS } from './limits.ts';
import { cleanText, oneLine, versionsOf } from './runs.ts';

const isRoom = ({ name }: Precheck) => /^(?:room|inodes) /.test(name);
const isBootOnly = ({ name }: Precheck) => /^(?:room|inodes) \/boot$/.test(name);

/** Which failed checks a fix may help with. */
const MENDS: Readonly<Record<FixName, (check: Precheck) => boolean>> = {
  'configure-packages': ({ name }) => name === 'package database',
  'clean-package-cache': (check) => isRoom(check) && !isBootOnly(check),
  'vacuum-journal': (check) => isRoom(check) && !isBootOnly(check),
  'remove-old-kernels': isRoom,
  'start-time-service': ({ name }) => name === 'clock',
};

/** Every check once, in the words of whoever makes it. */
async function lookAt({ id, data, world }: Attempt, context: HostContext): Promise<HostCheck[]> {
  const found: HostCheck[] = [];
  for (const plan of data.plans) {
    const checks = await world.hands.systems[plan.format].precheck(plan, { freeBytes: data.group?.freeBytes ?? 0 }, context);
    found.push(...checks.map((check) => ({ ...check, blocks: true })));
  }
  const inventory = await world.hands.inventory();
  const look = {
    policy: data.group?.prechecks ?? {},
    inventory,
    clock: world.clockState(),
    line: await world.line(),
    rebootEvidence: world.hands.rebootEvidence(inventory),
    workFolder: context.workFolder,
    environment: { PATCHFERRY_RUN: id, PATCHFERRY_PATCHES: data.patches.slice(0, RUN_LIMITS.hookPatches).join(' ') },
  };
  return [...found, ...(await world.hands.checkHost(look, world.signal))];
}

const failing = (found: readonly HostCheck[]) => found.filter(({ ok, blocks }) => !ok && blocks);

/** Looks, mends as far as policy lets it, looks again. @returns the last look */
export async function lookAndMend(attempt: Attempt, context: HostContext): Promise<HostCheck[]> {
  const { id, data, world } = attempt;
  let found = await lookAt(attempt, context);
  const allowed = data.group?.fixes ?? [];
  for (const name of FIXES) {
    // a check that is only told is mended too: policy named the fix
    if (!allowed.includes(name) || !found.some((check) => !check.ok && MENDS[name](check))) continue;
    world.say(`fix ${name} …`);
    data.fixes = [...(data.fixes ?? []), { name, outcome: 'begun', says: '' }];
    world.journal.runs.save(id, data);
    world.failPoint('Precheck.fix');
    const { outcome, says } = await fix(attempt, context, name);
    data.fixes = [...data.fixes.slice(0, -1), { name, outcome, says: cleanText(says, RUN_LIMITS.healthOutput) }];
    if (outcome !== 'nothing') await noteHost(attempt);
    world.journal.runs.save(id, data);
    if (outcome === 'done') found = await lookAt(attempt, context);
  }
  data.prechecks = found.slice(0, RUN_LIMITS.prechecks).map(recordOf);
  return found;
}

function recordOf({ name, ok, blocks, says }: HostCheck): PrecheckRecord {
  return { name: oneLine(name, 200), ok, blocks, says: cleanText(says, RUN_LIMITS.healthOutput) };
}

/** By the package systems of the plan that have this fix, else by the host. */
async function fix({ data, world }: Attempt, context: HostContext, name: FixName): Promise<FixOutcome> {
  const outcomes: FixOutcome[] = [];
  try {
    for (const { format } of data.plans) {
      const own = world.hands.systems[format].fixes?.[name];
      if (own !== undefined) outcomes.push(await own(context));
    }
    if (outcomes.length === 0)
      outcomes.push((await world.hands.fixHost(name)) ?? { outcome: 'nothing', says: 'not on this host' });
  } catch (cause) {
    outcomes.push({ outcome: 'failed', says: (cause as Error).message });
  }
  const worst = (['failed', 'done', 'nothing'] as const).find((one) => outcomes.some(({ outcome }) => outcome === one));
  return { outcome: worst ?? 'nothing', says: outcomes.map(({ says }) => says).join('; ') };
}

/** What a fix changed is not the run's: a rollback goes back to the host as it was mended. */
async function noteHost({ data, world }: Attempt): Promise<void> {
  const inventory = await world.hands.inventory();
  const { kernels, components } = inventory;
  data.before = {
    ...data.before,
    packages: versionsOf(inventory.packages),
    components,
    kernels,
    digest: world.hands.digest(inventory),
  };
}

/** What stands in the way, for a person; `later`: all of it may pass by itself. */
export function inTheWay(found: readonly HostCheck[]): { says: string; later: boolean } | undefined {
  const wrong = failing(found);
  if (wrong.length === 0) return undefined;
  return {
    says: wrong.map(({ name, says }) => `${name}: ${says}`).join('; '),
    later: wrong.every(({ retryLater }) => retryLater),
  };
}
