// Real patches that cannot be installed, on a real Debian with a real way back: the machine, apt, dpkg and the ways back are
// the real ones; only window and policy come from the test. Needs root on Debian.
import assert from 'node:assert/strict';
import * as fs from 'node:fs';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { systemClock } from '#manifests/platform/clock';
import { runOrThrow } from '#manifests/platform/process';
import { debianMirrors, Lab } from '../../scripts/hosts/index.ts';
import { isDebianRoot } from '../../scripts/setup/debian.ts';
import { packagesDigest, readDpkgPackages, takeInventory } from '../inventory/index.ts';
import { packageSystems } from '../packages/index.ts';
import { contextFor, fetchPayloads, fetchUpdates, type RealUpdates, updatesFor } from '../packages/real-updates.ts';
import { waysBack } from '../snapshot/index.ts';
import { beginRun } from './engine.ts';
import { makeFakeHost } from './testing/fake-host.ts';

const skip = isDebianRoot() ? false : 'needs root on Debian';

for (const fileSystem of ['btrfs', 'ext4'] as const)
  describe(`batches on ${fileSystem}`, { skip }, () => {
    let lab: Lab;
    let updates: RealUpdates;
    let archive = '';

    before(async () => {
      const mirrors = (await debianMirrors('bookworm')) ?? assert.fail('apt here has no sources for bookworm');
      archive = mirrors.security;
      [lab, updates] = await Promise.all([Lab.open({ fileSystem }), fetchUpdates(archive, 'bookworm')]);
    });
    after(() => lab?.close());

    test('patches whose scripts fail are FAILED and not half there; every other patch of the set is installed', async () => {
      const root = join(lab.disk, 'tree');
      const base = join(lab.disk, 'base');
      const copy = fileSystem === 'btrfs' ? ['btrfs', 'subvolume', 'snapshot', base, root] : ['cp', '-a', base, root];
      await runOrThrow(copy[0] ?? '', copy.slice(1), { timeoutMs: 120_000 });
      // Hosts that are a little different: where two packages' postinst wants a folder and a file, there are a file and a folder.
      fs.rmSync(join(root, 'var/www/html'), { recursive: true, force: true });
      fs.writeFileSync(join(root, 'var/www/html'), '');
      fs.rmSync(join(root, 'etc/timezone'), { force: true });
      fs.mkdirSync(join(root, 'etc/timezone'));

      const context = contextFor(root, updates);
      const items = updatesFor(root, updates);
      await fetchPayloads(archive, items);
      const bad = ['nginx', 'tzdata'].map(
        (name) => items.find((item) => item.name === name)?.patch ?? assert.fail(`no update of ${name}`),
      );
      const patches = [...new Set(items.map(({ patch }) => patch))].toSorted();
      const versionsBefore = new Map((readDpkgPackages(root) ?? []).map(({ name, version }) => [name, version]));

      const fake = makeFakeHost(join(lab.folder, `${fileSystem}.sqlite`));
      const inventory = () => takeInventory({ root, clock: systemClock, labels: {} });
      const before = await inventory();
      const world = {
        ...fake.world,
        hands: {
          ...fake.world.hands,
          systems: packageSystems,
          ways: waysBack,
          inventory,
          digest: packagesDigest,
          checkHealth: async () => ({ healthy: true, says: 'passed' }),
        },
        context: () => context,
        windowOf: () => fake.evaluation().window,
      };
      const evaluation = { ...fake.evaluation(), install: patches, packages: items };
      const end = await beginRun({ evaluation, inventory: before, group: fake.group, catalogs: [], trail: [] }, world);
      assert.ok(end.kind === 'ended');
      assert.equal(end.outcome, 'committed', JSON.stringify(end.body.error));
      assert.deepEqual(end.body.failedPatches?.map(({ patch }) => patch).toSorted(), bad);
      for (const { message } of end.body.failedPatches ?? [])
        assert.match(message, /(?:nginx-common|tzdata) .*post-installation/);

      assert.deepEqual(await packageSystems.deb.audit(context), []);
      const now = new Map((readDpkgPackages(root) ?? []).map(({ name, version }) => [name, version]));
      for (const { name, to, patch } of items) {
        assert.equal(now.get(name), bad.includes(patch) ? versionsBefore.get(name) : to, name);
      }
      assert.ok(patches.length > 5);
    });
  });
