// How often this host polls, and whether it was off or asleep since its last cycle.
import { POLL_LIMITS } from '../poll/index.ts';
import type { Agent } from './agent.ts';
import { lifeNow, longestGap, pastBoots, readLife, upMs, writeLife } from './alive.ts';
import { isSleep, noteSleep } from './wake.ts';

/** The last sign of life (alive.ts). */
const LIFE = 'alive';
/** What versions before kept: the moment of the last poll alone, milliseconds of trusted time. */
const LAST_POLL = 'poll.at';

const MINUTE_MS = 60_000;

/** Minutes between two polls. */
export function pollMinutes({ documents, keys, settings }: Pick<Agent, 'documents' | 'keys' | 'settings'>): number {
  const { member, group } = documents.view(keys?.id ?? null);
  return settings.pollMinutes ?? (member === null ? POLL_LIMITS.waitingMinutes : (group?.pollMinutes ?? POLL_LIMITS.minutes));
}

/** Notes that this host is awake now, in a cycle of whatever started it. @returns whether it had slept */
export async function noteAwake(
  agent: Pick<Agent, 'documents' | 'keys' | 'settings' | 'journal' | 'trustedNow' | 'clock'>,
): Promise<boolean> {
  const { journal } = agent;
  const now = lifeNow(agent.trustedNow(), agent.clock.now());
  const before = readLife(journal.meta(LIFE), journal.meta(LAST_POLL)) ?? now;
  const pollMs = pollMinutes(agent) * MINUTE_MS;
  const restarted = before.boot !== null && before.boot !== now.boot;
  // asked only where it matters: reading the system's journal takes longer than all the rest of a poll
  const boots = restarted && isSleep(now.at - before.at, pollMs) ? await pastBoots() : [];
  const { asleepSince, wokeAt } = longestGap(before, now, now.at - upMs(), boots);
  const slept = noteSleep(journal, asleepSince, wokeAt, pollMs);
  journal.setMeta(LIFE, writeLife(now));
  return slept;
}
