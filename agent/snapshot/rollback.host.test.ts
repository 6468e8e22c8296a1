// Real updates taken back on btrfs and without it: the whole tree, file by file, as it was. Needs root on Debian.
import assert from 'node:assert/strict';
import * as fs from 'node:fs';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { pathToFileURL } from 'node:url';
import { run, runOrThrow } from '#manifests/platform/process';
import { debianMirrors, Lab } from '../../scripts/hosts/index.ts';
import { isDebianRoot } from '../../scripts/setup/debian.ts';
import { readDpkgPackages } from '../inventory/index.ts';
import { type HostContext, type InstallPlan, packageSystems } from '../packages/index.ts';
import {
  contextFor,
  differencesOf,
  fetchPayloads,
  fetchUpdates,
  killAllIn,
  type RealUpdates,
  updatesFor,
  writeDown,
} from '../packages/real-updates.ts';
import { describeAttributes, makeAttributes, spoilAttributes } from './attributes.ts';
import { type WayBack, waysBack } from './index.ts';

const skip = isDebianRoot() ? false : 'needs root on Debian';
const RUN = 'b2b7f0f2-run';
const { deb } = packageSystems;

/** Fills the file system of `file` to the last byte that root may write, then gives `spare` bytes back for the journal. */
function fillUp(file: string, spare: number): void {
  const handle = fs.openSync(file, 'w');
  const block = Buffer.alloc(1024 * 1024, 1);
  let size = 0;
  try {
    for (;;) size += fs.writeSync(handle, block);
  } catch {
    fs.ftruncateSync(handle, Math.max(0, size - spare));
  } finally {
    fs.closeSync(handle);
  }
}

