// The change itself: the host's own apt installs the plan from the local repository; and what puts dpkg right after a kill.
import * as fs from 'node:fs';
import { join } from 'node:path';
import type { RunResult } from '#manifests/platform/process';
import { type DpkgEntry, nativeArch, readDpkgEntries } from '../../inventory/index.ts';
import { hostCommand, lastWords } from '../host.ts';
import { waitForLocks } from '../locks.ts';
import type { HostContext, InstallOutcome, InstallPlan } from '../system.ts';
import { conffileEnvironment, conffileOptions, conflictsOf } from './conffiles.ts';
import { simulate } from './plan.ts';
import { type AptFolder, aptOptions, layOut } from './repository.ts';

const LIMITS = {
  /** For one installation with its maintainer scripts and triggers. A kernel with a slow disk takes minutes, not an hour. */
  installMs: 60 * 60 * 1000,
  repairMs: 30 * 60 * 1000,
  auditMs: 60_000,
  /** Kept of what apt and dpkg print. */
  outputBytes: 4 * 1024 * 1024,
  /** Of this, the end that goes into the journal and the result. */
  reportedCharacters: 20_000,
  /** apt's own wait for a lock that someone took between our look and its start, in seconds. */
  lockSeconds: 60,
} as const;

function text(result: RunResult): string {
  const said = `${result.stdout}${result.stderr === '' ? '' : `\n${result.stderr}`}`.trim();
  return said.length <= LIMITS.reportedCharacters ? said : `[…]${said.slice(-LIMITS.reportedCharacters)}`;
}

/** dpkg's entry for a package; a package that changes between an architecture and `all` is the same package. */
function entryOf(entries: readonly DpkgEntry[], name: string, arch: string, native: string): DpkgEntry | undefined {
  const own = arch === 'all' || arch === native;
  const fits = (entry: DpkgEntry) => entry.arch === arch || (own && (entry.arch === 'all' || entry.arch === native));
  return entries.find((entry) => entry.name === name && fits(entry));
}

/** The changes of the plan that dpkg's database does not show as done and whole. */
function remaining(context: HostContext, changes: InstallPlan['changes']): InstallPlan['changes'] {
  const entries = (readDpkgEntries(context.root) ?? []).filter(
    ({ status }) => status !== 'not-installed' && status !== 'config-files',
  );
  const native = nativeArch(entries) ?? '';
  return changes.filter(({ name, arch, to }) => {
    const entry = entryOf(entries, name, arch, native);
    if (to === null) return entry !== undefined;
    return entry === undefined || entry.version !== to || entry.status !== 'installed' || entry.flag !== 'ok';
  });
}

/** Runs apt for real. It is not stopped by the context's signal: half an installation is worse than a late end. */
function aptInstall(context: HostContext, apt: AptFolder, args: readonly string[]): Promise<RunResult> {
  const options = [
    '-y',
    '-o',
    `DPkg::Lock::Timeout=${LIMITS.lockSeconds}`,
    ...conffileOptions(context.conffiles).flatMap((option) => ['-o', `Dpkg::Options::=${option}`]),
  ];
  return hostCommand(context, 'apt-get', [...apt.options, ...options, ...args], {
    timeoutMs: LIMITS.installMs,
    outputBytes: LIMITS.outputBytes,
    env: conffileEnvironment(context.conffiles),
    onOutput: (chunk) => {
      const line = chunk.split('\n').findLast((part) => /^(?:Unpacking|Setting up|Removing|Processing)/.test(part));
      if (line !== undefined) context.onProgress?.(line.trim());
    },
  });
}

/** Marks what came in as a dependency as automatic; the run itself worked on a copy of the marks (repository.ts). */
async function markDependencies(context: HostContext, plan: InstallPlan): Promise<void> {
  const open = new Set(remaining(context, plan.changes).map(({ name, arch }) => `${name}:${arch}`));
  const isNew = new Set(
    plan.changes
      .filter(({ from }) => from === null)
      .map(({ name, arch }) => `${name}:${arch}`)
      .filter((key) => !open.has(key)),
  );
  const names = plan.newPackages.map(({ name, arch }) => `${name}:${arch}`).filter((name) => isNew.has(name));
  if (names.length > 0) await hostCommand(context, 'apt-mark', ['auto', ...names], { timeoutMs: LIMITS.auditMs });
}

/** The changes of a plan that these patches name; what they need besides is apt's to find, within the plan. */
function goalsOf(plan: InstallPlan, only: ReadonlySet<string> | undefined): InstallPlan['changes'] {
  if (only === undefined) {
    const last = new Set((plan.unused ?? []).map(({ name, arch }) => `${name}:${arch}`)); // these go at the end (removals.ts)
    return plan.changes.filter(({ name, arch, to }) => to !== null || !last.has(`${name}:${arch}`));
  }
  const named = new Set(plan.items.filter(({ patch }) => only.has(patch)).map(({ name, arch }) => `${name}:${arch}`));
  return plan.changes.filter(({ name, arch }) => named.has(`${name}:${arch}`));
}

