// What is installed on Windows and macOS, by what their own tools print. The parsers are tested on recorded output; none of this was
// run on such hosts.
import { run } from '#manifests/platform/process';
import type { InstalledPackage } from '#manifests/schema';

/** Runs a program of the host and gives what it printed; undefined when it is not there or failed. */
export type Printed = (command: string, args: readonly string[]) => Promise<string | undefined>;

const ELSEWHERE_LIMITS = {
  askMs: 120_000,
  outputBytes: 32 * 1024 * 1024,
  packages: 20_000,
} as const;

const printed: Printed = async (command, args) => {
  const { askMs: timeoutMs, outputBytes } = ELSEWHERE_LIMITS;
  const result = await run(command, args, { timeoutMs, outputBytes }).catch(() => undefined);
  return result?.code === 0 ? result.stdout : undefined;
};

/** Where programs note how they are uninstalled, for both word lengths; and what servicing has put in (component store). */
const UNINSTALL_KEYS = [
  String.raw`HKLM\SOFTWARE\Microsoft\Windows\CurrentVersion\Uninstall`,
  String.raw`HKLM\SOFTWARE\WOW6432Node\Microsoft\Windows\CurrentVersion\Uninstall`,
];
const SERVICING_KEY = String.raw`HKLM\SOFTWARE\Microsoft\Windows\CurrentVersion\Component Based Servicing\Packages`;
/** `CurrentState` of a servicing package that is installed, or is once the host has started again. */
const SERVICED = new Set(['0x70', '0x60']);

/** Output of `reg query KEY /s`: values by key, each `    NAME    REG_TYPE    VALUE`. */
export function parseRegQuery(text: string): Map<string, Map<string, string>> {
  const keys = new Map<string, Map<string, string>>();
  let current: Map<string, string> | undefined;
  for (const line of text.split(/\r?\n/)) {
    if (line.startsWith('HK')) {
      current = new Map();
      keys.set(line.trim(), current);
      continue;
    }
    const value = /^ {4}(.+?) {4}REG_[A-Z_]+(?: {4}(.*))?$/.exec(line);
    if (value?.[1] !== undefined) current?.set(value[1], value[2]?.trim() ?? '');
  }
  return keys;
}

/** A printed name as a catalog can write it: `7-Zip 23.01 (x64)` becomes `7-Zip-23.01-x64`. */
export function nameOfTitle(title: string): string {
  return title
    .replaceAll(/[^A-Za-z0-9.+_]+/g, '-')
    .replaceAll(/^[^A-Za-z0-9]+|-+$/g, '')
    .slice(0, 200);
}

function packageOf(name: string, version: string): InstalledPackage {
  return { name, version, arch: 'all', source: name, sourceVersion: version, state: 'installed', held: false };
}

/** Programs by the name that the settings of Windows show, without parts of the system and updates of other entries. */
export function parseUninstall(text: string): InstalledPackage[] {
  return [...parseRegQuery(text).values()].flatMap((values) => {
    const name = nameOfTitle(values.get('DisplayName') ?? '');
    const version = values.get('DisplayVersion') ?? '';
    const part = values.get('SystemComponent') === '0x1' || values.has('ParentKeyName');
    return name === '' || !/^\d/.test(version) || part ? [] : [packageOf(name, version.slice(0, 200))];
  });
}

/** Updates of Windows itself: `Package_for_KB5036608~31bf3856ad364e35~amd64~~10.0.1.2` and its state. */
export function parseServicing(text: string): InstalledPackage[] {
  return [...parseRegQuery(text)].flatMap(([key, values]) => {
    const [name = '', , , , version = ''] = (key.split('\\').at(-1) ?? '').split('~');
    return name.startsWith('Package_for_') && SERVICED.has(values.get('CurrentState') ?? '') ? [packageOf(name, version)] : [];
  });
}

/** Receipts of macOS: the plist of `pkgutil --pkg-info-plist ID` (XML). */
export function parseReceipt(plist: string): InstalledPackage | undefined {
  const value = (key: string) => new RegExp(`<key>${key}</key>\\s*<string>([^<]*)</string>`).exec(plist)?.[1];
  const [name, version] = [value('pkgid'), value('pkg-version')];
  return name === undefined || version === undefined || name.length > 200 ? undefined : packageOf(name, version.slice(0, 200));
}

function newest(packages: readonly InstalledPackage[]): InstalledPackage[] {
  const byName = new Map(packages.map((one) => [one.name, one])); // a program is noted once for each word length
  return [...byName.values()].toSorted((a, b) => (a.name < b.name ? -1 : 1)).slice(0, ELSEWHERE_LIMITS.packages);
}

export async function readWindowsPackages(ask: Printed = printed): Promise<InstalledPackage[]> {
  const found: InstalledPackage[] = [];
  for (const key of UNINSTALL_KEYS) found.push(...parseUninstall((await ask('reg', ['query', key, '/s'])) ?? ''));
  found.push(...parseServicing((await ask('reg', ['query', SERVICING_KEY, '/s', '/v', 'CurrentState'])) ?? ''));
  return newest(found);
}

export async function readMacPackages(ask: Printed = printed): Promise<InstalledPackage[]> {
  const ids = ((await ask('pkgutil', ['--pkgs'])) ?? '').split('\n').filter((id) => id !== '');
  const found: InstalledPackage[] = [];
  for (const id of ids.slice(0, ELSEWHERE_LIMITS.packages)) {
    const receipt = parseReceipt((await ask('pkgutil', ['--pkg-info-plist', id])) ?? '');
    if (receipt !== undefined) found.push(receipt);
  }
  return newest(found);
}

/** The packages of a host that has neither dpkg nor rpm. */
export async function readPackagesElsewhere(platform: NodeJS.Platform = process.platform): Promise<InstalledPackage[]> {
  return platform === 'win32' ? readWindowsPackages() : platform === 'darwin' ? readMacPackages() : [];
}

/** `windows-10`, `windows-11` by build; `macos-14` by the kernel's number (Darwin 23 is macOS 14, 25 is macOS 26); else null. */
export function productElsewhere(platform: NodeJS.Platform, release: string): string | null {
  const numbers = release.split('.').map(Number);
  if (platform === 'win32') return (numbers[2] ?? 0) >= 22_000 ? 'windows-11' : 'windows-10';
  const darwin = numbers[0] ?? 0;
  if (platform === 'darwin' && darwin >= 20) return `macos-${darwin >= 25 ? darwin + 1 : darwin - 9}`;
  return null;
}
