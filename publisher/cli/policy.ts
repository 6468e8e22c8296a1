// `policy check` and `policy resolve`: what is wrong with the authored policy, and what it would approve, signing nothing.
import { relative } from 'node:path';
import { defineFaults, EXIT } from '#manifests/errors';
import type { CommandSpec } from '#manifests/platform/cli';
import { utcSeconds } from '#manifests/platform/clock';
import { type Problem, suggestion } from '#manifests/schema';
import { openCatalogStore } from '../catalog/index.ts';
import type { PublisherHome } from '../home.ts';
import {
  DECISIONS,
  decisionsOf,
  NO_FACTS,
  type PatchDecision,
  type PolicySet,
  readPolicy,
  resolvePolicy,
} from '../policy/index.ts';
import { readKev } from '../sources/index.ts';
import { argument, counted, flag, homeOf, type Tools, table, textOption } from './common.ts';

const fault = defineFaults('policy-query', {
  'unknown-name': { exit: EXIT.usage, next: 'See `publisher policy check` and `publisher patch list` for what there is.' },
  moment: { exit: EXIT.usage, next: 'Write it as 2026-01-31T00:00:00Z.' },
});

/** Policy of a home, with places a person can open from where they are. */
export function policyOf(home: PublisherHome): PolicySet {
  const label = (folder: string) => {
    const near = relative(process.cwd(), folder);
    return near === '' || near.startsWith('..') ? folder : near;
  };
  const beside = [home.haltsFolder, home.waiversFolder].map((folder) => ({ folder, label: label(folder) }));
  return readPolicy(home.policyFolder, label(home.policyFolder), beside);
}

/** Baselines for products that no source and no catalog of this home brings: allowed while policy is written, not at `publish`. */
function unknownProducts(policy: PolicySet, products: readonly string[]): Problem[] {
  return [...policy.baselines.values()].flatMap(({ document, at }) => {
    const { product } = document.spec;
    if (products.includes(product)) return [];
    const says = `no source brings ${product}${suggestion(product, products)}; publish refuses until one does`;
    return [{ ...at(['spec', 'product']), field: 'spec.product', says }];
  });
}

const row = ({ file, line, column, field, says }: Problem) =>
  `${file}:${line}:${column}: ${field === '' ? '' : `${field}: `}${says}`;

