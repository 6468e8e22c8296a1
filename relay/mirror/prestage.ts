// Staging ahead: what the hosts of this relay will need is brought here before their windows open, the earliest opening first.
import { join } from 'node:path';
import { z } from 'zod';
import { isFault } from '#manifests/errors';
import { type Clock, utcSeconds } from '#manifests/platform/clock';
import { readFileBounded, writeFileAtomic } from '#manifests/platform/files';
import type { Log } from '#manifests/platform/log';
import { openPayloadStore, type PayloadStore, targetFilePath } from '#manifests/repository';
import { failover, type Origin } from '#manifests/transfer';
import { checkedBytes, currentGeneration, mirrorLayout } from './generations.ts';
import {
  type GroupDocuments,
  groupsHere,
  type Here,
  neededFor,
  openingsOf,
  readGroupInto,
  type StagedPayload,
} from './openings.ts';
import { readUsage } from './usage.ts';
import { type Documents, readInto } from './wanted.ts';

export const STAGE_LIMITS = {
  /** Milliseconds between two looks at what is needed. */
  lookMs: 600_000,
  /** Bytes of the file that says how it stands. */
  fileBytes: 1024 * 1024,
  /** Openings that are told. */
  openings: 50,
} as const;

const row = z.strictObject({
  group: z.string(),
  window: z.string(),
  opensAt: z.string(),
  /** Payloads that this opening is the first to need, and how many of them are here. */
  payloads: z.int(),
  bytes: z.int(),
  here: z.int(),
  hereBytes: z.int(),
});

const stateFile = z.strictObject({
  schema: z.literal('patchferry/relay-staging'),
  schemaVersion: z.literal(1),
  at: z.string(),
  hours: z.int(),
  /** Openings within so many hours, the earliest first. */
  openings: z.array(row),
  /** Why something is not here, empty when all of it is. */
  says: z.string(),
});
export type Staging = z.infer<typeof stateFile>;

/** How it stands, as last written; null before the first look, or when the file is torn. */
export function readStaging(file: string): Staging | null {
  try {
    const bytes = readFileBounded(file, STAGE_LIMITS.fileBytes);
    return bytes === undefined ? null : stateFile.parse(JSON.parse(Buffer.from(bytes).toString('utf8')));
  } catch {
    return null;
  }
}

export interface PreStageOptions {
  /** The mirror's folder. */
  readonly mirror: string;
  /** Where it is written how it stands. */
  readonly file: string;
  readonly origins: readonly Origin[];
  /** Hours before an opening from which on payloads are brought; 0: never. */
  readonly hours: number;
  readonly here: () => Here;
  readonly clock: Clock;
  readonly log: Log;
  readonly signal: AbortSignal;
  readonly payloadsNow?: (() => boolean) | undefined;
  readonly quotaBytes?: number | undefined;
  /** Makes room by the quota before something comes. */
  readonly makeRoom?: (() => unknown) | undefined;
}

export interface PreStage {
  /** Looks, and brings what is needed and lacking; one at a time. Never throws. @returns bytes fetched */
  look(): Promise<number>;
  /** Hashes of what an opening soon needs: nothing of it is taken away for want of room. */
  pinned(): ReadonlySet<string>;
  /** Resolves when no look is in progress. */
  idle(): Promise<unknown>;
}

