// `patch list · show · add`: what the publisher knows of patches.
import { join } from 'node:path';
import { defineFaults, EXIT } from '#manifests/errors';
import type { CommandContext, CommandSpec } from '#manifests/platform/cli';
import { formatBytes } from '#manifests/platform/progress';
import { openPayloadStore } from '#manifests/repository';
import { CLASSIFICATIONS, type Patch, SEVERITIES, suggestion } from '#manifests/schema';
import { type CatalogStore, openCatalogStore } from '../catalog/index.ts';
import { argument, counted, flag, homeOf, type Tools, table, textOption } from './common.ts';
import { patchAddCommand } from './patch-add.ts';

const fault = defineFaults('patches', {
  unknown: {
    exit: EXIT.usage,
    next: 'See `publisher patch list` for the ids; the beginning of one is enough if only one begins so.',
  },
  'unknown-product': { exit: EXIT.usage, next: 'See `publisher source list` for the products.' },
});

interface Row {
  readonly product: string;
  readonly patch: Patch;
}

export function patchCommands(tools: Tools): CommandSpec[] {
  return [
    patchAddCommand(tools),
    {
      name: 'patch list',
      summary: 'List known patches',
      args: [{ name: '[start]', says: 'only patches whose id begins with this' }],
      options: [
        { flags: '--product <product>', says: 'of this product only' },
        { flags: '--severity <severity>', says: 'of this severity only', choices: SEVERITIES },
        { flags: '--classification <which>', says: 'of this classification only', choices: CLASSIFICATIONS },
        { flags: '--cve <id>', says: 'only those that mend this CVE' },
      ],
      examples: [
        { line: 'publisher patch list --product debian-12 --severity high', says: 'Severe ones of Debian 12.' },
        { line: 'publisher patch list --cve CVE-2024-3094', says: 'What mends one CVE.' },
      ],
      async run(context) {
        const home = homeOf(context, tools);
        using catalog = openCatalogStore(home.catalogFolder);
        const rows = rowsOf(catalog, context, tools).filter(({ patch }) => matches(patch, context));
        return {
          exit: EXIT.done,
          text: [
            ...(rows.length === 0
              ? []
              : [
                  table(
                    ['PRODUCT', 'PATCH', 'CLASS', 'SEVERITY', 'FIRST SEEN', 'PACKAGES', 'CVES'],
                    rows.map(({ product, patch }) => [
                      product,
                      patch.id,
                      patch.classification,
                      patch.severity,
                      patch.firstSeen,
                      String(patch.packages.length),
                      patch.cves.length === 0 ? '-' : String(patch.cves.length),
                    ]),
                  ),
                ]),
            counted(rows.length, 'patch', 'patches'),
          ].join('\n'),
          report: {
            schema: 'patchferry/patches',
            schemaVersion: 1,
            patches: rows.map(({ product, patch }) => ({ product, ...patch })),
          },
        };
      },
    },
    {
      name: 'patch show',
      summary: 'Show one patch: dates, CVEs, packages, and which payloads are here',
      args: [{ name: '<patch>', says: 'id, or the beginning of one' }],
      options: [
        { flags: '--product <product>', says: 'of this product only' },
        { flags: '--history', says: 'all versions of its source package ever seen' },
      ],
      examples: [{ line: 'publisher patch show openssl@3.0.15-1~deb12u1', says: 'One patch.' }],
      async run(context) {
        const home = homeOf(context, tools);
        using catalog = openCatalogStore(home.catalogFolder);
        const payloads = openPayloadStore(join(home.repositoryFolder, 'payloads'));
        const { product, patch } = oneOf(rowsOf(catalog, context, tools), argument(context, 0));
        const packages = patch.packages.map((one) => ({ ...one, here: payloads.has(one.sha256, one.size) }));
        const history = flag(context, 'history') ? catalog.historyOf(product, patch.source) : [];
        const text = [
          `${patch.id} (${product}, from ${patch.repository})`,
          patch.title,
          `${patch.classification}, severity ${patch.severity}, section ${patch.section || '-'}, priority ${patch.priority || '-'}`,
          `first seen ${patch.firstSeen}, released ${patch.released ?? 'unknown'}, updated ${patch.updated ?? 'unknown'}`,
          `CVEs: ${patch.cves.length === 0 ? 'none known' : patch.cves.join(', ')}`,
          ...(patch.advisories.length === 0 ? [] : [`advisories: ${patch.advisories.join(', ')}`]),
          '',
          table(
            ['PACKAGE', 'VERSION', 'ARCH', 'SIZE', 'HERE', 'SHA256'],
            packages.map((one) => [
              one.name,
              one.version,
              one.arch,
              formatBytes(one.size),
              one.here ? 'yes' : 'no',
              one.sha256,
            ]),
          ),
          ...(history.length === 0
            ? []
            : [
                '',
                table(
                  ['SEEN', 'PATCH', 'WITHDRAWN'],
                  history.map((one) => [
                    one.patch.firstSeen,
                    one.patch.id,
                    one.withdrawnAt === null ? 'no' : new Date(one.withdrawnAt).toISOString(),
                  ]),
                ),
              ]),
        ].join('\n');
        return {
          exit: EXIT.done,
          text,
          report: { schema: 'patchferry/patch', schemaVersion: 1, product, patch: { ...patch, packages }, history },
        };
      },
    },
  ];
}

function rowsOf(catalog: CatalogStore, context: CommandContext, tools: Tools): Row[] {
  const product = textOption(context, 'product');
  const known = catalog.products();
  if (product !== undefined && !known.includes(product)) {
    throw fault('unknown-product', `there is no catalog of ${product}${suggestion(product, known)}`, { where: product });
  }
  return (product === undefined ? known : [product]).flatMap((name) =>
    catalog.catalogOf(name, tools.clock.now()).patches.map((patch) => ({ product: name, patch })),
  );
}

function matches(patch: Patch, context: CommandContext): boolean {
  const severity = textOption(context, 'severity');
  const classification = textOption(context, 'classification');
  const cve = textOption(context, 'cve');
  return (
    patch.id.startsWith(argument(context, 0)) &&
    (severity === undefined || patch.severity === severity) &&
    (classification === undefined || patch.classification === classification) &&
    (cve === undefined || patch.cves.includes(cve.toUpperCase()))
  );
}

function oneOf(rows: readonly Row[], id: string): Row {
  const exact = rows.filter(({ patch }) => patch.id === id);
  const found = exact.length > 0 ? exact : rows.filter(({ patch }) => patch.id.startsWith(id));
  if (found.length === 1 && found[0] !== undefined) return found[0];
  const says =
    found.length === 0
      ? `no patch begins with ${JSON.stringify(id)}`
      : `${found.length} patches begin with ${JSON.stringify(id)}: ${found
          .slice(0, 5)
          .map(({ product, patch }) => `${product} ${patch.id}`)
          .join(', ')}`;
  throw fault('unknown', says, { where: id });
}