export function policyCommands(tools: Tools): CommandSpec[] {
  return [
    {
      name: 'policy check',
      summary: 'Read and cross-check the authored policy; signs nothing',
      examples: [
        {
          line: 'publisher policy check',
          says: 'Every problem with file, line and column. Exit 0 when there is none, 2 else.',
        },
        { line: 'publisher policy check --json', says: 'The same for a program.' },
      ],
      async run(context) {
        const home = homeOf(context, tools);
        const policy = policyOf(home);
        using catalog = openCatalogStore(home.catalogFolder);
        const products = [...new Set([...home.settings.sources.map(({ product }) => product), ...catalog.products()])];
        const remarks = [...policy.remarks, ...unknownProducts(policy, products)];
        const lines = [
          ...policy.problems.map(row),
          ...remarks.map((remark) => `${row(remark)} (remark)`),
          `${counted(policy.baselines.size, 'baseline')}, ${counted(policy.windows.size, 'window')}, ` +
            `${counted(policy.groups.size, 'group')} in ${counted(policy.files.length, 'file')}: ` +
            `${counted(policy.problems.length, 'problem')}, ${counted(remarks.length, 'remark')}`,
        ];
        return {
          exit: policy.problems.length === 0 ? EXIT.done : EXIT.usage,
          text: lines.join('\n'),
          report: {
            schema: 'patchferry/policy-check',
            schemaVersion: 1,
            files: policy.files,
            baselines: [...policy.baselines.keys()],
            windows: [...policy.windows.keys()],
            groups: [...policy.groups.keys()],
            problems: policy.problems,
            remarks,
          },
        };
      },
    },
    {
      name: 'policy resolve',
      summary: 'Say what each baseline would approve, hold back or reject now, and why; signs nothing',
      args: [{ name: '[patch]', says: 'only patches whose id begins with this' }],
      options: [
        { flags: '--baseline <name>', says: 'only this baseline' },
        { flags: '--at <moment>', says: 'as of this moment instead of now (2026-01-31T00:00:00Z)' },
        { flags: '--decision <which>', says: 'only these decisions', choices: DECISIONS },
        { flags: '--summary', says: 'counts only' },
      ],
      examples: [
        {
          line: 'publisher policy resolve --baseline debian-12-careful',
          says: 'A row for each patch with rule, date and reason.',
        },
        { line: 'publisher policy resolve openssl@', says: 'What every baseline says about openssl.' },
        { line: 'publisher policy resolve --decision pending --at 2026-12-24T00:00:00Z', says: 'What would still wait then.' },
      ],
      async run(context) {
        const home = homeOf(context, tools);
        const policy = policyOf(home);
        const at = momentOption(textOption(context, 'at')) ?? tools.clock.now();
        using store = openCatalogStore(home.catalogFolder);
        const catalogs = store.products().map((product) => store.catalogOf(product, tools.clock.now()));
        const resolved = resolvePolicy(policy, catalogs, at, { ...NO_FACTS, kev: readKev(home.feedsFolder) });
        const named = textOption(context, 'baseline');
        const known = resolved.baselines.map(({ name }) => name);
        if (named !== undefined && !known.includes(named)) {
          throw fault('unknown-name', `there is no baseline "${named}"${suggestion(named, known)}`, { where: '--baseline' });
        }
        const wanted = argument(context, 0);
        const only = textOption(context, 'decision');
        const baselines = resolved.baselines.filter(({ name }) => named === undefined || name === named);
        const rows = baselines.flatMap((baseline) => {
          const catalog = catalogs.find(({ product }) => product === baseline.product);
          return catalog === undefined ? [] : decisionsOf(baseline, catalog);
        });
        const shown = rows.filter(
          ({ patch, decision }) => patch.startsWith(wanted) && (only === undefined || decision === only),
        );
        const counts = baselines.map(({ name, product }) => ({ baseline: name, product, ...countsOf(rows, name) }));
        const countRows = counts.map((one) => [
          one.baseline,
          one.product,
          ...DECISIONS.map((decision) => String(one[decision])),
        ]);
        const text = [
          ...(flag(context, 'summary') || shown.length === 0
            ? []
            : [
                table(
                  ['BASELINE', 'PATCH', 'DECISION', 'SINCE/AT', 'RULE', 'REASON'],
                  shown.map((one) => [one.baseline, one.patch, one.decision, one.at ?? '-', one.rule ?? '-', one.reason]),
                ),
                '',
              ]),
          table(['BASELINE', 'PRODUCT', ...DECISIONS.map((decision) => decision.toUpperCase())], countRows),
        ].join('\n');
        return {
          exit: EXIT.done,
          text,
          report: {
            schema: 'patchferry/policy-resolve',
            schemaVersion: 1,
            at: utcSeconds(at),
            counts,
            decisions: flag(context, 'summary') ? [] : shown,
          },
        };
      },
    },
  ];
}

function countsOf(rows: readonly PatchDecision[], baseline: string): Record<PatchDecision['decision'], number> {
  const counts = { approved: 0, pending: 0, rejected: 0, 'not-in-baseline': 0 };
  for (const one of rows) if (one.baseline === baseline) counts[one.decision] += 1;
  return counts;
}

function momentOption(given: string | undefined): number | undefined {
  if (given === undefined) return undefined;
  const at = Date.parse(given);
  if (Number.isNaN(at)) throw fault('moment', `${JSON.stringify(given)} is no moment`, { where: '--at' });
  return at;
}
