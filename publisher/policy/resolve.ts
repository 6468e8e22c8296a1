// From authored policy and catalogs to the documents that are signed: resolved baselines and groups.

import { resolveBaseline, signedDelegationOf, signedGroup, signedHaltOf, signedRecallOf, signRollout } from '#manifests/decide';
import { defineFaults, EXIT } from '#manifests/errors';
import {
  type Catalog,
  type Group,
  invalidPolicy,
  type PatchGroup,
  type Recall,
  type ResolvedBaseline,
  type Rollout,
  type SignedDelegation,
  type SignedHalt,
  type SignedRecall,
  type SignedRollout,
  suggestion,
} from '#manifests/schema';
import { groupTimings, NO_FACTS, type PolicyFacts, ringHosts, rolloutBefore } from './facts.ts';
import type { PolicySet } from './read.ts';

const fault = defineFaults('policy-resolve', {
  'no-catalog': {
    exit: EXIT.usage,
    next: 'Add a source for the product and sync it, or correct or remove the baseline.',
  },
});

export interface ResolvedPolicy {
  readonly baselines: readonly ResolvedBaseline[];
  readonly groups: readonly Group[];
  /** Recalls that change hosts: signed by the policy role. */
  readonly recalls: readonly SignedRecall[];
  /** Halts, and recalls that only block: signed by the halts role. */
  readonly stops: readonly Stop[];
  readonly delegations: readonly SignedDelegation[];
}

/** What the halts role signs. */
export type Stop = SignedHalt | SignedRecall;

/** Whether the halts role may sign a recall: it stops or warns, and changes no host. */
export function onlyBlocks({ spec: { action } }: Recall): boolean {
  return action === 'never-install' || action === 'warn';
}

/**
 * Resolves every baseline against the catalog of its product at one instant, and makes the group documents.
 * @param at milliseconds. @throws policy.invalid when the policy has problems, policy-resolve.no-catalog
 */
export function resolvePolicy(
  policy: PolicySet,
  catalogs: readonly Catalog[],
  at: number,
  facts: PolicyFacts = NO_FACTS,
): ResolvedPolicy {
  if (policy.problems.length > 0) throw invalidPolicy(policy.problems);
  const byProduct = new Map(catalogs.map((catalog) => [catalog.product, catalog]));
  const baselines = [...policy.baselines.values()].map(({ document, at: place }) => {
    const { product } = document.spec;
    const catalog = byProduct.get(product);
    if (catalog === undefined) {
      const { file, line, column } = place(['spec', 'product']);
      const where = `${file}:${line}:${column}`;
      throw fault(
        'no-catalog',
        `${where}: baseline "${document.metadata.name}" is for ${product}, of which there is no catalog${suggestion(product, [...byProduct.keys()])}`,
        { where },
      );
    }
    const resolved = resolveBaseline(document, catalog, at, undefined, { kev: facts.kev });
    return keepApprovalDates(resolved, facts.baselines.get(resolved.name));
  });
  const recalls = [...policy.recalls.values()].map(({ document }) => document);
  return {
    baselines,
    groups: groupDocuments(policy, baselines, facts, at),
    recalls: recalls.filter((recall) => !onlyBlocks(recall)).map((recall) => signedRecallOf(recall, at)),
    stops: stopsOf(policy, at),
    delegations: [...policy.delegations.values()].map(({ document }) => signedDelegationOf(document, at)),
  };
}

/** Halts and blocking recalls as the halts role signs them. @param at milliseconds */
export function stopsOf(policy: Pick<PolicySet, 'recalls' | 'halts'>, at: number): Stop[] {
  return [
    ...[...policy.halts.values()].map(({ document }) => signedHaltOf(document, at)),
    ...[...policy.recalls.values()].flatMap(({ document }) => (onlyBlocks(document) ? [signedRecallOf(document, at)] : [])),
  ];
}

/** An approval by name holds since it was first published, not since the last time somebody resolved it. */
function keepApprovalDates(resolved: ResolvedBaseline, before: ResolvedBaseline | undefined): ResolvedBaseline {
  if (before === undefined) return resolved;
  const since = new Map(before.approved.filter(({ explicit }) => explicit).map((entry) => [entry.patch, entry.approvedAt]));
  return {
    ...resolved,
    approved: resolved.approved.map((entry) => {
      const earlier = entry.explicit ? since.get(entry.patch) : undefined;
      return earlier === undefined || earlier > entry.approvedAt ? entry : { ...entry, approvedAt: earlier };
    }),
  };
}

