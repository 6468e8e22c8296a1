// A plan as a document and as tables: what installs when, in UTC and in the time of the site; what comes too late; what collides.
import type { SimCollision, Simulation } from '#manifests/decide';
import { momentText, several, visible } from '#manifests/page';
import { utcSeconds } from '#manifests/platform/clock';

const DAY_MS = 86_400_000;
const TABLE_ROWS = 40;

/** One start of one host, for hosts that were asked about by name. */
export interface HostStart {
  readonly host: string;
  readonly zone: string;
  readonly patch: string;
  /** Milliseconds; null when not within the time simulated. */
  readonly start: number | null;
  readonly deadline: number | null;
}

export interface PlanMeta {
  /** `as last known`, or how the fleet was made. */
  readonly fleet: string;
  readonly unknown: number;
  readonly remarks: readonly string[];
  readonly starts: readonly HostStart[];
}

const moment = (at: number | null) => (at === null ? null : utcSeconds(at));

/** Wall time of a zone, `2026-03-29 03:00`. */
export function wallTime(at: number, zone: string): string {
  const wall = Temporal.Instant.fromEpochMilliseconds(at).toZonedDateTimeISO(zone).toPlainDateTime();
  return wall.toString({ smallestUnit: 'minute' }).replace('T', ' ');
}

/** The plan for programs. Moments in UTC; `byDay` from the first day on. */
export function planReport(sim: Simulation, meta: PlanMeta) {
  return {
    schema: 'patchferry/plan' as const,
    schemaVersion: 1 as const,
    from: utcSeconds(sim.from),
    until: utcSeconds(sim.until),
    fleet: meta.fleet,
    hosts: sim.hosts,
    installs: sim.installs,
    neverInWindow: sim.neverInWindow,
    unknown: meta.unknown,
    patches: shown(sim).map((one) => ({
      patch: one.patch,
      baseline: one.list,
      approvedAt: utcSeconds(one.approvedAt),
      deadline: moment(one.deadline),
      hosts: one.hosts,
      installed: one.installed,
      left: one.left,
      missedDeadline: one.missedDeadline,
      first: moment(one.first),
      half: moment(one.half),
      ninety: moment(one.ninety),
      last: moment(one.last),
      byDay: [...one.byDay],
    })),
    sites: sim.sites.map((one) => ({
      site: one.site,
      zone: one.zone,
      hosts: one.hosts,
      installs: one.installs,
      missedDeadline: one.missedDeadline,
      most: one.peak.hosts,
      mostAt: one.peak.hosts === 0 ? null : utcSeconds(one.peak.at),
      byDay: [...one.byDay],
    })),
    collisions: sim.collisions.map((one) => ({ ...one, from: utcSeconds(one.from), until: utcSeconds(one.until) })),
    collisionsLeft: sim.collisionsLeft,
    starts: meta.starts.map(({ host, zone, patch, start, deadline }) => ({
      host,
      patch,
      at: moment(start),
      there: start === null ? null : wallTime(start, zone),
      zone,
      deadline: moment(deadline),
      late: deadline !== null && (start ?? sim.until) > deadline,
    })),
    notes: [...meta.remarks, ...sim.notes],
  };
}

/** Patches that some host lacks, in the order in which they come in. */
export function shown(sim: Simulation): Simulation['patches'] {
  return sim.patches
    .filter(({ hosts }) => hosts > 0)
    .toSorted(
      (a, b) => (a.first ?? Infinity) - (b.first ?? Infinity) || a.approvedAt - b.approvedAt || (a.patch < b.patch ? -1 : 1),
    );
}

/** `ring two-rings/rest`, `site north`. */
export const collisionName = ({ kind, name }: SimCollision) => `${kind} ${name}`;

