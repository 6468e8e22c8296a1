// The act of rebooting: never outside a window, told to people beforehand, held up by them up to a deadline. A reboot that could
// not be made stays owed (engine.ts).
import { utcSeconds } from '#manifests/platform/clock';
import { type Attempt, type Came, noTime } from './acts.ts';
import { runHooks } from './hooks.ts';
import { NEEDED_SINCE, noteNeed, rebootNeed } from './need.ts';
import { oneLine, type RunData } from './runs.ts';
import type { RunWorld } from './world.ts';

const HOUR_MS = 3_600_000;
const MINUTE_MS = 60_000;

const never = new AbortController().signal;

/** Why the host may not reboot now though it should; undefined when it may. Other hosts of the site are asked last. */
export async function rebootWaits(
  world: RunWorld,
  data: Pick<RunData, 'group' | 'lane'>,
  zone: string,
): Promise<string | undefined> {
  return (await waitsHere(world, data, zone)) ?? (await world.rebootLease?.(data.group));
}

/** The same without asking others. */
export async function waitsHere(
  world: RunWorld,
  data: Pick<RunData, 'group' | 'lane'>,
  zone: string,
): Promise<string | undefined> {
  const late = noTime({ world, data }, zone, [], 'reboot');
  if (late !== undefined) return late;
  const hours = data.group?.rebootNotice?.deferHours ?? 0;
  const since = Number(world.journal.meta(NEEDED_SINCE) ?? world.trustedNow());
  const deadline = since + hours * HOUR_MS;
  if (hours === 0 || world.trustedNow() >= deadline) return undefined;
  const users = await world.hands.loggedIn();
  return users.length === 0
    ? undefined
    : `${users.join(', ')} is logged in; no longer waited for after ${utcSeconds(deadline)}`;
}

/** The act of both reboot states: told once, then recognised by another boot id. */
export async function reboot(attempt: Attempt, before: string): Promise<Came> {
  const { id, data, world } = attempt;
  const inventory = await world.hands.inventory();
  if (data.rebootFrom !== null && data.rebootFrom !== inventory.bootId) {
    data.rebooted = true;
    data.rebootFrom = null;
    return { on: 'ok', says: `rebooted, kernel ${inventory.kernels.running}` };
  }
  noteNeed(world, true);
  const waits = await rebootWaits(world, data, inventory.zone);
  if (waits !== undefined) return { on: 'stop', says: `a reboot is needed but ${waits}` };
  if (data.rollback === 'none') {
    const stop = await runHooks(attempt, 'pre-reboot', never);
    if (stop !== undefined) return { on: 'stop', says: oneLine(`a reboot is needed but ${stop.message}`) };
  }
  const minutes = data.group?.rebootNotice?.minutes ?? 0;
  const { evidence } = rebootNeed(attempt, inventory);
  const why = evidence[0] ?? 'to end a rollback';
  const when = minutes === 0 ? 'now' : `in ${minutes} minutes`;
  await world.hands.notify(oneLine(`patchferry reboots this host ${when}: ${why}`));
  if (minutes > 0) {
    await world.hands.wait(minutes * MINUTE_MS, world.signal);
    if (world.signal.aborted)
      return { on: 'stop', says: 'a reboot is needed but the agent was stopped while it was announced' };
    const late = noTime(attempt, inventory.zone, [], 'reboot');
    if (late !== undefined) return { on: 'stop', says: `a reboot is needed but ${late}` };
  }
  data.rebootFrom = inventory.bootId;
  world.journal.runs.save(id, data);
  world.say(`the host reboots now; ${before} follows`);
  await world.hands.reboot();
  return { on: 'pending', says: 'the host was told to reboot' };
}
