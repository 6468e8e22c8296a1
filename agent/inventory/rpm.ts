// RPM's database as the host's own `rpm` tells it (its file format is rpm's own affair: Berkeley DB, ndb, SQLite), and what the
// administrator holds back in dnf's settings. Format: rpm-queryformat(7); dnf.conf(5); versionlock of dnf-plugins-core.
import * as fs from 'node:fs';
import { join } from 'node:path';
import { defineFaults, EXIT } from '#manifests/errors';
import { readFileBounded } from '#manifests/platform/files';
import { run } from '#manifests/platform/process';
import type { InstalledPackage } from '#manifests/schema';
import { compareRpm } from '#manifests/versions';

const fault = defineFaults('inventory', {
  'rpm-database': {
    exit: EXIT.handsNeeded,
    next: 'Run `rpm -qa` and `rpmdb --verifydb` on the host; `rpmdb --rebuilddb` rebuilds a damaged index.',
  },
});

const LIMITS = {
  /** For one question to rpm, in milliseconds; 5,000 packages on a slow disk take some seconds. */
  queryMs: 120_000,
  /** Bytes of its answer; a package has about 150. */
  answerBytes: 64 * 1024 * 1024,
  /** Bytes of one of dnf's settings. */
  settingsBytes: 1024 * 1024,
  /** Characters of a name, version or architecture (schema/inventory.ts). */
  fieldLength: 200,
} as const;

/** One package of the database. */
export interface RpmEntry {
  readonly name: string;
  /** `[epoch:]version-release`; an epoch of 0 is not written. */
  readonly version: string;
  readonly arch: string;
  readonly source: string;
  readonly sourceVersion: string;
  /** Milliseconds. */
  readonly installedAt: number;
  /** Bytes of its files. */
  readonly installedBytes: number;
  /** Several versions may stand side by side (kernels). */
  readonly installOnly: boolean;
}

/** Provides that make a package installonly (dnf.conf(5), `installonlypkgs`). */
const INSTALL_ONLY = [
  'kernel',
  'kernel-PAE',
  'installonlypkg(kernel)',
  'installonlypkg(kernel-module)',
  'installonlypkg(vm)',
  'multiversion(kernel)',
] as const;

const FIELDS = ['NAME', 'EPOCHNUM', 'VERSION', 'RELEASE', 'ARCH', 'SOURCERPM', 'INSTALLTIME', 'LONGSIZE'] as const;
const FORMAT = `${FIELDS.map((field) => `%{${field}}`).join('\\t')}\\n`;

/** `openssl-3.0.7-1.el9.src.rpm` -> name and `version-release`; undefined when it is none (packages built by hand). */
export function parseSourceRpm(file: string): { name: string; version: string } | undefined {
  const parts = /^(.+)-([^-]+-[^-]+)\.(?:no)?src\.rpm$/.exec(file);
  return parts?.[1] === undefined || parts[2] === undefined ? undefined : { name: parts[1], version: parts[2] };
}

/** Reads what `rpm -q --queryformat` printed. @throws inventory.rpm-database on a line that is none */
export function parseRpmQuery(text: string, installOnly: ReadonlySet<string> = new Set()): RpmEntry[] {
  return text.split('\n').flatMap((line) => {
    if (line === '') return [];
    const parts = line.split('\t');
    const [name = '', epoch = '', version = '', release = '', arch = '', sourceRpm = '', installedAt = '', size = ''] = parts;
    if (parts.length !== FIELDS.length || !/^\d+$/.test(epoch) || parts.some((part) => part.length > LIMITS.fieldLength)) {
      throw fault('rpm-database', `rpm printed a line that is no package: ${JSON.stringify(line.slice(0, 200))}`);
    }
    if (name === 'gpg-pubkey') return []; // the keys rpm trusts are kept as packages that are none
    const withEpoch = (text: string) => (epoch === '0' ? text : `${epoch}:${text}`);
    const source = parseSourceRpm(sourceRpm);
    const evr = withEpoch(`${version}-${release}`);
    return [
      {
        name,
        version: evr,
        arch,
        source: source?.name ?? name,
        sourceVersion: source === undefined ? evr : withEpoch(source.version),
        installedAt: (Number(installedAt) || 0) * 1000,
        installedBytes: Number(size) || 0,
        installOnly: installOnly.has(`${name}\t${evr}\t${arch}`),
      },
    ];
  });
}

