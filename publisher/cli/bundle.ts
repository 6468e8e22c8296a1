// `bundle …`: the sneakernet. Sites and sticks made known, bundles out by profile or by request, any bundle shown.
import * as fs from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { describeBundle, findBundles, prepareMedium, rangesText } from '#manifests/bundle';
import { onStick, parseCard } from '#manifests/courier';
import { EXIT } from '#manifests/errors';
import type { CommandContext, CommandSpec, OptionSpec, Outcome } from '#manifests/platform/cli';
import { utcSeconds } from '#manifests/platform/clock';
import { readFileBounded } from '#manifests/platform/files';
import { formatBytes } from '#manifests/platform/progress';
import { openPayloadStore } from '#manifests/repository';
import {
  addSite,
  type BundleExportOptions,
  type BundleExportReport,
  exportBundle,
  fault,
  listSites,
  readDocuments,
  readSite,
  requestFor,
  type SiteRecord,
  signerOf,
  wishOfRequest,
} from '../airgap/index.ts';
import type { PublisherHome } from '../home.ts';
import { openKeyring, readPublished } from '../sign/index.ts';
import {
  argument,
  counted,
  flag,
  homeOf,
  listOption,
  PASSPHRASE_OPTION,
  passphraseOf,
  type Tools,
  table,
  textOption,
  withLock,
} from './common.ts';

const MIB = 1024 * 1024;
const PACKAGE_LIST_BYTES = 4 * MIB;

const SITE = { name: '<site>', says: 'name of the site' };
export const PLACE = { name: '<place>', says: 'where the stick is mounted, or a folder' };
/** How bundles are put onto a medium. */
export const STICK_OPTIONS: readonly OptionSpec[] = [
  { flags: '--folder', says: 'the place is a folder on a disk, no prepared stick' },
  {
    flags: '--container <form>',
    says: 'folder of parts, or one file (volumes where it is larger)',
    choices: ['folder', 'tar', '7z'],
    fallback: 'folder',
  },
  { flags: '--volume-mib <n>', says: 'MiB of a part or volume; at most, and else, what a FAT32 file holds' },
  { flags: '--span', says: 'fill this stick, and go on with the next one when the command is run again' },
];
const OUT_OPTIONS: readonly OptionSpec[] = [
  ...STICK_OPTIONS,
  { flags: '--chunks <list>', says: 'only these chunks: the ones that the import named, as 7,12-14' },
  { flags: '--dry-run', says: 'say what would travel; fetches, signs and writes nothing' },
  PASSPHRASE_OPTION,
];

export function outOptionsOf(context: CommandContext): Pick<BundleExportOptions, 'container' | 'volumeBytes' | 'span'> {
  const volume = Number(textOption(context, 'volumeMib') ?? 0);
  const container = textOption(context, 'container');
  return {
    container: container === 'tar' || container === '7z' ? container : 'folder',
    volumeBytes: volume > 0 ? volume * MIB : undefined,
    span: flag(context, 'span'),
  };
}