for (const [fileSystem, kind] of [
  ['btrfs', 'btrfs'],
  ['ext4', 'packages'],
] as const) {
  describe(`a run taken back on ${fileSystem}`, { skip }, () => {
    let lab: Lab;
    let updates: RealUpdates;
    let archive = '';
    let count = 0;

    before(async () => {
      const mirrors = (await debianMirrors('bookworm')) ?? assert.fail('apt here has no sources for bookworm');
      archive = mirrors.security;
      // not larger than the trees need: one of the tests fills it to the last byte
      [lab, updates] = await Promise.all([Lab.open({ fileSystem, sizeMiB: 5_120 }), fetchUpdates(archive, 'bookworm')]);
    });
    after(() => lab?.close());

    interface Case {
      readonly root: string;
      readonly context: HostContext;
      readonly plan: InstallPlan;
      readonly way: WayBack;
    }

    async function prepare(prepareTree?: (root: string) => Promise<void>): Promise<Case> {
      count += 1;
      const root = join(lab.disk, `tree${count}`);
      const base = join(lab.disk, 'base');
      const copy = fileSystem === 'btrfs' ? ['btrfs', 'subvolume', 'snapshot', base, root] : ['cp', '-a', base, root];
      await runOrThrow(copy[0] ?? '', copy.slice(1), { timeoutMs: 120_000 });
      await prepareTree?.(root);
      const context = contextFor(root, updates);
      const items = updatesFor(root, updates);
      await fetchPayloads(archive, items);
      const plan = await deb.plan(items, { newDependencies: 'refuse', removals: 'refuse' }, context);
      for (const way of waysBack) {
        const { possible } = await way.assess([plan], context);
        if (possible) return { root, context, plan, way };
      }
      return assert.fail('no way back');
    }

    const versions = (root: string) =>
      (readDpkgPackages(root) ?? []).map(({ name, version, state }) => `${name} ${version} ${state}`);

    test('everything that packages, scripts and triggers changed is as before; what they did not change is left alone', async () => {
      const { root, context, plan, way } = await prepare();
      assert.equal(way.kind, kind);
      const [treeBefore, versionsBefore] = [await writeDown(root), versions(root)];
      assert.match(treeBefore.get('(capabilities)') ?? '', /ping cap_net_raw=ep/);
      await way.take(RUN, [plan], context);
      assert.deepEqual(
        (await way.list(context)).map(({ id }) => id),
        [RUN],
      );
      assert.ok((await deb.install(plan, context)).ok);
      assert.notDeepEqual(versions(root), versionsBefore);
      assert.ok(differencesOf(treeBefore, await writeDown(root)).length > 500);

      // What maintainer scripts do besides: capabilities, owners and modes, diversions, added and removed files, a folder for a link.
      const chroot = (...args: string[]) => runOrThrow('chroot', [root, ...args], { timeoutMs: 60_000 });
      await chroot('setcap', '-r', '/bin/ping');
      await chroot('dpkg-divert', '--local', '--rename', '--add', '/usr/bin/less-common');
      await chroot('dpkg-divert', '--local', '--rename', '--add', '/usr/bin/getent');
      fs.rmSync(join(root, 'etc/nginx/mime.types'));
      fs.chmodSync(join(root, 'usr/bin/curl'), 0o700);
      fs.chownSync(join(root, 'usr/bin/curl'), 33, 33);
      fs.mkdirSync(join(root, 'usr/lib/new/deep'), { recursive: true });
      fs.writeFileSync(join(root, 'usr/lib/new/deep/file'), 'new');
      fs.writeFileSync(join(root, 'etc/cron.d/new'), 'new');
      // And what is none of the run's business.
      fs.writeFileSync(join(root, 'srv/data'), 'kept');
      fs.writeFileSync(join(root, 'var/lib/patchferry/journal'), 'kept');
      fs.writeFileSync(join(root, 'usr/local/bin/own'), 'kept');

      const back = await way.restore(RUN, [plan], context);
      assert.ok(back.ok, back.says);
      const own = /^\/(?:srv\/data|usr\/local\/bin\/own|usr\/local\/bin):/;
      const differs = differencesOf(treeBefore, await writeDown(root)).filter((line) => !own.test(line));
      assert.deepEqual(differs, []);
      assert.deepEqual(versions(root), versionsBefore);
      assert.equal(fs.readFileSync(join(root, 'srv/data'), 'utf8'), 'kept');
      assert.equal(fs.readFileSync(join(root, 'var/lib/patchferry/journal'), 'utf8'), 'kept');
      assert.deepEqual(await deb.audit(context), []);
      assert.deepEqual(
        fs.readdirSync(root).filter((name) => name.startsWith('.patchferry-stage')),
        [],
      );

      const again = await way.restore(RUN, [plan], context);
      assert.equal(again.ok, back.ok, again.says);
      await way.discard(RUN, context);
      await way.discard(RUN, context);
      assert.deepEqual(await way.list(context), []);
      const redo = await deb.install(
        await deb.plan(plan.items, { newDependencies: 'refuse', removals: 'refuse' }, context),
        context,
      );
      assert.ok(redo.ok, 'the same set installs again afterwards');
    });

    test('an installation cut off in the middle is taken back; a restore cut off in the middle is finished by the next', async () => {
      let killed = 0;
      const { root, context, plan, way } = await prepare();
      const [treeBefore, versionsBefore] = [await writeDown(root), versions(root)];
      await way.take(RUN, [plan], context);
      await deb.install(plan, {
        ...context,
        onProgress: (says) => {
          if (killed === 0 && says.startsWith('Unpacking nginx ')) killed = killAllIn(root);
        },
      });
      assert.ok(killed > 0);
      assert.notDeepEqual(await deb.audit(context), []);

      // The restore runs in a process of its own, which is killed as soon as it has begun to put files back.
      const here = pathToFileURL(join(import.meta.dirname, 'index.ts')).href;
      const helper = pathToFileURL(join(import.meta.dirname, '../packages/real-updates.ts')).href;
      const code = `
        const { waysBack } = await import(${JSON.stringify(here)});
        const { contextFor } = await import(${JSON.stringify(helper)});
        const input = JSON.parse(process.argv[1]);
        const fs = await import('node:fs');
        let renames = 0;
        const rename = fs.default.renameSync;
        fs.default.renameSync = (...args) => { renames += 1; if (renames === 700) process.kill(process.pid, 'SIGKILL'); rename(...args); };
        (await import('node:module')).syncBuiltinESMExports();
        const way = waysBack.find(({ kind }) => kind === input.kind);
        await way.restore(input.run, [input.plan], contextFor(input.root, input.updates));
      `;
      const input = JSON.stringify({ kind, run: RUN, plan, root, updates: { ...updates, index: [] } });
      const child = await run(process.execPath, ['--input-type=module', '-e', code, input], { timeoutMs: 120_000 });
      assert.equal(child.signal, 'SIGKILL', child.stderr);
      assert.ok(differencesOf(treeBefore, await writeDown(root)).length > 0);

      const back = await way.restore(RUN, [plan], context);
      assert.ok(back.ok, back.says);
      assert.deepEqual(differencesOf(treeBefore, await writeDown(root)), []);
      assert.deepEqual(versions(root), versionsBefore);
      assert.deepEqual(await deb.audit(context), []);
    });

    test('every attribute comes back: capabilities, access lists, extended attributes, links, holes, devices, odd names', async () => {
      const { root, context, plan, way } = await prepare(makeAttributes);
      const before = await describeAttributes(root);
      assert.match(JSON.stringify(before), /security.capability.*posix_acl_default.*sparse/);
      await way.take(RUN, [plan], context);
      await spoilAttributes(root);
      assert.notDeepEqual(await describeAttributes(root), before);
      const back = await way.restore(RUN, [plan], context);
      assert.ok(back.ok, back.says);
      assert.deepEqual(await describeAttributes(root), before);
    });

    test('a half-taken way back is no way back: it is removed and taken anew', async () => {
      const { context, plan, way } = await prepare();
      await way.take(RUN, [plan], context);
      const folder = join(
        context.root,
        kind === 'btrfs' ? '.patchferry/way-back' : 'var/lib/patchferry/way-back/packages',
        RUN,
      );
      assert.equal(fs.statSync(folder).mode & 0o777, 0o700);
      fs.rmSync(join(folder, 'complete.json'));
      assert.deepEqual(await way.list(context), []);
      await assert.rejects(way.restore('no-such-run', [plan], context), { code: 'wayback.unknown' });
      await way.take(RUN, [plan], context);
      assert.equal((await way.list(context)).length, 1);
      const says = await way.take(RUN, [plan], context);
      assert.match(says.says, /already/);
    });

    if (kind === 'packages') {
      test('S35 a full disk: what filled it is taken back without room for copies', async () => {
        const { root, context, plan, way } = await prepare();
        const treeBefore = await writeDown(root);
        await way.take(RUN, [plan], context);
        assert.ok((await deb.install(plan, context)).ok);
        const filler = join(lab.disk, 'filler');
        try {
          const warnings: unknown[] = [];
          const log = {
            info: () => undefined,
            warn: (fields: unknown) => warnings.push(fields),
          } as unknown as HostContext['log'];
          fillUp(filler, 64 * 1024);
          const back = await way.restore(RUN, [plan], { ...context, log });
          assert.ok(back.ok, back.says);
          assert.equal(warnings.length, 1, 'there was no room for copies');
        } finally {
          fs.rmSync(filler, { force: true });
        }
        await way.discard(RUN, context);
        assert.deepEqual(differencesOf(treeBefore, await writeDown(root)), []);
        assert.deepEqual(await deb.audit(context), []);
      });
    }

    if (kind === 'btrfs') {
      test('a /boot of its own is copied beside the snapshot and comes back with it', async () => {
        const mount = (root: string) =>
          runOrThrow('mount', ['-t', 'tmpfs', 'tmpfs', join(root, 'boot')], { timeoutMs: 10_000 });
        const found = await prepare(async (root) => {
          await mount(root);
          fs.writeFileSync(join(root, 'boot/initrd.img-1'), 'old');
        });
        const { root, context, plan, way } = found;
        try {
          assert.match((await way.assess([plan], context)).says, /copies of \/boot/);
          await way.take(RUN, [plan], context);
          fs.writeFileSync(join(root, 'boot/initrd.img-1'), 'new and longer');
          fs.writeFileSync(join(root, 'boot/initrd.img-2'), 'new');
          const back = await way.restore(RUN, [plan], context);
          assert.ok(back.ok, back.says);
          assert.equal(fs.readFileSync(join(root, 'boot/initrd.img-1'), 'utf8'), 'old');
          assert.deepEqual(fs.readdirSync(join(root, 'boot')), ['initrd.img-1']);
        } finally {
          await runOrThrow('umount', [join(root, 'boot')], { timeoutMs: 10_000 });
        }
      });
    }
  });
}
