// The site's status as one HTML page: nothing is loaded, nothing has to run, everything is escaped.
import {
  ageText,
  countText,
  fixed,
  html,
  type Markup,
  momentText,
  PAGE_STYLE,
  type Piece,
  several,
  textOf,
} from '#manifests/page';
import { formatBytes } from '#manifests/platform/progress';
import { cell, limited, when } from './cells.ts';
import { concernsOf, evidenceAge } from './concerns.ts';
import type { SiteFacts, SiteHost } from './facts.ts';
import { CONCERNS } from './limits.ts';
import { fusePart, gapPart, stagingPart } from './local.ts';
import { verifiedText } from './rot.ts';

/** Where the page is served. */
export const PAGE_PATHS = ['/site/', '/site'] as const;

const EXTRA = `
.concerns { margin: 1.5rem 0 0; padding: 0; list-style: none; max-width: 46rem; }
.concerns li { padding: .5rem 0 .5rem .875rem; border-left: 3px solid var(--old); margin-top: .5rem; overflow-wrap: anywhere; }
.concerns .bad { border-color: var(--bad); } .concerns span { display: block; color: var(--soft); font-size: .875rem; }
.stack td, .stack thead th + th { padding-left: .75rem; } .when { white-space: nowrap; }
@media (max-width: 44rem) { .stack td { padding-left: 0; } }
.stack td > span { text-align: right; } @media (min-width: 44.01rem) { .stack td > span { text-align: left; } }
.facts div { overflow-wrap: anywhere; } #site-halts { margin-top: 1.75rem; }
`;

/** One self-contained page. */
export function renderSite(facts: SiteFacts): string {
  const at = Date.parse(facts.at);
  const concerns = concernsOf(facts);
  const members = facts.hosts.filter(({ standing }) => standing === 'approved');
  const heard = members.filter((host) => host.lastResult !== null && !isSilent(host, at));
  const title = concerns.length === 0 ? 'All is well here' : `${several(concerns.length, 'thing')} to look at`;
  return textOf(html`<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'">
<meta name="color-scheme" content="light dark">
<meta name="referrer" content="no-referrer">
<title>${whose(facts)}: ${title}, ${momentText(facts.at)}</title>
<style>${fixed(PAGE_STYLE + EXTRA)}</style>
</head>
<body>
<header>
<p class="eyebrow">${whose(facts)} as of ${momentText(facts.at)}</p>
<h1>${title}</h1>
<p class="lead">${lead(facts)} ${several(heard.length, 'host')} of ${countText(members.length)} sent a result in the last ${CONCERNS.silentHours} hours.</p>
${concerns.length > 0 && html`<ul class="concerns">${concerns.map(({ level, says, next }) => html`<li class="${level}">${says}<span>${next}</span></li>`)}</ul>`}
${figures(facts, members, at)}
</header>
<main>
${hostTable(facts, at)}
${stopTable(facts)}
${fusePart(facts)}
${leaseTable(facts, at)}
${stagingPart(facts)}
${gapPart(facts)}
${lineTable(facts)}
${mirrorPart(facts)}
</main>
<footer>
<p>Seen by this relay alone: a host may have sent its results by another way, and results are sealed, so what they say is in the publisher’s report. “Confirmed” is what the publisher has signed that it has. What goes over the line is counted while the relay runs.</p>
<p>patchferry relay. This page loads nothing and sends nothing.</p>
</footer>
</body>
</html>
`);
}

/** Which relay this is, on a phone with the pages of several. */
const whose = ({ site, machine }: SiteFacts): string => `Relay ${machine}${site === null ? '' : ` of site ${site}`}`;

function lead({ generation, status }: SiteFacts): Markup {
  if (generation === null) return html`Nothing has been mirrored yet.`;
  return html`Generation ${generation.number} of ${when(generation.madeAt)} is served, last in step with its upstream at ${when(status.lastGoodSync)}.`;
}

const isSilent = (host: SiteHost, at: number): boolean => {
  const age = evidenceAge(host, at);
  return age !== null && age > CONCERNS.silentHours * 3_600;
};

function figure(label: string, value: Piece, zero = false): Markup {
  return html`<div${zero && html` class="zero"`}><dt>${label}</dt><dd>${value}</dd></div>`;
}

