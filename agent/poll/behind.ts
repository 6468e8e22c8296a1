// A relay that answers with an older state than this host holds: one that lags behind the others, or one that takes hosts back.
// Nothing older is ever used; here is which of the two it is called, and for how long the better name holds. Pure.
import { isFault, type PatchferryError } from '#manifests/errors';
import { type RelayMemory, type RelayRecord, recordOf, withRecord } from './choice.ts';
import { fault } from './faults.ts';

export const BEHIND_LIMITS = {
  /** Times a relay is asked in one poll, each on a new connection and at the next address of its name, before its word is taken. */
  tries: 6,
  /** Times one file is asked for that a relay does not have although it is signed for. */
  missingTries: 5,
  /** After so long without a state as new as this host's, milliseconds, it is called a rollback. */
  alarmMs: 24 * 3_600_000,
  /** How long a name counts as several relays after it gave both in one poll, milliseconds. */
  severalMs: 7 * 24 * 3_600_000,
} as const;

export const TIMESTAMP = 'metadata/timestamp.json';

/** Whether a relay's timestamp, genuinely signed, is of an older version than one that was seen before (5.4.3). */
export function isOlder(error: PatchferryError): boolean {
  return isFault(error, 'trust.rollback') && error.where === 'timestamp.json';
}

/** Whether several relays answer under this name, as was seen. @param now milliseconds */
export function isSeveral({ severalAt }: RelayRecord, now: number): boolean {
  return severalAt !== null && severalAt <= now && now - severalAt < BEHIND_LIMITS.severalMs;
}

/**
 * What to call it. A relay that itself gave this host what it holds, and is known to be one alone, has gone back: that is alarmed at
 * once, as is a stranger with nothing to show but an old state, one that stays behind, or whatever an old state could hide once the one
 * held has expired. @param now milliseconds
 */
export function judgeOlder(
  memory: RelayMemory,
  relay: string,
  error: PatchferryError,
  held: { readonly timestamp: number; readonly expired: boolean },
  now: number,
): 'behind' | 'refused' {
  const record = recordOf(memory, relay);
  const several = isSeveral(record, now);
  // What a newer timestamp names can be lacking at one of several; a timestamp lacks at none that has anything.
  const mixed = several && isFault(error, 'trust.missing', 'trust.target-missing') && error.where !== TIMESTAMP;
  if ((!isOlder(error) && !mixed) || held.expired) return 'refused';
  const { behindSince } = record;
  if (behindSince !== null && behindSince <= now && now - behindSince >= BEHIND_LIMITS.alarmMs) return 'refused';
  if (several) return 'behind';
  const gave = (name: string) => (recordOf(memory, name).served ?? 0) >= held.timestamp;
  const lags = record.served === null ? Object.keys(memory.relays).some(gave) : record.served < held.timestamp;
  return lags ? 'behind' : 'refused';
}

/** What is said of it. */
export function behindFault(relay: string, error: PatchferryError): PatchferryError {
  return fault('relay-behind', `this relay is behind (${error.message}); this host goes on with what it holds`, {
    where: relay,
    cause: error,
  });
}

/** It is behind: it keeps its place and does not rest. @param now milliseconds */
export function noteBehind(memory: RelayMemory, relay: string, says: string, now: number): RelayMemory {
  const { behindSince } = recordOf(memory, relay);
  return withRecord(memory, relay, {
    behindSince: behindSince === null || behindSince > now ? now : behindSince,
    lastFailure: { code: 'poll.relay-behind', says: says.slice(0, 300), at: now },
  });
}

/** It gave a verified state of this version. @param mixed an older one as well, in the same poll @param now milliseconds */
export function noteServed(memory: RelayMemory, relay: string, timestamp: number, mixed: boolean, now: number): RelayMemory {
  const { served, severalAt, behindSince } = recordOf(memory, relay);
  const recent = severalAt !== null && now >= severalAt && now - severalAt < BEHIND_LIMITS.severalMs / 7;
  const several = mixed && !recent ? now : severalAt;
  if (served === timestamp && several === severalAt && behindSince === null) return memory;
  return withRecord(memory, relay, { served: timestamp, severalAt: several, behindSince: null });
}
