// A whole fleet over days: who installs what when, how many run at once at each site, which deadlines are missed, what collides.
// Hosts pass by one at a time and leave only counts behind, so memory grows with sites, patches and days, never with hosts.
import type { Group } from '#manifests/schema';
import { timeNeeded } from './estimate.ts';
import { delayedUntil, type SiteRules } from './overlay.ts';
import { type Stop, stopsOf } from './recall.ts';
import { bucketOf, reachedAfter, ringOf, ringOpening, shuffleId, staggerPlace } from './rollout.ts';
import { type Counting, overruns, reachedBy, ringCounts } from './simulate-counts.ts';
import { type Doors, makesUp, openDoors, startAfter } from './simulate-windows.ts';
import {
  SIMULATION_LIMITS,
  type SimHost,
  type SimOptions,
  type SimPolicy,
  type SimRelease,
  type Simulation,
} from './simulation.ts';
import type { Who } from './targeting.ts';
import { byText, DAY_MS } from './text.ts';

/** Simulates. Each host installs at the first opening after its turn, several patches of one opening in one run. */
export function simulateFleet(policy: SimPolicy, hosts: Iterable<SimHost>, options: SimOptions): Simulation {
  const days = Math.min(Math.max(1, Math.floor(options.days)), SIMULATION_LIMITS.days);
  const { from } = options;
  const { slotMs } = SIMULATION_LIMITS;
  const until = from + days * DAY_MS;
  const slots = Math.ceil((until - from) / slotMs) + 1;
  const notes = new Set<string>();
  const doorsOf = openDoors(policy, { from, until, notes });

  const releases = policy.releases.map((release, index) => ({ ...release, index }));
  const byList = Map.groupBy(releases, ({ list, product }) => list ?? product);
  const perLists = new Map<string, typeof releases>();
  const releasesOf = ({ lists, product }: SimHost): typeof releases => {
    if (lists === undefined) return byList.get(product) ?? [];
    const key = lists.join('|');
    let found = perLists.get(key);
    if (found === undefined) {
      found = lists.flatMap((list) => byList.get(list) ?? []);
      perLists.set(key, found);
    }
    return found;
  };
  const perPatch = releases.map(() => ({
    hosts: 0,
    installed: 0,
    missed: 0,
    first: Infinity,
    last: -Infinity,
    when: new Uint32Array(slots),
    byDay: new Uint32Array(days),
  }));
  const sites = new Map<
    string,
    { zone: string; hosts: number; installs: number; missed: number; running: Uint32Array; byDay: Uint32Array }
  >();
  const rings = new Map<string, Counting>();
  const runLengths = new Map<string, number>();
  let count = 0;
  let installs = 0;
  let neverInWindow = 0;

  for (const host of hosts) {
    count += 1;
    let site = sites.get(host.site);
    if (site === undefined) {
      site = {
        zone: host.zone,
        hosts: 0,
        installs: 0,
        missed: 0,
        running: new Uint32Array(slots),
        byDay: new Uint32Array(days),
      };
      sites.set(host.site, site);
    }
    site.hosts += 1;
    const group = policy.groups.get(host.group);
    const doors = group === undefined ? undefined : doorsOf(group, host);
    const never = group === undefined || doors === undefined || doors.open.opensAt.length === 0;
    if (never) neverInWindow += 1;
    const rules = policy.sites?.get(host.site);
    const who: Who = {
      agent: host.agent,
      group: host.group,
      site: host.site,
      product: host.product,
      labels: host.labels ?? {},
    };
    const ring = group?.rollout === undefined ? undefined : ringOf(group.rollout, who);
    const counting =
      ring === undefined || group?.rollout === undefined ? undefined : ringCounts(rings, group.rollout.name, ring, slots);
    if (counting !== undefined) counting.hosts += 1;
    const staggered =
      ring === undefined || ring.maxConcurrency === null ? null : { ring, place: staggerPlace(ring, host.agent) };
    const stops = (policy.halts ?? []).length === 0 ? [] : stopsOf(policy.halts ?? [], who, from);
    const { asleep } = host;
    const atWake = asleep !== undefined && group !== undefined && makesUp(group, host);
    let bucket: number | undefined;
    let reachedMs: number | null | undefined;
    let lastStart = -1;
    for (const release of releasesOf(host)) {
      if (host.lacks !== undefined && !host.lacks.has(release.patch)) continue;
      const figures = perPatch[release.index];
      if (figures === undefined) continue;
      figures.hosts += 1;
      const end = release.deadline ?? Number.POSITIVE_INFINITY;
      let start = Number.POSITIVE_INFINITY;
      const barred = release.about !== undefined && rules !== undefined && rules.rejects(release.about) !== null;
      if (doors !== undefined && group !== undefined && !barred) {
        let turn = release.approvedAt;
        if (release.emergency !== true) {
          if (rules !== undefined && rules.delayMs > 0) turn = Math.min(delayedUntil(rules, turn, {}), Math.max(turn, end));
          const { rollout } = group;
          if (rollout !== undefined) {
            if (bucket === undefined || rollout.canaries === 'by-patch') {
              bucket = bucketOf(shuffleId(rollout, release.patch), host.agent);
              reachedMs = undefined;
            }
            let reached: number | null = null;
            if (ring !== undefined && !isHalted(rollout, release.patch)) {
              if (reachedMs === undefined) reachedMs = reachedAfter(rampOf(ring, rules), bucket);
              reached = reachedMs === null ? null : openingOf(rollout, ring, release) + reachedMs;
            }
            turn = Math.max(turn, Math.min(reached ?? Number.POSITIVE_INFINITY, end));
          }
        }
        if (release.emergency !== true) turn = deferred(group, host, release, turn);
        const halted = haltedUntil(stops, release);
        turn = Math.max(turn, halted, from);
        const length = runLength(runLengths, group);
        const next = (after: number) =>
          startOf(doors, after, release.emergency === true ? null : staggered, length, release.emergency === true);
        start = next(turn);
        if (group.afterDeadline === 'at-once' && Math.max(end, halted) < start) start = Math.max(end, halted, from);
        if (asleep !== undefined && start >= asleep.since && start < asleep.wokeAt)
          start = atWake && turn <= asleep.wokeAt ? asleep.wokeAt : next(asleep.wokeAt);
        if (start >= until) start = Number.POSITIVE_INFINITY;
        if (Number.isFinite(start) && start !== lastStart) {
          lastStart = start;
          const last = Math.min(slots - 1, Math.floor((start + length - 1 - from) / slotMs));
          for (let slot = Math.floor((start - from) / slotMs); slot <= last; slot += 1) {
            site.running[slot] = (site.running[slot] ?? 0) + 1;
            if (counting !== undefined) counting.running[slot] = (counting.running[slot] ?? 0) + 1;
          }
        }
      }
      if (Math.min(start, until) > end) {
        figures.missed += 1;
        site.missed += 1;
      }
      options.visit?.(host, release, Number.isFinite(start) ? start : null);
      if (!Number.isFinite(start)) continue;
      installs += 1;
      site.installs += 1;
      figures.installed += 1;
      figures.first = Math.min(figures.first, start);
      figures.last = Math.max(figures.last, start);
      const slot = Math.floor((start - from) / slotMs);
      figures.when[slot] = (figures.when[slot] ?? 0) + 1;
      const day = Math.floor((start - from) / DAY_MS);
      figures.byDay[day] = (figures.byDay[day] ?? 0) + 1;
      site.byDay[day] = (site.byDay[day] ?? 0) + 1;
    }
  }

  const collisions = [
    ...(options.siteLimit === undefined
      ? []
      : [...sites].flatMap(([name, one]) => overruns('site', name, one.running, options.siteLimit ?? 0, from))),
    ...[...rings].flatMap(([name, one]) => {
      const limit = one.limit ?? (one.percent === null ? null : Math.max(1, Math.ceil((one.hosts * one.percent) / 100)));
      return limit === null ? [] : overruns('ring', name, one.running, limit, from);
    }),
  ].toSorted((a, b) => a.from - b.from || byText(a.name, b.name));
  return {
    from,
    until,
    slotMs,
    hosts: count,
    installs,
    neverInWindow,
    patches: releases.map(({ patch, product, list, approvedAt, deadline, index }) => {
      const { hosts: of = 0, installed = 0, missed = 0, first = 0, last = 0 } = perPatch[index] ?? {};
      const { when = new Uint32Array(), byDay = new Uint32Array() } = perPatch[index] ?? {};
      return {
        patch,
        list: list ?? product,
        approvedAt,
        deadline: deadline ?? null,
        hosts: of,
        installed,
        left: of - installed,
        missedDeadline: missed,
        first: installed === 0 ? null : first,
        last: installed === 0 ? null : last,
        half: reachedBy(when, of * 0.5, from),
        ninety: reachedBy(when, of * 0.9, from),
        byDay,
      };
    }),
    sites: [...sites]
      .toSorted(([a], [b]) => byText(a, b))
      .map(([site, { zone, hosts: of, installs: made, missed, running, byDay }]) => {
        let top = 0;
        for (let slot = 1; slot < running.length; slot += 1) if ((running[slot] ?? 0) > (running[top] ?? 0)) top = slot;
        const peak = { at: from + top * slotMs, hosts: running[top] ?? 0 };
        return { site, zone, hosts: of, installs: made, missedDeadline: missed, peak, running, byDay };
      }),
    collisions: collisions.slice(0, SIMULATION_LIMITS.collisions),
    collisionsLeft: Math.max(0, collisions.length - SIMULATION_LIMITS.collisions),
    notes: [...notes].toSorted(byText),
  };
}

