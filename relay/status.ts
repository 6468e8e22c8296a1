// What happened last on this relay, kept in a file for `status`, for /healthz and for a person with `less`.
import { z } from 'zod';
import { isFault } from '#manifests/errors';
import { utcSeconds } from '#manifests/platform/clock';
import { readFileBounded, writeFileAtomic } from '#manifests/platform/files';
import type { SyncReport } from './mirror/index.ts';

const failure = z.strictObject({ origin: z.string(), code: z.string(), message: z.string() });

const statusFile = z.strictObject({
  schema: z.literal('patchferry/relay-state'),
  schemaVersion: z.literal(1),
  /** Moments, UTC; null when never. */
  lastSync: z.string().nullable(),
  lastGoodSync: z.string().nullable(),
  lastChange: z.string().nullable(),
  origin: z.string().nullable(),
  /** Upstreams passed over in the last sync, and what ended it if nothing could be used. */
  failures: z.array(failure),
  failuresInARow: z.int().min(0),
});
export type RelayStatus = z.infer<typeof statusFile>;

const NEVER: RelayStatus = {
  schema: 'patchferry/relay-state',
  schemaVersion: 1,
  lastSync: null,
  lastGoodSync: null,
  lastChange: null,
  origin: null,
  failures: [],
  failuresInARow: 0,
};

/** The status as last written; a torn file counts as none, it is only information. */
export function readStatus(path: string): RelayStatus {
  try {
    const bytes = readFileBounded(path, 1024 * 1024);
    return bytes === undefined ? NEVER : statusFile.parse(JSON.parse(Buffer.from(bytes).toString('utf8')));
  } catch {
    return NEVER;
  }
}

/** Notes the end of a sync. */
export function noteSync(path: string, now: number, end: SyncReport | { error: unknown }): RelayStatus {
  const before = readStatus(path);
  const at = utcSeconds(now);
  const after: RelayStatus =
    'error' in end
      ? {
          ...before,
          lastSync: at,
          failuresInARow: before.failuresInARow + 1,
          failures: [
            {
              origin: 'sync',
              code: isFault(end.error) ? end.error.code : 'bug',
              message: end.error instanceof Error ? end.error.message : String(end.error),
            },
          ],
        }
      : {
          ...before,
          lastSync: at,
          lastGoodSync: at,
          lastChange: end.changed ? at : before.lastChange,
          origin: end.origin,
          failures: [...end.failures],
          failuresInARow: 0,
        };
  writeFileAtomic(path, `${JSON.stringify(after, null, 1)}\n`);
  return after;
}
