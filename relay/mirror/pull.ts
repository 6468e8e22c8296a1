// On demand: a payload that a verified catalog names and that is not here is fetched from the upstream when somebody asks for
// it, checked while it arrives, and only then served. And making room: what no selection pins goes, least recently used first.
import { join } from 'node:path';
import type { Clock } from '#manifests/platform/clock';
import type { Log } from '#manifests/platform/log';
import { openPayloadStore, type PayloadStore, targetFilePath } from '#manifests/repository';
import { failover, type Origin } from '#manifests/transfer';
import { checkedBytes, currentGeneration, mirrorLayout } from './generations.ts';
import { isMissing } from './prestage.ts';
import { openUsage } from './usage.ts';
import { type Documents, namedPayloads, readInto, wantedPayloads } from './wanted.ts';

export const PULL_LIMITS = {
  /** Payloads fetched for somebody at the same time, and how many may wait for that. */
  parallel: 3,
  queue: 256,
  /** Milliseconds until whoever asks is told to come again; the fetching goes on. */
  answerMs: 20_000,
  /** Seconds after which they should. */
  retrySeconds: 60,
  /** Milliseconds for which a payload that was asked for is never removed. */
  leaseMs: 1_800_000,
  /** Milliseconds for which a payload that no upstream has is not asked for again. */
  missingMs: 600_000,
} as const;

export type Pulled =
  /** It is in the store. */
  | { readonly kind: 'here' }
  /** No document names it, or no upstream has it. */
  | { readonly kind: 'none' }
  | { readonly kind: 'later'; readonly seconds: number };

export interface PullOptions {
  /** The mirror's folder. */
  readonly mirror: string;
  readonly origins: readonly Origin[];
  readonly clock: Clock;
  readonly log: Log;
  readonly signal: AbortSignal;
  readonly quotaBytes?: number | undefined;
  readonly payloadsNow?: (() => boolean) | undefined;
  /** Hashes that stay besides: what a window soon needs. */
  readonly pinned?: (() => ReadonlySet<string>) | undefined;
  /** Milliseconds; `PULL_LIMITS.answerMs` otherwise. */
  readonly answerMs?: number | undefined;
}

export interface Pull {
  /** Brings a payload here, if a document names it. Never throws. */
  pull(sha256: string): Promise<Pulled>;
  /** Notes that a payload was asked for, so that it stays. */
  used(sha256: string): void;
  /** Removes what the quota has no room for. @returns what went */
  makeRoom(): { payloads: number; bytes: number };
  /** Resolves when nothing is being fetched; writes down what was asked for. */
  close(): Promise<void>;
}

interface Known {
  readonly generation: number;
  readonly named: ReadonlyMap<string, { size: number; package: string | undefined }>;
  readonly pinned: ReadonlySet<string>;
}

