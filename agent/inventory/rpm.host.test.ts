// The inventory of a host whose package database is rpm's, held against rpm's own answers. Needs root on Debian.
import assert from 'node:assert/strict';
import * as fs from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { systemClock } from '#manifests/platform/clock';
import { runOrThrow } from '#manifests/platform/process';
import { encodePlain } from '#manifests/schema';
import { Lab } from '../../scripts/hosts/index.ts';
import { INSTALLED, makeFerryTree, RpmVendor, UPDATED } from '../../scripts/hosts/rpm/index.ts';
import { isDebianRoot } from '../../scripts/setup/debian.ts';
import { readRpmEntries, takeInventory } from './index.ts';

const skip = isDebianRoot() ? false : 'needs root on Debian';

test('an RPM host: packages as rpm has them, its product, several kernels, what is held', { skip }, async () => {
  await using lab = await Lab.open({ tree: 'rpm' });
  await using vendor = await RpmVendor.open(join(lab.folder, 'vendor'));
  const root = join(lab.disk, 'base');
  await makeFerryTree(root, vendor);
  const chroot = (...args: string[]) => runOrThrow('chroot', [root, ...args], { timeoutMs: 60_000 });
  const [kernel] = await vendor.build([UPDATED.kernel]);
  fs.copyFileSync(kernel ?? '', join(root, 'tmp/kernel.rpm'));
  await chroot('rpm', '-i', '/tmp/kernel.rpm');
  fs.writeFileSync(join(root, 'etc/dnf/plugins/versionlock.list'), 'harbor-0:1.1-1.fl9.*\n');

  const inventory = await takeInventory({ root, clock: systemClock, labels: {} });
  assert.doesNotThrow(() => encodePlain('inventory', inventory));
  assert.deepEqual(
    [inventory.product, inventory.arch, inventory.packages.length],
    ['ferrylinux-9', 'x86_64', INSTALLED.length + 1],
  );
  assert.deepEqual(inventory.kernels.installed, ['6.1.0-1.fl9.x86_64', '6.1.0-2.fl9.x86_64']);

  const format = '%{NAME}-%{EVR}.%{ARCH} %{SOURCERPM}\\n';
  const theirs = (await chroot('rpm', '-qa', '--queryformat', format)).stdout
    .split('\n')
    .filter((row) => !/^(?:gpg-pubkey-.*)?$/.test(row));
  const ours = inventory.packages.map(
    ({ name, version, arch, source, sourceVersion }) =>
      `${name}-${version}.${arch} ${source}-${sourceVersion.replace(/^\d+:/, '')}.src.rpm`,
  );
  assert.deepEqual(ours.toSorted(), theirs.toSorted());
  assert.deepEqual(
    inventory.packages.filter(({ name }) => name === 'kernel-core').map(({ version, state }) => [version, state]),
    [
      ['6.1.0-1.fl9', 'installed'],
      ['6.1.0-2.fl9', 'installed'],
    ],
  );
  assert.deepEqual(
    inventory.packages.filter(({ held }) => held).map(({ name }) => name),
    ['harbor'],
  );
  assert.equal(inventory.packages.find(({ name }) => name === 'keel')?.version, '1:2.0-1.fl9');

  // A file that is no database is an error, never a host without packages.
  for (const name of fs.readdirSync(join(root, 'var/lib/rpm'))) fs.rmSync(join(root, 'var/lib/rpm', name));
  fs.writeFileSync(join(root, 'var/lib/rpm/rpmdb.sqlite'), 'no database, but as long as one would be'.repeat(200));
  await assert.rejects(readRpmEntries(root), { code: 'inventory.rpm-database' });
});
