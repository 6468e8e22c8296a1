// Snapshots of a ZFS root: output as zfs-list(8) describes it, and the exact command lines. Not run: this needs a kernel with ZFS;
// restoring from such a tree is drivers.host.test.ts, with a stand-in for the dataset.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { snapshotWay } from './snapshots.ts';
import { type Answer, EMPTY_PLAN, playedCommand, smallTree } from './testing.ts';
import { readRows, zfsDriver } from './zfs.ts';

const DATASET = 'zfs list -H -p -o name,available /';
const SNAPSHOTS = 'zfs list -H -p -t snapshot -o name,used -d 1 rpool/ROOT/debian';
const FREE = { [DATASET]: 'rpool/ROOT/debian\t21474836480\n' };

function play(answers: Record<string, Answer>, isZfs = true, programs = ['zfs']) {
  const tree = smallTree(programs);
  const played = playedCommand((line) => answers[line] ?? '');
  return {
    ...tree,
    asked: played.asked,
    way: snapshotWay(
      zfsDriver({ command: played.command, isZfs: () => isZfs, cmdline: () => '', carry: async () => undefined }),
    ),
  };
}

test('rows as scripts get them', () => {
  assert.deepEqual(readRows('rpool/ROOT/debian@a b\t4096\nrpool/ROOT/debian@c\t-\n'), [
    ['rpool/ROOT/debian@a b', '4096'],
    ['rpool/ROOT/debian@c', '-'],
  ]);
  assert.deepEqual(readRows(''), []);
});

for (const [what, host, says, lacks] of [
  ['another file system', play(FREE, false), /not on ZFS/, undefined],
  ['no tools', play(FREE, true, []), /zfsutils-linux/, undefined],
  [
    'no dataset',
    play({ [DATASET]: { code: 1, stderr: "cannot open '/': not a ZFS filesystem" } }),
    /no ZFS dataset/,
    undefined,
  ],
  ['a full pool', play({ [DATASET]: 'rpool/ROOT/debian\t1048576\n' }), /almost full/, 'room'],
] as const) {
  test(`not possible: ${what}`, async () => {
    try {
      const found = await host.way.assess([EMPTY_PLAN], host.context);
      assert.equal(found.possible, false);
      assert.match(found.says, says);
      assert.equal(found.lacks, lacks);
    } finally {
      host.remove();
    }
  });
}

test('taken, measured and removed by these command lines, each of them repeatable', async () => {
  const answers: Record<string, Answer> = { ...FREE };
  const { way, context, asked, remove } = play(answers);
  const changing = () => asked.splice(0).filter((line) => !line.startsWith('zfs list '));
  try {
    assert.ok((await way.assess([EMPTY_PLAN], context)).possible);
    const taken = await way.take('run1', [EMPTY_PLAN], context);
    assert.equal(taken.says, 'snapshot rpool/ROOT/debian@patchferry-run1');
    assert.deepEqual(changing(), ['zfs snapshot rpool/ROOT/debian@patchferry-run1']);
    answers[SNAPSHOTS] = 'rpool/ROOT/debian@other\t0\nrpool/ROOT/debian@patchferry-run1\t73728\n';
    assert.equal(await way.bytes?.('run1', context), 73_728);
    assert.equal(await way.bytes?.('run2', context), null);
    await way.discard('run1', context);
    assert.deepEqual(changing(), ['zfs destroy rpool/ROOT/debian@patchferry-run1']);
    assert.deepEqual(await way.list(context), []);
    answers[SNAPSHOTS] = 'rpool/ROOT/debian@other\t0\n';
    await way.discard('run1', context);
    assert.deepEqual(changing(), []);
  } finally {
    remove();
  }
});
