// The host itself by the files the kernel and the distribution keep: name, product, kernels, zone, free room, components.
import * as fs from 'node:fs';
import * as os from 'node:os';
import { basename, dirname, join } from 'node:path';
import { readFileBounded } from '#manifests/platform/files';
import { compareDeb } from '#manifests/versions';

/** Bytes of one small text file of the system (os-release, hostname, boot id). */
const SMALL_FILE_BYTES = 64 * 1024;

/** Folders that are often mounts of their own; those that are get a row in `freeBytes`. */
const USUAL_MOUNTS = [
  '/',
  '/boot',
  '/boot/efi',
  '/usr',
  '/var',
  '/var/lib',
  '/var/cache',
  '/var/log',
  '/opt',
  '/home',
  '/srv',
  '/tmp',
];

function readText(path: string): string | undefined {
  try {
    const bytes = readFileBounded(path, SMALL_FILE_BYTES);
    return bytes === undefined ? undefined : Buffer.from(bytes).toString('utf8');
  } catch {
    return undefined; // not readable is as good as not there: the fact is left out
  }
}

function readFirstLine(path: string): string | undefined {
  const first = readText(path)?.split('\n', 1)[0]?.trim();
  return first === undefined || first === '' ? undefined : first.slice(0, 255);
}

function namesIn(folder: string): string[] {
  try {
    return fs.readdirSync(folder);
  } catch {
    return [];
  }
}

/** Fields of os-release(5): `KEY=value`, value bare or quoted as in a shell. */
export function parseOsRelease(text: string): Record<string, string> {
  const fields: Record<string, string> = Object.create(null) as Record<string, string>;
  for (const line of text.split('\n')) {
    const parts = /^\s*([A-Z][A-Z0-9_]*)=(.*?)\s*$/.exec(line);
    if (parts?.[1] === undefined || parts[2] === undefined) continue;
    const quoted = /^(["'])(.*)\1$/.exec(parts[2]);
    fields[parts[1]] = (quoted?.[2] ?? parts[2]).replace(/\\(["'$`\\])/g, '$1');
  }
  return fields;
}

/**
 * `debian-12` from ID and VERSION_ID; null when they do not make a product's name (Debian testing has no VERSION_ID). Red Hat's
 * kind (RHEL, Rocky, Alma, Oracle, CentOS) is named by its major release: their repositories go on through the minor ones.
 */
export function productOf(fields: Record<string, string>): string | null {
  const id = fields['ID'] ?? '';
  const byMajor = id === 'rhel' || id === 'ol' || (fields['ID_LIKE'] ?? '').split(' ').includes('rhel');
  const version = byMajor ? (fields['VERSION_ID'] ?? '').split('.')[0] : fields['VERSION_ID'];
  const product = `${id}-${version ?? ''}`.toLowerCase();
  return /^[a-z0-9][a-z0-9.]*-[a-z0-9](?:[a-z0-9.-]*[a-z0-9])?$/.test(product) && product.length <= 63 ? product : null;
}

/** The product and its printed name. */
export function readProduct(root: string): { product: string | null; title: string | undefined } {
  const text = readText(join(root, 'etc/os-release')) ?? readText(join(root, 'usr/lib/os-release'));
  const fields = text === undefined ? {} : parseOsRelease(text);
  return { product: productOf(fields), title: fields['PRETTY_NAME']?.slice(0, 300) };
}

export function readHostname(root: string): string {
  return (root === '/' ? os.hostname() : readFirstLine(join(root, 'etc/hostname'))) ?? 'unknown';
}

/** Different after every start of the machine. */
export function readBootId(): string {
  return readFirstLine('/proc/sys/kernel/random/boot_id') ?? 'unknown';
}

/** When this system (a machine or a container) was started, in milliseconds of its clock; undefined where nothing tells. */
export function readBootedAt(): number | undefined {
  try {
    return fs.statSync('/proc/1').mtimeMs;
  } catch {
    return undefined;
  }
}

/** The running kernel and every release whose image is on disk (module folders without an image are left-overs, not kernels). */
export function readKernels(root: string): { running: string; installed: string[] } {
  const installed = new Set<string>();
  for (const name of namesIn(join(root, 'boot'))) {
    // A rescue image is a copy of some kernel under the machine's id, not a release.
    if (name.startsWith('vmlinuz-') && !name.startsWith('vmlinuz-0-rescue-')) installed.add(name.slice('vmlinuz-'.length));
  }
  const modules = join(root, 'usr/lib/modules');
  for (const name of namesIn(modules)) if (fs.existsSync(join(modules, name, 'vmlinuz'))) installed.add(name);
  return {
    running: readFirstLine('/proc/sys/kernel/osrelease') ?? os.release(),
    installed: [...installed]
      .filter((name) => name.length <= 200)
      .toSorted(compareDeb) // numbers as numbers, on every host alike
      .slice(0, 100),
  };
}

/** IANA name of the host's zone: where /etc/localtime points, or /etc/timezone; UTC when neither says. */
export function readZone(root: string): string {
  const candidates: (string | undefined)[] = [];
  try {
    candidates.push(fs.readlinkSync(join(root, 'etc/localtime')).split('/zoneinfo/')[1]);
  } catch {
    // a copy instead of a link, or none
  }
  candidates.push(readFirstLine(join(root, 'etc/timezone')));
  for (const candidate of candidates) {
    if (candidate === undefined || candidate.length > 64) continue;
    try {
      return new Intl.DateTimeFormat('en', { timeZone: candidate }).resolvedOptions().timeZone === '' ? 'UTC' : candidate;
    } catch {
      // not a zone that anyone knows
    }
  }
  return 'UTC';
}

/** Free bytes (for programs without root's reserve) of each of the usual folders that is a mount of its own. */
export function readFreeBytes(root: string): Record<string, number> {
  const free: Record<string, number> = {};
  for (const folder of USUAL_MOUNTS) {
    const path = join(root, folder);
    try {
      if (folder !== '/' && fs.statSync(path).dev === fs.statSync(dirname(path)).dev) continue;
      const { bavail, bsize } = fs.statfsSync(path);
      free[folder] = Math.min(bavail * bsize, Number.MAX_SAFE_INTEGER);
    } catch {
      // not there
    }
  }
  return free;
}

/** Version of each `archive` component: where its `current` link points (see packages/archive). */
export function readComponents(archiveRoot: string): Record<string, string> {
  const components: Record<string, string> = {};
  for (const name of namesIn(archiveRoot).toSorted()) {
    try {
      const version = basename(fs.readlinkSync(join(archiveRoot, name, 'current')));
      if (name.length <= 200 && version.length <= 200) components[name] = version;
    } catch {
      // not a component, or one that was never finished
    }
  }
  return components;
}
