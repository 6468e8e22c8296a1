// Recalls and halts: what is taken out of use, and what stops. They are looked at before anything else and count whatever has
// expired. A halts key can stop and nothing else: what it signed as a recall may not change a host.
import { defineFaults, EXIT } from '#manifests/errors';
import { decodeDocument, documentKind, type SignedHalt, type SignedRecall } from '#manifests/schema';
import { anyOf } from './pattern.ts';
import { selects, type Who } from './targeting.ts';
import { byText, DAY_MS, momentOf } from './text.ts';

const fault = defineFaults('recall', {
  'beyond-halts': {
    exit: EXIT.refused,
    next: 'Publish a recall that replaces or rolls back under policy/recalls, signed by the policy approvers.',
  },
});

/**
 * Reads what lies under `halts/`: a halt, or a recall that only blocks or warns.
 * @throws recall.beyond-halts when a recall there would change hosts, document.*
 */
export function readStop(
  bytes: Uint8Array,
  path: string,
): { readonly kind: 'halt'; readonly halt: SignedHalt } | { readonly kind: 'recall'; readonly recall: SignedRecall } {
  if (documentKind(bytes, path) !== 'recall') return { kind: 'halt', halt: decodeDocument('halt', bytes, path) };
  const recall = decodeDocument('recall', bytes, path);
  if (recall.action !== 'never-install' && recall.action !== 'warn')
    throw fault('beyond-halts', `${path}: a recall with action ${recall.action} is not for the halts role`, { where: path });
  return { kind: 'recall', recall };
}

/** From the mildest to the strongest. */
const STRENGTH: readonly SignedRecall['action'][] = ['warn', 'never-install', 'replace', 'rollback'];

/** The recalls of a patch on this host, the strongest first; of equals the newest. */
export function recallsOf(recalls: readonly SignedRecall[], who: Who): (patch: string) => readonly SignedRecall[] {
  const byPatch = new Map<string, SignedRecall[]>();
  const ordered = recalls
    .filter(({ scope }) => selects(scope, who))
    .toSorted(
      (a, b) =>
        STRENGTH.indexOf(b.action) - STRENGTH.indexOf(a.action) || byText(b.signedAt, a.signedAt) || byText(a.name, b.name),
    );
  for (const recall of ordered) {
    for (const patch of recall.patches) {
      const list = byPatch.get(patch);
      if (list === undefined) byPatch.set(patch, [recall]);
      else list.push(recall);
    }
  }
  return (patch) => byPatch.get(patch) ?? [];
}

export function recallSays({ name, action, reason, replaceWith, withinDays }: SignedRecall): string {
  const does = {
    'never-install': 'never installed',
    warn: 'warned of',
    replace: `replaced by ${replaceWith}`,
    rollback: `rolled back${withinDays === null ? '' : ` within ${withinDays} days`} where it can be`,
  }[action];
  return `recalled (${name}), to be ${does}: ${reason}`;
}

/** A run that can still be taken back on this host. */
export interface KeptWayBack {
  readonly run: string;
  readonly patches: readonly string[];
  readonly takenAt: number;
}

export interface RollbackOrder {
  /** The run that brought the recalled patch. */
  readonly run: string;
  /** The run to take back now: that one, or the newest of those that stand on it. */
  readonly next: string;
  readonly recall: string;
  readonly patches: readonly string[];
  readonly says: string;
}

/**
 * The run to take back next: the kept one that brought a recalled patch, when it is not older than the recall allows. Runs that were
 * made after it stand on it and go first, the newest before the others, one at a time; what they brought is installed again afterwards.
 */
export function rollbackOrder(
  installed: readonly { readonly patch: string; readonly recall: SignedRecall }[],
  ways: readonly KeptWayBack[],
  at: number,
): { readonly order: RollbackOrder | null; readonly notes: readonly string[] } {
  const notes: string[] = [];
  for (const { patch, recall } of installed) {
    if (recall.action !== 'rollback') continue;
    const about = `${patch} is recalled (${recall.name})`;
    const index = ways.findLastIndex(({ patches }) => patches.includes(patch));
    const brought = ways[index];
    const newest = ways.at(-1);
    if (brought === undefined || newest === undefined) {
      notes.push(`${about}, but no way back of it is kept on this host`);
    } else if (recall.withinDays !== null && at > brought.takenAt + recall.withinDays * DAY_MS) {
      notes.push(`${about}, but the way back of ${momentOf(brought.takenAt)} is older than ${recall.withinDays} days`);
    } else {
      const later = ways.length - 1 - index;
      const first = `, after the ${later === 1 ? 'run' : `${later} runs`} made since, the newest first: now run ${newest.run}`;
      const says = `${about}: run ${brought.run} of ${momentOf(brought.takenAt)} is taken back${later === 0 ? '' : first}`;
      return { order: { run: brought.run, next: newest.run, recall: recall.name, patches: newest.patches, says }, notes };
    }
  }
  return { order: null, notes };
}

/** What is stopped on this host now. */
export interface Stop {
  readonly halt: SignedHalt;
  readonly says: string;
  /** Patch id, source or package; everything when the halt names no patches. */
  readonly about: (...names: readonly string[]) => boolean;
}

/** Halts in force for this host. A halt has no effect once it has run out or the publisher has withdrawn it. @param at milliseconds */
export function stopsOf(halts: readonly SignedHalt[], who: Who, at: number): Stop[] {
  return halts
    .filter(({ scope, until }) => selects(scope, who) && (until === null || at < Date.parse(until)))
    .toSorted((a, b) => byText(a.name, b.name))
    .map((halt) => {
      const test = anyOf(halt.patches);
      const until = halt.until === null ? 'until it is withdrawn' : `until ${halt.until}`;
      return {
        halt,
        says: `halt ${halt.name} stops it ${until}: ${halt.reason}`,
        about: (...names) => halt.patches.length === 0 || names.some(test),
      };
    });
}
