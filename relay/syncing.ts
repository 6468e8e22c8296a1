// One sync of a running relay: its end is noted, and what nobody needs any more is removed.
import { isFault } from '#manifests/errors';
import type { Clock } from '#manifests/platform/clock';
import type { Log } from '#manifests/platform/log';
import type { Failover, Origin } from '#manifests/transfer';
import { collectGarbage, type Here, type SyncReport, syncMirror } from './mirror/index.ts';
import { foldersOf, quotaBytesOf, type RelaySettings } from './settings.ts';
import { noteSync } from './status.ts';

/** Never throws: a failure is logged and noted. @returns undefined when it failed, or another process is at it */
export async function syncOnce(
  settings: RelaySettings,
  {
    clock,
    log,
    signal,
    payloadsNow,
    here,
    makeRoom,
  }: { clock: Clock; log: Log; signal: AbortSignal; payloadsNow: () => boolean; here: () => Here; makeRoom: () => unknown },
  origins: readonly Origin[],
  upstream: Failover,
): Promise<SyncReport | undefined> {
  const folders = foldersOf(settings);
  try {
    const report = await syncMirror({
      ...folders,
      origins,
      upstream,
      pinnedRoot: settings.upstreamRoot,
      payloads: settings.payloads,
      products: settings.products,
      quotaBytes: quotaBytesOf(settings),
      payloadsNow,
      here,
      clock,
      log,
      signal,
    });
    noteSync(folders.status, clock.now(), report);
    for (const failure of report.failures) log.warn(failure, 'an upstream was passed over');
    if (report.changed) {
      const gone = collectGarbage({ mirror: folders.mirror, lock: folders.lock, dryRun: false, now: clock.now() });
      if (gone.payloads > 0) log.info({ payloads: gone.payloads, bytes: gone.bytes }, 'removed what nothing names any more');
      makeRoom();
    }
    return report;
  } catch (error) {
    if (signal.aborted) return undefined;
    if (isFault(error, 'lock.held')) {
      log.info({ reason: error.message }, 'another process is syncing');
      return undefined;
    }
    noteSync(folders.status, clock.now(), { error });
    log.error({ code: isFault(error) ? error.code : 'bug', reason: (error as Error).message }, 'sync failed');
    return undefined;
  }
}
