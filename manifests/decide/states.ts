// The compliance state of one patch on one host (field guide 1.1 to 1.3). One table, read from the top: the first row
// that fits is the state.
import type { PatchState } from '#manifests/schema';
import { type Fit, lacking } from './applicable.ts';
import { APPROVED_LIST, RECALL, type Standing } from './standing.ts';
import type { Candidate } from './superseded.ts';
import { fewOf, oneLine } from './text.ts';

/** What the host remembers of its own acts. Kept by the agent, told to every decision. */
export interface HostMemory {
  /**
   * What this agent installed, and in which boot. `rebootNeeded: false` says that evidence was looked for and there is
   * none (trap 5); left out, a reboot is taken to be needed, as AWS SSM does.
   */
  readonly installedByUs: readonly { readonly patch: string; readonly boot: string; readonly rebootNeeded?: boolean }[];
  readonly failed: readonly { readonly patch: string; readonly at: number; readonly code: string }[];
  /** Sets that were taken back; `digest` is `setDigest` of what was installed (trap 11). */
  readonly rolledBack: readonly { readonly patches: readonly string[]; readonly digest: string; readonly at: number }[];
}

export interface Judgement {
  readonly state: PatchState;
  readonly compliant: boolean;
  readonly reasons: readonly string[];
  /** Packages of the patch to be installed; empty unless the state is MISSING or FAILED. */
  readonly wanted: readonly Fit[];
}

/** What a judgement is made from, beside the patch. */
export interface Circumstances {
  /** Slots of this patch that another patch takes care of, with the id of that patch. */
  readonly replaced: ReadonlyMap<string, string>;
  /** Whether this agent installed it in this boot, and nothing says that no reboot is needed. */
  readonly rebootPending: boolean;
  readonly failure: { readonly at: string; readonly code: string } | undefined;
  /** Of the product's baseline; hosts without one are told apart by the standing. */
  readonly unapprovedIsCompliant: boolean;
  /** A recall that takes the patch out of use (not one that only warns), in words. */
  readonly recalled?: string | undefined;
  /** Waivers in force for the patch, in words. */
  readonly waived?: readonly string[] | undefined;
}

interface Look {
  readonly candidate: Candidate;
  readonly standing: Standing;
  readonly security: boolean;
  readonly lacks: readonly Fit[];
  /** Lacking and not taken care of by another patch. */
  readonly open: readonly Fit[];
  readonly circumstances: Circumstances;
}

interface Row {
  readonly when: (look: Look) => boolean;
  readonly state: PatchState;
  readonly compliant: boolean | ((look: Look) => boolean);
  readonly says: (look: Look) => string;
}

const names = (fits: readonly Fit[]) => fewOf(fits.map(({ item }) => item.name));
const exactly = ({ candidate }: Look) => candidate.fits.filter((fit) => fit.order === 0);
const installed = ({ lacks }: Look) => lacks.length === 0;
const blocked = ({ standing }: Look) => standing.kind === 'rejected' && standing.block;
/** Unapproved security patches count as the baseline says; without any baseline they always count against the host. */
const asBaselineSays = ({ standing, security, circumstances }: Look) =>
  !security || (standing.kind !== 'no-baseline' && circumstances.unapprovedIsCompliant);

