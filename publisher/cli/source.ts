// `source add · list · sync`: where vendor updates come from. Settings of sources live in publisher.yaml.
import * as fs from 'node:fs';
import { join, resolve } from 'node:path';
import { parseDocument } from 'yaml';
import { defineFaults, EXIT } from '#manifests/errors';
import type { CommandContext, CommandSpec } from '#manifests/platform/cli';
import { writeFileAtomic } from '#manifests/platform/files';
import { openPayloadStore } from '#manifests/repository';
import { suggestion } from '#manifests/schema';
import { openCatalogStore } from '../catalog/index.ts';
import { homePaths, openHome, type PublisherHome } from '../home.ts';
import {
  checkSource,
  readKev,
  SOURCE_KINDS,
  type SourceKind,
  type SourceSettings,
  syncKev,
  syncSource,
} from '../sources/index.ts';
import { argument, counted, flag, homeOf, homeRequest, listOption, type Tools, table, textOption, withLock } from './common.ts';

const fault = defineFaults('sources', {
  exists: { exit: EXIT.usage, next: 'Take another name, or edit the entry in publisher.yaml.' },
  unknown: { exit: EXIT.usage, next: 'See `publisher source list` for the names.' },
  incomplete: { exit: EXIT.usage, next: 'Say whose patches these are: --product debian-12.' },
  none: { exit: EXIT.usage, next: 'Add one: `publisher source add --help` has examples.' },
});

