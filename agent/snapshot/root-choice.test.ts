import assert from 'node:assert/strict';
import { test } from 'node:test';
import { readSubvolumes } from './btrfs-root.ts';
import { type RootFacts, rootChoice } from './root-choice.ts';

const mounted = (path: string, options: string, type = 'btrfs') =>
  `22 1 0:5 / /dev rw - devtmpfs udev rw\n27 1 0:61 ${path} / rw,relatime shared:1 - ${type} /dev/vda2 rw,space_cache=v2,${options}\n31 27 8:1 / /boot rw - ext2 /dev/vda1 rw\n`;

const NAMED: RootFacts = {
  mountinfo: mounted('/@rootfs', 'subvolid=256,subvol=/@rootfs'),
  cmdline: 'BOOT_IMAGE=/@rootfs/boot/vmlinuz-6.1.0-1-amd64 root=UUID=1 ro rootflags=subvol=@rootfs quiet\n',
  fstab: '# made by the installer\nUUID=1 / btrfs defaults,subvol=@rootfs 0 0\nUUID=2 /boot ext2 defaults 0 2\n',
  defaultId: '5',
};
const DEFAULT: RootFacts = {
  mountinfo: mounted('/@/.snapshots/1/snapshot', 'subvolid=266,subvol=/@/.snapshots/1/snapshot'),
  cmdline: 'root=UUID=1 splash=silent\n',
  fstab: 'UUID=1 / btrfs defaults 0 0\n',
  defaultId: '266',
};

test('a root that is found by name, and one that is found as default subvolume', () => {
  assert.deepEqual(rootChoice(NAMED), { ok: true, method: 'name', id: '256', path: '/@rootfs', device: '/dev/vda2' });
  assert.deepEqual(rootChoice({ ...NAMED, fstab: '' }).ok, true);
  assert.deepEqual(rootChoice(DEFAULT), {
    ok: true,
    method: 'default',
    id: '266',
    path: '/@/.snapshots/1/snapshot',
    device: '/dev/vda2',
  });
  const escaped = mounted('/my\\040root', 'subvolid=256,subvol=/my\\040root');
  assert.equal((rootChoice({ ...DEFAULT, mountinfo: escaped, defaultId: '256' }) as { path: string }).path, '/my root');
});

for (const [what, facts, says] of [
  ['another file system', { ...NAMED, mountinfo: mounted('/', 'errors=remount-ro', 'ext4') }, /not on btrfs/],
  ['no table of mounts', { ...NAMED, mountinfo: '' }, /not on btrfs/],
  [
    'the top of the file system',
    { ...DEFAULT, mountinfo: mounted('/', 'subvolid=5,subvol=/'), defaultId: '5' },
    /top of its btrfs/,
  ],
  [
    'a folder in a subvolume',
    { ...DEFAULT, mountinfo: mounted('/@/deep', 'subvolid=256,subvol=/@') },
    /a folder .*not a subvolume|folder \/@\/deep/,
  ],
  ['a number on the command line', { ...NAMED, cmdline: 'rootflags=subvolid=256' }, /command line names the root by number/],
  ['a number in fstab', { ...DEFAULT, fstab: 'UUID=1 / btrfs subvolid=266 0 0' }, /fstab names the root by number/],
  [
    'another name on the command line',
    { ...NAMED, cmdline: 'rootflags=subvol=@old' },
    /names @old as root, and \/@rootfs is what runs/,
  ],
  ['another name in fstab', { ...NAMED, fstab: 'UUID=1 / btrfs noatime,subvol=/@old 0 0' }, /fstab names \/@old/],
  ['a name in fstab alone', { ...NAMED, cmdline: 'quiet', defaultId: '256' }, /fstab names the root by subvol= and the kernel/],
  ['another default', { ...DEFAULT, defaultId: '5' }, /default subvolume \(5\) is not the one that runs \(266\)/],
] as const) {
  test(`refused: ${what}`, () => {
    const choice = rootChoice(facts);
    assert.match(choice.ok ? 'possible' : choice.says, says);
  });
}

test('subvolumes as btrfs prints them', () => {
  const printed =
    'ID 256 gen 7 top level 5 path @rootfs\nID 257 gen 9 top level 256 path @rootfs/.patchferry/way-back/x y/root\n';
  assert.deepEqual(readSubvolumes(printed), [
    { id: '256', path: '/@rootfs' },
    { id: '257', path: '/@rootfs/.patchferry/way-back/x y/root' },
  ]);
  assert.deepEqual(readSubvolumes('ERROR: not a btrfs filesystem: /\n'), []);
});
