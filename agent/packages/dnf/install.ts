// The change itself: the host's own dnf installs the plan from the local repository; and what finishes it after a kill.
import * as fs from 'node:fs';
import { join } from 'node:path';
import type { RunResult } from '#manifests/platform/process';
import { type RpmEntry, readRpmEntries } from '../../inventory/index.ts';
import { hostCommand, lastWords } from '../host.ts';
import { waitForLocks } from '../locks.ts';
import type { HostContext, InstallOutcome, InstallPlan } from '../system.ts';
import { auditRpm, forgetTransaction, interrupted, mendDatabase, noteTransaction } from './database.ts';
import { rpmLockHolder } from './locks.ts';
import { changeArguments, nevra, simulate, type Wanted } from './plan.ts';
import { cachedOptions, type DnfFolder, layOut } from './repository.ts';

const LIMITS = {
  /** For one transaction with its scripts. */
  installMs: 60 * 60 * 1000,
  /** Kept of what dnf and the scripts print. */
  outputBytes: 4 * 1024 * 1024,
  /** Of this, the end that goes into the journal and the result. */
  reportedCharacters: 20_000,
} as const;

type Changes = InstallPlan['changes'];

function text(result: RunResult): string {
  const said = `${result.stdout}${result.stderr === '' ? '' : `\n${result.stderr}`}`.trim();
  return said.length <= LIMITS.reportedCharacters ? said : `[…]${said.slice(-LIMITS.reportedCharacters)}`;
}

const entriesOf = async (context: HostContext) => (await readRpmEntries(context.root)) ?? [];

/** The changes that the database does not show as done: the new version there, and no other unless several may be. */
function remaining(entries: readonly RpmEntry[], changes: Changes): Changes {
  return changes.filter(({ name, arch, to }) => {
    const there = entries.filter((entry) => entry.name === name && entry.arch === arch);
    if (to === null) return there.length > 0;
    const done = there.find((entry) => entry.version === to);
    return done === undefined || (there.length > 1 && !done.installOnly);
  });
}

const wantedOf = (changes: Changes): Wanted[] =>
  changes.flatMap(({ name, arch, to }) => (to === null ? [] : [{ name, arch, to }]));

/** `  Upgrading  : …` of dnf 4, `[3/8] Upgrading …` of dnf 5. */
const PROGRESS =
  /^ +(?:Upgrading|Installing|Reinstalling|Cleanup|Erasing|Obsoleting|Running scriptlet) *:|^\[\d+\/\d+\] (?:Upgrad|Install|Reinstall|Remov)ing /;

/** Runs dnf for real. It is not stopped by the context's signal: half an installation is worse than a late end. */
function dnfForReal(context: HostContext, dnf: DnfFolder, args: readonly string[]): Promise<RunResult> {
  return hostCommand(context, dnf.program.name, [...cachedOptions(dnf), '-y', '--comment=patchferry', ...args], {
    timeoutMs: LIMITS.installMs,
    outputBytes: LIMITS.outputBytes,
    onOutput: (chunk) => {
      const line = chunk.split('\n').findLast((part) => PROGRESS.test(part));
      if (line !== undefined) context.onProgress?.(line.trim().replace(/\s+/g, ' '));
    },
  });
}

/** The changes that these patches name; what they need besides is dnf's to find, within the plan. */
function goalsOf(plan: InstallPlan, only: ReadonlySet<string> | undefined): Changes {
  const upgrades = plan.changes.filter(({ to }) => to !== null);
  if (only === undefined) return upgrades;
  const named = new Set(plan.items.filter(({ patch }) => only.has(patch)).map(({ name, arch }) => `${name}:${arch}`));
  return upgrades.filter(({ name, arch }) => named.has(`${name}:${arch}`));
}

/** What a simulation would do that the plan does not say. */
function beyondPlan(plan: InstallPlan, result: Extract<Awaited<ReturnType<typeof simulate>>, { ok: true }>): string[] {
  const { installs, removals, downgrades } = result.transaction;
  const planned = new Set(plan.changes.map(({ name, to }) => `${name}=${to ?? ''}`));
  const removed = new Set(plan.removals.map(({ name, version }) => `${name}=${version}`));
  return [
    ...installs
      .filter(({ name, version }) => !planned.has(`${name}=${version}`))
      .map(({ name, version }) => `install ${name} ${version}`),
    ...removals.filter(({ name, version }) => !removed.has(`${name}=${version}`)).map(({ name }) => `remove ${name}`),
    ...downgrades.map(({ name, version }) => `downgrade ${name} ${version}`),
  ];
}

