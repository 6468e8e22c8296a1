// The local repositories that the host's own dnf reads: the vendor's metadata byte for byte, the approved packages at the vendor's
// paths, and settings in which nothing else exists. The host's own settings of dnf (excludes, protected packages) count besides.
import * as fs from 'node:fs';
import { join } from 'node:path';
import { writeFileAtomic } from '#manifests/platform/files';
import type { Catalog, ContentRef } from '#manifests/schema';
import { fault, hostCommand, lastWords, place, reach, seenByHost } from '../host.ts';
import type { HostContext, PlannedPayload } from '../system.ts';
import { type DnfProgram, dnfProgram } from './program.ts';

const LIMITS = {
  /** For reading the metadata and for every simulation, in milliseconds; a slow disk takes a minute for a large repository. */
  dnfMs: 300_000,
  queryMs: 60_000,
  /** Bytes of what dnf prints. */
  outputBytes: 16 * 1024 * 1024,
} as const;

const REPOMD = 'repodata/repomd.xml';

/**
 * The administrator's plugins that count, each with the file without which it is not wanted (or fails): what is locked stays (dnf 5
 * sees to that itself), and what follows a transaction runs.
 */
const PLUGINS: Readonly<Record<DnfProgram['generation'], readonly (readonly [name: string, file: string])[]>> = {
  4: [
    ['versionlock', '/etc/dnf/plugins/versionlock.list'],
    ['post-transaction-actions', '/etc/dnf/plugins/post-transaction-actions.conf'],
  ],
  5: [['actions', '/etc/dnf/libdnf5-plugins/actions.conf']],
};

/** dnf 5's `--cacheonly` would not even copy a package out of a folder; of the metadata alone it is what dnf 4's is. */
const CACHE_ONLY = { 4: '--cacheonly', 5: '--setopt=cacheonly=metadata' } as const;

export function indexPayloads(catalog: Catalog): ContentRef[] {
  return catalog.repositories
    .filter(({ format }) => format === 'rpm')
    .flatMap(({ indexes }) => indexes.map(({ sha256, size }) => ({ sha256, size })));
}

/** Where everything of dnf's lies for this run. */
export interface DnfFolder {
  readonly folder: string;
  readonly program: DnfProgram;
  /** Names of the repositories that are laid out. */
  readonly repositories: readonly string[];
  /** Options of every call. */
  readonly options: readonly string[];
}

/**
 * Options that leave dnf nothing but this folder. Each has its reason; together they are the offline guarantee.
 * @param keepKernels true keeps every installed kernel (a removal that policy does not allow)
 */
function dnfOptions(
  context: HostContext,
  { generation }: DnfProgram,
  folder: string,
  repositories: readonly string[],
  keepKernels: boolean,
): string[] {
  const inside = seenByHost(context, folder);
  const settings: Record<string, string> = {
    // Repositories and metadata of our own; the host's are neither read nor changed.
    reposdir: `${inside}/repos.d`,
    cachedir: `${inside}/cache`,
    // The vendor's signature is required, whatever the host's own settings allow.
    gpgcheck: '1',
    localpkg_gpgcheck: '1',
    // A patch brings what it needs, never what it would like to have; and takes nothing along that seems unused.
    install_weak_deps: '0',
    clean_requirements_on_remove: '0',
    // Exactly what is asked, or an error.
    best: '1',
    strict: '1',
    skip_if_unavailable: '0',
    // Plain files in a folder: nothing to be put together from pieces, no proxy, no mirror to be measured.
    zchunk: '0',
    deltarpm: '0',
    fastestmirror: '0',
    proxy: '',
    keepcache: '0',
    // Who holds dnf's lock is looked at by us, with an end (locks.ts).
    exit_on_lock: '1',
    color: 'never',
    ...(keepKernels ? { installonly_limit: '0' } : {}),
    // Keys that rpm does not trust already are never taken in, by no question and no `-y`.
    ...Object.fromEntries(repositories.map((name) => [`${name}.gpgkey`, ''])),
  };
  const plugins = PLUGINS[generation].flatMap(([name, file]) =>
    fs.existsSync(reach(context, file)) ? [`--enableplugin=${name}`] : [],
  );
  return [
    ...Object.entries(settings).map(([name, value]) => `--setopt=${name}=${value}`),
    // Any other plugin may reach out (subscriptions, remote repositories).
    '--disableplugin=*',
    ...plugins,
    '--disablerepo=*',
    ...repositories.map((name) => `--enablerepo=${name}`),
  ];
}

/**
 * Lays out the repositories of the context's catalogs below `workFolder` and has dnf read and check their metadata.
 * @param payloads packages to place at the vendor's paths; none while only planning.
 * @throws packages.index-missing, packages.payload-missing, packages.vendor-signature, packages.dnf-failed
 */
