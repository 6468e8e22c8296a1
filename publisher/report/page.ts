// The report as one HTML page: nothing is loaded, nothing has to run, everything is escaped. Figures on top, then hosts,
// patches, CVEs; each host's own part is in host.ts.
import { ageText, countText, fixed, html, type Markup, momentText, type Piece, several, textOf } from '#manifests/page';
import type { PatchState } from '#manifests/schema';
import type { HostDetail } from '../results/index.ts';
import { hostSection } from './host.ts';
import { type ComplianceReport, type HostRow, type PatchRow, VERDICTS, type Verdict } from './schema.ts';
import { STYLE } from './style.ts';
import { HALT_WORDS, rangesText, relayText, VERDICT_WORDS } from './text.ts';

/** Rows of one table of the page; what is beyond is counted there, and whole in JSON and CSV. */
export const PAGE_LIMITS = { hosts: 2_000, patches: 1_000, cves: 1_000, records: 500, namesInCell: 12 } as const;

const ATTENTION: readonly Verdict[] = ['disputed', 'non-compliant', 'stale', 'never-reported', 'compliant'];

/** One self-contained page; `details` adds the before and after of those hosts. */
export function renderHtml(report: ComplianceReport, details: readonly HostDetail[] = []): string {
  const { fleet } = report;
  const detailed = new Set(details.map(({ agent }) => agent));
  const rows = new Map(report.hosts.map((host) => [host.agent, host]));
  const share =
    fleet.compliantPercent === null ? 'There are no approved hosts yet.' : `That is ${fleet.compliantPercent.toFixed(1)} %.`;
  const page = html`<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'">
<meta name="color-scheme" content="light dark">
<meta name="referrer" content="no-referrer">
<title>${countText(fleet.compliant)} of ${several(fleet.denominator, 'host')} compliant, ${momentText(report.at)}</title>
<style>${fixed(STYLE)}</style>
</head>
<body>
<header>
<p class="eyebrow">Fleet compliance as of ${momentText(report.at)}</p>
<h1>${countText(fleet.compliant)} of ${several(fleet.denominator, 'host')} ${fleet.compliant === 1 ? 'is' : 'are'} compliant</h1>
<p class="lead">${share} Counted are the approved hosts of the roster; a host whose newest scan is older than ${hoursText(report.staleAfterHours)} is stale and never counts as compliant.</p>
${fleet.denominator > 0 && complianceBar(report)}
${figures(report)}
</header>
<main>
${hostTable(report, detailed)}
${patchTable(report)}
${cveTable(report)}
${relayPart(report)}
${details.flatMap((detail) => {
  const row = rows.get(detail.agent);
  return row === undefined ? [] : [hostSection(row, detail)];
})}
</main>
<footer>
<p>Compliant: every patch the host reported is in a state its policy calls compliant, the scan is younger than ${hoursText(report.staleAfterHours)}, and one machine alone answers under the host’s identity. Ages count from the time of the host’s newest scan, or from the arrival of its result when that was earlier.</p>
<p>patchferry compliance report, version ${report.schemaVersion}. This page loads nothing and sends nothing.</p>
</footer>
</body>
</html>
`;
  return textOf(page);
}

function hoursText(hours: number): string {
  return hours % 24 === 0 ? several(hours / 24, 'day') : several(hours, 'hour');
}

function shares(report: ComplianceReport): ReadonlyArray<readonly [Verdict, number]> {
  const { fleet } = report;
  const counts = {
    compliant: fleet.compliant,
    'non-compliant': fleet.nonCompliant,
    stale: fleet.stale,
    'never-reported': fleet.neverReported,
    disputed: fleet.disputed,
  };
  return VERDICTS.map((verdict) => [verdict, counts[verdict]] as const);
}

/** Widths in thousandths of the fleet; a share that is there is never too thin to see. */
function complianceBar(report: ComplianceReport): Markup {
  const parts = shares(report).filter(([, count]) => count > 0);
  const gaps = (parts.length - 1) * BAR.gap;
  const free = BAR.width - gaps - parts.length * BAR.least;
  let x = 0;
  const rects = parts.map(([verdict, count]) => {
    const width = BAR.least + (free * count) / report.fleet.denominator;
    const rect = html`<rect class="${verdict}" x="${x.toFixed(2)}" width="${width.toFixed(2)}" height="20"/>`;
    x += width + BAR.gap;
    return rect;
  });
  const words = parts.map(([verdict, count]) => `${count} ${VERDICT_WORDS[verdict]}`).join(', ');
  return html`<svg class="bar" viewBox="0 0 ${BAR.width} 20" preserveAspectRatio="none" role="img" aria-label="${words}">${rects}</svg>
<ul class="legend">${shares(report).map(([verdict, count]) => html`<li class="${verdict}${count === 0 ? ' zero' : ''}"><span class="dot"></span><b>${countText(count)}</b> ${VERDICT_WORDS[verdict]}</li>`)}</ul>`;
}

