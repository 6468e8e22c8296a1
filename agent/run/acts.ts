// What is done in each state of a run. Every act may be repeated after a kill. Which state comes next is not decided here:
// an act says what came out of it, the table in states.ts says where that leads.
import { blockedIn, timeNeeded } from '#manifests/decide';
import { PatchferryError } from '#manifests/errors';
import { utcSeconds } from '#manifests/platform/clock';
import type { ContentRef, Inventory } from '#manifests/schema';
import type { HostContext, InstallPlan } from '../packages/index.ts';
import type { WayBack } from '../snapshot/index.ts';
import { batchesOf, describeBatches, installInBatches, notInstalled, partOf, pausedPatches } from './batches.ts';
import { runHooks } from './hooks.ts';
import { fault, RUN_LIMITS } from './limits.ts';
import { noteNeed, rebootNeed, restartServices, wantsReboot } from './need.ts';
import { inTheWay, lookAndMend } from './prechecks.ts';
import { cleanText, oneLine, type RunData, type RunError } from './runs.ts';
import type { Event } from './states.ts';
import type { RunWorld } from './world.ts';

/** One run in the hands of the engine. */
export interface Attempt {
  readonly id: string;
  readonly data: RunData;
  readonly world: RunWorld;
  /** This state was entered before and the process died in it. */
  readonly again: boolean;
}

/** `pending`: the host was told to reboot; the run goes on when the agent starts again. */
export interface Came {
  readonly on: Event | 'pending';
  readonly says: string;
  readonly error?: RunError;
}

export type Act = (attempt: Attempt) => Promise<Came>;
type Code = Parameters<typeof fault>[0];

const never = new AbortController().signal;

/** Why no way back is kept although one may be possible. */
export const NONE_WANTED = 'the group wants none (wayBack: none)';

/** SQLITE_IOERR and SQLITE_FULL: the disk below the journal, not the journal. */
const SQLITE_DISK: readonly number[] = [10, 13];

/** How a package manager says that it was the disk; such a failure says nothing about the set. */
const DISK_TROUBLE = /No space left on device|Disk quota exceeded|Read-only file system|Input\/output error/;

/** An outcome with an error of this station. */
export function bad(on: Event, code: Code, message: string): Came {
  return { on, says: `${code}: ${message}`, error: asRunError(fault(code, message)) };
}

/** Any error as a result carries it. Errors of the file system get a code of their own: space may come back. */
export function asRunError(cause: unknown): RunError {
  if (cause instanceof PatchferryError) {
    return {
      code: cause.code,
      message: cleanText(cause.message),
      where: cause.where === undefined ? null : oneLine(cause.where),
    };
  }
  const error = cause instanceof Error ? cause : new Error(String(cause));
  const { code: errno, errcode } = error as NodeJS.ErrnoException & { errcode?: number };
  const isDisk = (typeof errno === 'string' && /^E[A-Z]+$/.test(errno)) || SQLITE_DISK.includes((errcode ?? 0) & 0xff);
  const code = isDisk ? 'run.io' : 'run.unexpected';
  return { code, message: cleanText(error.message === '' ? String(cause) : error.message), where: null };
}

/** States whose act is elsewhere: before a run, at a reboot (rebooting.ts), on the way back (rollback.ts, root.ts), at its end (ending.ts). */
type There = 'Stage' | 'Precheck' | 'Snapshot' | 'Install' | 'Verify';

/** The acts by state. */
export const ACTS: Readonly<Record<There, Act>> = {
  Stage: stage,
  Precheck: precheck,
  Snapshot: snapshot,
  Install: install,
  Verify: verify,
};

export function contextOf({ id, data, world }: Attempt, signal: AbortSignal): HostContext {
  const { conffiles } = data.group ?? {};
  return { ...world.context(id, world.catalogs(data.catalogs), signal), ...(conffiles === undefined ? {} : { conffiles }) };
}