/** Names of the baselines a group may use, by itself or by what its hosts are. */
function baselinesOf({ spec }: PatchGroup): string[] {
  return [...spec.baselines, ...spec.choose.map(({ baseline }) => baseline)];
}

/**
 * A rollout as it is signed now, the same in every group that uses it: gates are judged by what its rings have shown, and what was
 * open before stays open.
 */
function rolloutOf(
  document: Rollout,
  groups: readonly PatchGroup[],
  baselines: ReadonlyMap<string, ResolvedBaseline>,
  facts: PolicyFacts,
  at: number,
): SignedRollout {
  const { name } = document.metadata;
  const since = new Map<string, number>();
  for (const baseline of new Set(groups.flatMap(baselinesOf))) {
    for (const { patch, approvedAt } of baselines.get(baseline)?.approved ?? []) {
      const moment = Date.parse(approvedAt);
      since.set(patch, Math.min(since.get(patch) ?? moment, moment));
    }
  }
  const before = rolloutBefore(name, facts.groups.values());
  const gated = document.spec.rings.filter(({ gate }) => gate !== undefined).map((ring) => ring.name);
  const opened = new Set(before?.opened.map(({ ring, patch }) => `${ring} ${patch}`));
  const shut = [...since.keys()].filter((patch) => gated.some((ring) => !opened.has(`${ring} ${patch}`)));
  const figures = gated.length === 0 ? [] : facts.figures(document, shut);
  const counted = document.spec.rings.some(({ maxConcurrency }) => maxConcurrency !== undefined && 'hosts' in maxConcurrency)
    ? facts.hosts(document)
    : new Map<string, number>();
  return signRollout(document, before, { figures, since, hosts: ringHosts(document, counted, before) }, at);
}

/** The group documents of a policy without problems. @param at milliseconds */
function groupDocuments(policy: PolicySet, resolved: readonly ResolvedBaseline[], facts: PolicyFacts, at: number): Group[] {
  const baselines = new Map(resolved.map((one) => [one.name, one]));
  const groups = [...policy.groups.values()].map(({ document }) => document);
  const rollouts = new Map<string, SignedRollout>();
  for (const [name, { document }] of policy.rollouts) {
    const users = groups.filter(({ spec }) => spec.rollout === name);
    if (users.length > 0) rollouts.set(name, rolloutOf(document, users, baselines, facts, at));
  }
  return groups.map((document) => {
    const lists = baselinesOf(document).flatMap((name) => baselines.get(name) ?? []);
    const patches = new Set(lists.flatMap(({ approved, pending }) => [...approved, ...pending].map(({ patch }) => patch)));
    return signedGroup(
      document,
      {
        rollout: rollouts.get(document.spec.rollout ?? ''),
        timings: groupTimings(facts.timings, patches, facts.groups.get(document.metadata.name)?.timings),
        productOf: (name) => policy.baselines.get(name)?.document.spec.product,
        windowOf: (name) => policy.windows.get(name)?.document.spec,
      },
      at,
    );
  });
}

export const DECISIONS = ['approved', 'pending', 'rejected', 'not-in-baseline'] as const;

/** What a baseline says about one patch: a row for a person and for `--json`. */
export interface PatchDecision {
  readonly baseline: string;
  readonly product: string;
  readonly patch: string;
  readonly decision: (typeof DECISIONS)[number];
  readonly rule: string | null;
  readonly reason: string;
  /** Approved since, or will be at; null where there is no date. */
  readonly at: string | null;
}

/** Every patch of the catalog with what this baseline decided about it, in the catalog's order. */
export function decisionsOf(resolved: ResolvedBaseline, catalog: Catalog): PatchDecision[] {
  const rows = new Map<string, Omit<PatchDecision, 'baseline' | 'product' | 'patch'>>();
  for (const { patch, rule, reason, approvedAt } of resolved.approved)
    rows.set(patch, { decision: 'approved', rule, reason, at: approvedAt });
  for (const { patch, rule, reason, approvesAt } of resolved.pending)
    rows.set(patch, { decision: 'pending', rule, reason, at: approvesAt });
  for (const { patch, rule, reason } of resolved.rejected) rows.set(patch, { decision: 'rejected', rule, reason, at: null });
  const outside = { decision: 'not-in-baseline', rule: null, reason: 'no rule approves it', at: null } as const;
  return catalog.patches.map(({ id }) => ({
    baseline: resolved.name,
    product: resolved.product,
    patch: id,
    ...(rows.get(id) ?? outside),
  }));
}
