// Importing into this relay: verified bundles go through the mirror's normal sync, so that every check of the signed metadata
// holds for a stick as it does for a line, and the switch to a new generation is the only thing that becomes visible.
import { join } from 'node:path';
import { type Arrived, openSite, type ReceiveReport, readReceived, receiveContent } from '#manifests/courier';
import { systemClock } from '#manifests/platform/clock';
import { readFileBounded } from '#manifests/platform/files';
import type { Log } from '#manifests/platform/log';
import { formatBytes, type Progress } from '#manifests/platform/progress';
import { folderOrigin } from '#manifests/transfer';
import { openTrust, TRUST_LIMITS } from '#manifests/trust';
import { noteForwarded } from '../inbox/index.ts';
import { collectGarbage, syncMirror } from '../mirror/index.ts';
import { foldersOf, type RelaySettings } from '../settings.ts';
import { noteSync } from '../status.ts';
import { acknowledge, readReturns } from './returns.ts';

export interface CourierOptions {
  readonly settings: RelaySettings;
  /** Stick or drop folder. */
  readonly place: string;
  readonly medium: 'stick' | 'folder';
  readonly log: Log;
  readonly dryRun?: boolean | undefined;
  readonly final?: boolean | undefined;
  readonly signal?: AbortSignal | undefined;
  progress?(label: string, total: number): Progress;
}

/** Roots this relay trusts: those of its state, and the pinned one before the first sync. */
export function trustedRoots(settings: RelaySettings): Uint8Array[] {
  const { trust } = foldersOf(settings);
  const pinned =
    settings.upstreamRoot === undefined ? undefined : readFileBounded(settings.upstreamRoot, TRUST_LIMITS.rootBytes);
  const known = (() => {
    try {
      const client = openTrust({
        folder: trust,
        now: () => systemClock.now(),
        ...(pinned === undefined ? {} : { pinnedRoot: pinned }),
      });
      return client
        .metadataFiles()
        .filter(({ name }) => /^\d+\.root\.json$/.test(name))
        .map(({ bytes }) => bytes);
    } catch {
      return []; // no state yet, and no root: said by whoever needs one
    }
  })();
  return known.length > 0 || pinned === undefined ? known : [pinned];
}

/** Trusted time of this relay, ms; the clock alone before anything was verified. */
function trustedNow(settings: RelaySettings): number {
  try {
    return openTrust({ folder: foldersOf(settings).trust, now: () => systemClock.now() }).freshness().trustedTime;
  } catch {
    return systemClock.now();
  }
}

/** @throws bundle.*, courier.*, mirror.*, lock.held */
export async function importBundles(options: CourierOptions): Promise<ReceiveReport> {
  const { settings, place, medium, log } = options;
  const folders = foldersOf(settings);
  const site = await openSite(folders.courier, settings.site);
  const { request } = readReturns(folders.courier);
  return receiveContent({
    place,
    medium,
    site,
    roots: trustedRoots(settings),
    folder: folders.courier,
    now: trustedNow(settings),
    request: request === null ? undefined : { id: request.id, sequence: request.sequence },
    dryRun: options.dryRun,
    final: options.final,
    answer: settings.returns !== 'nothing',
    by: `relay ${site.name}`,
    signal: options.signal,
    ...(options.progress === undefined ? {} : { progress: (label, total) => options.progress?.(label, total) as Progress }),
    async apply(arrived) {
      const says = await show(options, arrived);
      log.info({ bundle: arrived.index.id, sequence: arrived.index.sequence, site: site.name }, 'bundle imported');
      return says;
    },
  });
}

/** One sync from the verified tree. Killed anywhere, the old generation or the new one is served, and the bundle is taken again. */
async function show({ settings, log, signal }: CourierOptions, { index, tree }: Arrived): Promise<string> {
  const folders = foldersOf(settings);
  const report = await syncMirror({
    ...folders,
    origins: [folderOrigin(tree)],
    pinnedRoot: settings.upstreamRoot,
    payloads: settings.payloads,
    clock: systemClock,
    log,
    signal,
    anew: true,
  });
  noteSync(folders.status, systemClock.now(), report);
  const received = readReceived(tree, index.site);
  const dropped = acknowledge(
    folders.courier,
    folders.inbox,
    (hashes) => noteForwarded(folders.ledger, hashes, systemClock.now()),
    received,
  );
  const gone = collectGarbage({ mirror: folders.mirror, lock: folders.lock, dryRun: false, now: systemClock.now() });
  const { generation } = report;
  return [
    `now at generation ${generation.number} (timestamp ${generation.versions.timestamp}): ${counted(report.fetchedPayloads, 'new payload')}, ${formatBytes(report.fetchedBytes)}`,
    ...(generation.absent > 0 ? [`not here yet of what baselines name: ${counted(generation.absent, 'payload')}`] : []),
    ...(dropped > 0
      ? [`the publisher has ${counted(dropped, 'result or enrolment', 'results and enrolments')} of the last returns`]
      : []),
    ...(gone.payloads > 0 ? [`removed, as nothing names it any more: ${counted(gone.payloads, 'payload')}`] : []),
  ].join('; ');
}

/** Where drafts of returns lie until they are whole on a stick. */
export const draftsOf = (courier: string) => join(courier, 'drafts');

/** `1 payload`, `3 payloads`. */
export const counted = (count: number, one: string, many: string = `${one}s`) => `${count} ${count === 1 ? one : many}`;
