// Baselines: which patches hosts may take. As people write them (AWS SSM semantics, field guide 1.1), and resolved: the frozen
// lists that are signed.
import { z } from 'zod';
import { CLASSIFICATIONS, cveId, patchId, product, SEVERITIES } from './catalog.ts';
import { authored, calendarDate, document, line, list, moment, name, sha256 } from './common.ts';
import { pattern } from './targeting.ts';

export const COMPLIANCE_LEVELS = ['critical', 'high', 'medium', 'low', 'informational', 'unspecified'] as const;
export const complianceLevel = z.enum(COMPLIANCE_LEVELS);
export type ComplianceLevel = z.infer<typeof complianceLevel>;

export const REJECTED_ACTIONS = ['allow-as-dependency', 'block'] as const;

/** `emergency` skips the delay and the rings, never safety: windows, health checks and the way back stay. */
export const URGENCIES = ['normal', 'emergency'] as const;

/** Values of one key are alternatives, keys are all required, `*` is everything (field guide 1.1). At most 20 values a key. */
export const patchFilter = z.strictObject({
  product: list(pattern, 20).optional(),
  /** The product without its version: `debian` of `debian-12`. */
  family: list(pattern, 20).optional(),
  classification: list(z.enum([...CLASSIFICATIONS, '*']), 20).optional(),
  severity: list(z.enum([...SEVERITIES, '*']), 20).optional(),
  cve: list(z.union([cveId, pattern]), 20).optional(),
  advisory: list(pattern, 20).optional(),
  /** Name of a source package or of any binary package. */
  name: list(pattern, 20).optional(),
  patch: list(pattern, 20).optional(),
  version: list(pattern, 20).optional(),
  section: list(pattern, 20).optional(),
  priority: list(pattern, 20).optional(),
  repository: list(pattern, 20).optional(),
  arch: list(pattern, 20).optional(),
  /** Whether a CVE of it is listed as known exploited (KEV). Without a feed nothing is. */
  kev: z.boolean().optional(),
});
export type PatchFilter = z.infer<typeof patchFilter>;

/** When a patch must be in at the latest: days after it is approved, its KEV due date, or the earlier of both. */
export const ruleDeadline = z
  .strictObject({ afterDays: z.int().min(0).max(3_650).optional(), kevDue: z.literal(true).optional() })
  .refine(({ afterDays, kevDue }) => afterDays !== undefined || kevDue !== undefined, {
    error: 'needs afterDays, kevDue, or both',
  });

export const baselineRule = z.strictObject({
  name,
  filters: patchFilter.default({}),
  approve: z.union([z.strictObject({ afterDays: z.int().min(0).max(360) }), z.strictObject({ untilDate: calendarDate })], {
    error: 'needs exactly one of afterDays (0 to 360) or untilDate ("YYYY-MM-DD")',
  }),
  complianceLevel: complianceLevel.default('unspecified'),
  /** Whether the rule also approves patches that are not security patches. */
  nonSecurity: z.boolean().default(false),
  urgency: z.enum(URGENCIES).default('normal'),
  deadline: ruleDeadline.optional(),
});

/** Patches to install whatever the rules say (SSM's InstallOverrideList, field guide 1.5); compliance stays with the rules. */
export const overrides = z.strictObject({
  /** `only`: nothing else is installed meanwhile. `also`: besides what the rules approve. */
  mode: z.enum(['only', 'also']),
  /** Without effect from here on. */
  until: moment,
  patches: list(
    z.strictObject({
      /** Patch id, source, or `name.arch` of a package, with `*`. */
      id: pattern,
      /** Only this version of it, with `*`. */
      version: pattern.optional(),
    }),
    50,
  ).min(1),
});

export const baseline = authored(
  'Baseline',
  z.strictObject({
    product,
    globalFilters: patchFilter.default({}),
    rules: list(baselineRule, 10).default([]),
    /** Patch ids, source or package names, CVEs, advisories; one `*` allowed. */
    approved: list(pattern, 50).default([]),
    approvedComplianceLevel: complianceLevel.default('unspecified'),
    approvedNonSecurity: z.boolean().default(false),
    rejected: list(pattern, 50).default([]),
    rejectedAction: z.enum(REJECTED_ACTIONS).default('allow-as-dependency'),
    /** A patch without any date under afterDays: `now` (delay 0, as SSM), or `never` until one is known. */
    undated: z.enum(['now', 'never']).default('now'),
    /** Whether a patch that replaces one whose delay still runs takes over its start (trap 2). */
    carryDelay: z.boolean().default(true),
    availableSecurityUpdates: z.enum(['compliant', 'non-compliant']).default('compliant'),
    overrides: overrides.optional(),
  }),
);
export type Baseline = z.infer<typeof baseline>;

/** One decision of a baseline: `rule` is the rule's name, or `approved list` / `rejected list`. */
const resolvedEntry = z.strictObject({ patch: patchId, rule: line(200), reason: line(500) });

/** What is not there: `urgency` is normal, there is no deadline. */
const pressing = {
  urgency: z.enum(URGENCIES).optional(),
  deadline: moment.optional(),
};

/** Frozen at signing time: every host with this document decides from the same lists (field guide 1.4, 8 row 1). */
export const resolvedBaseline = document('resolved-baseline', 1, {
  name,
  product,
  /** SHA-256 of the authored baseline, canonical. */
  baselineSha256: sha256,
  /** SHA-256 of the catalog document (plain JSON) it was resolved against. */
  catalogSha256: sha256,
  evaluatedAt: moment,
  approved: list(resolvedEntry.extend({ level: complianceLevel, explicit: z.boolean(), approvedAt: moment, ...pressing })),
  /** Becomes approved once trusted time has passed `approvesAt`. */
  pending: list(resolvedEntry.extend({ level: complianceLevel, approvesAt: moment, ...pressing })),
  rejected: list(resolvedEntry),
  rejectedAction: z.enum(REJECTED_ACTIONS),
  /** Whether an unapproved security patch that is available makes a host non-compliant (field guide 1.1). */
  availableSecurityUpdates: z.enum(['compliant', 'non-compliant']),
  /** Patches the override list named, without effect from `until` on. */
  overrides: z
    .strictObject({
      mode: z.enum(['only', 'also']),
      until: moment,
      patches: list(z.strictObject({ patch: patchId, entry: line(500) })),
    })
    .optional(),
  /** As of which the KEV feed was used; not there when none was. */
  kevAsOf: moment.optional(),
});
export type ResolvedBaseline = z.infer<typeof resolvedBaseline>;
