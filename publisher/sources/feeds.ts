// Feeds beside the catalogs: CISA's catalogue of known exploited vulnerabilities, from its URL or a file, kept as it will be signed.
import * as fs from 'node:fs';
import { basename, dirname, join } from 'node:path';
import { kevFrom } from '#manifests/decide';
import { readFileBounded, writeFileAtomic } from '#manifests/platform/files';
import { canonicalJson, decodePlain, encodePlain, type Kev } from '#manifests/schema';
import { openOrigin } from '#manifests/transfer';
import { fault, SOURCE_LIMITS } from './faults.ts';
import { folderOf } from './origin.ts';

export interface FeedSync {
  readonly changed: boolean;
  readonly kev: Kev;
}

const kevFile = (folder: string) => join(folder, 'kev.json');

/** The catalogue as it was last fetched; null before. @throws document.malformed */
export function readKev(folder: string): Kev | null {
  const bytes = readFileBounded(kevFile(folder), SOURCE_LIMITS.feedBytes);
  return bytes === undefined ? null : decodePlain('kev', bytes, kevFile(folder));
}

/**
 * Fetches the catalogue and keeps it. An older one than was kept is refused: a frozen mirror must not take a deadline away.
 * @param now milliseconds @throws source.feed, source.rollback, source.missing, transfer.*
 */
export async function syncKev(url: string, folder: string, now: number, signal: AbortSignal): Promise<FeedSync> {
  const kev = kevOf(await read(url, signal), url, now);
  const before = readKev(folder);
  if (before !== null && Date.parse(kev.dateReleased) < Date.parse(before.dateReleased))
    throw fault('rollback', `${url}: released ${kev.dateReleased}, before that of ${before.dateReleased} which is kept`, {
      where: url,
    });
  const changed = before === null || canonicalJson(before.entries) !== canonicalJson(kev.entries);
  fs.mkdirSync(folder, { recursive: true });
  writeFileAtomic(kevFile(folder), encodePlain('kev', kev));
  return { changed, kev };
}

async function read(url: string, signal: AbortSignal): Promise<Uint8Array> {
  const local = folderOf({ url, name: 'kev', kind: 'folder', product: 'kev' });
  if (local !== undefined) {
    const bytes = readFileBounded(local, SOURCE_LIMITS.feedBytes);
    if (bytes === undefined) throw fault('missing', `there is no ${local}`, { where: local });
    return bytes;
  }
  const origin = openOrigin(dirname(url));
  try {
    const found = await origin.fetchSmall(basename(url), { limitBytes: SOURCE_LIMITS.feedBytes, signal });
    if (found.kind === 'found') return found.bytes;
    throw fault('missing', `${url} is not there`, { where: url });
  } finally {
    await origin.close();
  }
}

function kevOf(bytes: Uint8Array, url: string, now: number): Kev {
  try {
    return kevFrom(JSON.parse(Buffer.from(bytes).toString('utf8')), now);
  } catch (cause) {
    throw fault('feed', `${url} is not CISA's catalogue of known exploited vulnerabilities`, { where: url, cause });
  }
}
