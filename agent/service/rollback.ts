// Taking the last run back at its owner's word: the same machine, entered at Rollback.
import { takeLock } from '#manifests/platform/lock';
import { type RunEnd, takeUp, undoLast } from '../run/index.ts';
import type { Agent } from './agent.ts';
import { makeWorld, type WorldOptions } from './world.ts';

/** @throws lock.held, run.no-rollback */
export async function rollbackLast(agent: Agent, options: WorldOptions): Promise<RunEnd> {
  const lock = takeLock(agent.places.lock, 'agent rollback');
  try {
    const view = agent.documents.view(agent.keys?.id ?? null);
    const world = makeWorld(agent, () => view, options);
    const before = await takeUp(world); // an interrupted run is brought to its end first
    if (before !== undefined && before.kind !== 'ended') return before;
    return await undoLast(world);
  } finally {
    lock.release();
  }
}