export function sourceCommands(tools: Tools): CommandSpec[] {
  return [
    {
      name: 'source add',
      summary: 'Add a source of vendor updates to publisher.yaml; fetches nothing',
      args: [{ name: '<name>', says: 'names the source, and the repository in the catalog: debian-12-security' }],
      options: [
        {
          flags: '--kind <kind>',
          says: 'APT or RPM repository, folder of own software, or kev: the catalogue of known exploited vulnerabilities',
          choices: [...SOURCE_KINDS, 'kev'],
          fallback: 'apt',
        },
        { flags: '--product <product>', says: 'whose patches these are: debian-12 (not for kev)' },
        { flags: '--url <url>', says: 'http:, https: or file: URL, or a folder', required: true },
        { flags: '--suite <suite>', says: 'apt: what is under dists/, as bookworm-security' },
        { flags: '--component <name>', says: 'apt: component (several times); main unless told', many: true },
        { flags: '--arch <name>', says: 'architecture (several times); amd64 (apt), x86_64 (rpm) unless told', many: true },
        { flags: '--keyring <file>', says: "apt, rpm: file with the vendor's OpenPGP public keys; required there" },
        {
          flags: '--unsigned-metadata',
          says: "rpm: the vendor signs its packages and not its metadata; then hosts alone check a signature, each package's own",
        },
      ],
      examples: [
        {
          line:
            'publisher source add debian-12-security --product debian-12 --url http://mirror.example/debian-security ' +
            '--suite bookworm-security --keyring /usr/share/keyrings/debian-archive-keyring.gpg',
          says: 'Security updates of Debian 12.',
        },
        {
          line:
            'publisher source add rocky-9-baseos --kind rpm --product rocky-9 --unsigned-metadata ' +
            '--url https://mirror.example/rocky/9/BaseOS/x86_64/os --keyring /etc/pki/rpm-gpg/RPM-GPG-KEY-Rocky-9',
          says: 'An RPM repository: the folder that holds repodata/.',
        },
        {
          line: 'publisher source add own --kind folder --product own-tool --url /srv/own-tool',
          says: 'Own software from a folder.',
        },
        {
          line: 'publisher source add kev --kind kev --url https://www.cisa.gov/sites/default/files/feeds/known_exploited_vulnerabilities.json',
          says: 'Known exploited vulnerabilities, for rules and deadlines; a file works as well.',
        },
      ],
      async run(context) {
        const home = homeOf(context, tools);
        if (textOption(context, 'kind') === 'kev') return addKev(context, home);
        const source = settingsOf(context);
        return withLock(home, 'source add', () => {
          if (source.name === 'kev') throw fault('exists', '"kev" is the name of the feed', { where: home.settingsFile });
          if (home.settings.sources.some(({ name }) => name === source.name)) {
            throw fault('exists', `there is already a source "${source.name}"`, { where: home.settingsFile });
          }
          checkSource(source);
          addToSettings(home, source);
          openHome(homeRequest(context, tools)); // what was written can be read
          return {
            exit: EXIT.done,
            text: `source ${source.name} added to ${home.settingsFile}; next: publisher source sync ${source.name}`,
            report: { schema: 'patchferry/sources', schemaVersion: 1, sources: [...home.settings.sources, source] },
          };
        });
      },
    },
    {
      name: 'source list',
      summary: 'List the sources and how many patches each brings',
      examples: [{ line: 'publisher source list', says: 'A row for each source.' }],
      async run(context) {
        const home = homeOf(context, tools);
        using catalog = openCatalogStore(home.catalogFolder);
        const synced = new Set(catalog.products());
        const sources = home.settings.sources.map((source) => {
          const document = synced.has(source.product) ? catalog.catalogOf(source.product, tools.clock.now()) : undefined;
          const repository = document?.repositories.find(({ name }) => name === source.name);
          const patches = document?.patches.filter((patch) => patch.repository === source.name).length ?? 0;
          return { ...source, patches, syncedAt: repository?.syncedAt ?? null };
        });
        const { kev } = home.settings.feeds;
        const feed = kev === undefined ? null : readKev(home.feedsFolder);
        const feeds =
          kev === undefined
            ? []
            : [{ name: 'kev', url: kev, entries: feed?.entries.length ?? 0, syncedAt: feed?.fetchedAt ?? null }];
        return {
          exit: EXIT.done,
          text:
            sources.length + feeds.length === 0
              ? 'no source yet; `publisher source add --help` has examples'
              : table(
                  ['NAME', 'KIND', 'PRODUCT', 'PATCHES', 'SYNCED', 'URL'],
                  [
                    ...sources.map(({ name, kind, product, patches, syncedAt, url }) => [
                      name,
                      kind,
                      product,
                      String(patches),
                      syncedAt ?? 'never',
                      url,
                    ]),
                    ...feeds.map(({ name, entries, syncedAt, url }) => [
                      name,
                      'kev',
                      '-',
                      counted(entries, 'entry', 'entries'),
                      syncedAt ?? 'never',
                      url,
                    ]),
                  ],
                ),
          report: { schema: 'patchferry/sources', schemaVersion: 1, sources, feeds },
        };
      },
    },
    {
      name: 'source sync',
      summary: 'Ask the vendors what there is now; their signatures are checked before anything is believed',
      args: [{ name: '[names...]', says: 'these sources only' }],
      examples: [
        { line: 'publisher source sync', says: 'All sources. Exit 3 when no vendor has anything new.' },
        { line: 'publisher source sync debian-12-security', says: 'This one.' },
      ],
      async run(context) {
        const home = homeOf(context, tools);
        const given = context.args[0];
        const names = Array.isArray(given) ? given.map(String) : [];
        const chosen = chooseSources(home, names);
        const { kev } = home.settings.feeds;
        const withKev = kev !== undefined && (names.length === 0 || names.includes('kev'));
        return withLock(home, 'source sync', async () => {
          using catalog = openCatalogStore(home.catalogFolder);
          const payloads = openPayloadStore(join(home.repositoryFolder, 'payloads'));
          const reports = [];
          const lines: string[] = [];
          for (const source of chosen) {
            const progress = context.progress(`source ${source.name}, bytes`);
            const sync = await syncSource(source, {
              folder: join(home.sourcesFolder, source.name),
              payloads,
              signal: context.signal,
              clock: tools.clock,
              progress,
            });
            progress.end(sync.says);
            const merged = catalog.merge(source.product, sync, tools.clock.now());
            reports.push({
              source: source.name,
              product: source.product,
              changed: sync.changed,
              says: sync.says,
              patches: sync.patches.length,
              ...merged,
            });
            lines.push(
              `${source.name}: ${counted(sync.patches.length, 'patch', 'patches')}, ${merged.added.length} new, ` +
                `${merged.updated.length} updated, ${merged.withdrawn.length} withdrawn (${sync.says})`,
            );
            for (const patch of merged.rewritten)
              lines.push(`  look at ${patch}: the vendor changed its bytes under the same version`);
          }
          const feeds = [];
          if (withKev) {
            const { changed, kev: feed } = await syncKev(kev, home.feedsFolder, tools.clock.now(), context.signal);
            const { catalogVersion, dateReleased, entries } = feed;
            feeds.push({ feed: 'kev', changed, catalogVersion, dateReleased, entries: entries.length });
            lines.push(
              `kev: ${counted(entries.length, 'known exploited vulnerability', 'known exploited vulnerabilities')}, released ${dateReleased}`,
            );
          }
          return {
            exit: [...reports, ...feeds].some(({ changed }) => changed) ? EXIT.done : EXIT.current,
            text: lines.join('\n'),
            report: { schema: 'patchferry/source-sync', schemaVersion: 1, sources: reports, feeds },
          };
        });
      },
    },
  ];

  function addKev(context: CommandContext, home: PublisherHome) {
    const url = urlOf(context);
    return withLock(home, 'source add', () => {
      if (home.settings.feeds.kev !== undefined)
        throw fault('exists', 'there is a kev feed already', { where: home.settingsFile });
      setKev(home, url);
      openHome(homeRequest(context, tools));
      return {
        exit: EXIT.done,
        text: `feed kev added to ${home.settingsFile}; next: publisher source sync kev`,
        report: {
          schema: 'patchferry/sources',
          schemaVersion: 1,
          sources: home.settings.sources,
          feeds: [{ name: 'kev', url }],
        },
      };
    });
  }
}

