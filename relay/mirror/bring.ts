// Payloads of a sync: what is wanted and not here is fetched, some at a time, as hours of the line and the quota allow.
import { join } from 'node:path';
import { isFault } from '#manifests/errors';
import { removeTemporaries } from '#manifests/platform/files';
import type { PayloadStore } from '#manifests/repository';
import type { Origin } from '#manifests/transfer';
import type { WantedPayload } from './wanted.ts';

const BRING_LIMITS = {
  /** Payloads fetched at the same time. */
  parallelPayloads: 3,
} as const;

export interface BringOptions {
  /** In order of preference. */
  readonly origins: readonly Origin[];
  /** Bytes that payloads may take; what goes beyond is left to be asked for. */
  readonly quotaBytes?: number | undefined;
  /** Whether payloads may come at this moment; those that may not wait for a later sync. */
  readonly payloadsNow?: (() => boolean) | undefined;
  readonly signal?: AbortSignal | undefined;
  readonly onProgress?: ((doneBytes: number, totalBytes: number) => void) | undefined;
}

/** What came of bringing payloads: counts, and the hashes of what is not here. */
export interface Brought {
  fetched: number;
  fetchedBytes: number;
  bytesHere: number;
  absent: number;
  waiting: number;
  overQuota: number;
  readonly lacking: string[];
  readonly absentHashes: Set<string>;
}

/** Brings what is wanted and not here, in the order given. @throws transfer.* when something required cannot be had */
export async function bringPayloads(
  origin: Origin,
  store: PayloadStore,
  wanted: readonly WantedPayload[],
  options: BringOptions,
): Promise<Brought> {
  removeTemporaries(join(store.folder, '.partial'));
  const counts: Brought = {
    fetched: 0,
    fetchedBytes: 0,
    bytesHere: wanted.reduce((sum, { size }) => sum + size, 0),
    absent: 0,
    waiting: 0,
    overQuota: 0,
    lacking: [],
    absentHashes: new Set(),
  };
  const without = ({ sha256, size }: WantedPayload, why: 'absent' | 'waiting' | 'overQuota') => {
    counts[why] += 1;
    counts.bytesHere -= size;
    counts.lacking.push(sha256);
    if (why === 'absent') counts.absentHashes.add(sha256);
  };
  const isHere = ({ sha256, size }: WantedPayload) => store.has(sha256, size);
  const here = new Set(wanted.filter(isHere));
  let room = (options.quotaBytes ?? Number.POSITIVE_INFINITY) - [...here].reduce((sum, { size }) => sum + size, 0);
  const missing: WantedPayload[] = [];
  for (const payload of wanted) {
    if (here.has(payload)) continue;
    if (payload.required || payload.size <= room) {
      room -= payload.size;
      missing.push(payload);
    } else without(payload, 'overQuota');
  }
  const total = missing.reduce((sum, { size }) => sum + size, 0);
  const failed = new AbortController();
  /** Ends downloads, not the sync, when an hour begins in which no payloads come; their parts are taken up later. */
  const notNow = new AbortController();
  const mayCome = () => {
    if (options.payloadsNow?.() === false) notNow.abort(new Error('no payloads at this hour'));
    return !notNow.signal.aborted;
  };
  const onBytes = (bytes: number) => {
    counts.fetchedBytes += bytes;
    options.onProgress?.(counts.fetchedBytes, total);
    mayCome();
  };
  const queue = missing.values();
  const signal = AbortSignal.any([failed.signal, notNow.signal, ...(options.signal === undefined ? [] : [options.signal])]);
  const worker = async () => {
    for (const payload of queue) {
      if (failed.signal.aborted || options.signal?.aborted === true) return;
      try {
        if (!mayCome()) throw notNow.signal.reason;
        await fetchFromAny([origin, ...options.origins.filter((other) => other !== origin)], store, payload, {
          onBytes,
          signal,
        });
        counts.fetched += 1;
      } catch (error) {
        if (!payload.required && isFault(error, 'transfer.missing')) without(payload, 'absent');
        else if (error === notNow.signal.reason) without(payload, 'waiting');
        else {
          failed.abort(error);
          throw error;
        }
      }
    }
  };
  const ends = await Promise.allSettled(Array.from({ length: BRING_LIMITS.parallelPayloads }, worker));
  options.signal?.throwIfAborted();
  const broken = ends.find((end) => end.status === 'rejected');
  if (broken !== undefined) throw failed.signal.reason as Error;
  counts.lacking.sort();
  return counts;
}

/** A payload is the same bytes wherever it lies: what one upstream lacks is asked of the others. @throws transfer.* of the first */
async function fetchFromAny(
  origins: readonly Origin[],
  store: PayloadStore,
  payload: WantedPayload,
  options: { onBytes(bytes: number): void; signal: AbortSignal },
): Promise<void> {
  let first: unknown;
  for (const origin of origins) {
    try {
      await store.fetch(origin, payload, options);
      return;
    } catch (error) {
      first ??= error;
      if (!isFault(error, 'transfer.missing')) break;
    }
  }
  throw first;
}
