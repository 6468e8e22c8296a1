// The station inside a running relay: leases to ask for, pages to look at, and what it watches to fill them.
import type { Clock } from '#manifests/platform/clock';
import type { Log } from '#manifests/platform/log';
import { inspectEnvelope } from '#manifests/trust';
import type { PageHandler, PostHandler, Traffic } from '../serve/index.ts';
import type { RelayFolders } from '../settings.ts';
import type { LeaseChoice } from './choices.ts';
import { concernsOf } from './concerns.ts';
import { signedSource } from './documents.ts';
import { gatherFacts, type SiteFacts } from './facts.ts';
import { leaseService } from './fleetlock.ts';
import { openLeases } from './lease-store.ts';
import { SITE_LIMITS } from './limits.ts';
import { METRICS_TYPE, renderMetrics } from './metrics.ts';
import { heardLately, openObserver } from './observed.ts';
import { PAGE_PATHS, renderSite } from './page.ts';

export interface Site {
  /** By path, for the server. */
  readonly posts: ReadonlyMap<string, PostHandler>;
  readonly pages: ReadonlyMap<string, PageHandler>;
  /** Notes an envelope and how it was answered. */
  envelope(kind: 'results' | 'enrolments', bytes: Uint8Array, status: number): void;
  fetched(bytes: number): void;
  /** Agents that were heard here lately. */
  heard(): ReadonlySet<string>;
  passedOn(items: number): void;
  /** The server's own figures; asked for now and then. */
  watch(traffic: () => Traffic): void;
  /** Writes what was observed, at most once in a while. */
  tick(): void;
  /** Writes what was observed. */
  close(): void;
}

export interface SiteOptions {
  readonly folders: RelayFolders;
  readonly rebootLeases: LeaseChoice;
  readonly clock: Clock;
  readonly log: Log;
  /** Gives every envelope that was taken in its own file, so that what is read from files is all of it. */
  readonly settle?: () => unknown;
}

const NO_TRAFFIC: Traffic = { requests: 0, sentBytes: 0, receivedBytes: 0, connections: 0 };
const HTML_HEADERS = {
  'content-security-policy':
    "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'",
  'x-content-type-options': 'nosniff',
  'referrer-policy': 'no-referrer',
};

/** @throws files.unreadable */
export function openSite({ folders, rebootLeases, clock, log, settle }: SiteOptions): Site {
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
    settle?.();
    const gathered = gatherFacts({ folders, clock, documents, observed: observer.now(), leases: store.held() });
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

  return {
    posts: service?.posts ?? new Map(),
    pages: new Map([...PAGE_PATHS.map((path) => [path, page] as const), ['/metrics', metrics], ['/readyz', ready]]),
    envelope(kind, bytes, status) {
      const name = `${kind} ${status}`;
      envelopes.set(name, (envelopes.get(name) ?? 0) + 1);
      if (status === 201) observer.add({ taken: 1 });
      if (kind !== 'results' || (status !== 200 && status !== 201)) return;
      const { agent, sequence } = inspectEnvelope(bytes);
      observer.result(agent, sequence);
    },
    heard: () => heardLately(observer.now(), clock.now()),
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
      if (clock.monotonic() - savedAt >= SITE_LIMITS.observedEveryMs) save();
    },
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