export async function layOut(
  context: HostContext,
  needed: ReadonlySet<string>,
  payloads: readonly PlannedPayload[],
  keepKernels: boolean,
): Promise<DnfFolder> {
  const program = dnfProgram(context);
  if (program === undefined) throw fault('dnf-failed', 'this host has no dnf');
  const folder = join(context.workFolder, 'dnf');
  fs.rmSync(join(folder, 'cache'), { recursive: true, force: true });
  for (const name of ['repositories', 'repos.d', 'cache']) fs.mkdirSync(join(folder, name), { recursive: true });
  const keys = await trustedKeys(context, folder);
  const laidOut = new Map<string, string>();
  for (const repository of context.catalogs.flatMap((catalog) => catalog.repositories)) {
    if (repository.format !== 'rpm' || laidOut.has(repository.name)) continue;
    const missing = repository.indexes.find(({ sha256 }) => !fs.existsSync(context.payloadPath(sha256)));
    if (missing !== undefined || !repository.indexes.some(({ path }) => path === REPOMD)) {
      if (!needed.has(repository.name)) continue;
      throw fault('index-missing', `repository ${repository.name} lacks ${missing?.path ?? REPOMD}`, {
        where: repository.name,
      });
    }
    const root = join(folder, 'repositories', repository.name);
    fs.rmSync(join(root, 'repodata'), { recursive: true, force: true });
    for (const { sha256, path } of repository.indexes) place(context.payloadPath(sha256), join(root, path));
    for (const { sha256, path } of payloads) {
      const from = context.payloadPath(sha256);
      if (!fs.existsSync(from)) throw fault('payload-missing', `payload ${sha256} (${path}) is not here`, { where: path });
      place(from, join(root, path)); // in every repository: dnf takes it from the one whose metadata lists it
    }
    const signed = repository.indexes.some(({ path }) => path === `${REPOMD}.asc`);
    const rows = [
      `[${repository.name}]`,
      `name=${repository.name}`,
      `baseurl=file://${seenByHost(context, root)}`,
      'enabled=1',
      'gpgcheck=1',
      `repo_gpgcheck=${signed ? 1 : 0}`,
      `gpgkey=file://${keys}`,
    ];
    laidOut.set(repository.name, `${rows.join('\n')}\n`);
  }
  writeFileAtomic(join(folder, 'repos.d/patchferry.repo'), [...laidOut.values()].join('\n'));
  const repositories = [...laidOut.keys()];
  const options = dnfOptions(context, program, folder, repositories, keepKernels);
  const dnf: DnfFolder = { folder, program, repositories, options };
  await readMetadata(context, dnf);
  return dnf;
}

/** The keys that this host's rpm trusts, as a file: they alone check the vendor's metadata too. */
async function trustedKeys(context: HostContext, folder: string): Promise<string> {
  const result = await hostCommand(context, 'rpm', ['-q', 'gpg-pubkey', '--queryformat', '%{DESCRIPTION}\\n'], {
    timeoutMs: LIMITS.queryMs,
  });
  if (!result.stdout.includes('-----BEGIN PGP PUBLIC KEY BLOCK-----')) {
    throw fault('vendor-signature', "this host's rpm trusts no key, so nothing can be checked", {
      next: "Import the vendor's key on the host: rpm --import /etc/pki/rpm-gpg/RPM-GPG-KEY-…",
    });
  }
  const file = join(folder, 'trusted-keys.asc');
  writeFileAtomic(file, result.stdout);
  return seenByHost(context, file);
}

/** Has dnf check the vendor's signature and sums, and read the metadata into its cache; later calls read only that. */
async function readMetadata(context: HostContext, dnf: DnfFolder): Promise<void> {
  if (dnf.repositories.length === 0) return;
  // Here alone the keys may be taken in without a question: into a ring of this folder, for metadata, never into rpm's.
  const options = dnf.options.filter((option) => !option.endsWith('.gpgkey='));
  const result = await hostCommand(context, dnf.program.name, [...options, '-y', 'makecache'], {
    timeoutMs: LIMITS.dnfMs,
    signal: context.signal,
    outputBytes: LIMITS.outputBytes,
  });
  await endKeyAgents(context, dnf);
  if (result.code === 0) return;
  const says = lastWords(result);
  const signature = /gpg|signature|checksum/i.test(says);
  throw fault(signature ? 'vendor-signature' : 'dnf-failed', `dnf does not accept the vendor's metadata: ${says}`, {
    where: dnf.folder,
  });
}

/** Checking a signature leaves an agent of GnuPG running for each ring in the cache, and the file system busy with it. */
async function endKeyAgents(context: HostContext, dnf: DnfFolder): Promise<void> {
  const cache = join(dnf.folder, 'cache');
  for (const name of fs.readdirSync(cache)) {
    const ring = join(cache, name, 'pubring');
    if (!fs.existsSync(ring)) continue;
    const args = ['--homedir', seenByHost(context, ring), '--kill', 'all'];
    // A host without gpgconf has no agent of this kind.
    await hostCommand(context, 'gpgconf', args, { timeoutMs: LIMITS.queryMs }).catch(() => undefined);
  }
}

/** The options of every call but the first: what `layOut` had checked and read is all there is. */
export function cachedOptions({ program, options }: DnfFolder): string[] {
  return [...options, CACHE_ONLY[program.generation]];
}

/** dnf on this folder, reading only. */
export function runDnf(context: HostContext, dnf: DnfFolder, args: readonly string[]) {
  return hostCommand(context, dnf.program.name, [...cachedOptions(dnf), '--assumeno', ...args], {
    timeoutMs: LIMITS.dnfMs,
    signal: context.signal,
    outputBytes: LIMITS.outputBytes,
  });
}
