// Room for an installation: payloads that have to be there, bytes and inodes on every mount. The same for all package systems.
import * as fs from 'node:fs';
import { formatBytes } from '#manifests/platform/progress';
import { reach } from './host.ts';
import type { HostContext, InstallPlan, Precheck } from './system.ts';

/** Inodes that stay free on every mount. */
const SPARE_INODES = 1_000;

/** What is written below one folder. */
export interface Need {
  readonly folder: string;
  readonly bytes: number;
  readonly inodes: number;
}

/** Bytes and inodes on each mount that is written to, and that it can be written to at all. */
export function checkNeeds(context: Pick<HostContext, 'root'>, needs: readonly Need[], freeBytes: number): Precheck[] {
  const byMount = new Map<number, { folders: string[]; path: string; bytes: number; inodes: number }>();
  for (const { folder, bytes, inodes } of needs) {
    const path = reach(context, folder);
    const stat = fs.statSync(path, { throwIfNoEntry: false });
    if (stat === undefined) continue;
    const mount = byMount.get(stat.dev) ?? { folders: [], path, bytes: 0, inodes: 0 };
    mount.folders.push(folder);
    mount.bytes += bytes;
    mount.inodes += inodes;
    byMount.set(stat.dev, mount);
  }
  const checks: Precheck[] = [];
  for (const { folders, path, bytes, inodes } of byMount.values()) {
    const where = folders.join(' ');
    let writable = true;
    try {
      fs.accessSync(path, fs.constants.W_OK);
    } catch {
      writable = false;
    }
    checks.push({
      name: `writable ${where}`,
      ok: writable,
      retryLater: false,
      says: writable ? 'writable' : `${where} cannot be written to (read-only file system?)`,
    });
    const { bavail, bsize, ffree, files } = fs.statfsSync(path);
    const free = bavail * bsize;
    const wanted = bytes + freeBytes;
    checks.push({
      name: `room ${where}`,
      ok: free >= wanted,
      retryLater: false,
      says: `${formatBytes(free)} free, ${formatBytes(bytes)} needed and ${formatBytes(freeBytes)} to stay free`,
    });
    if (files === 0) continue; // btrfs has no fixed number of inodes
    checks.push({
      name: `inodes ${where}`,
      ok: ffree >= inodes + SPARE_INODES,
      retryLater: false,
      says: `${ffree} inodes free, ${inodes + SPARE_INODES} needed`,
    });
  }
  return checks;
}

/** Whether every payload of the plan is there in its full length (its hash was checked when it came, the package manager checks it again). */
export function checkPayloads(context: HostContext, plan: InstallPlan): Precheck {
  const missing = plan.payloads.filter(
    ({ sha256, size }) => fs.statSync(context.payloadPath(sha256), { throwIfNoEntry: false })?.size !== size,
  );
  const says =
    missing.length === 0 ? `${plan.payloads.length} there` : `${missing.length} missing, first ${missing[0]?.path ?? ''}`;
  return { name: 'payloads', ok: missing.length === 0, says, retryLater: true };
}
