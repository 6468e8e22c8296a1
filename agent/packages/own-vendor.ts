// For tests on real hosts: a small vendor of our own with real packages and a real signature, where the real vendor's updates of
// today do not happen to have what is looked at (settings files, kernels, packages that nothing needs).
import { createHash } from 'node:crypto';
import * as fs from 'node:fs';
import { join } from 'node:path';
import { runOrThrow } from '#manifests/platform/process';
import { type Catalog, sha256Of } from '#manifests/schema';
import { readDpkgPackages } from '../inventory/index.ts';
import { contextFor } from './real-updates.ts';
import type { HostContext, InstallItem } from './system.ts';

const COMMAND_MS = 120_000;
const REPOSITORY = 'own-vendor';
const SUITE = 'own';

export interface OwnPackage {
  readonly name: string;
  readonly version: string;
  readonly depends?: string;
  /** Files by path; those below /etc become settings files. */
  readonly files?: Readonly<Record<string, string>>;
  /** Maintainer scripts by name: `postinst`, `prerm`. */
  readonly scripts?: Readonly<Record<string, string>>;
}

/** Builds one package with dpkg-deb. @returns its file */
export async function buildDeb(
  folder: string,
  { name, version, depends, files = {}, scripts = {} }: OwnPackage,
): Promise<string> {
  const tree = fs.mkdtempSync(join(folder, 'tree-'));
  fs.chmodSync(tree, 0o755);
  fs.mkdirSync(join(tree, 'DEBIAN'));
  const control = [
    `Package: ${name}`,
    `Version: ${version}`,
    'Architecture: amd64',
    'Maintainer: tests <tests@example.org>',
    'Section: misc',
    'Priority: optional',
    ...(depends === undefined ? [] : [`Depends: ${depends}`]),
    'Description: package of a test',
  ];
  fs.writeFileSync(join(tree, 'DEBIAN/control'), `${control.join('\n')}\n`);
  for (const [path, content] of Object.entries(files)) {
    fs.mkdirSync(join(tree, path, '..'), { recursive: true });
    fs.writeFileSync(join(tree, path), content);
  }
  const settings = Object.keys(files).filter((path) => path.startsWith('/etc/'));
  if (settings.length > 0) fs.writeFileSync(join(tree, 'DEBIAN/conffiles'), `${settings.join('\n')}\n`);
  for (const [script, body] of Object.entries(scripts)) {
    fs.writeFileSync(join(tree, 'DEBIAN', script), `#!/bin/sh\nset -e\n${body}\n`, { mode: 0o755 });
  }
  const file = join(folder, `${name}_${version}_amd64.deb`);
  await runOrThrow('dpkg-deb', ['--root-owner-group', '-Zgzip', '--build', tree, file], { timeoutMs: COMMAND_MS });
  fs.rmSync(tree, { recursive: true });
  return file;
}

/** Installs packages on a tree as an administrator would. @param auto marked as having come in for others */
export async function preinstall(root: string, packages: readonly OwnPackage[], auto: readonly string[] = []): Promise<void> {
  const folder = fs.mkdtempSync(join(root, 'tmp/own-'));
  for (const one of packages) {
    const file = await buildDeb(folder, one);
    const inside = file.slice(root.length);
    await runOrThrow('chroot', [root, 'dpkg', '--force-unsafe-io', '-i', inside], { timeoutMs: COMMAND_MS });
  }
  if (auto.length > 0) await runOrThrow('chroot', [root, 'apt-mark', 'auto', ...auto], { timeoutMs: COMMAND_MS });
  fs.rmSync(folder, { recursive: true });
}

