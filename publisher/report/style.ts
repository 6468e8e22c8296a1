// What the style sheet of the compliance page has beyond that of every page: verdicts, and the part of each host.
import { PAGE_STYLE } from '#manifests/page';

export const STYLE = `${PAGE_STYLE}.compliant .dot { background: var(--good); } .non-compliant .dot { background: var(--bad); } .stale .dot { background: var(--old); }
.never-reported .dot { background: transparent; box-shadow: inset 0 0 0 2px var(--none); } .disputed .dot { background: var(--odd); }
.bar .compliant { fill: var(--good); } .bar .non-compliant { fill: var(--bad); } .bar .stale { fill: var(--old); }
.bar .never-reported { fill: var(--none); } .bar .disputed { fill: var(--odd); }
.host { padding-top: .25rem; border-top: 1px solid var(--line); margin-top: 3rem; }
.host h2 { margin-top: 1.25rem; }
.time { margin: .5rem 0; padding: 0; list-style: none; font-size: .9375rem; }
.time li { display: grid; grid-template-columns: 5.5rem 8rem 1fr; gap: 0 1rem; padding: .25rem 0; }
.time time { color: var(--soft); }
.time span { overflow-wrap: anywhere; }
.time { overflow-wrap: anywhere; }
@media (max-width: 44rem) { .time li { grid-template-columns: 5.5rem 1fr; } .time li span:last-child { grid-column: 2; } }
@media print { .host { break-before: page; border: 0; margin: 0; } .time li { break-inside: avoid; } }
`;
