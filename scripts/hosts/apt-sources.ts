// Where this machine itself gets Debian from: mirror addresses are asked of apt at run time and never written down.
import { run } from '#manifests/platform/process';

export interface DebianMirrors {
  /** URL of the archive that carries the release itself. */
  readonly archive: string;
  /** URL of the archive that carries its security updates. */
  readonly security: string;
  readonly keyring: string;
}

const KEYRING = '/usr/share/keyrings/debian-archive-keyring.gpg';

/** The mirrors for a release (`bookworm`), or undefined when apt has none. Another release's are taken from this one's servers. */
export async function debianMirrors(release: string): Promise<DebianMirrors | undefined> {
  const targets = await run('apt-get', ['indextargets', '--format', '$(REPO_URI) $(RELEASE)', 'Created-By: Packages'], {
    timeoutMs: 30_000,
  });
  const rows = targets.stdout
    .split('\n')
    .map((row) => row.trim().split(' '))
    .filter((row): row is [string, string] => row.length === 2);
  const find = (wanted: (name: string) => boolean) => rows.find(([, name]) => wanted(name))?.[0]?.replace(/\/$/, '');
  const archive =
    find((name) => name === release) ?? find((name) => /^[a-z]+$/.test(name) && name !== 'nodistro' && !name.includes('sdk'));
  const security = find((name) => name === `${release}-security`) ?? find((name) => name.endsWith('-security'));
  return archive === undefined || security === undefined ? undefined : { archive, security, keyring: KEYRING };
}
