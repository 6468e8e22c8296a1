// What speaks for a reboot of the host, and what is enough in place of one: services that run replaced code are restarted.
import type { Group, Inventory } from '#manifests/schema';
import type { Attempt } from './acts.ts';
import type { RunData } from './runs.ts';
import type { RunWorld, StaleUse } from './world.ts';

/** When the need of a reboot was seen first, in the journal: milliseconds of trusted time. */
export const NEEDED_SINCE = 'reboot-needed-since';

export interface RebootNeed {
  readonly needed: boolean;
  /** A line each; also what is no reason for a reboot by itself. */
  readonly evidence: readonly string[];
}

type NeedData = Pick<RunData, 'group' | 'rebooted' | 'installed'> & Partial<Pick<RunData, 'catalogs' | 'patches'>>;

/** Patches of the run of which the vendor says that they take effect with a reboot. */
function suggestions(world: Pick<RunWorld, 'catalogs'>, { catalogs = [], patches = [] }: NeedData): string[] {
  const own = new Set(patches);
  return world.catalogs(catalogs).flatMap((catalog) =>
    catalog.patches.flatMap(({ id, rebootSuggested, advisories }) => {
      if (rebootSuggested !== true || !own.has(id)) return [];
      return [`the vendor suggests a reboot after ${[id, ...advisories].join(', ').slice(0, 200)}`];
    }),
  );
}

/** What speaks for a reboot of this host now. */
export function rebootNeed(
  { world, data }: Pick<Attempt, 'world'> & { readonly data: NeedData },
  inventory: Inventory,
): RebootNeed {
  const { group, rebooted, installed } = data;
  const suggested = rebooted || installed.length === 0 ? [] : suggestions(world, data);
  const hard = [...world.hands.rebootEvidence(inventory), ...suggested];
  const always = group?.reboot === 'always' && !rebooted && installed.length > 0;
  const uses = world.hands.staleUses();
  // Where services may be restarted and this one was not, or in vain, only a reboot helps; else it is told and no more.
  const soft = uses.map(saysOf);
  return {
    needed: hard.length > 0 || always || (group?.restartServices === true && soft.length > 0),
    evidence: [...hard, ...(always ? ['the group reboots after every installation'] : []), ...soft],
  };
}

function saysOf({ unit, program, file }: StaleUse): string {
  return `${unit === 'init' ? 'init' : (unit ?? `${program} (no service)`)} runs with ${file}, which was replaced`;
}

/** Whether policy and owner want that reboot. */
export function wantsReboot(world: Pick<RunWorld, 'allowReboot'>, group: Group | null, need: RebootNeed): boolean {
  return need.needed && world.allowReboot && (group?.reboot ?? 'never') !== 'never';
}

/** Restarts the services that run replaced code, where the group says so. @returns units that did not come up again */
export async function restartServices({ id, data, world }: Attempt): Promise<string[]> {
  if (data.group?.restartServices !== true) return [];
  const units = new Set(world.hands.staleUses().map(({ unit }) => unit));
  const failed: string[] = [];
  for (const unit of units) {
    if (!world.hands.mayRestart(unit)) continue;
    const { ok, says } = await world.hands.restartUnit(unit);
    if (!ok) failed.push(`${unit}: ${says}`);
    data.restarted = [...new Set([...(data.restarted ?? []), unit])];
    world.journal.runs.save(id, data);
  }
  return failed;
}

/** Keeps the moment since when a reboot is needed; forgets it when none is. */
export function noteNeed(world: RunWorld, needed: boolean): void {
  const since = world.journal.meta(NEEDED_SINCE);
  if (!needed) world.journal.setMeta(NEEDED_SINCE, null);
  else if (since === undefined || Number(since) > world.trustedNow())
    world.journal.setMeta(NEEDED_SINCE, String(world.trustedNow()));
}
