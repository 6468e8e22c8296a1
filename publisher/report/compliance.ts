// The figures: from the store, the roster and the catalogs to one compliance report. README.md has each formula. The same
// input gives the same bytes: time is passed in, everything is sorted.
import { utcSeconds } from '#manifests/platform/clock';
import { type Catalog, PATCH_STATES, type Patch, type PatchState, type Roster, type RosterAgent } from '#manifests/schema';
import { type Fleet, type HostRecord, openFleet, type RelayRecords } from '../results/index.ts';
import { relayFigures } from './relays.ts';
import type { ComplianceReport, HostRow, PatchRow, Verdict } from './schema.ts';

export interface ComplianceOptions {
  readonly roster: Roster;
  /** For titles, severities and CVEs; without them the report has none. */
  readonly catalogs?: readonly Catalog[] | undefined;
  /** What relays said under their own names; without it the report tells nothing of that. */
  readonly relays?: RelayRecords | undefined;
  /** Milliseconds since 1970: the moment the report is about. */
  readonly at: number;
  /** Evidence older than this no longer counts. */
  readonly staleAfterHours: number;
}

/** States in which the fix of a patch is not at work on a host. */
export const OPEN_STATES: ReadonlySet<PatchState> = new Set([
  'MISSING',
  'FAILED',
  'ROLLED_BACK',
  'HELD',
  'PENDING_APPROVAL',
  'AVAILABLE_SECURITY_UPDATE',
  'INSTALLED_PENDING_REBOOT',
  'EXCEPTED',
]);

type Counts = Record<PatchState, number>;

/** Makes the report. @throws results.store-missing, results.store-foreign, results.store-newer */
export function complianceReport(storeFile: string, options: ComplianceOptions): ComplianceReport {
  const fleet = openFleet(storeFile);
  try {
    return reportOf(fleet, options);
  } finally {
    fleet.close();
  }
}

function reportOf(fleet: Fleet, { roster, catalogs, relays, at, staleAfterHours }: ComplianceOptions): ComplianceReport {
  const records = new Map(fleet.hosts().map((record) => [record.agent, record]));
  const hosts = roster.agents
    .filter(({ status }) => status === 'approved')
    .map((entry) => hostRow(entry, records.get(entry.id), at, staleAfterHours))
    .toSorted((a, b) => compare(a.title, b.title) || compare(a.agent, b.agent));
  const fresh = new Set(hosts.filter(({ compliant }) => compliant !== 'unknown').map(({ agent }) => agent));
  const inFleet = new Set(hosts.map(({ agent }) => agent));
  const patches = patchRows(fleet, fresh, inFleet, catalogs);
  const states = emptyCounts();
  for (const host of hosts) {
    if (host.counts === null || !fresh.has(host.agent)) continue;
    for (const state of PATCH_STATES) states[state] += host.counts[state];
  }
  const titles = new Map(roster.agents.map(({ id, title }) => [id, title]));
  const known = (agent: string) => ({ title: titles.get(agent) ?? null, chain: records.get(agent)?.chain ?? null });
  return {
    schema: 'patchferry/compliance-report',
    schemaVersion: 1,
    at: utcSeconds(at),
    staleAfterHours,
    fleet: fleetFigures(hosts, roster),
    states,
    hosts,
    outside: outsideRows(roster, records),
    patches,
    cves: catalogs === undefined ? null : cveRows(patches),
    relays: relays === undefined ? null : relayFigures(relays, utcSeconds(at), known),
  };
}

