// For tests on real hosts: the vendor's security updates of today as a catalog, items and payloads, fetched once and kept, and
// trees of files written down so that "as before" can be held against them.
import { createHash } from 'node:crypto';
import * as fs from 'node:fs';
import { join, resolve } from 'node:path';
import { pipeline } from 'node:stream/promises';
import { systemClock } from '#manifests/platform/clock';
import { temporaryNameFor, writeFileAtomic } from '#manifests/platform/files';
import { silentLog } from '#manifests/platform/log';
import { run, runOrThrow } from '#manifests/platform/process';
import { type Catalog, sha256Of } from '#manifests/schema';
import { compareDeb } from '#manifests/versions';
import { readDpkgPackages } from '../inventory/index.ts';
import type { HostContext, InstallItem } from './system.ts';

const CACHE = resolve(import.meta.dirname, '../../.cache/updates');
const COMMAND_MS = 300_000;

export interface RealUpdates {
  readonly catalog: Catalog;
  readonly payloads: string;
  /** Every package of the vendor's index: field by name. */
  readonly index: readonly Readonly<Record<string, string>>[];
}

/** Fetches the signed index of a release's security archive. @param archive its address, from this machine's own apt */
export async function fetchUpdates(archive: string, release: string): Promise<RealUpdates> {
  fs.mkdirSync(CACHE, { recursive: true });
  const suite = `${release}-security`;
  const get = async (path: string) => {
    const answer = await fetch(`${archive}/${path}`, { signal: AbortSignal.timeout(COMMAND_MS) });
    if (!answer.ok) throw new Error(`${path}: ${answer.status}`);
    return Buffer.from(await answer.arrayBuffer());
  };
  const inRelease = await get(`dists/${suite}/InRelease`);
  const name = 'main/binary-amd64/Packages.xz';
  const listed = new RegExp(`^ ([0-9a-f]{64}) +\\d+ ${name}$`, 'm').exec(inRelease.toString('utf8'))?.[1] ?? '';
  const packages = await get(`dists/${suite}/main/binary-amd64/by-hash/SHA256/${listed}`);
  const indexes = [inRelease, packages].map((bytes, at) => {
    const sha256 = sha256Of(bytes);
    writeFileAtomic(join(CACHE, sha256), bytes);
    return { sha256, size: bytes.length, path: `dists/${suite}/${at === 0 ? 'InRelease' : name}` };
  });
  const plain = await runOrThrow('xz', ['-dc', join(CACHE, indexes[1]?.sha256 ?? '')], {
    timeoutMs: COMMAND_MS,
    outputBytes: 1 << 28,
  });
  const index = plain.stdout
    .split('\n\n')
    .map((stanza) =>
      Object.fromEntries([...stanza.matchAll(/^([A-Za-z0-9-]+): (.*)$/gm)].map(([, key, value]) => [key ?? '', value ?? ''])),
    );
  const moment = '2026-01-01T00:00:00Z';
  const catalog: Catalog = {
    schema: 'patchferry/catalog',
    schemaVersion: 1,
    product: 'debian-12',
    generatedAt: moment,
    patches: [],
    repositories: [
      { name: 'security', format: 'apt', suite, components: ['main'], architectures: ['amd64'], indexes, syncedAt: moment },
    ],
  };
  return { catalog, payloads: CACHE, index };
}

/** One package of the index as an item. */
export function itemOf(entry: Readonly<Record<string, string>>, from: string | null): InstallItem {
  const field = (name: string) => entry[name] ?? '';
  return {
    name: field('Package'),
    arch: field('Architecture'),
    from,
    to: field('Version'),
    sha256: field('SHA256'),
    size: Number(field('Size')),
    path: field('Filename'),
    repository: 'security',
    patch: `${field('Source').split(' ')[0] || field('Package')}@${field('Version')}`,
    format: 'deb',
  };
}

/** What the index has newer than what the host has, by our own comparison of versions. */
export function updatesFor(root: string, updates: RealUpdates): InstallItem[] {
  const newest = new Map<string, Readonly<Record<string, string>>>();
  for (const entry of updates.index) {
    const key = `${entry['Package']}:${entry['Architecture']}`;
    const known = newest.get(key);
    if (known === undefined || compareDeb(known['Version'] ?? '', entry['Version'] ?? '') < 0) newest.set(key, entry);
  }
  return (readDpkgPackages(root) ?? []).flatMap(({ name, arch, version }) => {
    const entry = newest.get(`${name}:${arch}`);
    return entry !== undefined && compareDeb(version, entry['Version'] ?? '') < 0 ? [itemOf(entry, version)] : [];
  });
}

