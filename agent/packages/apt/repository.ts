// The local repository that the host's own apt reads: the vendor's signed index byte for byte, the approved packages at the
// vendor's paths, and a configuration of apt in which nothing else exists. No network is reachable from here.
import * as fs from 'node:fs';
import { join } from 'node:path';
import { writeFileAtomic } from '#manifests/platform/files';
import type { Catalog, ContentRef, VendorRepository } from '#manifests/schema';
import { fault, hostCommand, lastWords, place, reach, seenByHost } from '../host.ts';
import type { HostContext, PlannedPayload } from '../system.ts';

/** Debian's own archive keys as its package `debian-archive-keyring` puts them on every host. */
export const DEFAULT_KEYRING = '/usr/share/keyrings/debian-archive-keyring.gpg';

const LIMITS = {
  /** For `apt-get update` and every simulation, in milliseconds. */
  aptMs: 120_000,
} as const;

/** Ways apt knows of reaching out; each is disabled by name although no source asks for one (defence in depth). */
const NETWORK_METHODS = [
  'http',
  'https',
  'ftp',
  'mirror',
  'mirror+http',
  'mirror+https',
  'tor+http',
  'tor+https',
  'ssh',
  'rsh',
  'cdrom',
];

interface AptIndex {
  readonly component: string;
  readonly arch: string;
}

/** `dists/bookworm-security/main/binary-amd64/Packages.xz` -> component and architecture; undefined for other files. */
export function indexOf(path: string, suite: string): AptIndex | undefined {
  const start = `dists/${suite}/`;
  if (!path.startsWith(start)) return undefined;
  const parts = /^(.+)\/binary-([a-z0-9-]+)\/Packages(?:\.[a-z0-9]+)?$/.exec(path.slice(start.length));
  return parts?.[1] === undefined || parts[2] === undefined ? undefined : { component: parts[1], arch: parts[2] };
}

/** The index files of one vendor repository that a host of this architecture needs (`all` indexes go with every one). */
export function indexesFor(repository: VendorRepository, arch: string | undefined): VendorRepository['indexes'] {
  return repository.indexes.filter(({ path }) => {
    const index = indexOf(path, repository.suite);
    return index === undefined || arch === undefined || index.arch === arch || index.arch === 'all';
  });
}

export function indexPayloads(catalog: Catalog, arch?: string): ContentRef[] {
  return catalog.repositories
    .filter(({ format }) => format === 'apt')
    .flatMap((repository) => indexesFor(repository, arch).map(({ sha256, size }) => ({ sha256, size })));
}

/** Where everything of apt's lies for this run. */
export interface AptFolder {
  readonly folder: string;
  /** Root folder of each repository that is laid out, by name. */
  readonly repositories: ReadonlyMap<string, string>;
  /** Options of every apt call. */
  readonly options: readonly string[];
}

/** Options that leave apt nothing but this folder. Each has its reason; together they are the offline guarantee. */
export function aptOptions(context: HostContext, folder: string): string[] {
  const inside = seenByHost(context, folder);
  const settings: Record<string, string> = {
    // Sources and state of our own; the host's lists and caches are neither read nor changed.
    'Dir::Etc::SourceList': `${inside}/sources.list`,
    'Dir::Etc::SourceParts': '/dev/null',
    'Dir::State::Lists': `${inside}/lists`,
    'Dir::Cache::Archives': `${inside}/archives`,
    'Dir::Cache::pkgcache': '',
    'Dir::Cache::srcpkgcache': '',
    // `install NAME=VERSION` would mark automatic packages as manual; marks are set by us afterwards (install.ts).
    'Dir::State::extended_states': `${inside}/extended_states`,
    // The vendor's signature is required, whatever the host's own configuration allows.
    'Acquire::AllowInsecureRepositories': 'false',
    'Acquire::AllowWeakRepositories': 'false',
    'Acquire::AllowDowngradeToInsecureRepositories': 'false',
    'APT::Get::AllowUnauthenticated': 'false',
    // Freshness is patchferry's: its own signed timestamp expires and its trusted time only moves forward. A closed network
    // is days behind by design, and a host's wrong clock must not decide what a signed catalog already has.
    'Acquire::Check-Valid-Until': 'false',
    'Acquire::Check-Date': 'false',
    'Acquire::By-Hash': 'no',
    'Acquire::Languages': 'none',
    'Acquire::IndexTargets::deb::Contents-deb::DefaultEnabled': 'false',
    'Acquire::Retries': '0',
    'Acquire::http::Proxy': 'http://127.0.0.1:9',
    'Acquire::https::Proxy': 'http://127.0.0.1:9',
    // The folder is root's alone, so apt's unprivileged user could not read it; nothing here comes from a network.
    'APT::Sandbox::User': 'root',
    // A patch brings what it needs, never what it would like to have.
    'APT::Install-Recommends': 'false',
    'APT::Install-Suggests': 'false',
    // Who gets a patch when is decided by signed rollouts, not by the vendor's phasing.
    'APT::Get::Always-Include-Phased-Updates': 'true',
    'APT::Get::AutomaticRemove': 'false',
    'APT::Get::Show-User-Simulation-Note': 'false',
    'APT::Color': '0',
    'Dpkg::Use-Pty': '0', // a pseudo terminal would take dpkg out of the process group that a time-out kills
    'Dpkg::Progress-Fancy': '0',
  };
  for (const method of NETWORK_METHODS) settings[`Dir::Bin::Methods::${method}`] = 'false';
  return Object.entries(settings).flatMap(([name, value]) => ['-o', `${name}=${value}`]);
}

