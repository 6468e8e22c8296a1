// What apt would do for the approved packages, by apt's own simulation, and what of it policy and the administrator allow.
import { nativeArch, readDpkgEntries } from '../../inventory/index.ts';
import { admit, type KeptBack } from '../admit.ts';
import { fault, lastWords } from '../host.ts';
import type { HostContext, InstallItem, InstallPlan, NamedVersion, PlannedPayload, PlanPolicy } from '../system.ts';
import { settingsBefore } from './conffiles.ts';
import { type Policy, parsePolicy, parseShow, parseSimulation, type Shown, type Simulated, type Simulation } from './output.ts';
import { planUnused } from './removals.ts';
import { type AptFolder, layOut, runApt } from './repository.ts';
import { bootFolderIsUsed, isKernelPackage } from './room.ts';

/** Packages named in one call of a query, well below the system's limit for arguments. */
const NAMES_PER_CALL = 500;

const keyOf = ({ name, arch }: { name: string; arch: string }) => `${name}:${arch}`;
const argumentOf = ({ name, arch, to }: { name: string; arch: string; to: string }) => `${name}:${arch}=${to}`;

/** Simulates the installation of exactly these versions. */
export async function simulate(
  context: HostContext,
  apt: AptFolder,
  items: readonly { name: string; arch: string; to: string }[],
): Promise<{ ok: true; simulation: Simulation } | { ok: false; says: string }> {
  if (items.length === 0) return { ok: true, simulation: { installs: [], removals: [] } };
  const args = [
    '-s',
    '-y',
    '-o',
    'Dir::Log::Planner=/dev/null',
    '-o',
    'Debug::NoLocking=true',
    'install',
    ...items.map(argumentOf),
  ];
  const result = await runApt(context, apt, 'apt-get', args);
  if (result.code === 0) return { ok: true, simulation: parseSimulation(result.stdout) };
  // "E: Unable to correct problems" alone helps no one: the lines of what is unmet come before it on stdout.
  const unmet = result.stdout.split('\n').filter((line) => /^ \S+.*: (?:Pre)?(?:Depends|Breaks|Conflicts)/.test(line));
  return { ok: false, says: [...unmet.map((line) => line.trim()), lastWords(result)].join(' ').slice(0, 450) };
}

/** The vendor's index (and the host's pins) about these packages. */
async function query(context: HostContext, apt: AptFolder, items: readonly { name: string; arch: string; to: string }[]) {
  const policies = new Map<string, Policy>();
  const shown = new Map<string, Shown>();
  for (let at = 0; at < items.length; at += NAMES_PER_CALL) {
    const some = items.slice(at, at + NAMES_PER_CALL);
    const policy = await runApt(context, apt, 'apt-cache', ['policy', ...some.map(keyOf)]);
    for (const [name, found] of parsePolicy(policy.stdout)) policies.set(name, found);
    const show = await runApt(context, apt, 'apt-cache', ['show', '-a', ...some.map(keyOf)]);
    for (const found of parseShow(show.stdout))
      if (found.sha256 !== undefined) shown.set(argumentOf({ ...found, to: found.version }), found);
  }
  return { policies, shown };
}

/** Why the host's own settings or the vendor's index keep this item from being installed; undefined when nothing does. */
function reasonToKeepBack(item: InstallItem, policy: Policy | undefined, listed: boolean): string | undefined {
  const priority = policy?.priorities.get(item.to);
  if (!listed || priority === undefined) return `the vendor's index in this catalog does not list version ${item.to}`;
  if (priority < 0) return `the host's apt preferences forbid version ${item.to} (priority ${priority})`;
  const { candidate, installed, priorities } = policy ?? {
    candidate: null,
    installed: null,
    priorities: new Map<string, number>(),
  };
  const preferred = candidate === null ? undefined : priorities.get(candidate);
  if (candidate !== item.to && candidate === installed && preferred !== undefined && preferred > priority) {
    return `the host's apt preferences pin it at ${candidate} (priority ${preferred})`;
  }
  return undefined;
}

/** What a set of items leads to beyond itself, and whether policy takes it. */
function judge(
  simulation: Simulation,
  items: readonly InstallItem[],
  policy: PlanPolicy,
): { extras: Simulated[]; objection: string | null } {
  const wanted = new Set(items.map(argumentOf));
  const extras = simulation.installs.filter((install) => !wanted.has(argumentOf(install)));
  const names = (list: readonly { name: string }[]) =>
    list
      .map(({ name }) => name)
      .join(', ')
      .slice(0, 300);
  if (simulation.removals.length > 0 && policy.removals === 'refuse') {
    return { extras, objection: `apt would remove ${names(simulation.removals)}, which policy refuses` };
  }
  if (extras.length > 0 && policy.newDependencies === 'refuse') {
    return { extras, objection: `it needs ${names(extras)}, which is not approved and policy refuses new dependencies` };
  }
  return { extras, objection: null };
}

