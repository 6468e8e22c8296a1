// What the owner says, taken in: remembered, told, and sealed at once where no other process is at work.

import { isFault } from '#manifests/errors';
import { utcSeconds } from '#manifests/platform/clock';
import { type Lock, takeLock } from '#manifests/platform/lock';
import type { Group, Inventory } from '#manifests/schema';
import type { PolicyView } from '../poll/index.ts';
import type { ResultStamp } from '../run/index.ts';
import { type Agent, fault } from './agent.ts';

export interface Owned {
  readonly view: PolicyView;
  readonly group: Group;
  readonly inventory: Inventory;
  readonly stamp: ResultStamp;
}

/** This host as its owner may speak for it. @throws agent.not-enrolled, agent.nothing-known */
export async function ownedHost(agent: Agent): Promise<Owned> {
  const { keys, clock } = agent;
  if (keys === undefined) throw fault('not-enrolled', 'this host is not enrolled');
  const view = agent.documents.view(keys.id);
  if (view.damaged !== null) throw fault('nothing-known', `${view.damaged}; the next poll fetches it again`);
  if (view.member === null || view.group === null)
    throw fault('nothing-known', 'no group decides about this host yet: the publisher has not approved it');
  const inventory = await agent.hands.inventory();
  const stamp = {
    boot: inventory.bootId,
    trustedTime: utcSeconds(agent.trustedNow()),
    wallTime: utcSeconds(clock.now()),
  };
  return { view, group: view.group, inventory, stamp };
}

/** Seals what is to be told. @returns false when another process is at work, whose cycle does it */
export function sealNow(agent: Agent, { recipients }: PolicyView): boolean {
  let lock: Lock;
  try {
    lock = takeLock(agent.places.lock, 'agent owner');
  } catch (error) {
    if (isFault(error, 'lock.held')) return false;
    throw error;
  }
  try {
    agent.outbox?.seal(recipients);
    return true;
  } finally {
    lock.release();
  }
}