/** See PackageSystem.install. @throws packages.locked, packages.payload-missing, packages.vendor-signature before anything changes */
export async function installApt(plan: InstallPlan, context: HostContext, only?: ReadonlySet<string>): Promise<InstallOutcome> {
  await waitForLocks(context);
  const repaired = (await auditApt(context)).length > 0 ? await configure(context) : undefined;
  const goals = goalsOf(plan, only);
  const open = remaining(context, goals);
  if (open.length === 0) {
    await markDependencies(context, plan);
    return { ok: true, says: 'everything of the plan is installed already', output: '' };
  }
  context.signal.throwIfAborted();
  const arch = nativeArch(readDpkgEntries(context.root) ?? []) ?? 'amd64';
  const apt = await layOut(context, arch, new Set(plan.items.map(({ repository }) => repository)), plan.payloads);
  const wanted = open.flatMap(({ name, arch: own, to }) => (to === null ? [] : [{ name, arch: own, to }]));
  const again = await simulate(context, apt, wanted);
  const beyond = again.ok ? beyondPlan(plan, again.simulation) : [again.says];
  if (beyond.length > 0) {
    return {
      ok: false,
      says: `it would change more than was planned: ${beyond.join(', ').slice(0, 400)}`,
      output: repaired ?? '',
    };
  }
  const along = again.ok ? again.simulation.installs : [];
  if (context.conffiles === 'fail') {
    const conflicts = await conflictsOf(context, plan, new Set([...open, ...along].map(({ name }) => name)));
    if (conflicts.length > 0) {
      const files = conflicts.map(({ path }) => path).join(', ');
      const says = `settings files were changed here and in the package, and policy wants a person to look: ${files}`;
      return { ok: false, says: says.slice(0, 2_000), output: '', broken: conflicts.map(({ name }) => name) };
    }
  }
  const named = open.map(({ name, arch: own, to }) => (to === null ? `${name}:${own}-` : `${name}:${own}=${to}`));
  const result = await aptInstall(context, apt, ['install', ...named]);
  const left = remaining(context, [...goals, ...along]).map(({ name }) => name);
  const failed = (says: string): InstallOutcome => ({ ok: false, says, output: text(result), broken: unfinished(context) });
  if (result.timedOut) return failed(`apt-get did not end within ${LIMITS.installMs / 60_000} minutes`);
  if (result.code !== 0) return failed(`apt-get ended with ${result.code ?? result.signal}: ${lastWords(result, 400)}`);
  if (left.length > 0) return failed(`not installed after apt-get ended well: ${left.join(', ').slice(0, 400)}`);
  await markDependencies(context, plan);
  return { ok: true, says: `${goals.length} packages changed`, output: text(result) };
}

/** Packages that dpkg left between two states. */
function unfinished(context: HostContext): string[] {
  return (readDpkgEntries(context.root) ?? [])
    .filter(({ status, flag }) => !['installed', 'not-installed', 'config-files'].includes(status) || flag !== 'ok')
    .map(({ name }) => name);
}

/** What a simulation would do that the plan does not say. */
function beyondPlan(
  plan: InstallPlan,
  simulation: { installs: readonly { name: string; to: string }[]; removals: readonly { name: string }[] },
): string[] {
  const planned = new Set(plan.changes.map(({ name, to }) => `${name}=${to ?? ''}`));
  return [
    ...simulation.installs
      .filter(({ name, to }) => !planned.has(`${name}=${to}`))
      .map(({ name, to }) => `install ${name} ${to}`),
    ...simulation.removals.filter(({ name }) => !planned.has(`${name}=`)).map(({ name }) => `remove ${name}`),
  ];
}

/** Finishes what was unpacked and not configured. Gives back what dpkg said. */
async function configure(context: HostContext): Promise<string> {
  const result = await hostCommand(context, 'dpkg', [...conffileOptions(context.conffiles), '--configure', '-a'], {
    timeoutMs: LIMITS.repairMs,
    env: conffileEnvironment(context.conffiles),
    outputBytes: LIMITS.outputBytes,
  });
  return text(result);
}

/** See PackageSystem.repair: `dpkg --configure -a`, then `apt-get -f install` with the run's own repository and no removals. */
export async function repairApt(context: HostContext): Promise<{ ok: boolean; says: string }> {
  await waitForLocks(context);
  const before = await auditApt(context);
  if (before.length === 0) return { ok: true, says: 'the package database is healthy' };
  await configure(context);
  let after = await auditApt(context);
  if (after.length > 0) {
    const folder = join(context.workFolder, 'apt');
    for (const name of ['lists/partial', 'archives/partial']) fs.mkdirSync(join(folder, name), { recursive: true });
    const sources = join(folder, 'sources.list');
    if (!fs.existsSync(sources)) fs.writeFileSync(sources, '');
    const apt = { folder, repositories: new Map<string, string>(), options: aptOptions(context, folder) };
    await aptInstall(context, apt, ['-o', 'APT::Get::Remove=false', '-f', 'install']);
    after = await auditApt(context);
  }
  const says = after.length === 0 ? `repaired: ${before.join('; ')}` : `still broken: ${after.join('; ')}`;
  return { ok: after.length === 0, says: says.slice(0, 2_000) };
}

/** See PackageSystem.audit: packages that are not whole by dpkg's database, and what `dpkg --audit` finds besides. */
export async function auditApt(context: HostContext): Promise<string[]> {
  const found: string[] = [];
  for (const { name, arch, status, flag } of readDpkgEntries(context.root) ?? []) {
    if (status === 'not-installed' || status === 'config-files' || (status === 'installed' && flag === 'ok')) continue;
    found.push(`${name}:${arch} is ${status}${flag === 'ok' ? '' : ` (${flag})`}`);
  }
  const updates = join(context.root, 'var/lib/dpkg/updates');
  if (fs.existsSync(updates) && fs.readdirSync(updates).some((name) => /^\d+$/.test(name)))
    found.push('dpkg was interrupted (its journal is not empty)');
  const result = await hostCommand(context, 'dpkg', ['--audit'], { timeoutMs: LIMITS.auditMs });
  if (found.length === 0 && result.stdout.trim() !== '') found.push(result.stdout.trim().replace(/\s+/g, ' ').slice(0, 500));
  if (result.code !== 0 && result.stdout.trim() === '') found.push(`dpkg --audit: ${lastWords(result, 500)}`);
  return found;
}
