// Every bound of a run, with its unit, and the error codes of this station.
import { defineFaults, EXIT } from '#manifests/errors';

export const RUN_LIMITS = {
  /** How often a run may be killed in one state before it is given up. */
  deaths: 5,
  /** How often a run that has changed nothing yet is taken up again at all. */
  resumes: 20,
  /** Kept free at the end of a window for checks and a rollback, milliseconds. */
  reserveMs: 60_000,
  /** Added to the reserve for each package. */
  reservePerPackageMs: 2_000,
  /** Added to the reserve where a reboot may be needed. */
  reserveRebootMs: 300_000,
  /** Patches that are installed by one call of the package manager; the window is looked at before each. */
  batchPatches: 10,
  /** Batches that may fail in one run before all of it is given up. */
  batchFailures: 20,
  /** First pause after an attempt that did not succeed; doubles up to `retryMostMs`. */
  retryFirstMs: 15 * 60_000,
  retryMostMs: 24 * 3_600_000,
  /** The same where bytes did not arrive: lines come back sooner than causes go away. */
  fetchFirstMs: 60_000,
  fetchMostMs: 3_600_000,
  /** Patches that a hook is told of, so that its environment stays small. */
  hookPatches: 1_000,
  /** Checks before an installation that a result tells of. */
  prechecks: 500,
  /** Settings files that a result tells of. */
  conffiles: 10_000,
  /** Kept of what a health check printed, characters. */
  healthOutput: 1_500,
  /** Kept of an error's message. */
  message: 3_500,
  /** A host is given this long to go down after it was told to reboot. */
  rebootMs: 120_000,
  /** Runs whose steps stay in the journal. */
  keptRuns: 200,
} as const;

export const fault = defineFaults('run', {
  journal: { exit: EXIT.usage, next: 'Look at the state folder: space, permissions, and who else writes there.' },
  'newer-journal': { exit: EXIT.usage, next: 'A newer patchferry wrote this state folder: use that version again.' },
  'no-package-system': {
    exit: EXIT.findings,
    next: 'This host lacks the program that installs such patches; see `agent doctor`.',
  },
  'kept-back': { exit: EXIT.findings, next: '`agent explain PATCH` tells for each patch why it is held back.' },
  blocked: {
    exit: EXIT.findings,
    next: 'The publisher rejects a package that this set needs: approve another version, or reject the set.',
  },
  precheck: {
    exit: EXIT.deferred,
    next: 'Put right what the check names; it is tried again after the pause that `status` shows.',
  },
  'precheck-later': {
    exit: EXIT.deferred,
    next: 'It may pass by itself (load, battery, a lock, the line); it is looked at again after the pause that `status` shows.',
  },
  'no-way-back': { exit: EXIT.deferred, next: 'Make room for a way back, or let the group have `wayBack: preferred`.' },
  'window-closed': { exit: EXIT.deferred, next: 'It goes on in the next window; `agent status` says when that is.' },
  'killed-often': { exit: EXIT.rolledBack, next: 'Look into the journal of the host for what killed it each time.' },
  install: { exit: EXIT.rolledBack, next: 'Read what the package manager said; the set is not tried again until it changes.' },
  'still-missing': {
    exit: EXIT.rolledBack,
    next: 'The installation said it succeeded and the host disagrees; report it with the result.',
  },
  audit: {
    exit: EXIT.rolledBack,
    next: 'The package database was not healthy after the installation; `agent doctor` shows it now.',
  },
  health: {
    exit: EXIT.rolledBack,
    next: 'Find out with the check why this set harms the host; it is not tried again until it changes.',
  },
  hook: { exit: EXIT.deferred, next: 'Look at what the hook printed; a run begins again after the pause that `status` shows.' },
  'hook-later': { exit: EXIT.deferred, next: 'The hook decides when; it is asked again after the pause that `status` shows.' },
  restart: {
    exit: EXIT.rolledBack,
    next: 'Find out why the service does not start with what was installed (`systemctl status`, its journal).',
  },
  'by-hand': { exit: EXIT.done, next: 'The set is not installed again until it changes.' },
  recalled: {
    exit: EXIT.rolledBack,
    next: 'Nothing is to be done: the publisher recalled what the run brought, and the host is as it was before it.',
  },
  'recalled-below': {
    exit: EXIT.rolledBack,
    next: 'Nothing is to be done: a run below this one is recalled; what this one brought is installed again after it.',
  },
  'rollback-failed': {
    exit: EXIT.handsNeeded,
    next: 'The host may be half changed: look at it by hand, then `agent once --retry`.',
  },
  'whole-root': {
    exit: EXIT.usage,
    next: 'Put right what is named, or take the run back in place: `agent rollback` without --whole-root.',
  },
  'no-rollback': { exit: EXIT.usage, next: '`agent history` shows the runs and which can still be taken back.' },
  io: { exit: EXIT.deferred, next: 'Look at the disk that is named (space, faults); it is tried again after a pause.' },
  unexpected: { exit: EXIT.bug, next: 'Report it with this text; the host was left or put back as it was.' },
});
