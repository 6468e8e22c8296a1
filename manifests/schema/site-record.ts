// What a relay says under its own name: that it stopped its site, and which results it had to drop. Signed by the relay's key
// (trust/record.ts); neither can let anything happen.
import { z } from 'zod';
import { agentId, count, document, line, list, moment, name } from './common.ts';
import { PURPOSES } from './window.ts';

/** A halt for the hosts of one site. There is nothing in it that could let anything happen. */
export const siteHalt = document('site-halt', 1, {
  site: name,
  name,
  signedAt: moment,
  /** Only these groups; empty: every host of the site. */
  groups: list(name, 100),
  stops: list(z.enum(PURPOSES), 3).min(1),
  reason: line(500),
  until: moment.nullable(),
  /** What the fuse had counted; null when a person stopped it. */
  fuse: z.strictObject({ rollout: name, reports: count, failures: count, failed: list(agentId, 1_000) }).nullable(),
});
export type SiteHalt = z.infer<typeof siteHalt>;

/** Results that a relay dropped because it had no room, the oldest detail first. Their agents still have them. */
export const relayGap = document('relay-gap', 1, {
  /** Of the relay; null where it has none. */
  site: name.nullable(),
  signedAt: moment,
  agent: agentId,
  /** Sequence numbers, ascending, first and last of each run of neighbours. */
  dropped: list(z.strictObject({ from: count, to: count }), 10_000).min(1),
  results: z.int().min(1),
  bytes: count,
  why: z.enum(['quota', 'disk']),
});
export type RelayGap = z.infer<typeof relayGap>;
