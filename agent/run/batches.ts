// A plan is installed in batches of patches, one call of the package manager each, so that the window can be looked at in
// between and one bad patch never stops the rest: a batch that fails is undone and halved until the patch at fault stands alone.
import { setDigest } from '#manifests/decide';
import type { HostContext, InstallPlan } from '../packages/index.ts';
import type { Attempt } from './acts.ts';
import { RUN_LIMITS } from './limits.ts';
import { setPause } from './memory.ts';
import { type BatchWork, cleanText, type RunData, versionsOf } from './runs.ts';

/** Patches of a plan in the order they are installed, ten at a time. Those that failed here before come first, each alone. */
export function batchesOf(plan: InstallPlan, { suspects }: Pick<RunData, 'suspects'>): string[][] {
  const patches = [...new Set(plan.items.map(({ patch }) => patch))];
  const rest = patches.filter((patch) => suspects?.includes(patch) !== true);
  const batches = patches.filter((patch) => !rest.includes(patch)).map((patch) => [patch]);
  for (let at = 0; at < rest.length; at += RUN_LIMITS.batchPatches) batches.push(rest.slice(at, at + RUN_LIMITS.batchPatches));
  return batches;
}

/** The items and changes of a plan that these patches name. */
export function partOf(plan: InstallPlan, patches: readonly string[]): Pick<InstallPlan, 'items' | 'changes'> {
  const items = plan.items.filter(({ patch }) => patches.includes(patch));
  const named = new Set(items.map(({ name, arch }) => `${name}:${arch}`));
  return { items, changes: plan.changes.filter(({ name, arch }) => named.has(`${name}:${arch}`)) };
}

/** A plan without the patches that failed: nothing of them may come in, not even because another one needs it. */
function without(plan: InstallPlan, failed: BatchWork['failed']): InstallPlan {
  if (failed.length === 0) return plan;
  const { items, changes } = partOf(
    plan,
    failed.map(({ patch }) => patch),
  );
  return {
    ...plan,
    items: plan.items.filter((item) => !items.includes(item)),
    changes: plan.changes.filter((change) => !changes.includes(change)),
  };
}

interface Terms {
  /** The run's first plan: that there is time to begin it was seen before. */
  readonly first: boolean;
  /** Why these patches may not be begun in what is left of the window. */
  readonly late: (patches: readonly string[]) => string | undefined;
}

type CameOfPlan =
  | { readonly kind: 'installed' }
  /** Nothing of it was begun. */
  | { readonly kind: 'left-out' }
  /** The whole run has to be taken back. */
  | { readonly kind: 'failed'; readonly says: string; readonly output: string };

/** Installs one plan as far as patches and window allow. Every step is in the journal before it is done. */
export async function installInBatches(
  attempt: Attempt,
  context: HostContext,
  plan: InstallPlan,
  terms: Terms,
): Promise<CameOfPlan> {
  const { id, data, world } = attempt;
  const system = world.hands.systems[plan.format];
  const save = () => world.journal.runs.save(id, data);
  const [work, begun] = workOf(data, plan);
  save();
  if (attempt.again) await system.repair(context);
  if (work.restoring) {
    const restored = await restore(attempt, context, plan, work);
    if (restored !== undefined) return { kind: 'failed', says: restored, output: '' };
  }
  // Taken up again, nobody knows what the batch that was cut off has done: if it fails, the host is put back.
  let known = begun ? undefined : await versions(attempt, plan);
  let mayBegin = begun || terms.first;
  for (let batch = work.queue[0]; batch !== undefined; batch = work.queue[0]) {
    const late = mayBegin ? undefined : terms.late(batch);
    mayBegin = false;
    if (late !== undefined) {
      work.leftOut.push(...work.queue.splice(0).flat());
      save();
      break;
    }
    save();
    world.failPoint('Install.batch');
    const outcome = await system.install(without(plan, work.failed), context, new Set(batch));
    if (outcome.ok) {
      work.done.push(...batch);
      work.queue.shift();
      save();
      known = await versions(attempt, plan);
      continue;
    }
    work.failures += 1;
    const failed: CameOfPlan = { kind: 'failed', says: outcome.says, output: outcome.output };
    await system.repair(context);
    const alone = batch.length === 1;
    const onlyOne = alone && work.queue.length === 1 && work.done.length === 0 && work.failed.length === 0;
    if (onlyOne || work.failures > RUN_LIMITS.batchFailures) return failed;
    world.log.warn({ run: id, batch, says: outcome.says }, 'a batch failed');
    // What the next steps are is written down together with the fact that the host has to be put back first.
    work.queue.shift();
    if (alone) {
      const [patch = ''] = batch;
      work.failed.push({ patch, code: 'run.install', message: cleanText(`${outcome.says}\n${outcome.output}`) });
    } else work.queue.unshift(...split(batch, plan, outcome.broken ?? []));
    if (known === undefined || !same(known, await versions(attempt, plan)) || (await system.audit(context)).length > 0) {
      if (work.done.length > 0) work.queue.unshift(work.done.splice(0));
      work.restoring = true;
      save();
      world.failPoint('Install.restoring');
      const restored = await restore(attempt, context, plan, work);
      if (restored !== undefined) return { kind: 'failed', says: `${outcome.says}; ${restored}`, output: outcome.output };
      known = await versions(attempt, plan);
    }
    save();
  }
  if (work.done.length > 0 || work.failed.length + work.leftOut.length === 0) return { kind: 'installed' };
  if (work.leftOut.length > 0) return { kind: 'left-out' };
  const says = work.failed.map(({ patch, message }) => `${patch}: ${message}`).join('\n');
  return { kind: 'failed', says: `none of the patches can be installed: ${says}`, output: '' };
}

