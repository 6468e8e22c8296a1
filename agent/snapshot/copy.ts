// Copies of files with everything that belongs to them (owner, mode, times, extended attributes and with them capabilities, hard
// links), made by the host's own `cp`, because Node knows nothing of extended attributes.
import * as fs from 'node:fs';
import { defineFaults, EXIT } from '#manifests/errors';
import { type HostContext, hostCommand, seenByHost } from '../packages/index.ts';
import type { Entry } from './tree.ts';

export const fault = defineFaults('wayback', {
  copy: { exit: EXIT.handsNeeded, next: 'Check free space and the health of the disk; what was saved so far is untouched.' },
  snapshot: {
    exit: EXIT.refused,
    next: 'Read what btrfs said; without a way back nothing is installed where policy requires one.',
  },
  unknown: { exit: EXIT.handsNeeded, next: 'There is no such way back on this host; see the list that `status` prints.' },
});

const LIMITS = {
  /** Characters of arguments in one call; the kernel takes 2 MiB with the environment. */
  argumentCharacters: 1_000_000,
  copyMs: 60 * 60 * 1000,
  syncMs: 10 * 60 * 1000,
} as const;

/** Splits paths into calls; hard links of one file always go into the same call, so that they stay links of one file. */
export function batches(paths: readonly string[], entries: ReadonlyMap<string, Entry>): string[][] {
  const groups = Map.groupBy(paths, (path) => {
    const entry = entries.get(path);
    return entry !== undefined && entry.type === 'file' && entry.links > 1 ? `inode ${entry.inode}` : path;
  });
  const calls: string[][] = [];
  let length = Number.POSITIVE_INFINITY;
  for (const group of groups.values()) {
    const characters = group.reduce((sum, path) => sum + Buffer.byteLength(path) + 9, 0);
    if (length + characters > LIMITS.argumentCharacters) {
      calls.push([]);
      length = 0;
    }
    calls.at(-1)?.push(...group);
    length += characters;
  }
  return calls;
}

/**
 * Copies `paths` (host paths, no folders) from the tree at `source` into the tree at `target`, with their folders above them.
 * Shares blocks where the file system can; `link` makes hard links instead, which needs no room. @throws wayback.copy
 */
export async function copyPaths(
  context: HostContext,
  source: string,
  target: string,
  paths: readonly string[],
  entries: ReadonlyMap<string, Entry>,
  how: 'copy' | 'link' = 'copy',
): Promise<void> {
  fs.mkdirSync(target, { recursive: true, mode: 0o700 });
  const [from, to] = [seenByHost(context, source), seenByHost(context, target)];
  for (const call of batches(paths, entries)) {
    const sharing = how === 'link' ? '--link' : '--reflink=auto';
    const args = ['-C', from, 'cp', '--archive', sharing, '--parents', `--target-directory=${to}`, '--'];
    const result = await hostCommand(context, 'env', [...args, ...call.map((path) => `.${path}`)], {
      timeoutMs: LIMITS.copyMs,
    });
    if (result.code !== 0) {
      throw fault(
        'copy',
        `copying ${call.length} files ended with ${result.code ?? result.signal}: ${result.stderr.slice(0, 1_000)}`,
        {
          where: source,
        },
      );
    }
  }
}

/** What belongs to a file or folder besides its content, for tar(1). */
export const WITH_ATTRIBUTES = ['--no-recursion', '--xattrs', '--xattrs-include=*', '--acls', '--numeric-owner', '--null'];

async function tar(context: HostContext, archive: string, folders: readonly string[], how: readonly string[]): Promise<void> {
  const list = `${archive}.list`;
  fs.writeFileSync(list, folders.map((path) => `.${path}\0`).join(''), { mode: 0o600 });
  const args = [
    ...how,
    ...WITH_ATTRIBUTES,
    `--files-from=${seenByHost(context, list)}`,
    `--file=${seenByHost(context, archive)}`,
  ];
  const result = await hostCommand(context, 'tar', args, { timeoutMs: LIMITS.copyMs });
  fs.rmSync(list, { force: true });
  if (result.code !== 0) throw fault('copy', `tar: ${result.stderr.slice(0, 1_000)}`, { where: archive });
}

/** Keeps these folders of the tree at `source`, without what is in them: owner, mode, extended attributes, access lists. */
export function packFolders(context: HostContext, source: string, archive: string, folders: readonly string[]): Promise<void> {
  return tar(context, archive, folders, ['--create', `--directory=${seenByHost(context, source)}`]);
}

/** Gives these folders of the host, which are there, all that was kept of them. */
export function unpackFolders(context: HostContext, archive: string, folders: readonly string[]): Promise<void> {
  return tar(context, archive, folders, [
    '--extract',
    '--same-owner',
    '--same-permissions',
    '--overwrite-dir',
    '--directory=/',
  ]);
}

/** Flushes the whole file system that holds `folder`. */
export async function syncFileSystem(context: HostContext, folder: string): Promise<void> {
  const result = await hostCommand(context, 'sync', ['-f', seenByHost(context, folder)], { timeoutMs: LIMITS.syncMs });
  if (result.code !== 0) throw fault('copy', `sync: ${result.stderr.slice(0, 500)}`, { where: folder });
}