type SimRollout = NonNullable<Group['rollout']>;
type SimRing = SimRollout['rings'][number];

/** The first moment at which any of the doors lets a host start; those for emergencies are only asked for emergencies. */
function startOf(
  { open, emergency }: Doors,
  turn: number,
  staggered: Parameters<typeof startAfter>[2],
  length: number,
  urgent: boolean,
): number {
  const start = startAfter(open, turn, staggered, length);
  return urgent && emergency !== null ? Math.min(start, startAfter(emergency, turn, null, length)) : start;
}

/** Put off by the owner: within what the group allows, never past the deadline. */
function deferred(group: Group, { choice }: SimHost, { approvedAt, deadline }: SimRelease, turn: number): number {
  if (choice === undefined || choice === null || choice.deferUntil === null || group.ownerChoice === undefined) return turn;
  const bounds = [choice.deferUntil, approvedAt + group.ownerChoice.deferDays * DAY_MS, deadline ?? Number.POSITIVE_INFINITY];
  return Math.max(turn, Math.min(...bounds));
}

/** Until when halts keep a release off a host. */
function haltedUntil(stops: readonly Stop[], { patch, about: known }: SimRelease): number {
  let until = Number.NEGATIVE_INFINITY;
  for (const { halt, about } of stops) {
    if (!halt.stops.includes('install')) continue;
    const names = known === undefined ? [] : [known.source, ...known.packages.map(({ name }) => name)];
    if (about(patch, ...names))
      until = Math.max(until, halt.until === null ? Number.POSITIVE_INFINITY : Date.parse(halt.until));
  }
  return until;
}

