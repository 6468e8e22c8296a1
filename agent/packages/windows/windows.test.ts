// Installers of Windows over recorded words and codes of its tools; none of it was run on Windows.
import assert from 'node:assert/strict';
import * as fs from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, test } from 'node:test';
import { systemClock } from '#manifests/platform/clock';
import { silentLog } from '#manifests/platform/log';
import type { RunResult } from '#manifests/platform/process';
import type { Catalog } from '#manifests/schema';
import { type Execute, type InstallerKind, installerSystem } from '../installers.ts';
import { pkgKind } from '../macos/index.ts';
import type { HostContext, InstallItem } from '../system.ts';
import { exeKind, msiKind, msuKind } from './index.ts';

const result = (code: number, stdout = '', stderr = ''): RunResult => {
  return { code, signal: null, stdout, stderr, timedOut: false, droppedBytes: 0, durationMs: 1 };
};

test('the real command lines, quiet and without a restart of their own', () => {
  assert.deepEqual(msiKind.command('C:\\w\\a.msi', 'C:\\w\\a.log', ['ADDLOCAL=ALL']), [
    'msiexec',
    '/i',
    'C:\\w\\a.msi',
    '/qn',
    '/norestart',
    '/l*v',
    'C:\\w\\a.log',
    'ADDLOCAL=ALL',
  ]);
  assert.deepEqual(msuKind.command('a.msu', 'a.log', []), ['wusa', 'a.msu', '/quiet', '/norestart', '/log:a.log']);
  assert.deepEqual(exeKind.command('a.exe', 'a.log', ['/S']), ['a.exe', '/S']);
  assert.deepEqual(pkgKind.command('a.pkg', '', []), ['installer', '-pkg', 'a.pkg', '-target', '/', '-verboseR']);
});

test('exit codes by what they mean', () => {
  for (const [code, kind, says] of [
    [0, 'done', /installed/],
    [3010, 'reboot', /start anew/],
    [1641, 'reboot', /begun a restart/],
    [1618, 'busy', /another installation/],
    [1603, 'failed', /ended with 1603: a fatal error/],
    [1638, 'failed', /another version/],
    [0x00240006, 'done', /already/],
    [0x80240017, 'failed', /does not apply/],
    [77, 'failed', /ended with 77$/],
  ] as const) {
    const read = msuKind.read(result(code));
    assert.equal(read.kind, kind, String(code));
    assert.match(read.says, says);
  }
  for (const [code, said, kind] of [
    [0, 'installer: The upgrade was successful.', 'done'],
    [0, 'installer: The upgrade was successful.\ninstaller: The install requires restarting now.', 'reboot'],
    [1, "installer: Error - the package path specified was invalid: 'x.pkg'.", 'failed'],
  ] as const) {
    assert.equal(pkgKind.read(result(code, said)).kind, kind, said);
  }
});

