// `report`: the truth about the fleet from collected results, as a table, CSV, JSON or one HTML page.
import { defineFaults, EXIT } from '#manifests/errors';
import type { CommandSpec } from '#manifests/platform/cli';
import { writeFileAtomic } from '#manifests/platform/files';
import { suggestion } from '#manifests/schema';
import { openCatalogStore } from '../catalog/index.ts';
import {
  type ComplianceReport,
  complianceReport,
  readHostDetails,
  renderCsv,
  renderHtml,
  renderTable,
} from '../report/index.ts';
import { readRoster } from '../roster/index.ts';
import { homeOf, listOption, type Tools, textOption } from './common.ts';
import { recordsOf } from './site-halts.ts';

const fault = defineFaults('report-query', {
  hours: { exit: EXIT.usage, next: 'Give a number of hours of at least 1.' },
  'unknown-host': { exit: EXIT.usage, next: 'See `publisher agent list` for titles and ids.' },
});

const FORMATS = ['table', 'html', 'csv', 'csv-patches', 'json'] as const;

export function reportCommands(tools: Tools): CommandSpec[] {
  return [
    {
      name: 'report',
      summary: 'Compliance of every host and patch, from the results collected so far',
      options: [
        {
          flags: '--format <format>',
          says: 'table, html (one self-contained page), csv (hosts), csv-patches, json',
          choices: FORMATS,
          fallback: 'table',
        },
        { flags: '-o, --output <file>', says: 'write it here instead of stdout' },
        { flags: '--host <title-or-id>', says: 'html: hosts with a part of their own (several times)', many: true },
        { flags: '--stale-after <hours>', says: 'evidence older than this no longer counts', fallback: '72' },
      ],
      examples: [
        { line: 'publisher report', says: 'A table. Exit 0 when every host is compliant, 1 when one is not or nobody knows.' },
        { line: 'publisher report --format html -o report.html', says: 'One page for a browser, nothing else needed.' },
        { line: 'publisher report --json', says: 'All figures as one document.' },
      ],
      async run(context) {
        const home = homeOf(context, tools);
        const hours = Number(textOption(context, 'staleAfter') ?? '72');
        if (!(hours >= 1 && hours <= 87_600))
          throw fault('hours', '--stale-after is no number of hours', { where: '--stale-after' });
        using catalog = openCatalogStore(home.catalogFolder);
        const report = complianceReport(home.storeFile, {
          roster: readRoster(home.rosterFile),
          catalogs: catalog.products().map((product) => catalog.catalogOf(product, tools.clock.now())),
          relays: recordsOf(home, tools.clock.now()),
          at: tools.clock.now(),
          staleAfterHours: hours,
        });
        const named = listOption(context, 'host');
        checkHosts(report, named);
        const output = textOption(context, 'output');
        const text = render(report, textOption(context, 'format') ?? 'table', {
          details: () => readHostDetails(home.storeFile, report, named),
          terminal: output === undefined ? process.stdout : undefined,
        });
        if (output !== undefined) writeFileAtomic(output, text);
        const compliant = report.hosts.length > 0 && report.hosts.every(({ verdict }) => verdict === 'compliant');
        return {
          exit: compliant ? EXIT.done : EXIT.findings,
          text: output === undefined ? text : `report written to ${output}`,
          report: { ...report },
        };
      },
    },
  ];
}

function checkHosts(report: ComplianceReport, named: readonly string[]): void {
  const titles = report.hosts.map(({ title }) => title);
  for (const name of named) {
    if (titles.includes(name) || report.hosts.some(({ agent }) => agent === name)) continue;
    throw fault('unknown-host', `there is no host "${name}"${suggestion(name, titles)}`, { where: '--host' });
  }
}

function render(
  report: ComplianceReport,
  format: string,
  { details, terminal }: { details: () => ReturnType<typeof readHostDetails>; terminal: NodeJS.WriteStream | undefined },
): string {
  if (format === 'html') return renderHtml(report, details());
  if (format === 'csv') return renderCsv(report, 'hosts');
  if (format === 'csv-patches') return renderCsv(report, 'patches');
  if (format === 'json') return `${JSON.stringify(report)}\n`;
  const color = terminal?.isTTY === true && (process.env['NO_COLOR'] ?? '') === '';
  return renderTable(report, { width: terminal?.isTTY === true ? terminal.columns : undefined, color });
}
