// Who is meant: selectors and conditions held against a host, the group a host belongs to, and what is wrong with targeting as
// policy has it. Conflicts are found here, when policy is checked, so that no host ever meets one.
import type { Condition, Inventory, PatchGroup, Selector } from '#manifests/schema';
import { matches } from './pattern.ts';
import { byText, fewOf } from './text.ts';

/** What is known of a host beside its inventory. */
export interface Who {
  readonly agent: string;
  readonly group?: string | null;
  readonly site?: string | null;
  readonly product?: string | null;
  readonly labels?: Readonly<Record<string, string>>;
}

const own = <T>(record: Readonly<Record<string, T>> | undefined, key: string): T | undefined =>
  record !== undefined && Object.hasOwn(record, key) ? record[key] : undefined;

/** Whether a host has all of these labels; values may have `*`. */
export function hasLabels(wanted: Readonly<Record<string, string>> | undefined, labels: Who['labels']): boolean {
  return Object.entries(wanted ?? {}).every(([key, pattern]) => {
    const value = own(labels, key);
    return value !== undefined && matches(pattern, value);
  });
}

/** Whether a selector means this host. Without any key it means every host. */
export function selects(selector: Selector, who: Who): boolean {
  const among = (values: readonly string[] | undefined, value: string | null | undefined) =>
    values === undefined || (value !== undefined && value !== null && values.includes(value));
  return (
    among(selector.groups, who.group) &&
    among(selector.agents, who.agent) &&
    among(selector.sites, who.site) &&
    among(selector.products, who.product) &&
    hasLabels(selector.labels, who.labels)
  );
}

export type Facts = Pick<Inventory, 'product' | 'arch' | 'hostname' | 'zone' | 'kernels' | 'facts' | 'components' | 'packages'>;

/** Whether a host is as the condition says. What a host does not have is nothing that could be equal, more or less. */
export function conditionHolds(condition: Condition, host: Facts, labels: Who['labels']): boolean {
  const value = valueOf(condition, host, labels);
  if (condition.exists !== undefined) return condition.exists === (value !== undefined);
  if (condition.isNot !== undefined) return value === undefined || !condition.isNot.some((one) => matches(one, String(value)));
  if (value === undefined) return false;
  if (condition.is !== undefined) return condition.is.some((one) => matches(one, String(value)));
  const number = typeof value === 'string' && /^-?\d+(?:\.\d+)?$/.test(value) ? Number(value) : value;
  if (typeof number !== 'number') return false;
  return number >= (condition.atLeast ?? Number.NEGATIVE_INFINITY) && number <= (condition.atMost ?? Number.POSITIVE_INFINITY);
}

function valueOf(condition: Condition, host: Facts, labels: Who['labels']): string | number | boolean | undefined {
  if (condition.label !== undefined) return own(labels, condition.label);
  if (condition.fact !== undefined) return own(host.facts, condition.fact);
  if (condition.component !== undefined) return own(host.components, condition.component);
  if (condition.package !== undefined)
    return host.packages.find(({ name, state }) => name === condition.package && state === 'installed')?.version;
  if (condition.host === 'kernel') return host.kernels.running;
  return condition.host === undefined ? undefined : (host[condition.host] ?? undefined);
}

export function allHold(conditions: readonly Condition[], host: Facts, labels: Who['labels']): boolean {
  return conditions.every((condition) => conditionHolds(condition, host, labels));
}

/** A host for the question which group it belongs to. */
export interface TargetHost {
  readonly who: Who;
  /** Group by name in the roster, where somebody gave it one. */
  readonly assigned: string | null;
  /** Last known; null when it never reported: then conditions on facts do not hold. */
  readonly facts: Facts | null;
}

export type GroupChoice =
  | { readonly kind: 'group'; readonly group: string; readonly by: 'roster' | 'match' }
  | { readonly kind: 'conflict'; readonly groups: readonly string[] }
  | { readonly kind: 'none' };

/** The group of a host: the one it was given by name; else, of those it matches, the one of the highest priority. */
export function groupOf(groups: readonly PatchGroup[], host: TargetHost): GroupChoice {
  if (host.assigned !== null) return { kind: 'group', group: host.assigned, by: 'roster' };
  const fitting = groups.flatMap(({ metadata, spec: { match } }) => {
    if (match === undefined || !selects(match.hosts, host.who)) return [];
    if (match.when.length > 0 && (host.facts === null || !allHold(match.when, host.facts, host.who.labels))) return [];
    return [{ group: metadata.name, priority: match.priority }];
  });
  const highest = Math.max(...fitting.map(({ priority }) => priority));
  const best = fitting
    .filter(({ priority }) => priority === highest)
    .map(({ group }) => group)
    .toSorted(byText);
  const [group] = best;
  if (group === undefined) return { kind: 'none' };
  return best.length === 1 ? { kind: 'group', group, by: 'match' } : { kind: 'conflict', groups: best };
}

export interface TargetingProblem {
  readonly code: 'two-baselines' | 'never-chosen' | 'two-groups' | 'no-group' | 'unknown-group';
  /** Group or agent it is about. */
  readonly subject: string;
  readonly says: string;
}

/**
 * What is wrong with targeting: exactly one baseline per host and product, exactly one group per host.
 * @param productOf product of a baseline by name; undefined for one that does not exist (which is reported elsewhere)
 */
export function checkTargeting(
  groups: readonly PatchGroup[],
  productOf: (baseline: string) => string | undefined,
  hosts: readonly TargetHost[],
): TargetingProblem[] {
  const problems: TargetingProblem[] = [];
  const names = new Set(groups.map(({ metadata }) => metadata.name));
  for (const { metadata, spec } of groups) {
    const byProduct = new Map<string, string>();
    for (const baseline of spec.baselines) {
      const product = productOf(baseline);
      if (product === undefined) continue;
      const before = byProduct.get(product);
      if (before !== undefined && before !== baseline)
        problems.push({
          code: 'two-baselines',
          subject: metadata.name,
          says: `"${before}" and "${baseline}" are both for ${product}; a group takes one baseline a product`,
        });
      byProduct.set(product, before ?? baseline);
    }
    const chosen = new Set<string>();
    for (const { baseline, when } of spec.choose) {
      const key = `${productOf(baseline)} ${JSON.stringify(when)}`;
      if (chosen.has(key))
        problems.push({
          code: 'never-chosen',
          subject: metadata.name,
          says: `"${baseline}" is never chosen: an entry before it has the same conditions`,
        });
      chosen.add(key);
    }
  }
  for (const host of hosts) {
    const subject = host.who.agent;
    const choice = groupOf(groups, host);
    if (choice.kind === 'none')
      problems.push({ code: 'no-group', subject, says: 'no group was given to it and none matches it' });
    else if (choice.kind === 'conflict')
      problems.push({
        code: 'two-groups',
        subject,
        says: `matches ${fewOf(choice.groups)} with the same priority; give one of them a higher priority, or the host a group`,
      });
    else if (!names.has(choice.group))
      problems.push({ code: 'unknown-group', subject, says: `was given group "${choice.group}", which there is not` });
  }
  return problems;
}
