// What policy says about a patch at one instant: the resolved lists of the group's baselines, looked up. A pending entry
// becomes approved by itself once trusted time has reached its moment (field guide 8, row 1).
import type { ComplianceLevel, Group, ResolvedBaseline } from '#manifests/schema';

/** What stands in place of a rule's name for patches that a list names. */
export const APPROVED_LIST = 'approved list';
export const REJECTED_LIST = 'rejected list';

/** Where a patch stands. Rejection is looked at first, so a damaged document can never approve what it rejects. */
export type Standing =
  | {
      readonly kind: 'approved';
      readonly level: ComplianceLevel;
      readonly rule: string;
      readonly reason: string;
      readonly since: string;
      readonly baseline: string;
    }
  | {
      readonly kind: 'pending';
      readonly level: ComplianceLevel;
      readonly rule: string;
      readonly reason: string;
      readonly approvesAt: string;
      readonly baseline: string;
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
  readonly notes: readonly string[];
}

/** Looks up the baseline that the group names for each product. @param at milliseconds of trusted time */
export function policyOf(group: Group | null, baselines: readonly ResolvedBaseline[], at: number): Policy {
  const notes: string[] = [];
  const chosen = new Map<string, { baseline: ResolvedBaseline; lists: Map<string, Standing> }>();
  for (const { product, baseline: name } of group?.baselines ?? []) {
    const baseline = baselines.find((one) => one.name === name && one.product === product);
    if (baseline === undefined)
      notes.push(`group ${group?.name} names baseline ${name} for ${product}, which the repository does not have`);
    else if (!chosen.has(product)) chosen.set(product, { baseline, lists: standings(baseline, at) });
  }
  return {
    notes,
    baselineOf: (product) => chosen.get(product)?.baseline,
    standing(product, patch) {
      const one = chosen.get(product);
      if (one !== undefined) return one.lists.get(patch) ?? { kind: 'unlisted', baseline: one.baseline.name };
      if (group === null) return { kind: 'no-baseline', reason: 'this host is in no patch group' };
      const named = group.baselines.some((entry) => entry.product === product);
      return {
        kind: 'no-baseline',
        reason: named
          ? `the repository lacks the baseline of group ${group.name} for ${product}`
          : `group ${group.name} has no baseline for ${product}`,
      };
    },
  };
}

function standings(baseline: ResolvedBaseline, at: number): Map<string, Standing> {
  const lists = new Map<string, Standing>();
  const { name } = baseline;
  for (const { patch, rule, reason, level, approvesAt } of baseline.pending) {
    const approved = at >= Date.parse(approvesAt);
    lists.set(
      patch,
      approved
        ? { kind: 'approved', level, rule, reason, since: approvesAt, baseline: name }
        : { kind: 'pending', level, rule, reason, approvesAt, baseline: name },
    );
  }
  for (const { patch, rule, reason, level, approvedAt } of baseline.approved) {
    lists.set(patch, { kind: 'approved', level, rule, reason, since: approvedAt, baseline: name });
  }
  const block = baseline.rejectedAction === 'block';
  for (const { patch, rule, reason } of baseline.rejected)
    lists.set(patch, { kind: 'rejected', rule, reason, block, baseline: name });
  return lists;
}