describe('an installation', () => {
  let folder: string;
  let context: HostContext;
  let versions: Map<string, string>;
  let codes: number[];
  let signature: string;
  let ran: string[];

  const exec: Execute = async (command, args, env) => {
    if (command === 'powershell') {
      assert.ok(fs.existsSync(env?.['PATCHFERRY_FILE'] ?? ''), 'the file is named by the environment alone');
      return result(0, `${signature}\r\n`);
    }
    if (command === 'reg') {
      if (!String(args[1]).endsWith(String.raw`CurrentVersion\Uninstall`) || String(args[1]).includes('WOW6432Node'))
        return result(1);
      const rows = [...versions].map(
        ([name, version]) =>
          `HKEY_LOCAL_MACHINE\\U\\{${name}}\r\n    DisplayName    REG_SZ    ${name}\r\n    DisplayVersion    REG_SZ    ${version}\r\n`,
      );
      return result(0, `\r\n${rows.join('\r\n')}`);
    }
    ran.push([command, ...args].join(' '));
    const code = codes.shift() ?? 0;
    if (code === 0) versions.set('Tool', '2.0.0');
    return result(code);
  };
  const item: InstallItem = {
    name: 'Tool',
    arch: 'all',
    from: '1.0.0',
    to: '2.0.0',
    sha256: 'a'.repeat(64),
    size: 3,
    path: 'tool.msi',
    repository: 'own',
    patch: 'tool@2.0.0',
    format: 'msi',
  };
  const system = (kind: InstallerKind = msiKind) => installerSystem(kind, exec, 'win32');
  const plan = () => system().plan([item], { newDependencies: 'refuse', removals: 'refuse' }, context);

  beforeEach(() => {
    folder = fs.mkdtempSync(join(tmpdir(), 'patchferry-installers-'));
    fs.writeFileSync(join(folder, item.sha256), 'MSI');
    versions = new Map([['Tool', '1.0.0']]);
    [codes, ran, signature] = [[], [], 'Valid'];
    context = {
      root: '/',
      workFolder: folder,
      payloadPath: (sha256) => join(folder, sha256),
      catalogs: [{ patches: [{ id: 'tool@2.0.0', placement: { arguments: ['ADDLOCAL=ALL'] } }] } as unknown as Catalog],
      log: silentLog,
      clock: systemClock,
      signal: new AbortController().signal,
      archiveRoot: folder,
      lockWaitMs: 0,
    };
  });
  afterEach(() => fs.rmSync(folder, { recursive: true, force: true }));

  test('goes to its end, says what changed, and is done when asked again', async () => {
    const made = await plan();
    assert.deepEqual(made.changes, [{ name: 'Tool', arch: 'all', from: '1.0.0', to: '2.0.0' }]);
    for (const check of await system().precheck(made, { freeBytes: 0 }, context))
      assert.ok(check.ok, `${check.name}: ${check.says}`);
    assert.ok((await system().install(made, context)).ok);
    assert.equal(ran.length, 1);
    assert.match(ran[0] ?? '', /^msiexec \/i .*Tool-2\.0\.0\.msi \/qn \/norestart \/l\*v .* ADDLOCAL=ALL$/);
    assert.ok((await system().install(made, context)).ok);
    assert.equal(ran.length, 1);
    assert.deepEqual((await plan()).items, []);
    assert.deepEqual(fs.readdirSync(folder), [item.sha256]);
  });

  test('an installer that says it went well and changed nothing has failed', async () => {
    codes = [3010];
    assert.ok((await system().install(await plan(), context)).ok, 'with a restart to come the host cannot show it yet');
    codes = [];
    const lying: Execute = async (command, args, env) => (command === 'msiexec' ? result(0) : exec(command, args, env));
    const outcome = await installerSystem(msiKind, lying, 'win32').install(await plan(), context);
    assert.equal(outcome.ok, false);
    assert.match(outcome.says, /does not have version 2\.0\.0/);
  });

  test('busy beyond the wait, a fatal error, a signature that the host does not accept: told, with the patch at fault', async () => {
    for (const [code, says] of [
      [1618, /another installation/],
      [1603, /fatal/],
    ] as const) {
      codes = [code];
      const outcome = await system().install(await plan(), context);
      assert.deepEqual([outcome.ok, outcome.broken], [false, ['Tool']]);
      assert.match(outcome.says, says);
    }
    ran = [];
    signature = 'HashMismatch';
    const outcome = await system().install(await plan(), context);
    assert.match(outcome.says, /Authenticode says HashMismatch/);
    assert.deepEqual(ran, [], 'nothing of it was run');
  });

  test('each system is on its own platform only', async () => {
    assert.equal(await installerSystem(pkgKind, exec, 'win32').available(context), false);
    assert.equal(await installerSystem(pkgKind, exec, 'darwin').available(context), true);
    assert.equal(await system().available(context), true);
  });
});

test('pkgutil says whether a package is signed', async () => {
  const signed = 'Package "a.pkg":\n   Status: signed by a developer certificate issued by Apple for distribution\n';
  assert.equal(await pkgKind.signature('a.pkg', async () => result(0, signed)), undefined);
  assert.equal(
    await pkgKind.signature('a.pkg', async () => result(1, 'Package "a.pkg":\n   Status: no signature\n')),
    'no signature',
  );
});