async function stage(attempt: Attempt): Promise<Came> {
  const { data, world } = attempt;
  const context = contextOf(attempt, world.signal);
  if (attempt.again) await discardWays(attempt, context);
  const stop = await runHooks(attempt, 'pre-download', world.signal);
  if (stop !== undefined) return bad('stop', stop.code, stop.message);
  const plans: InstallPlan[] = [];
  const paused = pausedPatches(attempt);
  if (paused.size > 0 && data.items.every(({ patch }) => paused.has(patch))) {
    return bad(
      'stop',
      'kept-back',
      `every patch of the set failed before and is left alone until ${utcSeconds(Math.min(...paused.values()))}`,
    );
  }
  data.resting = [...paused.keys()];
  const failures = world.journal.runs.memory().failed.filter(({ code }) => code === 'run.install');
  data.suspects = failures.map(({ patch }) => patch).filter((patch) => data.patches.includes(patch));
  const open = data.items.filter(({ patch }) => !paused.has(patch));
  for (const [format, items] of Map.groupBy(open, (item) => item.format)) {
    const system = world.hands.systems[format];
    if (!(await system.available(context))) {
      return bad('stop', 'no-package-system', `this host has no way to install patches of the format ${format}`);
    }
    const wanted = items.map(({ repository }) => repository);
    const indexes = context.catalogs
      .filter((catalog) => catalog.repositories.some(({ name }) => wanted.includes(name)))
      .flatMap((catalog) => system.indexPayloads(catalog, items.find(({ arch }) => arch !== 'all')?.arch));
    await world.fetchPayloads(indexes, world.signal);
    const plan = await system.plan(items, planPolicy(data), context);
    if (plan.refused !== null) {
      const { code, says } = plan.refused;
      return {
        on: 'stop',
        says: `${code}: ${says}`,
        error: { code: oneLine(code, 100), message: cleanText(says), where: format },
      };
    }
    const [blocked] = blockedIn(plan.changes, data.blocked);
    if (blocked !== undefined) {
      const says = `${blocked.name} ${blocked.version} would come along, which baseline ${blocked.baseline} rejects (block)`;
      return bad('stop', 'blocked', says);
    }
    if (plan.items.length > 0) plans.push(plan);
    else if (plans.length === 0 && plan.keptBack.length > 0) {
      const why = plan.keptBack.map(({ name, says }) => `${name}: ${says}`).join('; ');
      return bad('stop', 'kept-back', `every package of the set stays as it is: ${why}`);
    }
  }
  if (plans.length === 0) return bad('stop', 'kept-back', 'nothing of the set can be installed');
  const payloads: ContentRef[] = plans.flatMap((plan) => plan.payloads.map(({ sha256, size }) => ({ sha256, size })));
  await world.fetchPayloads(payloads, world.signal);
  data.plans = plans;
  const bytes = payloads.reduce((sum, { size }) => sum + size, 0);
  return {
    on: 'ok',
    says: `${plans.reduce((n, plan) => n + plan.changes.length, 0)} changes planned, ${bytes} bytes are here`,
  };
}

function planPolicy({ group }: RunData) {
  const { newDependencies = 'refuse', removals = 'refuse', autoremove = 'never' } = group ?? {};
  return { newDependencies, removals, autoremove };
}

async function precheck(attempt: Attempt): Promise<Came> {
  const { data, world } = attempt;
  const context = contextOf(attempt, world.signal);
  const found = await lookAndMend(attempt, context);
  const wrong = inTheWay(found);
  if (wrong !== undefined) return bad('stop', wrong.later ? 'precheck-later' : 'precheck', wrong.says);
  data.health = await healthOf(attempt, 'before', world.signal);
  const noted = found.filter(({ ok }) => !ok).map(({ name, says }) => `; noted: ${name}: ${says}`);
  return { on: 'ok', says: `${found.map(({ name }) => name).join(', ') || 'nothing to check'}${noted.join('')}` };
}

/** Runs the group's checks. They are judged only after the change; how they were before helps to understand that. */
export async function healthOf({ data, world }: Attempt, when: 'before' | 'after', signal: AbortSignal) {
  const health = [];
  for (const check of data.group?.health ?? []) {
    const { healthy, says } = await world.hands.checkHealth(check, signal);
    const earlier = data.health.find(({ name }) => name === check.name);
    const also = when === 'after' && !healthy && earlier?.healthy === false ? ' (it failed before the run too)' : '';
    health.push({ name: check.name, healthy, says: cleanText(`${when}: ${says}${also}`, RUN_LIMITS.healthOutput) });
  }
  return health;
}

