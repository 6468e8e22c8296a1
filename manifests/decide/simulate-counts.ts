// Of a simulation: what is counted in slots of time.
import type { SignedRing } from '#manifests/schema';
import { SIMULATION_LIMITS, type SimCollision } from './simulation.ts';

export interface Counting {
  hosts: number;
  limit: number | null;
  percent: number | null;
  readonly running: Uint32Array;
}

export function ringCounts(rings: Map<string, Counting>, rollout: string, ring: SignedRing, slots: number): Counting {
  const key = `${rollout}/${ring.name}`;
  let found = rings.get(key);
  if (found === undefined) {
    const { maxConcurrency: most } = ring;
    found = {
      hosts: 0,
      limit: most !== null && 'hosts' in most ? most.hosts : null,
      percent: most !== null && 'percent' in most ? most.percent : null,
      running: new Uint32Array(slots),
    };
    rings.set(key, found);
  }
  return found;
}

export function reachedBy(when: Uint32Array, wanted: number, from: number): number | null {
  if (wanted === 0) return null;
  let sum = 0;
  for (let slot = 0; slot < when.length; slot += 1) {
    sum += when[slot] ?? 0;
    if (sum >= wanted) return from + slot * SIMULATION_LIMITS.slotMs;
  }
  return null;
}

/** Stretches in which more hosts are at work than may be. */
export function overruns(
  kind: SimCollision['kind'],
  name: string,
  running: Uint32Array,
  limit: number,
  from: number,
): SimCollision[] {
  const found: SimCollision[] = [];
  let start = -1;
  let most = 0;
  for (let slot = 0; slot <= running.length; slot += 1) {
    const hosts = slot < running.length ? (running[slot] ?? 0) : 0;
    if (hosts > limit) {
      if (start < 0) start = slot;
      most = Math.max(most, hosts);
    } else if (start >= 0) {
      const { slotMs } = SIMULATION_LIMITS;
      found.push({ kind, name, from: from + start * slotMs, until: from + slot * slotMs, hosts: most, limit });
      start = -1;
      most = 0;
    }
  }
  return found;
}
