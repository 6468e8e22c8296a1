// Inventories of Windows and macOS from recorded output.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import {
  nameOfTitle,
  parseReceipt,
  parseServicing,
  parseUninstall,
  productElsewhere,
  readMacPackages,
  readWindowsPackages,
} from './elsewhere.ts';

const UNINSTALL = [
  '',
  String.raw`HKEY_LOCAL_MACHINE\SOFTWARE\Microsoft\Windows\CurrentVersion\Uninstall\7-Zip`,
  '    DisplayName    REG_SZ    7-Zip 23.01 (x64)',
  '    DisplayVersion    REG_SZ    23.01',
  '    NoModify    REG_DWORD    0x1',
  '',
  String.raw`HKEY_LOCAL_MACHINE\SOFTWARE\Microsoft\Windows\CurrentVersion\Uninstall\{AC76BA86-7AD7-1033-7B44-AC0F074E4100}`,
  '    AuthorizedCDFPrefix    REG_SZ    ',
  '    DisplayName    REG_SZ    Adobe Acrobat Reader',
  '    DisplayVersion    REG_SZ    24.001.20604',
  '',
  String.raw`HKEY_LOCAL_MACHINE\SOFTWARE\Microsoft\Windows\CurrentVersion\Uninstall\Part`,
  '    DisplayName    REG_SZ    A part',
  '    DisplayVersion    REG_SZ    1.0',
  '    SystemComponent    REG_DWORD    0x1',
  '',
  String.raw`HKEY_LOCAL_MACHINE\SOFTWARE\Microsoft\Windows\CurrentVersion\Uninstall\Nameless`,
  '    UninstallString    REG_EXPAND_SZ    "%ProgramFiles%\\x.exe"',
  '',
].join('\r\n');

const SERVICING = [
  String.raw`HKEY_LOCAL_MACHINE\SOFTWARE\Microsoft\Windows\CurrentVersion\Component Based Servicing\Packages\Package_for_KB5036608~31bf3856ad364e35~amd64~~10.0.1.2`,
  '    CurrentState    REG_DWORD    0x70',
  '',
  String.raw`HKEY_LOCAL_MACHINE\SOFTWARE\Microsoft\Windows\CurrentVersion\Component Based Servicing\Packages\Package_for_RollupFix~31bf3856ad364e35~amd64~~19041.4291.1.7`,
  '    CurrentState    REG_DWORD    0x50',
  '',
  String.raw`HKEY_LOCAL_MACHINE\SOFTWARE\Microsoft\Windows\CurrentVersion\Component Based Servicing\Packages\Microsoft-Windows-Foundation-Package~31bf3856ad364e35~amd64~~10.0.19041.1`,
  '    CurrentState    REG_DWORD    0x70',
].join('\r\n');

const RECEIPT = `<?xml version="1.0" encoding="UTF-8"?>
<plist version="1.0">
<dict>
	<key>install-location</key>
	<string></string>
	<key>pkg-version</key>
	<string>16.4.0.0.1.1680000000</string>
	<key>pkgid</key>
	<string>com.apple.pkg.CLTools_Executables</string>
</dict>
</plist>
`;

const short = (rows: readonly { name: string; version: string }[]) => rows.map(({ name, version }) => `${name} ${version}`);

test('Windows: programs with a name and a version, without parts of the system; updates that are installed', async () => {
  assert.deepEqual(short(parseUninstall(UNINSTALL)), ['7-Zip-23.01-x64 23.01', 'Adobe-Acrobat-Reader 24.001.20604']);
  assert.deepEqual(short(parseServicing(SERVICING)), ['Package_for_KB5036608 10.0.1.2']);
  const found = await readWindowsPackages(async (_command, args) =>
    String(args[1]).endsWith('Packages') ? SERVICING : UNINSTALL,
  );
  assert.deepEqual(short(found), [
    '7-Zip-23.01-x64 23.01',
    'Adobe-Acrobat-Reader 24.001.20604',
    'Package_for_KB5036608 10.0.1.2',
  ]);
  assert.deepEqual(await readWindowsPackages(async () => undefined), []);
  assert.equal(nameOfTitle('Ä tool — "best"'), 'tool-best');
});

test('macOS: receipts by their id', async () => {
  assert.equal(parseReceipt('<dict></dict>'), undefined);
  const found = await readMacPackages(async (_command, args) =>
    args[0] === '--pkgs' ? 'com.apple.pkg.CLTools_Executables\n' : RECEIPT,
  );
  assert.deepEqual(short(found), ['com.apple.pkg.CLTools_Executables 16.4.0.0.1.1680000000']);
});

test('products by platform and release', () => {
  assert.equal(productElsewhere('win32', '10.0.19045'), 'windows-10');
  assert.equal(productElsewhere('win32', '10.0.22631'), 'windows-11');
  assert.equal(productElsewhere('darwin', '23.5.0'), 'macos-14');
  assert.equal(productElsewhere('darwin', '25.0.0'), 'macos-26');
  assert.equal(productElsewhere('linux', '6.1.0'), null);
});
