// Everything the site page, the metrics and the doctor say, gathered from files once. Nothing here changes anything.
import * as fs from 'node:fs';
import { hostname } from 'node:os';
import { join } from 'node:path';
import { judgeSiteHalt } from '#manifests/decide';
import { type Clock, utcSeconds } from '#manifests/platform/clock';
import type { RelayGap } from '#manifests/schema';
import { type Freshness, openTrust } from '#manifests/trust';
import { filesIn, type Unplaced, viewInbox } from '../inbox/index.ts';
import {
  type CheckedView,
  currentGeneration,
  generationNumbers,
  mirrorLayout,
  readStaging,
  type Staging,
  viewChecked,
} from '../mirror/index.ts';
import { inForce, openRecordStore } from '../records/index.ts';
import type { RelayFolders } from '../settings.ts';
import { type RelayStatus, readStatus } from '../status.ts';
import type { FuseFacts } from './counts.ts';
import { type SignedSource, type SignedStop, signedSource } from './documents.ts';
import { fuseFacts } from './fuse.ts';
import type { SiblingCursor } from './fuse-file.ts';
import { readLeases } from './lease-store.ts';
import type { Lease } from './leases.ts';
import { type Observations, readObserved, type UsageDay } from './observed.ts';

export interface SiteHost {
  readonly agent: string;
  readonly title: string;
  readonly group: string;
  readonly standing: 'approved' | 'revoked' | 'unknown';
  /** When its last result came here, and that result's number; null: never. */
  readonly lastResult: string | null;
  readonly lastSequence: number | null;
  /** Up to where results went on from here; null: none did, or unknown. */
  readonly deliveredSequence: number | null;
  /** Up to where the publisher has signed that it has them. */
  readonly ackedSequence: number | null;
  /** Results here that wait to go on, and since when the oldest does. */
  readonly waiting: number;
  readonly waitingSince: string | null;
}

export interface SiteDisk {
  readonly name: 'state' | 'cache';
  readonly folder: string;
  readonly freeBytes: number;
  readonly sizeBytes: number;
}

export interface SiteHaltFacts {
  /** SHA-256 of what was signed: the publisher lifts it by this. */
  readonly id: string;
  readonly site: string;
  readonly name: string;
  readonly signedAt: string;
  readonly groups: readonly string[];
  readonly stops: readonly string[];
  readonly reason: string;
  /** In force; or why it is not (any more). */
  readonly state: 'in-force' | 'over' | 'lifted' | 'refused';
  readonly by: 'fuse' | 'hand';
  /** When it ends at the latest, UTC; null where it does not count. */
  readonly endsAt: string | null;
  /** Why it does not count; else empty. */
  readonly says: string;
  /** By this relay; null where its key is not known. */
  readonly own: boolean | null;
}

export interface SiteFacts {
  readonly at: string;
  /** Name of this site, and of the machine. */
  readonly site: string | null;
  readonly machine: string;
  readonly hosts: readonly SiteHost[];
  readonly rosterSignedAt: string | null;
  readonly waiting: { readonly results: number; readonly enrolments: number; readonly refused: number; readonly bytes: number };
  /** Since when the oldest thing waits. */
  readonly waitingSince: string | null;
  readonly status: RelayStatus;
  readonly generation: {
    readonly number: number;
    readonly madeAt: string;
    readonly from: string;
    readonly timestamp: number;
    readonly products: readonly string[];
    /** Products that the settings select and that no catalog is of. */
    readonly unknownProducts: readonly string[];
    /** The setting `payloads` that this generation was made with. */
    readonly selection: string;
    readonly payloadCount: number;
    readonly payloadBytes: number;
    readonly absent: number;
    /** Payloads that wait for a free hour of the line, and for room. */
    readonly waiting: number;
    readonly overQuota: number;
  } | null;
  /** Numbers of the generations on disk. */
  readonly generations: readonly number[];
  readonly freshness: Freshness | null;
  readonly disks: readonly SiteDisk[];
  readonly days: readonly UsageDay[];
  /** Null when the file of leases cannot be understood. */
  readonly leases: readonly (Lease & { readonly title: string })[] | null;
  readonly stops: readonly SignedStop[];
  /** What relays have halted, in force or not. */
  readonly siteHalts: readonly SiteHaltFacts[];
  /** Fuses of the signed rollouts; why this relay cannot trip any, empty when it can. */
  readonly fuses: readonly FuseFacts[];
  readonly fuseSays: string;
  /** How far the runs that other relays of the site count are known here. */
  readonly siblings: readonly Pick<SiblingCursor, 'sibling' | 'failing'>[];
  /** Results that relays had to drop, by the relay that did; newest first. */
  readonly gaps: readonly (RelayGap & { readonly title: string; readonly own: boolean | null })[];
  /** Looks at everything that is held, and what they found rotten. */
  readonly checked: CheckedView;
  /** Payloads brought ahead of windows; null before the first look. */
  readonly staging: Staging | null;
}

