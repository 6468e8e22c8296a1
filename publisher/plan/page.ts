// The plan as one HTML page: a timeline of patches and one of sites, then the figures. Nothing is loaded and nothing has to run.
import type { SimPatch, SimSite, Simulation } from '#manifests/decide';
import { countText, fixed, html, type Markup, momentText, several, textOf } from '#manifests/page';
import { utcSeconds } from '#manifests/platform/clock';
import { collisionName, type PlanMeta, shown, summary, wallTime } from './report.ts';
import { STYLE } from './style.ts';

const DAY_MS = 86_400_000;
/** Rows of each part; of more, the number is told, and JSON has all. */
export const PLAN_PAGE_LIMITS = { lines: 60, rows: 1_000, collisions: 200, starts: 2_000, labels: 9 } as const;
/** Height of a track in its own units; its width is one a day. */
const HEIGHT = 24;
/** Bars of a site a day. */
const PARTS = 4;

export interface PlanPageOptions {
  /** Hosts of one site that may be at work at once. */
  readonly siteLimit: number | undefined;
}

/** One self-contained page. */
export function planPage(sim: Simulation, meta: PlanMeta, options: PlanPageOptions): string {
  const { title, says } = summary(sim, meta);
  const patches = shown(sim);
  const days = Math.round((sim.until - sim.from) / DAY_MS);
  const page = html`<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'">
<meta name="color-scheme" content="light dark">
<meta name="referrer" content="no-referrer">
<title>${title}: patch plan from ${day(sim.from)}</title>
<style>${fixed(STYLE)}</style>
</head>
<body>
<a class="skip" href="#figures">To the figures</a>
<header>
<p class="eyebrow">Patch plan, ${several(days, 'day')} from ${momentText(utcSeconds(sim.from))}</p>
<h1>${title}</h1>
<p class="lead">${says}</p>
${figures(sim, patches)}
</header>
<main>
${patchLines(sim, patches, days)}
${siteLines(sim, days, options.siteLimit)}
${startTable(sim, meta)}
${patchTable(patches)}
${siteTable(sim)}
${collisionTable(sim)}
${notes(sim, meta)}
</main>
<footer>
<p>Simulated by the functions that hosts decide with, from the policy as it would be signed now. It supposes that all goes well: gates of rings pass as soon as their soak is over, every host is on and reaches a relay. Moments are UTC where no zone stands beside them.</p>
<p>patchferry plan, version 1. This page loads nothing and sends nothing.</p>
</footer>
</body>
</html>
`;
  return textOf(page);
}

const day = (at: number) => utcSeconds(at).slice(0, 10);
const minute = (at: number | null) => (at === null ? '–' : utcSeconds(at).slice(0, 16).replace('T', ' '));
const SHORT = new Intl.DateTimeFormat('en-GB', { day: 'numeric', month: 'short', timeZone: 'UTC' });

function figures(sim: Simulation, patches: readonly SimPatch[]): Markup {
  const sum = (of: (one: SimPatch) => number) => patches.reduce((total, one) => total + of(one), 0);
  const busiest = sim.sites.toSorted((a, b) => b.peak.hosts - a.peak.hosts)[0];
  const rows: ReadonlyArray<readonly [string, number]> = [
    ['Hosts', sim.hosts],
    ['Patches', patches.length],
    ['Installations', sim.installs],
    ['Not in this time', sum(({ left }) => left)],
    ['After their deadline', sum(({ missedDeadline }) => missedDeadline)],
    ['Most at once at a site', busiest?.peak.hosts ?? 0],
    ['Collisions', sim.collisions.length + sim.collisionsLeft],
    ['Hosts without a window', sim.neverInWindow],
  ];
  const cell = ([label, value]: (typeof rows)[number]) =>
    html`<div${value === 0 ? fixed(' class="zero"') : null}><dt>${label}</dt><dd>${countText(value)}</dd></div>`;
  return html`<dl class="figures">${rows.map(cell)}</dl>`;
}