/** The packages that come from a vendor repository, as the head of the plan names them, with what apt's index says of each. */
function payloadsFor(
  installs: readonly Simulated[],
  items: readonly InstallItem[],
  shown: ReadonlyMap<string, Shown>,
): { newPackages: (NamedVersion & PlannedPayload)[]; payloads: PlannedPayload[]; grows: number; largest: number } {
  const byArgument = new Map(items.map((item) => [argumentOf(item), item]));
  const newPackages: (NamedVersion & PlannedPayload)[] = [];
  const payloads: PlannedPayload[] = [];
  let grows = 0;
  let largest = 0;
  for (const install of installs) {
    const found = shown.get(argumentOf(install));
    const item = byArgument.get(argumentOf(install));
    if (found?.sha256 === undefined || found.path === undefined) {
      throw fault('apt-failed', `apt wants ${argumentOf(install)}, which no signed index lists`, { where: install.name });
    }
    if (item !== undefined && (item.sha256 !== found.sha256 || item.size !== found.size)) {
      throw fault(
        'vendor-mismatch',
        `${argumentOf(install)}: the catalog says ${item.sha256}, the vendor's index ${found.sha256}`,
        {
          where: item.path,
        },
      );
    }
    const payload = { sha256: found.sha256, size: found.size, path: found.path };
    payloads.push(payload);
    if (item === undefined) newPackages.push({ name: install.name, arch: install.arch, version: install.to, ...payload });
    grows += found.installedBytes;
    largest = Math.max(largest, found.installedBytes);
  }
  return { newPackages, payloads, grows, largest };
}

/** The folders that packages with these names are unpacked to; /boot when kernels or their initial RAM disks may be written. */
function touchedFolders(context: HostContext, changed: readonly { name: string }[]): string[] {
  const boot = changed.some(({ name }) => isKernelPackage(name)) || bootFolderIsUsed(context);
  return ['/etc', '/usr', '/var', ...(boot ? ['/boot'] : [])];
}

/** Plans the items with the host's own apt; see PackageSystem.plan. @throws packages.* when apt or the index is at fault */
export async function planApt(items: readonly InstallItem[], policy: PlanPolicy, context: HostContext): Promise<InstallPlan> {
  const entries = readDpkgEntries(context.root) ?? [];
  const present = entries.filter(({ status }) => status !== 'not-installed' && status !== 'config-files');
  const installed = new Map(present.map((entry) => [keyOf(entry), entry]));
  const wanted = items.filter((item) => item.format === 'deb' && installed.get(keyOf(item))?.version !== item.to);
  const keptBack: KeptBack[] = [];
  const empty: InstallPlan = {
    format: 'deb',
    items: [],
    newPackages: [],
    removals: [],
    keptBack,
    payloads: [],
    changes: [],
    refused: null,
    diskBytes: 0,
    touches: [],
  };
  if (wanted.length === 0) return empty;

  const arch = nativeArch(entries) ?? 'amd64';
  const apt = await layOut(context, arch, new Set(wanted.map(({ repository }) => repository)), []);
  const { policies, shown } = await query(context, apt, wanted);
  const possible = wanted.filter((item) => {
    const found = policies.get(item.arch === arch || item.arch === 'all' ? item.name : keyOf(item));
    const says =
      installed.get(keyOf(item))?.selection === 'hold'
        ? 'held by the administrator (apt-mark hold)'
        : reasonToKeepBack(item, found, shown.has(argumentOf(item)));
    if (says !== undefined) keptBack.push({ name: item.name, arch: item.arch, says });
    return says === undefined;
  });

  const groups = Map.groupBy(possible, ({ patch }) => patch);
  const { admitted, keptBack: refusedOnes } = await admit([...groups.values()], async (some) => {
    const result = await simulate(context, apt, some);
    return result.ok ? judge(result.simulation, some, policy).objection : result.says;
  });
  keptBack.push(...refusedOnes);
  if (admitted.length === 0) {
    const says = keptBack.map(({ name, says }) => `${name}: ${says}`).join('; ');
    return { ...empty, refused: { code: 'packages.kept-back', says: says.slice(0, 2_000) } };
  }

  const final = await simulate(context, apt, admitted);
  if (!final.ok) throw fault('apt-failed', `apt took the plan and then refused it: ${final.says}`, { where: apt.folder });
  const { extras } = judge(final.simulation, admitted, policy);
  const about = await query(context, apt, extras);
  const details = payloadsFor(final.simulation.installs, admitted, new Map([...shown, ...about.shown]));
  const oldBytes = final.simulation.installs.map((install) => installed.get(keyOf(install))?.installedBytes ?? 0);
  const removals = final.simulation.removals.map(({ name, arch: named, version }) => {
    const entry = present.find((candidate) => candidate.name === name && (named === undefined || candidate.arch === named));
    return { name, arch: entry?.arch ?? named ?? arch, version };
  });
  const unused = (await planUnused(context, apt, admitted.map(argumentOf), policy.autoremove)).filter(
    ({ name, arch }) => !removals.some((one) => one.name === name && one.arch === arch),
  );
  const changes = [
    ...final.simulation.installs.map(({ name, arch, from, to }) => ({ name, arch, from, to })),
    ...[...removals, ...unused].map(({ name, arch, version }) => ({ name, arch, from: version, to: null })),
  ];
  return {
    format: 'deb',
    items: admitted,
    newPackages: details.newPackages,
    removals,
    keptBack,
    payloads: details.payloads,
    changes,
    ...(unused.length === 0 ? {} : { unused }),
    settings: settingsBefore(context, changes),
    refused: null,
    // What it grows by, and the largest package twice: dpkg unpacks the new files beside the old ones.
    diskBytes: Math.max(0, details.grows - oldBytes.reduce((sum, bytes) => sum + bytes, 0)) + details.largest,
    touches: touchedFolders(context, changes),
  };
}
