// Snapshots on btrfs: read-only subvolumes on the root subvolume itself, since they can lie nowhere else.
import * as fs from 'node:fs';
import { join } from 'node:path';
import { type HostContext, hostCommand, reach } from '../packages/index.ts';
import { btrfsRoot } from './btrfs-root.ts';
import { fault } from './copy.ts';
import { type SnapshotDriver, snapshotWay } from './snapshots.ts';
import { folderOf } from './store.ts';

/** BTRFS_SUPER_MAGIC of statfs(2), and the inode number of every subvolume's root (BTRFS_FIRST_FREE_OBJECTID). */
const BTRFS = { magic: 0x9123683e, rootInode: 256 } as const;

const COMMAND_MS = 5 * 60_000;

/** On the root subvolume; private. */
const STORE = '/.patchferry/way-back';

async function btrfs(context: HostContext, ...args: string[]): Promise<void> {
  const result = await hostCommand(context, 'btrfs', args, { timeoutMs: COMMAND_MS });
  if (result.code !== 0) throw fault('snapshot', `btrfs ${args.join(' ')}: ${result.stderr.trim().slice(0, 500)}`);
}

/** `btrfs filesystem du -s --raw`: what only this snapshot holds. Null when that was not printed. */
export function exclusiveBytes(text: string): number | null {
  const row = text.split('\n').find((line) => /^\s*\d+\s+\d+\s+/.test(line));
  return row === undefined ? null : Number(row.trim().split(/\s+/)[1]);
}

const driver: SnapshotDriver = {
  kind: 'btrfs',
  store: (context) => reach(context, STORE),
  async obstacle(context) {
    if (fs.statfsSync(context.root).type !== BTRFS.magic) return { says: 'the root is not on btrfs' };
    if (fs.statSync(context.root).ino !== BTRFS.rootInode) return { says: 'the root is not a btrfs subvolume' };
    const has = ['/usr/bin/btrfs', '/bin/btrfs', '/sbin/btrfs'].some((path) => fs.existsSync(reach(context, path)));
    return has ? undefined : { says: 'btrfs-progs is not installed' };
  },
  async take(id, context) {
    const name = `${STORE}/${id}/root`;
    await btrfs(context, 'subvolume', 'snapshot', '-r', '/', name);
    await btrfs(context, 'filesystem', 'sync', '/');
    return name;
  },
  withTree: (id, context, use) => use(join(folderOf(driver.store(context), id), 'root')),
  async remove(id, context) {
    if (!fs.existsSync(join(folderOf(driver.store(context), id), 'root'))) return;
    await btrfs(context, 'subvolume', 'delete', '--commit-after', `${STORE}/${id}/root`);
  },
  async bytes(id, context) {
    const args = ['filesystem', 'du', '--raw', '--summarize', `${STORE}/${id}/root`];
    return exclusiveBytes((await hostCommand(context, 'btrfs', args, { timeoutMs: COMMAND_MS })).stdout);
  },
  wholeRoot: btrfsRoot,
};

export const btrfsSnapshot = snapshotWay(driver);
