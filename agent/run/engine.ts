// Walks the transition table: journals a state before its act, does the act, takes the transition. Begins runs, takes up
// those that a kill interrupted, and takes the last one back by hand.
import { randomUUID } from 'node:crypto';
import type { Evaluation, RollbackOrder } from '#manifests/decide';
import { isFault } from '#manifests/errors';
import { utcSeconds } from '#manifests/platform/clock';
import type { Group, Inventory } from '#manifests/schema';
import { ACTS, type Act, type Attempt, asRunError, type Came, noTime } from './acts.ts';
import { commit, type Ended, fail, HANDS_NEEDED, LAST_COMMITTED } from './ending.ts';
import { fault, RUN_LIMITS } from './limits.ts';
import { reboot } from './rebooting.ts';
import { rollback } from './rollback.ts';
import { askForRoot, rootWaitsForBoot, switchRoot, verifyRoot } from './root.ts';
import { oneLine, type RunData, type RunStep, versionsOf } from './runs.ts';
import { type Event, nextState, type State } from './states.ts';
import type { RunWorld } from './world.ts';

export type RunEnd =
  | Ended
  /** The host was told to reboot; the run goes on at the next start. */
  | { readonly kind: 'rebooting'; readonly run: string; readonly says?: string }
  /** The agent was told to stop; the run goes on at the next start. */
  | { readonly kind: 'stopped'; readonly run: string; readonly state: State };

export interface RunRequest {
  readonly evaluation: Evaluation;
  readonly inventory: Inventory;
  readonly group: Group | null;
  /** Hashes of the catalog documents that the evaluation was made from. */
  readonly catalogs: readonly string[];
  /** The states before the run: Sync, Evaluate, Wait. */
  readonly trail: readonly RunStep[];
}

/** Installs what an evaluation names. Always comes to an end with one result, or is taken up again by `takeUp`. */
export async function beginRun(request: RunRequest, world: RunWorld): Promise<RunEnd> {
  const { evaluation, inventory, group } = request;
  const id = randomUUID();
  const data: RunData = {
    ...emptyData(inventory, world),
    digest: evaluation.digest,
    patches: [...evaluation.install],
    items: [...evaluation.packages],
    group,
    catalogs: [...request.catalogs],
    blocked: [...evaluation.blocked],
    lane: evaluation.lane,
    hooks: [...(group?.hooks ?? []), ...evaluation.hooks],
  };
  world.journal.runs.begin(id, utcSeconds(world.trustedNow()), request.trail, 'Stage', data);
  world.failPoint('Stage.entered');
  return drive(id, 'Stage', data, world, false);
}

function emptyData(inventory: Inventory, world: RunWorld): RunData {
  return {
    version: 1,
    digest: '',
    patches: [],
    items: [],
    group: null,
    catalogs: [],
    blocked: [],
    before: {
      packages: versionsOf(inventory.packages),
      components: inventory.components,
      kernels: inventory.kernels,
      digest: world.hands.digest(inventory),
      boot: inventory.bootId,
    },
    plans: [],
    installed: [],
    leftOut: [],
    ways: [],
    waySays: null,
    health: [],
    error: null,
    touched: false,
    rebootFrom: null,
    rebooted: false,
    rollback: 'none',
    undoes: null,
  };
}

/** Goes on with the run that a kill, a power cut or a reboot interrupted. Undefined when there is none. */
export async function takeUp(world: RunWorld): Promise<RunEnd | undefined> {
  const row = world.journal.runs.open();
  if (row === undefined) return undefined;
  const { id, data, state } = row;
  const inventory = await world.hands.inventory();
  const waits = await rootWaitsForBoot({ id, data, world, again: true }, state, inventory.bootId);
  if (waits !== undefined) return { kind: 'rebooting', run: id, says: waits };
  if (data.rebootFrom !== null && data.rebootFrom !== inventory.bootId) return drive(id, state, data, world, true); // as planned
  const deaths = world.journal.runs.takeUp(id);
  const harmless = state === 'Stage' || state === 'Precheck' || state === 'Snapshot';
  const tooOften = deaths > RUN_LIMITS.deaths || (harmless && row.resumed >= RUN_LIMITS.resumes);
  const event: Event = tooOften ? 'often' : noTime({ data, world }, inventory.zone, []) === undefined ? 'killed' : 'late';
  const to = nextState(state, event);
  world.log.warn({ run: id, state, event, to }, 'an interrupted run is taken up');
  if (event !== 'killed' && to !== state) {
    const message = `it was interrupted in ${state}${event === 'late' ? ' and the window has closed' : `, ${deaths} times`}`;
    data.error ??= asRunError(fault(event === 'late' ? 'window-closed' : 'killed-often', message));
  }
  if (to !== state) enter(id, to, `interrupted in ${state}`, data, world);
  return drive(id, to, data, world, true);
}

/** A recall's word that a run is taken back, and the group that signed policy puts this host in now. */
export interface RecalledRun {
  readonly order: RollbackOrder;
  readonly group: Group | null;
}

/**
 * Takes the newest run back whose way back is kept, at its owner's word or because it was recalled; with `wholeRoot` everything on
 * the root goes back, at the next boot. @throws run.no-rollback, run.whole-root
 */
