// The states of a host's run and every transition between them, as data. What is done in a state is in acts.ts; the engine
// that walks this table is engine.ts; the diagram of README.md is drawn from it (diagram.ts).

export const STATES = [
  'Idle',
  'Sync',
  'Evaluate',
  'Wait',
  'Stage',
  'Precheck',
  'Snapshot',
  'Install',
  'Reboot',
  'Verify',
  'Commit',
  'Rollback',
  'RollbackReboot',
  'RootSwitch',
  'RootVerify',
  'Failed',
] as const;
export type State = (typeof STATES)[number];

/**
 * What can come out of a state.
 * - `ok` the act is done
 * - `reboot` the act is done and the host has to start anew before it can be judged
 * - `switch` what is left to be put back is the whole root, at the next boot
 * - `stop` nothing (more) is to be done now
 * - `failed` the act did not succeed
 * - `undo` the host's owner takes the last committed run back by hand
 * - `killed` the process or the host died in this state and comes back
 * - `late` as `killed`, but the window has closed meanwhile
 * - `often` as `killed`, for the last time that is borne (RUN_LIMITS.deaths)
 */
const EVENTS = ['ok', 'reboot', 'switch', 'stop', 'failed', 'undo', 'killed', 'late', 'often'] as const;
export type Event = (typeof EVENTS)[number];

export interface Transition {
  readonly from: State;
  readonly on: Event | readonly Event[];
  readonly to: State;
  /** Why, where it is not simply the next step. */
  readonly because?: string;
}

const UNCHANGED = 'nothing was changed on the host, so the next cycle starts anew';

