// A whole fleet over days: who installs what when, how many run at once at each site, which deadlines are missed, what collides.
// Hosts pass by one at a time and leave only counts behind, so memory grows with sites, patches and days, never with hosts.
import type { Group } from '#manifests/schema';
import { timeNeeded } from './estimate.ts';
import { occurrencesFrom, within } from './occurrences.ts';
import { delayedUntil, type SiteRules } from './overlay.ts';
import { bucketOf, reachedAfter, ringOf, ringOpening, shuffleId, staggeredStart, staggerPlace } from './rollout.ts';
import type { Who } from './targeting.ts';
import { byText, DAY_MS } from './text.ts';
import { windowsFor } from './window.ts';

export const SIMULATION_LIMITS = {
  days: 366,
  /** Length of one slot in which hosts at work are counted. */
  slotMs: 15 * 60_000,
  /** Collisions that are listed; of more, the number is told. */
  collisions: 500,
  /** Windows looked at for one group and zone. */
  occurrences: 5_000,
} as const;

export interface SimHost {
  readonly agent: string;
  readonly group: string;
  readonly site: string;
  /** IANA name of its own zone. */
  readonly zone: string;
  readonly product: string;
  readonly labels?: Readonly<Record<string, string>>;
  /** Patches it lacks; left out: every release of its product. */
  readonly lacks?: ReadonlySet<string>;
}

/** A patch that is or will be approved. Times in milliseconds. */
export interface SimRelease {
  readonly patch: string;
  readonly product: string;
  readonly approvedAt: number;
  readonly emergency?: boolean;
  readonly deadline?: number | undefined;
}

export interface SimPolicy {
  readonly groups: ReadonlyMap<string, Group>;
  readonly releases: readonly SimRelease[];
  /** Rules of sites that have an overlay. */
  readonly sites?: ReadonlyMap<string, SiteRules>;
}

export interface SimOptions {
  /** Milliseconds. */
  readonly from: number;
  readonly days: number;
  /** Hosts of one site that may be at work at once; more is a collision. */
  readonly siteLimit?: number | undefined;
}

export interface SimPatch {
  readonly patch: string;
  readonly approvedAt: number;
  readonly deadline: number | null;
  readonly hosts: number;
  readonly installed: number;
  /** Hosts that do not get it within the time simulated. */
  readonly left: number;
  readonly missedDeadline: number;
  readonly first: number | null;
  readonly last: number | null;
  /** When half and nine tenths of its hosts have it, to the slot; null when they do not get that far. */
  readonly half: number | null;
  readonly ninety: number | null;
}

export interface SimSite {
  readonly site: string;
  /** Of the first host seen there. */
  readonly zone: string;
  readonly hosts: number;
  readonly installs: number;
  readonly missedDeadline: number;
  readonly peak: { readonly at: number; readonly hosts: number };
  /** Hosts at work in each slot from `from` on. */
  readonly running: Uint32Array;
}

export interface SimCollision {
  readonly kind: 'site' | 'ring';
  readonly name: string;
  readonly from: number;
  readonly until: number;
  readonly hosts: number;
  readonly limit: number;
}

export interface Simulation {
  readonly from: number;
  readonly until: number;
  readonly slotMs: number;
  readonly hosts: number;
  readonly installs: number;
  /** Hosts whose group or windows nobody knows, or that have no window to come. */
  readonly neverInWindow: number;
  readonly patches: readonly SimPatch[];
  readonly sites: readonly SimSite[];
  readonly collisions: readonly SimCollision[];
  readonly collisionsLeft: number;
  /** Clock changes and other remarks on windows. */
  readonly notes: readonly string[];
}

interface Openings {
  readonly opensAt: Float64Array;
  readonly startsUntil: Float64Array;
}

interface Counting {
  hosts: number;
  limit: number | null;
  percent: number | null;
  readonly running: Uint32Array;
}