/** The sources named, or all. @throws sources.none, sources.unknown */
function chooseSources(home: PublisherHome, names: readonly string[]): readonly SourceSettings[] {
  const { sources } = home.settings;
  const feeds = home.settings.feeds.kev === undefined ? [] : ['kev'];
  if (sources.length + feeds.length === 0) throw fault('none', 'this home has no source', { where: home.settingsFile });
  const known = [...sources.map(({ name }) => name), ...feeds];
  for (const name of names) {
    if (!known.includes(name))
      throw fault('unknown', `there is no source "${name}"${suggestion(name, known)}`, { where: name });
  }
  return names.length === 0 ? sources : sources.filter(({ name }) => names.includes(name));
}

function settingsOf(context: CommandContext): SourceSettings {
  const given = {
    suite: textOption(context, 'suite'),
    components: atLeastOne(listOption(context, 'component')),
    architectures: atLeastOne(listOption(context, 'arch')),
    keyring: absolute(textOption(context, 'keyring')),
    unsignedMetadata: flag(context, 'unsignedMetadata') ? true : undefined,
  };
  const product = textOption(context, 'product');
  if (product === undefined) throw fault('incomplete', '--product is missing', { where: '--product' });
  return {
    name: argument(context, 0),
    kind: (textOption(context, 'kind') ?? 'apt') as SourceKind,
    product,
    url: urlOf(context),
    ...Object.fromEntries(Object.entries(given).filter(([, value]) => value !== undefined)),
  };
}

function urlOf(context: CommandContext): string {
  const url = textOption(context, 'url') ?? '';
  return /^[a-z]+:/i.test(url) ? url : resolve(url);
}

const atLeastOne = (values: readonly string[]) => (values.length === 0 ? undefined : values);
const absolute = (path: string | undefined) => (path === undefined ? undefined : resolve(path));

/** The one feed has a setting of its own. @throws sources.exists */
function setKev(home: PublisherHome, url: string): void {
  const yaml = parseDocument(fs.readFileSync(home.settingsFile, 'utf8'));
  if (yaml.contents === null) yaml.set('feeds', { kev: url });
  else yaml.setIn(['feeds', 'kev'], url);
  writeFileAtomic(home.settingsFile, yaml.toString({ lineWidth: 0 }), { mode: 0o600 });
}

/** Writes into publisher.yaml, keeping its comments. */
export function addToSettings(home: PublisherHome, source: SourceSettings): void {
  const file = homePaths(home.folder).settingsFile;
  const yaml = parseDocument(fs.readFileSync(file, 'utf8'));
  if (yaml.contents === null) yaml.set('sources', [source]);
  else if (yaml.has('sources')) yaml.addIn(['sources'], yaml.createNode(source));
  else yaml.set('sources', yaml.createNode([source]));
  writeFileAtomic(file, yaml.toString({ lineWidth: 0 }), { mode: 0o600 });
}