export const TRANSITIONS: readonly Transition[] = [
  { from: 'Idle', on: 'ok', to: 'Sync' },
  { from: 'Idle', on: 'undo', to: 'Rollback', because: 'by hand, while the way back of that run is still kept' },

  { from: 'Sync', on: 'ok', to: 'Evaluate' },
  {
    from: 'Sync',
    on: 'failed',
    to: 'Evaluate',
    because: 'the last verified state is good until it expires; a host decides from it without any line',
  },

  { from: 'Evaluate', on: 'ok', to: 'Wait' },
  { from: 'Evaluate', on: 'stop', to: 'Idle', because: 'nothing is to be installed, or nobody has approved this host yet' },

  {
    from: 'Wait',
    on: 'reboot',
    to: 'Reboot',
    because: 'an earlier run could not reboot (window, people at work); now the host may',
  },
  { from: 'Wait', on: 'ok', to: 'Stage' },
  { from: 'Wait', on: 'stop', to: 'Idle', because: 'the window is closed, or a back-off runs; says until when' },

  { from: 'Stage', on: 'ok', to: 'Precheck' },
  { from: 'Stage', on: 'stop', to: 'Failed', because: 'refused by policy or by the package manager before anything changed' },
  { from: 'Stage', on: 'failed', to: 'Failed', because: 'nothing was changed; a back-off is stored' },
  { from: 'Stage', on: 'killed', to: 'Stage', because: 'plans and downloads repeat; downloads go on where they stopped' },
  { from: 'Stage', on: ['late', 'often'], to: 'Failed', because: UNCHANGED },

  { from: 'Precheck', on: 'ok', to: 'Snapshot' },
  { from: 'Precheck', on: 'stop', to: 'Failed', because: 'every refused attempt leaves a result and a stored back-off' },
  { from: 'Precheck', on: 'failed', to: 'Failed', because: 'nothing was changed' },
  { from: 'Precheck', on: 'killed', to: 'Stage', because: 'the host may have changed meanwhile, so the plan is made anew' },
  { from: 'Precheck', on: ['late', 'often'], to: 'Failed', because: UNCHANGED },

  { from: 'Snapshot', on: 'ok', to: 'Install' },
  { from: 'Snapshot', on: 'stop', to: 'Failed', because: 'policy demands a way back and there is none, or no time is left' },
  { from: 'Snapshot', on: 'failed', to: 'Failed', because: 'without its way back nothing is installed' },
  { from: 'Snapshot', on: 'killed', to: 'Stage', because: 'a half-taken way back is removed and taken anew, from a new plan' },
  { from: 'Snapshot', on: ['late', 'often'], to: 'Failed', because: UNCHANGED },

  { from: 'Install', on: 'ok', to: 'Verify' },
  { from: 'Install', on: 'reboot', to: 'Reboot' },
  { from: 'Install', on: 'failed', to: 'Rollback' },
  { from: 'Install', on: 'killed', to: 'Install', because: 'it goes on where it was, after the package database is repaired' },
  {
    from: 'Install',
    on: 'late',
    to: 'Rollback',
    because: 'a half-patched host does not wait for the next window; back is the state that its owner knows',
  },
  {
    from: 'Install',
    on: 'often',
    to: 'Rollback',
    because: 'an installation that kills the host each time is not tried for ever',
  },

  { from: 'Reboot', on: 'ok', to: 'Verify', because: 'entered again with another boot id: the reboot has happened' },
  {
    from: 'Reboot',
    on: 'stop',
    to: 'Verify',
    because: 'no time is left in the window, people work, or a hook objects: it stays owed',
  },
  {
    from: 'Reboot',
    on: 'failed',
    to: 'Verify',
    because: 'the host would not reboot; it is judged as it runs, the need is reported',
  },
  {
    from: 'Reboot',
    on: 'killed',
    to: 'Reboot',
    because: 'dying is what a reboot looks like; the boot id tells whether it was one',
  },
  { from: 'Reboot', on: 'late', to: 'Reboot', because: 'a reboot that began inside the window may end outside' },
  { from: 'Reboot', on: 'often', to: 'Verify', because: 'a host is not rebooted again and again' },

  { from: 'Verify', on: 'ok', to: 'Commit', because: 'only now: checks before a reboot do not see what breaks at boot' },
  { from: 'Verify', on: 'failed', to: 'Rollback' },
  { from: 'Verify', on: ['killed', 'late'], to: 'Verify', because: 'looking changes nothing and may be repeated at any time' },
  { from: 'Verify', on: 'often', to: 'Rollback', because: 'a host that dies whenever it is looked at is not healthy' },

  { from: 'Commit', on: 'ok', to: 'Idle' },
  {
    from: 'Commit',
    on: ['killed', 'late', 'often'],
    to: 'Commit',
    because: 'the end of a run and its result are one transaction; what was verified stays',
  },

  { from: 'Rollback', on: 'ok', to: 'Failed' },
  { from: 'Rollback', on: 'reboot', to: 'RollbackReboot' },
  {
    from: 'Rollback',
    on: 'failed',
    to: 'Failed',
    because: 'loud: the result says that hands are needed, and so does every status',
  },
  {
    from: 'Rollback',
    on: ['killed', 'late'],
    to: 'Rollback',
    because: 'restoring repeats until it completes; it never waits for a window',
  },
  { from: 'Rollback', on: 'often', to: 'Failed', because: 'it cannot be completed here: hands are needed' },

  { from: 'RollbackReboot', on: 'ok', to: 'Failed' },
  { from: 'RollbackReboot', on: 'stop', to: 'Failed', because: 'no time is left for it in the window: the need is reported' },
  { from: 'RollbackReboot', on: 'failed', to: 'Failed', because: 'the need is reported' },
  {
    from: 'RollbackReboot',
    on: ['killed', 'late'],
    to: 'RollbackReboot',
    because: 'the boot id tells whether it has happened',
  },
  { from: 'RollbackReboot', on: 'often', to: 'Failed', because: 'a host is not rebooted again and again' },

  { from: 'Rollback', on: 'switch', to: 'RootSwitch', because: 'the whole root is asked for, by hand or by the group' },
  {
    from: 'RootSwitch',
    on: 'ok',
    to: 'RootVerify',
    because: 'entered again, and the host runs on the root that it was to start from',
  },
  {
    from: 'RootSwitch',
    on: ['failed', 'often'],
    to: 'Rollback',
    because: 'the root that ran is the root again, and what the run changed is put back in place',
  },
  {
    from: 'RootSwitch',
    on: ['killed', 'late'],
    to: 'RootSwitch',
    because: 'which root runs and which comes next tells how far it came',
  },
  { from: 'RootVerify', on: 'ok', to: 'Failed' },
  {
    from: 'RootVerify',
    on: ['failed', 'often'],
    to: 'RootSwitch',
    because: 'the old root is still there and is switched back to',
  },
  { from: 'RootVerify', on: 'stop', to: 'Failed', because: 'loud: the host is back on the root from which it was to be taken' },
  { from: 'RootVerify', on: ['killed', 'late'], to: 'RootVerify', because: 'looking changes nothing' },

  { from: 'Failed', on: 'ok', to: 'Idle' },
  {
    from: 'Failed',
    on: ['killed', 'late', 'often'],
    to: 'Failed',
    because: 'the end of a run and its result are one transaction',
  },
];

/** States in which a run exists in the journal; before them nothing has been begun. */
export const RUN_STATES = STATES.slice(STATES.indexOf('Stage'));

/** The state after `from` when `event` came out of it. A pair that is not in the table is a bug. */
export function nextState(from: State, event: Event): State {
  const found = TRANSITIONS.find((transition) => transition.from === from && [transition.on].flat().includes(event));
  if (found === undefined) throw new TypeError(`no transition from ${from} on ${event}`);
  return found.to;
}
