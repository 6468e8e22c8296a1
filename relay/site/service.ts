// The station inside a running relay: leases to ask for, pages to look at, and what it watches to fill them.
import { type Clock, utcSeconds } from '#manifests/platform/clock';
import type { Log } from '#manifests/platform/log';
import type { Origin } from '#manifests/transfer';
import { inspectEnvelope } from '#manifests/trust';
import { type Dropped, type Hop, runsOf, type Spool } from '../inbox/index.ts';
import { openRecordStore, openRecords, RECORDS_LIMITS } from '../records/index.ts';
import type { PageHandler, PostHandler, Traffic } from '../serve/index.ts';
import type { RelayFolders } from '../settings.ts';
import type { LeaseChoice } from './choices.ts';
import { concernsOf } from './concerns.ts';
import { signedSource } from './documents.ts';
import { gatherFacts, type SiteFacts } from './facts.ts';
import { leaseService } from './fleetlock.ts';
import { openFuse } from './fuse.ts';
import { agentAnswers, siblingAnswers } from './halts.ts';
import type { RelayKeys } from './keys.ts';
import { openLeases } from './lease-store.ts';
import { SITE_LIMITS } from './limits.ts';
import { METRICS_TYPE, renderMetrics } from './metrics.ts';
import { heardLately, openObserver } from './observed.ts';
import { PAGE_PATHS, renderSite } from './page.ts';
import { openSiblings } from './siblings.ts';

export interface Site {
  /** By path, for the server. */
  readonly posts: ReadonlyMap<string, PostHandler>;
  readonly pages: Pick<ReadonlyMap<string, PageHandler>, 'get'>;
  /** Notes an envelope and how it was answered. */
  envelope(kind: 'results' | 'enrolments', bytes: Uint8Array, status: number): void;
  /** Says which results an agent lost here, before they go. @throws files.unwritable */
  dropped(what: Dropped): void;
  /** Sequences of an agent that were dropped here and have not come again. */
  droppedOf(agent: string): ReadonlySet<number>;
  fetched(bytes: number): void;
  /** Agents that were heard here lately. */
  heard(): ReadonlySet<string>;
  passedOn(items: number): void;
  /** The server's own figures; asked for now and then. */
  watch(traffic: () => Traffic): void;
  /** Writes what was observed, at most once in a while. */
  tick(): void;
  /** Ends when nothing is being read from other relays. */
  idle(): Promise<unknown>;
  /** Writes what was observed. */
  close(): void;
}

export interface SiteOptions {
  readonly folders: RelayFolders;
  readonly rebootLeases: LeaseChoice;
  /** Days within which everything that is held is looked at again; 0: never. */
  readonly verifyEveryDays: number;
  /** Name of this site. */
  readonly site?: string | undefined;
  readonly keys: RelayKeys;
  readonly spool: Pick<Spool, 'items' | 'keepRecord' | 'unplaced'>;
  /** The other relays of the site: to tell them halts, and to read what they count. */
  readonly siblings: readonly Hop[];
  readonly siblingOrigins: readonly Origin[];
  /** In [0, 1). */
  readonly random: () => number;
  readonly signal: AbortSignal;
  /** Told after something came that has to go on. */
  readonly onKept: () => void;
  readonly clock: Clock;
  readonly log: Log;
}

const NONE: ReadonlySet<number> = new Set();
const NO_TRAFFIC: Traffic = { requests: 0, sentBytes: 0, receivedBytes: 0, connections: 0 };
const HTML_HEADERS = {
  'content-security-policy':
    "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'",
  'x-content-type-options': 'nosniff',
  'referrer-policy': 'no-referrer',
};

