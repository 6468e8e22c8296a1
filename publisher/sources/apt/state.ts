// What an apt source remembers between runs: the InRelease it accepted last. It is what a replayed older one is held against.
import { join } from 'node:path';
import { z } from 'zod';
import { readFileBounded, writeFileAtomic } from '#manifests/platform/files';
import { count, line, moment, sha256 } from '#manifests/schema';
import { fault, SOURCE_LIMITS } from '../faults.ts';

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

const fileIn = (folder: string) => join(folder, 'state.json');

/** Undefined when nothing was accepted yet. @throws source.state when there is a record that cannot be read */
export function readState(folder: string): AptState | undefined {
  const where = fileIn(folder);
  const bytes = readFileBounded(where, SOURCE_LIMITS.stateBytes);
  if (bytes === undefined) return undefined;
  try {
    return state.parse(JSON.parse(Buffer.from(bytes).toString('utf8')));
  } catch (cause) {
    throw fault('state', `${where} is not readable as what was accepted last`, { where, cause });
  }
}

export function writeState(folder: string, value: AptState): void {
  writeFileAtomic(fileIn(folder), `${JSON.stringify(value, undefined, 2)}\n`);
}