function isHalted(rollout: SimRollout, patch: string): boolean {
  return rollout.halted.length > 0 && rollout.halted.some((one) => one.patch === '*' || one.patch === patch);
}

/** A gate that nobody has judged yet is taken to open as soon as its soak is over: a plan supposes that all goes well. */
function openingOf(rollout: SimRollout, ring: SimRing, { patch, approvedAt }: SimRelease): number {
  const known = ringOpening(rollout, ring, patch, approvedAt);
  if (known !== null) return known;
  let opened = approvedAt;
  for (const one of rollout.rings) {
    const soak = (one.gate?.soakHours ?? 0) * 3_600_000;
    opened = Math.max(opened + soak, approvedAt + one.afterHours * 3_600_000);
    if (one === ring) break;
  }
  return opened;
}

function rampOf(ring: SimRing, rules: SiteRules | undefined): Pick<SimRing, 'ramp' | 'stepped'> {
  const percent = rules?.ringPercent ?? 100;
  if (percent >= 100) return ring;
  return { stepped: ring.stepped, ramp: ring.ramp.map((one) => ({ ...one, percent: (one.percent * percent) / 100 })) };
}

function runLength(known: Map<string, number>, group: Group): number {
  let length = known.get(group.name);
  if (length === undefined) {
    length = timeNeeded(['one'], group).ms;
    known.set(group.name, length);
  }
  return length;
}
