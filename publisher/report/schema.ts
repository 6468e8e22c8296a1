// The compliance report as a document: its shape is public and versioned; compliance-report.schema.json is made from here.
import { z } from 'zod';
import {
  agentId,
  count,
  cveId,
  document,
  kernels,
  line,
  moment,
  name,
  PATCH_STATES,
  PURPOSES,
  patchId,
  patchState,
  publicKeyHex,
  RUN_OUTCOMES,
  SEVERITIES,
  sha256,
} from '#manifests/schema';

/**
 * What is said of one host. `stale`: its newest scan is older than the limit. `disputed`: two machines answer under its
 * identity. Only `compliant` counts as compliant.
 */
export const VERDICTS = ['compliant', 'non-compliant', 'stale', 'never-reported', 'disputed'] as const;
export type Verdict = (typeof VERDICTS)[number];

const stateCounts = z.strictObject(
  Object.fromEntries(PATCH_STATES.map((state) => [state, count])) as Record<(typeof PATCH_STATES)[number], typeof count>,
);
const hostsByState = z.partialRecord(patchState, z.array(agentId));
const range = z.strictObject({ from: count, to: count });

const hostRow = z.strictObject({
  agent: agentId,
  title: line(255),
  group: name,
  verdict: z.enum(VERDICTS),
  /** `unknown` for stale, never reported and disputed hosts. */
  compliant: z.enum(['yes', 'no', 'unknown']),
  hostname: line(255).nullable(),
  product: name.nullable(),
  /** Time of the newest scan (trusted time, or its arrival when that was earlier) and seconds from then to `at`. */
  evidenceAt: moment.nullable(),
  evidenceAgeSeconds: count.nullable(),
  lastHeardAt: moment.nullable(),
  counts: stateCounts.nullable(),
  nonCompliant: count.nullable(),
  kernels: kernels.nullable(),
  rebootNeeded: z.enum(['yes', 'no', 'unknown']),
  lastRun: z
    .strictObject({
      run: z.string(),
      sequence: count,
      outcome: z.enum(RUN_OUTCOMES),
      finished: moment,
      error: line(100).nullable(),
      patches: count,
      changes: count,
    })
    .nullable(),
  next: z.strictObject({ action: z.enum(['install', 'wait', 'nothing']), says: line(500), at: moment.nullable() }).nullable(),
  policyExpired: z.enum(['no', 'soft', 'hard', 'unknown']),
  alert: z.strictObject({ code: line(100), message: z.string(), at: moment }).nullable(),
  results: z.strictObject({
    acked: count.nullable(),
    highest: count.nullable(),
    gaps: z.array(range),
    forks: z.array(z.strictObject({ sequence: count, kind: z.enum(['clone', 'reverted']), hashes: z.array(z.string()) })),
  }),
});
export type HostRow = z.infer<typeof hostRow>;

const patchRow = z.strictObject({
  product: name,
  patch: patchId,
  /** From the catalog; null when none that holds the patch was given. */
  title: line(300).nullable(),
  severity: z.enum(SEVERITIES).nullable(),
  cves: z.array(cveId).nullable(),
  /** Hosts with fresh evidence by state: how many, whole. */
  counts: stateCounts,
  /** The same by name, for every state but INSTALLED, INSTALLED_OTHER and NOT_APPLICABLE. */
  hosts: hostsByState,
  /** Hosts that last said the patch was open and whose evidence no longer counts. */
  lastKnownOpen: z.array(agentId),
});
export type PatchRow = z.infer<typeof patchRow>;

export const complianceReport = document('compliance-report', 1, {
  at: moment,
  staleAfterHours: z.number().positive(),
  fleet: z.strictObject({
    /** Approved agents of the roster: what every share is a share of. */
    denominator: count,
    compliant: count,
    nonCompliant: count,
    stale: count,
    neverReported: count,
    disputed: count,
    /** compliant of denominator in percent, rounded down to a tenth; null when there are no hosts. */
    compliantPercent: z.number().min(0).max(100).nullable(),
    oldestEvidenceAt: moment.nullable(),
    medianEvidenceAgeSeconds: count.nullable(),
    rebootNeeded: count,
    policyExpired: count,
    /** Hosts with results missing from the chain; hosts that were put back to an older image. */
    withGaps: count,
    reverted: count,
    /** Hosts with at least one patch held, waiting for approval, rejected but installed, available but not approved, excepted by a waiver, recalled but installed. */
    kept: z.strictObject({
      held: count,
      pendingApproval: count,
      rejectedInstalled: count,
      notApproved: count,
      excepted: count,
      recalledInstalled: count,
    }),
    /** Not part of the denominator. */
    revoked: count,
  }),
  /** Findings of hosts with fresh evidence, by state. */
  states: stateCounts,
  hosts: z.array(hostRow),
  /** Revoked agents and agents that left the roster: shown, never counted. */
  outside: z.array(
    z.strictObject({
      agent: agentId,
      title: line(255).nullable(),
      why: z.enum(['revoked', 'not-in-roster']),
      lastHeardAt: moment.nullable(),
    }),
  ),
  patches: z.array(patchRow),
  /** Null when no catalog was given. */
  cves: z
    .array(z.strictObject({ cve: cveId, patches: z.array(patchId), hosts: z.array(agentId), lastKnownOpen: z.array(agentId) }))
    .nullable(),
  /** What relays said under their own names; null when no records were given. Newest first. */
  relays: z
    .strictObject({
      haltsInForce: count,
      droppedResults: count,
      /** Of them, each number once, those that have not come again. */
      droppedMissing: count,
      halts: z.array(
        z.strictObject({
          /** SHA-256 of what was signed, and the relay's key. */
          id: sha256,
          key: publicKeyHex,
          site: name,
          name,
          by: z.enum(['fuse', 'hand']),
          signedAt: moment,
          until: moment.nullable(),
          /** Empty: every host of the site. */
          groups: z.array(name),
          stops: z.array(z.enum(PURPOSES)),
          reason: line(500),
          /** What the fuse had counted. */
          failed: z.strictObject({ reports: count, failures: count }).nullable(),
          /** By the delegation as it is now; `refused`: policy does not let this relay halt, so hosts do not heed it. */
          state: z.enum(['in-force', 'over', 'lifted', 'refused']),
          says: z.string(),
        }),
      ),
      dropped: z.array(
        z.strictObject({
          agent: agentId,
          title: line(255).nullable(),
          site: name.nullable(),
          key: publicKeyHex,
          /** Whether a delegation names this relay. */
          delegated: z.boolean(),
          signedAt: moment,
          why: z.enum(['quota', 'disk']),
          /** Sequence numbers. */
          ranges: z.array(range),
          results: count,
          bytes: count,
          /** Of these, those that have not come again. */
          missing: count,
        }),
      ),
    })
    .nullable(),
});
export type ComplianceReport = z.infer<typeof complianceReport>;
