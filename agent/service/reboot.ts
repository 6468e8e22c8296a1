// Whether the host needs a reboot, by evidence only (trap 5), and asking for one.
import * as fs from 'node:fs';
import { join } from 'node:path';
import { run, runOrThrow } from '#manifests/platform/process';
import type { Inventory } from '#manifests/schema';
import { comparatorFor } from '#manifests/versions';

/** What says that the host needs a reboot, a line each; empty when nothing does. `root` is `/` but in tests. */
export function rebootEvidence({ kernels, facts }: Pick<Inventory, 'kernels' | 'facts'>, root = '/'): string[] {
  const evidence: string[] = [];
  const compare = comparatorFor('deb');
  const newest = kernels.installed.toSorted(compare).at(-1);
  // A running kernel that is not among the installed ones is the machine's that this host (a container) lives on.
  if (newest !== undefined && newest !== kernels.running && kernels.installed.includes(kernels.running)) {
    evidence.push(`kernel ${kernels.running} runs, ${newest} is installed`);
  }
  const replaced = facts['reboot.packages']; // rpm: what needs-restarting names, installed since the start
  if (replaced !== undefined) evidence.push(`only a start brings into use: ${replaced}`);
  const marker = [join(root, 'run/reboot-required'), join(root, 'var/run/reboot-required')].find((path) => fs.existsSync(path));
  if (marker !== undefined) {
    const packages = fs.existsSync(`${marker}.pkgs`) ? fs.readFileSync(`${marker}.pkgs`, 'utf8').slice(0, 2_000) : '';
    const names = [...new Set(packages.split(/\s+/).filter((word) => word !== ''))].slice(0, 20).join(', ');
    evidence.push(`/run/reboot-required is there${names === '' ? '' : ` (${names})`}`);
  }
  return evidence;
}

/** Names of those who work at a terminal here, by the host's own `who`; none where nothing can tell. */
export async function loggedIn(): Promise<string[]> {
  try {
    const { stdout } = await run('who', [], { timeoutMs: 10_000 });
    return [...new Set(stdout.split('\n').flatMap((row) => /^(\S+)/.exec(row)?.[1] ?? []))];
  } catch {
    return [];
  }
}

/** Writes to every terminal of the host. Nobody may be there to read it, and the host may lack `wall`: neither matters. */
export async function notifyUsers(text: string): Promise<void> {
  await run('wall', [text], { timeoutMs: 10_000 }).catch(() => undefined);
}

/** Asks the host's own init to reboot; returns once it was asked. @throws process.failed */
export async function rebootHost(): Promise<void> {
  await runOrThrow('systemctl', ['reboot'], { timeoutMs: 60_000 });
}
