// The fuse of a rollout: between two signings a relay counts the results it has verified, and stops offering when too many fail.
// It can halt and never release (field guide 8, row 4).
import type { Fuse } from '#manifests/schema';
import { momentOf } from './text.ts';

/** One verified result of a run in the fuse's scope. */
export interface FuseReport {
  readonly agent: string;
  readonly at: number;
  readonly ok: boolean;
}

export type FuseState =
  | { readonly tripped: false; readonly reports: number; readonly failures: number }
  | { readonly tripped: true; readonly reports: number; readonly failures: number; readonly at: number; readonly says: string };

/** Counts the last report of each host in the time looked at. So many failures are let pass; one more trips it. @param at milliseconds */
export function fuseState(fuse: Fuse, reports: readonly FuseReport[], at: number): FuseState {
  const last = new Map<string, FuseReport>();
  for (const report of reports.toSorted((a, b) => a.at - b.at)) {
    if (report.at > at - fuse.withinHours * 3_600_000 && report.at <= at) last.set(report.agent, report);
  }
  const counted = last.size;
  const failures = [...last.values()].filter(({ ok }) => !ok).length;
  const limit = fuse.maxFailures;
  const tooMany = 'hosts' in limit ? failures > limit.hosts : failures * 100 > limit.percent * counted;
  if (counted < fuse.minReports || !tooMany) return { tripped: false, reports: counted, failures };
  const allowed = 'hosts' in limit ? `${limit.hosts} are` : `${limit.percent} % is`;
  return {
    tripped: true,
    reports: counted,
    failures,
    at,
    says: `${failures} of ${counted} hosts failed within ${fuse.withinHours} hours (${allowed} allowed), as of ${momentOf(at)}`,
  };
}
