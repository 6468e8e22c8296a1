// Own software as a source: a folder with `patch.yaml` files (in it or one level below) and the .tar.gz files they name.
import { createHash } from 'node:crypto';
import * as fs from 'node:fs';
import { dirname, join, posix } from 'node:path';
import { z } from 'zod';
import { utcSeconds } from '#manifests/platform/clock';
import { readFileBounded, writeFileAtomic } from '#manifests/platform/files';
import { canonicalJson, moment, relativePath, sha256, sha256Of } from '#manifests/schema';
import type { SourceKindImplementation, SourcePatch, SourceSettings, SourceSync, SyncOptions } from '../api.ts';
import { fault, SOURCE_LIMITS } from '../faults.ts';
import { folderOf } from '../origin.ts';
import { type Description, readDescription } from './description.ts';

const DESCRIPTION = 'patch.yaml';

const state = z.strictObject({
  schema: z.literal('patchferry/folder-source-state'),
  schemaVersion: z.literal(1),
  patches: sha256,
  syncedAt: moment,
});

export const folder: SourceKindImplementation = {
  checkSettings(settings) {
    const where = `source ${settings.name}`;
    if (folderOf(settings) === undefined) {
      throw fault('settings', `${where}: a source of kind folder needs a folder, not ${settings.url}`, { where });
    }
    for (const setting of ['suite', 'components', 'architectures', 'keyring'] as const) {
      if (settings[setting] !== undefined) throw fault('settings', `${where}: \`${setting}\` is for kind apt only`, { where });
    }
  },

  async sync(settings: SourceSettings, options: SyncOptions): Promise<SourceSync> {
    const root = folderOf(settings) ?? '';
    const patches: SourcePatch[] = [];
    const problems: string[] = [];
    for (const file of descriptionsIn(root)) {
      options.signal.throwIfAborted();
      const bytes = readFileBounded(join(root, file), SOURCE_LIMITS.descriptionBytes) ?? new Uint8Array();
      const read = readDescription(Buffer.from(bytes).toString('utf8'), join(root, file));
      if (read.kind === 'wrong') problems.push(...read.says);
      else patches.push(await toPatch(read.value, root, file, settings.name, options.signal, problems));
    }
    patches.sort((a, b) => (a.id < b.id ? -1 : 1));
    for (const [nth, { id }] of patches.entries()) {
      if (patches[nth + 1]?.id === id) problems.push(`${root}: ${id} is described twice`);
    }
    if (problems.length > 0) {
      throw fault(
        'description',
        problems.length === 1 ? `${problems[0]}` : `${problems.length} problems\n${problems.join('\n')}`,
        {
          where: root,
        },
      );
    }
    const { changed, syncedAt } = remember(options, sha256Of(canonicalJson({ product: settings.product, patches })));
    return {
      changed,
      says: changed ? `${settings.name}: ${patches.length} patches in ${root}` : `${settings.name}: nothing new in ${root}`,
      repository: {
        name: settings.name,
        format: 'folder',
        suite: '',
        components: [],
        architectures: [],
        indexes: [],
        syncedAt,
      },
      patches,
    };
  },
};

/** Paths of the descriptions, relative to the folder. @throws source.missing, source.too-large */
function descriptionsIn(root: string): string[] {
  let entries: fs.Dirent[];
  try {
    entries = fs.readdirSync(root, { withFileTypes: true });
  } catch (cause) {
    // A folder that is not there must never be read as "no patches any more".
    throw fault('missing', `${root} cannot be read: ${(cause as Error).message}`, { where: root, cause });
  }
  const below = entries
    .filter((entry) => entry.isDirectory() && relativePath.safeParse(entry.name).success)
    .map(({ name }) => `${name}/`);
  const found = ['', ...below].map((prefix) => `${prefix}${DESCRIPTION}`).filter((file) => fs.existsSync(join(root, file)));
  if (found.length > SOURCE_LIMITS.descriptions) {
    throw fault('too-large', `${root} holds more than ${SOURCE_LIMITS.descriptions} patches`, { where: root });
  }
  if (found.length === 0) throw fault('missing', `${root} holds no ${DESCRIPTION}`, { where: root });
  return found.toSorted();
}