const BAR = { width: 1_000, gap: 3, least: 4 } as const;

/** Figures without which the share means little. All are always shown, zeros too: what is kept back must not vanish. */
function figures({ fleet, relays }: ComplianceReport): Markup {
  const rows: ReadonlyArray<readonly [string, number | string]> = [
    ['Median age of evidence', ageText(fleet.medianEvidenceAgeSeconds)],
    ['Oldest evidence', fleet.oldestEvidenceAt === null ? '–' : momentText(fleet.oldestEvidenceAt).slice(0, 10)],
    ['Need a reboot', fleet.rebootNeeded],
    ['Patches wait for approval', fleet.kept.pendingApproval],
    ['Hold patches back', fleet.kept.held],
    ['Excepted by a waiver', fleet.kept.excepted],
    ['Security patch not approved', fleet.kept.notApproved],
    ['Rejected patch installed', fleet.kept.rejectedInstalled],
    ['Recalled patch installed', fleet.kept.recalledInstalled],
    ['Decide by expired policy', fleet.policyExpired],
    ['Results missing', fleet.withGaps],
    ['Put back to an older image', fleet.reverted],
    ['Revoked, not counted', fleet.revoked],
    ...(relays === null
      ? []
      : ([
          ['Halts of sites in force', relays.haltsInForce],
          ['Dropped results missing', relays.droppedMissing],
        ] as const)),
  ];
  const cell = ([label, value]: (typeof rows)[number]) =>
    html`<div${value === 0 ? fixed(' class="zero"') : null}><dt>${label}</dt><dd>${typeof value === 'number' ? countText(value) : value}</dd></div>`;
  return html`<dl class="figures">${rows.map(cell)}</dl>`;
}

function number(label: string, value: number | null, warn = false): Markup {
  const tone = value === null || value === 0 ? ' quiet' : warn ? ' warn' : '';
  return html`<td class="n${tone}" data-label="${label}">${value === null ? '–' : countText(value)}</td>`;
}

function hostTable(report: ComplianceReport, detailed: ReadonlySet<string>): Markup {
  const hosts = report.hosts.toSorted((a, b) => ATTENTION.indexOf(a.verdict) - ATTENTION.indexOf(b.verdict));
  const row = (host: HostRow) => {
    const { counts } = host;
    const fresh = host.compliant !== 'unknown';
    const title = detailed.has(host.agent) ? html`<a href="#host-${host.agent}">${host.title}</a>` : html`${host.title}`;
    const notes = [
      host.results.gaps.length > 0 && 'results missing',
      host.results.forks.some(({ kind }) => kind === 'clone') && 'two machines, one identity',
      host.results.forks.some(({ kind }) => kind === 'reverted') && 'put back to an older image',
      host.policyExpired === 'hard' && 'policy expired',
    ].filter((note) => note !== false);
    return html`<tr>
<th scope="row">${title}<span class="mild">${[host.group, ...notes].join(', ')}</span></th>
<td class="nowrap ${host.verdict}" data-label="Verdict"><span><span class="dot"></span>${VERDICT_WORDS[host.verdict]}</span></td>
${number('Missing', counts?.MISSING ?? null, fresh)}
${number('Failed', counts === null ? null : counts.FAILED + counts.ROLLED_BACK, fresh)}
${number('Reboot', counts?.INSTALLED_PENDING_REBOOT ?? null, fresh)}
${number('Waiting', counts?.PENDING_APPROVAL ?? null)}
${number('Held', counts?.HELD ?? null)}
${number('Excepted', counts?.EXCEPTED ?? null)}
${number('Installed', counts === null ? null : counts.INSTALLED + counts.INSTALLED_OTHER + counts.INSTALLED_REJECTED)}
<td class="n" data-label="Evidence age">${ageText(host.evidenceAgeSeconds)}</td>
<td class="nowrap" data-label="Running kernel"><span class="version">${host.kernels?.running ?? '–'}</span></td>
<td data-label="Last run">${host.lastRun === null ? '–' : html`<span>${host.lastRun.outcome}<span class="mild nowrap">${host.lastRun.finished.slice(0, 10)}</span></span>`}</td>
</tr>`;
  };
  const outside = report.outside.slice(0, PAGE_LIMITS.hosts).map(({ agent, title, why, lastHeardAt }) => {
    const says = why === 'revoked' ? 'revoked' : 'not in the roster';
    return html`<tr><th scope="row">${title ?? agent}<span class="mild">not counted</span></th><td class="quiet" data-label="Verdict">${says}</td><td class="none" colspan="9"></td><td data-label="Last heard">${momentText(lastHeardAt)}</td></tr>`;
  });
  return html`<h2 id="hosts">Hosts</h2>
<table class="stack">
<caption>Patches by state, host by host; hosts that need attention first.${more(hosts.length, PAGE_LIMITS.hosts, 'host')}</caption>
<thead><tr><th scope="col">Host</th><th scope="col">Verdict</th><th scope="col" class="n">Missing</th><th scope="col" class="n">Failed</th><th scope="col" class="n">Reboot</th><th scope="col" class="n">Waiting</th><th scope="col" class="n">Held</th><th scope="col" class="n">Excepted</th><th scope="col" class="n">Installed</th><th scope="col" class="n">Evidence age</th><th scope="col">Running kernel</th><th scope="col">Last run</th></tr></thead>
<tbody>
${hosts.slice(0, PAGE_LIMITS.hosts).map(row)}
${outside}
</tbody>
</table>`;
}

