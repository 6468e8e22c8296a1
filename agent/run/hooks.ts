// Programs that policy has run around a change: when each has its turn, what its exit means there, and what is told of it.
// How one is started is the business of the hands. A hook may run again after a kill, so it has to bear that.
import type { Hook, HookPoint, RunBody } from '#manifests/schema';
import type { Attempt } from './acts.ts';
import { RUN_LIMITS } from './limits.ts';
import { cleanText, type HookRecord, type RunData } from './runs.ts';

/** Exit code by which a hook asks for another time (as in Mender's state scripts). */
export const LATER_EXIT = 21;

/** What stood in the way: the hook failed, or asked for later. */
export interface HookStop {
  readonly code: 'hook' | 'hook-later';
  readonly message: string;
}

function pointOf({ at }: Hook): HookPoint {
  return at === 'before' ? 'pre-install' : at === 'after' ? 'post-install' : at;
}

/** Whether a run has hooks at this place: then nothing of that part may be done ahead of the run. */
export function hasHooks(hooks: readonly Hook[], at: HookPoint): boolean {
  return hooks.some((hook) => pointOf(hook) === at);
}

/** Runs the hooks of one place in their order, up to the first that does not succeed. Each outcome is in the journal at once. */
export async function runHooks(
  { id, data, world }: Attempt,
  at: HookPoint,
  signal: AbortSignal,
  outcome?: RunBody['outcome'],
): Promise<HookStop | undefined> {
  for (const hook of data.hooks ?? []) {
    if (pointOf(hook) !== at) continue;
    world.say(`hook ${hook.name} (${at}) …`);
    const environment = {
      PATCHFERRY_RUN: id,
      PATCHFERRY_HOOK: at,
      PATCHFERRY_PATCHES: data.patches.slice(0, RUN_LIMITS.hookPatches).join(' '),
      ...(outcome === undefined ? {} : { PATCHFERRY_OUTCOME: outcome }),
    };
    const { how, says } = await world.hands.runHook(hook, environment, signal);
    note(data, { name: hook.name, at, outcome: how, says: cleanText(says, RUN_LIMITS.healthOutput) });
    world.journal.runs.save(id, data);
    if (how === 'failed') return { code: 'hook', message: `hook ${hook.name} (${at}): ${says}` };
    if (how === 'later') return { code: 'hook-later', message: `hook ${hook.name} (${at}) asks for another time: ${says}` };
  }
  return undefined;
}

function note(data: RunData, record: HookRecord): void {
  const others = (data.hookRecords ?? []).filter(({ name, at }) => name !== record.name || at !== record.at);
  data.hookRecords = [...others, record];
}

/** Every hook of the run with what became of it; one that never had its turn says so (trap 20). */
export function hookReport({ hooks = [], hookRecords = [], rebooted }: RunData): HookRecord[] {
  return hooks.map((hook) => {
    const at = pointOf(hook);
    const found = hookRecords.find((record) => record.name === hook.name && record.at === at);
    const why =
      (at === 'pre-reboot' || at === 'post-reboot') && !rebooted ? 'there was no reboot' : 'the run ended before its turn';
    return found ?? { name: hook.name, at, outcome: 'skipped', says: why };
  });
}
