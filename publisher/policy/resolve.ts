// From authored policy and catalogs to the documents that are signed: resolved baselines and groups.

import { resolveBaseline, signedDelegationOf, signedGroup, signedHaltOf, signedRecallOf, signRollout } from '#manifests/decide';
import { defineFaults, EXIT } from '#manifests/errors';
import {
  type Catalog,
  type Group,
  invalidPolicy,
  type Recall,
  type ResolvedBaseline,
  type SignedDelegation,
  type SignedHalt,
  type SignedRecall,
  type SignedRollout,
  suggestion,
} from '#manifests/schema';
import type { PolicySet } from './read.ts';

const fault = defineFaults('policy-resolve', {
  'no-catalog': {
    exit: EXIT.usage,
    next: 'Add a source for the product and sync it, or correct or remove the baseline.',
  },
  unsigned: {
    exit: EXIT.usage,
    next: 'Take it out of the policy: publishing without it would let more happen than was written.',
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
export function resolvePolicy(policy: PolicySet, catalogs: readonly Catalog[], at: number): ResolvedPolicy {
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
    return resolveBaseline(document, catalog, at);
  });
  const recalls = [...policy.recalls.values()].map(({ document }) => document);
  return {
    baselines,
    groups: groupDocuments(policy, at),
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

/**
 * Ramps and rings follow from the clock alone. Gates and halts of a rollout need what was signed before and the figures of the
 * fleet, which are not brought together here: refused, because a ring without its gate would open by itself.
 */
function rolloutOf(policy: PolicySet, name: string | undefined, at: number): SignedRollout | undefined {
  const placed = name === undefined ? undefined : policy.rollouts.get(name);
  if (placed === undefined) return undefined;
  const { rings, halt } = placed.document.spec;
  const gated = rings.findIndex(({ gate }) => gate !== undefined);
  if (gated >= 0 || halt.length > 0) {
    const path = gated >= 0 ? ['spec', 'rings', gated, 'gate'] : ['spec', 'halt'];
    const { file, line, column } = placed.at(path);
    const where = `${file}:${line}:${column}`;
    const says =
      gated >= 0 ? 'gates of rings are not signed yet' : 'halts of a rollout are not signed yet; use `publisher halt`';
    throw fault('unsigned', `${where}: rollout "${name}": ${says}`, { where });
  }
  return signRollout(placed.document, undefined, { figures: [], since: new Map() }, at);
}

/** The group documents of a policy without problems. @param at milliseconds */
function groupDocuments(policy: PolicySet, at: number): Group[] {
  return [...policy.groups.values()].map(({ document }) =>
    signedGroup(
      document,
      {
        rollout: rolloutOf(policy, document.spec.rollout, at),
        productOf: (name) => policy.baselines.get(name)?.document.spec.product,
        windowOf: (name) => policy.windows.get(name)?.document.spec,
      },
      at,
    ),
  );
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
