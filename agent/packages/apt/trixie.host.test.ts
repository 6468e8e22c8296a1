// The same on Debian 13: its own apt (3.0, another output and another solver), its own dpkg, today's updates of trixie-security.
// Needs root on Debian and a mirror that has both.
import assert from 'node:assert/strict';
import * as fs from 'node:fs';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { run, runOrThrow } from '#manifests/platform/process';
import { debianMirrors, Lab } from '../../../scripts/hosts/index.ts';
import { isDebianRoot } from '../../../scripts/setup/debian.ts';
import { readDpkgPackages } from '../../inventory/index.ts';
import { waysBack } from '../../snapshot/index.ts';
import { packageSystems } from '../index.ts';
import { ownVendor, preinstall } from '../own-vendor.ts';
import { contextFor, fetchPayloads, fetchUpdates, type RealUpdates, updatesFor } from '../real-updates.ts';
import { parseSimulation } from './output.ts';
import { aptOptions } from './repository.ts';

const skip = isDebianRoot() ? false : 'needs root on Debian';
const STRICT = { newDependencies: 'refuse', removals: 'refuse' } as const;
const RUN = '13131313-1313-1313-1313-131313131313';
const { deb } = packageSystems;

describe('Debian 13', { skip }, () => {
  let lab: Lab;
  let updates: RealUpdates;
  let archive = '';

  before(async () => {
    archive = ((await debianMirrors('trixie')) ?? assert.fail('apt here has no sources for Debian')).security;
    [lab, updates] = await Promise.all([Lab.open({ release: 'trixie' }), fetchUpdates(archive, 'trixie')]);
  });
  after(() => lab?.close());

  async function tree(name: string): Promise<string> {
    const root = join(lab.disk, name);
    await runOrThrow('btrfs', ['subvolume', 'snapshot', join(lab.disk, 'base'), root], { timeoutMs: 60_000 });
    return root;
  }
  const versions = (root: string) =>
    (readDpkgPackages(root) ?? []).map(({ name, version, state }) => `${name} ${version} ${state}`);

  test('the plan is what its own apt would upgrade; installed, taken back, installed again; then nothing is left', async () => {
    const root = await tree('updates');
    assert.match(fs.readFileSync(join(root, 'etc/os-release'), 'utf8'), /VERSION_CODENAME=trixie/);
    const context = contextFor(root, updates);
    const distUpgrade = async () => {
      const options = aptOptions(context, join(context.workFolder, 'apt'));
      const said = await run('chroot', [root, 'apt-get', ...options, '-s', 'dist-upgrade'], { timeoutMs: 120_000 });
      return parseSimulation(said.stdout)
        .installs.map(({ name, to }) => `${name} ${to}`)
        .toSorted();
    };
    const items = updatesFor(root, updates);
    assert.ok(items.length > 0, 'updates wait');
    await fetchPayloads(archive, items);
    const plan = await deb.plan(items, STRICT, context);
    assert.deepEqual([plan.refused, plan.keptBack], [null, []]);
    assert.deepEqual(plan.changes.map(({ name, to }) => `${name} ${to}`).toSorted(), await distUpgrade());
    for (const check of await deb.precheck(plan, { freeBytes: 1 << 20 }, context))
      assert.ok(check.ok, `${check.name}: ${check.says}`);
    const before = versions(root);
    const way = waysBack.find(({ kind }) => kind === 'btrfs') ?? assert.fail();
    await way.take(RUN, [plan], context);
    const outcome = await deb.install(plan, context);
    assert.ok(outcome.ok, `${outcome.says}\n${outcome.output}`);
    assert.notDeepEqual(versions(root), before);
    const restored = await way.restore(RUN, [plan], context);
    assert.ok(restored.ok, restored.says);
    assert.deepEqual(versions(root), before);
    assert.deepEqual(await deb.audit(context), []);
    assert.ok((await deb.install(plan, context)).ok);
    assert.deepEqual(await distUpgrade(), []);
    assert.deepEqual(await deb.audit(context), []);
  });

  test('what its apt says of removals, new packages and unused ones is read as on Debian 12', async () => {
    const root = await tree('solver');
    await preinstall(
      root,
      [
        { name: 'oldlib', version: '1' },
        { name: 'app', version: '1', depends: 'oldlib' },
      ],
      ['oldlib'],
    );
    const { context, items } = await ownVendor(root, [
      { name: 'app', version: '2', depends: 'newlib' },
      { name: 'newlib', version: '1' },
    ]);
    const only = items.filter(({ name }) => name === 'app');
    const refused = await deb.plan(only, STRICT, context);
    assert.match(refused.refused?.says ?? '', /needs newlib/);
    const plan = await deb.plan(only, { ...STRICT, newDependencies: 'allow', autoremove: 'new' }, context);
    assert.deepEqual(
      plan.newPackages.map(({ name }) => name),
      ['newlib'],
    );
    assert.deepEqual(
      plan.unused?.map(({ name }) => name),
      ['oldlib'],
    );
    const outcome = await deb.install(plan, context);
    assert.ok(outcome.ok, outcome.says);
    const finished = await deb.finish?.(plan, context);
    assert.ok(finished?.ok, finished?.says ?? 'nothing was said');
    const there = versions(root);
    assert.deepEqual(
      ['app 2 installed', 'newlib 1 installed', 'oldlib 1 installed'].map((row) => there.includes(row)),
      [true, true, false],
    );
  });
});
