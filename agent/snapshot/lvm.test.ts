// Snapshots of thin LVM volumes: recorded output read, and the exact command lines. Not run: this needs a kernel with
// device-mapper thin volumes; restoring from such a tree is drivers.host.test.ts, with a stand-in for the volume.
import assert from 'node:assert/strict';
import * as fs from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { lvmDriver, readVolumes, rootMount } from './lvm.ts';
import { snapshotWay } from './snapshots.ts';
import { type Answer, EMPTY_PLAN, playedCommand, smallTree } from './testing.ts';

const recorded = (name: string) => fs.readFileSync(join(import.meta.dirname, 'fixtures', `${name}.json`), 'utf8');
const LVS =
  'lvs --reportformat json --units b --nosuffix -o vg_name,lv_name,lv_path,segtype,pool_lv,origin,lv_size,data_percent,metadata_percent';
const MOUNTINFO = `22 1 0:5 / /dev rw,nosuid - devtmpfs udev rw
27 1 253:2 / / rw,relatime shared:1 - ext4 /dev/mapper/vg0-root rw,discard
31 27 8:1 / /boot rw - ext2 /dev/sda1 rw
`;
const NONE = { code: 5, stderr: '  Failed to find logical volume "vg0/x"' };

/** The pool as an active one prints itself. */
const poolAt = (data: string, metadata: string) =>
  recorded('lvs-pool')
    .replace('"data_percent":""', `"data_percent":"${data}"`)
    .replace('"metadata_percent":""', `"metadata_percent":"${metadata}"`);

function play(answers: Readonly<Record<string, Answer>>, mountinfo = MOUNTINFO) {
  const tree = smallTree(['lvs']);
  const played = playedCommand((line) => answers[line] ?? (line.startsWith('lvs') ? NONE : ''));
  return { ...tree, asked: played.asked, way: snapshotWay(lvmDriver({ command: played.command, mountinfo: () => mountinfo })) };
}
const ROOT = { [`${LVS} /dev/mapper/vg0-root`]: recorded('lvs-root') };

test('volumes as lvs printed them', () => {
  assert.deepEqual(
    readVolumes(recorded('lvs-group')).map(({ name, segment, pool, origin }) => [name, segment, pool, origin]),
    [
      ['pool', 'thin-pool', null, null],
      ['root', 'thin', 'pool', null],
      ['swap', 'linear', null, null],
    ],
  );
  assert.equal(readVolumes(recorded('lvs-root'))[0]?.sizeBytes, 83_886_080);
  assert.deepEqual(readVolumes('  Volume group "sda1" not found'), []);
  assert.deepEqual(
    readVolumes(poolAt('41.20', '12.01')).map((pool) => [pool.dataPercent, pool.metadataPercent]),
    [[41.2, 12.01]],
  );
});

test('the device and type of the root', () => {
  assert.deepEqual(rootMount(MOUNTINFO), { device: '/dev/mapper/vg0-root', type: 'ext4' });
  assert.equal(rootMount(''), undefined);
});

for (const [what, answers, says, lacks] of [
  ['no volume of LVM', {}, /not on LVM/, undefined],
  ['an ordinary volume', { [`${LVS} /dev/mapper/vg0-root`]: recorded('lvs-linear') }, /linear volume/, undefined],
  ['a pool that is nearly full', { ...ROOT, [`${LVS} vg0/pool`]: poolAt('91.00', '10.00') }, /91 % full/, 'room'],
  ['a pool whose metadata is nearly full', { ...ROOT, [`${LVS} vg0/pool`]: poolAt('9.00', '86.10') }, /86.1 % full/, 'room'],
  ['a pool that tells nothing', { ...ROOT, [`${LVS} vg0/pool`]: recorded('lvs-pool') }, /100 % full/, 'room'],
] as const) {
  test(`not possible: ${what}`, async () => {
    const { way, context, remove } = play(answers);
    try {
      const found = await way.assess([EMPTY_PLAN], context);
      assert.equal(found.possible, false);
      assert.match(found.says, says);
      assert.equal(found.lacks, lacks);
    } finally {
      remove();
    }
  });
}

test('not possible: a file system that cannot be mounted twice', async () => {
  const { way, context, remove } = play(
    { ...ROOT, [`${LVS} vg0/pool`]: poolAt('1.00', '1.00') },
    MOUNTINFO.replace('ext4', 'jfs'),
  );
  try {
    assert.match((await way.assess([EMPTY_PLAN], context)).says, /jfs/);
  } finally {
    remove();
  }
});

test('taken, used and removed by these command lines, each of them repeatable', async () => {
  const answers: Record<string, Answer> = { ...ROOT, [`${LVS} vg0/pool`]: poolAt('41.20', '12.01') };
  const { way, context, asked, remove } = play(answers);
  try {
    const found = await way.assess([EMPTY_PLAN], context);
    assert.ok(found.possible, found.says);
    assert.ok(found.notCovered.length > 0);
    asked.splice(0);
    assert.equal((await way.take('run1', [EMPTY_PLAN], context)).says, 'snapshot vg0/patchferry_run1');
    const changing = () => asked.splice(0).filter((line) => !line.startsWith('lvs '));
    assert.deepEqual(changing(), ['lvcreate --snapshot --setactivationskip y --name patchferry_run1 vg0/root']);
    assert.match((await way.take('run1', [EMPTY_PLAN], context)).says, /already/);
    assert.deepEqual(changing(), []);
    answers[`${LVS} vg0/patchferry_run1`] = recorded('lvs-root').replace('"lv_name":"root"', '"lv_name":"patchferry_run1"');
    const place = '/var/lib/patchferry/way-back/lvm/run1/tree';
    await way.discard('run1', context);
    assert.deepEqual(changing(), [`umount ${place}`, 'lvremove --yes vg0/patchferry_run1']);
    assert.deepEqual(await way.list(context), []);
    delete answers[`${LVS} vg0/patchferry_run1`];
    await way.discard('run1', context);
    assert.deepEqual(changing(), []);
  } finally {
    remove();
  }
});

test('a half-taken one is removed first; what lvcreate refuses is no way back', async () => {
  const answers: Record<string, Answer> = {
    ...ROOT,
    [`${LVS} vg0/patchferry_run1`]: recorded('lvs-root').replace('"lv_name":"root"', '"lv_name":"patchferry_run1"'),
    'lvcreate --snapshot --setactivationskip y --name patchferry_run1 vg0/root': {
      code: 5,
      stderr: '  Free space in pool vg0/pool is below threshold.',
    },
  };
  const { way, context, asked, remove } = play(answers);
  try {
    await assert.rejects(way.take('run1', [EMPTY_PLAN], context), { code: 'wayback.snapshot', message: /below threshold/ });
    assert.ok(asked.includes('lvremove --yes vg0/patchferry_run1'));
    assert.deepEqual(await way.list(context), []);
  } finally {
    remove();
  }
});