/** Days on which a line is drawn: Mondays, or the first of a month where Mondays would be too many. */
function marks(from: number, days: number): { readonly at: number; readonly label: string }[] {
  const mondays = days <= PLAN_PAGE_LIMITS.labels * 7;
  const found: { at: number; label: string }[] = [];
  const start = Math.ceil(from / DAY_MS) * DAY_MS;
  for (let at = start; at < from + days * DAY_MS; at += DAY_MS) {
    const date = new Date(at);
    if (mondays ? date.getUTCDay() === 1 : date.getUTCDate() === 1)
      found.push({ at: (at - from) / DAY_MS, label: SHORT.format(at) });
  }
  return found;
}

function axis(from: number, days: number): Markup {
  const labels = marks(from, days).filter(({ at }) => at < days * 0.94);
  return html`<div class="axis" aria-hidden="true"><div class="days">${labels.map(
    ({ at, label }) => html`<span style="left:${percent(at, days)}%">${label}</span>`,
  )}</div></div>`;
}

const percent = (part: number, whole: number) => ((part * 100) / whole).toFixed(2);

function track(sim: Simulation, days: number, says: string, drawn: readonly (Markup | false)[]): Markup {
  const lines = marks(sim.from, days).map(
    ({ at }) => html`<line class="grid" x1="${at.toFixed(3)}" x2="${at.toFixed(3)}" y1="0" y2="${HEIGHT}"/>`,
  );
  return html`<div class="plot"><svg class="track" viewBox="0 0 ${days} ${HEIGHT}" preserveAspectRatio="none" role="img" aria-label="${says}">${lines}${drawn}</svg></div>`;
}

function patchLines(sim: Simulation, patches: readonly SimPatch[], days: number): Markup {
  if (patches.length === 0)
    return html`<h2 id="patches">Patches</h2><p>No host lacks a patch that is approved or will be in this time.</p>`;
  const x = (at: number) => Math.min(days, Math.max(0, (at - sim.from) / DAY_MS));
  const line = (one: SimPatch, index: number) => {
    const due = one.deadline === null || one.deadline >= sim.until || one.deadline < sim.from ? null : x(one.deadline);
    const overdue = one.deadline !== null && one.deadline < sim.from;
    const first = one.first === null ? days : x(one.first);
    const words = [
      `${one.patch}: approved ${minute(one.approvedAt)}`,
      one.first === null ? 'installed nowhere in this time' : `first host ${minute(one.first)}`,
      one.ninety === null ? 'fewer than nine of ten hosts have it by the end' : `nine of ten by ${minute(one.ninety)}`,
      ...(one.missedDeadline > 0 ? [`${several(one.missedDeadline, 'host')} too late`] : []),
    ].join(', ');
    const end = one.left > 0 ? `${several(one.left, 'host')} left` : one.last === null ? '–' : SHORT.format(one.last);
    return html`<li>
<a href="#p${index}">${one.patch}<span class="mild">${several(one.hosts, 'host')}, ${one.list}</span></a>
${track(sim, days, words, [
  html`<line class="wait" x1="${x(one.approvedAt).toFixed(3)}" x2="${first.toFixed(3)}" y1="${HEIGHT - 2}" y2="${HEIGHT - 2}"/>`,
  ...areas(one, overdue ? 0 : due, days),
  due !== null && html`<line class="due" x1="${due.toFixed(3)}" x2="${due.toFixed(3)}" y1="0" y2="${HEIGHT}"/>`,
])}
<div class="end"${one.missedDeadline > 0 || one.left > 0 ? fixed(' ') : null}><span${one.missedDeadline > 0 ? fixed(' class="warn"') : null}>${end}</span>${one.missedDeadline > 0 ? html`<span class="mild warn">${several(one.missedDeadline, 'host')} late</span>` : html`<span class="mild">${one.left > 0 ? 'at the end' : 'last host'}</span>`}</div>
</li>`;
  };
  return html`<h2 id="patches">Patches</h2>
<p>How many of its hosts have each patch, as the days go by: the whole height is all of them.${more(patches.length, PLAN_PAGE_LIMITS.lines, 'patch', 'patches')}</p>
<ul class="legend"><li><span class="key wait"></span>approved, nobody yet</li><li><span class="key in"></span>installed</li><li><span class="key late"></span>after the deadline</li><li><span class="key due"></span>deadline</li></ul>
${axis(sim.from, days)}
<ol class="lines">${patches.slice(0, PLAN_PAGE_LIMITS.lines).map(line)}</ol>`;
}

