// The root of a Ferry Linux host: programs as Debian builds them, and a package database that is rpm's and nobody else's.
import * as fs from 'node:fs';
import { join } from 'node:path';
import { runOrThrow } from '#manifests/platform/process';
import { INSTALLED } from './packages.ts';
import type { RpmVendor } from './vendor.ts';

const COMMAND_MS = 120_000;

/** Debian's build keeps the database in the user's home; here it is where RPM distributions have it. */
const MACROS = [
  '%_dbpath /var/lib/rpm',
  '%_install_langs all',
  // rpm 6 gives scripts a name space of their own, which it cannot in a tree that is entered by chroot
  '%__transaction_unshare %{nil}',
].join('\n');
const DNF_CONF =
  '[main]\ngpgcheck=True\ninstallonly_limit=3\nclean_requirements_on_remove=True\nbest=True\nskip_if_unavailable=False\n';

/** Makes the tree of the lab (kind `rpm`) a host of the vendor: its key trusted, its first packages installed, dpkg forgotten. */
export async function makeFerryTree(root: string, vendor: RpmVendor): Promise<void> {
  const put = (path: string, text: string) => {
    fs.mkdirSync(join(root, path, '..'), { recursive: true });
    fs.writeFileSync(join(root, path), text);
  };
  fs.rmSync(join(root, 'var/lib/dpkg'), { recursive: true, force: true });
  fs.rmSync(join(root, 'var/lib/apt'), { recursive: true, force: true });
  put('etc/rpm/macros', `${MACROS}\n`);
  put('etc/dnf/dnf.conf', DNF_CONF);
  // Debian's builds would keep every package in a repository of the host's own, and fail without createrepo_c.
  put('etc/dnf/plugins/local.conf', '[main]\nenabled = 0\n');
  put('etc/dnf/libdnf5-plugins/local.conf', '[main]\nname = local\nenabled = 0\n');
  fs.rmSync(join(root, 'etc/dnf/protected.d'), { recursive: true, force: true });
  fs.mkdirSync(join(root, 'etc/pki/rpm-gpg'), { recursive: true });
  fs.copyFileSync(vendor.publicKey, join(root, 'etc/pki/rpm-gpg/RPM-GPG-KEY-ferry'));
  const packages = await vendor.build(INSTALLED);
  const inside = packages.map((path) => {
    const name = path.split('/').at(-1) ?? '';
    fs.copyFileSync(path, join(root, 'tmp', name));
    return `/tmp/${name}`;
  });
  const chroot = (...args: string[]) => runOrThrow('chroot', [root, ...args], { timeoutMs: COMMAND_MS });
  await chroot('rpm', '--import', '/etc/pki/rpm-gpg/RPM-GPG-KEY-ferry');
  await chroot('rpm', '-i', '--replacefiles', ...inside);
  for (const path of inside) fs.rmSync(join(root, path));
}
