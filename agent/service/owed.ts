// What is made besides installing: a reboot that an earlier run owes, and the rollback that a recall orders. Both are runs of
// their own, in windows, journaled and judged like any other.
import type { Evaluation } from '#manifests/decide';
import { EXIT } from '#manifests/errors';
import { utcSeconds } from '#manifests/platform/clock';
import type { Inventory } from '#manifests/schema';
import type { PolicyView } from '../poll/index.ts';
import {
  HANDS_NEEDED,
  makeOwedReboot,
  RUN_LIMITS,
  type RunEnd,
  type RunWorld,
  rebootNeed,
  rebootWaits,
  undoLast,
  wantsReboot,
} from '../run/index.ts';
import type { Agent } from './agent.ts';
import type { Tally } from './tally.ts';

/** Name of the pause between attempts at a reboot that is owed. */
const OWED_REBOOT = 'reboot:owed';

interface Making {
  readonly agent: Agent;
  readonly view: PolicyView;
  readonly world: RunWorld;
  readonly tally: Tally;
  readonly inventory: Inventory;
}

/** A reboot that an earlier run could not make: made as soon as window, people and policy let it. Undefined when none was made. */
export async function rebootOwed(
  evaluation: Evaluation,
  { agent, view, world, tally, inventory }: Making,
): Promise<RunEnd | undefined> {
  const { journal } = agent;
  const patches = journal.runs
    .memory()
    .installedByUs.filter(({ boot, rebootNeeded }) => rebootNeeded && boot === inventory.bootId)
    .map(({ patch }) => patch);
  const owed = patches.length > 0;
  if (!owed) journal.backOff.clear(OWED_REBOOT);
  if (!owed || journal.meta(HANDS_NEEDED) !== undefined) return undefined;
  const { group } = view;
  const need = rebootNeed(
    { world, data: { group, rebooted: false, installed: ['deb'], catalogs: [...view.catalogDocuments], patches } },
    inventory,
  );
  if (!wantsReboot(world, group, need)) return undefined;
  const pause = journal.backOff.get(OWED_REBOOT);
  const paused = pause !== undefined && pause.until > agent.trustedNow();
  const waits = paused
    ? `the last attempt to reboot came to nothing; tried again after ${utcSeconds(pause.until)}`
    : evaluation.mayReboot
      ? await rebootWaits(world, { group }, inventory.zone)
      : 'no window for reboots is open, or a halt stops them';
  if (waits !== undefined) {
    if (!evaluation.windows.reboot.open) tally.soonest(evaluation.windows.reboot.opensAt);
    tally.says.push(`a reboot is owed but ${waits}`);
    return undefined;
  }
  const tries = { first: RUN_LIMITS.retryFirstMs, most: RUN_LIMITS.retryMostMs };
  journal.backOff.fail(OWED_REBOOT, 'the host did not reboot', agent.trustedNow(), tries.first, tries.most);
  const request = { evaluation, inventory, group, catalogs: view.catalogDocuments, trail: tally.trail };
  return makeOwedReboot(request, world);
}

/** Takes the newest run back when a recall orders that, for itself or for one below it, and the windows let this host change. Undefined when nothing was done. */
export async function takeBackRecalled(
  { rollback, rollbackWaits }: Evaluation,
  { agent, view, world, tally }: Making,
): Promise<RunEnd | undefined> {
  if (rollback === null || agent.journal.meta(HANDS_NEEDED) !== undefined) return undefined;
  if (rollbackWaits !== null) {
    tally.says.push(`${rollback.says}; ${rollbackWaits.says}`);
    tally.soonest(rollbackWaits.at);
    tally.exit ??= EXIT.deferred;
    return undefined;
  }
  tally.note('Wait', rollback.says);
  tally.says.push(rollback.says);
  return undoLast(world, { recalled: { order: rollback, group: view.group } });
}