export function openPreStage(options: PreStageOptions): PreStage {
  const { clock, log, signal, hours } = options;
  const layout = mirrorLayout(options.mirror);
  let pinned: ReadonlySet<string> = new Set();
  let known: { generation: number; read: Documents; groups: GroupDocuments } | undefined;
  let looking: Promise<number> | undefined;

  function documents() {
    const generation = currentGeneration(layout);
    if (generation === undefined) return undefined;
    if (known?.generation === generation.number) return { ...known, record: generation };
    const read: Documents = { catalogs: [], baselines: [] };
    const groups: GroupDocuments = { groups: [], roster: undefined };
    const folder = join(layout.generations, String(generation.number));
    for (const { path, sha256, length } of generation.targets) {
      const bytes = checkedBytes(folder, targetFilePath(path, sha256), length);
      if (bytes === undefined) continue; // damaged: `verify` says so
      readInto(read, path, bytes);
      readGroupInto(groups, path, bytes);
    }
    known = { generation: generation.number, read, groups };
    return { ...known, record: generation };
  }

  async function once(): Promise<number> {
    const state = documents();
    if (state === undefined || hours === 0) return 0;
    const now = clock.now();
    const here = options.here();
    const soon = openingsOf(groupsHere(state.groups, here), now, here.zone).filter(
      ({ opensAt }) => opensAt - now <= hours * 3_600_000,
    );
    const selection = { payloads: state.record.payloads, products: state.record.only, asked: readUsage(layout).asked };
    const needed = neededFor(soon, state.read, selection);
    pinned = new Set(needed.map(({ sha256 }) => sha256));
    const store = openPayloadStore(layout.payloads);
    const tell = (says: string) => writeStaging(options.file, now, hours, soon, needed, store, says);
    const lacking = needed.filter(({ sha256, size }) => !store.has(sha256, size));
    if (lacking.length === 0 || options.origins.length === 0) {
      tell(lacking.length === 0 ? '' : 'no upstream is set');
      return 0;
    }
    options.makeRoom?.();
    const { fetched, says } = await bring(store, lacking);
    tell(says);
    return fetched;
  }

  async function bring(store: PayloadStore, lacking: readonly StagedPayload[]): Promise<{ fetched: number; says: string }> {
    const upstream = failover(options.origins, { clock });
    const { quotaBytes } = options;
    let room = quotaBytes === undefined ? Number.POSITIVE_INFINITY : quotaBytes - sum([...store.list()]);
    let fetched = 0;
    let beyond = 0;
    let absent = 0;
    for (const { sha256, size } of lacking) {
      signal.throwIfAborted();
      if (options.payloadsNow?.() === false) return { fetched, says: 'the line is for signed documents alone at this hour' };
      if (size > room) {
        beyond += 1;
        continue;
      }
      try {
        await upstream.attempt((origin) => store.fetch(origin, { sha256, size }, { signal }));
        fetched += size;
        room -= size;
      } catch (error) {
        if (!isMissing(error)) return { fetched, says: (error as Error).message.split('\n', 1)[0] ?? '' };
        absent += 1;
      }
    }
    if (fetched > 0) log.info({ bytes: fetched, absent, beyond }, 'payloads brought ahead of windows');
    const says = [
      ...(absent > 0 ? [`${absent} not at the upstream`] : []),
      ...(beyond > 0 ? [`${beyond} beyond the quota`] : []),
    ];
    return { fetched, says: says.join(', ') };
  }

  return {
    look() {
      looking ??= once()
        .catch((error: Error) => {
          if (!signal.aborted) log.warn({ reason: error.message }, 'staging ahead failed');
          return 0;
        })
        .finally(() => {
          looking = undefined;
        });
      return looking;
    },
    pinned: () => pinned,
    idle: () => looking ?? Promise.resolve(),
  };
}

const sum = (payloads: readonly { readonly size: number }[]): number => payloads.reduce((total, { size }) => total + size, 0);

/** Whether all that was asked said that it does not have it. */
export function isMissing(error: unknown): boolean {
  if (isFault(error, 'transfer.missing')) return true;
  const all = (error as Error).cause;
  return all instanceof AggregateError && all.errors.every((each) => isFault(each, 'transfer.missing'));
}

function writeStaging(
  file: string,
  now: number,
  hours: number,
  openings: ReturnType<typeof openingsOf>,
  needed: readonly StagedPayload[],
  store: PayloadStore,
  says: string,
): void {
  const rows = openings.slice(0, STAGE_LIMITS.openings).map(({ group, window, opensAt }): Staging['openings'][number] => {
    const own = needed.filter(({ opening }) => opening.group === group);
    const here = own.filter(({ sha256, size }) => store.has(sha256, size));
    return {
      group,
      window,
      opensAt: utcSeconds(opensAt),
      payloads: own.length,
      bytes: sum(own),
      here: here.length,
      hereBytes: sum(here),
    };
  });
  const state: Staging = {
    schema: 'patchferry/relay-staging',
    schemaVersion: 1,
    at: utcSeconds(now),
    hours,
    openings: rows,
    says,
  };
  writeFileAtomic(file, `${JSON.stringify(state)}\n`);
}