/** The share that has it, as steps of a day; what comes after the deadline in its own colour; paler once all have it. */
function areas({ byDay, hosts }: SimPatch, lateFrom: number | null, days: number): Markup[] {
  const points: [number, number][] = [];
  let sum = 0;
  for (let index = 0; index < byDay.length; index += 1) {
    sum += byDay[index] ?? 0;
    points.push([index, sum / Math.max(1, hosts)]);
  }
  const done = points.findIndex(([, share]) => share >= 1) + 1;
  /** A layer between two shares: what is above `floor` and at most `ceiling`. */
  const layer = (from: number, until: number, floor: number, ceiling: number, kind: string): Markup[] => {
    const parts: string[] = [];
    for (const [index, share] of points) {
      const left = Math.max(index, from);
      const right = Math.min(index + 1, until);
      const top = Math.min(share, ceiling);
      if (right <= left || top <= floor) continue;
      const high = Math.max((top - floor) * HEIGHT, 0.8);
      const base = HEIGHT * (1 - floor);
      parts.push(`M${left.toFixed(3)} ${base.toFixed(2)}v-${high.toFixed(2)}H${right.toFixed(3)}V${base.toFixed(2)}Z`);
    }
    return parts.length === 0 ? [] : [html`<path class="${kind}" d="${parts.join('')}"/>`];
  };
  const inTime = lateFrom === null ? 1 : (points.findLast(([index]) => index < lateFrom)?.[1] ?? 0);
  const rest = done === 0 ? days : done;
  return [
    ...layer(0, rest, 0, inTime, 'in'),
    ...layer(rest, days, 0, inTime, 'in done'),
    ...(lateFrom === null ? [] : [...layer(lateFrom, rest, inTime, 1, 'late'), ...layer(rest, days, inTime, 1, 'late done')]),
  ];
}

function siteLines(sim: Simulation, days: number, limit: number | undefined): Markup | false {
  const sites = sim.sites.toSorted((a, b) => b.peak.hosts - a.peak.hosts || b.hosts - a.hosts);
  const most = Math.max(1, limit ?? 0, ...sites.map(({ peak }) => peak.hosts));
  if (sites.every(({ peak }) => peak.hosts === 0)) return false;
  const line = (one: SimSite) => {
    const words = `${one.site}: at most ${several(one.peak.hosts, 'host')} at once, ${minute(one.peak.at)} UTC, ${wallTime(one.peak.at, one.zone)} there`;
    return html`<li>
<a href="#s-${one.site.replaceAll(/[^a-z0-9.-]/g, '')}">${one.site}<span class="mild">${several(one.hosts, 'host')}, ${one.zone}</span></a>
${track(sim, days, words, bars(sim, one, most, days, limit))}
<div class="end">${several(one.peak.hosts, 'host')}<span class="mild">${one.peak.hosts === 0 ? '' : `${SHORT.format(one.peak.at)}, ${wallTime(one.peak.at, one.zone).slice(11)} there`}</span></div>
</li>`;
  };
  const over = limit === undefined ? '' : ` More than ${several(limit, 'host')} at once are a collision.`;
  return html`<h2 id="sites">Sites</h2>
<p>How many hosts of each site are at work at once, the most in each quarter of a day; the whole height is ${several(most, 'host')}.${over}${more(sites.length, PLAN_PAGE_LIMITS.lines, 'site')}</p>
<ul class="legend"><li><span class="key busy"></span>at work</li>${limit === undefined ? null : html`<li><span class="key over"></span>more than may be</li>`}</ul>
${axis(sim.from, days)}
<ol class="lines">${sites.slice(0, PLAN_PAGE_LIMITS.lines).map(line)}</ol>`;
}