export function bundleCommands(tools: Tools): CommandSpec[] {
  return [
    {
      name: 'bundle site add',
      summary: 'Make a closed site known: the card that `relay courier key` printed there, and its profile',
      args: [{ name: '<card>', says: 'patchferry-site:NAME:KEY:KEY' }],
      options: [
        { flags: '--product <product>', says: 'what it gets; may be given several times; all when absent', many: true },
        { flags: '--arch <architecture>', says: 'packages for these only; all when absent', many: true },
        { flags: '--packages <file>', says: 'only these packages (a name in a line) and what they need; all when absent' },
        {
          flags: '--asked-only',
          says: 'an exchange sends only payloads that are asked for or known to be lacking there, not all of the profile that are here',
        },
        { flags: '--one-way', says: 'nothing ever comes back: bundles are filled from this profile, each whole' },
        { flags: '--replace', says: 'the site is known already: take this card and profile instead' },
      ],
      examples: [
        {
          line: 'publisher bundle site add patchferry-site:ward-7:5f…:91… --product debian-12 --arch amd64',
          says: 'Its name is in the card.',
        },
      ],
      run: (context) => {
        const home = homeOf(context, tools);
        return withLock(home, 'bundle site add', () => {
          const site = addSite(
            home,
            parseCard(argument(context, 0)),
            {
              oneWay: flag(context, 'oneWay'),
              products: listOption(context, 'product'),
              architectures: listOption(context, 'arch'),
              packages: packagesOf(textOption(context, 'packages')),
              payloads: flag(context, 'askedOnly') ? 'asked' : 'profile',
            },
            { addedAt: utcSeconds(tools.clock.now()), replace: flag(context, 'replace') },
          );
          return {
            exit: EXIT.done,
            text: `site ${site.name} is known; what goes there is sealed to its key ${site.boxKey.slice(0, 16)}…`,
            report: { schema: 'patchferry/bundle-site', schemaVersion: 1, site: shown(site) },
          };
        });
      },
    },
    {
      name: 'bundle site list',
      summary: 'The closed sites, and up to where each side has what the other sent',
      examples: [{ line: 'publisher bundle site list', says: 'SENT is the last bundle made, HAS the last one the site has.' }],
      run: (context) => {
        const sites = listSites(homeOf(context, tools));
        const rows = sites.map((site) => [
          site.name,
          site.oneWay ? 'one way' : 'both ways',
          String(site.sent),
          site.oneWay ? '?' : String(site.acknowledged),
          site.oneWay ? '-' : String(site.returned),
          site.request === null ? '-' : String(site.request.sequence),
          site.products.join(', ') || 'all',
        ]);
        return Promise.resolve({
          exit: EXIT.done,
          text: table(['SITE', 'WAY', 'SENT', 'HAS', 'RETURNED', 'REQUEST', 'PRODUCTS'], rows),
          report: { schema: 'patchferry/bundle-sites', schemaVersion: 1, sites: sites.map(shown) },
        });
      },
    },
    {
      name: 'bundle stick',
      summary:
        'Prepare a mounted stick, once: it gets a signed MEDIUM.json, so that an empty mount point is never taken for it',
      args: [{ name: '<place>', says: 'where the stick is mounted' }],
      options: [
        { flags: '--label <text>', says: 'what is written on it', required: true },
        { flags: '--site <name>', says: 'it carries for these sites only; may be given several times', many: true },
        { flags: '--direction <way>', says: 'where it may carry', choices: ['both', 'inward', 'return'], fallback: 'both' },
        PASSPHRASE_OPTION,
      ],
      examples: [
        { line: 'publisher bundle stick /media/stick --label "blue stick 3"', says: 'Other files on it are left alone.' },
      ],
      run: async (context) => {
        const home = homeOf(context, tools);
        const { signer } = await signerOf(home, openKeyring(home, passphraseOf(context, tools)));
        const direction = textOption(context, 'direction');
        const medium = await prepareMedium({
          place: resolve(argument(context, 0)),
          label: textOption(context, 'label') ?? '',
          direction: direction === 'inward' || direction === 'return' ? direction : 'both',
          sites: listOption(context, 'site'),
          signer,
          madeAt: tools.clock.now(),
        });
        return {
          exit: EXIT.done,
          text: `prepared: ${medium.label} (${medium.id})`,
          report: { schema: 'patchferry/medium-prepared', schemaVersion: 1, id: medium.id, label: medium.label },
        };
      },
    },
    {
      name: 'bundle export',
      summary: 'Put what a site lacks onto a stick: metadata, documents, and payloads by its profile',
      args: [SITE, PLACE],
      options: [
        { flags: '--metadata', says: 'no payloads: the site then says what it lacks, and `bundle fill` brings that' },
        { flags: '--full', says: 'everything, also what the site has said it has' },
        { flags: '--fetch', says: "fetch the profile's payloads that are not here yet" },
        ...OUT_OPTIONS,
      ],
      examples: [
        { line: 'publisher bundle export ward-7 /media/stick', says: 'All that is new for the site since it last answered.' },
        { line: 'publisher bundle export ward-7 /media/stick --metadata', says: 'First half of the two-pass way.' },
      ],
      run: (context) => out(context, tools, flag(context, 'metadata') ? 'metadata' : 'profile'),
    },
    {
      name: 'bundle missing',
      summary: 'What the missing list of a site asks for: what is here, what must be fetched, what nobody knows',
      args: [SITE, { name: '[place]', says: 'stick or folder with REQUEST-SITE.txt; the last one collected when absent' }],
      examples: [{ line: 'publisher bundle missing ward-7 /media/stick', says: 'Nothing is fetched.' }],
      run: (context) => missing(context, tools),
    },
    {
      name: 'bundle fill',
      summary: 'Answer a missing list: fetch what is asked for and put exactly that onto the stick; failures are listed',
      args: [SITE, PLACE],
      options: OUT_OPTIONS,
      examples: [
        {
          line: 'publisher bundle fill ward-7 /media/stick',
          says: 'Exit 8: some could not be fetched; run it again to try those anew.',
        },
      ],
      run: (context) => out(context, tools, 'request'),
    },
    {
      name: 'bundle show',
      summary: 'Exactly what is in the bundles of a stick or folder, of either direction',
      args: [{ name: '<place>', says: 'stick, folder, or the .pfb.json file of one bundle' }],
      options: [PASSPHRASE_OPTION],
      examples: [{ line: 'publisher bundle show /media/stick', says: 'What is sealed to a site only the site can list.' }],
      run: async (context) => {
        const home = homeOf(context, tools);
        const place = resolve(argument(context, 0));
        const found = place.endsWith('.pfb.json')
          ? [place]
          : await onStick(place, () => findBundles(place).map(({ index }) => index));
        if (found.length === 0) throw fault('none', `there is no bundle in ${place}`, { where: place });
        const { media } = await signerOf(home, openKeyring(home, passphraseOf(context, tools)));
        const keys = [...media, ...listSites(home).map(({ signKey }) => signKey)];
        const all = [];
        for (const index of found) all.push(await describeBundle({ index, keys }));
        return {
          exit: all.every(({ known }) => known) ? EXIT.done : EXIT.findings,
          text: all.map(({ text }) => text).join('\n'),
          report: {
            schema: 'patchferry/bundle-show',
            schemaVersion: 1,
            bundles: all.map(({ index: { inline: _inline, ...index }, known, entries }) => ({
              index,
              known,
              entries: entries ?? null,
            })),
          },
        };
      },
    },
  ];
}

