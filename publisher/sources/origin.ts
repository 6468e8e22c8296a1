// Opens the line to the vendor that a source's `url` names, and closes it again.
import { fileURLToPath } from 'node:url';
import { folderOrigin, openOrigin } from '#manifests/transfer';
import type { FetchOptions, SourceSettings, VendorOrigin } from './api.ts';
import { fault } from './faults.ts';

/** Folder of a `file:` URL or the path itself; undefined for http(s). @throws source.settings */
export function folderOf(settings: SourceSettings): string | undefined {
  const { url, name } = settings;
  if (/^https?:\/\//i.test(url)) return undefined;
  if (/^file:/i.test(url)) {
    try {
      return fileURLToPath(url);
    } catch (cause) {
      throw fault('settings', `source ${name}: ${url} is no file: URL`, { where: `source ${name}`, cause });
    }
  }
  if (url === '' || /^[a-z][a-z0-9+.-]+:/i.test(url)) {
    throw fault('settings', `source ${name}: \`url\` must be http:, https:, file: or a folder`, { where: `source ${name}` });
  }
  return url;
}

/** What a vendor's folder has at its root: without it a medium is not mounted, or the path is wrong. */
const MARKS = { apt: 'dists', rpm: 'repodata', folder: '.' } as const;

/** Runs `work` with the given origin, or with one opened for `url` and closed afterwards. */
export async function withOrigin<T>(
  settings: SourceSettings,
  options: Pick<FetchOptions, 'origin'>,
  work: (origin: VendorOrigin) => Promise<T>,
): Promise<T> {
  if (options.origin !== undefined) return work(options.origin);
  const folder = folderOf(settings);
  const origin = folder === undefined ? openOrigin(settings.url) : folderOrigin(folder, MARKS[settings.kind]);
  try {
    return await work(origin);
  } finally {
    await origin.close();
  }
}
