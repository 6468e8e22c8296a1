// The report as prose and a table for a terminal: fits the width, says more with colour only where colour is wanted.

import { ageText, momentText, several, visible } from '#manifests/page';
import type { ComplianceReport, HostRow, Verdict } from './schema.ts';
import { rangesText, relayText, VERDICT_WORDS } from './text.ts';

export interface TableOptions {
  /** Columns of the terminal; 100 when not told, at least 40. */
  readonly width?: number | undefined;
  /** ANSI colours. The caller says no where stdout is no terminal or NO_COLOR is set. */
  readonly color?: boolean | undefined;
}

/** Hosts named in the table; what is beyond is counted, and whole in JSON and CSV. */
const TABLE_ROWS = 200;

/** Drops that are named in the table. */
const DROPPED_ROWS = 20;

const ORDER: readonly Verdict[] = ['disputed', 'non-compliant', 'stale', 'never-reported', 'compliant'];
const COLORS: Readonly<Record<Verdict, string>> = {
  compliant: '32',
  'non-compliant': '31',
  stale: '33',
  'never-reported': '33',
  disputed: '35',
};

/** Figures first, then one line a host, those that need attention on top. */
export function renderTable(report: ComplianceReport, options: TableOptions = {}): string {
  const width = Math.max(40, options.width ?? 100);
  const paint = (text: string, code: string) => (options.color === true ? `\u001b[${code}m${text}\u001b[0m` : text);
  const { fleet } = report;
  const share = fleet.compliantPercent === null ? 'no hosts' : `${fleet.compliantPercent.toFixed(1)} %`;
  const lines = [
    paint(`${fleet.compliant} of ${several(fleet.denominator, 'host')} compliant (${share})`, '1'),
    ...wrap(
      [
        `${fleet.nonCompliant} not compliant`,
        `${fleet.stale} stale (evidence older than ${report.staleAfterHours} h)`,
        `${fleet.neverReported} never reported`,
        ...(fleet.disputed > 0 ? [`${fleet.disputed} disputed (two machines, one identity)`] : []),
        ...(fleet.revoked > 0 ? [`${fleet.revoked} revoked, not counted`] : []),
      ].join(', '),
      width,
    ),
    ...wrap(
      `As of ${momentText(report.at)}; median age of evidence ${ageText(fleet.medianEvidenceAgeSeconds)}, oldest from ${momentText(fleet.oldestEvidenceAt)}. ${attention(report)}`,
      width,
    ),
    '',
  ];
  const hosts = report.hosts.toSorted((a, b) => ORDER.indexOf(a.verdict) - ORDER.indexOf(b.verdict));
  lines.push(...hostTable(hosts.slice(0, TABLE_ROWS), width, paint));
  if (hosts.length > TABLE_ROWS)
    lines.push(`… and ${several(hosts.length - TABLE_ROWS, 'more host')}; --json and CSV have all of them`);
  for (const { agent, title, why } of report.outside.slice(0, TABLE_ROWS)) {
    const says = why === 'revoked' ? 'revoked' : 'not in the roster';
    lines.push(fit(`not counted: ${visible(title ?? agent)} (${says})`, width));
  }
  lines.push(...relayLines(report).flatMap((line) => wrap(line, width)));
  return `${lines.join('\n')}\n`;
}

/** Sites that are stopped, and what was dropped on the way here. */
function relayLines({ relays }: ComplianceReport): string[] {
  if (relays === null) return [];
  const halts = relays.halts
    .filter(({ state }) => state === 'in-force')
    .map(
      ({ site, name, by, signedAt, reason, stops }) =>
        `site ${site} halted ${by === 'fuse' ? 'by its fuse' : 'by hand'} (${name}) since ${momentText(signedAt)}, stops ${stops.join(', ')}: ${visible(reason)}`,
    );
  const { droppedResults, droppedMissing, dropped } = relays;
  const hosts = new Set(dropped.map(({ agent }) => agent)).size;
  const sum =
    droppedResults === 0
      ? []
      : [
          `${several(droppedResults, 'result')} of ${several(hosts, 'host')} dropped by relays for want of room; ${droppedMissing === 0 ? 'all have come again' : `${droppedMissing} have not come again yet`}`,
        ];
  const rows = dropped
    .filter(({ missing }) => missing > 0)
    .slice(0, DROPPED_ROWS)
    .map(
      ({ agent, title, site, delegated, signedAt, ranges, missing, results }) =>
        `dropped: ${visible(title ?? agent)}, numbers ${rangesText(ranges)} by ${relayText(site, delegated)} at ${momentText(signedAt)}; ${missing} of ${results} missing`,
    );
  return [...halts, ...sum, ...rows];
}