/** How far a plan has come; whether it had begun before. */
function workOf(data: RunData, plan: InstallPlan): [BatchWork, boolean] {
  data.batches ??= [];
  const known = data.batches.find(({ format }) => format === plan.format);
  if (known !== undefined) return [known, true];
  const { format } = plan;
  const queue = batchesOf(plan, data);
  const work: BatchWork = { format, queue, done: [], failed: [], leftOut: [], restoring: false, failures: 0 };
  data.batches.push(work);
  return [work, false];
}

/** Suspects from what the others need not wait for; halves where the package manager names none. */
function split(batch: readonly string[], plan: InstallPlan, broken: readonly string[]): string[][] {
  const named = new Set(plan.items.filter(({ name }) => broken.includes(name)).map(({ patch }) => patch));
  const suspects = batch.filter((patch) => named.has(patch));
  const others = batch.filter((patch) => !named.has(patch));
  if (suspects.length > 0 && others.length > 0) return [...suspects.map((patch) => [patch]), others];
  const middle = batch.length >> 1;
  return [batch.slice(0, middle), batch.slice(middle)];
}

async function versions({ world }: Attempt, { format }: InstallPlan): Promise<Readonly<Record<string, string>>> {
  const inventory = await world.hands.inventory();
  return format === 'archive' ? inventory.components : versionsOf(inventory.packages);
}

function same(a: Readonly<Record<string, string>>, b: Readonly<Record<string, string>>): boolean {
  return Object.keys(a).length === Object.keys(b).length && Object.entries(a).every(([key, value]) => b[key] === value);
}

/** Puts the host back to what it was before this plan. @returns why that was not possible */
async function restore(
  attempt: Attempt,
  context: HostContext,
  plan: InstallPlan,
  work: BatchWork,
): Promise<string | undefined> {
  const { id, data, world } = attempt;
  const taken = data.ways.find(({ formats }) => formats.includes(plan.format));
  const way = taken === undefined ? undefined : world.hands.ways.find(({ kind }) => kind === taken.kind);
  if (taken === undefined || way === undefined) return 'there is no way back from which the rest could begin again';
  const restored = await way.restore(taken.id, [plan], context);
  if (!restored.ok) return `${taken.kind}: ${restored.says}`;
  const before = plan.format === 'archive' ? data.before.components : data.before.packages;
  if (!same(before, await versions(attempt, plan))) return `${taken.kind}: the host is not as it was before`;
  work.restoring = false;
  world.journal.runs.save(id, data);
  return undefined;
}

/** Patches of the run that could not be installed while others could. */
export function failedPatches({ batches }: Pick<RunData, 'batches'>): BatchWork['failed'] {
  return (batches ?? []).flatMap(({ failed }) => failed);
}

/** Patches of the run that are not on the host: failed, no time left, or not in any plan. */
export function notInstalled(data: Pick<RunData, 'items' | 'leftOut' | 'batches' | 'resting'>): Set<string> {
  const late = data.items.filter(({ format }) => data.leftOut.some((name) => name === format));
  return new Set([
    ...late.map(({ patch }) => patch),
    ...(data.batches ?? []).flatMap(({ failed, leftOut }) => [...failed.map(({ patch }) => patch), ...leftOut]),
    ...(data.resting ?? []),
  ]);
}

/** What came of the batches, for a person. */
export function describeBatches(data: Pick<RunData, 'leftOut' | 'batches'>): string {
  const failed = failedPatches(data).map(({ patch }) => patch);
  const late = [...new Set([...data.leftOut, ...(data.batches ?? []).flatMap(({ leftOut }) => leftOut)])];
  return [
    'installed',
    ...(failed.length === 0 ? [] : [`could not be installed: ${failed.join(', ')}`]),
    ...(late.length === 0 ? [] : [`no time was left for: ${late.join(', ')}`]),
  ].join('; ');
}

const patchPause = (patch: string) => `patch:${patch}`;

/** Patches of the run that failed before and are left alone for now, and until when. */
export function pausedPatches({ data, world }: Attempt): Map<string, number> {
  const now = world.trustedNow();
  return new Map(
    data.patches.flatMap((patch) => {
      const until = world.journal.backOff.get(patchPause(patch))?.until ?? 0;
      return until > now ? [[patch, until] as const] : [];
    }),
  );
}

/** Stores the pause of each patch that failed, and of the set that is now left, so that no poll tries it at once (trap 21). */
export function pausePatches({ data, world }: Attempt, now: number): void {
  const { backOff } = world.journal;
  const failed = failedPatches(data);
  const first = RUN_LIMITS.retryFirstMs;
  for (const { patch, message } of failed) backOff.fail(patchPause(patch), message, now, first, RUN_LIMITS.retryMostMs);
  for (const patch of (data.batches ?? []).flatMap(({ done }) => done)) backOff.clear(patchPause(patch));
  if (failed.length === 0) return;
  const install = failed.map(({ patch }) => patch);
  const packages = data.items.filter(({ patch }) => install.includes(patch));
  backOff.fail(setPause(setDigest({ install, packages })), failed[0]?.message ?? '', now, first, RUN_LIMITS.retryMostMs);
}