/** Why nothing more may be begun in this window; undefined while there is time for it. */
export function noTime(
  { data, world }: { readonly data: Pick<RunData, 'group' | 'lane'>; readonly world: RunWorld },
  zone: string,
  plans: readonly Pick<InstallPlan, 'items' | 'changes'>[],
  purpose: 'install' | 'reboot' = 'install',
): string | undefined {
  const window = world.windowOf(data, zone, purpose);
  if (!window.open) return 'no maintenance window is open';
  if (plans.length > 0 && !window.mayStart) return `nothing new starts in the last part of the window ${window.name}`;
  const packages = plans.reduce((count, plan) => count + plan.changes.length, 0);
  const patches = [...new Set(plans.flatMap(({ items }) => items.map(({ patch }) => patch)))];
  // A group that says what is to be kept free, or knows how long its patches take, is reckoned with exactly (trap 7).
  const told = data.group !== null && (data.group.reserve ?? data.group.timings) !== undefined;
  const needed = told && data.group !== null ? timeNeeded(patches, data.group).ms : 0;
  const mayReboot = world.allowReboot && (data.group?.reboot ?? 'never') !== 'never';
  const least = RUN_LIMITS.reserveMs + packages * RUN_LIMITS.reservePerPackageMs + (mayReboot ? RUN_LIMITS.reserveRebootMs : 0);
  const reserve = Math.max(least, needed);
  const left = window.closesAt - world.trustedNow();
  return left >= reserve
    ? undefined
    : `the window ${window.name} closes in ${Math.max(0, Math.floor(left / 1000))} s, ${Math.ceil(reserve / 1000)} s are needed`;
}

async function snapshot(attempt: Attempt): Promise<Came> {
  const { id, data, world } = attempt;
  const context = contextOf(attempt, world.signal);
  data.ways = [];
  const { zone } = await world.hands.inventory();
  const early = noTime(attempt, zone, []);
  if (early !== undefined) return bad('stop', 'window-closed', early);
  const stop = await runHooks(attempt, 'pre-install', world.signal);
  if (stop !== undefined) return bad('stop', stop.code, stop.message);
  const uncovered: string[] = [];
  const unwanted = data.group?.wayBack === 'none';
  for (const way of unwanted ? [] : world.hands.ways) {
    const open = data.plans.filter(({ format }) => !data.ways.some(({ formats }) => formats.includes(format)));
    const fitting = [];
    for (const plan of open) if ((await assess(attempt, way, [plan], context)).possible) fitting.push(plan);
    if (fitting.length === 0) continue;
    const assessed = await assess(attempt, way, fitting, context);
    if (!assessed.possible) continue;
    const formats = fitting.map(({ format }) => format);
    // named before it is taken, so that a kill in between leaves nothing that nobody knows of
    data.ways.push({ kind: way.kind, id, says: assessed.says, formats });
    world.journal.runs.save(id, data);
    const taken = await way.take(id, fitting, context);
    const notCovered = assessed.notCovered.length === 0 ? '' : `; not covered: ${assessed.notCovered.join(', ')}`;
    data.ways[data.ways.length - 1] = { kind: way.kind, id: taken.id, says: oneLine(taken.says + notCovered), formats };
    world.journal.runs.save(id, data);
  }
  for (const { format } of unwanted ? [] : data.plans) {
    if (data.ways.some(({ formats }) => formats.includes(format))) continue;
    const reasons = [];
    for (const way of world.hands.ways)
      reasons.push(
        (
          await way.assess(
            data.plans.filter((p) => p.format === format),
            context,
          )
        ).says,
      );
    uncovered.push(`${format}: ${reasons.join('; ')}`);
  }
  if (uncovered.length > 0 && data.group?.wayBack !== 'preferred') {
    return bad('stop', 'no-way-back', `the group demands a way back and this host has none for ${uncovered.join(', ')}`);
  }
  data.waySays = unwanted
    ? `installed without a way back: ${NONE_WANTED}`
    : uncovered.length > 0
      ? oneLine(`installed without a way back for ${uncovered.join(', ')}`)
      : null;
  const late = noTime(
    attempt,
    zone,
    data.plans.slice(0, 1).map((plan) => partOf(plan, batchesOf(plan, data)[0] ?? [])),
  );
  if (late !== undefined) return bad('stop', 'window-closed', late);
  return {
    on: 'ok',
    says: data.ways.map(({ kind, says }) => `${kind}: ${says}`).join('; ') || (data.waySays ?? 'no way back'),
  };
}

/** Asks a way back; where only room is lacking, older ways back make place for the new one, the oldest first. */
async function assess({ world }: Attempt, way: WayBack, plans: readonly InstallPlan[], context: HostContext) {
  const { runs, ways } = world.journal;
  for (;;) {
    const found = await way.assess(plans, context);
    const [oldest] = ways.kept();
    if (found.lacks !== 'room' || oldest === undefined || world.protectedWays().has(oldest.run)) return found;
    ways.giveUp(oldest.run, 'room was needed for a newer way back');
    for (const { kind, id } of runs.get(oldest.run)?.data.ways ?? [])
      await world.hands.ways.find((one) => one.kind === kind)?.discard(id, context);
  }
}