const isOpen = ({ hosts, lastKnownOpen }: PatchRow): boolean => Object.keys(hosts).length > 0 || lastKnownOpen.length > 0;

/** Names of hosts, the first few with the rest counted. */
function names(report: ComplianceReport, agents: readonly string[]): Piece {
  const titles = new Map(report.hosts.map(({ agent, title }) => [agent, title]));
  const shown = agents.slice(0, PAGE_LIMITS.namesInCell).map((agent) => titles.get(agent) ?? agent);
  const rest = agents.length - shown.length;
  return `${shown.join(', ')}${rest > 0 ? ` and ${several(rest, 'more host')}` : ''}`;
}

function patchTable(report: ComplianceReport): Markup | false {
  const open = report.patches.filter(isOpen);
  if (open.length === 0) return html`<h2 id="patches">Patches</h2><p>No patch is open on any host that has reported.</p>`;
  const weight = (row: PatchRow) => row.counts.FAILED + row.counts.ROLLED_BACK + row.counts.MISSING;
  const rows = open.toSorted((a, b) => weight(b) - weight(a));
  const row = (patch: PatchRow) => {
    const states = Object.keys(patch.hosts) as PatchState[];
    const agents = [...new Set(states.flatMap((state) => patch.hosts[state] ?? []))].toSorted();
    const { counts } = patch;
    return html`<tr>
<th scope="row"><span class="version">${patch.patch}</span><span class="mild">${[patch.product, patch.severity ?? ''].filter((part) => part !== '').join(', ')}</span></th>
${number('Missing', counts.MISSING, true)}${number('Failed', counts.FAILED + counts.ROLLED_BACK, true)}${number('Reboot', counts.INSTALLED_PENDING_REBOOT, true)}${number('Waiting', counts.PENDING_APPROVAL)}${number('Held', counts.HELD)}${number('Excepted', counts.EXCEPTED)}${number('Not approved', counts.AVAILABLE_SECURITY_UPDATE)}${number('Rejected', counts.INSTALLED_REJECTED)}${number('Last known open', patch.lastKnownOpen.length)}
<td data-label="On"><span>${agents.length > 0 ? names(report, agents) : '–'}</span></td>
</tr>`;
  };
  return html`<h2 id="patches">Patches</h2>
<table class="stack">
<caption>Hosts for each patch that asks for attention anywhere. “Last known open” are silent hosts, which are not in the other columns.${more(rows.length, PAGE_LIMITS.patches, 'patch', 'patches')}</caption>
<thead><tr><th scope="col">Patch</th><th scope="col" class="n">Missing</th><th scope="col" class="n">Failed</th><th scope="col" class="n">Reboot</th><th scope="col" class="n">Waiting</th><th scope="col" class="n">Held</th><th scope="col" class="n">Excepted</th><th scope="col" class="n">Not approved</th><th scope="col" class="n">Rejected</th><th scope="col" class="n">Last known open</th><th scope="col">On</th></tr></thead>
<tbody>${rows.slice(0, PAGE_LIMITS.patches).map(row)}</tbody>
</table>`;
}

