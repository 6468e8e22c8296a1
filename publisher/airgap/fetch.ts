// Fetching the payloads of a wish from the vendors, with a report: what came, what failed and why. Running it again tries the
// failed ones anew; what came stays.

import type { Progress } from '#manifests/platform/progress';
import type { PayloadStore } from '#manifests/repository';
import type { PublisherHome } from '../home.ts';
import { fetchPayloads, missingBytes } from '../sources/index.ts';
import type { Wish } from './plan.ts';

export interface Download {
  readonly fetched: number;
  readonly bytes: number;
  readonly failed: ReadonlyArray<{ readonly patch: string; readonly says: string }>;
}

/** Never throws for a payload that cannot be had: it is in `failed`, and the others come. */
export async function download(
  home: PublisherHome,
  wishes: readonly Wish[],
  store: PayloadStore,
  options: { readonly signal: AbortSignal; progress(label: string, total?: number): Progress },
): Promise<Download> {
  const patches = wishes.flatMap((wish) => wish.patches);
  const total = missingBytes(patches, store);
  let fetched = 0;
  let bytes = 0;
  const failed: { patch: string; says: string }[] = [];
  if (total === 0) return { fetched, bytes, failed };
  const line = options.progress('from the vendors, bytes', total);
  try {
    for (const [name, of] of Map.groupBy(patches, ({ repository }) => repository)) {
      if (missingBytes(of, store) === 0) continue;
      const source = home.settings.sources.find((one) => one.name === name);
      if (source === undefined) {
        const gone = `its source "${name}" is not in the settings any more`;
        failed.push(...of.filter((patch) => missingBytes([patch], store) > 0).map(({ id }) => ({ patch: id, says: gone })));
        continue;
      }
      const from = bytes;
      const report = await fetchPayloads(source, of, {
        payloads: store,
        signal: options.signal,
        progress: { at: (done, remark) => line.at(from + done, remark), end: () => undefined },
      });
      fetched += report.fetched;
      bytes += report.bytes;
      failed.push(...report.failed);
    }
  } finally {
    line.end();
  }
  return { fetched, bytes, failed };
}
