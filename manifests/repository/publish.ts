// Publication: whatever is new first and flushed, then the few files that make it current, each by rename. A reader, and a
// disk after a power cut, has the old state or the new one.
import * as fs from 'node:fs';
import { dirname, join } from 'node:path';
import { removeTemporaries, syncFolder, temporaryNameFor } from '#manifests/platform/files';
import { fault } from './faults.ts';
import { checkRelative } from './names.ts';

export interface RepositoryFile {
  /** Relative to the repository's root, `metadata/3.snapshot.json`. */
  readonly path: string;
  readonly bytes: Uint8Array;
}

/**
 * Writes `files`, flushes them and their folders, and only then puts the files of `last` in place, in their order
 * (`timestamp.json` is the last of them). Files that are there with the same bytes are left alone. Each file is replaced
 * by rename, so hard links of the old one elsewhere keep the old content. The caller makes sure that it is the only writer.
 * @throws repository.name, repository.unwritable
 */
export function publishFiles(
  repositoryFolder: string,
  files: readonly RepositoryFile[],
  last: readonly RepositoryFile[],
): void {
  const all = [...files, ...last];
  for (const { path } of all) checkRelative(path);
  let where = repositoryFolder;
  const waiting: { temporary: string; path: string }[] = [];
  try {
    for (const folder of new Set(all.map(({ path }) => dirname(join(repositoryFolder, path))))) removeTemporaries(folder);
    const changed = new Set<string>();
    for (const { path, bytes } of files) {
      where = join(repositoryFolder, path);
      const temporary = writeBeside(where, bytes, changed);
      if (temporary === undefined) continue;
      fs.renameSync(temporary, where);
    }
    for (const { path, bytes } of last) {
      where = join(repositoryFolder, path);
      const temporary = writeBeside(where, bytes, changed);
      if (temporary !== undefined) waiting.push({ temporary, path: where });
    }
    changed.forEach(syncFolder);
    for (const step of waiting) {
      where = step.path;
      fs.renameSync(step.temporary, step.path);
      syncFolder(dirname(step.path));
    }
  } catch (cause) {
    for (const { temporary } of waiting) fs.rmSync(temporary, { force: true });
    throw fault('unwritable', `cannot publish ${where}: ${(cause as Error).message}`, { where, cause });
  }
}

/** Writes and flushes the bytes under a temporary name; undefined when `path` has them already. */
function writeBeside(path: string, bytes: Uint8Array, changed: Set<string>): string | undefined {
  const facts = fs.statSync(path, { throwIfNoEntry: false });
  if (facts?.size === bytes.length && fs.readFileSync(path).equals(bytes)) return undefined;
  makeFolder(dirname(path), changed);
  changed.add(dirname(path));
  const temporary = temporaryNameFor(path);
  try {
    fs.writeFileSync(temporary, bytes, { flag: 'wx', mode: 0o644, flush: true });
  } catch (cause) {
    fs.rmSync(temporary, { force: true });
    throw cause;
  }
  return temporary;
}

/** Makes a folder and marks the parents that got a new entry, so that they are flushed too. */
function makeFolder(folder: string, changed: Set<string>): void {
  const first = fs.mkdirSync(folder, { recursive: true });
  if (first === undefined) return;
  for (let made = folder; made.length >= first.length; made = dirname(made)) changed.add(dirname(made));
}