export interface GatherOptions {
  readonly folders: RelayFolders;
  readonly clock: Clock;
  /** Days within which everything that is held is looked at again; 0: never. */
  readonly verifyEveryDays: number;
  /** Name of this site, and the signing key of this relay where it is known. */
  readonly site?: string | undefined;
  readonly signKey?: string | undefined;
  /** What a running relay has in memory already; a command reads it from files. */
  readonly documents?: SignedSource;
  readonly observed?: Observations;
  readonly leases?: readonly Lease[];
  readonly unplaced?: readonly Unplaced[];
}

export function gatherFacts({ folders, site, signKey, clock, ...given }: GatherOptions): SiteFacts {
  const now = clock.now();
  const documents =
    given.documents ??
    signedSource(
      folders.mirror,
      () => undefined,
      () => clock.monotonic(),
    );
  const observed = given.observed ?? readObserved(folders.observed);
  const leases = given.leases ?? readLeases(folders.leases);
  const layout = mirrorLayout(folders.mirror);
  const generation = currentGeneration(layout);
  const isOwn = (key: string) => (signKey === undefined ? null : key === signKey);
  const kept = openRecordStore(folders.records);
  const gaps = kept.gaps();
  const spooled = spoolOf(
    given.unplaced === undefined
      ? viewInbox(folders.inbox, { ledger: folders.ledger, now, dropped: droppedSince(gaps) })
      : [...filesIn(folders.inbox), ...given.unplaced],
  );
  const fuse = fuseFacts(documents, { file: folders.fuse, site, signKey, at: now });
  const roster = documents.roster();
  const acks = documents.acks();
  const known = new Set([...(roster?.keys() ?? []), ...observed.agents.keys(), ...spooled.agents.keys()]);
  const hosts = [...known].map((agent): SiteHost => {
    const entry = roster?.get(agent);
    const seen = observed.agents.get(agent);
    const here = spooled.agents.get(agent);
    const lastSequence = Math.max(seen?.sequence ?? -1, here?.last ?? -1);
    const delivered = here === undefined ? lastSequence : here.first - 1;
    return {
      agent,
      title: entry?.title ?? agent,
      group: entry?.group ?? '',
      standing: entry?.status ?? 'unknown',
      lastResult: later(seen?.at, here === undefined ? undefined : utcSeconds(here.newest)),
      lastSequence: lastSequence < 0 ? null : lastSequence,
      deliveredSequence: delivered < 0 || (here !== undefined && delivered < 1) ? null : delivered,
      ackedSequence: acks.get(agent) ?? null,
      waiting: here?.count ?? 0,
      waitingSince: here === undefined ? null : utcSeconds(here.oldest),
    };
  });
  return {
    at: utcSeconds(now),
    site: site ?? null,
    machine: hostname(),
    hosts: hosts.toSorted((a, b) => byText(a.title, b.title) || byText(a.agent, b.agent)),
    rosterSignedAt: documents.rosterSignedAt() ?? null,
    waiting: spooled.counts,
    waitingSince: spooled.oldest === undefined ? null : utcSeconds(spooled.oldest),
    status: readStatus(folders.status),
    generation:
      generation === undefined
        ? null
        : {
            number: generation.number,
            madeAt: generation.madeAt,
            from: generation.from,
            timestamp: generation.versions.timestamp,
            products: generation.products,
            selection: generation.payloads,
            payloadCount: generation.payloadCount,
            payloadBytes: generation.payloadBytes,
            absent: generation.absent,
            waiting: generation.waiting,
            overQuota: generation.overQuota,
            unknownProducts: generation.only.filter((name) => !generation.products.includes(name)),
          },
    generations: generationNumbers(layout),
    freshness: generation === undefined ? null : freshnessOf(folders.trust, now),
    disks: [diskOf('state', folders.state), diskOf('cache', folders.cache)].flatMap((disk) => disk ?? []),
    days: observed.days,
    leases: leases?.map((lease) => ({ ...lease, title: roster?.get(lease.id)?.title ?? lease.id })) ?? null,
    siteHalts: kept.halts().map(({ id, key, halt, since }): SiteHaltFacts => {
      const verdict = judgeSiteHalt({ id, key, halt, since }, documents.delegation(halt.site) ?? null);
      const { site: of, name, signedAt, groups, stops, reason } = halt;
      const state = verdict.kind === 'counts' ? (inForce(verdict, now) ? 'in-force' : 'over') : verdict.kind;
      const [endsAt, says] = verdict.kind === 'counts' ? [verdict.halt.until, ''] : [null, verdict.says];
      const by = halt.fuse === null ? 'hand' : 'fuse';
      return { id, site: of, name, signedAt, groups, stops, reason, state, by, endsAt, says, own: isOwn(key) };
    }),
    fuses: fuse.fuses,
    fuseSays: fuse.says,
    siblings: fuse.siblings.map(({ sibling, failing }) => ({ sibling, failing })),
    gaps: gaps.map(({ key, gap }) => ({ ...gap, title: roster?.get(gap.agent)?.title ?? gap.agent, own: isOwn(key) })),
    checked: viewChecked(layout, given.verifyEveryDays, now),
    staging: readStaging(folders.staging),
    stops: documents.stops().filter((stop) => !isOver(stop, now)),
  };
}

