// Installing and removing the unit, and asking systemd about it.
import * as fs from 'node:fs';
import { writeFileAtomic } from '#manifests/platform/files';
import { run, runOrThrow } from '#manifests/platform/process';
import { fault } from './agent.ts';
import { UNIT_NAME, UNIT_PATH } from './unit.ts';

const TIMEOUT_MS = 60_000;

/** @throws agent.not-systemd, agent.not-root */
function needSystemd(): void {
  if (!fs.existsSync('/run/systemd/system')) throw fault('not-systemd', 'this host is not run by systemd');
  if (process.getuid?.() !== 0) throw fault('not-root', 'units of the system are installed by root');
}

/** Writes the unit, enables and (re)starts it. @throws agent.not-systemd, agent.not-root, process.failed */
export async function installUnit(text: string): Promise<void> {
  needSystemd();
  writeFileAtomic(UNIT_PATH, text, { mode: 0o644 });
  await runOrThrow('systemctl', ['daemon-reload'], { timeoutMs: TIMEOUT_MS });
  await runOrThrow('systemctl', ['enable', UNIT_NAME], { timeoutMs: TIMEOUT_MS });
  await runOrThrow('systemctl', ['restart', UNIT_NAME], { timeoutMs: TIMEOUT_MS });
}

/** Stops and removes the unit. @returns false when there was none */
export async function removeUnit(): Promise<boolean> {
  needSystemd();
  if (!fs.existsSync(UNIT_PATH)) return false;
  await run('systemctl', ['disable', '--now', UNIT_NAME], { timeoutMs: 31 * TIMEOUT_MS });
  fs.rmSync(UNIT_PATH, { force: true });
  await runOrThrow('systemctl', ['daemon-reload'], { timeoutMs: TIMEOUT_MS });
  return true;
}

/** What systemd says: `active`, `inactive`, `failed`, …; and whether it starts at boot. */
export async function unitState(): Promise<{ installed: boolean; active: string; enabled: string }> {
  if (!fs.existsSync('/run/systemd/system'))
    return { installed: fs.existsSync(UNIT_PATH), active: 'no systemd', enabled: 'no systemd' };
  const ask = async (verb: string) =>
    (await run('systemctl', [verb, UNIT_NAME], { timeoutMs: TIMEOUT_MS })).stdout.trim() || 'unknown';
  return { installed: fs.existsSync(UNIT_PATH), active: await ask('is-active'), enabled: await ask('is-enabled') };
}