/** Simulates. Each host installs at the first opening after its turn, several patches of one opening in one run. */
export function simulateFleet(policy: SimPolicy, hosts: Iterable<SimHost>, options: SimOptions): Simulation {
  const days = Math.min(Math.max(1, Math.floor(options.days)), SIMULATION_LIMITS.days);
  const { from } = options;
  const { slotMs } = SIMULATION_LIMITS;
  const until = from + days * DAY_MS;
  const slots = Math.ceil((until - from) / slotMs) + 1;
  const notes = new Set<string>();
  const openings = new Map<string, Openings>();
  const openingsOf = (group: Group, site: string, zone: string): Openings => {
    const limits = policy.sites?.get(site)?.limits ?? [];
    const key = `${group.name}|${zone}|${limits.length > 0 ? site : ''}`;
    const known = openings.get(key);
    if (known !== undefined) return known;
    const found: { opensAt: number; startsUntil: number }[] = [];
    for (const window of windowsFor(group.windows, 'install') ?? []) {
      let count = 0;
      for (const occurrence of occurrencesFrom(window, zone, from) ?? []) {
        count += 1;
        if (occurrence.opensAt >= until || count > SIMULATION_LIMITS.occurrences) break;
        for (const part of within(occurrence, limits, zone)) if (part.startsUntil > from) found.push(part);
        for (const note of occurrence.notes) notes.add(note);
      }
    }
    found.sort((a, b) => a.opensAt - b.opensAt);
    const made = {
      opensAt: Float64Array.from(found, (one) => one.opensAt),
      startsUntil: Float64Array.from(found, (one) => one.startsUntil),
    };
    openings.set(key, made);
    return made;
  };

  const releases = policy.releases.map((release, index) => ({ ...release, index }));
  const byProduct = Map.groupBy(releases, ({ product }) => product);
  const perPatch = releases.map(() => ({
    hosts: 0,
    installed: 0,
    missed: 0,
    first: Infinity,
    last: -Infinity,
    when: new Uint32Array(slots),
  }));
  const sites = new Map<string, { zone: string; hosts: number; installs: number; missed: number; running: Uint32Array }>();
  const rings = new Map<string, Counting>();
  const runLengths = new Map<string, number>();
  let count = 0;
  let installs = 0;
  let neverInWindow = 0;

  for (const host of hosts) {
    count += 1;
    let site = sites.get(host.site);
    if (site === undefined) {
      site = { zone: host.zone, hosts: 0, installs: 0, missed: 0, running: new Uint32Array(slots) };
      sites.set(host.site, site);
    }
    site.hosts += 1;
    const group = policy.groups.get(host.group);
    const open = group === undefined ? undefined : openingsOf(group, host.site, host.zone);
    const never = group === undefined || open === undefined || open.opensAt.length === 0;
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
    let bucket: number | undefined;
    let reachedMs: number | null | undefined;
    let lastStart = -1;
    for (const release of byProduct.get(host.product) ?? []) {
      if (host.lacks !== undefined && !host.lacks.has(release.patch)) continue;
      const figures = perPatch[release.index];
      if (figures === undefined) continue;
      figures.hosts += 1;
      const end = release.deadline ?? Number.POSITIVE_INFINITY;
      let start = Number.POSITIVE_INFINITY;
      if (!never && group !== undefined && open !== undefined) {
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
        const length = runLength(runLengths, group);
        start = startAfter(open, Math.max(turn, from), release.emergency === true ? null : staggered, length);
        if (group.afterDeadline === 'at-once' && end < start) start = Math.max(end, from);
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
      if (!Number.isFinite(start)) continue;
      installs += 1;
      site.installs += 1;
      figures.installed += 1;
      figures.first = Math.min(figures.first, start);
      figures.last = Math.max(figures.last, start);
      const slot = Math.floor((start - from) / slotMs);
      figures.when[slot] = (figures.when[slot] ?? 0) + 1;
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
    patches: releases.map(({ patch, approvedAt, deadline, index }) => {
      const { hosts: of = 0, installed = 0, missed = 0, first = 0, last = 0, when = new Uint32Array() } = perPatch[index] ?? {};
      return {
        patch,
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
      };
    }),
    sites: [...sites]
      .toSorted(([a], [b]) => byText(a, b))
      .map(([site, { zone, hosts: of, installs: made, missed, running }]) => {
        let top = 0;
        for (let slot = 1; slot < running.length; slot += 1) if ((running[slot] ?? 0) > (running[top] ?? 0)) top = slot;
        const peak = { at: from + top * slotMs, hosts: running[top] ?? 0 };
        return { site, zone, hosts: of, installs: made, missedDeadline: missed, peak, running };
      }),
    collisions: collisions.slice(0, SIMULATION_LIMITS.collisions),
    collisionsLeft: Math.max(0, collisions.length - SIMULATION_LIMITS.collisions),
    notes: [...notes].toSorted(byText),
  };
}

type SimRollout = NonNullable<Group['rollout']>;
type SimRing = SimRollout['rings'][number];

function ringCounts(rings: Map<string, Counting>, rollout: string, ring: SimRing, slots: number): Counting {
  const key = `${rollout}/${ring.name}`;
  let found = rings.get(key);
  if (found === undefined) {
    const { maxConcurrency: most } = ring;
    found = {
      hosts: 0,
      limit: most !== null && 'hosts' in most ? most.hosts : null,
      percent: most !== null && 'percent' in most ? most.percent : null,
      running: new Uint32Array(slots),
    };
    rings.set(key, found);
  }
  return found;
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

/** The first moment from `turn` on at which a window lets the host start, at its place in the order of its ring. */
function startAfter(
  open: Openings,
  turn: number,
  staggered: { readonly ring: SimRing; readonly place: number } | null,
  length: number,
): number {
  const { opensAt, startsUntil } = open;
  let low = 0;
  let high = opensAt.length; // the first that opens after the turn
  while (low < high) {
    const middle = (low + high) >>> 1;
    if ((opensAt[middle] ?? 0) <= turn) low = middle + 1;
    else high = middle;
  }
  for (let index = Math.max(0, low - BEFORE); index < opensAt.length; index += 1) {
    const opening = { opensAt: opensAt[index] ?? 0, startsUntil: startsUntil[index] ?? 0 };
    if (opening.startsUntil <= turn) continue;
    const start = staggered === null ? opening.opensAt : staggeredStart(staggered.ring, staggered.place, opening, length);
    return Math.max(start, turn);
  }
  return Number.POSITIVE_INFINITY;
}

/** Openings before the turn that can still be open: those of several windows at once. */
const BEFORE = 50;

function reachedBy(when: Uint32Array, wanted: number, from: number): number | null {
  if (wanted === 0) return null;
  let sum = 0;
  for (let slot = 0; slot < when.length; slot += 1) {
    sum += when[slot] ?? 0;
    if (sum >= wanted) return from + slot * SIMULATION_LIMITS.slotMs;
  }
  return null;
}

/** Stretches in which more hosts are at work than may be. */
function overruns(kind: SimCollision['kind'], name: string, running: Uint32Array, limit: number, from: number): SimCollision[] {
  const found: SimCollision[] = [];
  let start = -1;
  let most = 0;
  for (let slot = 0; slot <= running.length; slot += 1) {
    const hosts = slot < running.length ? (running[slot] ?? 0) : 0;
    if (hosts > limit) {
      if (start < 0) start = slot;
      most = Math.max(most, hosts);
    } else if (start >= 0) {
      const { slotMs } = SIMULATION_LIMITS;
      found.push({ kind, name, from: from + start * slotMs, until: from + slot * slotMs, hosts: most, limit });
      start = -1;
      most = 0;
    }
  }
  return found;
}