function cveTable(report: ComplianceReport): Markup | false {
  if (report.cves === null)
    return html`<h2 id="cves">CVEs</h2><p>No catalog was given, so patches could not be traced to CVEs.</p>`;
  if (report.cves.length === 0)
    return html`<h2 id="cves">CVEs</h2><p>No CVE that a known patch fixes is open on any host that has reported.</p>`;
  const rows = report.cves.toSorted((a, b) => b.hosts.length - a.hosts.length);
  return html`<h2 id="cves">CVEs</h2>
<table class="stack">
<caption>CVEs whose fix is known and not at work, by the number of hosts.${more(rows.length, PAGE_LIMITS.cves, 'CVE')}</caption>
<thead><tr><th scope="col">CVE</th><th scope="col">Fixed by</th><th scope="col" class="n">Hosts</th><th scope="col" class="n">Last known open</th><th scope="col">On</th></tr></thead>
<tbody>${rows
    .slice(0, PAGE_LIMITS.cves)
    .map(
      ({ cve, patches, hosts, lastKnownOpen }) =>
        html`<tr><th scope="row" class="nowrap">${cve}</th><td data-label="Fixed by"><span class="version">${patches.join(', ')}</span></td>${number('Hosts', hosts.length, true)}${number('Last known open', lastKnownOpen.length)}<td data-label="On"><span>${hosts.length > 0 ? names(report, hosts) : '–'}</span></td></tr>`,
    )}</tbody>
</table>`;
}

/** Where a site stopped itself, and what was lost of the detail on the way here. */
function relayPart({ relays }: ComplianceReport): Markup | false {
  if (relays === null) return false;
  return html`<h2 id="site-halts">Halts of sites</h2>
${relays.halts.length === 0 ? html`<p>No relay has ever halted its site.</p>` : haltTable(relays.halts)}
<h2 id="dropped">Dropped on the way</h2>
${
  relays.dropped.length === 0
    ? html`<p>No relay has ever dropped a result.</p>`
    : html`<p>${several(relays.droppedResults, 'result')} dropped by relays for want of room, the oldest detail first. ${relays.droppedMissing === 0 ? 'All of them have come again.' : `${countText(relays.droppedMissing)} of them have not come again yet: their hosts keep them until they are acknowledged.`} What a host reports as its state is never dropped.</p>
${dropTable(relays.dropped)}`
}`;
}

type Relays = NonNullable<ComplianceReport['relays']>;

function haltTable(halts: Relays['halts']): Markup {
  const row = (halt: Relays['halts'][number]) =>
    html`<tr><th scope="row">${halt.site}<span class="mild">${halt.name}, ${halt.by === 'fuse' ? 'by the fuse' : 'by hand'}</span></th>
<td data-label="State"><span class="${halt.state === 'in-force' ? 'warn' : 'quiet'}">${HALT_WORDS[halt.state]}</span></td>
<td data-label="Stops">${halt.stops.join(', ')}</td><td data-label="Groups">${halt.groups.join(', ') || 'all'}</td>
<td class="nowrap" data-label="Since">${momentText(halt.signedAt)}</td><td class="nowrap" data-label="Until">${halt.until === null ? 'lifted' : momentText(halt.until)}</td>
<td data-label="Reason"><span>${halt.reason}<span class="mild">${halt.says}</span></span></td></tr>`;
  return html`<table class="stack">
<caption>Signed by relays of sites, not by the publisher: they can stop hosts of their site, and nothing else.${more(halts.length, PAGE_LIMITS.records, 'halt')}</caption>
<thead><tr><th scope="col">Site</th><th scope="col">State</th><th scope="col">Stops</th><th scope="col">Groups</th><th scope="col">Since</th><th scope="col">Until</th><th scope="col">Reason</th></tr></thead>
<tbody>${halts.slice(0, PAGE_LIMITS.records).map(row)}</tbody>
</table>`;
}

function dropTable(dropped: Relays['dropped']): Markup {
  const row = (drop: Relays['dropped'][number]) =>
    html`<tr><th scope="row">${drop.title ?? drop.agent}<span class="mild">${relayText(drop.site, drop.delegated)}</span></th>
<td data-label="Numbers"><span>${rangesText(drop.ranges)}</span></td>${number('Results', drop.results)}${number('Still missing', drop.missing, true)}
<td data-label="Why">${drop.why === 'disk' ? 'the disk was full' : 'the quota was reached'}</td><td class="nowrap" data-label="When">${momentText(drop.signedAt)}</td></tr>`;
  return html`<table class="stack">
<caption>By the relays’ own signed records.${more(dropped.length, PAGE_LIMITS.records, 'record')}</caption>
<thead><tr><th scope="col">Host</th><th scope="col">Numbers</th><th scope="col" class="n">Results</th><th scope="col" class="n">Still missing</th><th scope="col">Why</th><th scope="col">When</th></tr></thead>
<tbody>${dropped.slice(0, PAGE_LIMITS.records).map(row)}</tbody>
</table>`;
}

function more(all: number, limit: number, one: string, many?: string): string {
  return all <= limit ? '' : ` The first ${countText(limit)} of ${several(all, one, many)}; JSON and CSV hold all.`;
}
