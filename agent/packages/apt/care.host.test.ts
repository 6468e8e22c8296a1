// What an installation leaves of the administrator's own: settings files, packages that nothing needs, kernels. Real apt and dpkg on a
// real Debian tree, packages of a small vendor with a real signature. Needs root on Debian.
import assert from 'node:assert/strict';
import * as fs from 'node:fs';
import { release } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { runOrThrow } from '#manifests/platform/process';
import { Lab } from '../../../scripts/hosts/index.ts';
import { isDebianRoot } from '../../../scripts/setup/debian.ts';
import { readDpkgPackages } from '../../inventory/index.ts';
import { packageSystems } from '../index.ts';
import { type OwnPackage, ownVendor, preinstall } from '../own-vendor.ts';
import type { HostContext, PlanPolicy } from '../system.ts';

const skip = isDebianRoot() ? false : 'needs root on Debian';
const STRICT: PlanPolicy = { newDependencies: 'refuse', removals: 'refuse' };
const { deb } = packageSystems;

describe('what is the administrator’s', { skip }, () => {
  let lab: Lab;
  let count = 0;

  before(async () => {
    lab = await Lab.open({ fileSystem: 'btrfs' });
  });
  after(() => lab?.close());

  async function tree(): Promise<string> {
    count += 1;
    const root = join(lab.disk, `tree${count}`);
    await runOrThrow('btrfs', ['subvolume', 'snapshot', join(lab.disk, 'base'), root], { timeoutMs: 60_000 });
    return root;
  }
  const names = (root: string) => (readDpkgPackages(root) ?? []).map(({ name, version }) => `${name} ${version}`);
  const read = (root: string, path: string) => fs.readFileSync(join(root, path), 'utf8');

  const FILES = ['both', 'here', 'there', 'neither', 'deleted', 'dropped'];
  const confpkg = (version: string, text: (name: string) => string, files = FILES): OwnPackage => ({
    name: 'confpkg',
    version,
    files: Object.fromEntries(files.map((name) => [`/etc/confpkg/${name}`, text(name)])),
  });
  const other: OwnPackage = { name: 'otherpkg', version: '2', files: { '/usr/share/otherpkg/x': '2' } };

  /** A host where some settings files were changed, and a vendor whose new version changes some. */
  async function settingsCase(change: Partial<HostContext>) {
    const root = await tree();
    await preinstall(root, [confpkg('1', (name) => `${name} 1\n`), { ...other, version: '1' }]);
    for (const name of ['both', 'here']) fs.writeFileSync(join(root, `etc/confpkg/${name}`), `${name} by hand\n`);
    fs.rmSync(join(root, 'etc/confpkg/deleted'));
    const next = (name: string) => `${name} ${['both', 'there', 'deleted'].includes(name) ? 2 : 1}\n`;
    const { context, items } = await ownVendor(root, [confpkg('2', next, FILES.slice(0, 5)), other], change);
    const plan = await deb.plan(items, STRICT, context);
    return { root, context, plan };
  }

  for (const [policy, file, outcome, beside] of [
    ['keep', 'both by hand\n', 'kept', '/etc/confpkg/both.dpkg-dist'],
    ['new', 'both 2\n', 'replaced', '/etc/confpkg/both.dpkg-old'],
  ] as const) {
    test(`no settings file is silent: policy ${policy}, each with what became of it`, async () => {
      const { root, context, plan } = await settingsCase({ conffiles: policy });
      const told = (await deb.precheck(plan, { freeBytes: 0 }, context)).find(({ name }) => name === 'settings files');
      assert.match(told?.says ?? '', /\/etc\/confpkg\/both; /);
      assert.doesNotMatch(told?.says ?? '', /confpkg\/(?:here|there|neither|deleted)/);
      const outcomeOfRun = await deb.install(plan, context);
      assert.ok(outcomeOfRun.ok, outcomeOfRun.says);
      assert.equal(read(root, 'etc/confpkg/both'), file);
      assert.equal(read(root, 'etc/confpkg/here'), 'here by hand\n');
      assert.equal(read(root, 'etc/confpkg/there'), 'there 2\n');
      const records = deb.settingsAfter?.(plan, context) ?? [];
      assert.deepEqual(records.map((one) => `${one.path.slice(13)} ${one.outcome} ${one.other}`).toSorted(), [
        `both ${outcome} ${beside}`,
        policy === 'new' ? 'deleted updated null' : 'deleted absent null',
        'there updated null',
      ]);
      assert.ok(records.every((one) => one.package === 'confpkg:amd64'));
    });
  }

  test('policy fail: the patch whose settings file was changed on both sides is named and not begun; the others go on', async () => {
    const { root, context, plan } = await settingsCase({ conffiles: 'fail' });
    const statusBefore = read(root, 'var/lib/dpkg/status');
    const refused = await deb.install(plan, context);
    assert.equal(refused.ok, false);
    assert.deepEqual(refused.broken, ['confpkg']);
    assert.match(refused.says, /\/etc\/confpkg\/both$/);
    assert.equal(read(root, 'var/lib/dpkg/status'), statusBefore);
    assert.ok((await deb.install(plan, context, new Set(['otherpkg@2']))).ok);
    assert.ok(names(root).includes('otherpkg 2') && names(root).includes('confpkg 1'));
  });

  const unusedCase = async () => {
    const root = await tree();
    const running = `linux-image-${release()}`;
    await preinstall(
      root,
      [
        { name: 'oldlib', version: '1' },
        { name: 'newlib', version: '1' },
        { name: 'leftover', version: '1' },
        { name: running, version: '1' },
        { name: 'app', version: '1', depends: 'oldlib' },
      ],
      ['oldlib', 'newlib', 'leftover', running],
    );
    // what apt itself keeps is not what holds the running kernel here
    fs.rmSync(join(root, 'etc/apt/apt.conf.d/01autoremove'), { force: true });
    fs.writeFileSync(join(root, 'etc/apt/apt.conf.d/99test'), 'APT::NeverAutoRemove { "^nothing$"; };\n');
    const { context, items } = await ownVendor(root, [{ name: 'app', version: '2', depends: 'newlib' }]);
    return { root, context, items, running };
  };

  for (const [policy, gone] of [
    ['never', []],
    ['new', ['oldlib']],
    ['all', ['leftover', 'oldlib']],
  ] as const) {
    test(`autoremove ${policy}: ${gone.join(', ') || 'nothing'} goes, planned before and within the way back; never the running kernel`, async () => {
      const { root, context, items, running } = await unusedCase();
      const plan = await deb.plan(items, { ...STRICT, autoremove: policy }, context);
      const planned = plan.changes.filter(({ to }) => to === null).map(({ name }) => name);
      const own = planned.filter((name) => ['oldlib', 'newlib', 'leftover', 'app', running].includes(name));
      assert.deepEqual(own.toSorted(), gone);
      assert.ok(!planned.includes(running));
      assert.ok((await deb.install(plan, context)).ok);
      assert.ok(names(root).includes('oldlib 1'), 'what is unused goes at the end');
      const finished = await deb.finish?.(plan, context);
      assert.ok(finished?.ok, finished?.says ?? 'nothing was said');
      for (const name of ['oldlib', 'leftover'])
        assert.equal(names(root).includes(`${name} 1`), !gone.some((one) => one === name), name);
      assert.ok(names(root).includes(`${running} 1`));
      assert.ok(names(root).includes('newlib 1'));
      assert.deepEqual(await deb.audit(context), []);
      assert.ok((await deb.finish?.(plan, context))?.ok, 'again changes nothing');
    });
  }

  test('trap 23: old kernels go as a fix, oldest first; the running one, the two newest and held ones stay', async () => {
    const root = await tree();
    const running = `linux-image-${release()}`;
    const kernel = (version: string) => `linux-image-${version}`;
    const old = ['1.2.0-1-amd64', '1.2.0-2-amd64', '1.10.0-1-amd64'].map(kernel);
    const newest = ['99.1.0-1-amd64', '99.2.0-1-amd64'].map(kernel);
    await preinstall(
      root,
      [...old, ...newest, running, 'linux-headers-1.2.0-1-amd64', 'linux-base-of-tests'].map((name) => ({
        name,
        version: '1',
      })),
    );
    await runOrThrow('chroot', [root, 'apt-mark', 'hold', old[1] ?? ''], { timeoutMs: 60_000 });
    const { context } = await ownVendor(root, []);
    const fix = deb.fixes?.['remove-old-kernels'] ?? assert.fail();
    const done = await fix(context);
    assert.equal(done.outcome, 'done', done.says);
    const there = names(root).map((row) => row.split(' ')[0] ?? '');
    assert.deepEqual(
      [...old, ...newest, running, 'linux-headers-1.2.0-1-amd64', 'linux-base-of-tests'].filter((name) => there.includes(name)),
      [old[1], ...newest, running, 'linux-base-of-tests'],
    );
    assert.equal((await fix(context)).outcome, 'nothing');
  });

  test('a kernel that something else needs is not removed, and nothing else goes with it', async () => {
    const root = await tree();
    const kernels = ['1.2.0-1-amd64', '99.1.0-1-amd64', '99.2.0-1-amd64', release()].map((each) => `linux-image-${each}`);
    const [needed = ''] = kernels;
    await preinstall(root, [
      ...kernels.map((name) => ({ name, version: '1' })),
      { name: 'needs-it', version: '1', depends: needed },
    ]);
    const { context } = await ownVendor(root, []);
    const done = await deb.fixes?.['remove-old-kernels']?.(context);
    assert.equal(done?.outcome, 'failed');
    assert.match(done?.says ?? '', /needs-it would go/);
    assert.ok(names(root).includes(`${needed} 1`));
  });

  test('the cache of downloaded packages is emptied by apt itself, and an interrupted database is put right', async () => {
    const root = await tree();
    fs.writeFileSync(join(root, 'var/cache/apt/archives/x_1_amd64.deb'), 'x');
    await preinstall(root, [{ name: 'app', version: '1' }]);
    const { context } = await ownVendor(root, []);
    assert.equal((await deb.fixes?.['clean-package-cache']?.(context))?.outcome, 'done');
    assert.equal(fs.existsSync(join(root, 'var/cache/apt/archives/x_1_amd64.deb')), false);
    const configure = deb.fixes?.['configure-packages'] ?? assert.fail();
    assert.equal((await configure(context)).outcome, 'nothing');
    const statusFile = join(root, 'var/lib/dpkg/status');
    const broken = read(root, 'var/lib/dpkg/status').replace(/(Package: app\nStatus: install ok )installed/, '$1unpacked');
    fs.writeFileSync(statusFile, broken);
    assert.notDeepEqual(await deb.audit(context), []);
    assert.equal((await configure(context)).outcome, 'done');
    assert.deepEqual(await deb.audit(context), []);
  });
});