async function toPatch(
  { metadata, spec }: Description,
  root: string,
  file: string,
  repository: string,
  signal: AbortSignal,
  problems: string[],
): Promise<SourcePatch> {
  const packages: SourcePatch['packages'] = [];
  for (const item of spec.packages) {
    const path = posix.join(dirname(file), item.file);
    const facts = await hashPayload(join(root, path), spec.format, signal);
    if (facts.kind === 'wrong') problems.push(`${join(root, file)}: ${item.file} ${facts.says}`);
    else if (item.sha256 !== undefined && item.sha256 !== facts.sha256) {
      problems.push(`${join(root, file)}: ${item.file} has the SHA-256 ${facts.sha256}, not ${item.sha256}`);
    } else {
      packages.push({
        name: item.name ?? metadata.name,
        version: spec.version,
        arch: item.arch,
        sha256: facts.sha256,
        size: facts.size,
        path,
      });
    }
  }
  return {
    id: `${metadata.name}@${spec.version}`,
    format: spec.format,
    source: metadata.name,
    version: spec.version,
    title: spec.title,
    classification: spec.classification,
    severity: spec.severity,
    section: spec.section,
    priority: spec.priority,
    repository,
    cves: [...new Set(spec.cves)].toSorted(),
    advisories: [...new Set(spec.advisories)].toSorted(),
    released: spec.released ?? null,
    updated: spec.updated ?? null,
    packages,
    ...placementOf(spec),
  };
}

/** What a host is told of services, owner and modes; nothing where the description says nothing. */
function placementOf({ services, owner, modes, arguments: extra }: Description['spec']): Pick<SourcePatch, 'placement'> {
  const given = Object.entries({ services, owner, modes, arguments: extra }).filter(([, value]) => value !== undefined);
  return given.length === 0 ? {} : { placement: Object.fromEntries(given) };
}

type Hashed = { kind: 'hashed'; sha256: string; size: number } | { kind: 'wrong'; says: string };

/** How files of each format begin: gzip (RFC 1952, 2.3.1), compound files (MS-CFB 2.2), PE (MZ), cabinets (MS-CAB), xar. */
const BEGINNINGS = {
  archive: ['gzip', [0x1f, 0x8b, 8]],
  msi: ['a package of Windows Installer', [0xd0, 0xcf, 0x11, 0xe0]],
  exe: ['a program of Windows', [0x4d, 0x5a]],
  msu: ['an update of Windows', [0x4d, 0x53, 0x43, 0x46]],
  pkg: ['a flat package of macOS', [0x78, 0x61, 0x72, 0x21]],
} as const;

/** Hash and size of a payload; it must be a plain file (no link) that starts as its format does. */
async function hashPayload(path: string, format: keyof typeof BEGINNINGS, signal: AbortSignal): Promise<Hashed> {
  const facts = fs.lstatSync(path, { throwIfNoEntry: false });
  if (facts === undefined) return { kind: 'wrong', says: 'is not there' };
  if (!facts.isFile()) return { kind: 'wrong', says: 'is not a plain file' };
  if (facts.size > SOURCE_LIMITS.payloadBytes) return { kind: 'wrong', says: `has ${facts.size} bytes` };
  const hash = createHash('sha256');
  let size = 0;
  for await (const chunk of fs.createReadStream(path, { highWaterMark: 1024 * 1024, signal }) as AsyncIterable<Buffer>) {
    const [what, start] = BEGINNINGS[format];
    if (size === 0 && start.some((byte, at) => chunk[at] !== byte)) return { kind: 'wrong', says: `is not ${what}` };
    hash.update(chunk);
    size += chunk.length;
  }
  if (size === 0) return { kind: 'wrong', says: 'is empty' };
  return { kind: 'hashed', sha256: hash.digest('hex'), size };
}

/** Whether this differs from the last sync, and since when it is as it is. */
function remember({ folder: own, clock }: SyncOptions, patches: string): { changed: boolean; syncedAt: string } {
  const where = join(own, 'state.json');
  const bytes = readFileBounded(where, SOURCE_LIMITS.stateBytes);
  if (bytes !== undefined) {
    let before: z.infer<typeof state>;
    try {
      before = state.parse(JSON.parse(Buffer.from(bytes).toString('utf8')));
    } catch (cause) {
      throw fault('state', `${where} is not readable as what was accepted last`, { where, cause });
    }
    if (before.patches === patches) return { changed: false, syncedAt: before.syncedAt };
  }
  const syncedAt = utcSeconds(clock.now());
  const value: z.infer<typeof state> = { schema: 'patchferry/folder-source-state', schemaVersion: 1, patches, syncedAt };
  writeFileAtomic(where, `${JSON.stringify(value, undefined, 2)}\n`);
  return { changed: true, syncedAt };
}
