// What all ways back by snapshots share: the snapshot is what is copied from, never what is booted, so what the run did not change
// stays; covered parts that the root's snapshot does not have (a /boot of its own, a /var volume) are copies beside it. What
// differs (how one is made, reached and removed) is a driver: btrfs.ts, lvm.ts, zfs.ts.
import * as fs from 'node:fs';
import { join } from 'node:path';
import { anyLockHolder, type HostContext, type InstallPlan, reach, waitForLocks } from '../packages/index.ts';
import { fault } from './copy.ts';
import { afterRestore, describeOutcome } from './outcome.ts';
import { putBack } from './put-back.ts';
import { releaseReserve, restoreSaved, savedBytes, takeSaved } from './saved.ts';
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
import type { WholeRoot } from './whole-root.ts';

/** Why a snapshot is not possible on this host; undefined when it is. `lacks`: as in Assessment. */
export interface Obstacle {
  readonly says: string;
  readonly lacks?: 'room';
}

/** How one kind of snapshot is made. Every act may be repeated after a kill. */
export interface SnapshotDriver {
  readonly kind: WayBack['kind'];
  /** Folder of the notes and copies beside the snapshots. */
  store(context: HostContext): string;
  obstacle(context: HostContext): Promise<Obstacle | undefined>;
  /** Makes the snapshot of the root; there is none of this id. @returns what it is called */
  take(id: string, context: HostContext): Promise<string>;
  /** Has the tree as it was reached by `use`, and lets go of it afterwards whatever happens. */
  withTree<T>(id: string, context: HostContext, use: (tree: string) => Promise<T>): Promise<T>;
  /** Removes the snapshot; one that is not there is no error. */
  remove(id: string, context: HostContext): Promise<void>;
  /** Room that only this snapshot holds; null when that cannot be told. */
  bytes(id: string, context: HostContext): Promise<number | null>;
  readonly wholeRoot?: WholeRoot;
}

/** The covered parts of the host, by whether the root's snapshot has them. */
async function parts(context: HostContext, plans: readonly InstallPlan[]) {
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
  const paths = (await pathsOfChanged(context, plans)).filter((path) => !isInRoots(path));
  return {
    inside: { roots: roots.filter(isInside), paths: paths.filter(isInside) },
    outside: { roots: roots.filter((path) => !isInside(path)), paths: paths.filter((path) => !isInside(path)) },
  };
}

/** A way back by snapshots of this kind. */
export function snapshotWay(driver: SnapshotDriver): WayBack {
  const folder = (context: HostContext, id: string) => folderOf(driver.store(context), id);
  /** Whole, half-taken or half-removed: first it stops being one, then it goes. */
  const remove = async (context: HostContext, id: string) => {
    fs.rmSync(join(folder(context, id), 'complete.json'), { force: true });
    await driver.remove(id, context);
    discardFolder(folder(context, id));
  };
  return {
    kind: driver.kind,
    async assess(plans, context) {
      const none = (says: string) => ({ possible: false, says, costBytes: 0, notCovered: [] });
      if (!plans.some(({ format }) => format !== 'archive')) return none('no packages are in the plan');
      const obstacle = await driver.obstacle(context);
      if (obstacle !== undefined) return { ...none(obstacle.says), ...obstacle };
      const { outside } = await parts(context, plans);
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
      if (isComplete(folder(context, run))) return { id: run, says: 'the snapshot was there already' };
      await remove(context, run);
      const place = startFolder(driver.store(context), run);
      const { outside } = await parts(context, plans);
      if (outside.roots.length + outside.paths.length > 0) {
        fs.mkdirSync(join(place, 'saved'), { mode: 0o700 });
        await takeSaved(context, join(place, 'saved'), outside, plans);
      }
      const name = await driver.take(run, context);
      complete(place, context);
      return { id: run, says: `snapshot ${name}` };
    },
    async restore(id, plans, context) {
      const place = folder(context, id);
      if (!isComplete(place)) throw fault('unknown', `there is no whole snapshot ${id}`, { where: place });
      await waitForLocks(context, anyLockHolder);
      const newPaths = await pathsAtFirstTry(place, context, plans, () => releaseReserve(join(place, 'saved')));
      const { inside } = await parts(context, plans);
      const paths = [...new Set([...inside.paths, ...newPaths.filter((path) => !isInRoots(path))])];
      const outcomes = await driver.withTree(id, context, async (source) => {
        const before = scan(source, inside.roots, paths).entries;
        return [await putBack(context, { id, source, before, roots: inside.roots, paths, has: () => true })];
      });
      if (fs.existsSync(join(place, 'saved'))) outcomes.push(await restoreSaved(context, join(place, 'saved'), id, newPaths));
      await afterRestore(context, outcomes);
      return describeOutcome(outcomes);
    },
    discard: (id, context) => remove(context, id),
    async list(context) {
      return listStore(driver.store(context));
    },
    async bytes(id, context) {
      const own = await driver.bytes(id, context);
      return own === null ? null : own + folderBytes(join(folder(context, id), 'saved'));
    },
    ...(driver.wholeRoot === undefined ? {} : { wholeRoot: driver.wholeRoot }),
  };
}
