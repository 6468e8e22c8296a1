// `import`, `export`, `show`, `courier key`: sticks and drop folders, by hand. One command does a whole visit with a stick.
import { resolve } from 'node:path';
import { describeBundle, findBundles, type Receipt } from '#manifests/bundle';
import { formatCard, onStick, openSite, publisherKeys, type ReceivedRow } from '#manifests/courier';
import { defineFaults, EXIT, isFault, type PatchferryError } from '#manifests/errors';
import type { CommandContext, CommandSpec, OptionSpec, Outcome } from '#manifests/platform/cli';
import { createLog, silentLog } from '#manifests/platform/log';
import { formatBytes } from '#manifests/platform/progress';
import { counted, type ExportReport, exportReturn, importBundles, trustedRoots } from '../courier/index.ts';
import { foldersOf, REQUEST_LEVELS, type RelaySettings, settingsOf } from '../settings.ts';

const fault = defineFaults('show', {
  nothing: { exit: EXIT.usage, next: 'Name the stick or folder, or the .pfb.json file of one bundle.' },
});

const FOLDER_OPTION: OptionSpec = { flags: '--folder', says: 'the place is a folder on a disk, no prepared stick' };
const DRY_RUN: OptionSpec = { flags: '--dry-run', says: 'say what would be done; nothing is copied, written or changed' };

function common(context: CommandContext, settings: RelaySettings) {
  const place = resolve(String(context.args[0]));
  const isDrop = settings.dropFolder !== undefined && resolve(settings.dropFolder) === place;
  const folder = context.options['folder'] === true || (isDrop && settings.dropMedium === 'folder');
  return {
    settings,
    place,
    medium: folder ? 'folder' : 'stick',
    log: settings.logLevel === 'debug' ? createLog('relay', 'debug') : silentLog,
    dryRun: context.options['dryRun'] === true,
    signal: context.signal,
    progress: (label: string, total: number) => context.progress(label, total),
  } as const;
}

export const importCommand: CommandSpec = {
  name: 'import',
  summary: 'take bundles from a stick or folder; on a stick, put the answers on it in the same visit',
  args: [{ name: '<place>', says: 'where the stick is mounted, or a folder' }],
  options: [FOLDER_OPTION, { flags: '--no-return', says: 'do not put results and the missing list on the stick' }, DRY_RUN],
  examples: [
    { line: 'patchferry-relay import /media/stick', says: 'the whole visit: bundles in, receipt and answers onto the stick' },
    {
      line: 'patchferry-relay import --dry-run /media/stick',
      says: 'what is on it for this site, and whether it would be taken',
    },
    { line: 'patchferry-relay import --folder /srv/transfer', says: 'from a folder that another system filled' },
  ],
  async run(context) {
    const settings = settingsOf(context);
    const options = common(context, settings);
    let failure: PatchferryError | undefined;
    const report = await importBundles(options).catch((error: unknown) => {
      // A stick that comes empty to fetch answers is a visit too.
      if (!isFault(error, 'courier.nothing') || options.medium === 'folder') throw error;
      failure = error;
      return { rows: [], receipt: null, others: 0, error: null };
    });
    const wanted = options.medium === 'stick' && settings.returns !== 'nothing' && context.options['return'] !== false;
    const returned = wanted ? await exportReturn(options) : undefined;
    if (failure !== undefined && returned?.anything !== true) throw failure;
    return {
      exit: exitOf(report.rows, report.error, returned),
      text: [
        ...report.rows.flatMap(rowLines),
        ...(report.others > 0 ? [`for other sites, not touched: ${counted(report.others, 'bundle')}`] : []),
        ...(returned === undefined ? [] : returnLines(returned)),
        ...(report.receipt === null ? [] : [`the receipt for the courier is ${report.receipt}`]),
        ...(options.medium === 'stick' && !options.dryRun && returned?.anything === true ? ['now take the stick back'] : []),
      ].join('\n'),
      report: {
        schema: 'patchferry/relay-import',
        schemaVersion: 1,
        place: options.place,
        dryRun: options.dryRun,
        ...report,
        error: errorOf(report.error),
        returned: returned ?? null,
      },
    };
  },
};

export const exportCommand: CommandSpec = {
  name: 'export',
  summary: 'put sealed results, enrolments and the missing list onto a stick or into a folder',
  args: [{ name: '<place>', says: 'where the stick is mounted, or a folder' }],
  options: [
    FOLDER_OPTION,
    { flags: '--request-level <level>', says: 'what the missing list says of a payload', choices: REQUEST_LEVELS },
    DRY_RUN,
  ],
  examples: [
    { line: 'patchferry-relay export /media/stick', says: 'exit 3 when there is nothing to tell' },
    {
      line: 'patchferry-relay export --request-level hashes /media/stick',
      says: 'the missing list names hashes and sizes only',
    },
  ],
  async run(context): Promise<Outcome> {
    const settings = settingsOf(context);
    const report = await exportReturn(common(context, settings));
    return {
      exit: report.anything ? EXIT.done : EXIT.current,
      text: returnLines(report).join('\n'),
      report: { schema: 'patchferry/relay-export', schemaVersion: 1, ...report },
    };
  },
};

