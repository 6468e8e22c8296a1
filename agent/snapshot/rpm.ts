// What the ways back of packages have to know of RPM: which paths its packages list, and which files are its databases. The rest
// (what is covered, copied, put back) is the same for every package system.
import * as fs from 'node:fs';
import { type HostContext, hostCommand, type InstallPlan, reach } from '../packages/index.ts';

const LIMITS = {
  /** For listing the files of all packages; a slow disk takes some seconds for 300,000 of them. */
  listMs: 300_000,
  listBytes: 512 * 1024 * 1024,
} as const;

/** The databases of rpm and dnf's note of what was installed why. */
export const RPM_DATABASES = ['/var/lib/rpm', '/var/lib/dnf', '/usr/lib/sysimage'] as const;

/** Locks, and SQLite's shared memory, which is made anew whenever the database is opened. */
export const RPM_EXCLUDED = [
  ...['/var/lib/rpm', '/usr/lib/sysimage/rpm'].flatMap((folder) =>
    ['.rpm.lock', '.keyring.lock', 'rpmdb.sqlite-shm'].map((name) => `${folder}/${name}`),
  ),
  '/var/lib/dnf/rpmdb_lock.pid',
  '/var/lib/dnf/history.sqlite-shm',
  '/var/lib/dnf/system-repo.lock',
  '/usr/lib/sysimage/libdnf5/transaction_history.sqlite-shm',
];

/** `/usr/lib/sysimage/rpm/rpmdb.sqlite` is listed by a package of Fedora's, and changes with every transaction all the same. */
export function isRpmDatabase(path: string): boolean {
  return RPM_DATABASES.some((folder) => path.startsWith(`${folder}/`));
}

/**
 * The order in which RPM's databases come back, after everything else: a log of changes first, then the database it belongs to,
 * so that no newer log is ever read into an older database.
 */
export function rpmRank(path: string): number {
  if (!isRpmDatabase(path)) return 0;
  return path.endsWith('-wal') ? 1 : 2;
}

async function listed(context: Pick<HostContext, 'root'>, args: readonly string[]): Promise<string[]> {
  const result = await hostCommand(context, 'rpm', ['-q', '--list', ...args], {
    timeoutMs: LIMITS.listMs,
    outputBytes: LIMITS.listBytes,
  });
  return result.stdout.split('\n').filter((line) => line.startsWith('/')); // "package x is not installed" is printed there too
}

const hasRpm = (context: Pick<HostContext, 'root'>) => fs.existsSync(reach(context, '/usr/bin/rpm'));

/** Paths that rpm's database lists for the packages which plans of RPM change (as they are installed now). */
export async function rpmPathsOfChanged(context: Pick<HostContext, 'root'>, plans: readonly InstallPlan[]): Promise<string[]> {
  const changed = plans.filter(({ format }) => format === 'rpm').flatMap(({ changes }) => changes);
  const names = [...new Set(changed.map(({ name, arch }) => `${name}.${arch}`))];
  return names.length === 0 || !hasRpm(context) ? [] : listed(context, names);
}

/** Every path that any installed package of rpm's lists. */
export async function rpmPathsOfAll(context: Pick<HostContext, 'root'>): Promise<string[]> {
  return hasRpm(context) ? listed(context, ['--all']) : [];
}
