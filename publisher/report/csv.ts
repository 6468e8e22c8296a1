// The report as CSV (RFC 4180, UTF-8, CRLF) for spreadsheets and auditors: one row a host, or one row for each patch that is
// open on a host. Text that a spreadsheet would run as a formula is written as text.

import { visible } from '#manifests/page';
import { PATCH_STATES } from '#manifests/schema';
import type { ComplianceReport } from './schema.ts';

/**
 * `hosts`: one row for each host, counted or not, with all state counts. `patches`: which hosts need which patch – one row
 * for each pair whose state asks for attention, and one for each patch that was last known open on a host that is silent.
 */
export function renderCsv(report: ComplianceReport, of: 'hosts' | 'patches' = 'hosts'): string {
  return of === 'hosts' ? hostsCsv(report) : patchesCsv(report);
}

type Cell = string | number | null;

function hostsCsv(report: ComplianceReport): string {
  const head = [
    'host',
    'agent',
    'group',
    'verdict',
    'compliant',
    'evidence_at',
    'evidence_age_seconds',
    'last_heard_at',
    'non_compliant_patches',
    ...PATCH_STATES.map((state) => state.toLowerCase()),
    'kernel_running',
    'kernels_installed',
    'reboot_needed',
    'last_run_outcome',
    'last_run_finished',
    'last_run_error',
    'policy_expired',
    'results_acked',
    'results_highest',
    'gaps',
    'forks',
    'dropped_by_relays',
    'dropped_missing',
    'report_at',
    'stale_after_hours',
  ];
  const rows: Cell[][] = report.hosts.map((host) => [
    host.title,
    host.agent,
    host.group,
    host.verdict,
    host.compliant,
    host.evidenceAt,
    host.evidenceAgeSeconds,
    host.lastHeardAt,
    host.nonCompliant,
    ...PATCH_STATES.map((state) => host.counts?.[state] ?? null),
    host.kernels?.running ?? null,
    host.kernels?.installed.join(' ') ?? null,
    host.rebootNeeded,
    host.lastRun?.outcome ?? null,
    host.lastRun?.finished ?? null,
    host.lastRun?.error ?? null,
    host.policyExpired,
    host.results.acked,
    host.results.highest,
    host.results.gaps.map(({ from, to }) => (from === to ? `${from}` : `${from}-${to}`)).join(' '),
    host.results.forks.map(({ kind, sequence }) => `${kind}@${sequence}`).join(' '),
    droppedOf(report, host.agent, 'results'),
    droppedOf(report, host.agent, 'missing'),
    report.at,
    report.staleAfterHours,
  ]);
  for (const { agent, title, why, lastHeardAt } of report.outside) {
    const row: Cell[] = [title, agent, null, why, 'unknown', null, null, lastHeardAt];
    rows.push([...row, ...Array.from({ length: head.length - row.length - 2 }, () => null), report.at, report.staleAfterHours]);
  }
  return table(head, rows);
}

/** Results of a host that relays dropped, by their records; null where the report has none. */
function droppedOf({ relays }: ComplianceReport, agent: string, of: 'results' | 'missing'): number | null {
  return relays?.dropped.filter((row) => row.agent === agent).reduce((sum, row) => sum + row[of], 0) ?? null;
}

function patchesCsv(report: ComplianceReport): string {
  const titles = new Map(report.hosts.map(({ agent, title }) => [agent, title]));
  const rows: Cell[][] = [];
  for (const { product, patch, title, severity, cves, hosts, lastKnownOpen } of report.patches) {
    const about: Cell[] = [product, patch, title, severity, cves?.join(' ') ?? null];
    for (const state of PATCH_STATES) {
      for (const agent of hosts[state] ?? []) rows.push([...about, titles.get(agent) ?? null, agent, state]);
    }
    for (const agent of lastKnownOpen) rows.push([...about, titles.get(agent) ?? null, agent, 'LAST_KNOWN_OPEN']);
  }
  return table(['product', 'patch', 'title', 'severity', 'cves', 'host', 'agent', 'state'], rows);
}

function table(head: readonly string[], rows: ReadonlyArray<readonly Cell[]>): string {
  return [head, ...rows].map((row) => `${row.map(cell).join(',')}\r\n`).join('');
}

/** One field. Leading `= + - @` (and blanks before them) start formulas in spreadsheets (CWE-1236): such text gets a `'`. */
function cell(value: Cell): string {
  if (value === null) return '';
  if (typeof value === 'number') return String(value);
  const text = visible(value);
  const guarded = /^\s*[=+\-@|%\uff1d\uff0b\uff0d\uff20]/u.test(text) ? `'${text}` : text;
  return /[",\r\n]/.test(guarded) ? `"${guarded.replaceAll('"', '""')}"` : guarded;
}