/** @throws files.unreadable */
export function openSite(options: SiteOptions): Site {
  const { folders, rebootLeases, site, keys, clock, log, signal } = options;
  const startedAt = clock.now();
  const complaints = new Set<string>();
  const complain = (reason: string) => {
    if (complaints.has(reason) || complaints.size > 100) return;
    complaints.add(reason);
    log.error({ reason }, 'a signed document cannot be read');
  };
  const documents = signedSource(folders.mirror, complain, () => clock.monotonic());
  const store = openLeases(folders.leases, clock);
  const service = rebootLeases === 'off' ? undefined : leaseService(rebootLeases, { documents, store, clock, log });
  const observer = openObserver(folders.observed, clock);
  const kept = openRecordStore(folders.records);
  const records = openRecords({ ...options, store: kept, documents, key: keys.sign });
  const fuse = openFuse({
    file: folders.fuse,
    kept: folders.fuseRuns,
    site,
    box: keys.box,
    signKey: keys.sign.publicKey,
    documents,
    siblings: options.siblingOrigins.map(({ name }) => name),
    inForce: (name) => records.inForce(name),
    halt: (halt) => records.halt(halt),
    clock,
    log,
  });
  const lost = new Map<string, Set<number>>();
  const lostOf = (agent: string) => lost.getOrInsertComputed(agent, () => new Set());
  for (const { key, gap } of kept.gaps())
    if (key === keys.sign.publicKey)
      for (const { from, to } of gap.dropped)
        for (let sequence = from; sequence <= to; sequence += 1) lostOf(gap.agent).add(sequence);

  const siblings = openSiblings({
    ...options,
    origins: options.siblingOrigins,
    site,
    fuse,
    documents,
    onCounted: () => lookAtFuses(),
  });

  /** Trips what has to, and tells the other relays; nothing here may hold up a result. */
  function lookAtFuses(): void {
    try {
      fuse.look();
      void records.tellSiblings(site, signal);
    } catch (error) {
      log.error({ reason: (error as Error).message }, 'a halt of this site cannot be written');
    }
  }
  const envelopes = new Map<string, number>();
  const totals = { passedOn: 0, fetchedBytes: 0 };
  let trafficNow = () => NO_TRAFFIC;
  let counted = NO_TRAFFIC;
  let savedAt = clock.monotonic();

  /** Adds to today what the server has counted since the last look. */
  function countTraffic(): void {
    const now = trafficNow();
    observer.add({
      requests: now.requests - counted.requests,
      sentBytes: now.sentBytes - counted.sentBytes,
      receivedBytes: now.receivedBytes - counted.receivedBytes,
    });
    counted = now;
  }

  /**
   * Gathered once for all who ask within a while, and the rarer the longer it takes (a full inbox has many files), so that
   * whoever asks often costs the relay little.
   */
  let known: { facts: SiteFacts; until: number } | undefined;
  function facts(): SiteFacts {
    const began = clock.monotonic();
    if (known !== undefined && began < known.until) return known.facts;
    countTraffic();
    const gathered = gatherFacts({
      folders,
      site,
      signKey: keys.sign.publicKey,
      clock,
      verifyEveryDays: options.verifyEveryDays,
      documents,
      observed: observer.now(),
      leases: store.held(),
      unplaced: options.spool.unplaced(),
    });
    const ended = clock.monotonic();
    known = { facts: gathered, until: ended + Math.max(SITE_LIMITS.rememberMs, (ended - began) * SITE_LIMITS.rememberTimes) };
    return gathered;
  }

  function save(): void {
    savedAt = clock.monotonic();
    countTraffic();
    try {
      observer.save();
    } catch (error) {
      log.warn({ reason: (error as Error).message }, 'what was observed cannot be written');
    }
  }

  const page: PageHandler = () => ({
    status: 200,
    type: 'text/html; charset=utf-8',
    body: renderSite(facts()),
    headers: HTML_HEADERS,
  });
  const metrics: PageHandler = () => ({
    status: 200,
    type: METRICS_TYPE,
    body: renderMetrics(facts(), {
      startedAt,
      traffic: trafficNow(),
      leaseAnswers: service?.answers() ?? new Map(),
      envelopes,
      ...totals,
    }),
  });
  const ready: PageHandler = () => {
    const reasons = concernsOf(facts()).flatMap(({ level, about, says }) => (level === 'bad' ? [`${about}: ${says}`] : []));
    return {
      status: reasons.length === 0 ? 200 : 503,
      type: 'application/json',
      body: `${JSON.stringify({ ok: reasons.length === 0, reasons })}\n`,
    };
  };

  const posts = new Map(service?.posts ?? []);
  posts.set('/inbox/records', {
    limitBytes: RECORDS_LIMITS.recordBytes,
    memoryBytes: RECORDS_LIMITS.memoryBytes,
    handle: (bytes) => records.take(bytes),
  });
  const front = () => ({
    status: 302,
    type: 'text/plain',
    body: 'The status page is at /site/\n',
    headers: { location: '/site/' },
  });
  const pages = new Map<string, PageHandler>([
    ['/', front],
    ...PAGE_PATHS.map((path) => [path, page] as const),
    ['/metrics', metrics],
    ['/readyz', ready],
  ]);

  return {
    posts,
    pages: { get: (path) => pages.get(path) ?? agentAnswers(records, path) ?? siblingAnswers(fuse, site, path) },
    envelope(kind, bytes, status) {
      const name = `${kind} ${status}`;
      envelopes.set(name, (envelopes.get(name) ?? 0) + 1);
      if (status === 201) observer.add({ taken: 1 });
      if (kind !== 'results' || (status !== 200 && status !== 201)) return;
      const { agent, sequence } = inspectEnvelope(bytes);
      observer.result(agent, sequence);
      lost.get(agent)?.delete(sequence);
      try {
        if (!fuse.note(bytes)) return;
        lookAtFuses();
        void siblings.look(true);
      } catch (error) {
        log.error({ reason: (error as Error).message }, 'a result cannot be counted for the fuse');
      }
    },
    heard: () => heardLately(observer.now(), clock.now()),
    dropped({ agent, sequences, bytes, why }) {
      records.gap({
        schema: 'patchferry/relay-gap',
        schemaVersion: 1,
        site: site ?? null,
        signedAt: utcSeconds(clock.now()),
        agent,
        dropped: runsOf(sequences),
        results: sequences.length,
        bytes,
        why,
      });
      for (const sequence of sequences) lostOf(agent).add(sequence);
    },
    droppedOf: (agent) => lost.get(agent) ?? NONE,
    fetched(bytes) {
      totals.fetchedBytes += bytes;
      observer.add({ fetchedBytes: bytes });
    },
    passedOn(items) {
      totals.passedOn += items;
      observer.add({ passedOn: items });
    },
    watch(traffic) {
      trafficNow = traffic;
    },
    tick() {
      try {
        store.tick();
      } catch (error) {
        log.error({ reason: (error as Error).message }, 'leases cannot be written');
      }
      lookAtFuses();
      void siblings.look();
      if (clock.monotonic() - savedAt >= SITE_LIMITS.observedEveryMs) {
        save();
        records.tidy();
      }
    },
    idle: () => siblings.idle(),
    close() {
      save();
      try {
        store.close();
      } catch (error) {
        log.error({ reason: (error as Error).message }, 'leases cannot be written');
      }
    },
  };
}