/** Signs these packages as a vendor does, and gives the context of a host that knows its key, with an item for each package. */
export async function ownVendor(
  root: string,
  packages: readonly OwnPackage[],
  change: Partial<HostContext> = {},
): Promise<{ context: HostContext; items: InstallItem[] }> {
  const folder = fs.mkdtempSync(join(root, 'var/tmp/vendor-'));
  const store = join(folder, 'store');
  fs.mkdirSync(store);
  const keep = (bytes: Uint8Array) => {
    const sha256 = sha256Of(bytes);
    fs.writeFileSync(join(store, sha256), bytes);
    return { sha256, size: bytes.length };
  };
  const stanzas: string[] = [];
  const items: InstallItem[] = [];
  const installed = readDpkgPackages(root) ?? [];
  for (const one of packages) {
    const path = `pool/${one.name}_${one.version}_amd64.deb`;
    const bytes = fs.readFileSync(await buildDeb(folder, one));
    const { sha256, size } = keep(bytes);
    const lines = [
      `Package: ${one.name}`,
      `Version: ${one.version}`,
      'Architecture: amd64',
      `Filename: ${path}`,
      `Size: ${size}`,
    ];
    if (one.depends !== undefined) lines.push(`Depends: ${one.depends}`);
    stanzas.push([...lines, `SHA256: ${sha256}`, 'Installed-Size: 10', 'Description: package of a test'].join('\n'));
    const from = installed.find(({ name }) => name === one.name)?.version ?? null;
    const { name, version: to } = one;
    items.push({
      name,
      arch: 'amd64',
      from,
      to,
      sha256,
      size,
      path,
      repository: REPOSITORY,
      patch: `${name}@${to}`,
      format: 'deb',
    });
  }
  const index = Buffer.from(`${stanzas.join('\n\n')}\n`);
  const row = `main/binary-amd64/Packages`;
  const release = [`Origin: own`, `Suite: ${SUITE}`, `Codename: ${SUITE}`, 'Architectures: amd64', 'Components: main'];
  release.push('Date: Thu, 01 Jan 2026 00:00:00 UTC', 'SHA256:');
  release.push(` ${createHash('sha256').update(index).digest('hex')} ${index.length} ${row}`, '');
  const signed = await sign(folder, release.join('\n'), join(root, 'usr/share/keyrings/own-vendor.gpg'));
  const catalog: Catalog = {
    schema: 'patchferry/catalog',
    schemaVersion: 1,
    product: 'own',
    generatedAt: '2026-01-01T00:00:00Z',
    patches: [],
    repositories: [
      {
        name: REPOSITORY,
        format: 'apt',
        suite: SUITE,
        components: ['main'],
        architectures: ['amd64'],
        indexes: [
          { ...keep(signed), path: `dists/${SUITE}/InRelease` },
          { ...keep(index), path: `dists/${SUITE}/${row}` },
        ],
        syncedAt: '2026-01-01T00:00:00Z',
      },
    ],
  };
  const keyrings = { [REPOSITORY]: '/usr/share/keyrings/own-vendor.gpg' };
  return { context: contextFor(root, { catalog, payloads: store, index: [] }, { keyrings, ...change }), items };
}

/** Signs with a fresh key, whose public part goes to `keyring`. */
async function sign(folder: string, text: string, keyring: string): Promise<Buffer> {
  const home = join(folder, 'gnupg');
  fs.mkdirSync(home, { mode: 0o700 });
  const gpg = (...args: string[]) =>
    runOrThrow('gpg', ['--homedir', home, '--batch', '--yes', '--passphrase', '', '--pinentry-mode', 'loopback', ...args], {
      timeoutMs: COMMAND_MS,
    });
  try {
    await gpg('--quick-generate-key', 'vendor <vendor@example.org>', 'rsa3072', 'sign', 'never');
    await gpg('--output', keyring, '--export');
    fs.writeFileSync(join(folder, 'Release'), text);
    await gpg('--output', join(folder, 'InRelease'), '--clearsign', join(folder, 'Release'));
  } finally {
    await runOrThrow('gpgconf', ['--homedir', home, '--kill', 'all'], { timeoutMs: COMMAND_MS });
  }
  return fs.readFileSync(join(folder, 'InRelease'));
}