/** What else a reader has to know before believing the share. */
function attention({ fleet }: ComplianceReport): string {
  const parts = [
    [fleet.rebootNeeded, 'need a reboot'],
    [fleet.kept.held, 'hold patches back'],
    [fleet.kept.excepted, 'have patches excepted by a waiver'],
    [fleet.kept.recalledInstalled, 'have recalled patches installed'],
    [fleet.kept.pendingApproval, 'have patches waiting for approval'],
    [fleet.kept.notApproved, 'have security patches nobody approved'],
    [fleet.policyExpired, 'decide by an expired policy'],
    [fleet.withGaps, 'have results missing'],
    [fleet.reverted, 'were put back to an older image'],
  ] as const;
  const said = parts.filter(([hosts]) => hosts > 0).map(([hosts, says]) => `${hosts} ${says}`);
  return said.length === 0 ? '' : `Of the hosts, ${said.join(', ')}.`;
}

interface Column {
  readonly head: string;
  readonly right: boolean;
  cell(host: HostRow): string;
}

/** In the order in which they are given up when the terminal is narrow: the last one first. */
const COLUMNS: readonly Column[] = [
  { head: 'host', right: false, cell: (host) => visible(host.title) },
  { head: 'verdict', right: false, cell: (host) => VERDICT_WORDS[host.verdict] },
  { head: 'open', right: true, cell: ({ nonCompliant }) => (nonCompliant === null ? '–' : String(nonCompliant)) },
  { head: 'missing', right: true, cell: ({ counts }) => (counts === null ? '–' : String(counts.MISSING)) },
  { head: 'failed', right: true, cell: ({ counts }) => (counts === null ? '–' : String(counts.FAILED + counts.ROLLED_BACK)) },
  { head: 'evidence', right: true, cell: (host) => ageText(host.evidenceAgeSeconds) },
  { head: 'last run', right: false, cell: (host) => host.lastRun?.outcome ?? '–' },
  { head: 'reboot', right: false, cell: (host) => host.rebootNeeded },
  { head: 'kernel', right: false, cell: (host) => visible(host.kernels?.running ?? '–') },
  { head: 'waits', right: true, cell: ({ counts }) => (counts === null ? '–' : String(counts.PENDING_APPROVAL)) },
  { head: 'held', right: true, cell: ({ counts }) => (counts === null ? '–' : String(counts.HELD)) },
  { head: 'excepted', right: true, cell: ({ counts }) => (counts === null ? '–' : String(counts.EXCEPTED)) },
];

function hostTable(hosts: readonly HostRow[], width: number, paint: (text: string, code: string) => string): string[] {
  if (hosts.length === 0) return [];
  const cells = hosts.map((host) => COLUMNS.map((column) => column.cell(host)));
  const natural = COLUMNS.map((column, index) =>
    Math.max(cellWidth(column.head), ...cells.map((row) => cellWidth(row[index] ?? ''))),
  );
  let shown = COLUMNS.length;
  const total = (hostWidth: number) => hostWidth + natural.slice(1, shown).reduce((sum, value) => sum + value + 2, 0);
  const narrowest = Math.min(natural[0] ?? 0, 16);
  while (shown > 2 && total(narrowest) > width) shown -= 1;
  const hostWidth = Math.max(narrowest, Math.min(natural[0] ?? 0, width - total(0)));
  const widths = natural.slice(0, shown).map((value, index) => (index === 0 ? hostWidth : value));
  const row = (values: readonly string[], color?: string) =>
    widths
      .map((value, index) => {
        const text = fit(values[index] ?? '', value);
        const padded = pad(text, value, COLUMNS[index]?.right === true);
        return index === 1 && color !== undefined ? padded.replace(text, (word) => paint(word, color)) : padded;
      })
      .join('  ')
      .trimEnd();
  return [
    paint(row(COLUMNS.map(({ head }) => head)), '2'),
    ...hosts.map((host, index) => row(cells[index] ?? [], COLORS[host.verdict])),
  ];
}

const segments = new Intl.Segmenter('en', { granularity: 'grapheme' });
const WIDE =
  /[\u1100-\u115f\u2e80-\u303e\u3041-\ua4cf\uac00-\ud7a3\uf900-\ufaff\ufe30-\ufe6f\uff00-\uff60\uffe0-\uffe6]|\p{Emoji_Presentation}|[\u{20000}-\u{3fffd}]/u;

/** Columns a text takes in a terminal: wide characters (UAX #11) take two. */
export function cellWidth(text: string): number {
  let width = 0;
  for (const { segment } of segments.segment(text)) width += WIDE.test(segment) ? 2 : 1;
  return width;
}

function fit(text: string, width: number): string {
  if (cellWidth(text) <= width) return text;
  let kept = '';
  let used = 0;
  for (const { segment } of segments.segment(text)) {
    const next = cellWidth(segment);
    if (used + next > width - 1) break;
    kept += segment;
    used += next;
  }
  return `${kept}…`;
}

function pad(text: string, width: number, right: boolean): string {
  const blanks = ' '.repeat(Math.max(0, width - cellWidth(text)));
  return right ? blanks + text : text + blanks;
}

function wrap(text: string, width: number): string[] {
  const lines: string[] = [];
  let line = '';
  for (const word of text.trim().split(' ')) {
    if (line !== '' && cellWidth(line) + 1 + cellWidth(word) > width) {
      lines.push(line);
      line = word;
    } else line = line === '' ? word : `${line} ${word}`;
  }
  return [...lines, line];
}
