// The distribution's own updaters, by systemd's own words: whether one of them would race this agent, switching it off, and giving
// it back as it was. What is written down before each act is in service/updaters.ts.
import { type Ask, askHost } from './services.ts';

/** Timers that install by themselves, and the service that does so at shutdown; of Debian, Ubuntu, and Red Hat's family. */
const UPDATER_UNITS = [
  'apt-daily.timer',
  'apt-daily-upgrade.timer',
  'unattended-upgrades.service',
  'dnf-automatic.timer',
  'dnf-automatic-download.timer',
  'dnf-automatic-install.timer',
  'dnf5-automatic.timer',
  'yum-cron.service',
] as const;

const SYSTEMCTL_MS = 30_000;

/** A unit as systemd has it (`systemctl show`). */
export interface UpdaterUnit {
  readonly unit: string;
  /** `enabled`, `disabled`, `static`, `masked`, …: `UnitFileState`. */
  readonly file: string;
  /** `active`, `inactive`, …: `ActiveState`. */
  readonly active: string;
}

/** Blocks of `Id=`, `LoadState=`, `UnitFileState=`, `ActiveState=`; units that are not there are left out. */
function parseUnits(printed: string): UpdaterUnit[] {
  return printed.split(/\n\s*\n/).flatMap((block) => {
    const field = (name: string) => new RegExp(`^${name}=(.*)$`, 'm').exec(block)?.[1] ?? '';
    const there = field('LoadState') === 'loaded' || field('LoadState') === 'masked';
    return there ? [{ unit: field('Id'), file: field('UnitFileState'), active: field('ActiveState') }] : [];
  });
}

/** Whether it would install something by itself: it runs now, or starts at boot. */
export function races({ file, active }: UpdaterUnit): boolean {
  return active === 'active' || active === 'activating' || file === 'enabled' || file === 'enabled-runtime';
}

/** The updaters of this host; none where systemd does not run. */
export async function findUpdaters(ask: Ask = askHost): Promise<UpdaterUnit[]> {
  const properties = ['Id', 'LoadState', 'UnitFileState', 'ActiveState'].map((name) => `--property=${name}`);
  const said = await ask('systemctl', ['show', ...properties, '--', ...UPDATER_UNITS], SYSTEMCTL_MS);
  return said?.code === 0 ? parseUnits(said.stdout) : [];
}

async function stateOf(unit: string, ask: Ask): Promise<UpdaterUnit | undefined> {
  return (await findUpdaters(ask)).find((one) => one.unit === unit);
}

/**
 * Switches one off, so that no upgrade of its package switches it on again (`mask`). A timer stops at once; an upgrade that a service
 * has begun is let to end. @returns why it is not off; undefined when it is
 */
export async function switchOff(unit: string, ask: Ask = askHost): Promise<string | undefined> {
  const timer = unit.endsWith('.timer');
  // before it is masked: a timer whose unit vanishes while it runs counts as failed, and the whole system as degraded
  if (timer) await ask('systemctl', ['stop', '--', unit], SYSTEMCTL_MS);
  const masked = await ask('systemctl', ['mask', '--', unit], SYSTEMCTL_MS);
  // a unit file of the administrator's own below /etc cannot be masked
  const said = masked?.code === 0 ? masked : await ask('systemctl', ['disable', '--', unit], SYSTEMCTL_MS);
  const state = await stateOf(unit, ask);
  const off = state === undefined || !(timer ? races(state) : state.file.startsWith('enabled'));
  return off ? undefined : `${unit} is still ${state.file} and ${state.active}: ${said?.stderr.trim().slice(-300) ?? ''}`;
}

/** Puts one back to what it was. @returns why it is not; undefined when it is, or is not on the host any more */
export async function switchBack(before: UpdaterUnit, ask: Ask = askHost): Promise<string | undefined> {
  const { unit, file, active } = before;
  let said = await ask('systemctl', ['unmask', '--', unit], SYSTEMCTL_MS);
  let state = await stateOf(unit, ask);
  if (state === undefined) return undefined;
  if (file === 'enabled' && state.file !== 'enabled') said = await ask('systemctl', ['enable', '--', unit], SYSTEMCTL_MS);
  if (active === 'active') said = await ask('systemctl', ['start', '--', unit], SYSTEMCTL_MS);
  state = await stateOf(unit, ask);
  const back = state === undefined || (state.file === file && (active !== 'active' || state.active === 'active'));
  return back
    ? undefined
    : `${unit} is ${state?.file} and ${state?.active}, it was ${file} and ${active}: ${said?.stderr.trim().slice(-300) ?? ''}`;
}
