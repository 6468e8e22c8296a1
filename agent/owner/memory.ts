// What the owner of this host said, in the journal: the choice of a window, a deferral, requests for waivers. Each is written in
// one transaction with the result that tells it.
import type { OwnerChoice } from '#manifests/decide';
import type { OwnerChoiceBody } from '#manifests/schema';
import type { Journal } from '../run/index.ts';

const CHOICE = 'owner.choice';

/** The last choice as it was told; null when there is none. */
function choiceTold({ meta }: Pick<Journal, 'meta'>): OwnerChoiceBody | null {
  const text = meta(CHOICE);
  return text === undefined ? null : (JSON.parse(text) as OwnerChoiceBody);
}

/** The same as the decision wants it. */
export function choiceOf(journal: Pick<Journal, 'meta'>): OwnerChoice | null {
  const told = choiceTold(journal);
  if (told === null) return null;
  return { window: told.window, deferUntil: told.deferUntil === null ? null : Date.parse(told.deferUntil) };
}
