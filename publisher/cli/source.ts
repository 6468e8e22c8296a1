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
import { checkSource, SOURCE_KINDS, type SourceKind, type SourceSettings, syncSource } from '../sources/index.ts';
import { argument, counted, flag, homeOf, homeRequest, listOption, type Tools, table, textOption, withLock } from './common.ts';

const fault = defineFaults('sources', {
  exists: { exit: EXIT.usage, next: 'Take another name, or edit the entry in publisher.yaml.' },
  unknown: { exit: EXIT.usage, next: 'See `publisher source list` for the names.' },
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
          says: 'APT or RPM repository, or folder of own software',
          choices: SOURCE_KINDS,
          fallback: 'apt',
        },
        { flags: '--product <product>', says: 'whose patches these are: debian-12', required: true },
        { flags: '--url <url>', says: 'http:, https: or file: URL, or a folder', required: true },
        { flags: '--suite <suite>', says: 'apt: what is under dists/, as bookworm-security' },
        { flags: '--component <name>', says: 'apt: component (several times); main unless told', many: true },
        { flags: '--arch <name>', says: 'architecture (several times); amd64 (apt), x86_64 (rpm) unless told', many: true },
        { flags: '--keyring <file>', says: "apt, rpm: file with the vendor's OpenPGP public keys; required there" },
        {
          flags: '--unsigned-metadata',
          says: "rpm: the vendor signs its packages and not its metadata; each package's own signature is checked instead",
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
      ],
      async run(context) {
        const home = homeOf(context, tools);
        const source = settingsOf(context);
        return withLock(home, 'source add', () => {
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
        return {
          exit: EXIT.done,
          text:
            sources.length === 0
              ? 'no source yet; `publisher source add --help` has examples'
              : table(
                  ['NAME', 'KIND', 'PRODUCT', 'PATCHES', 'SYNCED', 'URL'],
                  sources.map((one) => [
                    one.name,
                    one.kind,
                    one.product,
                    String(one.patches),
                    one.syncedAt ?? 'never',
                    one.url,
                  ]),
                ),
          report: { schema: 'patchferry/sources', schemaVersion: 1, sources },
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
        const chosen = chooseSources(home, Array.isArray(given) ? given.map(String) : []);
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
          return {
            exit: reports.some(({ changed }) => changed) ? EXIT.done : EXIT.current,
            text: lines.join('\n'),
            report: { schema: 'patchferry/source-sync', schemaVersion: 1, sources: reports },
          };
        });
      },
    },
  ];
}

/** The sources named, or all. @throws sources.none, sources.unknown */
function chooseSources(home: PublisherHome, names: readonly string[]): readonly SourceSettings[] {
  const { sources } = home.settings;
  if (sources.length === 0) throw fault('none', 'this home has no source', { where: home.settingsFile });
  const known = sources.map(({ name }) => name);
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
  const url = textOption(context, 'url') ?? '';
  return {
    name: argument(context, 0),
    kind: (textOption(context, 'kind') ?? 'apt') as SourceKind,
    product: textOption(context, 'product') ?? '',
    url: /^[a-z]+:/i.test(url) ? url : resolve(url),
    ...Object.fromEntries(Object.entries(given).filter(([, value]) => value !== undefined)),
  };
}

const atLeastOne = (values: readonly string[]) => (values.length === 0 ? undefined : values);
const absolute = (path: string | undefined) => (path === undefined ? undefined : resolve(path));

/** Writes into publisher.yaml, keeping its comments. */
function addToSettings(home: PublisherHome, source: SourceSettings): void {
  const file = homePaths(home.folder).settingsFile;
  const yaml = parseDocument(fs.readFileSync(file, 'utf8'));
  if (yaml.contents === null) yaml.set('sources', [source]);
  else if (yaml.has('sources')) yaml.addIn(['sources'], yaml.createNode(source));
  else yaml.set('sources', yaml.createNode([source]));
  writeFileAtomic(file, yaml.toString({ lineWidth: 0 }), { mode: 0o600 });
}
