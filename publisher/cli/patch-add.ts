// `patch add`: an own patch from an archive and a description, kept in the home as a source of its own, in one command.
import { randomBytes } from 'node:crypto';
import * as fs from 'node:fs';
import { basename, join } from 'node:path';
import { stringify } from 'yaml';
import { defineFaults, EXIT } from '#manifests/errors';
import type { CommandContext, CommandSpec } from '#manifests/platform/cli';
import { readFileBounded, syncFolder, writeFileAtomic } from '#manifests/platform/files';
import { openPayloadStore } from '#manifests/repository';
import { CLASSIFICATIONS, SEVERITIES } from '#manifests/schema';
import { openCatalogStore } from '../catalog/index.ts';
import { openHome, type PublisherHome } from '../home.ts';
import {
  checkSource,
  type Description,
  readDescription,
  SOURCE_LIMITS,
  type SourceSettings,
  syncSource,
} from '../sources/index.ts';
import { argument, flag, homeOf, homeRequest, listOption, type Tools, textOption, withLock } from './common.ts';
import { addToSettings } from './source.ts';

const fault = defineFaults('patch-add', {
  description: {
    exit: EXIT.usage,
    next: 'Correct what is named; `publisher patch add --help` has an example of a description.',
  },
  archive: { exit: EXIT.usage, next: 'Name a .tar.gz that can be read.' },
  exists: { exit: EXIT.usage, next: 'A version is published once: give the changed archive a higher version.' },
});

export function patchAddCommand(tools: Tools): CommandSpec {
  return {
    name: 'patch add',
    summary: 'Take own software as a patch: an archive, and what it is, from a description or from options',
    args: [{ name: '<archive>', says: 'a .tar.gz; it is copied into the home' }],
    options: [
      { flags: '--product <product>', says: 'whose patch it is: own-tool', required: true },
      { flags: '--description <file>', says: 'patch.yaml; then no other option about the patch' },
      { flags: '--name <name>', says: 'component; else the product' },
      { flags: '--patch-version <version>', says: 'semantic version, as 1.10.0' },
      { flags: '--title <text>', says: 'one line for people' },
      { flags: '--classification <which>', says: 'other unless told', choices: CLASSIFICATIONS },
      { flags: '--severity <severity>', says: 'unspecified unless told', choices: SEVERITIES },
      { flags: '--cve <id>', says: 'a flaw that it mends; may be given several times', many: true },
      {
        flags: '--service <unit>',
        says: 'stopped before the switch, started after it; may be given several times',
        many: true,
      },
      { flags: '--owner <user:group>', says: 'of what is unpacked; else root' },
      { flags: '--dry-run', says: 'check everything, keep nothing' },
    ],
    examples: [
      {
        line: 'publisher patch add own-tool-1.10.0.tar.gz --product own-tool --patch-version 1.10.0 --title "Own tool, third edition" --classification security --severity high --service own-tool.service',
        says: 'Then `publisher publish`: baselines decide about it as about any patch.',
      },
      {
        line: 'publisher patch add own-tool-1.10.0.tar.gz --product own-tool --description patch.yaml',
        says: 'With all that a description can say (publisher/sources/README.md).',
      },
    ],
    async run(context) {
      const home = homeOf(context, tools);
      const archive = argument(context, 0);
      const product = textOption(context, 'product') ?? '';
      const { text, description } = descriptionOf(context, archive, product);
      const { name } = description.metadata;
      const { version } = description.spec;
      const folder = join(home.ownFolder, product);
      const place = join(folder, `${name}-${version}`);
      return withLock(home, 'patch add', async () => {
        if (fs.existsSync(place)) throw fault('exists', `${name} ${version} of ${product} was added before`, { where: place });
        const source: SourceSettings = { name: `own-${product}`, kind: 'folder', product, url: folder };
        const known = home.settings.sources.some(({ kind, url }) => kind === 'folder' && url === folder);
        const dryRun = flag(context, 'dryRun');
        if (dryRun) await tryOut(archive, text, source, home, tools, context);
        else await keep(archive, text, place, known ? undefined : source, home, tools, context);
        const id = `${name}@${version}`;
        return {
          exit: EXIT.done,
          text: dryRun ? `${id} is in order; nothing was kept` : `${id} is a patch of ${product}; next: publisher publish`,
          report: {
            schema: 'patchferry/patch-added',
            schemaVersion: 1,
            patch: id,
            product,
            folder: dryRun ? null : place,
            dryRun,
          },
        };
      });
    },
  };
}

