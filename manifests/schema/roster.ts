// The roster: which agents belong to the fleet, in which group, and up to where their results have arrived (acks).
import { z } from 'zod';
import { agentId, count, document, labels, line, list, moment, name, publicKeyHex, sha256 } from './common.ts';

export const rosterAgent = z.strictObject({
  id: agentId,
  /** What people call it; the host's name unless changed. */
  title: line(255),
  group: name,
  labels,
  /** Where it stands, for site overlays and reports. */
  site: name.optional(),
  /** Ed25519, checked when it entered. */
  signKey: publicKeyHex,
  /** X25519. */
  boxKey: publicKeyHex,
  status: z.enum(['approved', 'revoked']),
  since: moment,
});
export type RosterAgent = z.infer<typeof rosterAgent>;

export const roster = document('roster', 1, {
  signedAt: moment,
  agents: list(rosterAgent),
  /** Who results are sealed to. */
  recipients: list(z.strictObject({ name, boxKey: publicKeyHex }), 20).min(1),
});
export type Roster = z.infer<typeof roster>;

/** Results of `agent` were received without a gap up to `sequence`, whose envelope has this hash. */
export const ack = z.strictObject({ agent: agentId, sequence: count, hash: sha256 });
export type Ack = z.infer<typeof ack>;

export const acks = document('acks', 1, { signedAt: moment, acks: list(ack) });
export type Acks = z.infer<typeof acks>;