function hostRow(entry: RosterAgent, record: HostRecord | undefined, at: number, staleAfterHours: number): HostRow {
  const evidenceAt = record?.evidenceAt ?? null;
  const age = evidenceAt === null ? null : Math.max(0, Math.floor((at - Date.parse(evidenceAt)) / 1000));
  const verdict = verdictOf(record, age, staleAfterHours);
  const { policy, run } = record ?? {};
  return {
    agent: entry.id,
    title: entry.title,
    group: entry.group,
    verdict,
    compliant: verdict === 'compliant' ? 'yes' : verdict === 'non-compliant' ? 'no' : 'unknown',
    hostname: record?.facts?.hostname ?? null,
    product: record?.facts?.product ?? null,
    evidenceAt,
    evidenceAgeSeconds: age,
    lastHeardAt: record?.lastAt ?? null,
    counts: record?.counts ?? null,
    nonCompliant: record?.nonCompliant ?? null,
    kernels: record?.kernels ?? null,
    rebootNeeded: rebootNeeded(record),
    lastRun: run
      ? {
          run: run.run,
          sequence: run.sequence,
          outcome: run.outcome,
          finished: run.finished,
          error: run.error,
          patches: run.patches,
          changes: run.changes,
        }
      : null,
    next: record?.next ?? null,
    policyExpired: policy ? (policy.hardExpired ? 'hard' : policy.softExpired ? 'soft' : 'no') : 'unknown',
    alert: record?.alert ?? null,
    results: {
      acked: record?.chain.watermark ?? null,
      highest: record?.chain.highest ?? null,
      gaps: record?.chain.gaps.map(({ from, to }) => ({ from, to })) ?? [],
      forks: record?.chain.forks.map(({ sequence, kind, hashes }) => ({ sequence, kind, hashes: [...hashes] })) ?? [],
    },
  };
}

function verdictOf(record: HostRecord | undefined, age: number | null, staleAfterHours: number): Verdict {
  if (record === undefined || age === null) return 'never-reported';
  // Two machines under one identity: what one of them says is no evidence for the other.
  if (record.chain.forks.some(({ kind }) => kind === 'clone')) return 'disputed';
  if (age > staleAfterHours * 3_600) return 'stale';
  return record.nonCompliant === 0 ? 'compliant' : 'non-compliant';
}

/** The last run said so and the host has not booted since, or a patch waits for a reboot by the newest scan. */
function rebootNeeded(record: HostRecord | undefined): HostRow['rebootNeeded'] {
  if (record === undefined || (record.run === null && record.counts === null)) return 'unknown';
  const byRun = record.run !== null && record.run.rebootNeeded && record.run.boot === record.lastBoot;
  return byRun || (record.counts?.INSTALLED_PENDING_REBOOT ?? 0) > 0 ? 'yes' : 'no';
}

function fleetFigures(hosts: readonly HostRow[], roster: Roster): ComplianceReport['fleet'] {
  const having = (test: (host: HostRow) => boolean) => hosts.filter(test).length;
  const verdicts = (verdict: Verdict) => having((host) => host.verdict === verdict);
  const withState = (state: PatchState) => having(({ counts }) => (counts?.[state] ?? 0) > 0);
  const compliant = verdicts('compliant');
  const ages = hosts.flatMap(({ evidenceAgeSeconds }) => evidenceAgeSeconds ?? []).toSorted((a, b) => a - b);
  const oldest = hosts
    .flatMap(({ evidenceAt }) => evidenceAt ?? [])
    .reduce<string | null>((a, b) => (a === null || b < a ? b : a), null);
  return {
    denominator: hosts.length,
    compliant,
    nonCompliant: verdicts('non-compliant'),
    stale: verdicts('stale'),
    neverReported: verdicts('never-reported'),
    disputed: verdicts('disputed'),
    compliantPercent: hosts.length === 0 ? null : Math.floor((compliant * 1000) / hosts.length) / 10,
    oldestEvidenceAt: oldest,
    medianEvidenceAgeSeconds: ages[Math.floor((ages.length - 1) / 2)] ?? null,
    rebootNeeded: having((host) => host.rebootNeeded === 'yes'),
    policyExpired: having(({ policyExpired }) => policyExpired === 'soft' || policyExpired === 'hard'),
    withGaps: having(({ results }) => results.gaps.length > 0),
    reverted: having(({ results }) => results.forks.some(({ kind }) => kind === 'reverted')),
    kept: {
      held: withState('HELD'),
      pendingApproval: withState('PENDING_APPROVAL'),
      rejectedInstalled: withState('INSTALLED_REJECTED'),
      notApproved: withState('AVAILABLE_SECURITY_UPDATE'),
      excepted: withState('EXCEPTED'),
      recalledInstalled: withState('RECALLED_INSTALLED'),
    },
    revoked: roster.agents.filter(({ status }) => status === 'revoked').length,
  };
}

