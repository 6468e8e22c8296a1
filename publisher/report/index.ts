// Reports over the result store: one document of figures, and its renderings for terminals, spreadsheets and browsers.
import { type HostDetail, openFleet } from '../results/index.ts';
import type { ComplianceReport } from './schema.ts';

export { type ComplianceOptions, complianceReport } from './compliance.ts';
export { renderCsv } from './csv.ts';
export { renderHtml } from './page.ts';
export {
  type ComplianceReport,
  complianceReport as complianceReportSchema,
  type HostRow,
  type PatchRow,
  type Verdict,
} from './schema.ts';
export { renderTable, type TableOptions } from './table.ts';

/** Hosts that get their own part on the HTML page when none are named. */
const DETAILED_HOSTS = 200;

/**
 * Details for `renderHtml`: of the hosts named by agent id or title, or else of those that ran or need attention (the first
 * 200, attention first). @throws results.store-missing
 */
export function readHostDetails(storeFile: string, report: ComplianceReport, named: readonly string[] = []): HostDetail[] {
  const wanted = new Set(named);
  const chosen =
    named.length > 0
      ? report.hosts.filter(({ agent, title }) => wanted.has(agent) || wanted.has(title))
      : report.hosts
          .filter(({ verdict, lastRun }) => lastRun !== null || verdict === 'non-compliant' || verdict === 'disputed')
          .toSorted((a, b) => Number(a.verdict === 'compliant') - Number(b.verdict === 'compliant'))
          .slice(0, DETAILED_HOSTS);
  const fleet = openFleet(storeFile);
  try {
    return chosen.map(({ agent }) => fleet.detail(agent));
  } finally {
    fleet.close();
  }
}
