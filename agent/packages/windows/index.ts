// Installers of Windows: packages of Windows Installer (msi), installers of vendors (exe), updates of Windows itself (msu), by their
// real command lines and exit codes. Written from Microsoft's documentation and recorded output; not run on Windows.
import type { RunResult } from '#manifests/platform/process';
import { parseRegQuery, readWindowsPackages } from '../../inventory/index.ts';
import { type Execute, type InstallerKind, type InstallerSays, installerSystem } from '../installers.ts';

/** Exit codes of msiexec.exe that mean something else than "it failed" (Microsoft: "MsiExec.exe and InstMsi.exe error messages"). */
const DONE: Readonly<Record<number, InstallerSays>> = {
  0: { kind: 'done', says: 'installed' },
  3010: { kind: 'reboot', says: 'installed; the host has to start anew (3010)' },
  1641: { kind: 'reboot', says: 'installed; the installer has begun a restart (1641)' },
  1618: { kind: 'busy', says: 'another installation is in progress (1618)' },
};

/** What the codes say that people meet. */
const FAILED: Readonly<Record<number, string>> = {
  1602: 'somebody cancelled it',
  1603: 'a fatal error; its log says which',
  1619: 'the package could not be opened',
  1620: 'it is no package of Windows Installer',
  1624: 'a transform could not be applied',
  1625: "this host's policy forbids it",
  1633: 'it is not for this kind of processor',
  1638: 'another version of the product is installed',
  1642: 'the product that it would patch is not there',
  // wusa.exe gives results of the update agent (WU_E_… of wuerror.h)
  0x80240017: 'it does not apply to this host',
  1058: 'the update service is disabled',
};
/** WU_S_ALREADY_INSTALLED */
const ALREADY = 0x00240006;

function read({ code, stdout, stderr }: RunResult): InstallerSays {
  const known = code === null ? undefined : DONE[code];
  if (known !== undefined) return known;
  if (code === ALREADY) return { kind: 'done', says: 'it was installed already' };
  const why = (code === null ? undefined : FAILED[code]) ?? (stderr.trim() || stdout.trim()).slice(-500);
  return { kind: 'failed', says: `it ended with ${code}${why === '' ? '' : `: ${why}`}` };
}

/** The script is fixed; the file comes by the environment, so that no name is ever read as code. */
const SIGNATURE = '(Get-AuthenticodeSignature -LiteralPath $env:PATCHFERRY_FILE).Status.ToString()';

async function signature(file: string, execute: Execute): Promise<string | undefined> {
  const args = ['-NoProfile', '-NonInteractive', '-Command', SIGNATURE];
  const { stdout, stderr } = await execute('powershell', args, { PATCHFERRY_FILE: file });
  const status = stdout.trim();
  return status === 'Valid' ? undefined : `Authenticode says ${status || stderr.trim().slice(-200) || 'nothing'}`;
}

const IN_PROGRESS = String.raw`HKLM\SOFTWARE\Microsoft\Windows\CurrentVersion\Installer\InProgress`;

/** An installation that was cut off leaves this key; Windows Installer takes it back or finishes it at its next start. */
async function audit(execute: Execute): Promise<string[]> {
  const { code, stdout } = await execute('reg', ['query', IN_PROGRESS]);
  return code === 0 && parseRegQuery(stdout).size > 0 ? ['an installation of Windows Installer is not finished'] : [];
}

const common = {
  platform: 'win32' as const,
  read,
  signature,
  audit,
  installed: (execute: Execute) =>
    readWindowsPackages(async (command, args) => {
      const { code, stdout } = await execute(command, args);
      return code === 0 ? stdout : undefined;
    }),
};

export const msiKind: InstallerKind = {
  ...common,
  format: 'msi',
  ending: '.msi',
  command: (file, log, extra) => ['msiexec', '/i', file, '/qn', '/norestart', '/l*v', log, ...extra],
};

export const exeKind: InstallerKind = {
  ...common,
  format: 'exe',
  ending: '.exe',
  // every vendor has other words for "quietly": they are in the patch's signed description
  command: (file, _log, extra) => [file, ...extra],
};

export const msuKind: InstallerKind = {
  ...common,
  format: 'msu',
  ending: '.msu',
  command: (file, log) => ['wusa', file, '/quiet', '/norestart', `/log:${log}`],
};

export const msi = installerSystem(msiKind);
export const exe = installerSystem(exeKind);
export const msu = installerSystem(msuKind);