async function out(context: CommandContext, tools: Tools, what: BundleExportOptions['what']): Promise<Outcome> {
  const home = homeOf(context, tools);
  return withLock(home, `bundle ${what === 'request' ? 'fill' : 'export'}`, async () => {
    const place = resolve(argument(context, 1));
    const site = readSite(home, argument(context, 0));
    const report = await exportBundle({
      home,
      keyring: openKeyring(home, passphraseOf(context, tools)),
      site: site.name,
      place,
      medium: flag(context, 'folder') ? 'folder' : 'stick',
      what,
      request: what === 'request' ? requestFor(home, site, place) : undefined,
      full: flag(context, 'full'),
      fetch: flag(context, 'fetch'),
      ...outOptionsOf(context),
      chunks: chunksOf(textOption(context, 'chunks')),
      dryRun: flag(context, 'dryRun'),
      clock: tools.clock,
      signal: context.signal,
      progress: (label, total) => context.progress(label, total),
    });
    return {
      exit: report.download.failed.length > 0 ? EXIT.unreachable : EXIT.done,
      text: outText(report, flag(context, 'dryRun')),
      report: { schema: 'patchferry/bundle-export', schemaVersion: 1, dryRun: flag(context, 'dryRun'), ...report },
    };
  });
}

export function outText(report: BundleExportReport, dryRun: boolean): string {
  const { written, download, lacking } = report;
  if (report.current) return `nothing new since its number ${report.since ?? report.sequence - 1}, which it has`;
  return [
    ...(download.fetched > 0 ? [`fetched ${counted(download.fetched, 'payload')}, ${formatBytes(download.bytes)}`] : []),
    ...download.failed.map(({ patch, says }) => `FAILED  ${patch}: ${says}`),
    `${dryRun ? 'would be number' : 'number'} ${report.sequence} for ${report.site}${report.since === null ? ' (full)' : `, on top of ${report.since}`}: ` +
      `${counted(report.documents, 'document')}, ${counted(report.payloads, 'payload')}, ${formatBytes(report.payloadBytes)}; expires ${report.expires}`,
    ...(lacking.count > 0
      ? [`not in it: ${counted(lacking.count, 'payload')} (${formatBytes(lacking.bytes)}), not here${dryRun ? ' yet' : ''}`]
      : []),
    ...(report.unknown > 0
      ? [`${counted(report.unknown, 'row of the request names', 'rows of the request name')} nothing that is known here`]
      : []),
    ...(report.altered > 0
      ? [
          `${counted(report.altered, 'row of the request was', 'rows of the request were')} altered on the way (another size): not answered`,
        ]
      : []),
    ...(written.index === undefined ? [] : [`written: ${written.index} (${formatBytes(written.writtenBytes)} now)`]),
    ...(written.left.length > 0
      ? [
          `this medium is full: ${rangesText(written.left)} of ${written.chunks} chunks are left; run it again with the next one`,
        ]
      : []),
  ].join('\n');
}

