// Settings files that packages bring and administrators change (dpkg's conffiles, ucf's): how they were before an installation,
// what became of each, and which ones were changed on both sides. Told by hashes, not by what a program prints.
import { createHash } from 'node:crypto';
import * as fs from 'node:fs';
import { posix } from 'node:path';
import { Parser, type ReadEntry } from 'tar';
import { readFileBounded } from '#manifests/platform/files';
import { pipeFrom } from '#manifests/platform/process';
import type { ConffileRecord } from '#manifests/schema';
import { fault, reach } from '../host.ts';
import type { HostContext, InstallPlan, SettingsFile } from '../system.ts';

const LIMITS = {
  /** dpkg's status file and ucf's lists, bytes. */
  databaseBytes: 256 * 1024 * 1024,
  /** A settings file that is larger is not compared. */
  fileBytes: 16 * 1024 * 1024,
  /** For reading one package, milliseconds. */
  packageMs: 120_000,
} as const;

type Where = Pick<HostContext, 'root'>;

/** Hash as dpkg and ucf keep it; null when the file is not there. MD5 is theirs and compares here, it proves nothing. */
function hashOf(context: Where, path: string): string | null {
  try {
    const bytes = readFileBounded(reach(context, path), LIMITS.fileBytes);
    return bytes === undefined ? null : createHash('md5').update(bytes).digest('hex');
  } catch {
    return null; // a folder or a device in its place
  }
}

function textOf(context: Where, path: string): string {
  return Buffer.from(readFileBounded(reach(context, path), LIMITS.databaseBytes) ?? new Uint8Array()).toString('latin1');
}

/** Conffiles by package (`name:arch`) out of dpkg's status file: path and hash as shipped (deb-conffiles(5), dpkg-query(1)). */
export function parseConffiles(status: string): Map<string, Map<string, string>> {
  const found = new Map<string, Map<string, string>>();
  for (const stanza of status.split('\n\n')) {
    const rows = /^Conffiles:\n((?: .*(?:\n|$))+)/m.exec(stanza)?.[1];
    const name = /^Package: (\S+)$/m.exec(stanza)?.[1];
    const arch = /^Architecture: (\S+)$/m.exec(stanza)?.[1] ?? '';
    if (rows === undefined || name === undefined || /^Status: \S+ \S+ config-files$/m.test(stanza)) continue;
    const files = new Map<string, string>();
    for (const row of rows.split('\n')) {
      const parts = /^ (\/.*) ([0-9a-f]{32})$/.exec(row); // rows that end in `obsolete` or `remove-on-upgrade` are not shipped
      if (parts?.[1] !== undefined && parts[2] !== undefined) files.set(parts[1], parts[2]);
    }
    found.set(`${name}:${arch}`, files);
  }
  return found;
}

/** Files that ucf looks after, by package name (ucfr(1), ucf(1): `/var/lib/ucf/registry` and `hashfile`). */
export function parseUcf(registry: string, hashes: string): Map<string, Map<string, string>> {
  const shipped = new Map<string, string>();
  for (const row of hashes.split('\n')) {
    const parts = /^([0-9a-f]{32})\s+(\/.*)$/.exec(row);
    if (parts?.[1] !== undefined && parts[2] !== undefined) shipped.set(parts[2], parts[1]);
  }
  const found = new Map<string, Map<string, string>>();
  for (const row of registry.split('\n')) {
    const [name, path] = row.trim().split(/\s+/);
    const hash = path === undefined ? undefined : shipped.get(path);
    if (name === undefined || path === undefined || hash === undefined) continue;
    found.set(name, (found.get(name) ?? new Map<string, string>()).set(path, hash));
  }
  return found;
}

/** Every settings file of these packages that is shipped now, as `[package, path, hash, by]`. */
function shippedBy(context: Where, packages: readonly { name: string; arch: string }[]) {
  const dpkg = parseConffiles(textOf(context, '/var/lib/dpkg/status'));
  const ucf = parseUcf(textOf(context, '/var/lib/ucf/registry'), textOf(context, '/var/lib/ucf/hashfile'));
  return packages.flatMap(({ name, arch }) => {
    const key = `${name}:${arch}`;
    const rows = (files: ReadonlyMap<string, string> | undefined, by: SettingsFile['by']) =>
      [...(files ?? [])].map(([path, shipped]) => ({ package: key, path, shipped, by }));
    return [...rows(dpkg.get(key), 'dpkg'), ...rows(ucf.get(name), 'ucf')];
  });
}

/** The settings files of packages that a plan changes, as they are now: kept with the plan to tell later what became of them. */
export function settingsBefore(context: Where, changes: InstallPlan['changes']): SettingsFile[] {
  return shippedBy(
    context,
    changes.filter(({ from }) => from !== null),
  ).map((file) => ({ ...file, found: hashOf(context, file.path) }));
}

