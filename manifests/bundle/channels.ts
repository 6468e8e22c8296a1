// The highest number imported from each channel (site and kind), kept for ever: what stops the replay of an old stick.
import { z } from 'zod';
import { readFileBounded, writeFileAtomic } from '#manifests/platform/files';
import { fault } from './faults.ts';
import type { BundleIndex } from './format.ts';

const stateSchema = z.strictObject({
  schemaVersion: z.literal(1),
  last: z.record(z.string().max(200), z.strictObject({ sequence: z.int().min(0), id: z.string().max(32) })),
});
/** Bytes of the file: some tens of thousands of channels. */
const STATE_BYTES = 8 * 1024 * 1024;

export interface Channels {
  /** 0 before the first. */
  last(channel: Pick<BundleIndex, 'site' | 'kind'>): number;
  /** Remembers a bundle that was taken over whole; on disk when this returns. A lower number than the last changes nothing. */
  note(bundle: Pick<BundleIndex, 'site' | 'kind' | 'sequence' | 'id'>): void;
}

/** Opens the file, or begins it. A damaged one is an error, never "nothing was imported yet". @throws bundle.malformed */
export function openChannels(file: string): Channels {
  const bytes = readFileBounded(file, STATE_BYTES);
  let last: z.infer<typeof stateSchema>['last'] = {};
  if (bytes !== undefined) {
    try {
      last = stateSchema.parse(JSON.parse(Buffer.from(bytes).toString('utf8'))).last;
    } catch (cause) {
      throw fault('malformed', `${file} is damaged: it holds the numbers of the bundles imported so far`, {
        where: file,
        cause,
        next: 'Restore it from a copy, or remove it if no old stick can be about: then any number is taken once more.',
      });
    }
  }
  const keyOf = ({ site, kind }: Pick<BundleIndex, 'site' | 'kind'>) => `${kind} ${site}`;
  return {
    last: (channel) => last[keyOf(channel)]?.sequence ?? 0,
    note(bundle) {
      if (bundle.sequence <= (last[keyOf(bundle)]?.sequence ?? 0)) return;
      last = { ...last, [keyOf(bundle)]: { sequence: bundle.sequence, id: bundle.id } };
      writeFileAtomic(file, `${JSON.stringify({ schemaVersion: 1, last }, null, 2)}\n`);
    },
  };
}
