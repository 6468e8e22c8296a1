// dpkg's own database read by ourselves: /var/lib/dpkg/status with the updates an interrupted dpkg left beside it.
// Format: deb-control(5), dpkg(1) "Package states", and the `updates` journal of lib/dpkg/dbmodify.c.
import * as fs from 'node:fs';
import { join } from 'node:path';
import { defineFaults, EXIT } from '#manifests/errors';
import { readFileBounded } from '#manifests/platform/files';
import type { InstalledPackage } from '#manifests/schema';

const fault = defineFaults('inventory', {
  'package-database': {
    exit: EXIT.handsNeeded,
    next: 'Look at /var/lib/dpkg/status; dpkg keeps earlier copies in /var/backups (dpkg.status.*).',
  },
});

const LIMITS = {
  /** Bytes of dpkg's status file; a host of 5,000 packages has about 6 MB. */
  statusBytes: 256 * 1024 * 1024,
  /** Bytes of one entry of its journal. */
  updateBytes: 1024 * 1024,
  /** Characters of a name, version or architecture (schema/inventory.ts). */
  fieldLength: 200,
} as const;

/** One stanza of the database, whatever its state. */
export interface DpkgEntry {
  readonly name: string;
  readonly arch: string;
  readonly version: string;
  readonly source: string;
  /** `install`, `hold`, `deinstall`, `purge`, `unknown`: what the administrator wants. */
  readonly selection: string;
  /** `ok` or `reinstreq`. */
  readonly flag: string;
  readonly status: string;
  /** Bytes once unpacked, as the package says. */
  readonly installedBytes: number;
}

const FIELDS = ['Package', 'Status', 'Architecture', 'Version', 'Source', 'Installed-Size'] as const;

function parseStanza(stanza: string, where: string): DpkgEntry | undefined {
  const values: Partial<Record<(typeof FIELDS)[number], string>> = {};
  for (let at = 0; at < stanza.length; ) {
    let end = stanza.indexOf('\n', at);
    if (end === -1) end = stanza.length;
    for (const field of FIELDS) {
      if (stanza.startsWith(field, at) && stanza.charCodeAt(at + field.length) === 58 /* : */) {
        values[field] = stanza.slice(at + field.length + 1, end).trim();
        break;
      }
    }
    at = end + 1;
  }
  if (values.Package === undefined) return undefined;
  const [selection, flag, status] = (values.Status ?? '').split(' ');
  if (selection === undefined || flag === undefined || status === undefined) {
    throw fault('package-database', `${where}: ${values.Package} has no readable Status field`, { where });
  }
  for (const [field, value] of Object.entries(values)) {
    if (value.length > LIMITS.fieldLength) {
      throw fault('package-database', `${where}: field ${field} of a package is longer than ${LIMITS.fieldLength}`, { where });
    }
  }
  return {
    name: values.Package,
    arch: values.Architecture ?? '',
    version: values.Version ?? '',
    source: values.Source ?? '',
    selection,
    flag,
    status,
    installedBytes: (Number(values['Installed-Size']) || 0) * 1024,
  };
}

/** Every stanza of a status file's text that has a package name, in its order. @throws inventory.package-database */
export function parseStatus(text: string, where: string): DpkgEntry[] {
  const entries: DpkgEntry[] = [];
  for (let at = 0; at < text.length; ) {
    let end = text.indexOf('\n\n', at);
    if (end === -1) end = text.length;
    const entry = parseStanza(text.slice(at, end), where);
    if (entry !== undefined) entries.push(entry);
    at = end + 2;
  }
  return entries;
}

/** `glibc (2.36-9)` -> name and version; a Source without a version has the binary's, no Source at all is the package itself. */
export function sourceOf(entry: { name: string; version: string; source: string }): { source: string; sourceVersion: string } {
  const parts = /^(\S+)(?:\s+\(([^)]*)\))?$/.exec(entry.source);
  return { source: parts?.[1] ?? entry.name, sourceVersion: parts?.[2] ?? entry.version };
}

/** Packages that are there (whole or broken) from entries of the database; removed ones with left-over settings are not. */
export function installedFrom(entries: readonly DpkgEntry[]): InstalledPackage[] {
  const packages: InstalledPackage[] = [];
  for (const entry of entries) {
    if (entry.status === 'not-installed' || entry.status === 'config-files') continue;
    packages.push({
      name: entry.name,
      version: entry.version,
      arch: entry.arch,
      ...sourceOf(entry),
      state: entry.status === 'installed' && entry.flag === 'ok' ? 'installed' : 'broken',
      held: entry.selection === 'hold',
    });
  }
  return packages;
}

/**
 * Every entry of dpkg's database below `root`: the status file, then what an interrupted dpkg had written to its journal
 * (`updates/0000` and on; each replaces the entry of its package). Undefined when the host has no dpkg.
 * @throws inventory.package-database
 */
export function readDpkgEntries(root: string): DpkgEntry[] | undefined {
  const statusFile = join(root, 'var/lib/dpkg/status');
  const bytes = readFileBounded(statusFile, LIMITS.statusBytes);
  if (bytes === undefined) return undefined;
  const byKey = new Map<string, DpkgEntry>();
  const add = (entry: DpkgEntry) => byKey.set(`${entry.name}:${entry.arch}`, entry);
  parseStatus(Buffer.from(bytes).toString('latin1'), statusFile).forEach(add);
  const updates = join(root, 'var/lib/dpkg/updates');
  const names = fs.existsSync(updates) ? fs.readdirSync(updates).filter((name) => /^\d+$/.test(name)) : [];
  for (const name of names.toSorted()) {
    const file = join(updates, name);
    const update = readFileBounded(file, LIMITS.updateBytes);
    if (update !== undefined) parseStatus(Buffer.from(update).toString('latin1'), file).forEach(add);
  }
  return [...byKey.values()];
}

/** The packages that are on the host below `root`, sorted by name and architecture. @throws inventory.package-database */
export function readDpkgPackages(root: string): InstalledPackage[] | undefined {
  const entries = readDpkgEntries(root);
  if (entries === undefined) return undefined;
  const key = ({ name, arch }: InstalledPackage) => `${name}:${arch}`;
  return installedFrom(entries).toSorted((a, b) => (key(a) < key(b) ? -1 : 1));
}

/** The architecture this host's dpkg is made for, or undefined. */
export function nativeArch(entries: readonly DpkgEntry[]): string | undefined {
  return entries.find(({ name, status }) => name === 'dpkg' && status !== 'not-installed')?.arch;
}