export function openPull(options: PullOptions): Pull {
  const { clock, log, signal } = options;
  const layout = mirrorLayout(options.mirror);
  const usage = openUsage(layout, () => clock.now());
  const upstream = failover(options.origins, { clock });
  const fetching = new Map<string, Promise<Pulled>>();
  const missing = new Map<string, number>();
  const turns: (() => void)[] = [];
  let running = 0;
  let known: Known | undefined;
  let opened: PayloadStore | undefined;
  const store = () => (opened ??= openPayloadStore(layout.payloads));

  /** What the current generation names. @throws mirror.*, document.* */
  function current(): Known | undefined {
    const generation = currentGeneration(layout);
    if (generation === undefined) return undefined;
    if (generation.number === known?.generation) return known;
    const documents: Documents = { catalogs: [], baselines: [] };
    const folder = join(layout.generations, String(generation.number));
    for (const { path, sha256, length } of generation.targets) {
      const bytes = checkedBytes(folder, targetFilePath(path, sha256), length);
      if (bytes !== undefined) readInto(documents, path, bytes);
      else if (path.startsWith('catalogs/') || path.startsWith('policy/')) return undefined; // damaged: nothing is judged by halves
    }
    const selection = { payloads: generation.payloads, products: generation.only, asked: usage.asked };
    const pinned = new Set(wantedPayloads(documents, selection).map(({ sha256 }) => sha256));
    known = { generation: generation.number, named: namedPayloads(documents), pinned };
    missing.clear();
    return known;
  }

  async function turn<T>(work: () => Promise<T>): Promise<T> {
    if (running >= PULL_LIMITS.parallel) await new Promise<void>((go) => turns.push(go));
    running += 1;
    try {
      return await work();
    } finally {
      running -= 1;
      turns.shift()?.();
    }
  }

  async function bring(sha256: string, size: number): Promise<Pulled> {
    try {
      await turn(() => upstream.attempt((origin) => store().fetch(origin, { sha256, size }, { signal })));
      log.info({ sha256, size }, 'fetched a payload on demand');
      makeRoom();
      return { kind: 'here' };
    } catch (error) {
      if (isMissing(error)) {
        missing.set(sha256, clock.monotonic());
        return { kind: 'none' };
      }
      if (!signal.aborted) log.warn({ sha256, reason: (error as Error).message }, 'a payload could not be fetched on demand');
      return { kind: 'later', seconds: PULL_LIMITS.retrySeconds };
    }
  }

  function makeRoom(): { payloads: number; bytes: number } {
    const gone = { payloads: 0, bytes: 0 };
    const { quotaBytes } = options;
    const now = clock.now();
    const state = quotaBytes === undefined ? undefined : current();
    if (quotaBytes === undefined || state === undefined) return gone;
    const here = [...store().list()];
    let used = here.reduce((sum, { size }) => sum + size, 0);
    const lastUsed = (sha256: string) => usage.lastUsed.get(sha256) ?? 0;
    const staged = options.pinned?.() ?? new Set();
    const loose = here
      .filter(
        ({ sha256 }) =>
          !state.pinned.has(sha256) && !staged.has(sha256) && !(Math.abs(now - lastUsed(sha256)) < PULL_LIMITS.leaseMs),
      )
      .toSorted((a, b) => lastUsed(a.sha256) - lastUsed(b.sha256));
    for (const { sha256, size } of loose) {
      if (used <= quotaBytes) break;
      store().remove(sha256);
      used -= size;
      gone.payloads += 1;
      gone.bytes += size;
    }
    if (gone.payloads > 0) log.info({ ...gone, quotaBytes }, 'made room');
    return gone;
  }

  return {
    async pull(sha256) {
      try {
        const named = current()?.named.get(sha256);
        if (named === undefined) return { kind: 'none' };
        usage.note(sha256, named.package);
        if (store().has(sha256, named.size)) return { kind: 'here' };
        const since = missing.get(sha256);
        if (since !== undefined && clock.monotonic() - since < PULL_LIMITS.missingMs) return { kind: 'none' };
        if (options.origins.length === 0) return { kind: 'none' };
        const later = { kind: 'later', seconds: PULL_LIMITS.retrySeconds } as const;
        if (options.payloadsNow?.() === false || (fetching.size >= PULL_LIMITS.queue && !fetching.has(sha256))) return later;
        let end = fetching.get(sha256);
        if (end === undefined) {
          end = bring(sha256, named.size).finally(() => fetching.delete(sha256));
          fetching.set(sha256, end);
        }
        let timer: NodeJS.Timeout | undefined;
        const tooLong = new Promise<Pulled>((resolve) => {
          timer = setTimeout(() => resolve(later), options.answerMs ?? PULL_LIMITS.answerMs);
        });
        return await Promise.race([end, tooLong]).finally(() => clearTimeout(timer));
      } catch (error) {
        log.error({ sha256, reason: (error as Error).message }, 'what the catalogs name cannot be read');
        return { kind: 'none' };
      }
    },
    used(sha256) {
      usage.note(sha256, known?.named.get(sha256)?.package);
    },
    makeRoom,
    async close() {
      await Promise.allSettled(fetching.values());
      usage.save();
    },
  };
}