/** The description that is given, or one made of options; both are checked by the same reader. @throws patch-add.description */
function descriptionOf(context: CommandContext, archive: string, product: string): { text: string; description: Description } {
  const file = textOption(context, 'description');
  const given = file === undefined ? undefined : readFileBounded(file, SOURCE_LIMITS.descriptionBytes);
  if (file !== undefined && given === undefined) throw fault('description', `there is no ${file}`, { where: file });
  const text = given === undefined ? madeOf(context, archive, product) : Buffer.from(given).toString('utf8');
  const read = readDescription(text, file ?? '(options)');
  if (read.kind === 'wrong') throw fault('description', read.says.join('\n'), { where: file ?? '(options)' });
  const files = read.value.spec.packages.map((one) => one.file);
  if (files.length !== 1 || files[0] !== basename(archive)) {
    throw fault('description', `it describes ${files.join(', ')}, the archive is ${basename(archive)}`, {
      where: file ?? '(options)',
    });
  }
  return { text, description: read.value };
}

function madeOf(context: CommandContext, archive: string, product: string): string {
  const spec = {
    version: textOption(context, 'patchVersion') ?? '',
    title: textOption(context, 'title') ?? basename(archive),
    classification: textOption(context, 'classification'),
    severity: textOption(context, 'severity'),
    cves: listOption(context, 'cve'),
    services: listOption(context, 'service'),
    owner: textOption(context, 'owner'),
    packages: [{ file: basename(archive) }],
  };
  const told = Object.entries(spec).filter(([, value]) => value !== undefined && (!Array.isArray(value) || value.length > 0));
  return stringify(
    {
      apiVersion: 'patchferry/v1',
      kind: 'Patch',
      metadata: { name: textOption(context, 'name') ?? product },
      spec: Object.fromEntries(told),
    },
    { defaultStringType: 'QUOTE_DOUBLE', defaultKeyType: 'PLAIN', lineWidth: 0, aliasDuplicateObjects: false },
  );
}

/** Archive and description in a fresh folder on the file system of the place they go to. @throws patch-add.archive */
function layOut(archive: string, text: string, folder: string): string {
  fs.mkdirSync(folder, { recursive: true, mode: 0o700 });
  for (const left of fs.readdirSync(folder).filter((name) => name.startsWith('.adding-'))) {
    fs.rmSync(join(folder, left), { recursive: true, force: true }); // of a command that was killed
  }
  const making = join(folder, `.adding-${randomBytes(6).toString('hex')}`);
  fs.mkdirSync(making, { mode: 0o700 });
  try {
    fs.copyFileSync(archive, join(making, basename(archive)), fs.constants.COPYFILE_FICLONE | fs.constants.COPYFILE_EXCL);
  } catch (cause) {
    fs.rmSync(making, { recursive: true });
    throw fault('archive', `${archive} cannot be read: ${(cause as Error).message}`, { where: archive, cause });
  }
  writeFileAtomic(join(making, 'patch.yaml'), text);
  return making;
}

/** Everything a sync would check, over a source that holds this one patch and is given up again. @throws source.* */
async function tryOut(
  archive: string,
  text: string,
  source: SourceSettings,
  home: PublisherHome,
  tools: Tools,
  { signal }: CommandContext,
): Promise<void> {
  const making = layOut(archive, text, home.ownFolder);
  try {
    const payloads = openPayloadStore(join(making, '.payloads'));
    await syncSource({ ...source, url: making }, { folder: join(making, '.state'), payloads, signal, clock: tools.clock });
  } finally {
    fs.rmSync(making, { recursive: true, force: true });
  }
}

/** Puts the patch in place and takes it into the catalog; a patch that does not come through leaves the home as it was. */
async function keep(
  archive: string,
  text: string,
  place: string,
  fresh: SourceSettings | undefined,
  home: PublisherHome,
  tools: Tools,
  context: CommandContext,
): Promise<void> {
  const folder = join(place, '..');
  const settingsBefore = fs.readFileSync(home.settingsFile, 'utf8');
  const making = layOut(archive, text, home.ownFolder);
  fs.mkdirSync(folder, { recursive: true, mode: 0o700 });
  fs.renameSync(making, place);
  syncFolder(folder);
  try {
    if (fresh !== undefined) {
      checkSource(fresh);
      addToSettings(home, fresh);
    }
    const now = openHome(homeRequest(context, tools));
    const source = now.settings.sources.find(({ kind, url }) => kind === 'folder' && url === folder) ?? fresh;
    if (source === undefined) return;
    using catalog = openCatalogStore(home.catalogFolder);
    const sync = await syncSource(source, {
      folder: join(home.sourcesFolder, source.name),
      payloads: openPayloadStore(join(home.repositoryFolder, 'payloads')),
      signal: context.signal,
      clock: tools.clock,
    });
    catalog.merge(source.product, sync, tools.clock.now());
  } catch (error) {
    fs.rmSync(place, { recursive: true, force: true });
    if (fresh !== undefined) writeFileAtomic(home.settingsFile, settingsBefore, { mode: 0o600 });
    throw error;
  }
}
