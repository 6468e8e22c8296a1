// A running relay: serves, syncs now and then, takes results in and brings them on. Stops gracefully.
import { schedule } from 'node-cron';
import { type Clock, systemClock } from '#manifests/platform/clock';
import { takeLock } from '#manifests/platform/lock';
import type { Log } from '#manifests/platform/log';
import { hashInPath } from '#manifests/repository';
import { failover, openOrigin } from '#manifests/transfer';
import { envelopeHash } from '#manifests/trust';
import { openAsked, watchDropFolder } from './courier/index.ts';
import { openForwarding } from './forwarding.ts';
import {
  BATCH_LIMITS,
  type ForwardReport,
  INBOX_LIMITS,
  openHop,
  openInbox,
  openLedger,
  openRoom,
  openSpool,
} from './inbox/index.ts';
import { counted, openLine } from './line.ts';
import {
  currentGeneration,
  mirrorLayout,
  openLeisure,
  openPreStage,
  openPull,
  STAGE_LIMITS,
  type SyncReport,
} from './mirror/index.ts';
import { openAlarm, retryMs } from './retry.ts';
import { rosterSource } from './roster.ts';
import { type ServeLimits, startServer } from './serve/index.ts';
import { foldersOf, quotaBytesOf, type RelaySettings, serveRatesOf } from './settings.ts';
import { openSite, relayKeys } from './site/index.ts';
import { readStatus } from './status.ts';
import { syncOnce } from './syncing.ts';

export const RUN_LIMITS = {
  /** The ticks of the clock; what is due is decided at each of them. */
  tick: '*/15 * * * * *',
  /** Looks at the drop folder. */
  dropTick: '*/3 * * * * *',
  /** A sync comes up to this share of `syncEvery` later, so that relays do not come all at once. */
  jitterShare: 0.2,
  /** Milliseconds from an item's arrival to its being forwarded, so that several go together. */
  gatherMs: 200,
} as const;

export interface RunningRelay {
  readonly url: string;
  /** Syncs now; undefined when another process is at it. Never throws: failures are logged and kept in the status. */
  sync(): Promise<SyncReport | undefined>;
  /** Brings on all that is here now: a round that began before is followed by another. Never throws. */
  forward(): Promise<ForwardReport>;
  /** Looks again at what is held, as far as it is due. Never throws. */
  verify(): Promise<void>;
  stop(): Promise<void>;
}

export interface RunOptions {
  readonly clock?: Clock;
  readonly log: Log;
  /** In [0, 1). */
  readonly random?: () => number;
  readonly limits?: Partial<ServeLimits>;
  /** Waits in work at leisure; the system's otherwise. */
  readonly pause?: (milliseconds: number, signal: AbortSignal) => Promise<void>;
}

/** The next moment a sync is due, by how the last one ended. Pure. */
export function nextSyncAt(last: number, failures: number, syncEveryMinutes: number, random: number): number {
  const every = syncEveryMinutes * 60_000;
  return last + (failures === 0 ? Math.round(every * (1 + RUN_LIMITS.jitterShare * random)) : retryMs(failures, every, random));
}

