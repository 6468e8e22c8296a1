// The way back on btrfs: a read-only snapshot of the root subvolume, and copies of the covered parts that are not on it (a /boot
// of its own, a /var subvolume). The snapshot is what is copied from, never what is booted: what the run did not change stays.
import * as fs from 'node:fs';
import { join } from 'node:path';
import { type HostContext, hostCommand, type InstallPlan, reach, waitForLocks } from '../packages/index.ts';
import { fault } from './copy.ts';
import { describeOutcome, reloadServices } from './outcome.ts';
import { putBack } from './put-back.ts';
import { restoreSaved, savedBytes, takeSaved } from './saved.ts';
import { isInRoots, notCovered, pathsOfChanged, scopeRoots } from './scope.ts';
import {
  complete,
  discardFolder,
  folderBytes,
  folderOf,
  isComplete,
  listStore,
  pathsAtFirstTry,
  startFolder,
} from './store.ts';
import { scan } from './tree.ts';
import type { WayBack } from './wayback.ts';

/** BTRFS_SUPER_MAGIC of statfs(2), and the inode number of every subvolume's root (BTRFS_FIRST_FREE_OBJECTID). */
const BTRFS = { magic: 0x9123683e, rootInode: 256 } as const;

const COMMAND_MS = 5 * 60_000;

/** On the root subvolume itself, since a snapshot can lie nowhere else; private. */
const STORE = '/.patchferry/way-back';

const store = (context: HostContext) => reach(context, STORE);

/** The covered parts of the host, by whether the root's snapshot has them. */
function parts(context: HostContext, plans: readonly InstallPlan[]) {
  const device = fs.statSync(context.root).dev;
  const isInside = (path: string) => {
    let folder = reach(context, path);
    for (;;) {
      const stat = fs.lstatSync(folder, { throwIfNoEntry: false });
      if (stat !== undefined) return stat.dev === device;
      folder = join(folder, '..');
    }
  };
  const roots = scopeRoots(context);
  const paths = pathsOfChanged(context, plans).filter((path) => !isInRoots(path));
  return {
    inside: { roots: roots.filter(isInside), paths: paths.filter(isInside) },
    outside: { roots: roots.filter((path) => !isInside(path)), paths: paths.filter((path) => !isInside(path)) },
  };
}

async function btrfs(context: HostContext, ...args: string[]): Promise<void> {
  const result = await hostCommand(context, 'btrfs', args, { timeoutMs: COMMAND_MS });
  if (result.code !== 0) throw fault('snapshot', `btrfs ${args.join(' ')}: ${result.stderr.trim().slice(0, 500)}`);
}

/** Removes what there is of one way back: whole, half-taken or half-removed. */
async function remove(context: HostContext, id: string): Promise<void> {
  const folder = folderOf(store(context), id);
  fs.rmSync(join(folder, 'complete.json'), { force: true });
  if (fs.existsSync(join(folder, 'root'))) await btrfs(context, 'subvolume', 'delete', '--commit-after', `${STORE}/${id}/root`);
  discardFolder(folder);
}

/** `btrfs filesystem du -s --raw`: what only this snapshot holds. Null when that was not printed. */
export function exclusiveBytes(text: string): number | null {
  const row = text.split('\n').find((line) => /^\s*\d+\s+\d+\s+/.test(line));
  return row === undefined ? null : Number(row.trim().split(/\s+/)[1]);
}

export const btrfsSnapshot: WayBack = {
  kind: 'btrfs',
  async assess(plans, context) {
    const none = (says: string) => ({ possible: false, says, costBytes: 0, notCovered: [] });
    if (!plans.some(({ format }) => format === 'deb')) return none('no packages are in the plan');
    if (fs.statfsSync(context.root).type !== BTRFS.magic) return none('the root is not on btrfs');
    if (fs.statSync(context.root).ino !== BTRFS.rootInode) return none('the root is not a btrfs subvolume');
    if (!['/usr/bin/btrfs', '/bin/btrfs', '/sbin/btrfs'].some((path) => fs.existsSync(reach(context, path)))) {
      return none('btrfs-progs is not installed');
    }
    const { outside } = parts(context, plans);
    const copies = outside.roots.length === 0 ? 0 : await savedBytes(context, outside, plans);
    const { bavail, bsize } = fs.statfsSync(context.root);
    if (bavail * bsize <= copies) return { ...none(`no room for copies of ${outside.roots.join(', ')}`), lacks: 'room' };
    return {
      possible: true,
      says:
        outside.roots.length === 0
          ? 'a snapshot of the root'
          : `a snapshot of the root, and copies of ${outside.roots.join(', ')}`,
      costBytes: copies,
      notCovered: notCovered(context, plans),
    };
  },
  async take(run, plans, context) {
    const folder = folderOf(store(context), run);
    if (isComplete(folder)) return { id: run, says: 'the snapshot was there already' };
    await remove(context, run);
    startFolder(store(context), run);
    const { outside } = parts(context, plans);
    if (outside.roots.length + outside.paths.length > 0) {
      fs.mkdirSync(join(folder, 'saved'), { mode: 0o700 });
      await takeSaved(context, join(folder, 'saved'), outside, plans);
    }
    await btrfs(context, 'subvolume', 'snapshot', '-r', '/', `${STORE}/${run}/root`);
    await btrfs(context, 'filesystem', 'sync', '/');
    complete(folder, context);
    return { id: run, says: `snapshot ${STORE}/${run}/root` };
  },
  async restore(id, plans, context) {
    const folder = folderOf(store(context), id);
    if (!isComplete(folder)) throw fault('unknown', `there is no whole snapshot ${id}`, { where: folder });
    await waitForLocks(context);
    const newPaths = pathsAtFirstTry(folder, context, plans);
    const source = join(folder, 'root');
    const { inside } = parts(context, plans);
    const paths = [...new Set([...inside.paths, ...newPaths.filter((path) => !isInRoots(path))])];
    const before = scan(source, inside.roots, paths).entries;
    const outcomes = [await putBack(context, { id, source, before, roots: inside.roots, paths, has: () => true })];
    if (fs.existsSync(join(folder, 'saved'))) outcomes.push(await restoreSaved(context, join(folder, 'saved'), id, newPaths));
    await reloadServices(context);
    return describeOutcome(outcomes);
  },
  discard: (id, context) => remove(context, id),
  async list(context) {
    return listStore(store(context));
  },
  async bytes(id, context) {
    const place = `${STORE}/${id}`;
    const found = await hostCommand(context, 'btrfs', ['filesystem', 'du', '--raw', '--summarize', `${place}/root`], {
      timeoutMs: COMMAND_MS,
    });
    const own = exclusiveBytes(found.stdout);
    return own === null ? null : own + folderBytes(join(folderOf(store(context), id), 'saved'));
  },
};