export const courierKey: CommandSpec = {
  name: 'courier key',
  summary:
    'the card of this site (name and public keys), made on first use; the publisher takes it with `bundle site add`, and with `site add --relay` so that it may halt',
  examples: [{ line: 'patchferry-relay courier key --site ward-7', says: 'one line; it holds nothing secret' }],
  async run(context) {
    const settings = settingsOf(context);
    const { name, card } = await openSite(foldersOf(settings).courier, settings.site);
    const text = formatCard(card);
    return { exit: EXIT.done, text, report: { schema: 'patchferry/site-card', schemaVersion: 1, name, card: text } };
  },
};

export const show: CommandSpec = {
  name: 'show',
  summary: 'exactly what is in the bundles of a stick or folder, of either direction; nothing is taken',
  args: [{ name: '<place>', says: 'stick, folder, or the .pfb.json file of one bundle' }],
  examples: [{ line: 'patchferry-relay show /media/stick', says: 'before it leaves: every file, its size and hash' }],
  async run(context) {
    const settings = settingsOf(context);
    const place = resolve(String(context.args[0]));
    const site = await openSite(foldersOf(settings).courier, settings.site);
    const found = place.endsWith('.pfb.json')
      ? [place]
      : await onStick(place, () => findBundles(place).map(({ index }) => index));
    if (found.length === 0) throw fault('nothing', `there is no bundle in ${place}`, { where: place });
    const keys = [...publisherKeys(trustedRoots(settings), place).bundles, site.card.signKey];
    const shown = [];
    for (const index of found) shown.push(await describeBundle({ index, keys, recipient: site.box }));
    return {
      exit: EXIT.done,
      text: shown.map(({ text }) => text).join('\n'),
      report: {
        schema: 'patchferry/bundle-show',
        schemaVersion: 1,
        bundles: shown.map(({ text: _text, index: { inline: _inline, ...index }, known, entries }) => ({
          index,
          known,
          entries: entries ?? null,
        })),
      },
    };
  },
};

function exitOf(rows: readonly ReceivedRow[], error: PatchferryError | null, back: ExportReport | undefined): Outcome['exit'] {
  if (error === null) return EXIT.done;
  // Nothing new came, and there are answers to take back: that visit did what it was for.
  const answers = back !== undefined && (back.results > 0 || back.enrolments > 0 || back.request !== null);
  if (error.exit === EXIT.current && answers) return EXIT.done;
  // A stick that was here before and has nothing new is "nothing to do", also when an older bundle still lies on it.
  return rows.every(({ outcome }) => outcome === 'current' || outcome === 'imported') &&
    rows.some(({ outcome }) => outcome === 'imported')
    ? EXIT.done
    : error.exit;
}

const WORDS: Readonly<Record<Receipt['bundles'][number]['outcome'] | 'planned' | 'current', string>> = {
  imported: 'imported',
  partial: 'NOT COMPLETE',
  refused: 'REFUSED',
  exported: 'exported',
  planned: 'dry run',
  current: 'nothing new',
};

function rowLines({ bundle, outcome, says, code, next, note }: ReceivedRow): string[] {
  if (outcome === 'current') return [`${WORDS[outcome]}: ${bundle} was taken over before`];
  return [
    `${WORDS[outcome]}: ${bundle}: ${says}`,
    ...(next === null ? [] : [`  next:  ${next}`]),
    ...(code === null ? [] : [`  code:  ${code}`]),
    ...(note === null ? [] : [`  note:  ${note}`]),
  ];
}

function returnLines({ bundle, results, enrolments, bytes, request }: ExportReport): string[] {
  return [
    ...(bundle === null
      ? ['no results to take along']
      : [
          results + enrolments === 0
            ? `take along: ${bundle}: nothing but the word of what arrived here`
            : `take along: ${bundle}: ${counted(results, 'result')}, ${counted(enrolments, 'enrolment')}, ${formatBytes(bytes)}; they stay here until the publisher has them`,
        ]),
    ...(request === null
      ? []
      : [
          `missing here: ${counted(request.payloads, 'payload')}, ${formatBytes(request.bytes)}${request.file === '' ? '' : `; the list for reviewers is ${request.file}`}`,
        ]),
  ];
}

function errorOf(error: PatchferryError | null): { code: string; message: string; next: string } | null {
  return error === null ? null : { code: error.code, message: error.message, next: error.next };
}
