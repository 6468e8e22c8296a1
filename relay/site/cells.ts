// Small pieces that the tables of the page are made of.
import { countText, html, type Markup, momentText, type Piece, several } from '#manifests/page';
import { SITE_LIMITS } from './limits.ts';

export const when = (moment: string | null): Markup => html`<span class="when">${momentText(moment)}</span>`;

/** The rows that are shown, and how many there are when these are not all. */
export function limited<T>(rows: readonly T[], one: string): { shown: readonly T[]; says: string } {
  const shown = rows.slice(0, SITE_LIMITS.rows);
  return {
    shown,
    says: shown.length === rows.length ? '' : ` The first ${countText(shown.length)} of ${several(rows.length, one)}.`,
  };
}

export const cell = (label: string, value: Piece, kind: 'n' | 'text' = 'text'): Markup =>
  kind === 'n'
    ? html`<td class="n${value === '–' ? ' quiet' : ''}" data-label="${label}">${value}</td>`
    : html`<td${value === '–' && html` class="none"`} data-label="${label}"><span>${value}</span></td>`;