/** Asks the rpm below `root` (by chroot when that is not `/`), or undefined when there is none. */
async function askRpm(root: string, args: readonly string[]) {
  if (!['usr/bin/rpm', 'bin/rpm'].some((path) => fs.existsSync(join(root, path)))) return undefined;
  const [program, all] = root === '/' ? ['rpm', args] : ['chroot', [root, 'rpm', ...args]];
  const env = { PATH: '/usr/sbin:/usr/bin:/sbin:/bin', HOME: '/root', LC_ALL: 'C.UTF-8' };
  return run(program, all, { timeoutMs: LIMITS.queryMs, outputBytes: LIMITS.answerBytes, env });
}

/**
 * Every package of the RPM database below `root`, sorted by name, architecture and version (kernels stand several times, the
 * newest last). Undefined when the host has no rpm, or an rpm that manages nothing. @throws inventory.rpm-database
 */
export async function readRpmEntries(root: string): Promise<RpmEntry[] | undefined> {
  const all = await askRpm(root, ['-qa', '--queryformat', FORMAT]);
  if (all === undefined) return undefined;
  if (all.code !== 0 || all.droppedBytes > 0) {
    const says = all.droppedBytes > 0 ? 'its answer is too long' : all.stderr.trim().slice(-500);
    throw fault('rpm-database', `rpm -qa ended with ${all.code ?? all.signal}: ${says}`, { where: root });
  }
  if (all.stdout.trim() === '') return undefined;
  // rpm ends with an error and a line for each name that nothing provides; the lines with tabs are packages.
  const several = await askRpm(root, ['-q', '--queryformat', FORMAT, '--whatprovides', ...INSTALL_ONLY]);
  const rows = (several?.stdout ?? '').split('\n').filter((line) => line.includes('\t'));
  const installOnly = new Set(parseRpmQuery(rows.join('\n')).map(({ name, version, arch }) => `${name}\t${version}\t${arch}`));
  const key = ({ name, arch }: RpmEntry) => `${name}:${arch}`;
  return parseRpmQuery(all.stdout, installOnly).toSorted((a, b) =>
    key(a) === key(b) ? compareRpm(a.version, b.version) : key(a) < key(b) ? -1 : 1,
  );
}

/** Patterns that keep packages as they are. */
export interface RpmHolds {
  /** Globs over names, `name.arch` and `name-version…`. */
  readonly patterns: readonly string[];
}

function readSettings(root: string, path: string): string {
  const bytes = readFileBounded(join(root, path), LIMITS.settingsBytes);
  return bytes === undefined ? '' : Buffer.from(bytes).toString('utf8');
}

