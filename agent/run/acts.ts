// What is done in each state of a run. Every act may be repeated after a kill. Which state comes next is not decided here:
// an act says what came out of it, the table in states.ts says where that leads.
import { blockedIn } from '#manifests/decide';
import { PatchferryError } from '#manifests/errors';
import type { ContentRef, Inventory } from '#manifests/schema';
import type { HostContext, InstallPlan } from '../packages/index.ts';
import { fault, RUN_LIMITS } from './limits.ts';
import { cleanText, oneLine, type RunData, type RunError, versionsOf } from './runs.ts';
import type { Event, State } from './states.ts';
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

type Act = (attempt: Attempt) => Promise<Came>;
type Code = Parameters<typeof fault>[0];

const never = new AbortController().signal;

/** An outcome with an error of this station. */
function bad(on: Event, code: Code, message: string): Came {
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
  const errno = (error as NodeJS.ErrnoException).code;
  const code = typeof errno === 'string' && /^E[A-Z]+$/.test(errno) ? 'run.io' : 'run.unexpected';
  return { code, message: cleanText(error.message === '' ? String(cause) : error.message), where: null };
}

/** The acts by state. Commit and Failed end a run: they are in ending.ts. */
export const ACTS: Readonly<Record<Exclude<State, 'Idle' | 'Sync' | 'Evaluate' | 'Wait' | 'Commit' | 'Failed'>, Act>> = {
  Stage: stage,
  Precheck: precheck,
  Snapshot: snapshot,
  Install: install,
  Reboot: (attempt) => reboot(attempt, 'the check of what was installed'),
  Verify: verify,
  Rollback: rollback,
  RollbackReboot: (attempt) => reboot(attempt, 'the end of the rollback'),
};

function contextOf({ id, data, world }: Attempt, signal: AbortSignal): HostContext {
  return world.context(id, world.catalogs(data.catalogs), signal);
}