function figures(facts: SiteFacts, members: readonly SiteHost[], at: number): Markup {
  const { waiting } = facts;
  const ages = members.flatMap((host) => evidenceAge(host, at) ?? []).toSorted((a, b) => a - b);
  const halts = facts.stops.length + facts.siteHalts.filter(({ state }) => state === 'in-force').length;
  const never = members.filter(({ lastResult }) => lastResult === null).length;
  const today = facts.days.find(({ day }) => day === facts.at.slice(0, 10));
  const disk = facts.disks.toSorted((a, b) => a.freeBytes - b.freeBytes)[0];
  return html`<dl class="figures">
${figure('Hosts', countText(members.length))}
${figure('Never heard here', countText(never), never === 0)}
${figure('Median evidence age', ageText(ages[Math.floor((ages.length - 1) / 2)] ?? null))}
${figure('Oldest evidence', ageText(ages.at(-1) ?? null))}
${figure('Waiting to go on', countText(waiting.results + waiting.enrolments), waiting.results + waiting.enrolments === 0)}
${figure('Waiting since', facts.waitingSince === null ? '–' : ageText(ageOf(facts.waitingSince, at)), facts.waitingSince === null)}
${figure('Leases held', facts.leases === null ? 'unknown' : countText(facts.leases.length), facts.leases?.length === 0)}
${figure('Halts in force', countText(halts), halts === 0)}
${figure('Served today', formatBytes(today?.sentBytes ?? 0), (today?.sentBytes ?? 0) === 0)}
${figure('Fetched today', formatBytes(today?.fetchedBytes ?? 0), (today?.fetchedBytes ?? 0) === 0)}
${figure('Disk free', disk === undefined ? 'unknown' : formatBytes(disk.freeBytes))}
${figure('Metadata lasts', facts.freshness === null || facts.freshness.expires === '' ? '–' : ageText(ageOf(facts.at, Date.parse(facts.freshness.expires))))}
</dl>`;
}

const ageOf = (moment: string, at: number): number => Math.max(0, Math.floor((at - Date.parse(moment)) / 1_000));

function hostTable(facts: SiteFacts, at: number): Markup {
  if (facts.hosts.length === 0)
    return html`<h2 id="hosts">Hosts</h2><p>The roster has no hosts yet, and none has sent a result.</p>`;
  const weight = (host: SiteHost) => (host.waiting > 0 ? 0 : isSilent(host, at) ? 1 : host.lastResult === null ? 2 : 3);
  const { shown, says } = limited(
    facts.hosts.toSorted((a, b) => weight(a) - weight(b)),
    'host',
  );
  /** Hosts of one title are told apart by the beginning of their ids. */
  const namesakes = Map.groupBy(facts.hosts, ({ title }) => title);
  const row = (host: SiteHost) => {
    const age = evidenceAge(host, at);
    const mild = [
      (namesakes.get(host.title)?.length ?? 0) > 1 ? host.agent.slice(0, 8) : '',
      host.group,
      host.standing === 'approved' ? '' : host.standing === 'revoked' ? 'revoked' : 'not in the roster',
    ];
    return html`<tr>
<th scope="row">${host.title}<span class="mild">${mild.filter((part) => part !== '').join(', ')}</span></th>
${cell('Last result', host.lastResult === null ? 'never' : when(host.lastResult))}
${cell('Evidence age', isSilent(host, at) ? html`<span class="warn">${ageText(age)}</span>` : ageText(age), 'n')}
${cell('Last sequence', host.lastSequence ?? '–', 'n')}
${cell('Delivered', host.deliveredSequence ?? '–', 'n')}
${cell('Confirmed', host.ackedSequence ?? '–', 'n')}
${cell('Waiting', host.waiting === 0 ? '–' : html`${countText(host.waiting)} since ${when(host.waitingSince)}`)}
</tr>`;
  };
  return html`<h2 id="hosts">Hosts</h2>
<table class="stack">
<caption>Hosts by what this relay heard of them; those with something waiting first, then silent ones. Delivered: up to this number results went on from here.${says}</caption>
<thead><tr><th scope="col">Host</th><th scope="col">Last result</th><th scope="col" class="n">Evidence age</th><th scope="col" class="n">Last sequence</th><th scope="col" class="n">Delivered</th><th scope="col" class="n">Confirmed</th><th scope="col">Waiting</th></tr></thead>
<tbody>
${shown.map(row)}
</tbody>
</table>`;
}

function stopTable({ stops }: SiteFacts): Markup {
  if (stops.length === 0) return html`<h2 id="halts">Halts</h2><p>The publisher has signed no halt that is in force.</p>`;
  const row = (stop: SiteFacts['stops'][number]) => {
    const { name, signedAt, reason, patches } = stop.kind === 'halt' ? stop.halt : stop.recall;
    const what = stop.kind === 'halt' ? `stops ${stop.halt.stops.join(', ')}` : `recall: ${stop.recall.action}`;
    return html`<tr><th scope="row">${name}<span class="mild">signed by the publisher</span></th>
${cell('What', what)}${cell('Patches', patches.length === 0 ? 'all' : patches.slice(0, 12).join(', ') + (patches.length > 12 ? ` and ${patches.length - 12} more` : ''))}${cell('Since', when(signedAt))}${cell('Reason', reason)}</tr>`;
  };
  return html`<h2 id="halts">Halts</h2>
<table class="stack">
<caption>What the publisher has stopped or recalled.</caption>
<thead><tr><th scope="col">Name</th><th scope="col">What</th><th scope="col">Patches</th><th scope="col">Since</th><th scope="col">Reason</th></tr></thead>
<tbody>${stops.map(row)}</tbody>
</table>`;
}

