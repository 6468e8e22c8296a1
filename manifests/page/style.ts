// The style sheet of HTML pages: one column of calm type, aligned figures, light and dark, screen, phone and paper.

export const PAGE_STYLE = `
:root {
  color-scheme: light dark;
  --page: #fbfaf7; --card: #ffffff; --ink: #1f2328; --soft: #5c636b; --line: #e2dfd7; --link: #1f5a86;
  --good: #3d7a5a; --bad: #b4472f; --old: #b0812c; --none: #a9a59a; --odd: #76548f;
}
@media (prefers-color-scheme: dark) {
  :root {
    --page: #16181b; --card: #1d2024; --ink: #e7e5df; --soft: #a2a7ad; --line: #33373c; --link: #8fbfe3;
    --good: #6cb48f; --bad: #e5806a; --old: #d9ae5f; --none: #6d7178; --odd: #b796d0;
  }
}
* { box-sizing: border-box; }
html { font: 16px/1.5 system-ui, -apple-system, "Segoe UI", "Liberation Sans", "DejaVu Sans", sans-serif; -webkit-text-size-adjust: 100%; }
body { margin: 0; background: var(--page); color: var(--ink); font-variant-numeric: tabular-nums lining-nums; }
main, header, footer { max-width: 76rem; margin: 0 auto; padding: 0 1.5rem; }
header { padding-top: 3rem; }
.eyebrow { margin: 0; color: var(--soft); font-size: .875rem; }
h1 { margin: .25rem 0 .5rem; font-size: clamp(1.75rem, 5vw, 2.75rem); line-height: 1.15; font-weight: 600; letter-spacing: -.02em; text-wrap: balance; }
h1, h2, h3, .facts, caption { overflow-wrap: anywhere; }
h2 { margin: 3.5rem 0 .75rem; font-size: 1.375rem; line-height: 1.25; font-weight: 600; letter-spacing: -.01em; }
h3 { margin: 1.75rem 0 .5rem; font-size: 1rem; font-weight: 600; }
p { margin: .5rem 0; max-width: 46rem; overflow-wrap: anywhere; }
.lead { color: var(--soft); }
a { color: var(--link); text-decoration-thickness: 1px; text-underline-offset: .2em; }
a:focus-visible { outline: 2px solid var(--link); outline-offset: 2px; }
code, .version { font: .8125rem/1.45 ui-monospace, "SF Mono", "Liberation Mono", "DejaVu Sans Mono", monospace; overflow-wrap: anywhere; }
.bar { display: block; width: 100%; height: 1.25rem; margin: 1.75rem 0 .75rem; border-radius: 4px; }
.legend { display: flex; flex-wrap: wrap; gap: .25rem 1.5rem; margin: 0; padding: 0; list-style: none; font-size: .9375rem; }
.legend b { font-weight: 600; }
.dot { display: inline-block; width: .625rem; height: .625rem; margin-right: .5rem; border-radius: 50%; background: var(--none); }
.figures { display: grid; grid-template-columns: repeat(auto-fill, minmax(9.75rem, 1fr)); gap: 1.25rem 2rem; margin: 2.25rem 0 0; }
.figures div { display: flex; flex-direction: column; justify-content: space-between; padding-top: .5rem; border-top: 1px solid var(--line); }
.figures dt { color: var(--soft); font-size: .8125rem; line-height: 1.35; }
.figures dd { margin: .125rem 0 0; font-size: 1.375rem; font-weight: 600; line-height: 1.3; }
.figures .zero dd { color: var(--soft); font-weight: 400; }
table { width: 100%; border-collapse: collapse; font-size: .9375rem; }
caption { padding: 0 0 .5rem; color: var(--soft); font-size: .875rem; text-align: left; }
th, td { padding: .5rem .75rem .5rem 0; border-bottom: 1px solid var(--line); text-align: left; vertical-align: baseline; overflow-wrap: anywhere; }
thead th { color: var(--soft); font-size: .8125rem; font-weight: 500; line-height: 1.3; vertical-align: bottom; overflow-wrap: normal; }
tbody th { font-weight: 500; }
.n { text-align: right; white-space: nowrap; }
thead .n { white-space: normal; }
tbody th { min-width: 10rem; }
.zero { color: var(--soft); } .zero b { font-weight: 400; }
th:last-child, td:last-child { padding-right: 0; }
.nowrap { white-space: nowrap; }
.quiet { color: var(--soft); }
.mild { display: block; color: var(--soft); font-size: .8125rem; font-weight: 400; }
.warn { color: var(--bad); }
.facts { display: grid; grid-template-columns: repeat(auto-fit, minmax(14rem, 1fr)); gap: .5rem 2rem; margin: .75rem 0; font-size: .9375rem; }
.facts dt { color: var(--soft); font-size: .8125rem; }
.facts dd { margin: 0; overflow-wrap: anywhere; }
pre { margin: .5rem 0; padding: .75rem 1rem; background: var(--card); border: 1px solid var(--line); border-radius: 6px; font: .8125rem/1.5 ui-monospace, "Liberation Mono", monospace; white-space: pre-wrap; overflow-wrap: anywhere; }
footer { padding-top: 2rem; padding-bottom: 3rem; margin-top: 4rem; color: var(--soft); font-size: .875rem; }
@media (max-width: 44rem) {
  main, header, footer { padding-left: 1rem; padding-right: 1rem; }
  header { padding-top: 1.5rem; }
  .figures { grid-template-columns: repeat(2, 1fr); gap: 1rem 1.5rem; }
  tbody th { min-width: 0; }
  .stack thead { position: absolute; width: 1px; height: 1px; overflow: hidden; clip-path: inset(50%); }
  .stack, .stack tbody, .stack tr, .stack th, .stack td, .stack caption { display: block; }
  .stack tr { padding: .75rem 0; border-bottom: 1px solid var(--line); }
  .stack th, .stack td { padding: .125rem 0; border: 0; }
  .stack td { display: flex; justify-content: space-between; gap: 1.5rem; text-align: right; white-space: normal; }
  .stack td::before { content: attr(data-label); flex: none; color: var(--soft); text-align: left; }
  .stack td > span { min-width: 0; overflow-wrap: anywhere; }
  .stack td.none, .stack td.n.quiet { display: none; }
}
@media print {
  :root { --page: #fff; --card: #fff; --ink: #000; --soft: #444; --line: #bbb; --link: #000; }
  html { font-size: 10pt; } main, header, footer { max-width: none; padding: 0; } header { padding-top: 0; }
  tr, .figures div { break-inside: avoid; } h2, h3, caption { break-after: avoid; }
  .bar, .dot { print-color-adjust: exact; -webkit-print-color-adjust: exact; } a { text-decoration: none; }
}
`;
