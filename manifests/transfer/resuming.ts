// Signed documents and metadata over a line that cuts: what has arrived of a file whose hash and length are signed is kept, and the
// rest is asked for. The same parts, flushes and ranges as payloads have (receive.ts).
import * as fs from 'node:fs';
import { join } from 'node:path';
import { isFault } from '#manifests/errors';
import { readFileBounded } from '#manifests/platform/files';
import { sha256Of } from '#manifests/schema';
import type { Fetcher, Origin, Received, Want } from './origin.ts';

export const RESUME_LIMITS = {
  /** Bytes below which a file is fetched at once: a part of it is not worth its flush. */
  leastBytes: 16 * 1024,
  /** Files of which parts are kept while no whole state comes through. */
  keptParts: 16,
} as const;

export interface Resuming extends Fetcher {
  /** As `fetchSmall`, of a file whose hash and length are known: each byte comes once, and one chunk more for a cut. @throws transfer.* */
  fetchKnown(path: string, want: Want, options?: { signal?: AbortSignal | undefined }): Promise<Received>;
}

/**
 * An origin whose known files are taken up where they were cut, at this one or at another of the same repository. A folder needs
 * none of it. @param folder of parts, private to one process at a time
 */
export function resuming(origin: Pick<Origin, 'name' | 'fetchSmall' | 'download'>, folder: string): Resuming {
  const overLine = /^https?:/i.test(origin.name);
  const plain = (path: string, { size }: Want, signal: AbortSignal | undefined) =>
    origin.fetchSmall(path, { limitBytes: size, signal });
  return {
    fetchSmall: (path, options) => origin.fetchSmall(path, options),
    async fetchKnown(path, want, { signal } = {}) {
      if (!overLine || want.size < RESUME_LIMITS.leastBytes || !/^[0-9a-f]{64}$/.test(want.sha256))
        return plain(path, want, signal);
      const file = join(folder, want.sha256);
      try {
        let bytes = whole(file, want);
        if (bytes === undefined) {
          fs.rmSync(file, { force: true });
          await origin.download(path, want, file, { signal });
          bytes = whole(file, want);
        }
        fs.rmSync(file, { force: true });
        return bytes === undefined ? await plain(path, want, signal) : { kind: 'found', bytes, etag: undefined };
      } catch (error) {
        if (isFault(error, 'transfer.missing')) return { kind: 'missing' };
        // A disk without room for parts is no reason to go without news.
        if (isFault(error, 'transfer.unwritable') || isOfDisk(error)) return plain(path, want, signal);
        throw error;
      }
    },
  };
}

const isOfDisk = (error: unknown) =>
  error instanceof Error && typeof (error as NodeJS.ErrnoException).syscall === 'string' && 'path' in error;

/** What a process that was killed before it used it has left. */
function whole(file: string, { sha256, size }: Want): Uint8Array | undefined {
  if (fs.statSync(file, { throwIfNoEntry: false })?.size !== size) return undefined;
  const bytes = readFileBounded(file, size);
  return bytes !== undefined && sha256Of(bytes) === sha256 ? bytes : undefined;
}

/** Removes parts but those of the newest `keep` files: none is left when a whole state is here, and old ones go in time. */
export function forgetParts(folder: string, keep = 0): void {
  const parts = (fs.existsSync(folder) ? fs.readdirSync(folder) : []).map((name) => {
    const file = join(folder, name);
    return { file, of: name.slice(0, 64), at: fs.statSync(file, { throwIfNoEntry: false })?.mtimeMs ?? 0 };
  });
  const newest = [...new Set(parts.toSorted((a, b) => b.at - a.at).map(({ of }) => of))].slice(0, keep);
  for (const { file, of } of parts) {
    if (newest.includes(of)) continue;
    try {
      fs.rmSync(file, { force: true });
    } catch {
      // a disk that can only be read: what is there stays, and hinders nobody
    }
  }
}
