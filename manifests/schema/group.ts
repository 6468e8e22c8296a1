// Patch groups: hosts that share baselines, windows, rollout and reboot policy. As people write them, and as they are signed.
import { z } from 'zod';
import { autoremoval, conffilePolicy, fixName, otherUpdaters, prechecks } from './care.ts';
import { patchId, product } from './catalog.ts';
import { authored, count, document, line, list, moment, name } from './common.ts';
import { signedRollout } from './rollout.ts';
import { hook } from './site.ts';
import { conditions, selector } from './targeting.ts';
import { waiverPolicy } from './waiver.ts';
import { blackout, maintenanceWindow } from './window.ts';

const HEALTH_KINDS = ['command', 'unit', 'connect', 'url'] as const;

/** One thing to look at, before and after; exactly one of its kinds. */
export const healthCheck = z
  .strictObject({
    name,
    /** Program and arguments; exit 0 is healthy. Never a shell line. */
    command: list(line(), 100).min(1).optional(),
    /** A systemd unit that has to be active. */
    unit: line(255).min(1).optional(),
    /** `host:port` that has to take a TCP connection. */
    connect: z
      .string()
      .regex(/^(?:[A-Za-z0-9_.-]{1,253}|\[[0-9A-Fa-f:.]{2,45}\]):[1-9][0-9]{0,4}$/, { error: 'must be host:port' })
      .optional(),
    /** HTTP(S) address that has to answer with `status` (200 unless given). Redirects are not followed. */
    url: line(1_000)
      .regex(/^https?:\/\//, { error: 'must begin with http:// or https://' })
      .optional(),
    status: z.int().min(100).max(599).optional(),
    timeoutSeconds: z.int().min(1).max(3_600),
  })
  .refine((check) => HEALTH_KINDS.filter((kind) => check[kind] !== undefined).length === 1, {
    error: 'needs exactly one of command, unit, connect, url',
  })
  .refine(({ status, url }) => status === undefined || url !== undefined, { error: 'status goes with url' });
export type HealthCheck = z.infer<typeof healthCheck>;

/** The owner of a host may choose among these windows, and put installation off by so many days (never past a deadline). */
const ownerChoice = z.strictObject({ windows: list(name, 50), deferDays: z.int().min(0).max(365) });

/** Minutes kept for what comes after the packages; a run that does not fit into what is left of a window does not start (trap 7). */
const reserve = z.strictObject({
  /** The least a patch is reckoned with, whatever history says. */
  floorMinutes: z.number().min(0).max(1_440),
  rebootMinutes: z.number().min(0).max(1_440),
  /** For health checks, and to take everything back if they fail. */
  verifyMinutes: z.number().min(0).max(1_440),
});
export type Reserve = z.infer<typeof reserve>;

/** How a relay spreads reboots of a group: so many hosts at once, minutes between two, minutes after which a lease ends by itself. */
const rebootLease = z.strictObject({
  slots: z.int().min(1).max(10_000),
  minGapMinutes: z.int().min(0).max(1_440),
  ttlMinutes: z.int().min(1).max(1_440),
  /** Hours after which a host that no relay answers reboots without; absent: it waits. Being refused is an answer. */
  proceedAfterHours: z.int().min(0).max(720).optional(),
});
export type RebootLease = z.infer<typeof rebootLease>;
/** One host at a time, where a group says nothing else. */
export const REBOOT_LEASE: RebootLease = { slots: 1, minGapMinutes: 0, ttlMinutes: 60 };

/**
 * Whether a change has to be one that can be taken back. A host that has no way back for it: `required` refuses to install,
 * `preferred` goes on and says so. `none`: nothing is kept even where it could be, and the host says so.
 */
const WAY_BACK_POLICIES = ['required', 'preferred', 'none'] as const;

/**
 * What a rollback puts back: what the run changed, in place; or the whole root at the next boot, where a host can do that and may
 * reboot by itself, in place elsewhere.
 */
const ROLLBACK_POLICIES = ['in-place', 'whole-root'] as const;

const REBOOT_POLICIES = ['never', 'if-needed', 'always'] as const;

/** Before a reboot: how long people who are logged in are told ahead, and how long after the need arose their work may hold it up. */
const rebootNotice = z.strictObject({ minutes: z.int().min(0).max(60), deferHours: z.int().min(0).max(720) });

/**
 * What a host does that finds itself copied (another machine, or another one that reports under its name): `report` and go on, `stop`
 * installing until a person has looked, or `re-enrol`, asking for an identity of its own.
 */
const clones = z.enum(['report', 'stop', 're-enrol']);

/** What a host does when a deadline has passed: it takes the next window, rings and owner aside; or it waits for none. */
const afterDeadline = z.enum(['next-window', 'at-once']);

export const patchGroup = authored(
  'PatchGroup',
  z.strictObject({
    baselines: list(name, 100).min(1),
    /** Chosen on the host by what it is, before `baselines`; for each product the first that fits counts. */
    choose: list(z.strictObject({ baseline: name, when: conditions.min(1) }), 50).default([]),
    /** Hosts that nobody put into a group by name come here when they fit; of several groups the highest priority. */
    match: z
      .strictObject({
        hosts: selector.default({}),
        when: conditions.default([]),
        priority: z.int().min(0).max(1_000).default(0),
      })
      .optional(),
    windows: list(name, 50).default([]),
    /** Further windows that open for emergency patches alone. */
    emergencyWindows: list(name, 50).default([]),
    /** Days on which no window of this group is open, by the zone of each window. */
    blackouts: list(blackout, 100).default([]),
    rollout: name.optional(),
    ownerChoice: ownerChoice.optional(),
    afterDeadline: afterDeadline.default('next-window'),
    reserve: reserve.partial().optional(),
    waivers: waiverPolicy.optional(),
    /** Run around every run, besides those of the site. */
    hooks: list(hook, 50).default([]),
    reboot: z.enum(REBOOT_POLICIES).default('if-needed'),
    rebootNotice: rebootNotice.optional(),
    /** Services that still run replaced libraries are restarted after an installation; what cannot be needs a reboot. */
    restartServices: z.boolean().default(false),
    health: list(healthCheck, 50).default([]),
    wayBack: z.enum(WAY_BACK_POLICIES).default('required'),
    rollback: z.enum(ROLLBACK_POLICIES).default('in-place'),
    pollMinutes: z.int().min(1).max(10_080).default(60),
    freeMiB: z.int().min(0).max(10_000_000).default(200),
    newDependencies: z.enum(['allow', 'refuse']).default('allow'),
    removals: z.enum(['allow', 'refuse']).default('refuse'),
    conffiles: conffilePolicy.default('keep'),
    autoremove: autoremoval.default('never'),
    otherUpdaters: otherUpdaters.default('leave'),
    prechecks: prechecks.optional(),
    /** What a host may put right by itself when a check fails; nothing unless named. */
    fixes: list(fixName, 20).default([]),
    rebootLease: rebootLease.partial().optional(),
    clones: clones.default('report'),
  }),
);
export type PatchGroup = z.infer<typeof patchGroup>;

/** Fields that may be left out came later: a document without them is read as if the feature were not used. */
export const group = document('group', 1, {
  name,
  signedAt: moment,
  /** At most one baseline a product. */
  baselines: list(z.strictObject({ product, baseline: name }), 100),
  choose: list(z.strictObject({ product, baseline: name, when: conditions }), 50).optional(),
  /** A host changes while any of these is open; none means: never by itself. */
  windows: list(maintenanceWindow, 50),
  emergencyWindows: list(maintenanceWindow, 50).optional(),
  rollout: signedRollout.optional(),
  ownerChoice: ownerChoice.optional(),
  afterDeadline: afterDeadline.optional(),
  reserve: reserve.optional(),
  /** How long patches took in this fleet: seconds that nine of ten runs stayed below, and of how many runs. */
  timings: list(z.strictObject({ patch: patchId, seconds: count, runs: count }), 100_000).optional(),
  waivers: waiverPolicy.optional(),
  /** Around every run; those of a site come besides (decide/overlay.ts). */
  hooks: list(hook, 50).optional(),
  reboot: z.enum(REBOOT_POLICIES),
  health: list(healthCheck, 50),
  wayBack: z.enum(WAY_BACK_POLICIES),
  rollback: z.enum(ROLLBACK_POLICIES).optional(),
  pollMinutes: z.int().min(1).max(10_080),
  /** Kept free on every mount a run writes to, in bytes. */
  freeBytes: count,
  /** Whether apt may bring in packages that the plan needs and the baseline does not name. */
  newDependencies: z.enum(['allow', 'refuse']),
  removals: z.enum(['allow', 'refuse']),
  conffiles: conffilePolicy.optional(),
  autoremove: autoremoval.optional(),
  otherUpdaters: otherUpdaters.optional(),
  prechecks: prechecks.optional(),
  fixes: list(fixName, 20).optional(),
  rebootLease: rebootLease.optional(),
  rebootNotice: rebootNotice.optional(),
  restartServices: z.boolean().optional(),
  clones: clones.optional(),
});
export type Group = z.infer<typeof group>;
