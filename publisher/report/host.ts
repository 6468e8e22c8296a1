// One host's part of the HTML page: what it is, the before and after of its last run, what still needs attention.

import { ageText, html, type Markup, momentText, several } from '#manifests/page';
import type { PackageChange, RunBody, ScanBody } from '#manifests/schema';
import { type HostDetail, QUIET_STATES } from '../results/index.ts';
import type { HostRow } from './schema.ts';
import { VERDICT_WORDS } from './text.ts';

/** Rows of one table in a host's part; what is beyond is counted there, and whole in the store. */
export const HOST_LIMITS = { changes: 2_000, findings: 500, states: 200 } as const;

const OUTCOMES: Readonly<Record<RunBody['outcome'], string>> = {
  committed: 'Committed',
  'rolled-back': 'Rolled back: the host is as before',
  'rollback-failed': 'The way back failed: hands are needed',
  refused: 'Refused before anything was changed',
  failed: 'Failed',
};

/** The section of one host. */
export function hostSection(host: HostRow, { run, scan }: HostDetail): Markup {
  return html`<section class="host" id="host-${host.agent}">
<h2>${host.title}</h2>
<p class="${host.verdict}"><span class="dot"></span>${VERDICT_WORDS[host.verdict]}${host.nonCompliant !== null && host.nonCompliant > 0 ? `: ${several(host.nonCompliant, 'patch', 'patches')} not as policy wants` : ''}</p>
<dl class="facts">
${fact('Host name', host.hostname ?? '–')}${fact('Product', host.product ?? '–')}${fact('Group', host.group)}
${fact('Evidence', `${momentText(host.evidenceAt)}, ${ageText(host.evidenceAgeSeconds)} old`)}
${fact('Next', host.next === null ? '–' : `${host.next.says}${host.next.at === null ? '' : ` (${momentText(host.next.at)})`}`)}
${fact('Results', chainText(host))}
<div><dt>Agent</dt><dd><code>${host.agent}</code></dd></div>
</dl>
${chainWarnings(host)}
${host.alert !== null && html`<p><strong>Alert</strong>, ${momentText(host.alert.at)}: ${host.alert.message} <code>${host.alert.code}</code></p>`}
${run === null ? html`<h3>Last run</h3><p>This host has not run an installation yet.</p>` : runPart(run.result.body, run.sequence, run.hash)}
${scan !== null && openPart(scan.result.body)}
</section>`;
}

function fact(label: string, value: string): Markup {
  return html`<div><dt>${label}</dt><dd>${value}</dd></div>`;
}

function chainText({ results }: HostRow): string {
  if (results.highest === null) return 'none received';
  if (results.acked === results.highest) return `whole up to no. ${results.highest}`;
  return results.acked === null
    ? `none acked, highest no. ${results.highest}`
    : `acked to no. ${results.acked}, highest no. ${results.highest}`;
}

function chainWarnings({ results }: HostRow): readonly Markup[] {
  const gaps = results.gaps.map(({ from, to }) => (from === to ? `no. ${from}` : `no. ${from} to ${to}`)).join(', ');
  return [
    ...(gaps === '' ? [] : [html`<p class="warn">Results have not arrived: ${gaps}. The host keeps them until they have.</p>`]),
    ...results.forks.map(({ kind, sequence }) =>
      kind === 'clone'
        ? html`<p class="warn">From result no. ${sequence} on, two machines answer under this identity. Enrol one of them anew.</p>`
        : html`<p>At result no. ${sequence} this machine went on from an older state: it was put back to an earlier image, or a copy of it has spoken once.</p>`,
    ),
  ];
}

function runPart(run: RunBody, sequence: number, hash: string): Markup {
  const seconds = Math.max(0, Math.round((Date.parse(run.finished) - Date.parse(run.started)) / 1000));
  const interrupted = run.resumed === 0 ? '' : ` It was interrupted and taken up again ${several(run.resumed, 'time')}.`;
  const reboot = run.rebootNeeded.needed ? `Needed: ${run.rebootNeeded.evidence.join('; ')}` : 'Not needed';
  return html`<h3>Last run: before and after</h3>
<p class="${run.outcome === 'committed' ? 'ok' : 'warn'}">${OUTCOMES[run.outcome]}, ${momentText(run.finished)}, after ${ageText(seconds)}.${interrupted}</p>
${run.error !== null && html`<pre>${run.error.message}\n${run.error.code}${run.error.where === null ? '' : ` at ${run.error.where}`}</pre>`}
<table class="stack">
<caption>Kernel and packages</caption>
<thead><tr><th scope="col"></th><th scope="col">Before</th><th scope="col">After</th></tr></thead>
<tbody>
${pair('Running kernel', run.kernelsBefore.running, run.kernelsAfter.running)}
${pair('Installed kernels', run.kernelsBefore.installed.join(', '), run.kernelsAfter.installed.join(', '))}
${pair('Digest of all packages', run.packagesBeforeSha256.slice(0, 16), run.packagesAfterSha256.slice(0, 16))}
</tbody>
</table>
<dl class="facts">
${fact('Reboot', reboot)}
${fact('Way back', run.wayBack === null ? 'none was taken' : `${run.wayBack.kind}: ${run.wayBack.says}`)}
<div><dt>Result</dt><dd>no. ${sequence}, <code>${hash.slice(0, 16)}</code></dd></div>
</dl>
${changeTable(run.changes, run.outcome)}
${healthList(run)}
<h3>Course of the run</h3>
<ol class="time">${run.states
    .slice(0, HOST_LIMITS.states)
    .map(
      ({ state, at, says }) =>
        html`<li><time datetime="${at}" title="${at}">${at.slice(11, 19)}</time><span>${state}</span><span class="quiet">${says}</span></li>`,
    )}</ol>
${run.states.length > HOST_LIMITS.states && html`<p class="quiet">The first ${HOST_LIMITS.states} of ${run.states.length} states.</p>`}`;
}