async function missing(context: CommandContext, tools: Tools): Promise<Outcome> {
  const home = homeOf(context, tools);
  const site = readSite(home, argument(context, 0));
  const given = argument(context, 1);
  const request = requestFor(home, site, given === '' ? undefined : resolve(given));
  const { wishes, unknown, altered } = await wishHere(home, request, site);
  const store = openPayloadStore(join(home.repositoryFolder, 'payloads'));
  const rows = wishes.flatMap(({ patches }) =>
    patches.flatMap(({ id, packages }) =>
      packages.map((one) => ({
        patch: id,
        package: one.name,
        version: one.version,
        arch: one.arch,
        size: one.size,
        sha256: one.sha256,
        here: store.has(one.sha256, one.size),
      })),
    ),
  );
  const bytes = rows.filter(({ here }) => !here).reduce((sum, { size }) => sum + size, 0);
  return {
    exit: unknown.length + altered.length > 0 ? EXIT.findings : EXIT.done,
    text: [
      table(
        ['STATE', 'PACKAGE', 'VERSION', 'ARCH', 'SIZE', 'PATCH'],
        rows.map((row) => [
          row.here ? 'here' : 'to fetch',
          row.package,
          row.version,
          row.arch,
          formatBytes(row.size),
          row.patch,
        ]),
      ),
      ...unknown.map(({ sha256, name }) => `unknown  ${sha256}${name === undefined ? '' : ` ${name}`}`),
      ...altered.map(({ sha256, size }) => `altered  ${sha256}: has not the ${size} bytes that the row says`),
      ...((request.struck ?? 0) > 0 ? [`${counted(request.struck ?? 0, 'row of it was', 'rows of it were')} struck out`] : []),
      `request ${request.sequence} of ${request.site}, ${request.madeAt}: ${counted(rows.length, 'payload')}, ${formatBytes(bytes)} to fetch, ${unknown.length} unknown`,
    ].join('\n'),
    report: {
      schema: 'patchferry/bundle-missing',
      schemaVersion: 1,
      site: site.name,
      request: request.sequence,
      id: request.id,
      madeAt: request.madeAt,
      payloads: rows,
      unknown,
      altered,
      struck: request.struck,
    },
  };
}

async function wishHere(home: PublisherHome, request: ReturnType<typeof requestFor>, site: SiteRecord) {
  const scratch = fs.mkdtempSync(join(tmpdir(), 'patchferry-bundle-'));
  try {
    const documents = await readDocuments(await readPublished(home, scratch));
    return await wishOfRequest(documents, request, site, openPayloadStore(join(home.repositoryFolder, 'payloads')));
  } finally {
    fs.rmSync(scratch, { recursive: true, force: true });
  }
}

/** `7,12-14`. @throws airgap.chunks */
function chunksOf(text: string | undefined): number[] | undefined {
  if (text === undefined) return undefined;
  return text.split(',').flatMap((part) => {
    const match = /^\s*(\d{1,7})(?:-(\d{1,7}))?\s*$/.exec(part);
    const [first, last] = [Number(match?.[1]), Number(match?.[2] ?? match?.[1])];
    if (match === null || last < first) throw fault('chunks', `${JSON.stringify(part)} names no chunks`, { where: '--chunks' });
    return Array.from({ length: last - first + 1 }, (_, at) => first + at);
  });
}

/** @throws airgap.packages */
function packagesOf(file: string | undefined): string[] {
  if (file === undefined) return [];
  const bytes = readFileBounded(file, PACKAGE_LIST_BYTES);
  if (bytes === undefined) throw fault('packages', `there is no ${file}`, { where: file });
  const names = Buffer.from(bytes)
    .toString('utf8')
    .split('\n')
    .map((row) => row.replace(/#.*$/, '').trim())
    .filter((row) => row !== '');
  const bad = names.find((name) => !/^[A-Za-z0-9][A-Za-z0-9+._@/-]{0,199}$/.test(name));
  if (bad !== undefined || names.length === 0) {
    throw fault(
      'packages',
      `${file} ${bad === undefined ? 'names no package' : `has the line ${JSON.stringify(bad.slice(0, 80))}`}`,
      { where: file },
    );
  }
  return names;
}

function shown({ last: _last, ...site }: SiteRecord): Omit<SiteRecord, 'last'> {
  return site;
}
