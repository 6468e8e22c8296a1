// Waivers: approved, dated exceptions. Written (or requested from a host), signed by approvers one by one, then published.
// Evaluated on the host by `decide/waiver.ts`.
import { z } from 'zod';
import { cveId } from './catalog.ts';
import { agentId, authored, calendarDate, document, line, list, moment, name, publicKeyHex, zone } from './common.ts';
import { pattern, selector } from './targeting.ts';

/** SP 800-40: what is done about the risk instead of patching. */
export const RESPONSES = ['accept', 'mitigate', 'transfer', 'avoid'] as const;

/**
 * A moment in UTC, or a day by a wall clock: `from` a day is its first instant, `until` a day its last. Local and UTC are
 * two different types, so neither is read as the other.
 */
export const when = z.union([moment, z.strictObject({ date: calendarDate, zone })], {
  error: 'must be UTC as YYYY-MM-DDTHH:MM:SSZ, or a date with a zone (UTC, host, or an IANA zone)',
});
export type When = z.infer<typeof when>;

/** What keeps the risk down meanwhile. With a check, the waiver holds only while the check passes. */
export const control = z.strictObject({
  says: line(500),
  check: z.strictObject({ command: list(line(), 100).min(1), timeoutSeconds: z.int().min(1).max(3_600) }).optional(),
});

const waiverFields = {
  scope: selector,
  /** Patch ids, sources or packages, with `*`. */
  patches: list(pattern, 50),
  cves: list(cveId, 50),
  from: when,
  until: when,
  response: z.enum(RESPONSES),
  reason: line(1_000),
};
const named = ({ patches, cves }: { patches: readonly unknown[]; cves: readonly unknown[] }) =>
  patches.length + cves.length > 0;

export const waiver = authored(
  'Waiver',
  z
    .strictObject({
      ...waiverFields,
      scope: selector.default({}),
      patches: waiverFields.patches.default([]),
      cves: waiverFields.cves.default([]),
      control: control.optional(),
    })
    .refine(named, { path: ['patches'], error: 'needs a patch or a CVE' }),
);
export type Waiver = z.infer<typeof waiver>;

/** An approver's Ed25519 signature over `waiverBytes` (decide/waiver.ts). */
export const approval = z.strictObject({
  approver: name,
  publicKey: publicKeyHex,
  at: moment,
  signature: z.string().regex(/^[0-9a-f]{128}$/, { error: 'must be 64 bytes in lower-case hex' }),
});
export type Approval = z.infer<typeof approval>;

export const signedWaiver = document('waiver', 1, {
  name,
  ...waiverFields,
  control: control.nullable(),
  /** Agent id of the host that asked for it; null when it was written at the publisher. */
  requestedBy: line(64).nullable(),
  approvals: list(approval, 20),
});
export type SignedWaiver = z.infer<typeof signedWaiver>;

/** What became of an owner's request. Published for every host, so that the owner sees it where it was asked for. */
export const waiverAnswer = z.strictObject({
  request: z.string().regex(/^[0-9a-f-]{36}$/),
  agent: agentId,
  decision: z.enum(['approved', 'rejected']),
  /** Name of the waiver it became; null when it was rejected. */
  waiver: name.nullable(),
  reason: line(500),
  at: moment,
});
export type WaiverAnswer = z.infer<typeof waiverAnswer>;

export const waiverAnswers = document('waiver-answers', 1, { answers: list(waiverAnswer, 10_000) });
export type WaiverAnswers = z.infer<typeof waiverAnswers>;

/** Who may approve waivers of a group, how many of them it takes, and for how long at most. Signed inside the group. */
export const waiverPolicy = z
  .strictObject({
    approvers: list(z.strictObject({ name, publicKey: publicKeyHex }), 50).min(1),
    threshold: z.int().min(1).max(20),
    maxDays: z.int().min(1).max(3_660),
  })
  .refine(({ approvers, threshold }) => threshold <= new Set(approvers.map(({ publicKey }) => publicKey)).size, {
    path: ['threshold'],
    error: 'is more than there are different approvers',
  });
export type WaiverPolicy = z.infer<typeof waiverPolicy>;