/** See PackageSystem.install. @throws packages.locked, packages.payload-missing, packages.vendor-signature before anything changes */
export async function installDnf(plan: InstallPlan, context: HostContext, only?: ReadonlySet<string>): Promise<InstallOutcome> {
  await waitForLocks(context, rpmLockHolder);
  const cut = interrupted(context);
  if (cut !== undefined) await mendDatabase(context);
  const goals = goalsOf(plan, only);
  let entries = await entriesOf(context);
  let open = remaining(entries, goals);
  if (open.length === 0 && cut === undefined)
    return { ok: true, says: 'everything of the plan is installed already', output: '' };
  context.signal.throwIfAborted();
  const needed = new Set(plan.items.map(({ repository }) => repository));
  const dnf = await layOut(context, needed, plan.payloads, plan.removals.length === 0);
  let output = '';
  if (cut !== undefined) {
    const again = await installAnew(context, dnf, plan, cut, entries);
    if (again !== undefined && again.code !== 0) {
      const says = `what was interrupted could not be installed anew: ${lastWords(again, 400)}`;
      return { ok: false, says, output: text(again), broken: cut.map(({ name }) => name) };
    }
    output = again === undefined ? '' : text(again);
    entries = await entriesOf(context);
    open = remaining(entries, goals);
  }
  if (open.length === 0) {
    forgetTransaction(context);
    return { ok: true, says: 'the interrupted installation is finished', output };
  }

  const erasing = plan.removals.length > 0;
  // Only what was approved is named: what comes along is then noted by dnf as a dependency.
  const items = new Set(plan.items.map(({ name, arch }) => `${name}:${arch}`));
  const approved = open.filter(({ name, arch }) => items.has(`${name}:${arch}`));
  const wanted = wantedOf(approved.length > 0 ? approved : open);
  const again = await simulate(context, dnf, wanted, entries, erasing);
  const beyond = again.ok ? beyondPlan(plan, again) : [again.says];
  if (!again.ok || beyond.length > 0) {
    return { ok: false, says: `it would change more than was planned: ${beyond.join(', ').slice(0, 400)}`, output };
  }
  const along = again.transaction.installs.map(({ name, arch, version }) => ({ name, arch, from: null, to: version }));
  noteTransaction(context, along);
  const result = await dnfForReal(context, dnf, changeArguments(wanted, entries, erasing));
  const after = await entriesOf(context);
  const left = remaining(after, [...goals, ...along]).map(({ name }) => name);
  // A transaction that failed in an orderly way has told so and is over; only one that was cut leaves its note.
  const ended = !result.timedOut && result.signal === null && result.code !== null && result.code < 128;
  if (ended && remaining(after, along).every((change) => !isDoubled(after, change))) forgetTransaction(context);
  const failed = (says: string): InstallOutcome => ({ ok: false, says, output: text(result), broken: [...new Set(left)] });
  if (result.timedOut) return failed(`dnf did not end within ${LIMITS.installMs / 60_000} minutes`);
  if (result.code !== 0) return failed(`dnf ended with ${result.code ?? result.signal}: ${lastWords(result, 400)}`);
  if (left.length > 0) return failed(`not installed after dnf ended well: ${left.join(', ').slice(0, 400)}`);
  return { ok: true, says: `${goals.length} packages changed`, output: text(result) };
}

function isDoubled(entries: readonly RpmEntry[], { name, arch }: Changes[number]): boolean {
  const there = entries.filter((entry) => entry.name === name && entry.arch === arch);
  return there.length > 1 && there.some(({ installOnly }) => !installOnly);
}

/**
 * Installs once more what a cut transaction had installed already: which of its scripts ran, and whether the last of its files were
 * written, nobody knows. Undefined when nothing of it had come that far.
 */
async function installAnew(
  context: HostContext,
  dnf: DnfFolder,
  plan: InstallPlan,
  cut: Changes,
  entries: readonly RpmEntry[],
): Promise<RunResult | undefined> {
  const planned = new Set(plan.changes.map(({ name, arch, to }) => `${name}:${arch}=${to}`));
  const done = wantedOf(cut).filter(
    ({ name, arch, to }) =>
      planned.has(`${name}:${arch}=${to}`) &&
      entries.some((entry) => entry.name === name && entry.arch === arch && entry.version === to),
  );
  if (done.length === 0) return undefined;
  return dnfForReal(context, dnf, ['reinstall', ...done.map(nevra)]);
}

/**
 * See PackageSystem.repair: rpm's own means, then once more what the cut transaction of this run had installed, where its packages
 * are still in the run's repository.
 */
export async function repairDnf(context: HostContext): Promise<{ ok: boolean; says: string }> {
  await waitForLocks(context, rpmLockHolder);
  const before = await auditRpm(context);
  if (before.length === 0) return { ok: true, says: 'the package database is healthy' };
  await mendDatabase(context);
  const cut = interrupted(context);
  if (cut !== undefined && (await finishCut(context, cut))) forgetTransaction(context);
  const after = await auditRpm(context);
  const says = after.length === 0 ? `repaired: ${before.join('; ')}` : `still broken: ${after.join('; ')}`;
  return { ok: after.length === 0, says: says.slice(0, 2_000) };
}

/** True when nothing of the cut transaction is left half-way. */
async function finishCut(context: HostContext, cut: Changes): Promise<boolean> {
  const entries = await entriesOf(context);
  const there = wantedOf(cut).filter(({ name, arch, to }) =>
    entries.some((entry) => entry.name === name && entry.arch === arch && entry.version === to),
  );
  if (there.length === 0) return true;
  const folder = join(context.workFolder, 'dnf/repositories');
  const files = fs.existsSync(folder) ? fs.readdirSync(folder, { recursive: true, encoding: 'utf8' }) : [];
  const packages = there.flatMap(({ name, arch, to }) => {
    const ending = `${name}-${to.replace(/^\d+:/, '')}.${arch}.rpm`;
    const file = files.find((path) => path.split('/').at(-1) === ending);
    return file === undefined ? [] : [join(folder, file)];
  });
  if (packages.length < there.length) return false;
  const inside = packages.map((path) => (context.root === '/' ? path : path.slice(context.root.length)));
  // rpm checks the signature of each with the keys it trusts (`_pkgverify_level`), as it did the first time.
  const result = await hostCommand(context, 'rpm', ['-U', '--replacepkgs', '--replacefiles', ...inside], {
    timeoutMs: LIMITS.installMs,
    outputBytes: LIMITS.outputBytes,
  });
  if (result.code !== 0)
    context.log.warn({ stderr: result.stderr.slice(0, 500) }, 'what was interrupted could not be installed anew');
  return result.code === 0;
}
