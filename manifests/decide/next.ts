// What the host means to do next, when, and the sentence that says so.
import type { PatchFinding, ScanBody } from '#manifests/schema';
import type { DecideInput } from './evaluation.ts';
import type { RollbackOrder } from './recall.ts';
import { type Hold, releasedAt } from './release.ts';
import { counted, momentOf, oneLine } from './text.ts';
import type { WindowState } from './window.ts';

interface Situation {
  readonly input: Pick<DecideInput, 'group' | 'at'>;
  /** Patches that would be installed if nothing stood against it. */
  readonly wanted: number;
  /** The set was taken back before. */
  readonly denied: { readonly at: number } | undefined;
  readonly window: WindowState;
  readonly findings: readonly PatchFinding[];
  /** What holds back each approved patch that is not in the set. */
  readonly held: readonly (readonly Hold[])[];
  /** Patches left out because the signed documents have expired. */
  readonly expired: number;
  /** Why the set waits although the window is open. */
  readonly wait: { readonly says: string; readonly at: number | null } | null;
  readonly rollback: RollbackOrder | null;
  readonly rollbackWaits: { readonly says: string; readonly at: number | null } | null;
  /** A halt that stops every installation, in words. */
  readonly stop: string | null;
}

type Next = ScanBody['next'];

/** `wait` only when something will happen by itself; `at` says when, where that is known. */
export function nextAction(situation: Situation): Next {
  const { input, wanted, denied, window, findings, held, expired, wait } = situation;
  const { group } = input;
  const make = (action: Next['action'], says: string, at: number | null): Next => ({
    action,
    says: oneLine(says),
    at: at === null ? null : momentOf(at),
  });
  if (group === null) return make('nothing', 'this host is in no patch group: it only reports', null);
  if (situation.rollback !== null) {
    const { rollback, rollbackWaits: waits } = situation;
    if (waits === null) return make('wait', rollback.says, input.at);
    return make('wait', `${rollback.says}; ${waits.says}`, waits.at);
  }
  if (wanted === 0 && expired > 0) {
    const left = counted(expired, 'patch', 'patches');
    return make(
      'wait',
      `${left} missing, but the signed documents have expired: nothing new is installed until the publisher signs anew`,
      null,
    );
  }
  if (wanted === 0 && held.length > 0) return heldBack(held, situation.stop, make);
  if (wanted === 0) {
    const change = findings
      .flatMap(({ changesAt, state }) => (changesAt === null || state === 'EXCEPTED' ? [] : [changesAt]))
      .toSorted()[0];
    if (change === undefined) return make('nothing', 'nothing is to be installed', null);
    return make('nothing', `nothing is to be installed; the next patch is approved at ${change}`, Date.parse(change));
  }
  const patches = counted(wanted, 'patch', 'patches');
  if (denied !== undefined) {
    return make(
      'nothing',
      `${patches} missing, but this very set was taken back at ${momentOf(denied.at)}: not tried again until it changes`,
      null,
    );
  }
  if (!window.open) {
    if (window.opensAt !== null)
      return make(
        'wait',
        `${patches} to install when window ${window.name} opens at ${momentOf(window.opensAt)}`,
        window.opensAt,
      );
    return make('nothing', `${patches} missing, but no maintenance window is to come: nothing is installed by itself`, null);
  }
  if (window.mayStart && wait !== null) return make('wait', `${patches} to install: ${wait.says}`, wait.at);
  if (window.mayStart) {
    return make(
      'install',
      `${patches} to install now: window ${window.name} is open until ${momentOf(window.closesAt)}`,
      input.at,
    );
  }
  const late = `${patches} missing; window ${window.name} is open until ${momentOf(window.closesAt)}, but nothing new starts after ${momentOf(window.startsUntil)}`;
  if (window.nextOpensAt === null) return make('nothing', `${late}, and no window comes after it`, null);
  return make('wait', `${late}: next at ${momentOf(window.nextOpensAt)}`, window.nextOpensAt);
}

/** Everything that is missing is held back: says by what, and until when the first of it is. */
function heldBack(
  held: readonly (readonly Hold[])[],
  stop: string | null,
  make: (action: Next['action'], says: string, at: number | null) => Next,
): Next {
  const patches = counted(held.length, 'patch', 'patches');
  const ends = held.flatMap((holds) => releasedAt(holds) ?? []).toSorted((a, b) => a - b);
  const [first] = ends;
  const why = stop ?? held[0]?.[0]?.says ?? '';
  if (first === undefined) return make('wait', `${patches} missing and held back: ${why}`, null);
  return make('wait', `${patches} missing and held back, the first until ${momentOf(first)}: ${why}`, first);
}