function leaseTable({ leases }: SiteFacts, at: number): Markup {
  if (leases === null)
    return html`<h2 id="leases">Reboot leases</h2><p class="warn">The file of leases cannot be understood; new leases are given when all old ones have surely ended.</p>`;
  if (leases.length === 0) return html`<h2 id="leases">Reboot leases</h2><p>No host holds a lease to reboot.</p>`;
  const { shown, says } = limited(leases, 'lease');
  return html`<h2 id="leases">Reboot leases</h2>
<table class="stack">
<caption>Hosts that may reboot now.${says}</caption>
<thead><tr><th scope="col">Host</th><th scope="col">Group</th><th scope="col">Since</th><th scope="col" class="n">Ends in</th></tr></thead>
<tbody>${shown.map(({ title, group, since, until }) => html`<tr><th scope="row">${title}</th>${cell('Group', group)}${cell('Since', when(new Date(since).toISOString()))}${cell('Ends in', ageText(Math.max(0, Math.floor((until - at) / 1_000))), 'n')}</tr>`)}</tbody>
</table>`;
}

function lineTable({ days }: SiteFacts): Markup {
  if (days.length === 0) return html`<h2 id="line">Line</h2><p>Nothing was counted yet.</p>`;
  return html`<h2 id="line">Line</h2>
<table class="stack">
<caption>Bytes and items by day (UTC), newest first. Fetched: files from upstream. Sent, received: to and from whoever asks this relay.</caption>
<thead><tr><th scope="col">Day</th><th scope="col" class="n">Fetched</th><th scope="col" class="n">Sent</th><th scope="col" class="n">Received</th><th scope="col" class="n">Requests</th><th scope="col" class="n">Taken in</th><th scope="col" class="n">Passed on</th></tr></thead>
<tbody>${days
    .toReversed()
    .map(
      (day) =>
        html`<tr><th scope="row" class="nowrap">${day.day}</th>${cell('Fetched', formatBytes(day.fetchedBytes), 'n')}${cell('Sent', formatBytes(day.sentBytes), 'n')}${cell('Received', formatBytes(day.receivedBytes), 'n')}${cell('Requests', countText(day.requests), 'n')}${cell('Taken in', countText(day.taken), 'n')}${cell('Passed on', countText(day.passedOn), 'n')}</tr>`,
    )}</tbody>
</table>`;
}

function mirrorPart(facts: SiteFacts): Markup {
  const { generation, generations, status, disks } = facts;
  const fact = (label: string, value: Piece) => html`<div><dt>${label}</dt><dd>${value}</dd></div>`;
  return html`<h2 id="mirror">Mirror and disk</h2>
<dl class="facts">
${
  generation !== null && [
    fact('Products', generation.products.join(', ') || 'none'),
    fact(
      `Payloads, ${generation.selection}`,
      `${countText(generation.payloadCount)}, ${formatBytes(generation.payloadBytes)}${[
        [generation.absent, 'not at the upstream'] as const,
        [generation.waiting, 'wait for a free hour of the line'] as const,
        [generation.overQuota, 'beyond the quota'] as const,
      ]
        .flatMap(([count, says]) => (count > 0 ? [`; ${countText(count)} ${says}`] : []))
        .join('')}`,
    ),
    fact('From', generation.from),
    fact('Timestamp version', String(generation.timestamp)),
  ]
}
${fact('Generations on disk', generations.length === 0 ? 'none' : generations.join(', '))}
${fact('Last sync tried', momentText(status.lastSync))}
${fact('Looked at anew', verifiedText(facts.checked))}
${fact('Roster signed', momentText(facts.rosterSignedAt))}
${disks.map(({ name, folder, freeBytes, sizeBytes }) => fact(`Disk of ${name}`, html`${formatBytes(freeBytes)} free of ${formatBytes(sizeBytes)}<span class="mild">${folder}</span>`))}
${fact('Inbox', `${formatBytes(facts.waiting.bytes)} in ${several(facts.waiting.results, 'result')}, ${several(facts.waiting.enrolments, 'enrolment')}, ${countText(facts.waiting.refused)} refused`)}
</dl>
${status.failures.length > 0 && html`<h3>What went wrong in the last sync</h3><ul>${status.failures.map(({ origin, message, code }) => html`<li>${origin}: ${message} <code>${code}</code></li>`)}</ul>`}`;
}