function outsideRows(roster: Roster, records: ReadonlyMap<string, HostRecord>): ComplianceReport['outside'] {
  const known = new Map(roster.agents.map((entry) => [entry.id, entry]));
  const revoked = roster.agents.filter(({ status }) => status === 'revoked').map(({ id }) => id);
  const strangers = [...records.keys()].filter((agent) => !known.has(agent));
  return [...revoked, ...strangers].toSorted(compare).map((agent) => {
    const why = known.has(agent) ? ('revoked' as const) : ('not-in-roster' as const);
    return { agent, title: known.get(agent)?.title ?? null, why, lastHeardAt: records.get(agent)?.lastAt ?? null };
  });
}

function patchRows(
  fleet: Fleet,
  fresh: ReadonlySet<string>,
  inFleet: ReadonlySet<string>,
  catalogs: readonly Catalog[] | undefined,
): PatchRow[] {
  const known = new Map<string, Patch>(
    (catalogs ?? []).flatMap((catalog) => catalog.patches.map((patch) => [`${catalog.product}\n${patch.id}`, patch] as const)),
  );
  const rows = new Map<string, PatchRow>();
  const rowOf = (product: string, patch: string): PatchRow => {
    const key = `${product}\n${patch}`;
    let row = rows.get(key);
    if (row === undefined) {
      const entry = known.get(key);
      row = {
        product,
        patch,
        title: entry?.title ?? null,
        severity: entry?.severity ?? null,
        cves: entry === undefined ? null : entry.cves.toSorted(compareCves),
        counts: emptyCounts(),
        hosts: {},
        lastKnownOpen: [],
      };
      rows.set(key, row);
    }
    return row;
  };
  for (const { product, patch, state, hosts } of fleet.patchCounts([...fresh])) rowOf(product, patch).counts[state] += hosts;
  for (const { agent, product, patch, state } of fleet.openFindings()) {
    if (!inFleet.has(agent)) continue;
    const row = rowOf(product, patch);
    if (fresh.has(agent)) (row.hosts[state] ??= []).push(agent);
    else if (OPEN_STATES.has(state)) row.lastKnownOpen.push(agent);
  }
  return [...rows.values()].toSorted((a, b) => compare(a.product, b.product) || compare(a.patch, b.patch));
}

function cveRows(patches: readonly PatchRow[]): NonNullable<ComplianceReport['cves']> {
  const found = new Map<string, { patches: Set<string>; hosts: Set<string>; last: Set<string> }>();
  for (const { patch, cves, hosts, lastKnownOpen } of patches) {
    const open = PATCH_STATES.flatMap((state) => (OPEN_STATES.has(state) ? (hosts[state] ?? []) : []));
    if (open.length === 0 && lastKnownOpen.length === 0) continue;
    for (const cve of cves ?? []) {
      const entry = found.get(cve) ?? { patches: new Set(), hosts: new Set(), last: new Set() };
      found.set(cve, entry);
      entry.patches.add(patch);
      for (const agent of open) entry.hosts.add(agent);
      for (const agent of lastKnownOpen) entry.last.add(agent);
    }
  }
  return [...found]
    .toSorted(([a], [b]) => compareCves(a, b))
    .map(([cve, entry]) => ({
      cve,
      patches: [...entry.patches].toSorted(compare),
      hosts: [...entry.hosts].toSorted(compare),
      lastKnownOpen: [...entry.last].toSorted(compare),
    }));
}

const emptyCounts = (): Counts => Object.fromEntries(PATCH_STATES.map((state) => [state, 0])) as Counts;

const compare = (a: string, b: string): number => (a < b ? -1 : a > b ? 1 : 0);

/** CVE-2024-9999 before CVE-2024-10000. */
function compareCves(a: string, b: string): number {
  const [, yearA = '', numberA = ''] = a.split('-');
  const [, yearB = '', numberB = ''] = b.split('-');
  return compare(yearA, yearB) || numberA.length - numberB.length || compare(numberA, numberB);
}
