// Flat packages of macOS (pkg) by the system's own `installer` and `pkgutil`. Updates of macOS itself (`softwareupdate`) are left
// alone. Written from the manual pages and recorded output; not run on macOS.
import type { RunResult } from '#manifests/platform/process';
import { readMacPackages } from '../../inventory/index.ts';
import { type Execute, type InstallerKind, type InstallerSays, installerSystem } from '../installers.ts';

/** installer(8) ends with 0 or 1 and says the rest in words: `installer: The install requires restarting now.` */
function read({ code, stdout, stderr }: RunResult): InstallerSays {
  const said = `${stdout}\n${stderr}`;
  if (code === 0) {
    return /requires restarting/.test(said)
      ? { kind: 'reboot', says: 'installed; it wants a restart' }
      : { kind: 'done', says: 'installed' };
  }
  if (/already (?:running|in progress)|another install/i.test(said))
    return { kind: 'busy', says: 'another installation is in progress' };
  const why = said
    .split('\n')
    .findLast((line) => line.startsWith('installer: '))
    ?.slice('installer: '.length);
  return { kind: 'failed', says: `it ended with ${code}: ${why ?? said.trim().slice(-500)}` };
}

/** `Status: signed by a developer certificate issued by Apple for distribution`, or `Status: no signature`. */
async function signature(file: string, execute: Execute): Promise<string | undefined> {
  const { code, stdout, stderr } = await execute('pkgutil', ['--check-signature', file]);
  const status = /^\s*Status: (.*)$/m.exec(stdout)?.[1] ?? stderr.trim().slice(-200);
  return code === 0 && status.startsWith('signed by ') ? undefined : status || 'pkgutil says nothing';
}

export const pkgKind: InstallerKind = {
  format: 'pkg',
  platform: 'darwin',
  ending: '.pkg',
  command: (file) => ['installer', '-pkg', file, '-target', '/', '-verboseR'],
  read,
  signature,
  audit: async () => [],
  installed: (execute) =>
    readMacPackages(async (command, args) => {
      const { code, stdout } = await execute(command, args);
      return code === 0 ? stdout : undefined;
    }),
};

export const pkg = installerSystem(pkgKind);
