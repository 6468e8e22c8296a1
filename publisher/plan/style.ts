// What the style sheet of the plan has beyond that of every page: the timeline.
import { PAGE_STYLE } from '#manifests/page';

export const STYLE = `${PAGE_STYLE}
.lines { margin: 1rem 0 0; padding: 0; list-style: none; }
.lines li, .axis { display: grid; grid-template-columns: minmax(9rem, 17rem) minmax(0, 1fr) 8.75rem; column-gap: 1.25rem; align-items: center; }
.lines li { padding: .3rem 0; border-bottom: 1px solid var(--line); break-inside: avoid; }
.lines a { display: block; overflow-wrap: anywhere; font-weight: 500; font-size: .9375rem; line-height: 1.3; text-decoration: none; color: var(--ink); }
.lines a:hover { text-decoration: underline; }
.lines .end { font-size: .875rem; text-align: right; line-height: 1.25; }
.lines .end .mild { font-size: .75rem; }
.axis { position: sticky; top: 0; z-index: 1; padding: .35rem 0; background: var(--page); border-bottom: 1px solid var(--line); color: var(--soft); font-size: .75rem; }
.axis .days { position: relative; height: 1.1rem; grid-column: 2; }
.axis .days span { position: absolute; padding-left: .25rem; white-space: nowrap; border-left: 1px solid var(--line); }
.track { display: block; width: 100%; height: 2.25rem; border-radius: 3px; background: var(--card); overflow: hidden; }
.track .grid { stroke: var(--line); stroke-width: 1; vector-effect: non-scaling-stroke; }
.track .wait { stroke: var(--none); stroke-width: 2; stroke-dasharray: 2 3; vector-effect: non-scaling-stroke; }
.track .in { fill: var(--good); } .track .late { fill: var(--bad); } .track .done { opacity: .4; } .track .busy { fill: var(--link); } .track .over { fill: var(--bad); }
.track .due { stroke: var(--bad); stroke-width: 2; vector-effect: non-scaling-stroke; }
.key { display: inline-block; width: 1.25rem; height: .75rem; margin-right: .5rem; border-radius: 2px; vertical-align: -.05rem; }
.key.in { background: var(--good); } .key.late, .key.over { background: var(--bad); } .key.busy { background: var(--link); }
.key.due { width: 2px; height: 1rem; background: var(--bad); vertical-align: -.2rem; }
.key.wait { height: 0; border-top: 2px dotted var(--none); border-radius: 0; vertical-align: .2rem; }
tr:target { background: var(--card); outline: 2px solid var(--link); outline-offset: -1px; }
.skip { position: absolute; left: -100vw; } .skip:focus { left: 1rem; top: 1rem; padding: .5rem 1rem; background: var(--card); }
@media (max-width: 44rem) {
  .lines li { grid-template-columns: 1fr auto; row-gap: .25rem; padding: .6rem 0; }
  .lines .plot { grid-row: 2; grid-column: 1 / -1; }
  .axis { grid-template-columns: 1fr; } .axis .days { grid-column: 1; }
  .axis .days span:nth-child(even) { border: 0; visibility: hidden; }
}
@media print {
  .axis { position: static; } .track, .key { print-color-adjust: exact; -webkit-print-color-adjust: exact; }
  .track { border: 1px solid var(--line); height: 1.5rem; } .lines li { padding: .15rem 0; }
  .skip { display: none; }
}
`;
