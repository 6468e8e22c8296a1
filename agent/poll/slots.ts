// When a host polls: once in each slot of its group's interval, at an offset that its id gives (trap 30: no wake storm).
import { createHash } from 'node:crypto';

/** A number in [0, 1) that is the same for one agent always and spreads evenly over many. */
export function spread(agent: string): number {
  return createHash('sha256').update(`patchferry-poll-1\n${agent}`).digest().readUInt32BE(0) / 2 ** 32;
}

/** The number of the slot that `at` (ms) lies in; a poll is due when it differs from the last poll's. */
export function slotOf(agent: string, minutes: number, at: number): number {
  const length = minutes * 60_000;
  return Math.floor((at - spread(agent) * length) / length);
}

/** When the next slot begins, ms. */
export function nextSlotAt(agent: string, minutes: number, at: number): number {
  const length = minutes * 60_000;
  return Math.ceil((slotOf(agent, minutes, at) + 1) * length + spread(agent) * length);
}
