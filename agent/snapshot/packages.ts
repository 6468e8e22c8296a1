// The way back without snapshots: copies of all that the packages, their scripts and triggers can change. Works on every file
// system; costs the room of the copies (nothing where the file system shares blocks).
import * as fs from 'node:fs';
import { formatBytes } from '#manifests/platform/progress';
import { anyLockHolder, type HostContext, type InstallPlan, waitForLocks } from '../packages/index.ts';
import { afterRestore, describeOutcome } from './outcome.ts';
import { releaseReserve, restoreSaved, savedBytes, takeSaved } from './saved.ts';
import { isInRoots, notCovered, pathsOfChanged, scopeRoots } from './scope.ts';
import {
  complete,
  discardFolder,
  fileStore,
  folderBytes,
  folderOf,
  isComplete,
  listStore,
  pathsAtFirstTry,
  startFolder,
} from './store.ts';
import type { WayBack } from './wayback.ts';

const ofPackages = (plans: readonly InstallPlan[]) => plans.filter(({ format }) => format !== 'archive');

async function partOf(context: HostContext, plans: readonly InstallPlan[]) {
  const paths = await pathsOfChanged(context, plans);
  return { roots: scopeRoots(context), paths: paths.filter((path) => !isInRoots(path)) };
}

const store = (context: HostContext) => fileStore(context, 'packages');

export const packages: WayBack = {
  kind: 'packages',
  async assess(plans, context) {
    const mine = ofPackages(plans);
    if (mine.length === 0) return { possible: false, says: 'no packages are in the plan', costBytes: 0, notCovered: [] };
    const costBytes = await savedBytes(context, await partOf(context, mine), mine);
    fs.mkdirSync(store(context), { recursive: true, mode: 0o700 });
    const { bavail, bsize } = fs.statfsSync(store(context));
    const possible = bavail * bsize > costBytes;
    const says = possible
      ? `copies of the files that change, up to ${formatBytes(costBytes)}`
      : `copies need up to ${formatBytes(costBytes)}, ${formatBytes(bavail * bsize)} are free`;
    return { possible, says, costBytes, notCovered: notCovered(context, mine), ...(possible ? {} : { lacks: 'room' }) };
  },
  async take(run, plans, context) {
    const folder = folderOf(store(context), run);
    if (isComplete(folder)) return { id: run, says: 'copies were there already' };
    discardFolder(folder);
    startFolder(store(context), run);
    const files = await takeSaved(context, folder, await partOf(context, plans), ofPackages(plans));
    complete(folder, context);
    return { id: run, says: `${files} files copied` };
  },
  async restore(id, plans, context) {
    const folder = folderOf(store(context), id);
    await waitForLocks(context, anyLockHolder);
    const newPaths = await pathsAtFirstTry(folder, context, plans, () => releaseReserve(folder));
    const outcome = await restoreSaved(context, folder, id, newPaths);
    await afterRestore(context, [outcome]);
    return describeOutcome([outcome]);
  },
  async discard(id, context) {
    discardFolder(folderOf(store(context), id));
  },
  async list(context) {
    return listStore(store(context));
  },
  async bytes(id, context) {
    return folderBytes(folderOf(store(context), id));
  },
};