async function install(attempt: Attempt): Promise<Came> {
  const { id, data, world } = attempt;
  const context = contextOf(attempt, never); // a change that has begun is not broken off
  const { zone } = await world.hands.inventory();
  data.touched = true;
  world.journal.runs.save(id, data);
  for (const [index, plan] of data.plans.entries()) {
    if (data.installed.includes(plan.format)) continue;
    const came = await installInBatches(attempt, context, plan, {
      first: index === 0,
      late: (patches) => noTime(attempt, zone, [partOf(plan, patches)]),
    });
    if (came.kind === 'failed') {
      const text = `${came.says}\n${came.output}`;
      return bad('failed', DISK_TROUBLE.test(text) ? 'io' : 'install', cleanText(text));
    }
    (came.kind === 'installed' ? data.installed : data.leftOut).push(plan.format);
    if (came.kind === 'installed') await finish(attempt, context, plan);
    world.journal.runs.save(id, data);
    world.failPoint('Install.middle');
  }
  const stop = await runHooks(attempt, 'post-install', never);
  if (stop !== undefined) return bad('failed', 'hook', stop.message); // too late to wait: the change is made
  const dead = await restartServices(attempt);
  if (dead.length > 0) return bad('failed', 'restart', dead.join('; '));
  const need = rebootNeed(attempt, await world.hands.inventory());
  noteNeed(world, need.needed);
  const says = describeBatches(data);
  return {
    on: wantsReboot(world, data.group, need) ? 'reboot' : 'ok',
    says: need.evidence.length === 0 ? says : `${says}; ${need.needed ? 'reboot needed: ' : ''}${need.evidence.join('; ')}`,
  };
}

/** Takes away what is unused now, as far as nothing of the plan is still to come. Trouble is told; the audit judges the host. */
async function finish({ data, world }: Attempt, context: HostContext, plan: InstallPlan): Promise<void> {
  const system = world.hands.systems[plan.format];
  if ((plan.unused ?? []).length === 0 || system.finish === undefined || notInstalled(data).size > 0) return;
  world.say('removes what nothing needs any more …');
  const { ok, says } = await system.finish(plan, context);
  if (!ok) data.waySays = oneLine([data.waySays, `unused packages stay: ${says}`].filter((text) => text !== null).join('; '));
}

/** What the after-look found; empty when host and set agree. */
function stillMissing({ data, world }: Attempt, inventory: Inventory): string[] {
  const done = data.plans.filter(({ format }) => data.installed.includes(format));
  const lacking = notInstalled(data);
  const items = done.flatMap((plan) => plan.items).filter(({ patch }) => !lacking.has(patch));
  const installed = new Set(items.map(({ patch, name, arch }) => `${patch} ${name}:${arch}`));
  const expected = data.patches.filter((patch) => {
    const items = data.items.filter((item) => item.patch === patch);
    return items.length > 0 && items.every(({ name, arch }) => installed.has(`${patch} ${name}:${arch}`));
  });
  const evaluation = world.evaluate(inventory, { installedByUs: [], failed: [], rolledBack: [] });
  return expected.filter((patch) =>
    evaluation.findings.some((finding) => finding.patch === patch && !finding.state.startsWith('INSTALLED')),
  );
}

async function verify(attempt: Attempt): Promise<Came> {
  const { data, world } = attempt;
  const context = contextOf(attempt, never);
  for (const { format } of data.plans) {
    const wrong = await world.hands.systems[format].audit(context);
    if (wrong.length > 0) return bad('failed', 'audit', cleanText(wrong.join('\n')));
  }
  if (data.rebooted) {
    const stop = await runHooks(attempt, 'post-reboot', never);
    if (stop !== undefined) return bad('failed', 'hook', stop.message);
  }
  const inventory = await world.hands.inventory();
  // a reboot that an earlier run owed installs nothing: what became of its patches since is no business of this run
  const missing = data.undoes === null ? stillMissing(attempt, inventory) : [];
  if (missing.length > 0)
    return bad('failed', 'still-missing', `after the installation the host still lacks ${missing.join(', ')}`);
  data.health = await healthOf(attempt, 'after', never);
  const sick = data.health.filter(({ healthy }) => !healthy);
  if (sick.length > 0) return bad('failed', 'health', sick.map(({ name, says }) => `${name}: ${says}`).join('; '));
  return { on: 'ok', says: `nothing of the set is missing, ${data.health.length} health checks passed` };
}

/** Gives back the room of ways that nothing will use any more. */
export async function discardWays({ data, world }: Attempt, context: HostContext): Promise<void> {
  for (const taken of data.ways) await world.hands.ways.find(({ kind }) => kind === taken.kind)?.discard(taken.id, context);
  data.ways = [];
}
