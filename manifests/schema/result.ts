// A result: one record of what an agent saw or did, chained by sequence and hash to the one before. Sealed and signed by
// `trust` (envelopes); this file says what is inside.
import { z } from 'zod';
import { complianceLevel } from './baseline.ts';
import { conffileRecord, fixRecord, precheckRecord } from './care.ts';
import { cveId, patchId } from './catalog.ts';
import { agentId, count, document, line, list, moment, name, publicKeyHex, sha256, text } from './common.ts';
import { inventory, kernels } from './inventory.ts';
import { control, RESPONSES, when } from './waiver.ts';

/** Compliance states of one patch on one host (field guide 1.3). */
export const PATCH_STATES = [
  'INSTALLED',
  'INSTALLED_OTHER',
  'INSTALLED_PENDING_REBOOT',
  'INSTALLED_REJECTED',
  'MISSING',
  'FAILED',
  'NOT_APPLICABLE',
  'AVAILABLE_SECURITY_UPDATE',
  'PENDING_APPROVAL',
  'HELD',
  'ROLLED_BACK',
  /** Lacking, and a waiver in force says so. */
  'EXCEPTED',
  /** Installed, and recalled since. */
  'RECALLED_INSTALLED',
] as const;
export const patchState = z.enum(PATCH_STATES);
export type PatchState = z.infer<typeof patchState>;

/** How many patches are in each state. A state that a report does not name (an older agent did not know it) counts none. */
export const stateCounts = z
  .partialRecord(patchState, count)
  .transform(
    (given) => Object.fromEntries(PATCH_STATES.map((state) => [state, given[state] ?? 0])) as Record<PatchState, number>,
  );

export const packageChange = z.strictObject({
  name: z.string().max(200),
  arch: z.string().max(40),
  from: z.string().max(200).nullable(),
  to: z.string().max(200).nullable(),
});
export type PackageChange = z.infer<typeof packageChange>;

const source = {
  agent: agentId,
  boot: line(64),
  sequence: count,
  previous: sha256.nullable(),
  trustedTime: moment,
  wallTime: moment,
};

export const patchFinding = z.strictObject({
  patch: patchId,
  product: name,
  state: patchState,
  compliant: z.boolean(),
  level: complianceLevel,
  /** Installed and fixed version of each package of the patch that is on the host. */
  packages: list(packageChange, 10_000),
  reasons: list(line(500), 20),
  /** When this will change by itself (approval of a pending patch), if known. */
  changesAt: moment.nullable(),
});
export type PatchFinding = z.infer<typeof patchFinding>;

/** What the decision was made from, so that it can be made again. */
export const evidence = z.strictObject({
  inventorySha256: sha256,
  timestampVersion: count,
  snapshotVersion: count,
  baselines: list(z.strictObject({ name, product: name, sha256 }), 100),
  group: name.nullable(),
  softExpired: z.boolean(),
  hardExpired: z.boolean(),
});

export const HOOK_OUTCOMES = ['done', 'failed', 'later', 'skipped'] as const;
export const RUN_OUTCOMES = ['committed', 'rolled-back', 'rollback-failed', 'refused', 'failed'] as const;

export const enrolBody = z.strictObject({
  title: line(255),
  signKey: publicKeyHex,
  boxKey: publicKeyHex,
  /** Public part of the activation code. */
  activationId: line(64),
  /** HMAC-SHA256 with the code's secret part over `patchferry-enrol-1`, signKey and boxKey (hex), joined by newlines. */
  activationProof: sha256,
  inventory,
});

export const scanBody = z.strictObject({
  /** The whole inventory; left out (null) when its digest is that of the last one sent. */
  inventory: inventory.nullable(),
  evidence,
  findings: list(patchFinding),
  counts: stateCounts,
  /** What the agent means to do next, in words, and when. */
  next: z.strictObject({ action: z.enum(['install', 'wait', 'nothing']), says: line(500), at: moment.nullable() }),
});
export type ScanBody = z.infer<typeof scanBody>;

export const runBody = z.strictObject({
  run: z.string().regex(/^[0-9a-f-]{36}$/),
  started: moment,
  finished: moment,
  outcome: z.enum(RUN_OUTCOMES),
  /** Code and message of what went wrong; null when nothing did. */
  error: z.strictObject({ code: line(100), message: text(4_000), where: line(500).nullable() }).nullable(),
  patches: list(patchId),
  /** Every state the run was in, in order. */
  states: list(z.strictObject({ state: line(40), at: moment, says: line(500) }), 1_000),
  wayBack: z.strictObject({ kind: line(40), id: line(300), says: line(500) }).nullable(),
  health: list(z.strictObject({ name: line(63), healthy: z.boolean(), says: text(2_000) }), 100),
  changes: list(packageChange, 100_000),
  kernelsBefore: kernels,
  kernelsAfter: kernels,
  /** Interrupted and taken up again this many times. */
  resumed: count,
  rebootNeeded: z.strictObject({ needed: z.boolean(), evidence: list(line(300), 100) }),
  /** SHA-256 over the sorted `name:arch=version` lines before and after; equal after a rollback. */
  packagesBeforeSha256: sha256,
  packagesAfterSha256: sha256,
  /** Every hook that the group or the site has, also those that never had their turn. */
  hooks: list(
    z.strictObject({ name: line(63), at: line(20), outcome: z.enum(HOOK_OUTCOMES), says: text(2_000) }),
    100,
  ).optional(),
  /** Services that were restarted in place of a reboot. */
  restarted: list(line(255), 1_000).optional(),
  /** Patches that could not be installed while others of the set were; left out where there are none. */
  failedPatches: list(z.strictObject({ patch: patchId, code: line(100), message: text(4_000) }), 10_000).optional(),
  /** What was looked at before the installation. */
  prechecks: list(precheckRecord, 500).optional(),
  /** What the host put right by itself before it, as policy lets it. */
  fixes: list(fixRecord, 100).optional(),
  /** Settings files that the installation met. */
  conffiles: list(conffileRecord, 10_000).optional(),
});
export type RunBody = z.infer<typeof runBody>;

/** The owner of a host asks for an exception; becomes a waiver only by approvers' signatures. */
export const waiverRequestBody = z.strictObject({
  request: z.string().regex(/^[0-9a-f-]{36}$/),
  patches: list(line(300), 50),
  cves: list(cveId, 50),
  from: when,
  until: when,
  response: z.enum(RESPONSES),
  reason: line(1_000),
  control: control.nullable(),
  requestedBy: line(200),
});
export type WaiverRequestBody = z.infer<typeof waiverRequestBody>;

/** What the owner chose on the host, within what its group allows. */
export const ownerChoiceBody = z.strictObject({ window: name.nullable(), deferUntil: moment.nullable(), chosenBy: line(200) });
export type OwnerChoiceBody = z.infer<typeof ownerChoiceBody>;

export const alertBody = z.strictObject({ code: line(100), message: text(4_000), where: line(500).nullable() });

export const result = z.discriminatedUnion('kind', [
  document('result', 1, { ...source, kind: z.literal('enrol'), body: enrolBody }),
  document('result', 1, { ...source, kind: z.literal('scan'), body: scanBody }),
  document('result', 1, { ...source, kind: z.literal('run'), body: runBody }),
  document('result', 1, { ...source, kind: z.literal('alert'), body: alertBody }),
  document('result', 1, { ...source, kind: z.literal('waiver-request'), body: waiverRequestBody }),
  document('result', 1, { ...source, kind: z.literal('owner-choice'), body: ownerChoiceBody }),
]);
export type Result = z.infer<typeof result>;