function bars(sim: Simulation, { running }: SimSite, most: number, days: number, limit: number | undefined): Markup[] {
  const slots = DAY_MS / sim.slotMs / PARTS;
  const good: string[] = [];
  const bad: string[] = [];
  for (let part = 0; part < days * PARTS; part += 1) {
    let top = 0;
    for (let slot = part * slots; slot < (part + 1) * slots; slot += 1) top = Math.max(top, running[slot] ?? 0);
    if (top === 0) continue;
    const height = Math.max((top * HEIGHT) / most, 0.8);
    const shape = `M${(part / PARTS).toFixed(2)} ${HEIGHT}v-${height.toFixed(2)}h${(0.9 / PARTS).toFixed(3)}V${HEIGHT}Z`;
    (limit !== undefined && top > limit ? bad : good).push(shape);
  }
  return [
    ...(good.length > 0 ? [html`<path class="busy" d="${good.join('')}"/>`] : []),
    ...(bad.length > 0 ? [html`<path class="over" d="${bad.join('')}"/>`] : []),
  ];
}

function startTable(sim: Simulation, { starts }: PlanMeta): Markup | false {
  if (starts.length === 0) return false;
  const row = ({ host, zone, patch, start, deadline }: PlanMeta['starts'][number]) => {
    const late = deadline !== null && (start ?? sim.until) > deadline;
    return html`<tr><th scope="row">${host}</th><td data-label="Patch"><span class="version">${patch}</span></td><td data-label="UTC" class="nowrap">${start === null ? 'not in this time' : minute(start)}</td><td data-label="There"><span>${start === null ? '–' : `${wallTime(start, zone)} ${zone}`}</span></td><td data-label="Deadline" class="nowrap${late ? ' warn' : ''}">${minute(deadline)}</td></tr>`;
  };
  return html`<h2 id="hosts">Hosts asked about</h2>
<table class="stack"><thead><tr><th scope="col">Host</th><th scope="col">Patch</th><th scope="col">Starts, UTC</th><th scope="col">There</th><th scope="col">Deadline</th></tr></thead>
<tbody>${starts.slice(0, PLAN_PAGE_LIMITS.starts).map(row)}</tbody></table>`;
}

function patchTable(patches: readonly SimPatch[]): Markup | false {
  if (patches.length === 0) return false;
  const row = (one: SimPatch, index: number) => html`<tr id="p${index}">
<th scope="row"><span class="version">${one.patch}</span><span class="mild">${one.list}</span></th>
<td class="n" data-label="Hosts">${countText(one.hosts)}</td><td class="nowrap" data-label="Approved">${minute(one.approvedAt)}</td><td class="nowrap" data-label="First host">${minute(one.first)}</td><td class="nowrap" data-label="Half">${minute(one.half)}</td><td class="nowrap" data-label="Nine of ten">${minute(one.ninety)}</td><td class="nowrap" data-label="Last host">${minute(one.last)}</td>
<td class="n${one.left > 0 ? ' warn' : ' quiet'}" data-label="Left">${countText(one.left)}</td><td class="nowrap" data-label="Deadline">${minute(one.deadline)}</td><td class="n${one.missedDeadline > 0 ? ' warn' : ' quiet'}" data-label="Late">${countText(one.missedDeadline)}</td>
</tr>`;
  return html`<h2 id="figures">Patches in figures</h2>
<table class="stack">
<caption>All moments in UTC.${more(patches.length, PLAN_PAGE_LIMITS.rows, 'patch', 'patches')}</caption>
<thead><tr><th scope="col">Patch</th><th scope="col" class="n">Hosts</th><th scope="col">Approved</th><th scope="col">First host</th><th scope="col">Half</th><th scope="col">Nine of ten</th><th scope="col">Last host</th><th scope="col" class="n">Left</th><th scope="col">Deadline</th><th scope="col" class="n">Late</th></tr></thead>
<tbody>${patches.slice(0, PLAN_PAGE_LIMITS.rows).map(row)}</tbody>
</table>`;
}

