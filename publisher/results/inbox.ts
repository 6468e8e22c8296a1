// The inbox folder: which envelope files lie there, bounded reading of one, and putting aside what cannot be taken in.
// Whoever fills the folder (a relay, a courier) is not trusted: no link is followed, nothing but regular files is opened.
import * as fs from 'node:fs';
import { basename, dirname, join, relative } from 'node:path';
import { syncFolder, writeFileAtomic } from '#manifests/platform/files';
import { ENVELOPE_LIMITS } from '#manifests/trust';
import { fault } from './layout.ts';

export interface InboxFile {
  readonly path: string;
  readonly kind: 'result' | 'enrolment';
}

/**
 * Envelope files of an inbox, enrolments first, then results by agent and sequence. Files in the making (`.tmp-`) are
 * passed over; what has another name is counted in `others` and left alone.
 * @throws results.inbox-missing when there is no such folder: a medium that is not mounted is not an empty inbox
 */
export function listInbox(folder: string): { files: InboxFile[]; others: number } {
  if (!fs.existsSync(folder)) throw fault('inbox-missing', `there is no inbox at ${folder}`, { where: folder });
  const files: InboxFile[] = [];
  let others = 0;
  const collect = (inside: string, kind: InboxFile['kind']) => {
    for (const entry of entriesOf(inside)) {
      if (entry.name.startsWith('.tmp-')) continue;
      if (entry.name.endsWith('.pfe') && !entry.isDirectory()) files.push({ path: join(inside, entry.name), kind });
      else others += 1;
    }
  };
  collect(join(folder, 'enrolments'), 'enrolment');
  for (const entry of entriesOf(join(folder, 'results'))) {
    if (entry.isDirectory()) collect(join(folder, 'results', entry.name), 'result');
    else if (!entry.name.startsWith('.tmp-')) others += 1;
  }
  return { files, others };
}

function entriesOf(folder: string): fs.Dirent[] {
  try {
    return fs.readdirSync(folder, { withFileTypes: true }).toSorted((a, b) => (a.name < b.name ? -1 : 1));
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return [];
    throw error;
  }
}

export type InboxRead =
  | { readonly kind: 'bytes'; readonly bytes: Uint8Array }
  | { readonly kind: 'gone' }
  | { readonly kind: 'refused'; readonly code: string; readonly says: string };

/** Bytes of one envelope file, at most `ENVELOPE_LIMITS.envelopeBytes`. Errors of the disk are thrown: the file stays. */
export function readInboxFile(path: string): InboxRead {
  let handle: number;
  try {
    handle = fs.openSync(path, fs.constants.O_RDONLY | (fs.constants.O_NOFOLLOW ?? 0) | (fs.constants.O_NONBLOCK ?? 0));
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    if (code === 'ENOENT') return { kind: 'gone' };
    if (code === 'ELOOP') return { kind: 'refused', code: 'results.not-a-file', says: 'is a link, which no relay writes' };
    throw error;
  }
  try {
    const stat = fs.fstatSync(handle);
    if (!stat.isFile()) return { kind: 'refused', code: 'results.not-a-file', says: 'is no regular file' };
    if (stat.size > ENVELOPE_LIMITS.envelopeBytes) {
      const says = `has ${stat.size} bytes; an envelope has at most ${ENVELOPE_LIMITS.envelopeBytes}`;
      return { kind: 'refused', code: 'results.too-large', says };
    }
    const bytes = new Uint8Array(stat.size);
    let filled = 0;
    while (filled < bytes.length) {
      const count = fs.readSync(handle, bytes, filled, bytes.length - filled, null);
      if (count === 0) break;
      filled += count;
    }
    return { kind: 'bytes', bytes: bytes.subarray(0, filled) };
  } finally {
    fs.closeSync(handle);
  }
}

/** Moves a file to `refused/` with a note beside it that says why. Killed in between, the next run does it again. */
export function putAside(inboxFolder: string, path: string, reason: { code: string; says: string }, at: string): string {
  const folder = join(inboxFolder, 'refused');
  fs.mkdirSync(folder, { recursive: true });
  const from = relative(inboxFolder, path);
  const plain = from.replaceAll(/[^A-Za-z0-9.-]+/g, '_').slice(-180);
  let name = plain;
  for (let copy = 2; fs.existsSync(join(folder, name)); copy += 1) name = `${copy}-${plain}`;
  writeFileAtomic(
    join(folder, `${name}.txt`),
    `${from}\n  refused: ${at}\n  why:     ${reason.says}\n  code:    ${reason.code}\n  next:    Nothing of it was stored. To have it looked at again, move it back to ${dirname(from)}/${basename(path)}.\n`,
  );
  fs.renameSync(path, join(folder, name));
  syncFolder(folder);
  return name;
}
