// What the owner of this host said, in the journal: the choice of a window, a deferral, requests for waivers. Each is written in
// one transaction with the result that tells it.
import type { OwnerChoice } from '#manifests/decide';
import type { OwnerChoiceBody, WaiverRequestBody } from '#manifests/schema';
import type { Journal, ResultStamp } from '../run/index.ts';
import { OWNER_LIMITS } from './faults.ts';

const CHOICE = 'owner.choice';
const REQUESTS = 'owner.waiver-requests';

type Book = Pick<Journal, 'meta' | 'setMeta' | 'atomically' | 'results'>;

/** The last choice as it was told; null when there is none. */
export function choiceTold({ meta }: Pick<Journal, 'meta'>): OwnerChoiceBody | null {
  const text = meta(CHOICE);
  return text === undefined ? null : (JSON.parse(text) as OwnerChoiceBody);
}

/** The same as the decision wants it. */
export function choiceOf(journal: Pick<Journal, 'meta'>): OwnerChoice | null {
  const told = choiceTold(journal);
  if (told === null) return null;
  return { window: told.window, deferUntil: told.deferUntil === null ? null : Date.parse(told.deferUntil) };
}

/** Remembers a choice and tells it. One without window and deferral is none. @returns the result's sequence */
export function rememberChoice(journal: Book, choice: OwnerChoiceBody, stamp: ResultStamp): number {
  return journal.atomically(() => {
    const empty = choice.window === null && choice.deferUntil === null;
    journal.setMeta(CHOICE, empty ? null : JSON.stringify(choice));
    return journal.results.append('owner-choice', choice, stamp);
  });
}

export interface KeptRequest {
  readonly body: WaiverRequestBody;
  /** Of the result that tells it. */
  readonly sequence: number;
  /** When it was asked for. */
  readonly at: string;
}

/** Requests of this host, newest first. */
export function requestsOf({ meta }: Pick<Journal, 'meta'>): readonly KeptRequest[] {
  const text = meta(REQUESTS);
  return text === undefined ? [] : (JSON.parse(text) as KeptRequest[]);
}

/** Remembers a request for a waiver and tells it. @returns the result's sequence */
export function rememberRequest(journal: Book, body: WaiverRequestBody, stamp: ResultStamp): number {
  return journal.atomically(() => {
    const sequence = journal.results.append('waiver-request', body, stamp);
    const kept = [{ body, sequence, at: stamp.trustedTime }, ...requestsOf(journal)].slice(0, OWNER_LIMITS.requests);
    journal.setMeta(REQUESTS, JSON.stringify(kept));
    return sequence;
  });
}
