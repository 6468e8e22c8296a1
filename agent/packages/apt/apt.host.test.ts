// Real security updates into a real stale Debian by its own apt, from the local repository only. Needs root on Debian.
import assert from 'node:assert/strict';
import * as fs from 'node:fs';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { pathToFileURL } from 'node:url';
import { run, runOrThrow } from '#manifests/platform/process';
import { debianMirrors, Lab } from '../../../scripts/hosts/index.ts';
import { isDebianRoot } from '../../../scripts/setup/debian.ts';
import { readDpkgPackages } from '../../inventory/index.ts';
import { packageSystems } from '../index.ts';
import { contextFor, fetchPayloads, fetchUpdates, itemOf, killAllIn, type RealUpdates, updatesFor } from '../real-updates.ts';
import type { HostContext, InstallItem, PlanPolicy } from '../system.ts';
import { parseSimulation } from './output.ts';
import { aptOptions } from './repository.ts';

const skip = isDebianRoot() ? false : 'needs root on Debian';
const STRICT: PlanPolicy = { newDependencies: 'refuse', removals: 'refuse' };
const { deb } = packageSystems;

describe('installing on a real Debian', { skip }, () => {
  let lab: Lab;
  let updates: RealUpdates;
  let archive = '';
  let count = 0;

  before(async () => {
    const mirrors = (await debianMirrors('bookworm')) ?? assert.fail('apt here has no sources for bookworm');
    archive = mirrors.security;
    [lab, updates] = await Promise.all([Lab.open({ fileSystem: 'btrfs' }), fetchUpdates(archive, 'bookworm')]);
  });
  after(() => lab?.close());

  /** A tree of its own, not booted: apt runs in it by chroot. */
  async function tree(
    change: Partial<HostContext> = {},
  ): Promise<{ root: string; context: HostContext; items: InstallItem[] }> {
    count += 1;
    const root = join(lab.disk, `tree${count}`);
    await runOrThrow('btrfs', ['subvolume', 'snapshot', join(lab.disk, 'base'), root], { timeoutMs: 60_000 });
    const items = updatesFor(root, updates);
    await fetchPayloads(archive, items);
    return { root, context: contextFor(root, updates, change), items };
  }

  const status = (root: string) => fs.readFileSync(join(root, 'var/lib/dpkg/status'), 'utf8');
  const chroot = (root: string, ...args: string[]) => runOrThrow('chroot', [root, ...args], { timeoutMs: 120_000 });

  /** What apt itself would upgrade, asked by its own command on the same local repository. */
  async function distUpgrade(context: HostContext): Promise<string[]> {
    const options = aptOptions(context, join(context.workFolder, 'apt'));
    const said = await chroot(context.root, 'apt-get', ...options, '-s', 'dist-upgrade');
    return parseSimulation(said.stdout)
      .installs.map(({ name, to }) => `${name} ${to}`)
      .toSorted();
  }

  test('the plan is what apt itself would upgrade; after the run both are empty; a second run changes nothing', async () => {
    const { root, context, items } = await tree();
    const marks = join(root, 'var/lib/apt/extended_states');
    const marksBefore = fs.readFileSync(marks, 'utf8');
    const statusBefore = status(root);
    const plan = await deb.plan(items, STRICT, context);
    assert.ok(items.length > 5, `${items.length} updates`);
    assert.equal(status(root), statusBefore);
    assert.deepEqual(plan.changes.map(({ name, to }) => `${name} ${to}`).toSorted(), await distUpgrade(context));
    assert.deepEqual([plan.refused, plan.keptBack, plan.removals, plan.newPackages], [null, [], [], []]);
    for (const check of await deb.precheck(plan, { freeBytes: 1 << 20 }, context))
      assert.ok(check.ok, `${check.name}: ${check.says}`);

    const outcome = await deb.install(plan, context);
    assert.ok(outcome.ok, `${outcome.says}\n${outcome.output}`);
    assert.deepEqual(await distUpgrade(context), []);
    assert.deepEqual(updatesFor(root, updates), []);
    assert.deepEqual(await deb.audit(context), []);
    assert.equal(fs.readFileSync(marks, 'utf8'), marksBefore, 'automatic packages stay automatic');
    const statusAfter = status(root);
    assert.ok((await deb.install(plan, context)).ok);
    assert.equal(status(root), statusAfter);
  });

  test('no source of the network can be reached with these options, even if one were configured', async () => {
    const { root, context } = await tree();
    fs.writeFileSync(join(root, 'tmp/sources.list'), `deb ${archive} bookworm-security main\n`);
    const options = [...aptOptions(context, context.workFolder), '-o', 'Dir::Etc::SourceList=/tmp/sources.list'];
    const said = await run('chroot', [root, 'apt-get', ...options, 'update'], { timeoutMs: 60_000 });
    assert.match(said.stderr, /disabled|explicitly/);
  });

  test('trap 22: held and pinned packages stay, each with its reason; the rest is planned', async () => {
    const { root, context, items } = await tree();
    const [held, pinned, forbidden] = ['tzdata', 'libexpat1', 'liblzma5'].filter((name) =>
      items.some((item) => item.name === name),
    );
    if (held !== undefined) await chroot(root, 'apt-mark', 'hold', held);
    const pin = (name: string | undefined, what: string) => (name === undefined ? '' : `Package: ${name}\nPin: ${what}\n\n`);
    const from = items.find(({ name }) => name === pinned)?.from;
    fs.writeFileSync(
      join(root, 'etc/apt/preferences.d/test'),
      pin(pinned, `version ${from}\nPin-Priority: 1001`) + pin(forbidden, 'release n=bookworm-security\nPin-Priority: -1'),
    );
    const plan = await deb.plan(items, STRICT, context);
    const says = new Map(plan.keptBack.map((kept) => [kept.name, kept.says]));
    if (held !== undefined) assert.match(says.get(held) ?? '', /held by the administrator/);
    if (pinned !== undefined) assert.match(says.get(pinned) ?? '', /pin it at/);
    if (forbidden !== undefined) assert.match(says.get(forbidden) ?? '', /forbid/);
    assert.equal(plan.items.length, items.length - says.size);
    assert.equal(plan.refused, null);
  });

  test('a removal is refused by policy for the patch that needs it and no other; allowed it is planned', async () => {
    const { root, context, items } = await tree();
    const victim = items.find(({ name }) => name === 'libexpat1') ?? items[0] ?? assert.fail();
    fs.mkdirSync(join(root, 'tmp/blocker/DEBIAN'), { recursive: true });
    fs.writeFileSync(
      join(root, 'tmp/blocker/DEBIAN/control'),
      `Package: blocker\nVersion: 1\nArchitecture: all\nMaintainer: test <test@example.org>\nDepends: ${victim.name} (= ${victim.from})\nDescription: test\n`,
    );
    await chroot(root, 'dpkg-deb', '--build', '/tmp/blocker', '/tmp/blocker.deb');
    await chroot(root, 'dpkg', '-i', '/tmp/blocker.deb');
    const strict = await deb.plan(items, STRICT, context);
    assert.deepEqual(strict.removals, []);
    assert.match(strict.keptBack.find(({ name }) => name === victim.name)?.says ?? '', /remove blocker|blocker/);
    const samePatch = items.filter(({ patch }) => patch === victim.patch).length;
    assert.equal(strict.items.length, items.length - samePatch);
    const open = await deb.plan(items, { newDependencies: 'refuse', removals: 'allow' }, context);
    assert.deepEqual(open.removals, [{ name: 'blocker', arch: 'all', version: '1' }]);
    assert.equal(open.items.length, items.length);
  });

  test('what a new package needs comes from the same signed index, or is refused by policy', async () => {
    const { root, context } = await tree();
    const entry = updates.index.find(({ Package: name }) => name === 'libpython3.11') ?? assert.fail('not in the index today');
    const item = itemOf(entry, null);
    const strict = await deb.plan([item], STRICT, context);
    assert.equal(strict.refused?.code, 'packages.kept-back');
    assert.match(strict.refused?.says ?? '', /not approved/);
    const plan = await deb.plan([item], { newDependencies: 'allow', removals: 'refuse' }, context);
    assert.ok(plan.newPackages.some(({ name }) => name === 'libpython3.11-stdlib'));
    for (const { sha256, path } of plan.payloads)
      assert.ok(updates.index.some((row) => row['SHA256'] === sha256 && row['Filename'] === path));
    await fetchPayloads(archive, plan.payloads);
    assert.ok((await deb.install(plan, context)).ok);
    assert.ok(readDpkgPackages(root)?.some(({ name, version }) => name === item.name && version === item.to));
  });

  for (const [what, at] of [
    ['InRelease', 0],
    ['Packages.xz', 1],
  ] as const) {
    test(`a tampered ${what} is refused by apt, and nothing is planned`, async () => {
      const { root, context, items } = await tree();
      const index = updates.catalog.repositories[0]?.indexes[at] ?? assert.fail();
      const bytes = fs.readFileSync(join(updates.payloads, index.sha256));
      const place = bytes.indexOf(at === 0 ? 'Label: Debian-Security' : bytes.subarray(1000, 1001), at === 0 ? 0 : 1000);
      bytes[place] = (bytes[place] ?? 0) ^ 1;
      const tampered = join(root, 'tmp/tampered');
      fs.writeFileSync(tampered, bytes);
      const statusBefore = status(root);
      const payloadPath = (sha256: string) => (sha256 === index.sha256 ? tampered : context.payloadPath(sha256));
      await assert.rejects(deb.plan(items, STRICT, { ...context, payloadPath }), { code: 'packages.vendor-signature' });
      assert.equal(status(root), statusBefore);
    });
  }

  test('a keyring that does not know the vendor refuses the index', async () => {
    const { context, items } = await tree({ keyrings: { security: '/usr/share/keyrings/debian-archive-removed-keys.gpg' } });
    await assert.rejects(deb.plan(items, STRICT, context), { code: 'packages.vendor-signature' });
  });

  test('a tampered package is refused by apt, although it lies where the approved one should; the host is unchanged', async () => {
    const { root, context, items } = await tree();
    const plan = await deb.plan(items, STRICT, context);
    const victim = plan.payloads[0] ?? assert.fail();
    const bytes = fs.readFileSync(context.payloadPath(victim.sha256));
    bytes[bytes.length >> 1] = (bytes[bytes.length >> 1] ?? 0) ^ 0xff;
    const tampered = join(root, 'tmp/tampered.deb');
    fs.writeFileSync(tampered, bytes);
    const statusBefore = status(root);
    const payloadPath = (sha256: string) => (sha256 === victim.sha256 ? tampered : context.payloadPath(sha256));
    const outcome = await deb.install(plan, { ...context, payloadPath });
    assert.equal(outcome.ok, false);
    assert.match(outcome.output, /Hash Sum mismatch/);
    assert.equal(status(root), statusBefore);
  });

  test('trap 27: a catalog that lies about a hash is caught before anything is fetched', async () => {
    const { context, items } = await tree();
    const lying = items.map((item, at) => (at === 0 ? { ...item, sha256: '0'.repeat(64) } : item));
    await assert.rejects(deb.plan(lying, STRICT, context), { code: 'packages.vendor-mismatch' });
  });

  for (const moment of [/^Unpacking perl-base/, /^Setting up libapt-pkg/, /^Unpacking openssl/]) {
    test(`killed at "${moment.source}": audit tells, and the same installation finishes`, async () => {
      let killed = 0;
      const { root, context, items } = await tree();
      const plan = await deb.plan(items, STRICT, context);
      const onProgress = (says: string) => {
        if (killed === 0 && moment.test(says)) killed = killAllIn(root);
      };
      const cut = await deb.install(plan, { ...context, onProgress });
      assert.ok(killed > 0, 'the moment came');
      assert.equal(cut.ok, false);
      const finished = await deb.install(plan, context);
      assert.ok(finished.ok, `${finished.says}\n${finished.output}`);
      assert.deepEqual(await deb.audit(context), []);
      assert.deepEqual(await distUpgrade(context), []);
    });
  }

  test('only the agent is killed: what apt still does is waited for, and the next agent finishes', async () => {
    const { root, context, items } = await tree();
    const plan = await deb.plan(items, STRICT, context);
    const [system, helper] = ['../index.ts', '../real-updates.ts'].map(
      (path) => pathToFileURL(join(import.meta.dirname, path)).href,
    );
    const code = `
      const { packageSystems } = await import(${JSON.stringify(system)});
      const { contextFor } = await import(${JSON.stringify(helper)});
      const input = JSON.parse(process.argv[1]);
      const onProgress = (says) => { if (says.startsWith('Unpacking openssl')) process.kill(process.pid, 'SIGKILL'); };
      await packageSystems.deb.install(input.plan, contextFor(input.root, input.updates, { onProgress }));
    `;
    const input = JSON.stringify({ plan, root, updates: { ...updates, index: [] } });
    const agent = await run(process.execPath, ['--input-type=module', '-e', code, input], { timeoutMs: 300_000 });
    assert.equal(agent.signal, 'SIGKILL', agent.stderr);
    const finished = await deb.install(plan, context);
    assert.ok(finished.ok, `${finished.says}\n${finished.output}`);
    assert.deepEqual(await deb.audit(context), []);
    assert.deepEqual(await distUpgrade(context), []);
  });

  test('killed in the middle, repair alone puts the database right without a network', async () => {
    let killed = 0;
    const { root, context, items } = await tree();
    const plan = await deb.plan(items, STRICT, context);
    await deb.install(plan, {
      ...context,
      onProgress: (says) => {
        if (killed === 0 && says.startsWith('Unpacking python3.11 ')) killed = killAllIn(root);
      },
    });
    assert.ok(killed > 0);
    assert.notDeepEqual(await deb.audit(context), []);
    const repaired = await deb.repair(context);
    assert.ok(repaired.ok, repaired.says);
    assert.deepEqual(await deb.audit(context), []);
  });

  test('trap 23: a kernel is refused by the precheck when /boot has no room for it and its initial RAM disk', async () => {
    const { root, context } = await tree();
    await runOrThrow('mount', ['-t', 'tmpfs', '-o', 'size=40M', 'tmpfs', join(root, 'boot')], { timeoutMs: 10_000 });
    try {
      fs.writeFileSync(join(root, 'boot/initrd.img-6.1.0-1-amd64'), Buffer.alloc(20 << 20));
      const name = 'linux-image-6.1.0-99-amd64';
      const plan = await deb.plan([], STRICT, context);
      const kernel = { ...plan, changes: [{ name, arch: 'amd64', from: null, to: '1' }], touches: ['/usr', '/boot'] };
      const checks = await deb.precheck(kernel, { freeBytes: 0 }, context);
      assert.deepEqual(
        checks.filter(({ ok }) => !ok).map((check) => check.name),
        ['room /boot'],
      );
    } finally {
      await runOrThrow('umount', [join(root, 'boot')], { timeoutMs: 10_000 });
    }
  });
});
