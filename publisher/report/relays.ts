// What relays said under their own names, as the report tells it: sites that stopped themselves, and results that had to be dropped on
// the way, with how many of these are still missing. Counts are never lost: a dropped result stays a gap until its host has sent it again.
import type { RelayRecords } from '../results/index.ts';
import type { ComplianceReport } from './schema.ts';

/** What is known of the results of an agent. */
interface Chain {
  /** Highest sequence number that came; null: none. */
  readonly highest: number | null;
  readonly gaps: ReadonlyArray<{ readonly from: number; readonly to: number }>;
}

/**
 * @param at the moment of the report, `YYYY-MM-DDTHH:MM:SSZ`: what was signed later is left out
 * @param known title and chain of an agent, where anything is known
 */
export function relayFigures(
  records: RelayRecords,
  at: string,
  known: (agent: string) => { readonly title: string | null; readonly chain: Chain | null },
): NonNullable<ComplianceReport['relays']> {
  const halts = records.halts
    .filter(({ signedAt }) => signedAt <= at)
    .map(({ id, key, site, name, signedAt, groups, stops, reason, until, fuse, state, says }) => ({
      id,
      key,
      site,
      name,
      by: fuse === null ? ('hand' as const) : ('fuse' as const),
      signedAt,
      until,
      groups: [...groups],
      stops: [...stops],
      reason,
      failed: fuse === null ? null : { reports: fuse.reports, failures: fuse.failures },
      state,
      says,
    }));
  const drops = records.dropped.filter(({ signedAt }) => signedAt <= at);
  const dropped = drops.map(({ agent, site, key, known: delegated, signedAt, why, dropped: ranges, results, bytes }) => {
    const { title, chain } = known(agent);
    return {
      agent,
      title,
      site,
      key,
      delegated,
      signedAt,
      why,
      ranges: ranges.map(({ from, to }) => ({ from, to })),
      results,
      bytes,
      missing: ranges.reduce((sum, range) => sum + missingOf(range, chain), 0),
    };
  });
  return {
    haltsInForce: halts.filter(({ state }) => state === 'in-force').length,
    droppedResults: dropped.reduce((sum, { results }) => sum + results, 0),
    droppedMissing: stillMissing(dropped, known),
    halts,
    dropped,
  };
}

/** Numbers of a run that have not come: in a gap, or above all that came. */
function missingOf({ from, to }: { from: number; to: number }, chain: Chain | null): number {
  if (chain === null || chain.highest === null) return to - from + 1;
  const beyond = Math.max(0, to - Math.max(from, chain.highest + 1) + 1);
  return chain.gaps.reduce((sum, gap) => sum + Math.max(0, Math.min(to, gap.to) - Math.max(from, gap.from) + 1), beyond);
}

/** The same over all records: a number that two relays dropped is missing once. */
function stillMissing(
  dropped: ReadonlyArray<{ readonly agent: string; readonly ranges: ReadonlyArray<{ from: number; to: number }> }>,
  known: (agent: string) => { readonly chain: Chain | null },
): number {
  let sum = 0;
  for (const [agent, rows] of Map.groupBy(dropped, (row) => row.agent)) {
    const { chain } = known(agent);
    let end = Number.NEGATIVE_INFINITY;
    for (const { from, to } of rows.flatMap(({ ranges }) => ranges).toSorted((a, b) => a.from - b.from)) {
      const start = Math.max(from, end + 1);
      if (start <= to) sum += missingOf({ from: start, to }, chain);
      end = Math.max(end, to);
    }
  }
  return sum;
}
