// How often this host polls, and whether it was off or asleep since it last did.
import { POLL_LIMITS } from '../poll/index.ts';
import type { Agent } from './agent.ts';
import { noteSleep } from './wake.ts';

/** The moment of the last poll, milliseconds of trusted time: what lies between two is sleep when it is long. */
const LAST_POLL = 'poll.at';

const MINUTE_MS = 60_000;

/** Minutes between two polls. */
export function pollMinutes({ documents, keys, settings }: Pick<Agent, 'documents' | 'keys' | 'settings'>): number {
  const { member, group } = documents.view(keys?.id ?? null);
  return settings.pollMinutes ?? (member === null ? POLL_LIMITS.waitingMinutes : (group?.pollMinutes ?? POLL_LIMITS.minutes));
}

/** Notes that this host polls now. @returns whether it had slept */
export function notePoll(agent: Pick<Agent, 'documents' | 'keys' | 'settings' | 'journal' | 'trustedNow'>): boolean {
  const now = agent.trustedNow();
  const before = Number(agent.journal.meta(LAST_POLL) ?? now);
  const slept = noteSleep(agent.journal, before, now, pollMinutes(agent) * MINUTE_MS);
  agent.journal.setMeta(LAST_POLL, String(now));
  return slept;
}
