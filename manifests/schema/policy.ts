// Policy as the publisher signs it: the resolved baseline (frozen lists) and the group (who patches when and how).
// How people write it is in authored.ts.
import { z } from 'zod';
import { patchId, product } from './catalog.ts';
import { count, document, line, list, moment, name, sha256 } from './common.ts';

export const COMPLIANCE_LEVELS = ['critical', 'high', 'medium', 'low', 'informational', 'unspecified'] as const;
export const complianceLevel = z.enum(COMPLIANCE_LEVELS);
export type ComplianceLevel = z.infer<typeof complianceLevel>;

export const REJECTED_ACTIONS = ['allow-as-dependency', 'block'] as const;

/** One decision of a baseline: `rule` is the rule's name, or `approved list` / `rejected list`. */
const resolvedEntry = z.strictObject({ patch: patchId, rule: line(200), reason: line(500) });

/** Frozen at signing time: every host with this document decides from the same lists (field guide 1.4, 8 row 1). */
export const resolvedBaseline = document('resolved-baseline', 1, {
  name,
  product,
  /** SHA-256 of the authored baseline, canonical. */
  baselineSha256: sha256,
  /** SHA-256 of the catalog document (plain JSON) it was resolved against. */
  catalogSha256: sha256,
  evaluatedAt: moment,
  approved: list(resolvedEntry.extend({ level: complianceLevel, explicit: z.boolean(), approvedAt: moment })),
  /** Becomes approved once trusted time has passed `approvesAt`. */
  pending: list(resolvedEntry.extend({ level: complianceLevel, approvesAt: moment })),
  rejected: list(resolvedEntry),
  rejectedAction: z.enum(REJECTED_ACTIONS),
  /** Whether an unapproved security patch that is available makes a host non-compliant (field guide 1.1). */
  availableSecurityUpdates: z.enum(['compliant', 'non-compliant']),
});
export type ResolvedBaseline = z.infer<typeof resolvedBaseline>;

export const WEEKDAYS = ['mon', 'tue', 'wed', 'thu', 'fri', 'sat', 'sun'] as const;

export const zone = z.string().regex(/^(?:UTC|host|[A-Za-z_]+(?:\/[A-Za-z0-9_+-]+){1,2})$/, {
  error: 'must be UTC, host, or an IANA zone such as Europe/Berlin',
});

export const maintenanceWindow = z.strictObject({
  name,
  days: list(z.enum(WEEKDAYS), 7).min(1),
  /** Wall time in `zone`, `HH:MM`. */
  start: z.string().regex(/^(?:[01]\d|2[0-3]):[0-5]\d$/, { error: 'must be HH:MM, quoted' }),
  /** Elapsed minutes, so a clock change does not stretch it. At most a week. */
  durationMinutes: z.int().min(1).max(10_080),
  /** Nothing new starts in the last so many minutes. */
  cutoffMinutes: z.int().min(0).max(10_079),
  /** `UTC` or an IANA zone: the same absolute time everywhere; `host`: the same local time on every host. */
  zone,
  validFrom: moment.nullable(),
  validUntil: moment.nullable(),
});
export type MaintenanceWindow = z.infer<typeof maintenanceWindow>;

export const healthCheck = z.strictObject({
  name,
  /** Program and arguments; exit 0 is healthy. Never a shell line. */
  command: list(line(), 100).min(1),
  timeoutSeconds: z.int().min(1).max(3_600),
});
export type HealthCheck = z.infer<typeof healthCheck>;

export const group = document('group', 1, {
  name,
  signedAt: moment,
  /** At most one baseline a product. */
  baselines: list(z.strictObject({ product, baseline: name }), 100),
  /** A host changes while any of these is open; none means: never by itself. */
  windows: list(maintenanceWindow, 50),
  reboot: z.enum(['never', 'if-needed']),
  health: list(healthCheck, 50),
  /** What a host does that cannot take the change back: `required` refuses to install, `preferred` goes on and says so. */
  wayBack: z.enum(['required', 'preferred']),
  pollMinutes: z.int().min(1).max(10_080),
  /** Kept free on every mount a run writes to, in bytes. */
  freeBytes: count,
  /** Whether apt may bring in packages that the plan needs and the baseline does not name. */
  newDependencies: z.enum(['allow', 'refuse']),
  removals: z.enum(['allow', 'refuse']),
});
export type Group = z.infer<typeof group>;
