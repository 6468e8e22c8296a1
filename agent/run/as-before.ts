// Whether a host is as it was before a run that was taken back: its packages and components, as the inventory has them.
import type { Inventory } from '#manifests/schema';
import type { Attempt } from './acts.ts';
import { oneLine, type RunData, versionsOf } from './runs.ts';

/** What is not as it was before the run that is taken back; undefined when everything is. */
export function notAsBefore(attempt: Attempt, inventory: Inventory): string | undefined {
  return attempt.data.undoes === null ? differsFromBefore(attempt, inventory) : notUndone(attempt.data, inventory);
}

function differsFromBefore({ data, world }: Attempt, inventory: Inventory): string | undefined {
  const same = world.hands.digest(inventory) === data.before.digest && equal(inventory.components, data.before.components);
  if (same) return undefined;
  const now = versionsOf(inventory.packages);
  const names = [...new Set([...Object.keys(now), ...Object.keys(data.before.packages)])];
  const wrong = names.filter((name) => now[name] !== data.before.packages[name]);
  return oneLine(
    wrong.map((name) => `${name} ${now[name] ?? 'absent'} instead of ${data.before.packages[name] ?? 'absent'}`).join(', ') ||
      'components differ',
    400,
  );
}

/** By hand, later: other packages may have changed since, so only those of the run are looked at. */
function notUndone(data: RunData, inventory: Inventory): string | undefined {
  const now: Record<string, string> = { ...versionsOf(inventory.packages) };
  const wrong = data.plans
    .filter(({ format }) => format !== 'archive')
    .flatMap(({ changes }) => changes)
    .filter(({ name, arch, from }) => (now[`${name}:${arch}`] ?? null) !== from);
  const components = data.plans
    .filter(({ format }) => format === 'archive')
    .flatMap(({ changes }) => changes)
    .filter(({ name, from }) => (inventory.components[name] ?? null) !== from);
  const all = [...wrong, ...components];
  return all.length === 0
    ? undefined
    : oneLine(all.map(({ name, from }) => `${name} is not ${from ?? 'absent'}`).join(', '), 400);
}

function equal(a: Readonly<Record<string, string>>, b: Readonly<Record<string, string>>): boolean {
  return Object.keys(a).length === Object.keys(b).length && Object.entries(a).every(([key, value]) => b[key] === value);
}