export async function undoLast(
  world: RunWorld,
  { recalled, wholeRoot = false }: { readonly recalled?: RecalledRun; readonly wholeRoot?: boolean } = {},
): Promise<RunEnd> {
  const last = recalled?.order.next ?? world.journal.meta(HANDS_NEEDED) ?? world.journal.meta(LAST_COMMITTED);
  const row = last === undefined ? undefined : world.journal.runs.get(last);
  if (row === undefined || (recalled !== undefined && last !== world.journal.meta(LAST_COMMITTED)))
    throw fault('no-rollback', 'there is no run that can be taken back');
  const inventory = await world.hands.inventory();
  const id = randomUUID();
  const data: RunData = {
    ...emptyData(inventory, world),
    digest: row.data.digest,
    patches: row.data.patches,
    items: row.data.items,
    group: recalled === undefined ? row.data.group : recalled.group,
    catalogs: row.data.catalogs,
    plans: row.data.plans.filter(({ format }) => row.data.installed.includes(format) || row.outcome !== 'committed'),
    installed: row.data.installed,
    ways: row.data.ways,
    touched: true,
    undoes: row.data.undoes ?? row.id, // a rollback that failed is tried again for the run that it was about
    error: asRunError(
      recalled === undefined
        ? fault('by-hand', `run ${row.id} was taken back by the host's owner`)
        : fault(recalled.order.next === recalled.order.run ? 'recalled' : 'recalled-below', recalled.order.says),
    ),
  };
  if (wholeRoot) await askForRoot({ id, data, world, again: false });
  world.journal.runs.begin(id, utcSeconds(world.trustedNow()), [], nextState('Idle', 'undo'), data);
  const ended = await drive(id, 'Rollback', data, world, false);
  if (ended.kind === 'ended' && ended.outcome === 'rolled-back') world.journal.setMeta(HANDS_NEEDED, null);
  return ended;
}

/**
 * Makes the reboot that an earlier run owed: the same states from Reboot on. When the host is not well after it, that run is
 * taken back, because what it installed was judged before the reboot only (trap 12).
 */
export async function makeOwedReboot(request: RunRequest, world: RunWorld): Promise<RunEnd> {
  const { evaluation, inventory, group } = request;
  const last = world.journal.meta(LAST_COMMITTED);
  const row = last === undefined ? undefined : world.journal.runs.get(last);
  const id = randomUUID();
  const data: RunData = {
    ...emptyData(inventory, world),
    digest: row?.data.digest ?? '',
    patches: row?.data.patches ?? [],
    items: row?.data.items ?? [],
    group,
    catalogs: row?.data.catalogs ?? [],
    plans: (row?.data.plans ?? []).filter(({ format }) => row?.data.installed.includes(format)),
    installed: row?.data.installed ?? [],
    ways: row?.data.ways ?? [],
    touched: true,
    undoes: row?.id ?? id,
    hooks: [...(group?.hooks ?? []), ...evaluation.hooks],
  };
  world.journal.runs.begin(id, utcSeconds(world.trustedNow()), request.trail, nextState('Wait', 'reboot'), data);
  world.failPoint('Reboot.entered');
  return drive(id, 'Reboot', data, world, false);
}

function enter(id: string, state: State, says: string, data: RunData, world: RunWorld): void {
  world.journal.runs.enter(id, state, utcSeconds(world.trustedNow()), says, data);
  world.failPoint(`${state}.entered`);
}

const ALL_ACTS: Readonly<Record<Exclude<State, 'Idle' | 'Sync' | 'Evaluate' | 'Wait' | 'Commit' | 'Failed'>, Act>> = {
  ...ACTS,
  Reboot: (attempt) => reboot(attempt, 'the check of the host'),
  RollbackReboot: (attempt) => reboot(attempt, 'the end of the rollback'),
  Rollback: rollback,
  RootSwitch: switchRoot,
  RootVerify: verifyRoot,
};

async function drive(id: string, from: State, data: RunData, world: RunWorld, resumed: boolean): Promise<RunEnd> {
  let state = from;
  let again = resumed;
  for (;;) {
    const attempt: Attempt = { id, data, world, again };
    if (state === 'Commit') return commit(attempt);
    if (state === 'Failed') return fail(attempt);
    if (state === 'Idle' || state === 'Sync' || state === 'Evaluate' || state === 'Wait') {
      throw new TypeError(`a run cannot be in ${state}`);
    }
    world.say(`${state} …`);
    let came: Came;
    try {
      came = await ALL_ACTS[state](attempt);
      world.failPoint(`${state}.done`);
    } catch (cause) {
      if (world.signal.aborted && !data.touched) return { kind: 'stopped', run: id, state };
      const error = asRunError(cause);
      const known = isFault(cause) || error.code === 'run.io';
      came = { on: 'failed', says: `${error.code}: ${error.message}`, error };
      if (!known) world.log.error({ run: id, state, err: cause }, 'an act failed in an unforeseen way');
    }
    world.log.info({ run: id, state, came: came.on, says: oneLine(came.says) }, 'a state of the run is done');
    if (came.on === 'pending') return { kind: 'rebooting', run: id, says: came.says };
    if (came.error !== undefined) data.error ??= came.error; // the first one is why; a rollback's own trouble is in its step
    const to = nextState(state, came.on);
    enter(id, to, came.says, data, world);
    state = to;
    again = false;
    if (world.signal.aborted && !data.touched && state !== 'Failed') return { kind: 'stopped', run: id, state };
  }
}
