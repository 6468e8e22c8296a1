// How hosts of a group are looked after around an installation: what is checked before it, what may be mended without a person,
// what becomes of changed settings files, of packages that nothing needs any more, and of the distribution's own updater.
import { z } from 'zod';
import { line, list, name, text } from './common.ts';

/**
 * What a host may put right by itself when a check before an installation fails: this list and nothing else.
 * In the order in which they are tried.
 */
export const FIXES = [
  /** Finishes what an interrupted package manager left unpacked: `dpkg --configure -a`, then what is in the way of it. */
  'configure-packages',
  /** Takes downloaded packages out of the package manager's own cache. */
  'clean-package-cache',
  /** Shortens the systemd journal to the size that is always kept. */
  'vacuum-journal',
  /** Removes kernels but the one that runs and the two newest. */
  'remove-old-kernels',
  /** Starts the time service that is installed on the host, when the clock is off. */
  'start-time-service',
] as const;
export const fixName = z.enum(FIXES);
export type FixName = z.infer<typeof fixName>;

/** `keep`: what was changed on the host stays. `new`: the package's comes, the old one beside it. `fail`: that patch is not installed. */
export const CONFFILE_POLICIES = ['keep', 'new', 'fail'] as const;
export const conffilePolicy = z.enum(CONFFILE_POLICIES);
export type ConffilePolicy = z.infer<typeof conffilePolicy>;

/** Packages that came in for others and that nothing needs any more: stay; those of this run go; all go. */
export const AUTOREMOVALS = ['never', 'new', 'all'] as const;
export const autoremoval = z.enum(AUTOREMOVALS);
export type Autoremoval = z.infer<typeof autoremoval>;

/** The distribution's own updater: is left alone and told of; or is switched off while patchferry looks after the host. */
export const otherUpdaters = z.enum(['leave', 'take-over']);
export type OtherUpdaters = z.infer<typeof otherUpdaters>;

/** A check of one's own: a program that is signed with the policy. Exit 0 is fine, 21 means later, anything else refuses the run. */
export const checkScript = z.strictObject({
  name,
  /** The program itself, with `#!` in its first line. */
  script: text(65_536).refine((value) => value.startsWith('#!/'), { error: 'must begin with #!/ and a program' }),
  timeoutSeconds: z.int().min(1).max(3_600),
});
export type CheckScript = z.infer<typeof checkScript>;

const onFinding = z.enum(['report', 'refuse']);

/** Checks of the host before an installation. What is not named is looked at and reported; `refuse` makes the run wait for it. */
export const prechecks = z.strictObject({
  /** A reboot is due already: what is installed now comes on top of what was never started. */
  pendingReboot: onFinding.optional(),
  /** The running kernel's modules are gone from the disk: nothing more can be loaded. */
  runningKernel: onFinding.optional(),
  /** The host's clock disagrees with signed times, or nothing keeps it. */
  clock: onFinding.optional(),
  /** The host's own sources mix releases, or pin one above another. */
  repositories: onFinding.optional(),
  /** The line is paid by volume. */
  meteredLine: onFinding.optional(),
  /** Runs on battery, below `batteryPercent`. */
  battery: onFinding.optional(),
  /** With at least this charge a host on battery is fine; 101 never is. */
  batteryPercent: z.int().min(1).max(101).optional(),
  /** Load of the last minute for each processor above which the host is busy; a busy host waits. */
  loadPerProcessor: z.number().min(0.05).max(100).optional(),
  scripts: list(checkScript, 20).optional(),
});
export type Prechecks = z.infer<typeof prechecks>;

/** What a run found before it began. `blocks`: the run waited for it. */
export const precheckRecord = z.strictObject({ name: line(200), ok: z.boolean(), blocks: z.boolean(), says: text(2_000) });
export type PrecheckRecord = z.infer<typeof precheckRecord>;

/** `begun` is what a journal holds while it is done; a result that says so was cut off there. */
export const fixRecord = z.strictObject({
  name: line(40),
  outcome: z.enum(['begun', 'done', 'nothing', 'failed']),
  says: text(2_000),
});
export type FixRecord = z.infer<typeof fixRecord>;

/**
 * What became of one settings file. `updated`: nobody had changed it here, the package's new one is in place; `kept`: changed here and
 * in the package, the host's stays; `replaced`: as `kept`, but the package's is in place and the host's beside it; `absent`: deleted
 * here, stays deleted; `removed`: the package has it no more.
 */
export const CONFFILE_OUTCOMES = ['updated', 'kept', 'replaced', 'absent', 'removed'] as const;
export const conffileRecord = z.strictObject({
  path: line(1_000),
  package: line(200),
  outcome: z.enum(CONFFILE_OUTCOMES),
  /** Where the other version lies, if it is kept. */
  other: line(1_000).nullable(),
});
export type ConffileRecord = z.infer<typeof conffileRecord>;
