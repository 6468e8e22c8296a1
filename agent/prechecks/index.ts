// The look at a host before anything is installed on it, and the bounded list of what it may put right by itself: the one way in of
// this station. What belongs to a package system (its database, room for its packages, its locks) is that system's to say.
import type { FixName } from '#manifests/schema';
import type { FixOutcome } from '../packages/index.ts';
import type { HostCheck, HostLook } from './check.ts';
import { checkKernel, checkLoad, checkPower, checkReboot, checkRoom } from './machine.ts';
import { checkRepositories } from './repositories.ts';
import { checkByScript } from './script.ts';
import { checkClock, checkLine, startTimeService, vacuumJournal } from './services.ts';
import { findUpdaters, races } from './updaters.ts';

export type { HostCheck, HostLook } from './check.ts';
export { findUpdaters, races, switchBack, switchOff, type UpdaterUnit } from './updaters.ts';

/** Everything that is looked at; scripts last, one after the other. Changes nothing. */
export async function checkHost(look: HostLook, signal: AbortSignal): Promise<HostCheck[]> {
  const repositories = checkRepositories(look);
  const checks = [
    ...checkRoom(look),
    checkReboot(look),
    checkKernel(look),
    await checkClock(look),
    ...(repositories === undefined ? [] : [repositories]),
    checkPower(look),
    checkLine(look),
    checkLoad(look),
    await checkUpdaters(),
  ];
  for (const script of look.policy.scripts ?? []) checks.push(await checkByScript(script, look, signal));
  return checks;
}

/** The distribution's own updater may install while a run does; its lock is waited for, so this is only told. */
async function checkUpdaters(): Promise<HostCheck> {
  const racing = (await findUpdaters()).filter(races).map(({ unit }) => unit);
  return {
    name: 'other updaters',
    ok: racing.length === 0,
    blocks: false,
    says: racing.length === 0 ? 'none is switched on' : `${racing.join(', ')} may install by itself`,
    retryLater: false,
  };
}

/** The fixes that are the host's; those of a package system are in `PackageSystem.fixes`. */
export const hostFixes: Partial<Readonly<Record<FixName, () => Promise<FixOutcome>>>> = {
  'vacuum-journal': () => vacuumJournal(),
  'start-time-service': () => startTimeService(),
};
