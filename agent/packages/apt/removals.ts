// What goes from a host beyond what a patch replaces: packages that nothing needs any more, and old kernels. Never the kernel that
// runs; never more than apt's own simulation says and was planned.
import * as fs from 'node:fs';
import { join } from 'node:path';
import { nativeArch, readDpkgEntries, readKernels } from '../../inventory/index.ts';
import { hostCommand, lastWords } from '../host.ts';
import { waitForLocks } from '../locks.ts';
import type { FixOutcome, HostContext, InstallOutcome, InstallPlan, NamedVersion } from '../system.ts';
import { parseSimulation } from './output.ts';
import { type AptFolder, aptOptions, layOut, runApt } from './repository.ts';

const REMOVAL = {
  /** For one removal with its maintainer scripts. */
  removeMs: 15 * 60 * 1000,
  outputBytes: 1024 * 1024,
  /** Kernels that stay beside the running one when old ones go. */
  keptKernels: 2,
} as const;

const KERNEL = /^linux-(?:image|modules|headers)(?:-extra|-unsigned)?-(\d\S*?)(?:-unsigned)?$/;

/** The kernel release that a package belongs to: `6.1.0-18-amd64` of `linux-image-6.1.0-18-amd64`; undefined for others. */
export function kernelReleaseOf(name: string): string | undefined {
  return KERNEL.exec(name)?.[1];
}

/** Whether taking this package away would take files of the running kernel. */
export function belongsToKernel(name: string, running: string): boolean {
  const release = kernelReleaseOf(name);
  return release !== undefined && (release === running || running.startsWith(`${release}-`));
}

function named(context: HostContext, removals: readonly { name: string; arch: string | undefined; version: string }[]) {
  const entries = readDpkgEntries(context.root) ?? [];
  const native = nativeArch(entries) ?? 'amd64';
  return removals.map(({ name, arch, version }): NamedVersion => {
    const entry = entries.find(
      (one) => one.name === name && one.status === 'installed' && (arch === undefined || one.arch === arch),
    );
    return { name, arch: entry?.arch ?? arch ?? native, version };
  });
}

const keyOf = ({ name, arch }: { name: string; arch: string }) => `${name}:${arch}`;

/** What `apt-get autoremove` would take on this host now, or after these arguments of `install`. */
async function unusedAfter(context: HostContext, apt: AptFolder, args: readonly string[]): Promise<NamedVersion[]> {
  const options = ['-s', '-y', '-o', 'APT::Get::AutomaticRemove=true', '-o', 'Debug::NoLocking=true'];
  const result = await runApt(context, apt, 'apt-get', [...options, ...args]);
  return result.code === 0 ? named(context, parseSimulation(result.stdout).removals) : [];
}

/**
 * Packages that policy lets go after these items: that nothing needs once they are in (`new`), or that nothing needs (`all`).
 * What the run itself upgrades stays this time. Never what belongs to the running kernel.
 */
export async function planUnused(
  context: HostContext,
  apt: AptFolder,
  items: readonly string[],
  policy: 'never' | 'new' | 'all' | undefined,
): Promise<NamedVersion[]> {
  if (policy === undefined || policy === 'never') return [];
  const after = await unusedAfter(context, apt, ['install', ...items]);
  const before = new Set(policy === 'all' ? [] : (await unusedAfter(context, apt, ['autoremove'])).map(keyOf));
  const { running } = readKernels(context.root);
  return after.filter((one) => !before.has(keyOf(one)) && !belongsToKernel(one.name, running));
}

/**
 * Removes packages by name after apt's simulation has said that nothing else goes with them. Settings files stay
 * (`remove`, not `purge`), so that what comes again finds them.
 */
