// What the real tests and the demo need of Debian, installed when this is Debian and we are root; and what is missing elsewhere.
import * as fs from 'node:fs';
import { run } from '#manifests/platform/process';

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

export function isDebianRoot(): boolean {
  return process.platform === 'linux' && process.getuid?.() === 0 && fs.existsSync('/etc/debian_version');
}

/** Installs the packages of these groups that are missing. Gives back why it did not, or undefined when all are there. */
export async function ensureDebianPackages(groups: readonly (keyof typeof DEBIAN_PACKAGES)[]): Promise<string | undefined> {
  if (!isDebianRoot()) return 'this is not Debian, or we are not root';
  const wanted = groups.flatMap((group) => [...DEBIAN_PACKAGES[group]]);
  const state = await run('dpkg-query', ['-W', '-f', '${Package} ${db:Status-Status}\n', ...wanted], { timeoutMs: 30_000 });
  const there = new Set(
    state.stdout
      .split('\n')
      .filter((row) => row.endsWith(' installed'))
      .map((row) => row.split(' ')[0]),
  );
  const missing = wanted.filter((name) => !there.has(name));
  if (missing.length === 0) return undefined;
  process.stderr.write(`installing ${missing.join(', ')} (apt-get)\n`);
  const env = { ...(process.env as Record<string, string>), DEBIAN_FRONTEND: 'noninteractive', LC_ALL: 'C.UTF-8' };
  const update = await run('apt-get', ['update', '-q'], { timeoutMs: 300_000, env });
  const install = await run('apt-get', ['install', '-y', '-q', '--no-install-recommends', ...missing], {
    timeoutMs: 900_000,
    env,
  });
  if (install.code === 0) return undefined;
  return `apt-get could not install ${missing.join(', ')}: ${(update.stderr + install.stderr).trim().slice(-500)}`;
}
