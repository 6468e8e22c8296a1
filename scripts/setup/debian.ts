// What the real tests and the demo need of Debian, installed when this is Debian and we are root; and what is missing elsewhere.
import * as fs from 'node:fs';
import { run } from '#manifests/platform/process';
import { inTurn } from './turns.ts';

/** Debian packages by what they are for. */
export const DEBIAN_PACKAGES = {
  hosts: ['mmdebstrap', 'btrfs-progs', 'systemd-container', 'iproute2', 'ca-certificates', 'debian-archive-keyring'],
  media: ['dosfstools', 'fusefat', 'mtools'],
  tests: [
    'attr',
    'acl',
    'strace',
    'libdpkg-perl',
    'rpm',
    'createrepo-c',
    'gpg',
    'gpg-agent',
    'gpgv',
    'xz-utils',
    'bzip2',
    'chromium',
    'nginx-light',
  ],
  build: ['binutils'],
  trust: ['softhsm2', 'opensc'],
  store: ['swift-proxy', 'swift-account', 'swift-container', 'swift-object', 'memcached'],
} as const;

/** All of them: what a run of every test needs. */
export const GROUPS = Object.keys(DEBIAN_PACKAGES) as Array<keyof typeof DEBIAN_PACKAGES>;

/** apt does one thing at a time; it may take this long until it is our turn, in milliseconds. */
const TURN_MS = 1_200_000;

export function isDebianRoot(): boolean {
  return process.platform === 'linux' && process.getuid?.() === 0 && fs.existsSync('/etc/debian_version');
}

/** Installs the packages of these groups that are missing. Gives back why it did not, or undefined when all are there. */
export async function ensureDebianPackages(groups: readonly (keyof typeof DEBIAN_PACKAGES)[]): Promise<string | undefined> {
  if (!isDebianRoot()) return 'this is not Debian, or we are not root';
  const wanted = groups.flatMap((group) => [...DEBIAN_PACKAGES[group]]);
  if ((await missingOf(wanted)).length === 0) return undefined;
  return inTurn('/run/patchferry-apt.lock', 'installing Debian packages', TURN_MS, async () =>
    install(await missingOf(wanted)),
  );
}

async function install(missing: readonly string[]): Promise<string | undefined> {
  if (missing.length === 0) return undefined;
  process.stderr.write(`installing ${missing.join(', ')} (apt-get)\n`);
  const env = { ...(process.env as Record<string, string>), DEBIAN_FRONTEND: 'noninteractive', LC_ALL: 'C.UTF-8' };
  const update = await run('apt-get', ['update', '-q'], { timeoutMs: 300_000, env });
  const done = await run('apt-get', ['install', '-y', '-q', '--no-install-recommends', ...missing], {
    timeoutMs: 900_000,
    env,
  });
  if (done.code === 0) return undefined;
  return `apt-get could not install ${missing.join(', ')}: ${(update.stderr + done.stderr).trim().slice(-500)}`;
}

async function missingOf(wanted: readonly string[]): Promise<string[]> {
  const state = await run('dpkg-query', ['-W', '-f', '${Package} ${db:Status-Status}\n', ...wanted], { timeoutMs: 30_000 });
  const there = new Set(
    state.stdout
      .split('\n')
      .filter((row) => row.endsWith(' installed'))
      .map((row) => row.split(' ')[0]),
  );
  return wanted.filter((name) => !there.has(name));
}
