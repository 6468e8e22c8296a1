// Parts of the page about what this site does by itself: halts and fuses, results it had to drop, payloads ahead of windows.
import { countText, html, type Markup, several } from '#manifests/page';
import { formatBytes } from '#manifests/platform/progress';
import { cell, limited, when } from './cells.ts';
import type { SiteFacts } from './facts.ts';

/** What windows that open soon need, and how much of it is here. */
export function stagingPart({ staging }: SiteFacts): Markup {
  if (staging === null)
    return html`<h2 id="staging">Ahead of windows</h2><p>Nothing was looked at yet, or it is switched off.</p>`;
  if (staging.openings.length === 0)
    return html`<h2 id="staging">Ahead of windows</h2><p>No window of a group with hosts here opens within ${staging.hours} hours of ${when(staging.at)}.</p>`;
  const row = ({ group, window, opensAt, payloads, bytes, here, hereBytes }: (typeof staging.openings)[number]) =>
    html`<tr><th scope="row">${group}<span class="mild">${window}</span></th>${cell('Opens', when(opensAt))}${cell('Payloads', countText(payloads), 'n')}${cell('Here', here < payloads ? html`<span class="warn">${countText(here)}</span>` : countText(here), 'n')}${cell('Bytes', formatBytes(bytes), 'n')}${cell('Bytes here', formatBytes(hereBytes), 'n')}</tr>`;
  return html`<h2 id="staging">Ahead of windows</h2>
<table class="stack">
<caption>What is approved for hosts here, by the window that needs it first, as of ${when(staging.at)}.${staging.says === '' ? '' : ` Not all of it is here: ${staging.says}.`}</caption>
<thead><tr><th scope="col">Group</th><th scope="col">Opens</th><th scope="col" class="n">Payloads</th><th scope="col" class="n">Here</th><th scope="col" class="n">Bytes</th><th scope="col" class="n">Bytes here</th></tr></thead>
<tbody>${staging.openings.map(row)}</tbody>
</table>`;
}

/** How a halt of a site stands, in words. */
export const HALT_STATES = {
  'in-force': 'in force',
  over: 'has ended',
  lifted: 'lifted by the publisher',
  refused: 'does not count: policy does not allow it',
};

/** Halts that relays signed, and how near each fuse is. */
export function fusePart({ siteHalts, fuses, fuseSays }: SiteFacts): Markup {
  const halts = siteHalts.toReversed();
  const halt = (each: SiteFacts['siteHalts'][number]) =>
    html`<tr><th scope="row">${each.name}<span class="mild">${each.site}, ${each.by === 'fuse' ? 'by the fuse' : 'by hand'}, signed by ${whose(each.own)}</span></th>${cell('State', each.state === 'in-force' ? html`<span class="warn">${HALT_STATES[each.state]}</span>` : HALT_STATES[each.state])}${cell('Stops', each.stops.join(', '))}${cell('Groups', each.groups.join(', ') || 'all')}${cell('Since', when(each.signedAt))}${cell('Until', each.endsAt === null ? '' : when(each.endsAt))}${cell('Reason', each.reason)}</tr>`;
  const fuse = ({ rollout, groups, withinHours, limit, state }: SiteFacts['fuses'][number]) =>
    html`<tr><th scope="row">${rollout}<span class="mild">${groups.join(', ')}</span></th>${cell('State', state.tripped ? html`<span class="warn">tripped</span>` : 'holds')}${cell('Failed', countText(state.failures), 'n')}${cell('Reports', countText(state.reports), 'n')}${cell('Allowed', limit)}${cell('Within', several(withinHours, 'hour'))}</tr>`;
  return html`<h2 id="fuse">Fuse and halts of this site</h2>
${fuses.length > 0 && fuseSays !== '' && html`<p>No fuse can trip here: ${fuseSays}.</p>`}
${
  fuses.length === 0
    ? html`<p>No signed rollout has a fuse.</p>`
    : html`<table class="stack">
<caption>Hosts that failed among those that reported a run here or to the other relays of the site, by rollout.</caption>
<thead><tr><th scope="col">Rollout</th><th scope="col">State</th><th scope="col" class="n">Failed</th><th scope="col" class="n">Reports</th><th scope="col">Allowed</th><th scope="col">Within</th></tr></thead>
<tbody>${fuses.map(fuse)}</tbody>
</table>`
}
${
  halts.length > 0 &&
  html`<table class="stack" id="site-halts">
<caption>What relays of sites have stopped, by a fuse or by hand, not signed by the publisher. Only the publisher lifts it.</caption>
<thead><tr><th scope="col">Name</th><th scope="col">State</th><th scope="col">Stops</th><th scope="col">Groups</th><th scope="col">Since</th><th scope="col">Until</th><th scope="col">Reason</th></tr></thead>
<tbody>${halts.map(halt)}</tbody>
</table>`
}`;
}

/** Results that had to be dropped. */
export function gapPart({ gaps }: SiteFacts): Markup {
  if (gaps.length === 0) return html`<h2 id="gaps">Dropped</h2><p>No result was ever dropped here.</p>`;
  const { shown, says } = limited(gaps, 'record');
  const row = (gap: SiteFacts['gaps'][number]) =>
    html`<tr><th scope="row">${gap.title}<span class="mild">by ${whose(gap.own)}</span></th>${cell('Numbers', sequencesOf(gap.dropped))}${cell('Results', countText(gap.results), 'n')}${cell('Bytes', formatBytes(gap.bytes), 'n')}${cell('Why', gap.why === 'disk' ? 'the disk was full' : 'the quota was reached')}${cell('When', when(gap.signedAt))}</tr>`;
  return html`<h2 id="gaps">Dropped</h2>
<table class="stack">
<caption>Results that were dropped for want of room, the oldest detail first. Their hosts still have them and send them again.${says}</caption>
<thead><tr><th scope="col">Host</th><th scope="col">Numbers</th><th scope="col" class="n">Results</th><th scope="col" class="n">Bytes</th><th scope="col">Why</th><th scope="col">When</th></tr></thead>
<tbody>${shown.map(row)}</tbody>
</table>`;
}

const whose = (own: boolean | null) => (own === null ? 'a relay' : own ? 'this relay' : 'another relay');

function sequencesOf(dropped: readonly { readonly from: number; readonly to: number }[]): string {
  const shown = dropped.slice(0, 8).map(({ from, to }) => (from === to ? String(from) : `${from}\u2013${to}`));
  return shown.join(', ') + (dropped.length > 8 ? ` and ${dropped.length - 8} more` : '');
}
