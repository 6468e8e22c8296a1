// What the host means to do next, when, and the sentence that says so.
import type { PatchFinding, ScanBody } from '#manifests/schema';
import type { DecideInput } from './evaluate.ts';
import { counted, momentOf, oneLine } from './text.ts';
import type { WindowState } from './window.ts';

interface Situation {
  readonly input: Pick<DecideInput, 'group' | 'freshness' | 'at'>;
  /** Patches that would be installed if nothing stood against it. */
  readonly wanted: number;
  /** The set was taken back before. */
  readonly denied: { readonly at: number } | undefined;
  readonly window: WindowState;
  readonly findings: readonly PatchFinding[];
}

type Next = ScanBody['next'];

/** `wait` only when something will happen by itself; `at` says when, where that is known. */
export function nextAction({ input, wanted, denied, window, findings }: Situation): Next {
  const { group, freshness } = input;
  const make = (action: Next['action'], says: string, at: number | null): Next => ({
    action,
    says: oneLine(says),
    at: at === null ? null : momentOf(at),
  });
  if (group === null) return make('nothing', 'this host is in no patch group: it only reports', null);
  if (wanted === 0) {
    const change = findings.flatMap(({ changesAt }) => (changesAt === null ? [] : [changesAt])).toSorted()[0];
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
  if (freshness.hardExpired) {
    return make(
      'wait',
      `${patches} missing, but the signed documents have expired: nothing new is installed until the publisher signs anew`,
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
