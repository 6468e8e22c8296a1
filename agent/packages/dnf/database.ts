// The health of an RPM database, and what puts it right after a kill. What this agent was about to do is in a note beside the
// run's repositories, written before dnf starts and removed when all of it is done: rpm itself does not know that it was cut.
import * as fs from 'node:fs';
import { dirname, join } from 'node:path';
import { readFileBounded, syncFolder, writeFileAtomic } from '#manifests/platform/files';
import type { RunResult } from '#manifests/platform/process';
import { type RpmEntry, readRpmEntries } from '../../inventory/index.ts';
import { hostCommand, lastWords, reach } from '../host.ts';
import type { HostContext, InstallPlan } from '../system.ts';

const LIMITS = {
  auditMs: 300_000,
  repairMs: 30 * 60 * 1000,
  outputBytes: 16 * 1024 * 1024,
  noteBytes: 16 * 1024 * 1024,
} as const;

type Changes = InstallPlan['changes'];

const noteOf = (context: HostContext) => join(context.workFolder, 'dnf/transaction.json');

/** Notes what dnf is about to do. */
export function noteTransaction(context: HostContext, changes: Changes): void {
  const known = interrupted(context) ?? [];
  const key = ({ name, arch }: Changes[number]) => `${name}:${arch}`;
  const now = new Set(changes.map(key));
  const all = [...known.filter((change) => !now.has(key(change))), ...changes];
  writeFileAtomic(noteOf(context), JSON.stringify({ version: 1, changes: all }), { mode: 0o600 });
}

/** All of it is done, or taken back. */
export function forgetTransaction(context: HostContext): void {
  fs.rmSync(noteOf(context), { force: true });
  if (fs.existsSync(dirname(noteOf(context)))) syncFolder(dirname(noteOf(context)));
}

/** What was begun and not finished, or undefined. */
export function interrupted(context: HostContext): Changes | undefined {
  const bytes = readFileBounded(noteOf(context), LIMITS.noteBytes);
  if (bytes === undefined) return undefined;
  return (JSON.parse(Buffer.from(bytes).toString('utf8')) as { changes: Changes }).changes;
}

/** Packages of which one version may be there and several are, by name and architecture, oldest first. */
export function doubled(entries: readonly RpmEntry[]): RpmEntry[][] {
  const groups = Map.groupBy(
    entries.filter(({ installOnly }) => !installOnly),
    ({ name, arch }) => `${name}:${arch}`,
  );
  return [...groups.values()].filter((group) => group.length > 1);
}

/** See PackageSystem.audit. */
export async function auditRpm(context: HostContext): Promise<string[]> {
  const found: string[] = [];
  const open = interrupted(context);
  if (open !== undefined)
    found.push(
      `an installation was interrupted (${open
        .map(({ name }) => name)
        .join(', ')
        .slice(0, 300)})`,
    );
  const verify = await hostCommand(context, 'rpmdb', ['--verifydb'], { timeoutMs: LIMITS.auditMs });
  // Where another package manager is at work its lock says so; that is no damage.
  if (verify.code !== 0 && !isLocked(verify)) found.push(`rpmdb --verifydb: ${lastWords(verify, 500)}`);
  let entries: RpmEntry[];
  try {
    entries = (await readRpmEntries(context.root)) ?? [];
  } catch (error) {
    return [...found, (error as Error).message];
  }
  for (const [first, ...rest] of doubled(entries)) {
    const versions = [first, ...rest].map((entry) => entry?.version).join(' and ');
    found.push(`${first?.name}:${first?.arch} is there twice (${versions})`);
  }
  // Dependencies alone: files that administrators changed are no fault of the database.
  const dependencies = await hostCommand(context, 'rpm', ['-Va', '--nofiles', '--noscripts'], {
    timeoutMs: LIMITS.auditMs,
    outputBytes: LIMITS.outputBytes,
  });
  const unmet = dependencies.stdout
    .split('\n')
    .filter((line) => /^(?:Unsatisfied dependencies|\s+\S.* is needed by)/.test(line));
  if (unmet.length > 0) found.push(unmet.join(' ').replace(/\s+/g, ' ').slice(0, 500));
  return found;
}

const isLocked = ({ stderr }: RunResult) => stderr.includes('transaction lock');

/**
 * Puts right what rpm alone can: a damaged index is rebuilt, of packages that stand there twice the older goes as the cut
 * transaction would have had it (with its scripts, which see that a newer one is there), and half-written files are removed.
 */
export async function mendDatabase(context: HostContext): Promise<void> {
  const verify = await hostCommand(context, 'rpmdb', ['--verifydb'], { timeoutMs: LIMITS.auditMs });
  if (verify.code !== 0 && !isLocked(verify))
    await hostCommand(context, 'rpmdb', ['--rebuilddb'], { timeoutMs: LIMITS.repairMs });
  const entries = (await readRpmEntries(context.root)) ?? [];
  const older = doubled(entries).flatMap((group) => group.slice(0, -1));
  for (const { name, version, arch } of older) {
    const result = await hostCommand(context, 'rpm', ['-e', '--nodeps', `${name}-${version}.${arch}`], {
      timeoutMs: LIMITS.repairMs,
    });
    if (result.code !== 0) context.log.warn({ name, version, stderr: result.stderr.slice(0, 500) }, 'the older version stays');
  }
  await removeHalfWritten(context, [...older.map(({ name }) => name), ...(interrupted(context) ?? []).map(({ name }) => name)]);
}

/** rpm writes `FILE;5f3c9a01` and renames it; what a kill left of these belongs to nobody. */
async function removeHalfWritten(context: HostContext, names: readonly string[]): Promise<void> {
  if (names.length === 0) return;
  const listed = await hostCommand(context, 'rpm', ['-ql', ...new Set(names)], {
    timeoutMs: LIMITS.auditMs,
    outputBytes: LIMITS.outputBytes,
  });
  const paths = new Set(listed.stdout.split('\n').filter((line) => line.startsWith('/')));
  for (const folder of new Set([...paths].map((path) => dirname(path)))) {
    let inside: string[];
    try {
      inside = fs.readdirSync(reach(context, folder));
    } catch {
      continue;
    }
    for (const name of inside) {
      const base = /^(.+);[0-9a-f]{8}$/.exec(name)?.[1];
      if (base === undefined || !paths.has(join(folder, base))) continue;
      const path = reach(context, join(folder, name));
      if (!fs.lstatSync(path).isDirectory()) fs.unlinkSync(path);
    }
  }
}
