// What an rpm source remembers between runs: the repomd.xml it accepted last. It is what a replayed older one is held against.
import { join } from 'node:path';
import { z } from 'zod';
import { readFileBounded, writeFileAtomic } from '#manifests/platform/files';
import { count, moment, sha256 } from '#manifests/schema';
import { fault, SOURCE_LIMITS } from '../faults.ts';

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

const fileIn = (folder: string) => join(folder, 'state.json');

/** Undefined when nothing was accepted yet. @throws source.state when there is a record that cannot be read */
export function readState(folder: string): RpmState | undefined {
  const where = fileIn(folder);
  const bytes = readFileBounded(where, SOURCE_LIMITS.stateBytes);
  if (bytes === undefined) return undefined;
  try {
    return state.parse(JSON.parse(Buffer.from(bytes).toString('utf8')));
  } catch (cause) {
    throw fault('state', `${where} is not readable as what was accepted last`, { where, cause });
  }
}

export function writeState(folder: string, value: RpmState): void {
  writeFileAtomic(fileIn(folder), `${JSON.stringify(value, undefined, 2)}\n`);
}
