// What an agent knows of itself at this moment, gathered for the question what it waits for. Reads only; asks no relay.
import * as fs from 'node:fs';
import type { Evaluation } from '#manifests/decide';
import { utcSeconds } from '#manifests/platform/clock';
import { openPayloadStore } from '#manifests/repository';
import type { Inventory } from '#manifests/schema';
import type { PolicyView } from '../poll/index.ts';
import { HANDS_NEEDED, setPause } from '../run/index.ts';
import type { Agent } from './agent.ts';
import { standsStill } from './copies.ts';
import { askAgainAt } from './lease.ts';
import { notNow } from './payloads.ts';
import type { WaitingFacts } from './waiting.ts';

const NOTE_BYTES = 200;
/** Of the reasons for a reboot; the result has all. */
const EVIDENCE_SHOWN = 2;

/** Whether a living process holds the agent's lock, by the note beside it. */
function isAtWork(lock: string): boolean {
  try {
    const pid = /process (\d+)/.exec(fs.readFileSync(`${lock}.holder`, 'utf8').slice(0, NOTE_BYTES))?.[1];
    if (pid === undefined) return false;
    process.kill(Number(pid), 0);
    return true;
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === 'EPERM'; // it is there, and another user's
  }
}

/** What follows an error's code. */
function withoutCode(says: string): string {
  return says.replace(/^[a-z.-]+: /, '');
}

/** A reboot that one of our own runs still needs. */
function rebootOf(agent: Agent, { group }: PolicyView, inventory: Inventory): WaitingFacts['reboot'] {
  const { journal, settings, hands } = agent;
  const owed = journal.runs.memory().installedByUs.some(({ rebootNeeded, boot }) => rebootNeeded && boot === inventory.bootId);
  if (!owed) return null;
  const now = hands.rebootEvidence(inventory);
  const evidence = now.length > 0 ? now : (journal.runs.history(1)[0]?.body?.rebootNeeded.evidence ?? []);
  const again = askAgainAt(agent);
  return {
    evidence: evidence.length === 0 ? ['an earlier run says so'] : evidence.slice(0, EVIDENCE_SHOWN),
    allowed: settings.allowReboot && (group?.reboot ?? 'never') !== 'never',
    heldUp: again === null ? null : `no relay has given it a turn yet; it asks again at ${utcSeconds(again)}`,
  };
}

/** Payloads of the set that are not here, and what they wait for; null where all are, or nothing stands in their way. */
async function payloadsOf(agent: Agent, evaluation: Evaluation | null): Promise<WaitingFacts['payloads']> {
  if (evaluation === null || evaluation.packages.length === 0) return null;
  const store = openPayloadStore(agent.places.payloads);
  if (evaluation.packages.every(({ sha256, size }) => store.has(sha256, size))) return null;
  if (!evaluation.mayDownload) {
    const { download } = evaluation.windows;
    return { until: download.open ? null : download.opensAt, says: notNow(evaluation) };
  }
  const line = await agent.line.now(evaluation.window.open);
  if (!line.payloads) return { until: line.until, says: line.says };
  const failed = agent.journal.backOff.get(`payloads:${evaluation.digest}`);
  if (failed === undefined || failed.until <= agent.clock.now()) return null;
  return { until: failed.until, says: withoutCode(failed.says) };
}

/** @param evaluation of this moment; null where no group decides */
export async function factsOfWaiting(
  agent: Agent,
  view: PolicyView,
  inventory: Inventory,
  evaluation: Evaluation | null,
): Promise<WaitingFacts> {
  const { journal, places, trust, keys } = agent;
  const open = journal.runs.open();
  const pause = evaluation === null ? undefined : journal.backOff.get(setPause(evaluation.digest));
  const [last] = journal.runs.history(1);
  return {
    agent: keys?.id ?? '',
    standing: view.standing,
    damaged: view.damaged,
    hands: journal.meta(HANDS_NEEDED) ?? null,
    still: standsStill(journal) ?? null,
    openRun:
      open === undefined
        ? null
        : {
            id: open.id,
            state: open.state,
            reboots: open.data.rebootFrom === inventory.bootId,
          },
    atWork: isAtWork(places.lock),
    evaluation,
    hardExpired: trust.freshness().hardExpired,
    pause: pause === undefined ? null : { until: pause.until, says: pause.says, run: last?.body?.error ? last.id : null },
    payloads: await payloadsOf(agent, evaluation),
    reboot: rebootOf(agent, view, inventory),
    at: agent.trustedNow(),
  };
}