/** What became of each settings file since the plan was made; those that nothing happened to are left out. */
export function settingsAfter(context: Where, plan: InstallPlan): ConffileRecord[] {
  const before = plan.settings ?? [];
  if (before.length === 0) return [];
  const now = new Map(shippedBy(context, plan.changes).map((file) => [`${file.package} ${file.path}`, file.shipped]));
  const there = new Set(now.keys().map((key) => key.split(' ', 1)[0]));
  return before.flatMap((file): ConffileRecord[] => {
    const found = hashOf(context, file.path);
    const shipped = now.get(`${file.package} ${file.path}`);
    const beside = (suffixes: readonly string[]) =>
      suffixes.map((suffix) => `${file.path}${suffix}`).find((path) => fs.existsSync(reach(context, path))) ?? null;
    const record = (outcome: ConffileRecord['outcome'], other: string | null = null): ConffileRecord[] => [
      { path: file.path, package: file.package, outcome, other },
    ];
    if (shipped === undefined) {
      const gone = file.found !== null && found === null && there.has(file.package);
      return gone ? record('removed', beside(['.dpkg-bak', '.dpkg-old'])) : [];
    }
    if (shipped === file.shipped) return [];
    if (file.found === null) return record(found === null ? 'absent' : 'updated');
    const changedHere = file.found !== file.shipped && file.found !== shipped;
    if (!changedHere) return record('updated');
    if (found === file.found) return record('kept', beside(file.by === 'ucf' ? ['.ucf-dist'] : ['.dpkg-dist', '.dpkg-new']));
    return record('replaced', beside(file.by === 'ucf' ? ['.ucf-old'] : ['.dpkg-old']));
  });
}

export interface Conflict {
  readonly name: string;
  readonly path: string;
}

/**
 * Settings files that were changed on this host and in the new version of their package, of these packages or of all. Looks into
 * the payloads, which have to be there. What ucf makes at installation time cannot be known beforehand.
 */
export async function conflictsOf(
  context: HostContext,
  plan: InstallPlan,
  only?: ReadonlySet<string>,
): Promise<readonly Conflict[]> {
  const conflicts: Conflict[] = [];
  const changedHere = Map.groupBy(
    (plan.settings ?? []).filter(({ by, found, shipped }) => by === 'dpkg' && found !== null && found !== shipped),
    (file) => file.package,
  );
  for (const [key, files] of changedHere) {
    const [name = '', arch = ''] = key.split(':');
    if (only?.has(name) === false) continue;
    const payload = [...plan.items, ...plan.newPackages].find((one) => one.name === name && one.arch === arch)?.sha256;
    if (payload === undefined) continue;
    const coming = await hashesIn(context.payloadPath(payload), new Set(files.map(({ path }) => path)), context.signal);
    for (const { path, shipped, found } of files) {
      const next = coming.get(path);
      if (next !== undefined && next !== shipped && next !== found) conflicts.push({ name, path });
    }
  }
  return conflicts;
}

/** Hashes of some files of a package, read out of it by the host's own dpkg-deb. @throws packages.apt-failed */
async function hashesIn(deb: string, wanted: ReadonlySet<string>, signal: AbortSignal): Promise<Map<string, string>> {
  const found = new Map<string, string>();
  const unpacked = await pipeFrom('dpkg-deb', ['--fsys-tarfile', deb], { timeoutMs: LIMITS.packageMs, signal });
  const parser = new Parser();
  parser.on('entry', (entry: ReadEntry) => {
    const path = posix.resolve('/', entry.path);
    if (wanted.has(path) && entry.type === 'File' && entry.size <= LIMITS.fileBytes) {
      const hash = createHash('md5');
      entry.on('data', (chunk: Buffer) => hash.update(chunk));
      entry.on('end', () => found.set(path, hash.digest('hex')));
    } else entry.resume();
  });
  for await (const chunk of unpacked.output) parser.write(chunk);
  parser.end();
  const { code, stderr } = await unpacked.ended;
  if (code !== 0) throw fault('apt-failed', `dpkg-deb cannot read ${deb}: ${stderr.trim().slice(-500)}`, { where: deb });
  return found;
}

/** dpkg's options for a policy; nothing is asked in any case (dpkg(1), `--force-conf…`). */
export function conffileOptions(policy: HostContext['conffiles']): readonly string[] {
  return policy === 'new' ? ['--force-confnew'] : ['--force-confdef', '--force-confold'];
}

/** The same for ucf, which reads it from its environment (ucf(1)). */
export function conffileEnvironment(policy: HostContext['conffiles']): Readonly<Record<string, string>> {
  return policy === 'new' ? { UCF_FORCE_CONFFNEW: '1', UCF_FORCE_CONFFOLD: '' } : { UCF_FORCE_CONFFOLD: '1' };
}