/**
 * Lays out the repositories of the context's catalogs below `workFolder` and has apt read and check them.
 * @param payloads packages to place at the vendor's paths; none while only planning.
 * @throws packages.index-missing, packages.payload-missing, packages.vendor-signature, packages.apt-failed
 */
export async function layOut(
  context: HostContext,
  arch: string,
  needed: ReadonlySet<string>,
  payloads: readonly PlannedPayload[],
): Promise<AptFolder> {
  const folder = join(context.workFolder, 'apt');
  for (const name of ['repositories', 'lists/partial', 'archives/partial'])
    fs.mkdirSync(join(folder, name), { recursive: true });
  const repositories = new Map<string, string>();
  const lines: string[] = [];
  for (const repository of context.catalogs.flatMap((catalog) => catalog.repositories)) {
    if (repository.format !== 'apt' || repositories.has(repository.name)) continue;
    const indexes = indexesFor(repository, arch);
    const missing = indexes.find(({ sha256 }) => !fs.existsSync(context.payloadPath(sha256)));
    const components = new Set(indexes.flatMap(({ path }) => indexOf(path, repository.suite)?.component ?? []));
    if (missing !== undefined || components.size === 0) {
      if (!needed.has(repository.name)) continue;
      const what = missing === undefined ? `has no index for ${arch}` : `lacks ${missing.path}`;
      throw fault('index-missing', `repository ${repository.name} ${what}`, { where: missing?.path ?? repository.name });
    }
    const root = join(folder, 'repositories', repository.name);
    for (const { sha256, path } of indexes) place(context.payloadPath(sha256), join(root, path));
    for (const { sha256, path } of payloads) {
      const from = context.payloadPath(sha256);
      if (!fs.existsSync(from)) throw fault('payload-missing', `payload ${sha256} (${path}) is not here`, { where: path });
      place(from, join(root, path)); // in every repository: apt takes it from the one whose signed index lists it
    }
    repositories.set(repository.name, root);
    const keyring = context.keyrings?.[repository.name] ?? DEFAULT_KEYRING;
    lines.push(
      `deb [arch=${arch} signed-by=${keyring}] file:${seenByHost(context, root)} ${repository.suite} ${[...components].join(' ')}`,
    );
  }
  writeFileAtomic(join(folder, 'sources.list'), `${lines.join('\n')}\n`);
  const marks = reach(context, '/var/lib/apt/extended_states');
  const copy = join(folder, 'extended_states');
  if (fs.existsSync(marks)) fs.copyFileSync(marks, copy);
  else fs.rmSync(copy, { force: true });
  const laidOut: AptFolder = { folder, repositories, options: aptOptions(context, folder) };
  await update(context, laidOut);
  return laidOut;
}

/** Has apt check the vendor's signatures and read the indexes. Any complaint of it is a refusal, warnings included. */
async function update(context: HostContext, apt: AptFolder): Promise<void> {
  const result = await runApt(context, apt, 'apt-get', ['update']);
  const complaints = result.stderr.split('\n').filter((line) => /^[WE]: /.test(line));
  if (result.code === 0 && complaints.length === 0) return;
  const says = complaints.join(' ').slice(0, 2_000) || lastWords(result);
  const signature = /signature|GPG|not signed|NO_PUBKEY|Hash Sum mismatch|Clearsigned|unexpected size|public key/i.test(says);
  throw fault(signature ? 'vendor-signature' : 'apt-failed', `apt does not accept the vendor's index: ${says}`, {
    where: apt.folder,
  });
}

/** One of apt's tools on this folder, reading only (simulations, queries). */
export function runApt(context: HostContext, apt: AptFolder, tool: string, args: readonly string[]) {
  return hostCommand(context, tool, [...apt.options, ...args], {
    timeoutMs: LIMITS.aptMs,
    signal: context.signal,
    outputBytes: 64 * 1024 * 1024,
  });
}
