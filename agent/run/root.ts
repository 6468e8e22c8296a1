// The whole root put back at the next boot: chosen in the state Rollback, made and switched to in RootSwitch, judged after the boot
// in RootVerify. How far it has come is told by which root runs and which comes next, never by what was meant to be done.
import type { WholeRoot } from '../snapshot/index.ts';
import { type Attempt, bad, type Came, healthOf } from './acts.ts';
import { notAsBefore } from './as-before.ts';
import { fault, RUN_LIMITS } from './limits.ts';
import { forgetRoot, keepOldRoot, noteRoot } from './old-roots.ts';
import { rebootWaits, waitsHere } from './rebooting.ts';
import { oneLine, type RootWork } from './runs.ts';
import type { State } from './states.ts';

const MINUTE_MS = 60_000;
const never = new AbortController().signal;

function contextOf({ id, world }: Attempt) {
  return world.context(id, [], never);
}

/** What the kind of way back has for whole roots. */
function wholeOf({ data, world }: Attempt, kind: RootWork['kind'] | undefined = data.root?.kind): WholeRoot | undefined {
  return world.hands.ways.find((way) => way.kind === kind)?.wholeRoot;
}

/** The way back of the run whose root could be put back whole, or why there is none. */
async function findRoot(attempt: Attempt): Promise<{ readonly work: RootWork } | { readonly says: string }> {
  const { data } = attempt;
  const taken = data.ways.find(({ kind }) => wholeOf(attempt, kind) !== undefined);
  const whole = wholeOf(attempt, taken?.kind);
  if (taken === undefined || whole === undefined)
    return { says: `no way back of this run has the whole root (${data.ways.map(({ kind }) => kind).join(', ') || 'none'})` };
  const { possible, says } = await whole.assess(taken.id, contextOf(attempt));
  if (!possible) return { says };
  return { work: { phase: 'asked', kind: taken.kind, id: taken.id, pair: null, tries: 0, why: null } };
}

/** By hand: notes that the whole root is wanted, or refuses before anything is begun. @throws run.whole-root */
export async function askForRoot(attempt: Attempt): Promise<void> {
  const found = await findRoot(attempt);
  if ('says' in found) throw fault('whole-root', `the whole root cannot be put back: ${found.says}`);
  attempt.data.root = found.work;
}

/** Why this agent does not reboot the host by itself now; undefined when it does. */
async function rebootsNot({ data, world }: Attempt, asks = rebootWaits): Promise<string | undefined> {
  if (!world.allowReboot || (data.group?.reboot ?? 'never') === 'never') return 'this agent may not reboot the host';
  return asks(world, data, (await world.hands.inventory()).zone);
}

/** How the state Rollback goes on: in place, by the whole root, or not at all. */
export async function rootInstead(
  attempt: Attempt,
): Promise<{ kind: 'in-place' } | { kind: 'whole'; work: RootWork } | { kind: 'stuck'; says: string }> {
  const { id, data, world } = attempt;
  const byHand = data.error?.code === 'run.by-hand'; // its owner says what he wants
  if (data.root === undefined && !byHand && data.group?.rollback === 'whole-root') {
    const found = await findRoot(attempt);
    const why = 'says' in found ? found.says : await rebootsNot(attempt); // nobody is there to boot it
    if (why !== undefined) say(attempt, `in place, not the whole root: ${why}`);
    else if ('work' in found) data.root = found.work;
    world.journal.runs.save(id, data);
  }
  const { root } = data;
  if (root === undefined || root.phase === 'given-up') return { kind: 'in-place' };
  if (root.phase === 'asked') return { kind: 'whole', work: root };
  if (root.phase === 'back')
    return { kind: 'stuck', says: `the root that was put back is not well (${root.why}), and could not be switched back` };
  await giveUp(attempt, root);
  return { kind: 'in-place' };
}

function say({ data }: Attempt, says: string): void {
  data.waySays = oneLine([data.waySays, says].filter((one) => one !== null).join('; '));
}

/** The root that runs stays the root; what was made is removed. */
async function giveUp(attempt: Attempt, root: RootWork): Promise<void> {
  const { id, data, world } = attempt;
  const [whole, context] = [wholeOf(attempt), contextOf(attempt)];
  world.journal.goOn();
  if (root.pair !== null) await whole?.switchTo(root.pair, 'from', context);
  await whole?.discard(root.id, null, context);
  forgetRoot(world.journal, root.id);
  data.root = { ...root, phase: 'given-up' };
  data.rebootFrom = null;
  say(attempt, `in place, not the whole root: ${root.why ?? 'it died too often'}`);
  world.journal.runs.save(id, data);
}

