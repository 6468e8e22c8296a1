// Rejected with `block` (field guide 1.2): never installed, nor any package that needs it. What needs what is known to the
// host's own package manager alone, so its plan is held against the list of blocked packages before anything is done.
import type { PackageChange } from '#manifests/schema';
import type { BlockedPackage } from './evaluation.ts';

/** Packages of a plan that a baseline blocks; when there is one, the plan must be refused. */
export function blockedIn(changes: readonly PackageChange[], blocked: readonly BlockedPackage[]): BlockedPackage[] {
  const planned = new Set(changes.flatMap(({ name, to }) => (to === null ? [] : [`${name} ${to}`])));
  return blocked.filter(({ name, version }) => planned.has(`${name} ${version}`));
}