function pair(label: string, before: string, after: string): Markup {
  const same = before === after;
  return html`<tr><th scope="row">${label}</th><td data-label="Before"><span class="version">${before === '' ? '–' : before}</span></td><td data-label="After"><span class="version">${same ? html`<span class="quiet">${after === '' ? '–' : after} (same)</span>` : after}</span></td></tr>`;
}

function changeTable(changes: readonly PackageChange[], outcome: RunBody['outcome']): Markup {
  if (changes.length === 0) return html`<p>No package changed.</p>`;
  const undone = outcome === 'rolled-back' ? ' that were installed and taken back' : '';
  const rest = changes.length > HOST_LIMITS.changes ? `; the first ${HOST_LIMITS.changes} are shown` : '';
  const rows = changes.toSorted((a, b) => (a.name === b.name ? (a.arch < b.arch ? -1 : 1) : a.name < b.name ? -1 : 1));
  return html`<table class="stack">
<caption>${several(changes.length, 'package')}${undone}${rest}</caption>
<thead><tr><th scope="col">Package</th><th scope="col">Architecture</th><th scope="col">From</th><th scope="col">To</th></tr></thead>
<tbody>${rows
    .slice(0, HOST_LIMITS.changes)
    .map(
      ({ name, arch, from, to }) =>
        html`<tr><th scope="row">${name}</th><td data-label="Architecture" class="quiet">${arch}</td><td data-label="From"><span class="version">${from ?? html`<span class="quiet">not installed</span>`}</span></td><td data-label="To"><span class="version">${to ?? html`<span class="quiet">removed</span>`}</span></td></tr>`,
    )}</tbody>
</table>`;
}

function healthList({ health }: RunBody): Markup {
  if (health.length === 0) return html`<h3>Health</h3><p class="quiet">Policy names no health check for this group.</p>`;
  const row = ({ name, healthy, says }: RunBody['health'][number]) =>
    html`<tr><th scope="row">${name}</th><td data-label="Verdict" class="nowrap ${healthy ? 'compliant' : 'non-compliant'}"><span><span class="dot"></span>${healthy ? 'healthy' : 'not healthy'}</span></td><td data-label="Says"><span>${says}</span></td></tr>`;
  return html`<h3>Health</h3><table class="stack"><caption>Checks after the installation</caption><thead><tr><th scope="col">Check</th><th scope="col">Verdict</th><th scope="col">It said</th></tr></thead><tbody>${health.map(row)}</tbody></table>`;
}

function openPart({ findings }: ScanBody): Markup {
  const open = findings.filter(({ state }) => !QUIET_STATES.includes(state));
  if (open.length === 0)
    return html`<h3>Open patches</h3><p>None by the newest scan: ${several(findings.length, 'patch', 'patches')} looked at.</p>`;
  const rest = open.length > HOST_LIMITS.findings ? `; the first ${HOST_LIMITS.findings} are shown` : '';
  return html`<h3>Open patches</h3>
<table class="stack">
<caption>${several(open.length, 'patch', 'patches')} by the newest scan${rest}</caption>
<thead><tr><th scope="col">Patch</th><th scope="col">State</th><th scope="col">Packages</th><th scope="col">Why</th></tr></thead>
<tbody>${open
    .slice(0, HOST_LIMITS.findings)
    .map(
      ({ patch, state, packages, reasons, changesAt }) =>
        html`<tr><th scope="row"><span class="version">${patch}</span></th><td data-label="State" class="nowrap">${state.toLowerCase().replaceAll('_', ' ')}</td><td data-label="Packages"><span class="version">${packages.map(({ name, from, to }) => `${name} ${from ?? 'not installed'} → ${to ?? 'removed'}`).join(', ')}</span></td><td data-label="Why"><span>${[...reasons, ...(changesAt === null ? [] : [`changes ${momentText(changesAt)}`])].join('; ')}</span></td></tr>`,
    )}</tbody>
</table>`;
}
