// Where each waiver stands, for the people who approve and list them: who has signed, what is still needed, when it holds. Pure:
// a host judges by itself, by the same functions.
import {
  approversOf,
  selects,
  signedWaiverOf,
  spanOf,
  verifyWaiver,
  type WaiverNotice,
  type WaiverVerdict,
  waiverNotices,
} from '#manifests/decide';
import type { Roster, SignedWaiver, Waiver, WaiverAnswer, WaiverPolicy } from '#manifests/schema';
import type { Approvals } from './files.ts';

const DAY_MS = 86_400_000;

export const WAIVER_STANDINGS = ['requested', 'pending', 'coming', 'active', 'expired', 'rejected', 'revoked'] as const;
export type WaiverStanding = (typeof WAIVER_STANDINGS)[number];

/** So long after its end a waiver stays published: hosts say for so long that what it covered is still missing. */
const KEPT_AFTER_END_MS = 90 * DAY_MS;
/** Answers are published for so long. */
const ANSWERS_KEPT_MS = 180 * DAY_MS;
const ANSWERS_KEPT = 10_000;

/** A group as far as waivers go. */
export interface WaiverGroup {
  readonly name: string;
  readonly policy: WaiverPolicy | undefined;
}

/** What one group says of a waiver. */
export interface GroupVerdict {
  readonly group: string;
  readonly ok: boolean;
  readonly code: Extract<WaiverVerdict, { ok: false }>['code'] | null;
  readonly says: string;
}

export interface WaiverState {
  readonly waiver: SignedWaiver;
  /** The request it came from; null when it was written here. */
  readonly request: string | null;
  readonly standing: Extract<WaiverStanding, 'pending' | 'coming' | 'active' | 'expired'>;
  readonly verdicts: readonly GroupVerdict[];
  /** Names of approvers whose signature is right, over all groups it is about. */
  readonly approvers: readonly string[];
  /** Milliseconds; by UTC where it says `host`. */
  readonly from: number;
  readonly until: number;
}

/**
 * Groups that a waiver may matter to: those its scope names; else those of the hosts it means; else, while it means no host yet,
 * all that take waivers.
 */
export function groupsOf(scope: Waiver['spec']['scope'], groups: readonly WaiverGroup[], roster: Roster): WaiverGroup[] {
  const named = scope.groups;
  if (named !== undefined) return groups.filter(({ name }) => named.includes(name));
  const meant = new Set(
    roster.agents.flatMap(({ id, group, site, labels, status }) =>
      // products are known on the host alone: left out here, so that a product narrows nothing by mistake
      status === 'approved' && selects(withoutProducts(scope), { agent: id, group, site: site ?? null, labels }) ? [group] : [],
    ),
  );
  return meant.size > 0 ? groups.filter(({ name }) => meant.has(name)) : groups.filter(({ policy }) => policy !== undefined);
}

function withoutProducts({ products: _products, ...rest }: Waiver['spec']['scope']): Waiver['spec']['scope'] {
  return rest;
}

/** @param at milliseconds */
export function waiverState(
  document: Waiver,
  { approvals, requestedBy, request }: Approvals,
  groups: readonly WaiverGroup[],
  at: number,
): WaiverState {
  const waiver = signedWaiverOf(document, approvals, requestedBy);
  const { from, until } = spanOf(waiver, 'UTC');
  const verdicts = groups.map(({ name: group, policy }): GroupVerdict => {
    const verdict = verifyWaiver(waiver, policy);
    return verdict.ok
      ? { group, ok: true, code: null, says: `approved by ${verdict.approvers.join(', ')}` }
      : { group, ok: false, code: verdict.code, says: verdict.says };
  });
  const approvers = new Set(groups.flatMap(({ policy }) => (policy === undefined ? [] : approversOf(waiver, policy))));
  const good = verdicts.some(({ ok }) => ok);
  const standing = at >= until ? 'expired' : !good ? 'pending' : at < from ? 'coming' : 'active';
  return { waiver, request, standing, verdicts, approvers: [...approvers].toSorted(), from, until };
}

/**
 * Notices for approvers: waivers in force that end soon, and those that ended within a day. Whether what a waiver covered is still
 * missing is said by each host. @param at milliseconds
 */
export function noticesOf(states: readonly WaiverState[], at: number): WaiverNotice[] {
  const held = states.flatMap(({ waiver, standing, verdicts, until }) =>
    !verdicts.some(({ ok }) => ok) || standing === 'coming'
      ? []
      : [{ waiver, standing: at < until ? ('in-force' as const) : ('ended' as const), until }],
  );
  return waiverNotices(held, () => false, at);
}

/** Waivers to be signed: those that some group honours, until some time after their end. @param at milliseconds */
export function publishedWaivers(states: readonly WaiverState[], at: number): SignedWaiver[] {
  return states
    .filter(({ verdicts, until }) => verdicts.some(({ ok }) => ok) && at < until + KEPT_AFTER_END_MS)
    .map(({ waiver }) => waiver);
}

/** The answers hosts are told: rejections as they were given, and requests that became waivers. @param at milliseconds */
export function publishedAnswers(given: readonly WaiverAnswer[], states: readonly WaiverState[], at: number): WaiverAnswer[] {
  const approved = states.flatMap(({ waiver, request, verdicts }): WaiverAnswer[] => {
    const last = waiver.approvals
      .map((one) => one.at)
      .toSorted()
      .at(-1);
    if (request === null || waiver.requestedBy === null || last === undefined || !verdicts.some(({ ok }) => ok)) return [];
    return [
      {
        request,
        agent: waiver.requestedBy,
        decision: 'approved',
        waiver: waiver.name,
        reason: waiver.reason.slice(0, 500),
        at: last,
      },
    ];
  });
  return [...given, ...approved]
    .filter((one) => Date.parse(one.at) + ANSWERS_KEPT_MS > at)
    .toSorted((a, b) => (a.at < b.at ? 1 : a.at > b.at ? -1 : a.request < b.request ? -1 : 1))
    .slice(0, ANSWERS_KEPT)
    .toSorted((a, b) => (a.request < b.request ? -1 : 1));
}