/** `exclude=` of dnf's main settings, and the lists of versionlock: dnf 4's, and dnf 5's own. */
export function readRpmHolds(root: string): RpmHolds {
  const patterns: string[] = [];
  let section = '';
  let option = '';
  for (const line of readSettings(root, 'etc/dnf/dnf.conf').split('\n')) {
    if (/^\s*[#;]/.test(line)) continue;
    const head = /^\[(.+)\]/.exec(line)?.[1];
    const pair = /^(\w+)\s*[=:]\s*(.*)$/.exec(line);
    if (head !== undefined) section = head;
    else if (pair?.[1] !== undefined) option = pair[1];
    else if (!/^\s+\S/.test(line)) option = '';
    if (section !== 'main' || head !== undefined || (option !== 'exclude' && option !== 'excludepkgs')) continue;
    patterns.push(...(pair?.[2] ?? line).split(/[\s,]+/).filter((word) => word !== ''));
  }
  for (const line of readSettings(root, 'etc/dnf/plugins/versionlock.list').split('\n')) {
    const entry = line.replace(/#.*/, '').trim();
    if (entry === '' || entry.startsWith('!')) continue; // `!` forbids one version and holds none
    patterns.push(/^(.+)-(?:\d+:)?[^-:]+-[^-]+$/.exec(entry)?.[1] ?? entry);
  }
  patterns.push(...locked5(readSettings(root, 'etc/dnf/versionlock.toml')));
  return { patterns };
}

/**
 * Packages of dnf 5's `versionlock.toml` (dnf5-versionlock(8)) that are held at one version. Other conditions (`evr < 2`, `!=`)
 * leave updates possible: of these dnf itself says what they forbid.
 */
function locked5(text: string): string[] {
  return text
    .split(/^\s*\[\[\s*packages\s*\]\]/m)
    .slice(1)
    .flatMap((block) => {
      const value = (key: string) => new RegExp(`^\\s*${key}\\s*=\\s*["'](.+?)["']`, 'm');
      const name = value('name').exec(block)?.[1];
      const held = block.split(/\[\[\s*packages\.conditions\s*\]\]/).some((condition) => {
        const key = value('key').exec(condition)?.[1];
        const comparator = value('comparator').exec(condition)?.[1];
        return comparator === '=' && (key === 'evr' || key === 'version' || key === 'release');
      });
      return name !== undefined && held ? [name] : [];
    });
}

function globMatches(pattern: string, text: string): boolean {
  const escaped = pattern
    .replace(/[.+^${}()|\\]/g, '\\$&')
    .replaceAll('*', '.*')
    .replaceAll('?', '.');
  try {
    return new RegExp(`^${escaped}$`).test(text);
  } catch {
    return pattern === text; // an unfinished `[` stands for itself
  }
}

/** Whether the administrator keeps this package as it is. */
export function isHeld({ patterns }: RpmHolds, entry: Pick<RpmEntry, 'name' | 'arch' | 'version'>): boolean {
  const { name, arch, version } = entry;
  const forms = [name, `${name}.${arch}`, `${name}-${version}`, `${name}-${version}.${arch}`];
  return patterns.some((pattern) => forms.some((form) => globMatches(pattern, form)));
}

/**
 * Entries as an inventory has them. Two versions of a package that is not installonly are what an interrupted transaction leaves
 * behind: both count as broken.
 */
export function installedFromRpm(entries: readonly RpmEntry[], holds: RpmHolds): InstalledPackage[] {
  const counts = new Map<string, number>();
  for (const { name, arch } of entries) counts.set(`${name}:${arch}`, (counts.get(`${name}:${arch}`) ?? 0) + 1);
  return entries.map((entry) => {
    const { name, version, arch, source, sourceVersion, installOnly } = entry;
    const twice = !installOnly && (counts.get(`${name}:${arch}`) ?? 0) > 1;
    return { name, version, arch, source, sourceVersion, state: twice ? 'broken' : 'installed', held: isHeld(holds, entry) };
  });
}

/** What only a start of the machine brings into use (NEED_REBOOT of dnf's needs-restarting; kernels are told by themselves). */
const NEEDS_REBOOT = new Set(['glibc', 'linux-firmware', 'systemd', 'dbus', 'dbus-broker', 'dbus-daemon']);

/** Packages whose new version waits for a reboot, as `dnf needs-restarting --reboothint` tells it. @param bootedAt milliseconds */
export function waitingForReboot(entries: readonly RpmEntry[], bootedAt: number): string[] {
  const names = entries.filter(({ name, installedAt }) => NEEDS_REBOOT.has(name) && installedAt > bootedAt);
  return [...new Set(names.map(({ name }) => name))];
}

/** The architecture of the host by its packages: that of most of those which are for one. */
export function nativeRpmArch(entries: readonly RpmEntry[]): string | undefined {
  const counts = new Map<string, number>();
  for (const { arch } of entries) if (arch !== 'noarch' && arch !== '(none)') counts.set(arch, (counts.get(arch) ?? 0) + 1);
  return [...counts].toSorted(([, a], [, b]) => b - a)[0]?.[0];
}
