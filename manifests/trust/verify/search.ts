// The search for a target through the delegations (TUF specification 1.0.31, 5.6.7): pre-order, depth first, bounded.
import type { Delegations, TargetFile, Targets } from './forms.ts';
import { binOf, covers } from './paths.ts';

/** What the search needs next, or how it ended. */
export type SearchStep =
  | { readonly kind: 'need'; readonly role: string; readonly by: string }
  | { readonly kind: 'found'; readonly role: string; readonly target: TargetFile }
  | { readonly kind: 'absent' };

/**
 * Walks towards `path` as a generator: it asks for one role after the other and is handed each one's verified metadata.
 * At most `mostRoles` roles are visited (5.6.7.1), none twice.
 */
export function* search(path: string, mostRoles: number): Generator<{ role: string; by: string }, SearchStep, Targets> {
  const stack: { role: string; by: string }[] = [{ role: 'targets', by: 'root' }];
  const visited = new Set<string>();
  for (let next = stack.pop(); next !== undefined && visited.size < mostRoles; next = stack.pop()) {
    // 5.6.7.1: a role already visited is skipped; cycles end here.
    if (visited.has(next.role)) continue;
    visited.add(next.role);
    const targets = yield next;
    // 5.6.7.2: the first role in order that lists the path decides.
    const target = targets.targets.get(path);
    if (target !== undefined) return { kind: 'found', role: next.role, target };
    const children = delegationsFor(targets.delegations, path);
    // 5.6.7.2.1: a terminating delegation that covers the path ends the search outside of it.
    if (children.some((child) => child.terminating)) stack.length = 0;
    for (const child of children.toReversed()) stack.push({ role: child.name, by: next.role });
  }
  return { kind: 'absent' };
}

/** Delegations that cover `path` in order of trust, cut after the first terminating one. */
export function delegationsFor(delegations: Delegations | undefined, path: string): { name: string; terminating: boolean }[] {
  if (delegations === undefined) return [];
  // TAP 15: succinct bins are always terminating.
  if (delegations.bins !== undefined) return [{ name: binOf(delegations.bins, path), terminating: true }];
  const children: { name: string; terminating: boolean }[] = [];
  for (const role of delegations.roles) {
    if (!covers(role, path)) continue;
    children.push({ name: role.name, terminating: role.terminating });
    if (role.terminating) break;
  }
  return children;
}