const byText = (a: string, b: string) => (a < b ? -1 : a > b ? 1 : 0);
const later = (a: string | undefined, b: string | undefined): string | null =>
  [a, b]
    .filter((moment) => moment !== undefined)
    .toSorted()
    .at(-1) ?? null;

const isOver = (stop: SignedStop, now: number): boolean =>
  stop.kind === 'halt' && stop.halt.until !== null && Date.parse(stop.halt.until) <= now;

/** Null when the trusted metadata is gone or damaged: the next sync puts it right. */
function freshnessOf(folder: string, now: number): Freshness | null {
  try {
    return openTrust({ folder, now: () => now }).freshness();
  } catch {
    return null;
  }
}

/** The file system a folder lies on, or will lie on. */
function diskOf(name: SiteDisk['name'], folder: string): SiteDisk | undefined {
  for (let place = folder; ; place = join(place, '..')) {
    try {
      const { bavail, blocks, bsize } = fs.statfsSync(place);
      return { name, folder, freeBytes: bavail * bsize, sizeBytes: blocks * bsize };
    } catch {
      if (join(place, '..') === place) return undefined;
    }
  }
}

interface Spooled {
  count: number;
  /** Sequence numbers. */
  first: number;
  last: number;
  /** Milliseconds. */
  oldest: number;
  newest: number;
}

/** Of each agent what waits, and how much of everything there is. */
function spoolOf(items: readonly Unplaced[]) {
  const agents = new Map<string, Spooled>();
  const counts = { results: 0, enrolments: 0, refused: 0, bytes: 0 };
  let oldest: number | undefined;
  for (const { path, bytes, at } of items) {
    const part = path.slice(0, path.indexOf('/')) as 'results' | 'enrolments' | 'refused';
    counts[part] += 1;
    counts.bytes += bytes;
    if (part === 'refused') continue;
    oldest = Math.min(oldest ?? at, at);
    const result = /^results\/([0-9a-f]{32})\/(\d{12,16})-/.exec(path);
    if (result === null) continue;
    const [agent, sequence] = [result[1] ?? '', Number(result[2])];
    const of = agents.get(agent) ?? { count: 0, first: sequence, last: sequence, oldest: at, newest: at };
    agents.set(agent, {
      count: of.count + 1,
      first: Math.min(of.first, sequence),
      last: Math.max(of.last, sequence),
      oldest: Math.min(of.oldest, at),
      newest: Math.max(of.newest, at),
    });
  }
  return { agents, counts, oldest };
}

type Gaps = ReturnType<ReturnType<typeof openRecordStore>['gaps']>;

/** Whether a result that came at a moment (ms) is one of those that were dropped since. */
function droppedSince(gaps: Gaps): (agent: string, sequence: number, cameAt: number) => boolean {
  const byAgent = Map.groupBy(gaps, ({ gap }) => gap.agent);
  return (agent, sequence, cameAt) =>
    (byAgent.get(agent) ?? []).some(
      ({ gap }) =>
        Date.parse(gap.signedAt) >= Math.trunc(cameAt / 1_000) * 1_000 &&
        gap.dropped.some(({ from, to }) => from <= sequence && sequence <= to),
    );
}
