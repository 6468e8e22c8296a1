// Debian changelogs (Debian Policy 4.4): entries from the newest down, and the CVEs and urgency of those that matter. Pure.
import { compareDeb } from '#manifests/versions';
import type { SourcePatch } from '../api.ts';

export interface ChangelogEntry {
  readonly source: string;
  readonly version: string;
  /** `bookworm-security`; several are possible. */
  readonly distributions: readonly string[];
  readonly urgency: string;
  /** ms; null when the trailer has no readable date. */
  readonly date: number | null;
  readonly cves: readonly string[];
}

export const CHANGELOG_LIMITS = {
  /** Entries read from the top. */
  entries: 2_000,
  /** CVEs of one patch (the catalog's own bound). */
  cves: 10_000,
} as const;

const HEAD = /^([A-Za-z0-9][A-Za-z0-9.+-]{0,199}) \(([^() \t]{1,200})\)((?: +[A-Za-z0-9.+-]{1,100}){1,20}) *;(.{0,1000})$/;
const TRAILER = /^ -- .{0,1000}?> {2}(.{10,60})$/;
const CVE = /\bCVE-\d{4}-\d{4,19}\b/g;

/** Entries of a changelog, newest first, until `enough` or the limit. Lines that fit no form are passed over. */
export function readEntries(text: string, enough: (entry: ChangelogEntry) => boolean = () => false): ChangelogEntry[] {
  const entries: ChangelogEntry[] = [];
  let open: { head: RegExpExecArray; cves: Set<string> } | undefined;
  const close = (date: number | null): boolean => {
    if (open === undefined) return false;
    const [, source = '', version = '', distributions = '', options = ''] = open.head;
    const urgency = /(?:^|[ ,])urgency=([A-Za-z]{1,20})/i.exec(options)?.[1]?.toLowerCase() ?? '';
    const entry = { source, version, distributions: distributions.trim().split(/ +/), urgency, date, cves: [...open.cves] };
    open = undefined;
    if (enough(entry)) return true;
    entries.push(entry);
    return entries.length >= CHANGELOG_LIMITS.entries;
  };
  for (let from = 0; from < text.length; ) {
    let end = text.indexOf('\n', from);
    if (end < 0) end = text.length;
    const line = text.slice(from, Math.min(end, from + 4_000));
    from = end + 1;
    const head = /^\S/.test(line) ? HEAD.exec(line) : null;
    if (head !== null) {
      if (close(null)) return entries;
      open = { head, cves: new Set() };
    } else if (open !== undefined && line.startsWith(' -- ')) {
      const date = Date.parse(TRAILER.exec(line)?.[1] ?? '');
      if (close(Number.isNaN(date) ? null : date)) return entries;
    } else if (open !== undefined && line.startsWith(' ')) {
      for (const [cve] of line.matchAll(CVE)) open.cves.add(cve);
    }
  }
  close(null);
  return entries;
}

type Severity = SourcePatch['severity'];

/** Debian Policy 5.6.17, from least to most. */
const SEVERITY_OF: Readonly<Record<string, Severity>> = {
  low: 'low',
  medium: 'medium',
  high: 'high',
  emergency: 'critical',
  critical: 'critical',
};
const RANK: readonly Severity[] = ['unspecified', 'low', 'medium', 'high', 'critical'];

export interface Fixes {
  readonly cves: string[];
  /** The highest urgency of the entries that count. */
  readonly severity: Severity;
  /** Date of the patch's own entry, ms. */
  readonly date: number | null;
  readonly entries: number;
}

/**
 * What version `version` of `source` fixes over `after`. Without a known earlier version: over the last one that did not
 * come for the same release, so that a security update tells all CVEs that were fixed since the release was made.
 * Undefined when the changelog is another package's.
 */
export function fixesIn(text: string, source: string, version: string, after: string | undefined): Fixes | undefined {
  const all = readEntries(text, (entry) => after !== undefined && compareDeb(entry.version, after) <= 0);
  const own = all.findIndex((entry) => entry.version === version);
  const entries = all.slice(Math.max(0, own));
  const [top] = entries;
  if (top === undefined || top.source !== source) return undefined;
  let count = entries.length;
  if (after === undefined) {
    const release = releaseOf(top);
    const other = release === undefined ? 1 : entries.findIndex((entry) => releaseOf(entry) !== release);
    if (other >= 0) count = other;
  }
  const counted = entries.slice(0, count);
  const ranks = counted.map(({ urgency }) =>
    RANK.indexOf((Object.hasOwn(SEVERITY_OF, urgency) && SEVERITY_OF[urgency]) || 'unspecified'),
  );
  const cves = [...new Set(counted.flatMap((entry) => entry.cves))].toSorted().slice(0, CHANGELOG_LIMITS.cves);
  return { cves, severity: RANK[Math.max(0, ...ranks)] ?? 'unspecified', date: top.date, entries: counted.length };
}

/** `bookworm` of `bookworm-security`; undefined for what every release comes from (unstable and the like). */
function releaseOf({ distributions }: ChangelogEntry): string | undefined {
  const [first = ''] = distributions;
  if (/^(?:unstable|sid|experimental|unreleased)$/i.test(first)) return undefined;
  return first.replace(/-(?:security|updates|proposed-updates|backports)$/, '').toLowerCase();
}
