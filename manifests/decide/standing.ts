// What policy says about a patch at one instant: the resolved lists of the group's baselines, looked up. A pending entry
// becomes approved by itself once trusted time has reached its moment (field guide 8, row 1).
import type { ComplianceLevel, Group, ResolvedBaseline } from '#manifests/schema';
import { allHold, type Facts, type Who } from './targeting.ts';

/** What stands in place of a rule's name for patches that a list names. */
export const APPROVED_LIST = 'approved list';
export const REJECTED_LIST = 'rejected list';
export const RECALL = 'recall';

/** Where a patch stands. Rejection is looked at first, so a damaged document can never approve what it rejects. */
export type Standing =
  | {
      readonly kind: 'approved';
      readonly level: ComplianceLevel;
      readonly rule: string;
      readonly reason: string;
      readonly since: string;
      readonly baseline: string;
      readonly urgency?: 'normal' | 'emergency' | undefined;
      readonly deadline?: string | undefined;
    }
  | {
      readonly kind: 'pending';
      readonly level: ComplianceLevel;
      readonly rule: string;
      readonly reason: string;
      readonly approvesAt: string;
      readonly baseline: string;
      readonly urgency?: 'normal' | 'emergency' | undefined;
      readonly deadline?: string | undefined;
    }
  | {
      readonly kind: 'rejected';
      readonly rule: string;
      readonly reason: string;
      readonly block: boolean;
      readonly baseline: string;
    }
  | { readonly kind: 'unlisted'; readonly baseline: string }
  /** No signed baseline decides for the product. */
  | { readonly kind: 'no-baseline'; readonly reason: string };

export interface Policy {
  standing(product: string, patch: string): Standing;
  baselineOf(product: string): ResolvedBaseline | undefined;
  /** Products that a baseline of the repository decides about, in the order of the group. */
  readonly products: readonly string[];
  readonly notes: readonly string[];
}

/** The host as far as it chooses between baselines. */
export interface Chooser {
  readonly facts: Facts;
  readonly labels: Who['labels'];
}

/**
 * Looks up the baseline of the group for each product: the first of `choose` whose conditions hold on this host, else the one
 * that the group names. @param at milliseconds of trusted time
 */
export function policyOf(
  group: Group | null,
  baselines: readonly ResolvedBaseline[],
  at: number,
  host: Chooser | null = null,
): Policy {
  const notes: string[] = [];
  const chosen = new Map<string, { baseline: ResolvedBaseline; lists: Map<string, Standing> }>();
  const fitting = (group?.choose ?? []).filter(({ when }) => host !== null && allHold(when, host.facts, host.labels));
  const named = [...fitting, ...(group?.baselines ?? [])];
  const firsts = named.filter(({ product }, index) => named.findIndex((one) => one.product === product) === index);
  for (const { product, baseline: name } of firsts) {
    const baseline = baselines.find((one) => one.name === name && one.product === product);
    if (baseline === undefined)
      notes.push(`group ${group?.name} names baseline ${name} for ${product}, which the repository does not have`);
    else chosen.set(product, { baseline, lists: standings(baseline, at) });
  }
  return {
    notes,
    products: [...chosen.keys()],
    baselineOf: (product) => chosen.get(product)?.baseline,
    standing(product, patch) {
      const one = chosen.get(product);
      if (one !== undefined) return one.lists.get(patch) ?? { kind: 'unlisted', baseline: one.baseline.name };
      if (group === null) return { kind: 'no-baseline', reason: 'this host is in no patch group' };
      const isNamed = firsts.some((entry) => entry.product === product);
      return {
        kind: 'no-baseline',
        reason: isNamed
          ? `the repository lacks the baseline of group ${group.name} for ${product}`
          : `group ${group.name} has no baseline for ${product}`,
      };
    },
  };
}

function standings(baseline: ResolvedBaseline, at: number): Map<string, Standing> {
  const lists = new Map<string, Standing>();
  const { name } = baseline;
  for (const { patch, rule, reason, level, approvesAt, urgency, deadline } of baseline.pending) {
    const approved = at >= Date.parse(approvesAt);
    const pressing = { urgency, deadline };
    lists.set(
      patch,
      approved
        ? { kind: 'approved', level, rule, reason, since: approvesAt, baseline: name, ...pressing }
        : { kind: 'pending', level, rule, reason, approvesAt, baseline: name, ...pressing },
    );
  }
  for (const { patch, rule, reason, level, approvedAt, urgency, deadline } of baseline.approved) {
    lists.set(patch, { kind: 'approved', level, rule, reason, since: approvedAt, baseline: name, urgency, deadline });
  }
  const block = baseline.rejectedAction === 'block';
  for (const { patch, rule, reason } of baseline.rejected)
    lists.set(patch, { kind: 'rejected', rule, reason, block, baseline: name });
  return lists;
}