/** Fetches payloads that are not kept yet, checked by hash. */
export async function fetchPayloads(archive: string, wanted: readonly { sha256: string; path: string }[]): Promise<void> {
  for (const { sha256, path } of wanted) {
    const file = join(CACHE, sha256);
    if (fs.existsSync(file)) continue;
    const answer = await fetch(`${archive}/${path}`, { signal: AbortSignal.timeout(COMMAND_MS) });
    if (!answer.ok || answer.body === null) throw new Error(`${path}: ${answer.status}`);
    const making = temporaryNameFor(file);
    await pipeline(answer.body, fs.createWriteStream(making));
    if (sha256Of(fs.readFileSync(making)) !== sha256) throw new Error(`${path}: another hash than the index says`);
    fs.renameSync(making, file);
  }
}

/** A context for a tree that is worked on by chroot. */
export function contextFor(root: string, updates: RealUpdates, change: Partial<HostContext> = {}): HostContext {
  const workFolder = join(root, 'var/lib/patchferry/run');
  fs.mkdirSync(workFolder, { recursive: true });
  // The kernel of these tests is never cut off from power, so dpkg need not wait for the disk after each file.
  fs.writeFileSync(join(root, 'etc/dpkg/dpkg.cfg.d/tests'), 'force-unsafe-io\n');
  return {
    root,
    workFolder,
    payloadPath: (sha256) => join(updates.payloads, sha256),
    catalogs: [updates.catalog],
    log: silentLog,
    clock: systemClock,
    signal: new AbortController().signal,
    archiveRoot: join(root, 'opt/patchferry/components'),
    ...change,
  };
}

/** Kills every process whose root folder is `root`, as a power cut would; gives back how many. */
export function killAllIn(root: string): number {
  let killed = 0;
  for (const pid of fs.readdirSync('/proc').filter((name) => /^\d+$/.test(name))) {
    try {
      if (fs.readlinkSync(`/proc/${pid}/root`) !== root) continue;
      process.kill(Number(pid), 'SIGKILL');
      killed += 1;
    } catch {
      // gone already
    }
  }
  return killed;
}

/** What legitimately differs after a run was taken back: logs, locks, patchferry's own. */
const NOT_COMPARED = [
  '/proc',
  '/sys',
  '/dev',
  '/run',
  '/tmp',
  '/var/log',
  '/var/tmp',
  '/var/lib/patchferry',
  '/.patchferry',
  '/root',
];
const LOCKS = [
  '/var/lib/dpkg/lock',
  '/var/lib/dpkg/lock-frontend',
  '/var/lib/dpkg/triggers/Lock',
  '/var/cache/apt/archives/lock',
];

/** A tree as lines: path, type and mode, owner, time, hash or target; and the capabilities that `getcap` finds. */
export async function writeDown(root: string): Promise<Map<string, string>> {
  const lines = new Map<string, string>();
  const todo = [''];
  for (let folder = todo.pop(); folder !== undefined; folder = todo.pop()) {
    for (const name of fs.readdirSync(join(root, folder))) {
      const path = `${folder}/${name}`;
      if (NOT_COMPARED.includes(path) || LOCKS.includes(path)) continue;
      const stat = fs.lstatSync(join(root, path), { bigint: true });
      let content = '';
      if (stat.isDirectory()) todo.push(path);
      else if (stat.isSymbolicLink()) content = fs.readlinkSync(join(root, path));
      else if (stat.isFile())
        content = createHash('sha256')
          .update(fs.readFileSync(join(root, path)))
          .digest('hex');
      // Times of folders outside the covered ones change with the logs and locks in them; those inside are kept to the microsecond.
      const outside = stat.isDirectory() && !/^\/(?:usr|etc|boot|opt|var\/lib\/dpkg)(?:\/|$)/.test(path);
      const time = stat.isDirectory() ? (outside ? '' : String((stat.mtimeNs + 500n) / 1_000_000n)) : String(stat.mtimeNs);
      const links = stat.isFile() ? String(stat.nlink) : '';
      lines.set(path, [stat.mode.toString(8), stat.uid, stat.gid, time, links, content].join(' '));
    }
  }
  const capabilities = await run('chroot', [root, 'getcap', '-r', '/usr', '/bin', '/sbin'], { timeoutMs: COMMAND_MS });
  lines.set('(capabilities)', capabilities.stdout);
  return lines;
}

/** Paths whose lines differ, with both. */
export function differencesOf(before: ReadonlyMap<string, string>, after: ReadonlyMap<string, string>): string[] {
  const paths = new Set([...before.keys(), ...after.keys()]);
  return [...paths]
    .filter((path) => before.get(path) !== after.get(path))
    .map((path) => `${path}: ${before.get(path)} -> ${after.get(path)}`);
}
