// The act of the state Rollback: puts back in place what the run changed, or hands over to the whole root (root.ts).
import { type Attempt, type Came, contextOf } from './acts.ts';
import { notAsBefore } from './as-before.ts';
import { rebootNeed, restartServices, wantsReboot } from './need.ts';
import { rootInstead } from './root.ts';

const never = new AbortController().signal;

export async function rollback(attempt: Attempt): Promise<Came> {
  const { data, world } = attempt;
  const context = contextOf(attempt, never);
  data.rollback = 'failed'; // until it is shown to have worked
  world.journal.runs.save(attempt.id, data);
  if (data.plans.length === 0) return { on: 'failed', says: 'nothing of this host can be taken back: no way back is kept' };
  const root = await rootInstead(attempt);
  if (root.kind === 'stuck') return { on: 'failed', says: root.says };
  const open = data.plans.filter(({ format }) => !data.ways.some(({ formats }) => formats.includes(format)));
  if (root.kind === 'in-place') for (const { format } of data.plans) await world.hands.systems[format].repair(context);
  for (const taken of data.ways.toReversed()) {
    if (root.kind === 'whole' && taken.id === root.work.id && taken.kind === root.work.kind) continue;
    const way = world.hands.ways.find(({ kind }) => kind === taken.kind);
    const plans = data.plans.filter(({ format }) => taken.formats.includes(format));
    if (way === undefined) return { on: 'failed', says: `the way back ${taken.kind} is not known to this version` };
    const restored = await way.restore(taken.id, plans, context);
    if (!restored.ok) return { on: 'failed', says: `${taken.kind}: ${restored.says}` };
    world.failPoint('Rollback.middle');
  }
  if (root.kind === 'whole') return { on: 'switch', says: 'the whole root goes back at the next boot' };
  const inventory = await world.hands.inventory();
  const differs = notAsBefore(attempt, inventory);
  if (differs !== undefined) {
    const without = open.length === 0 ? '' : `; there is no way back for ${open.map(({ format }) => format).join(', ')}`;
    return { on: 'failed', says: `the host is not as before: ${differs}${without}` };
  }
  data.rollback = 'done';
  await restartServices(attempt); // what ran the new version; a unit that does not come up is seen by the next health check
  const again = data.rebooted && wantsReboot(world, data.group, rebootNeed(attempt, inventory));
  return { on: again ? 'reboot' : 'ok', says: 'the host is as before: same packages, same versions' };
}