async function remove(
  context: HostContext,
  options: readonly string[],
  gone: readonly NamedVersion[],
): Promise<InstallOutcome> {
  const args = ['-y', ...options, 'remove', ...gone.map(keyOf)];
  const simulated = await hostCommand(context, 'apt-get', ['-s', '-o', 'Debug::NoLocking=true', ...args], {
    timeoutMs: REMOVAL.removeMs,
    outputBytes: REMOVAL.outputBytes,
  });
  const allowed = new Set(gone.map(({ name }) => name));
  const { removals, installs } = parseSimulation(simulated.stdout);
  const beyond = [...removals, ...installs].filter(({ name }) => !allowed.has(name));
  if (simulated.code !== 0 || beyond.length > 0) {
    const why =
      beyond.length > 0 ? `${beyond.map(({ name }) => name).join(', ')} would go or come too` : lastWords(simulated, 400);
    return { ok: false, says: `nothing was removed: ${why}`, output: '' };
  }
  const result = await hostCommand(context, 'apt-get', args, { timeoutMs: REMOVAL.removeMs, outputBytes: REMOVAL.outputBytes });
  const left = installedOf(context, gone);
  const names = gone.map(({ name }) => name).join(', ');
  const output = lastWords(result, 4_000);
  return result.code === 0 && left.length === 0
    ? { ok: true, says: `removed ${names}`, output }
    : { ok: false, says: `apt-get ended with ${result.code ?? result.signal}: ${lastWords(result, 300)}`, output };
}

function installedOf(context: HostContext, wanted: readonly NamedVersion[]): NamedVersion[] {
  const there = new Set(
    (readDpkgEntries(context.root) ?? [])
      .filter(({ status }) => status !== 'not-installed' && status !== 'config-files')
      .map(keyOf),
  );
  return wanted.filter((one) => there.has(keyOf(one)));
}

/** See PackageSystem.finish: takes what the plan names as unused and what still is. */
export async function removeUnused(plan: InstallPlan, context: HostContext): Promise<InstallOutcome> {
  const planned = installedOf(context, plan.unused ?? []);
  if (planned.length === 0) return { ok: true, says: '', output: '' };
  await waitForLocks(context);
  const arch = nativeArch(readDpkgEntries(context.root) ?? []) ?? 'amd64';
  const apt = await layOut(context, arch, new Set(), []);
  const unused = new Set((await unusedAfter(context, apt, ['autoremove'])).map(keyOf));
  const { running } = readKernels(context.root);
  const gone = planned.filter((one) => unused.has(keyOf(one)) && !belongsToKernel(one.name, running));
  if (gone.length === 0) return { ok: true, says: 'nothing is unused any more', output: '' };
  return remove(context, apt.options, gone);
}

/** The kernel packages that are neither of the running kernel nor of the newest ones, oldest first. */
export function oldKernels(packages: readonly NamedVersion[], running: string): NamedVersion[] {
  const byName = new Intl.Collator('en', { numeric: true });
  const releases = [
    ...new Set(packages.filter(({ name }) => name.startsWith('linux-image-')).map(({ name }) => kernelReleaseOf(name))),
  ]
    .filter((release) => release !== undefined)
    .toSorted(byName.compare);
  // Where the running kernel is not the host's own (a container), nothing tells which one is needed.
  if (!releases.some((release) => release === running || running.startsWith(`${release}-`))) return [];
  const kept = new Set(releases.slice(-REMOVAL.keptKernels));
  return packages.filter(({ name }) => {
    const release = kernelReleaseOf(name);
    return release !== undefined && releases.includes(release) && !kept.has(release) && !belongsToKernel(name, running);
  });
}

/** The fix `remove-old-kernels`. */
export async function removeOldKernels(context: HostContext): Promise<FixOutcome> {
  const installed = (readDpkgEntries(context.root) ?? []).filter(
    ({ status, selection }) => status === 'installed' && selection !== 'hold',
  );
  const gone = oldKernels(installed, readKernels(context.root).running);
  if (gone.length === 0) return { outcome: 'nothing', says: 'there are no kernels but the running one and the two newest' };
  await waitForLocks(context);
  const folder = join(context.workFolder, 'apt');
  for (const name of ['lists/partial', 'archives/partial']) fs.mkdirSync(join(folder, name), { recursive: true });
  const { ok, says } = await remove(context, aptOptions(context, folder), gone);
  return { outcome: ok ? 'done' : 'failed', says };
}

/** The fix `clean-package-cache`: apt's own cache of downloads, by apt itself and with the host's own settings. */
export async function cleanCache(context: HostContext): Promise<FixOutcome> {
  await waitForLocks(context);
  const result = await hostCommand(context, 'apt-get', ['clean'], { timeoutMs: REMOVAL.removeMs });
  return result.code === 0
    ? { outcome: 'done', says: "apt's cache of downloaded packages is empty" }
    : { outcome: 'failed', says: lastWords(result, 500) };
}
