// What a fuse counts: of each host its last run, as it came here and as relays of the site handed it on. Pure: any order, any
// number of times, gives the same.
import { type FuseReport, type FuseState, fuseState } from '#manifests/decide';
import type { Group } from '#manifests/schema';

/** How a run ended that a host of this site reported. */
export interface CountedReport {
  readonly agent: string;
  readonly sequence: number;
  readonly group: string;
  /** When the run ended by the host, and not later than it came here. */
  readonly at: string;
  readonly ok: boolean;
  /** Brought by the host (or by relays behind this one), or handed on by another relay of the site. */
  readonly from: 'here' | 'sibling';
  /** First 16 hex digits of its envelope's hash; null where an older version counted it. */
  readonly hash: string | null;
  /** Its number among the envelopes that are kept for the other relays of the site; null where it is not kept. */
  readonly number: number | null;
}

/** By host, group and way: hosts that changed their group count in both. */
export const slotOf = ({ from, agent, group }: Pick<CountedReport, 'from' | 'agent' | 'group'>): string =>
  `${from} ${agent} ${group}`;

/**
 * Which of two reports of one host counts: the later by its number. Two with one number are the same sealed twice, or a clone's:
 * then the failure, then the later end, so that the order in which they came makes no difference.
 */
export function laterOf<R extends Pick<CountedReport, 'sequence' | 'ok' | 'at'>>(known: R, more: R): R {
  if (more.sequence !== known.sequence) return more.sequence > known.sequence ? more : known;
  if (more.ok !== known.ok) return more.ok ? known : more;
  return more.at > known.at ? more : known;
}

/** Of each slot the report that counts. */
export function compacted(reports: Iterable<CountedReport>): Map<string, CountedReport> {
  const slots = new Map<string, CountedReport>();
  for (const report of reports) {
    const known = slots.get(slotOf(report));
    slots.set(slotOf(report), known === undefined ? report : laterOf(known, report));
  }
  return slots;
}

/** One fuse: of a group, or of all groups of the site that share a rollout. */
export interface FuseFacts {
  /** Name of the halt that it signs. */
  readonly name: string;
  readonly rollout: string;
  readonly groups: readonly string[];
  readonly withinHours: number;
  readonly limit: string;
  readonly state: FuseState;
  /** Hosts that failed. */
  readonly failed: readonly string[];
}

/**
 * Every fuse of the signed groups with what was counted for it. It is judged by all that is known, and by what came here alone as
 * well: what other relays hand on can trip it and can never hold it. Failures before the publisher lifted one of its halts count
 * no more. @param at milliseconds
 */
export function fusesOf(
  groups: readonly Group[],
  reports: Iterable<CountedReport>,
  liftedAt: (name: string) => number,
  at: number,
): FuseFacts[] {
  const all = [...reports];
  const views = [all, all.filter(({ from }) => from === 'here')].map(lastOfEach);
  const found = new Map<string, FuseFacts>();
  for (const group of groups) {
    const fuse = group.rollout?.fuse;
    if (fuse === undefined || fuse === null || group.rollout === undefined) continue;
    const rollout = group.rollout.name;
    const name = nameOf(fuse.scope === 'group' ? group.name : rollout);
    if (found.has(name)) continue;
    const own = fuse.scope === 'group' ? [group] : groups.filter((each) => each.rollout?.name === rollout);
    const names = own.map((each) => each.name).toSorted();
    const since = liftedAt(name);
    const [union, here] = views.map((view) => {
      const counted = view.filter((each) => names.includes(each.group) && Date.parse(each.at) > since);
      const last = lastOfHosts(counted).map(({ agent, at: when, ok }): FuseReport => ({ agent, at: Date.parse(when), ok }));
      const failed = last.flatMap(({ agent, ok }) => (ok ? [] : [agent])).toSorted();
      return { state: fuseState(fuse, last, at), failed };
    });
    if (union === undefined || here === undefined) continue;
    const allowed = 'hosts' in fuse.maxFailures ? `${fuse.maxFailures.hosts}` : `${fuse.maxFailures.percent} %`;
    found.set(name, {
      name,
      rollout,
      groups: names,
      withinHours: fuse.withinHours,
      limit: `${allowed} of at least ${fuse.minReports}`,
      ...(here.state.tripped && !union.state.tripped ? here : union),
    });
  }
  return [...found.values()];
}

/** Of each host and group the report that counts, whichever way it came. */
function lastOfEach(reports: readonly CountedReport[]): CountedReport[] {
  return [...compacted(reports.map((report) => ({ ...report, from: 'here' as const }))).values()];
}

/** Of each host the last, over its groups. */
function lastOfHosts(reports: readonly CountedReport[]): CountedReport[] {
  const hosts = new Map<string, CountedReport>();
  for (const report of reports) {
    const known = hosts.get(report.agent);
    hosts.set(report.agent, known === undefined ? report : laterOf(known, report));
  }
  return [...hosts.values()];
}

/** A name for the halt, of the form that names have. */
const nameOf = (of: string) => `fuse-${of.slice(0, 55).replace(/[.-]+$/, '')}`;