/** What a reader wants to know first. */
export function summary(sim: Simulation, meta: PlanMeta): { readonly title: string; readonly says: string } {
  const rows = shown(sim);
  const left = rows.reduce((sum, one) => sum + one.left, 0);
  const late = rows.reduce((sum, one) => sum + one.missedDeadline, 0);
  const last = Math.max(...rows.map((one) => one.last ?? Number.NEGATIVE_INFINITY));
  const title =
    sim.hosts === 0
      ? 'No host has reported yet'
      : rows.length === 0
        ? 'Nothing is left to install'
        : left === 0
          ? `Everything is in by ${momentText(utcSeconds(last))}`
          : `${several(left, 'installation')} of ${sim.installs + left} will not be made in this time`;
  const collisions = sim.collisions.length + sim.collisionsLeft;
  const parts = [
    `${several(rows.length, 'patch', 'patches')} on ${several(sim.hosts, 'host')} (${meta.fleet})`,
    late === 0 ? 'none after its deadline' : `${several(late, 'installation comes', 'installations come')} after the deadline`,
    collisions === 0 ? 'nothing collides' : several(collisions, 'collision'),
    ...(sim.neverInWindow > 0 ? [`${several(sim.neverInWindow, 'host has', 'hosts have')} no window to come`] : []),
    ...(meta.unknown > 0
      ? [
          `${several(meta.unknown, 'host has', 'hosts have')} never reported and ${meta.unknown === 1 ? 'is' : 'are'} not in this plan`,
        ]
      : []),
  ];
  return { title, says: `${parts.join(', ')}.` };
}

const short = (at: number | null) => (at === null ? '-' : utcSeconds(at).slice(0, 16).replace('T', ' '));

/** The plan for a terminal. All moments in UTC but where it says so. */
export function planText(
  sim: Simulation,
  meta: PlanMeta,
  table: (head: readonly string[], rows: ReadonlyArray<readonly string[]>) => string,
): string {
  const { title, says } = summary(sim, meta);
  const rows = shown(sim);
  const lines = [
    `${title}: ${says}`,
    `simulated from ${short(sim.from)} to ${short(sim.until)} UTC, ${Math.round((sim.until - sim.from) / DAY_MS)} days; gates are taken to pass as soon as their soak is over`,
    '',
  ];
  if (meta.starts.length > 0) {
    lines.push(
      table(
        ['HOST', 'PATCH', 'UTC', 'THERE', 'ZONE', 'DEADLINE'],
        meta.starts
          .slice(0, 500)
          .map(({ host, patch, start, zone, deadline }) => [
            visible(host),
            patch,
            start === null ? 'not in this time' : short(start),
            start === null ? '-' : wallTime(start, zone),
            zone,
            deadline === null ? '-' : `${short(deadline)}${(start ?? sim.until) > deadline ? ' LATE' : ''}`,
          ]),
      ),
      '',
    );
  }
  if (rows.length > 0)
    lines.push(
      table(
        ['PATCH', 'BASELINE', 'HOSTS', 'APPROVED', 'FIRST', 'HALF', 'NINE OF TEN', 'LAST', 'LEFT', 'DEADLINE', 'LATE'],
        rows
          .slice(0, TABLE_ROWS)
          .map((one) => [
            one.patch,
            one.list,
            String(one.hosts),
            short(one.approvedAt),
            short(one.first),
            short(one.half),
            short(one.ninety),
            short(one.last),
            String(one.left),
            short(one.deadline),
            String(one.missedDeadline),
          ]),
      ),
    );
  if (rows.length > TABLE_ROWS)
    lines.push(`… and ${rows.length - TABLE_ROWS} more patches; --json and --html have all of them`);
  if (sim.sites.length > 0)
    lines.push(
      '',
      table(
        ['SITE', 'ZONE', 'HOSTS', 'INSTALLS', 'MOST AT ONCE', 'AT (UTC)', 'AT (THERE)', 'LATE'],
        sim.sites
          .slice(0, TABLE_ROWS)
          .map(({ site, zone, hosts, installs, peak, missedDeadline }) => [
            visible(site),
            zone,
            String(hosts),
            String(installs),
            String(peak.hosts),
            peak.hosts === 0 ? '-' : short(peak.at),
            peak.hosts === 0 ? '-' : wallTime(peak.at, zone),
            String(missedDeadline),
          ]),
      ),
    );
  if (sim.sites.length > TABLE_ROWS) lines.push(`… and ${sim.sites.length - TABLE_ROWS} more sites`);
  if (sim.collisions.length > 0)
    lines.push(
      '',
      table(
        ['COLLISION', 'FROM (UTC)', 'UNTIL', 'HOSTS AT ONCE', 'ALLOWED'],
        sim.collisions
          .slice(0, TABLE_ROWS)
          .map((one) => [collisionName(one), short(one.from), short(one.until), String(one.hosts), String(one.limit)]),
      ),
    );
  const more = sim.collisions.length + sim.collisionsLeft - TABLE_ROWS;
  if (more > 0) lines.push(`… and ${more} more collisions`);
  const notes = [...meta.remarks, ...sim.notes];
  if (notes.length > 0) lines.push('', ...notes.slice(0, TABLE_ROWS));
  return lines.join('\n');
}
