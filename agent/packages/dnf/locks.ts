// Who holds the locks of rpm and dnf. Looks only; a lock is never taken away from its holder.
import * as fs from 'node:fs';
import { readFileBounded } from '#manifests/platform/files';
import { reach } from '../host.ts';
import { commandOf, type LockHolder, lockHolder } from '../locks.ts';
import type { HostContext } from '../system.ts';

/** rpm's own lock, where distributions keep the database: held for writing while a transaction runs. */
const RPM_LOCKS = ['/var/lib/rpm/.rpm.lock', '/usr/lib/sysimage/rpm/.rpm.lock'] as const;
/** dnf 5's, held from before it asks until it is done. */
const DNF5_LOCKS = ['/var/lib/dnf/system-repo.lock'] as const;
/** dnf 4's, a file with the number of its process; dnf removes one whose process is gone. */
const DNF_LOCKS = ['/var/lib/dnf/rpmdb_lock.pid', '/var/run/dnf/rpmdb_lock.pid'] as const;

/** The first holder, or undefined when all are free. */
export function rpmLockHolder(context: Pick<HostContext, 'root'>): LockHolder | undefined {
  for (const file of DNF_LOCKS) {
    const text = readFileBounded(reach(context, file), 100);
    const pid = Number(text === undefined ? Number.NaN : Buffer.from(text).toString('latin1').trim());
    if (!Number.isInteger(pid) || pid <= 0 || !fs.existsSync(`/proc/${pid}`)) continue;
    const command = commandOf(pid);
    // A number of long ago may be another program's today.
    if (/^(?:dnf|yum|python|microdnf|PackageKit)/i.test(command)) return { file, pid, command };
  }
  return lockHolder(context, [...DNF5_LOCKS, ...RPM_LOCKS]);
}

/** The first holder of a lock of any package manager of this host. */
export function anyLockHolder(context: Pick<HostContext, 'root'>): LockHolder | undefined {
  return lockHolder(context) ?? rpmLockHolder(context);
}
