// The stale Debian trees that test hosts start from: made once by mmdebstrap without security updates, kept as a tar.
import * as fs from 'node:fs';
import { join, resolve } from 'node:path';
import { runOrThrow } from '#manifests/platform/process';
import { inTurn } from '../setup/turns.ts';
import { debianMirrors } from './apt-sources.ts';

/** Of the hosts of Debian that most tests use. */
const DEBIAN = [
  'systemd',
  'systemd-sysv',
  'dbus',
  'openssl',
  'curl',
  'nginx-light',
  'openssh-server',
  'python3',
  'git',
  'iputils-ping',
  'libcap2-bin',
  'btrfs-progs',
  'debian-archive-keyring',
  'libatomic1', // Node needs it, beside what every Debian has (libc6, libstdc++6)
] as const;

/** What a host has beyond the essential packages. */
const INCLUDE = {
  /** Several of these have security updates waiting. */
  debian: DEBIAN,
  /** With the distribution's own updater, and what lets the clock of a service jump. */
  attended: [...DEBIAN, 'unattended-upgrades', 'libfaketime'],
  /** Programs of an RPM host. Debian builds the same dnf and rpm; what they install comes from a repository of our own (rpm/). */
  rpm: [
    'systemd',
    'systemd-sysv',
    'dbus',
    'rpm',
    'dnf',
    'dnf-plugins-core',
    'gnupg',
    'libcap2-bin',
    'btrfs-progs',
    'procps',
    'libatomic1',
  ],
  /** The same with dnf 5 and rpm 6, which no stable Debian has yet. */
  rpm5: ['systemd', 'systemd-sysv', 'dbus', 'rpm', 'dnf5', 'gnupg', 'libcap2-bin', 'btrfs-progs', 'procps', 'libatomic1'],
} as const;

export type TreeKind = keyof typeof INCLUDE;

/** Of Debian's testing suite a signed index counts for a week only; a mirror that stands still is good enough for a test host. */
const ANY_AGE = ['--aptopt=Acquire::Check-Valid-Until "false"'];

const MINUTES = 60_000;

export const CACHE_FOLDER = resolve(import.meta.dirname, '../../.cache/hosts');

/** Makes the tar of the stale tree when it is not there yet, and gives its path. Two callers at once: the second waits. */
export async function staleDebianTar(release: string, say: (line: string) => void, kind: TreeKind = 'debian'): Promise<string> {
  const name = kind === 'debian' ? release : `${release}-${kind}`;
  const tar = join(CACHE_FOLDER, `stale-2-${name}.tar`);
  if (fs.existsSync(tar)) return tar;
  await inTurn(join(CACHE_FOLDER, `.${name}.lock`), 'making a Debian tree', 10 * MINUTES, async () => {
    if (!fs.existsSync(tar)) await makeTar(release, kind, name, tar, say);
  });
  return tar;
}

async function makeTar(release: string, kind: TreeKind, name: string, tar: string, say: (line: string) => void): Promise<void> {
  const mirrors = await debianMirrors(release);
  if (mirrors === undefined) throw new Error(`apt on this machine has no sources for Debian ${release}`);
  say(`making a Debian ${name} tree without its security updates (mmdebstrap, about half a minute)`);
  const making = `${tar}.making`;
  fs.rmSync(making, { force: true });
  const source = `deb [signed-by=${mirrors.keyring}] ${mirrors.archive} ${release} main`;
  const options = ['--variant=minbase', '--format=tar', `--include=${INCLUDE[kind].join(',')}`];
  const args = [...options, ...(kind === 'rpm5' ? ANY_AGE : []), release, making, source];
  await runOrThrow('mmdebstrap', args, { timeoutMs: 10 * MINUTES });
  fs.renameSync(making, tar);
}
