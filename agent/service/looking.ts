// The look at the host: inventory, checks of controls, the decision, and what is told of it.
import { type Evaluation, evaluate } from '#manifests/decide';
import { EXIT } from '#manifests/errors';
import type { Inventory } from '#manifests/schema';
import { makeScan, OUTBOX_LIMITS, tellAlert } from '../outbox/index.ts';
import type { PolicyView } from '../poll/index.ts';
import type { Agent } from './agent.ts';
import { checkControls, nextControlAt } from './controls.ts';
import { noticesOf, tellNotices } from './notices.ts';
import type { Tally } from './tally.ts';
import { missedBySleep } from './wake.ts';
import { decideInput, whoIs } from './world.ts';

/** Decides about the host as it is now, and tells what follows. */
export async function lookAndTell(
  agent: Agent,
  view: PolicyView,
  inventory: Inventory,
  tally: Tally,
  signal: AbortSignal,
): Promise<Evaluation> {
  const { journal, trust, clock, log, hands } = agent;
  const stamp = tally.stamp(inventory.bootId);
  journal.runs.forgetOtherBoots(inventory.bootId);
  const slept = missedBySleep(journal, view.group?.windows ?? [], inventory.zone);
  if (slept !== undefined) {
    tally.says.push(slept);
    tellAlert(journal, { code: 'agent.slept', message: slept, where: null }, stamp, clock.now());
  }
  const { waivers, group } = view;
  const situation = { waivers, group, who: whoIs(view, inventory), zone: inventory.zone, at: agent.trustedNow() };
  const controls = await checkControls(journal, hands, situation, signal);
  const input = decideInput(agent, view, inventory, journal.runs.memory());
  const evaluation = evaluate(input);
  tally.evaluation = evaluation;
  tally.note('Evaluate', evaluation.next.says);
  const versions = trust.versions();
  const { softExpired, hardExpired } = input.freshness;
  makeScan(journal, {
    inventory,
    evaluation,
    evidence: {
      timestampVersion: versions?.timestamp ?? 0,
      snapshotVersion: versions?.snapshot ?? 0,
      baselines: [...view.baselineDocuments],
      group: view.group?.name ?? null,
      softExpired,
      hardExpired,
    },
    stamp,
    now: clock.now(),
  });
  const notices = noticesOf(evaluation, trust.freshness(), controls);
  tally.notices = [...notices, ...tally.lagging];
  for (const { code, about, says } of tellNotices(journal, tally.notices, stamp, clock.now()))
    log.warn({ code, about, says }, 'a notice');
  tally.says.push(...notices.map(({ says }) => says).filter((says) => !tally.says.includes(says)));
  if (hardExpired) tally.exit ??= EXIT.refused;
  if (evaluation.next.at !== null) tally.soonest(Date.parse(evaluation.next.at));
  if (!evaluation.window.open) tally.soonest(evaluation.window.opensAt);
  tally.soonest(nextControlAt(journal, waivers));
  tally.soonest(Number(journal.meta('scan.at') ?? clock.now()) + OUTBOX_LIMITS.scanEveryMs);
  return evaluation;
}
