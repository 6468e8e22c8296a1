// When the set is installed: in the windows of the group as the owner chose among them and the site narrowed them, in emergency
// windows, after a missed window, or at once after a deadline; and whether it still fits into what is left (traps 6 and 7).
import type { Group, MaintenanceWindow } from '#manifests/schema';
import { catchUp, type Wake } from './catch-up.ts';
import { fitting, timeNeeded } from './estimate.ts';
import type { SiteRules } from './overlay.ts';
import type { OwnerChoice } from './release.ts';
import { ringOf, staggeredStart, staggerPlace } from './rollout.ts';
import type { Who } from './targeting.ts';
import { counted, momentOf } from './text.ts';
import { ALWAYS_OPEN, purposeState, type WindowState, windowState, windowsFor } from './window.ts';

export interface ScheduleInput {
  readonly group: Group | null;
  readonly who: Who | null;
  readonly site: SiteRules;
  readonly choice: OwnerChoice | null;
  readonly wake: Wake | null;
  readonly at: number;
  readonly hostZone: string;
}

export interface Windows {
  readonly download: WindowState;
  readonly install: WindowState;
  readonly reboot: WindowState;
  /** Of the windows for emergencies alone; null where the group has none. */
  readonly emergency: WindowState | null;
  readonly notes: readonly string[];
}

/** The group's windows without those that the owner did not choose. A choice beyond what the group allows changes nothing. */
export function chosenWindows(
  group: Group,
  choice: OwnerChoice | null,
): { windows: readonly MaintenanceWindow[]; notes: readonly string[] } {
  const asked = choice?.window ?? null;
  if (asked === null) return { windows: group.windows, notes: [] };
  const allowed = group.ownerChoice?.windows ?? [];
  if (!allowed.includes(asked) || !group.windows.some(({ name }) => name === asked)) {
    const says = `the owner chose window ${asked}, which group ${group.name} does not offer: all windows of the group count`;
    return { windows: group.windows, notes: [says] };
  }
  return { windows: group.windows.filter(({ name }) => name === asked || !allowed.includes(name)), notes: [] };
}

/** The state of every kind of window now. */
export function windowsOf({ group, site, choice, wake, at, hostZone }: ScheduleInput): Windows {
  if (group === null) {
    const none = windowState([], at, hostZone);
    return { download: none, install: none, reboot: none, emergency: null, notes: [] };
  }
  const { windows, notes } = chosenWindows(group, choice);
  const options = { limits: site.limits };
  const siteOpen = site.limits.length === 0 || windowState(site.limits, at, hostZone).open;
  const orMadeUp = (purpose: 'install' | 'reboot'): WindowState => {
    const state = purposeState(windows, purpose, at, hostZone, options);
    if (!siteOpen || mayStart(state)) return state;
    return catchUp(windowsFor(windows, purpose) ?? [], wake, at, hostZone).window ?? state;
  };
  const emergency = group.emergencyWindows ?? [];
  return {
    download: purposeState(windows, 'download', at, hostZone, options),
    install: orMadeUp('install'),
    reboot: orMadeUp('reboot'),
    emergency: emergency.length === 0 ? null : windowState(emergency, at, hostZone, options),
    notes,
  };
}

/** By what right a set goes in: a window (or one that is made up for), a window for emergencies, or a deadline that has passed. */
export type Lane = 'window' | 'emergency' | 'deadline';

/**
 * The window of a run that was begun, asked again while it runs (trap 6). A deadline opens no window for reboots: a host that
 * installs at once still restarts when its windows say so.
 */
export function runWindow(input: ScheduleInput, lane: Lane, purpose: 'install' | 'reboot'): WindowState {
  if (lane === 'deadline' && purpose === 'install') return AT_ONCE;
  const windows = windowsOf(input);
  const own = windows[purpose];
  if (lane !== 'emergency' || input.group === null) return own;
  const { group, site, at, hostZone } = input;
  const emergency = purposeState(group.emergencyWindows ?? [], purpose, at, hostZone, { limits: site.limits });
  if (!own.open || !emergency.open) return own.open ? own : emergency;
  if (own.mayStart !== emergency.mayStart) return own.mayStart ? own : emergency;
  return own.closesAt >= emergency.closesAt ? own : emergency;
}

/** Why a rollback that a recall orders waits: a halt, or the windows; it takes any window in which this host may change. */
export function rollbackWaits(
  { install, emergency }: Pick<Windows, 'install' | 'emergency'>,
  stop: string | null,
): { readonly says: string; readonly at: number | null } | null {
  if (stop !== null) return { says: stop, at: null };
  const doors = emergency === null ? [install] : [install, emergency];
  if (doors.some(mayStart)) return null;
  const at = Math.min(...doors.map(opens));
  if (!Number.isFinite(at)) return { says: 'no maintenance window is to come', at: null };
  return { says: `it waits for the window that opens at ${momentOf(at)}`, at };
}

/** Patches in the order in which they matter, with what hurries each. */
export interface Wanted {
  readonly patch: string;
  readonly emergency: boolean;
  readonly overdue: boolean;
}

