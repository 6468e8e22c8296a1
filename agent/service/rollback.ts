// Taking runs back at their owner's word: the same machine, entered at Rollback, the newest run first.
import { takeLock } from '#manifests/platform/lock';
import { type RunEnd, takeUp, undoLast } from '../run/index.ts';
import { type Agent, fault } from './agent.ts';
import { makeWorld, type WorldOptions } from './world.ts';

/**
 * Takes the newest run back, or with `run` (the start of its id) all down to that one; stops at the first that cannot be taken
 * back. Each is a run with a result of its own. `wholeRoot`: everything on the root goes back with it, at the next boot.
 * @throws lock.held, run.no-rollback, run.whole-root, agent.not-kept, agent.usage
 */
export async function rollbackLast(
  agent: Agent,
  options: WorldOptions & { readonly run?: string | undefined; readonly wholeRoot?: boolean | undefined },
): Promise<RunEnd[]> {
  const lock = takeLock(agent.places.lock, 'agent rollback');
  try {
    const view = agent.documents.view(agent.keys?.id ?? null);
    const world = makeWorld(agent, () => view, options);
    const before = await takeUp(world); // an interrupted run is brought to its end first
    if (before !== undefined && before.kind !== 'ended') return [before];
    const { ways } = agent.journal;
    const target = options.run === undefined ? undefined : ways.kept().find(({ run }) => run.startsWith(options.run ?? ''));
    if (options.run !== undefined && target === undefined)
      throw fault('not-kept', `run ${options.run} cannot be taken back (any more)`);
    const newest = ways.kept().at(-1)?.run;
    if (options.wholeRoot === true && target !== undefined && target.run !== newest)
      throw fault('usage', 'the whole root goes back by one run at a time, the newest first', {
        next: `Take the later runs back first, or begin with run ${newest?.slice(0, 8)}.`,
      });
    const ended: RunEnd[] = [];
    for (;;) {
      const end = await undoLast(world, { wholeRoot: options.wholeRoot === true });
      ended.push(end);
      if (end.kind !== 'ended' || end.outcome !== 'rolled-back') return ended;
      if (!ways.kept().some(({ run }) => run === target?.run)) return ended;
    }
  } finally {
    lock.release();
  }
}