/** The act of RootSwitch, both ways: makes the other root ready, switches the next boot to it, and has the host reboot if it may. */
export async function switchRoot(attempt: Attempt): Promise<Came> {
  const { id, data, world } = attempt;
  const { root } = data;
  const whole = wholeOf(attempt);
  if (root === undefined || whole === undefined) return bad('failed', 'whole-root', 'this version knows no such root');
  const context = contextOf(attempt);
  const { bootId } = await world.hands.inventory();
  if (root.phase === 'switched' && data.rebootFrom === null) root.phase = 'back'; // judged too often without an end
  const back = root.phase === 'back';
  const fails = (says: string): Came => {
    root.why ??= says;
    return bad('failed', 'whole-root', says);
  };
  if (root.pair !== null && data.rebootFrom !== null) {
    const wanted = back ? root.pair.from : root.pair.to;
    const { runs, next } = await whole.look(root.pair, context);
    if (runs === wanted.id) {
      world.journal.goOn();
      data.rebooted = true;
      data.rebootFrom = null;
      return { on: 'ok', says: `the host runs on ${wanted.name} (${wanted.id})` };
    }
    if (next === wanted.id) return fails(`the host was started and ${runs} is its root, not ${wanted.name} (${wanted.id})`);
    world.log.warn({ run: id, runs, next }, 'a switch of the root was cut off and is made again');
  }
  world.journal.goOn();
  root.tries += 1;
  if (root.tries > RUN_LIMITS.deaths * 2) return fails('it was begun too often');
  try {
    const waits = await rebootsNot(attempt);
    if (waits === undefined) await announce(attempt);
    if (!back) {
      root.phase = 'making';
      world.journal.atomically(() => {
        noteRoot(world.journal, { run: root.id, kind: root.kind, since: world.trustedNow() });
        world.journal.runs.save(id, data);
      });
      root.pair = await whole.make(root.id, context);
      world.failPoint('RootSwitch.made');
    }
    if (root.pair === null) return fails('there is no root to switch back to');
    root.phase = back ? 'back' : 'switched';
    data.rebootFrom = bootId;
    world.journal.runs.save(id, data); // what the other root's copy says, too
    world.failPoint('RootSwitch.noted');
    await whole.carry(root.pair, root.id, context);
    world.failPoint('RootSwitch.carried');
    world.journal.standStill(bootId); // what is written from now on would be lost with this root
    world.failPoint('RootSwitch.still');
    await whole.switchTo(root.pair, back ? 'from' : 'to', context);
    world.failPoint('RootSwitch.switched');
    return await restart(attempt, waits);
  } catch (cause) {
    world.journal.goOn();
    data.rebootFrom = null;
    root.why ??= oneLine((cause as Error).message, 300);
    throw cause;
  }
}

async function announce({ data, world }: Attempt): Promise<void> {
  const minutes = data.group?.rebootNotice?.minutes ?? 0;
  const when = minutes === 0 ? 'now' : `in ${minutes} minutes`;
  await world.hands.notify(`patchferry reboots this host ${when}: its whole root is put back`);
  if (minutes > 0) await world.hands.wait(minutes * MINUTE_MS, world.signal);
}

async function restart({ data, world }: Attempt, waits: string | undefined): Promise<Came> {
  const root = data.root?.phase === 'back' ? data.root.pair?.from : data.root?.pair?.to;
  const says = `the next boot starts from ${root?.name} (${root?.id})`;
  if (waits !== undefined) return { on: 'pending', says: `${says}; not rebooted by itself: ${waits}` };
  world.say(`${says}; the host reboots now`);
  await world.hands.reboot();
  return { on: 'pending', says };
}

/** The root is switched and this boot is not over: nothing is written or done but the reboot. Undefined: go on. */
export async function rootWaitsForBoot(attempt: Attempt, state: State, boot: string): Promise<string | undefined> {
  const { data } = attempt;
  const { root } = data;
  if (state !== 'RootSwitch' || root === undefined || root.pair === null || data.rebootFrom !== boot) return undefined;
  const { runs, next } = (await wholeOf(attempt)?.look(root.pair, contextOf(attempt))) ?? { runs: '', next: '' };
  if (runs === next || next !== (root.phase === 'back' ? root.pair.from.id : root.pair.to.id)) return undefined;
  return (await restart(attempt, await rebootsNot(attempt, waitsHere))).says; // a lease was asked for before, and would be noted
}

/** The act of RootVerify: by evidence, the package databases, what was to be back, and the group's health checks. */
export async function verifyRoot(attempt: Attempt): Promise<Came> {
  const { id, data, world } = attempt;
  const { root } = data;
  const whole = wholeOf(attempt);
  if (root === undefined || root.pair === null || whole === undefined)
    return bad('stop', 'whole-root', 'this version knows no such root');
  const { runs } = await whole.look(root.pair, contextOf(attempt));
  if (root.phase === 'back') {
    const says = `the root that was put back was not well (${root.why}): the host is back on ${root.pair.from.name} (${runs})`;
    await whole.discard(root.id, root.pair.to.id, contextOf(attempt));
    forgetRoot(world.journal, root.id);
    say(attempt, says);
    return { on: 'stop', says };
  }
  const wrong = await notWell(attempt);
  if (wrong !== undefined) {
    root.phase = 'back';
    root.why = oneLine(wrong, 300);
    world.journal.runs.save(id, data);
    return { on: 'failed', says: wrong };
  }
  await whole.settle?.(root.pair, contextOf(attempt));
  data.rollback = 'done';
  keepOldRoot(world.journal, root.id, root.pair.from);
  const says = `the whole root is as before: ${root.pair.to.name} (${runs}) in place of ${root.pair.from.id}, which is kept`;
  say(attempt, says);
  return { on: 'ok', says };
}

async function notWell(attempt: Attempt): Promise<string | undefined> {
  const { data, world } = attempt;
  for (const { format } of data.plans) {
    const wrong = await world.hands.systems[format].audit(contextOf(attempt));
    if (wrong.length > 0) return `its package database is not healthy: ${wrong.join('; ')}`;
  }
  const differs = notAsBefore(attempt, await world.hands.inventory());
  if (differs !== undefined) return `it is not as before: ${differs}`;
  data.health = await healthOf(attempt, 'after', never);
  const sick = data.health.filter(({ healthy }) => !healthy);
  return sick.length === 0 ? undefined : sick.map(({ name, says }) => `${name}: ${says}`).join('; ');
}