export interface Plan {
  readonly window: WindowState;
  readonly lane: Lane;
  /** Of the patches wanted: those to install in this window. */
  readonly patches: readonly string[];
  /** Set when the window is open and the set still has to wait. */
  readonly wait: { readonly says: string; readonly at: number | null } | null;
  readonly estimateMs: number;
  readonly notes: readonly string[];
}

/** How many openings that touch each other are followed. */
const FOLLOWED = 10;

/** Chooses the window and what goes into it. */
export function planOf(wanted: readonly Wanted[], input: ScheduleInput, windows: Windows): Plan {
  const all = wanted.map(({ patch }) => patch);
  const { group } = input;
  const none = {
    window: windows.install,
    lane: 'window' as const,
    patches: all,
    wait: null,
    estimateMs: 0,
    notes: windows.notes,
  };
  if (group === null || wanted.length === 0) return none;
  const estimateMs = timeNeeded(all, group).ms;
  const plan = { ...none, estimateMs };
  const urgent = wanted.filter(({ emergency }) => emergency).map(({ patch }) => patch);
  const overdue = group.afterDeadline === 'at-once' ? wanted.filter(({ overdue: late }) => late).map(({ patch }) => patch) : [];
  const open = mayStart(windows.install) ? fitted(plan, wanted, input, windows.install) : null;
  const takes = (patches: readonly string[]) =>
    open !== null && open.wait === null && patches.every((one) => open.patches.includes(one));
  if (open !== null && takes([...urgent, ...overdue])) return open;
  // what may go in without an ordinary window must not wait because one is open
  if (overdue.length > 0) return { ...plan, window: AT_ONCE, lane: 'deadline', patches: overdue };
  if (urgent.length > 0 && windows.emergency !== null) {
    if (mayStart(windows.emergency)) return { ...plan, window: windows.emergency, lane: 'emergency', patches: urgent };
    if (open === null && opens(windows.emergency) < opens(windows.install))
      return { ...plan, window: windows.emergency, lane: 'emergency', patches: urgent };
  }
  return open ?? plan;
}

/** Stands in place of a window. */
const AT_ONCE: WindowState = { ...ALWAYS_OPEN, name: 'deadline has passed' };

const mayStart = (window: WindowState): window is Extract<WindowState, { open: true }> => window.open && window.mayStart;
const opens = (window: WindowState) => (window.open ? window.nextOpensAt : window.opensAt) ?? Number.POSITIVE_INFINITY;

/** What of the set fits into the rest of an open window: all of it, or it waits for a whole window, or the most urgent part. */
function fitted(
  plan: Plan,
  wanted: readonly Wanted[],
  input: ScheduleInput,
  window: Extract<WindowState, { open: true }>,
): Plan {
  const { group, who, at } = input;
  if (group === null) return plan;
  const end = openUntil(window, input, at + plan.estimateMs);
  const urgent = wanted.some(({ emergency, overdue }) => emergency || overdue);
  if (end - at >= plan.estimateMs) {
    const ring = who === null || group.rollout === undefined ? undefined : ringOf(group.rollout, who);
    if (ring === undefined || who === null || urgent) return plan;
    const start = staggeredStart(ring, staggerPlace(ring, who.agent), window, plan.estimateMs);
    if (at >= start) return plan;
    return {
      ...plan,
      wait: { says: `starts at ${momentOf(start)}, so that ring ${ring.name} does not start at once`, at: start },
    };
  }
  const needs = `needs about ${counted(Math.ceil(plan.estimateMs / 60_000), 'minute')} with what is kept for checks and reboot`;
  const left = `${counted(Math.max(0, Math.floor((end - at) / 60_000)), 'minute')} of window ${window.name} are left`;
  if (window.nextOpensAt !== null && end - window.opensAt >= plan.estimateMs && !urgent) {
    return { ...plan, wait: { says: `${needs}; ${left}: it waits for the next window`, at: window.nextOpensAt } };
  }
  const ordered = wanted.toSorted((a, b) => Number(b.emergency) - Number(a.emergency) || Number(b.overdue) - Number(a.overdue));
  const part = fitting(
    ordered.map(({ patch }) => patch),
    end - at,
    group,
  );
  if (part.length === 0) return { ...plan, wait: { says: `${needs}; only ${left}`, at: window.nextOpensAt } };
  const notes = [
    ...plan.notes,
    `${part.length} of ${wanted.length} patches fit into the window; the rest waits for the next one`,
  ];
  return { ...plan, patches: part, notes, estimateMs: timeNeeded(part, group).ms };
}

/** Until when it stays open without a break: windows that touch count as one. Followed no further than is needed. */
function openUntil(window: Extract<WindowState, { open: true }>, input: ScheduleInput, needed: number): number {
  let end = window.closesAt;
  for (let count = 0; count < FOLLOWED && end < needed && input.group !== null; count += 1) {
    const after = windowsOf({ ...input, at: end }).install;
    if (!mayStart(after) || after.closesAt <= end) break;
    end = after.closesAt;
  }
  return end;
}