function siteTable(sim: Simulation): Markup | false {
  if (sim.sites.length === 0) return false;
  const row = (one: SimSite) => html`<tr id="s-${one.site.replaceAll(/[^a-z0-9.-]/g, '')}">
<th scope="row">${one.site}<span class="mild">${one.zone}</span></th><td class="n" data-label="Hosts">${countText(one.hosts)}</td><td class="n" data-label="Installations">${countText(one.installs)}</td><td class="n" data-label="Most at once">${countText(one.peak.hosts)}</td><td class="nowrap" data-label="UTC">${one.peak.hosts === 0 ? '–' : minute(one.peak.at)}</td><td class="nowrap" data-label="There">${one.peak.hosts === 0 ? '–' : wallTime(one.peak.at, one.zone)}</td><td class="n${one.missedDeadline > 0 ? ' warn' : ' quiet'}" data-label="Late">${countText(one.missedDeadline)}</td>
</tr>`;
  return html`<h2>Sites in figures</h2>
<table class="stack">
<caption>The zone of a site is that of the first host seen there.${more(sim.sites.length, PLAN_PAGE_LIMITS.rows, 'site')}</caption>
<thead><tr><th scope="col">Site</th><th scope="col" class="n">Hosts</th><th scope="col" class="n">Installations</th><th scope="col" class="n">Most at once</th><th scope="col">When, UTC</th><th scope="col">There</th><th scope="col" class="n">Late</th></tr></thead>
<tbody>${sim.sites.slice(0, PLAN_PAGE_LIMITS.rows).map(row)}</tbody>
</table>`;
}

function collisionTable(sim: Simulation): Markup | false {
  const all = sim.collisions.length + sim.collisionsLeft;
  if (all === 0) return false;
  const row = (one: Simulation['collisions'][number]) =>
    html`<tr><th scope="row">${collisionName(one)}</th><td class="nowrap" data-label="From">${minute(one.from)}</td><td class="nowrap" data-label="Until">${minute(one.until)}</td><td class="n warn" data-label="At once">${countText(one.hosts)}</td><td class="n" data-label="Allowed">${countText(one.limit)}</td></tr>`;
  return html`<h2 id="collisions">Collisions</h2>
<table class="stack">
<caption>More hosts of one ring or site at work than may be. A ring's number is a hint that spreads starts; a window too short for it shows here.${more(all, PLAN_PAGE_LIMITS.collisions, 'collision')}</caption>
<thead><tr><th scope="col">Where</th><th scope="col">From, UTC</th><th scope="col">Until</th><th scope="col" class="n">At once</th><th scope="col" class="n">Allowed</th></tr></thead>
<tbody>${sim.collisions.slice(0, PLAN_PAGE_LIMITS.collisions).map(row)}</tbody>
</table>`;
}

function notes(sim: Simulation, meta: PlanMeta): Markup | false {
  const all = [...meta.remarks, ...sim.notes];
  if (all.length === 0) return false;
  return html`<h2 id="remarks">Remarks</h2><ul>${all.slice(0, PLAN_PAGE_LIMITS.collisions).map((note) => html`<li>${note}</li>`)}</ul>`;
}

function more(all: number, limit: number, one: string, many?: string): string {
  return all <= limit ? '' : ` The first ${countText(limit)} of ${several(all, one, many)}; JSON holds all.`;
}
