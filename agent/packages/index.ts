// The package systems of this agent: the registry, and the one way in of this station.
import { deb } from './apt/index.ts';
import { archive } from './archive/index.ts';
import { rpm } from './dnf/index.ts';
import { pkg } from './macos/index.ts';
import type { PackageSystem, SystemFormat } from './system.ts';
import { exe, msi, msu } from './windows/index.ts';

export { currentVersion, versionFolder } from './archive/components.ts';
export { runningOf, switchWithServices } from './archive/services.ts';
export { forgetTransaction } from './dnf/database.ts';
export { anyLockHolder } from './dnf/locks.ts';
export { hostCommand, lastWords, reach, seenByHost } from './host.ts';
export { waitForLocks } from './locks.ts';
export * from './system.ts';

/** Every package system by the `format` of the patches it installs. A folder and a line here is all a new one needs. */
export const packageSystems: Readonly<Record<SystemFormat, PackageSystem>> = { deb, rpm, archive, msi, exe, msu, pkg };
