// Pages for people, shared by reports and relays: HTML whose every value is escaped, one style sheet, words and figures. Pure.
export { fixed, html, type Markup, type Piece, textOf } from './markup.ts';
export { PAGE_STYLE } from './style.ts';
export { ageText, countText, momentText, several, visible } from './text.ts';
