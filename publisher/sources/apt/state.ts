// What an apt source remembers between runs: the InRelease it accepted last. It is what a replayed older one is held against.
import { z } from 'zod';
import { count, line, moment, sha256 } from '#manifests/schema';
import { stateFile } from '../state.ts';

const state = z.strictObject({
  schema: z.literal('patchferry/apt-source-state'),
  schemaVersion: z.literal(1),
  url: z.string().max(4_096),
  suite: line(200),
  codename: line(200),
  /** The vendor's `Date`. */
  date: moment,
  /** Payload that holds the InRelease, byte for byte. */
  inRelease: z.strictObject({ sha256, size: count }),
  etag: z.string().max(1_000).nullable(),
  /** Hash of the settings that say what is fetched. */
  settings: sha256,
  /** When this InRelease was first accepted. */
  syncedAt: moment,
});
export type AptState = z.infer<typeof state>;

export const { read: readState, write: writeState } = stateFile(state);