/** Field guide 1.2 (BLOCK, ALLOW_AS_DEPENDENCY) and 1.3, with the states that are ours. */
const ROWS: readonly Row[] = [
  {
    when: (look) => look.circumstances.recalled !== undefined && exactly(look).length > 0,
    state: 'RECALLED_INSTALLED',
    compliant: false,
    says: (look) => `installed (${names(exactly(look))}), and ${look.circumstances.recalled}`,
  },
  {
    when: (look) => blocked(look) && exactly(look).length > 0,
    state: 'INSTALLED_REJECTED',
    compliant: false,
    says: (look) => `installed (${names(exactly(look))}) and now rejected with block`,
  },
  {
    when: (look) => installed(look) && look.circumstances.rebootPending,
    state: 'INSTALLED_PENDING_REBOOT',
    compliant: false,
    says: () => 'installed by this agent since the last boot; it counts once the host has rebooted',
  },
  {
    when: (look) => installed(look) && look.standing.kind === 'approved',
    state: 'INSTALLED',
    compliant: true,
    says: () => 'every package of it that is on this host has at least its version',
  },
  {
    when: installed,
    state: 'INSTALLED_OTHER',
    compliant: true,
    says: () => 'installed, and not approved by a baseline (by hand, as a dependency, or before there was a rule)',
  },
  {
    when: ({ open }) => open.length === 0,
    state: 'NOT_APPLICABLE',
    compliant: true,
    says: ({ circumstances }) => `superseded by ${fewOf([...new Set(circumstances.replaced.values())])}`,
  },
  {
    when: ({ standing, security, circumstances, candidate }) =>
      circumstances.waived !== undefined && (standing.kind === 'approved' || (security && !onlyAbsent(candidate))),
    state: 'EXCEPTED',
    compliant: true,
    says: ({ circumstances }) => `lacking, and excepted: ${(circumstances.waived ?? []).join('; ')}`,
  },
  {
    when: ({ standing, open }) => standing.kind === 'approved' && open.some(({ held }) => held),
    state: 'HELD',
    compliant: false,
    says: ({ open }) =>
      `held on this host (${names(open.filter(({ held }) => held))}): not installed until the hold is taken off`,
  },
  {
    when: ({ standing, circumstances }) => standing.kind === 'approved' && circumstances.failure !== undefined,
    state: 'FAILED',
    compliant: false,
    says: ({ circumstances }) => `installing it failed at ${circumstances.failure?.at} (${circumstances.failure?.code})`,
  },
  {
    when: ({ standing }) => standing.kind === 'approved',
    state: 'MISSING',
    compliant: false,
    says: ({ open }) => `approved and not installed: ${names(open)}`,
  },
  {
    when: ({ standing }) => standing.kind === 'pending',
    state: 'PENDING_APPROVAL',
    compliant: asBaselineSays,
    says: ({ standing }) => `not approved yet${standing.kind === 'pending' ? `: from ${standing.approvesAt}` : ''}`,
  },
  {
    when: ({ security, candidate }) => security && !onlyAbsent(candidate),
    state: 'AVAILABLE_SECURITY_UPDATE',
    compliant: asBaselineSays,
    says: () => 'a security patch that this host lacks and no baseline approves for it',
  },
  {
    when: ({ candidate }) => onlyAbsent(candidate),
    state: 'NOT_APPLICABLE',
    compliant: true,
    says: () => 'nothing of it is on this host, and no baseline approves it',
  },
  {
    when: () => true,
    state: 'NOT_APPLICABLE',
    compliant: true,
    says: () => 'available, not approved, and not a security patch',
  },
];

/** Own software of which nothing is on the host: it is a matter of policy alone whether it belongs there. */
function onlyAbsent({ fits }: Candidate): boolean {
  return fits.every(({ installed }) => installed === null);
}

/** The state of a patch that fits the host, with its reasons. ROLLED_BACK is a matter of the whole set: see evaluate.ts. */
export function judge(candidate: Candidate, circumstances: Circumstances): Judgement {
  const lacks = candidate.fits.filter(lacking);
  const look: Look = {
    candidate,
    standing: candidate.standing,
    security: candidate.patch.classification === 'security',
    lacks,
    open: lacks.filter(({ slot }) => !circumstances.replaced.has(slot)),
    circumstances,
  };
  const row = ROWS.find(({ when }) => when(look));
  if (row === undefined) throw new Error('the last row of the table of states fits everything');
  const reasons = [row.says(look), standingSays(candidate.standing)];
  const half = candidate.fits.filter(({ broken }) => broken);
  if (half.length > 0) reasons.push(`not wholly installed on this host: ${names(half)}`);
  const partly = look.lacks.length - look.open.length;
  if (partly > 0 && look.open.length > 0) {
    reasons.push(`${partly} of its packages come newer with ${fewOf([...new Set(circumstances.replaced.values())])}`);
  }
  return {
    state: row.state,
    compliant: typeof row.compliant === 'boolean' ? row.compliant : row.compliant(look),
    reasons: reasons.map(oneLine),
    wanted: row.state === 'MISSING' || row.state === 'FAILED' ? look.open : [],
  };
}

/** One sentence: what policy says about it, and by which rule. */
export function standingSays(standing: Standing): string {
  switch (standing.kind) {
    case 'approved':
      return `approved by ${ruleSays(standing.rule)} of baseline ${standing.baseline} since ${standing.since}: ${standing.reason}`;
    case 'pending':
      return `will be approved by ${ruleSays(standing.rule)} of baseline ${standing.baseline} at ${standing.approvesAt}: ${standing.reason}`;
    case 'rejected':
      if (standing.rule === RECALL) return standing.reason;
      return `rejected by baseline ${standing.baseline} (${standing.block ? 'block' : 'allowed as a dependency'}): ${standing.reason}`;
    case 'unlisted':
      return `baseline ${standing.baseline} has no rule that approves it`;
    default:
      return standing.reason;
  }
}

/** A rule is named as such; the lists name themselves. */
function ruleSays(rule: string): string {
  return rule === APPROVED_LIST ? `the ${rule}` : `rule ${rule}`;
}
