// LVM and ZFS as ways back over a real host's tree and real updates: the volume is a stand-in (a read-only btrfs snapshot that is
// mounted or linked where the real one would appear), everything else is real. Needs root on Debian.
import assert from 'node:assert/strict';
import * as fs from 'node:fs';
import { dirname, join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { run, runOrThrow } from '#manifests/platform/process';
import { debianMirrors, Lab } from '../../scripts/hosts/index.ts';
import { isDebianRoot } from '../../scripts/setup/debian.ts';
import { packageSystems } from '../packages/index.ts';
import {
  contextFor,
  differencesOf,
  fetchPayloads,
  fetchUpdates,
  type RealUpdates,
  updatesFor,
  writeDown,
} from '../packages/real-updates.ts';
import { lvmDriver } from './lvm.ts';
import { type SnapshotDriver, snapshotWay } from './snapshots.ts';
import { playedCommand } from './testing.ts';
import { zfsDriver } from './zfs.ts';

const skip = isDebianRoot() ? false : 'needs root on Debian';
const { deb } = packageSystems;
const RUN = 'run1';
const MOUNTINFO = '27 1 253:2 / / rw,relatime - ext4 /dev/mapper/vg0-root rw\n';
const recorded = (name: string) => fs.readFileSync(join(import.meta.dirname, 'fixtures', `${name}.json`), 'utf8');
const COMMAND_MS = 60_000;

describe('restored from the tree of a snapshot that is a stand-in', { skip }, () => {
  let lab: Lab;
  let updates: RealUpdates;
  let archive = '';
  before(async () => {
    const mirrors = (await debianMirrors('bookworm')) ?? assert.fail('apt here has no sources for bookworm');
    archive = mirrors.security;
    [lab, updates] = await Promise.all([Lab.open(), fetchUpdates(archive, 'bookworm')]);
  });
  after(() => lab?.close());

  const snapshot = (root: string, to: string) =>
    runOrThrow('btrfs', ['subvolume', 'snapshot', '-r', root, to], { timeoutMs: COMMAND_MS });
  const pool = recorded('lvs-pool').replace('"data_percent":""', '"data_percent":"10.00"');
  const drivers: Readonly<Record<string, (root: string) => SnapshotDriver>> = {
    lvm: (root) => {
      const { command } = playedCommand(async (line) => {
        if (line.startsWith('lvs '))
          return line.endsWith('/pool') ? pool : line.endsWith('vg0-root') ? recorded('lvs-root') : '';
        if (line.startsWith('lvcreate ')) await snapshot(root, `${root}-snapshot`);
        const place = join(root, line.split(' ').at(-1) ?? '');
        if (line.startsWith('mount '))
          await runOrThrow('mount', ['--bind', `${root}-snapshot`, place], { timeoutMs: COMMAND_MS });
        if (line.startsWith('umount ')) await run('umount', [place], { timeoutMs: COMMAND_MS });
        return '';
      });
      return lvmDriver({ command, mountinfo: () => MOUNTINFO });
    },
    zfs: (root) => {
      const { command } = playedCommand(async (line) => {
        if (line.startsWith('zfs snapshot ')) {
          const place = join(root, '.zfs/snapshot', line.split('@')[1] ?? '');
          fs.mkdirSync(dirname(place), { recursive: true });
          await snapshot(root, place);
        }
        return line.endsWith(' /') ? 'rpool/ROOT/debian\t21474836480\n' : '';
      });
      return zfsDriver({ command, isZfs: () => true, cmdline: () => '', carry: async () => undefined });
    },
  };

  for (const [kind, make] of Object.entries(drivers)) {
    test(`${kind}: real updates taken back, every file as before, nothing left mounted`, async () => {
      const root = join(lab.disk, `tree-${kind}`);
      await runOrThrow('btrfs', ['subvolume', 'snapshot', join(lab.disk, 'base'), root], { timeoutMs: COMMAND_MS });
      for (const name of ['lvs', 'zfs']) fs.writeFileSync(join(root, 'usr/sbin', name), '', { mode: 0o755 });
      const context = contextFor(root, updates);
      const items = updatesFor(root, updates).filter(({ patch }) => /^(?:expat|nginx|brotli)@/.test(patch));
      await fetchPayloads(archive, items);
      const plan = await deb.plan(items, { newDependencies: 'refuse', removals: 'refuse' }, context);
      assert.ok(plan.items.length > 0);
      const way = snapshotWay(make(root));
      const assessed = await way.assess([plan], context);
      assert.ok(assessed.possible, assessed.says);
      const own = /^\/(?:\.zfs|\.zfs\/.*):/;
      const before = await writeDown(root);
      await way.take(RUN, [plan], context);
      assert.ok((await deb.install(plan, context)).ok);
      assert.ok(differencesOf(before, await writeDown(root)).length > 20);
      const back = await way.restore(RUN, [plan], context);
      assert.ok(back.ok, back.says);
      const now = await writeDown(root);
      assert.deepEqual(
        differencesOf(before, now).filter((line) => !own.test(line)),
        [],
      );
      assert.deepEqual(await deb.audit(context), []);
      assert.ok(!fs.readFileSync('/proc/self/mounts', 'utf8').includes(` ${root}/`), 'nothing is left mounted');
      assert.deepEqual(
        (await way.list(context)).map(({ id }) => id),
        [RUN],
      );
    });
  }
});