/** Starts the relay. @throws serve.listen, lock.held */
export async function startRelay(settings: RelaySettings, options: RunOptions): Promise<RunningRelay> {
  const { log } = options;
  const clock = options.clock ?? systemClock;
  const random = options.random ?? Math.random;
  const folders = foldersOf(settings);
  const lock = takeLock(folders.runLock, 'run');
  const keys = await relayKeys(folders, settings.site).catch((error: unknown) => {
    lock.release();
    throw error;
  });
  const stopping = new AbortController();
  const { signal } = stopping;

  const ledger = openLedger(folders.ledger, () => clock.now());
  const spool = openSpool(folders.inbox, {
    wentOn: (bytes) => ledger.has(envelopeHash(bytes)),
    now: () => clock.now(),
  });
  const line = openLine(settings, clock, log);
  const hops = settings.inboxForward.map((place) => openHop(place, line.origin));
  const origins = settings.upstream.map((place) => counted(openOrigin(place, line.origin), (bytes) => site.fetched(bytes)));
  const upstream = failover(origins, { clock, random });
  const payloads = openPull({
    mirror: folders.mirror,
    origins,
    clock,
    log,
    signal,
    quotaBytes: quotaBytesOf(settings),
    payloadsNow: line.payloadsNow,
    pinned: () => staging.pinned(),
  });
  const roster = rosterSource(folders.mirror, log);
  const siblings = settings.siblings.map((place) => openHop(place, line.origin));
  const siblingOrigins = settings.siblings
    .filter((place) => /^https?:/i.test(place))
    .map((place) => openOrigin(place, line.origin));
  const soon = debounce(RUN_LIMITS.gatherMs, () => void forwarding.all());
  const site = openSite({
    folders,
    rebootLeases: settings.rebootLeases,
    verifyEveryDays: settings.verifyEveryDays,
    site: settings.site,
    keys,
    spool,
    siblings,
    siblingOrigins,
    random,
    signal,
    onKept: () => soon.call(),
    clock,
    log,
  });
  const room = openRoom({
    spool,
    quotaBytes: settings.inboxMiB === undefined ? undefined : settings.inboxMiB * 1024 * 1024,
    say: (dropped) => site.dropped(dropped),
    droppedOf: (agent) => site.droppedOf(agent),
    log,
    monotonic: () => clock.monotonic(),
  });
  const inbox = openInbox(spool, ledger, roster, log, soon.call, room);
  const here = () => ({ site: settings.site, heard: site.heard(), zone: settings.line.zone });
  const staging = openPreStage({
    mirror: folders.mirror,
    file: folders.staging,
    origins,
    hours: settings.preStageHours,
    here,
    clock,
    log,
    signal,
    quotaBytes: quotaBytesOf(settings),
    payloadsNow: line.payloadsNow,
    makeRoom: () => payloads.makeRoom(),
  });
  const limits = { limitBytes: INBOX_LIMITS.envelopeBytes, memoryBytes: INBOX_LIMITS.memoryBytes };
  const post = (kind: 'results' | 'enrolments', take: (bytes: Uint8Array) => Promise<{ status: number; body: object }>) => ({
    ...limits,
    async handle(bytes: Uint8Array) {
      const told = await take(bytes);
      site.envelope(kind, bytes, told.status);
      return told;
    },
  });

  const leisure = openLeisure({
    mirror: folders.mirror,
    trust: folders.trust,
    everyDays: settings.verifyEveryDays,
    clock,
    log,
    signal,
    onRotten: () => repair(),
    pull: (sha256) => payloads.pull(sha256),
    ...(options.pause === undefined ? {} : { pause: options.pause }),
  });

  let syncAt = 0;
  let repairWanted = false;
  let syncing: Promise<SyncReport | undefined> | undefined;
  const sync = () => {
    if (syncing === undefined) repairWanted = false;
    syncing ??= syncOnce(
      settings,
      { clock, log, signal, payloadsNow: line.payloadsNow, here, makeRoom: () => payloads.makeRoom() },
      origins,
      upstream,
    )
      .then((report) => {
        if (report?.changed === true) void stage();
        return report;
      })
      .finally(() => {
        syncing = undefined;
        const now = clock.monotonic();
        syncAt = repairWanted ? now : nextSyncAt(now, readStatus(folders.status).failuresInARow, settings.syncEvery, random());
        syncAlarm.set(syncAt - now);
      });
    return syncing;
  };

  let stageAt = 0;
  const stage = async () => {
    stageAt = clock.monotonic() + STAGE_LIMITS.lookMs;
    await staging.look();
  };

  const forwarding = openForwarding({
    spool,
    ledger,
    hops,
    clock,
    log,
    signal,
    random,
    onPassedOn: (items) => site.passedOn(items),
  });

  /** What is due between two ticks is done then; a tick makes up for what a machine that slept has missed. */
  const syncIfDue = () => void (origins.length > 0 && !signal.aborted && clock.monotonic() >= syncAt && sync());
  const syncAlarm = openAlarm(syncIfDue);

  /** What is rotten is asked for at once, or when the sync under way has ended. */
  function repair(): void {
    repairWanted = true;
    syncAt = clock.monotonic();
    if (syncing === undefined) syncIfDue();
  }

  const asked = openAsked(folders.courier, folders.mirror);
  const drop = watchDropFolder(settings, { log, signal });

  try {
    const server = await startServer({
      listen: settings.listen,
      mirror: folders.mirror,
      ...(settings.site === undefined ? {} : { onMissing: (path: string) => asked.note(path) }),
      posts: new Map([
        ['/inbox/results', post('results', (bytes) => inbox.result(bytes))],
        ['/inbox/enrolments', post('enrolments', (bytes) => inbox.enrolment(bytes))],
        [
          '/inbox/batches',
          {
            limitBytes: BATCH_LIMITS.bytes,
            memoryBytes: BATCH_LIMITS.bytes * 16,
            handle: (bytes: Uint8Array) => inbox.batch(bytes, (item, status) => site.envelope(item.kind, item.bytes, status)),
          },
        ],
        ...site.posts,
      ]),
      pages: site.pages,
      health: remembered(1_000, () => healthOf(folders, spool.counts())),
      log,
      clock,
      onDemand: (path) => payloads.pull(hashInPath(path) ?? ''),
      onPayload: (path) => payloads.used(hashInPath(path) ?? ''),
      rates: serveRatesOf(settings),
      tls: settings.tls,
      ...(options.limits === undefined ? {} : { limits: options.limits }),
    });
    site.watch(() => server.traffic());
    const ticks = schedule(
      RUN_LIMITS.tick,
      () => {
        site.tick();
        syncIfDue();
        if (syncing === undefined && clock.monotonic() >= stageAt) void stage();
        forwarding.ifDue();
        void leisure.look();
      },
      { suppressMissedWarning: true },
    ); // a missed tick is made up for by the next one
    const dropTicks =
      settings.dropFolder === undefined
        ? undefined
        : schedule(RUN_LIMITS.dropTick, () => void drop.look(), { suppressMissedWarning: true });
    if (origins.length > 0) void sync();
    void forwarding.all();
    return {
      url: server.url,
      sync,
      forward: () => forwarding.all(),
      verify: () => leisure.look(),
      async stop() {
        stopping.abort(new Error('the relay is stopping'));
        await ticks.destroy();
        await dropTicks?.destroy();
        soon.cancel();
        syncAlarm.cancel();
        forwarding.cancel();
        await server.close();
        site.close();
        await Promise.allSettled([syncing, forwarding.idle(), drop.idle(), staging.idle(), site.idle(), leisure.close()]);
        await payloads.close();
        await spool.close().catch((error: Error) => log.error({ error: error.message }, 'the spool could not be flushed'));
        await Promise.allSettled([...origins, ...hops, ...siblings, ...siblingOrigins].map((each) => each.close()));
        lock.release();
      },
    };
  } catch (error) {
    lock.release();
    throw error;
  }
}

function healthOf(folders: ReturnType<typeof foldersOf>, waiting: object): { ok: boolean } & Record<string, unknown> {
  const generation = currentGeneration(mirrorLayout(folders.mirror));
  const { lastGoodSync, failuresInARow } = readStatus(folders.status);
  return {
    ok: generation !== undefined,
    generation: generation?.number ?? null,
    timestamp: generation?.versions.timestamp ?? null,
    lastGoodSync,
    failuresInARow,
    waiting,
  };
}

/** The same answer for a while: whoever asks often costs no disk. */
function remembered<T>(milliseconds: number, ask: () => T): () => T {
  let known: { value: T; at: number } | undefined;
  return () => {
    const now = performance.now();
    if (known === undefined || now - known.at > milliseconds) known = { value: ask(), at: now };
    return known.value;
  };
}

function debounce(milliseconds: number, action: () => void): { call: () => void; cancel: () => void } {
  let timer: NodeJS.Timeout | undefined;
  return {
    call() {
      timer ??= setTimeout(() => {
        timer = undefined;
        action();
      }, milliseconds);
    },
    cancel() {
      clearTimeout(timer);
    },
  };
}
