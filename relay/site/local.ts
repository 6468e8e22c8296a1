// Parts of the page about what this site does by itself: payloads brought ahead of windows.
import { countText, html, type Markup } from '#manifests/page';
import { formatBytes } from '#manifests/platform/progress';
import { cell, when } from './cells.ts';
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
