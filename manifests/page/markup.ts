// HTML that cannot be broken out of: a template whose every value is escaped, unless it came out of this template itself.
import { visible } from './text.ts';

const MARK = Symbol('markup');

/** A piece of finished HTML. */
export interface Markup {
  readonly [MARK]: string;
}

export type Piece = Markup | string | number | null | false | readonly Piece[];

/** Builds HTML: strings and numbers are escaped, pieces of HTML go in as they are, lists are joined, null and false are nothing. */
export function html(parts: TemplateStringsArray, ...values: readonly Piece[]): Markup {
  return { [MARK]: parts.reduce((text, part, index) => text + render(values[index - 1] ?? null) + part) };
}

/** The finished text. */
export function textOf(markup: Markup): string {
  return markup[MARK];
}

/** Fixed text of ours that holds no data: style sheets. */
export function fixed(text: string): Markup {
  return { [MARK]: text };
}

function render(piece: Piece): string {
  if (piece === null || piece === false) return '';
  if (typeof piece === 'string') return escape(piece);
  if (typeof piece === 'number') return String(piece);
  if (isList(piece)) return piece.map(render).join('');
  return piece[MARK];
}

const isList = (piece: Piece): piece is readonly Piece[] => Array.isArray(piece);

const ENTITIES: Readonly<Record<string, string>> = { '&': '&amp;', '<': '&lt;', '>': '&gt;', '"': '&quot;', "'": '&#39;' };

function escape(text: string): string {
  // Line breaks of longer texts stay; everything else that cannot be seen is written out.
  const lines = text.split('\n').map((line) => visible(line.replaceAll('\t', '  ')));
  return lines.join('\n').replace(/[&<>"']/g, (character) => ENTITIES[character] ?? '');
}
