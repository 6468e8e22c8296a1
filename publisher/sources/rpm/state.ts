// What an rpm source remembers between runs: the repomd.xml it accepted last. It is what a replayed older one is held against.
import { z } from 'zod';
import { count, moment, sha256 } from '#manifests/schema';
import { stateFile } from '../state.ts';

const ref = z.strictObject({ sha256, size: count });

const state = z.strictObject({
  schema: z.literal('patchferry/rpm-source-state'),
  schemaVersion: z.literal(1),
  url: z.string().max(4_096),
  /** Latest date of the metadata. */
  date: moment,
  /** Payloads that hold repomd.xml and its signature, byte for byte. */
  repomd: ref,
  signature: ref.nullable(),
  etag: z.string().max(1_000).nullable(),
  /** Hash of the settings that say what is fetched. */
  settings: sha256,
  /** When this repomd.xml was first accepted. */
  syncedAt: moment,
});
export type RpmState = z.infer<typeof state>;

export const { read: readState, write: writeState } = stateFile(state);