async function stage(attempt: Attempt): Promise<Came> {
  const { data, world } = attempt;
  const context = contextOf(attempt, world.signal);
  if (attempt.again) await discardWays(attempt, context);
  const plans: InstallPlan[] = [];
  for (const [format, items] of Map.groupBy(data.items, (item) => item.format)) {
    const system = format === 'rpm' ? undefined : world.hands.systems[format];
    if (system === undefined || !(await system.available(context))) {
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
  return { newDependencies: group?.newDependencies ?? 'refuse', removals: group?.removals ?? 'refuse' } as const;
}

async function precheck(attempt: Attempt): Promise<Came> {
  const { data, world } = attempt;
  const context = contextOf(attempt, world.signal);
  const found = [];
  for (const plan of data.plans) {
    const system = world.hands.systems[plan.format];
    found.push(...(await system.precheck(plan, { freeBytes: data.group?.freeBytes ?? 0 }, context)));
  }
  const wrong = found.filter(({ ok }) => !ok);
  if (wrong.length > 0) return bad('stop', 'precheck', wrong.map(({ name, says }) => `${name}: ${says}`).join('; '));
  data.health = await healthOf(attempt, 'before', world.signal);
  return { on: 'ok', says: found.map(({ name }) => name).join(', ') || 'nothing to check' };
}

/** Runs the group's checks. They are judged only after the change; how they were before helps to understand that. */
async function healthOf({ data, world }: Attempt, when: 'before' | 'after', signal: AbortSignal) {
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
  { data, world }: Pick<Attempt, 'data' | 'world'>,
  zone: string,
  plans: readonly InstallPlan[],
): string | undefined {
  const window = world.windowOf(data.group, zone);
  if (!window.open) return 'no maintenance window is open';
  if (plans.length > 0 && !window.mayStart) return `nothing new starts in the last part of the window ${window.name}`;
  const packages = plans.reduce((count, plan) => count + plan.changes.length, 0);
  const mayReboot = world.allowReboot && data.group?.reboot === 'if-needed';
  const reserve =
    RUN_LIMITS.reserveMs + packages * RUN_LIMITS.reservePerPackageMs + (mayReboot ? RUN_LIMITS.reserveRebootMs : 0);
  const left = window.closesAt - world.trustedNow();
  return left >= reserve
    ? undefined
    : `the window ${window.name} closes in ${Math.max(0, Math.floor(left / 1000))} s, ${Math.ceil(reserve / 1000)} s are needed`;
}

async function snapshot(attempt: Attempt): Promise<Came> {
  const { id, data, world } = attempt;
  const context = contextOf(attempt, world.signal);
  data.ways = [];
  const uncovered: string[] = [];
  for (const way of world.hands.ways) {
    const open = data.plans.filter(({ format }) => !data.ways.some(({ formats }) => formats.includes(format)));
    const fitting = [];
    for (const plan of open) if ((await way.assess([plan], context)).possible) fitting.push(plan);
    if (fitting.length === 0) continue;
    const assessed = await way.assess(fitting, context);
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
  for (const { format } of data.plans) {
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
  data.waySays = uncovered.length > 0 ? oneLine(`installed without a way back for ${uncovered.join(', ')}`) : null;
  const { zone } = await world.hands.inventory();
  const late = noTime(attempt, zone, data.plans);
  if (late !== undefined) return bad('stop', 'window-closed', late);
  return {
    on: 'ok',
    says: data.ways.map(({ kind, says }) => `${kind}: ${says}`).join('; ') || (data.waySays ?? 'no way back'),
  };
}

async function install(attempt: Attempt): Promise<Came> {
  const { id, data, world } = attempt;
  const context = contextOf(attempt, never); // a change that has begun is not broken off
  const { zone } = await world.hands.inventory();
  data.touched = true;
  world.journal.runs.save(id, data);
  for (const [index, plan] of data.plans.entries()) {
    if (data.installed.includes(plan.format)) continue;
    const system = world.hands.systems[plan.format];
    const late = index > 0 && !attempt.again ? noTime(attempt, zone, [plan]) : undefined;
    if (late !== undefined) {
      data.leftOut.push(plan.format);
      continue;
    }
    if (attempt.again) await system.repair(context);
    const outcome = await system.install(plan, context);
    if (!outcome.ok) return bad('failed', 'install', cleanText(`${outcome.says}\n${outcome.output}`));
    data.installed.push(plan.format);
    world.journal.runs.save(id, data);
    world.failPoint('Install.middle');
  }
  const evidence = world.hands.rebootEvidence(await world.hands.inventory());
  const says = data.leftOut.length === 0 ? 'installed' : `installed; no time was left for: ${data.leftOut.join(', ')}`;
  const wanted = evidence.length > 0 && world.allowReboot && data.group?.reboot === 'if-needed';
  return {
    on: wanted ? 'reboot' : 'ok',
    says: evidence.length === 0 ? says : `${says}; reboot needed: ${evidence.join('; ')}`,
  };
}

/** Told once, then recognised by another boot id. Never outside the window. */
async function reboot({ id, data, world }: Attempt, before: string): Promise<Came> {
  const inventory = await world.hands.inventory();
  if (data.rebootFrom !== null && data.rebootFrom !== inventory.bootId) {
    data.rebooted = true;
    data.rebootFrom = null;
    return { on: 'ok', says: `rebooted, kernel ${inventory.kernels.running}` };
  }
  const late = noTime({ data, world }, inventory.zone, []);
  if (late !== undefined) return { on: 'stop', says: `a reboot is needed but ${late}` };
  data.rebootFrom = inventory.bootId;
  world.journal.runs.save(id, data);
  world.say(`the host reboots now; ${before} follows`);
  await world.hands.reboot();
  return { on: 'pending', says: 'the host was told to reboot' };
}

/** What the after-look found; empty when host and set agree. */
function stillMissing({ data, world }: Attempt, inventory: Inventory): string[] {
  const done = data.plans.filter(({ format }) => data.installed.includes(format));
  const installed = new Set(done.flatMap(({ items }) => items.map(({ patch, name, arch }) => `${patch} ${name}:${arch}`)));
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
  const inventory = await world.hands.inventory();
  const missing = stillMissing(attempt, inventory);
  if (missing.length > 0)
    return bad('failed', 'still-missing', `after the installation the host still lacks ${missing.join(', ')}`);
  data.health = await healthOf(attempt, 'after', never);
  const sick = data.health.filter(({ healthy }) => !healthy);
  if (sick.length > 0) return bad('failed', 'health', sick.map(({ name, says }) => `${name}: ${says}`).join('; '));
  return { on: 'ok', says: `nothing of the set is missing, ${data.health.length} health checks passed` };
}

async function rollback(attempt: Attempt): Promise<Came> {
  const { data, world } = attempt;
  const context = contextOf(attempt, never);
  data.rollback = 'failed'; // until it is shown to have worked
  world.journal.runs.save(attempt.id, data);
  const open = data.plans.filter(({ format }) => !data.ways.some(({ formats }) => formats.includes(format)));
  for (const { format } of data.plans) await world.hands.systems[format].repair(context);
  for (const taken of data.ways.toReversed()) {
    const way = world.hands.ways.find(({ kind }) => kind === taken.kind);
    const plans = data.plans.filter(({ format }) => taken.formats.includes(format));
    if (way === undefined) return { on: 'failed', says: `the way back ${taken.kind} is not known to this version` };
    const restored = await way.restore(taken.id, plans, context);
    if (!restored.ok) return { on: 'failed', says: `${taken.kind}: ${restored.says}` };
    world.failPoint('Rollback.middle');
  }
  const inventory = await world.hands.inventory();
  const differs = data.undoes === null ? differsFromBefore(attempt, inventory) : notUndone(data, inventory);
  if (differs !== undefined) {
    const without = open.length === 0 ? '' : `; there is no way back for ${open.map(({ format }) => format).join(', ')}`;
    return { on: 'failed', says: `the host is not as before: ${differs}${without}` };
  }
  data.rollback = 'done';
  const again = data.rebooted && world.allowReboot && world.hands.rebootEvidence(inventory).length > 0;
  return { on: again ? 'reboot' : 'ok', says: 'the host is as before: same packages, same versions' };
}

function differsFromBefore({ data, world }: Attempt, inventory: Inventory): string | undefined {
  const same = world.hands.digest(inventory) === data.before.digest && equal(inventory.components, data.before.components);
  if (same) return undefined;
  const now = versionsOf(inventory.packages);
  const names = [...new Set([...Object.keys(now), ...Object.keys(data.before.packages)])];
  const wrong = names.filter((name) => now[name] !== data.before.packages[name]);
  return oneLine(
    wrong.map((name) => `${name} ${now[name] ?? 'absent'} instead of ${data.before.packages[name] ?? 'absent'}`).join(', ') ||
      'components differ',
    400,
  );
}

/** By hand, later: other packages may have changed since, so only those of the run are looked at. */
function notUndone(data: RunData, inventory: Inventory): string | undefined {
  const now: Record<string, string> = { ...versionsOf(inventory.packages) };
  const wrong = data.plans
    .filter(({ format }) => format === 'deb')
    .flatMap(({ changes }) => changes)
    .filter(({ name, arch, from }) => (now[`${name}:${arch}`] ?? null) !== from);
  const components = data.plans
    .filter(({ format }) => format === 'archive')
    .flatMap(({ changes }) => changes)
    .filter(({ name, from }) => (inventory.components[name] ?? null) !== from);
  const all = [...wrong, ...components];
  return all.length === 0
    ? undefined
    : oneLine(all.map(({ name, from }) => `${name} is not ${from ?? 'absent'}`).join(', '), 400);
}

function equal(a: Readonly<Record<string, string>>, b: Readonly<Record<string, string>>): boolean {
  return Object.keys(a).length === Object.keys(b).length && Object.entries(a).every(([key, value]) => b[key] === value);
}

/** Gives back the room of ways that nothing will use any more. */
export async function discardWays({ data, world }: Attempt, context: HostContext): Promise<void> {
  for (const taken of data.ways) await world.hands.ways.find(({ kind }) => kind === taken.kind)?.discard(taken.id, context);
  data.ways = [];
}
