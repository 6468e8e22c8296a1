// Folders of own software: <archiveRoot>/NAME/versions/VERSION, and `current`, a link that is switched in one step.
import { randomBytes } from 'node:crypto';
import * as fs from 'node:fs';
import { dirname, join } from 'node:path';
import { syncFolder } from '#manifests/platform/files';
import type { HostContext } from '../system.ts';

type Where = Pick<HostContext, 'archiveRoot'>;

const NAME = /^[a-z0-9][a-z0-9.-]{0,62}$/;
const VERSION = /^[A-Za-z0-9][A-Za-z0-9.+~_-]{0,99}$/;

/** Whether these can be names of folders; what else a catalog says is refused, not bent. */
export function isComponent(name: string, version: string): boolean {
  return NAME.test(name) && VERSION.test(version) && !name.endsWith('.') && !version.endsWith('.');
}

export function componentFolder(context: Where, name: string): string {
  return join(context.archiveRoot, name);
}

export function versionFolder(context: Where, name: string, version: string): string {
  return join(context.archiveRoot, name, 'versions', version);
}

/** The version that `current` points to, or null. */
export function currentVersion(context: Where, name: string): string | null {
  try {
    const parts = /^versions\/([^/]+)$/.exec(fs.readlinkSync(join(componentFolder(context, name), 'current')));
    return parts?.[1] ?? null;
  } catch {
    return null;
  }
}

/** Points `current` at a version in one step, or takes it away (null): readers see the old or the new one. */
export function switchTo(context: Where, name: string, version: string | null): void {
  const folder = componentFolder(context, name);
  const link = join(folder, 'current');
  if (version === null) fs.rmSync(link, { force: true });
  else {
    const fresh = join(folder, `.tmp-${randomBytes(6).toString('hex')}`);
    fs.symlinkSync(join('versions', version), fresh);
    fs.renameSync(fresh, link);
  }
  if (fs.existsSync(folder)) syncFolder(folder);
}

/** Removes what unpackings that were killed left behind, and links that were never put in place. */
export function sweep(context: Where, name: string): void {
  const folder = componentFolder(context, name);
  for (const entry of fs.existsSync(folder) ? fs.readdirSync(folder) : []) {
    if (entry.startsWith('.tmp-') || entry.startsWith('.quarantine-'))
      fs.rmSync(join(folder, entry), { recursive: true, force: true });
  }
}

/** Names of all components that have a folder. */
export function componentNames(context: Where): string[] {
  if (!fs.existsSync(context.archiveRoot)) return [];
  return fs.readdirSync(context.archiveRoot).filter((name) => NAME.test(name));
}

/** The nearest folder above a path that exists, for questions about its file system. */
export function existingParent(path: string): string {
  let folder = path;
  while (!fs.existsSync(folder) && dirname(folder) !== folder) folder = dirname(folder);
  return folder;
}
