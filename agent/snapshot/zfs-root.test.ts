// The whole root on ZFS: the exact command lines, and what is refused. Not run: this needs a kernel with ZFS and a boot loader that
// starts from the pool's bootfs.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { type Answer, playedCommand, smallTree } from './testing.ts';
import { namedRoot, zfsRoot } from './zfs-root.ts';

const NAME = 'rpool/ROOT/debian';
const CLONE = 'rpool/ROOT/patchferry-run1';
const BOOTFS = 'zpool get -H -o value bootfs rpool';
const CHILDREN = `zfs list -H -r -o name ${NAME}`;
const PROPERTY = `zfs get -H -o value org.zfsbootmenu:commandline ${NAME}`;
const ORIGIN = `zfs get -H -o value origin ${CLONE}`;
const RUNS = 'zfs list -H -o name /';
const NONE = { code: 1, stderr: 'dataset does not exist' };
const HOST: Record<string, Answer> = {
  [RUNS]: `${NAME}\n`,
  [BOOTFS]: `${NAME}\n`,
  [CHILDREN]: `${NAME}\n`,
  [PROPERTY]: '-\n',
  [`zfs list -H -o name ${CLONE}`]: NONE,
};

function play(more: Record<string, Answer> = {}, cmdline = 'quiet', isZfs = true) {
  const tree = smallTree([]);
  const answers = { ...HOST, ...more };
  const played = playedCommand((line) => answers[line] ?? '');
  const carried: string[] = [];
  const whole = zfsRoot({
    command: played.command,
    isZfs: () => isZfs,
    cmdline: () => cmdline,
    carry: async (context, paths, target) => void carried.push(...paths, target.slice(context.root.length)),
  });
  const changing = () => played.asked.splice(0).filter((line) => !/^(?:zfs (?:list|get)|zpool get) /.test(line));
  return { ...tree, answers, whole, carried, changing };
}

test('the root that a command line names', () => {
  assert.equal(namedRoot('root=ZFS=rpool/ROOT/debian boot=zfs quiet'), NAME);
  assert.equal(namedRoot('ro root=zfs:rpool/ROOT/debian'), NAME);
  for (const none of ['root=zfs:AUTO', 'root=UUID=1 ro', 'noroot=ZFS=x', '']) assert.equal(namedRoot(none), undefined);
});

for (const [what, host, says] of [
  ['the pool says which root', play(), /^at the next boot, as bootfs of rpool/],
  ['a boot menu that reads the pool', play({ [PROPERTY]: 'quiet\n' }, `root=zfs:${NAME}`), /^at the next boot/],
  ['another file system', play({}, '', false), /not on ZFS; `rollback` without --whole-root/],
  ['a boot loader that names the root', play({}, `root=ZFS=${NAME}`), /names the root itself \(rpool\/ROOT\/debian\)/],
  [
    'another bootfs',
    play({ [BOOTFS]: 'rpool/ROOT/old\n' }),
    /bootfs is rpool\/ROOT\/old, and rpool\/ROOT\/debian is what runs/,
  ],
  ['datasets below the root', play({ [CHILDREN]: `${NAME}\n${NAME}/var\n` }), /stay behind: rpool\/ROOT\/debian\/var/],
  ['the pool itself', play({ [RUNS]: 'rpool\n' }), /the pool rpool itself/],
] as const) {
  test(`asked: ${what}`, async () => {
    try {
      const found = await host.whole.assess(null, host.context);
      assert.match(found.says, says);
      assert.equal(found.possible, found.says.startsWith('at the next boot'));
    } finally {
      host.remove();
    }
  });
}

test('made, carried over, switched, kept and given back by these command lines', async () => {
  const { whole, context, answers, carried, changing, remove } = play();
  try {
    const pair = await whole.make('run1', context);
    assert.deepEqual(pair, { method: 'bootfs', from: { id: NAME, name: NAME }, to: { id: CLONE, name: CLONE } });
    const clone = `zfs clone -o canmount=noauto -o mountpoint=/ ${NAME}@patchferry-run1 ${CLONE}`;
    assert.deepEqual(changing(), [clone]);
    answers[`zfs list -H -o name ${CLONE}`] = `${CLONE}\n`;
    await whole.make('run1', context);
    assert.deepEqual(changing(), [`zfs destroy ${CLONE}`, clone], 'a half-made one is made anew');

    await whole.carry(pair, 'run1', { ...context, ownPaths: ['/var/lib/patchferry/agent'] });
    const place = '/run/patchferry-root';
    assert.deepEqual(changing(), [
      `umount ${place}`,
      `mount -t zfs -o zfsutil ${CLONE} ${place}`,
      `umount ${place}`,
      'zpool sync rpool',
    ]);
    assert.ok(carried.includes('/var/lib/patchferry/agent') && carried.includes('/etc/machine-id'));
    assert.equal(carried.at(-1), place);

    await whole.switchTo(pair, 'to', context);
    assert.deepEqual(changing(), [`zpool set bootfs=${CLONE} rpool`, 'zpool sync rpool']);
    answers[BOOTFS] = `${CLONE}\n`;
    await whole.switchTo(pair, 'to', context);
    await whole.discard('run1', null, context);
    assert.deepEqual(changing(), [], 'what is started from next stays');
    assert.deepEqual(await whole.look(pair, context), { runs: NAME, next: CLONE });

    answers[RUNS] = `${CLONE}\n`; // booted
    answers[ORIGIN] = `${NAME}@patchferry-run1\n`;
    await whole.settle?.(pair, context);
    assert.deepEqual(changing(), [`zfs promote ${CLONE}`]);
    answers[ORIGIN] = '-\n';
    await whole.settle?.(pair, context);
    assert.deepEqual(changing(), []);
    answers[`zfs list -H -o name ${NAME}`] = NONE;
    await whole.discard('run1', NAME, context);
    assert.deepEqual(changing(), [], 'there is no such dataset any more');
    answers[`zfs list -H -o name ${NAME}`] = `${NAME}\n`;
    await whole.discard('run1', NAME, context);
    assert.deepEqual(changing(), [`zfs destroy -r ${NAME}`]);
    await assert.rejects(whole.make('run1', context), { code: 'wayback.snapshot' });
  } finally {
    remove();
  }
});
