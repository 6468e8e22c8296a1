// Payloads of patches into the payload store, from where the vendor keeps them. The same for every kind of source.
import type { PayloadSource, PayloadStore } from '#manifests/repository';
import type { Patch } from '#manifests/schema';
import type { FetchOptions, SourcePatch, SourceSettings } from './api.ts';
import { SOURCE_LIMITS } from './faults.ts';
import { withOrigin } from './origin.ts';

export interface FetchReport {
  readonly fetched: number;
  readonly bytes: number;
  /** Patches with a payload that could not be had, with the reason; the others are complete. */
  readonly failed: { readonly patch: string; readonly says: string }[];
}

interface Wanted {
  readonly patch: string;
  readonly sha256: string;
  readonly size: number;
  readonly path: string;
}

type WithPackages = Pick<SourcePatch | Patch, 'id' | 'packages'>;

function wantedOf(patches: readonly WithPackages[], payloads: PayloadStore): Wanted[] {
  const wanted = new Map<string, Wanted>();
  for (const { id, packages } of patches) {
    for (const { sha256, size, path } of packages) {
      if (!payloads.has(sha256, size)) wanted.set(`${sha256} ${size}`, { patch: id, sha256, size, path });
    }
  }
  return [...wanted.values()];
}

/** Bytes that `fetchPayloads` would have to fetch. */
export function missingBytes(patches: readonly WithPackages[], payloads: PayloadStore): number {
  return wantedOf(patches, payloads).reduce((sum, { size }) => sum + size, 0);
}

/**
 * Fetches what is not here yet: four at a time, each checked against the signed hash, each resumed where it was cut.
 * A payload that fails is reported and the others go on; an abort ends it with the signal's reason.
 */
export function fetchPayloads(
  settings: SourceSettings,
  patches: readonly WithPackages[],
  options: FetchOptions,
): Promise<FetchReport> {
  const { payloads, signal, progress } = options;
  return withOrigin(settings, options, async (origin) => {
    const queue = wantedOf(patches, payloads);
    const failed: { patch: string; says: string }[] = [];
    let fetched = 0;
    let bytes = 0;
    let seen = 0;
    const next = queue.values(); // one iterator for all workers: each takes what is next
    const worker = async () => {
      for (const { patch, path, sha256, size } of next) {
        signal.throwIfAborted();
        const from: PayloadSource = { download: (_, want, to, more) => origin.download(path, want, to, more) };
        const onBytes = (count: number) => {
          seen += count;
          progress?.at(seen, path.split('/').at(-1));
        };
        try {
          await payloads.fetch(from, { sha256, size }, { onBytes, signal });
          fetched += 1;
          bytes += size;
        } catch (cause) {
          signal.throwIfAborted();
          failed.push({ patch, says: (cause as Error).message });
        }
      }
    };
    await Promise.all(Array.from({ length: SOURCE_LIMITS.parallelFetches }, worker));
    failed.sort((a, b) => (a.patch < b.patch ? -1 : 1));
    return { fetched, bytes, failed };
  });
}
