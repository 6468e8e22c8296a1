// The marker of a medium: MEDIUM.json at the root of a stick, signed. Without it a mount point is taken for what it may be: empty.
import { randomBytes } from 'node:crypto';
import { join } from 'node:path';
import { z } from 'zod';
import { utcSeconds } from '#manifests/platform/clock';
import { line, list, moment, name } from '#manifests/schema';
import type { Signer } from '#manifests/trust';
import { type Disk, realDisk } from './disk.ts';
import { fault } from './faults.ts';
import { onMedium, readSmall, replaceFile } from './files.ts';
import { BUNDLE_LIMITS } from './limits.ts';
import { type Keys, readSigned, signedBytes } from './signed.ts';

export const MEDIUM_FILE = 'MEDIUM.json';

const mediumSchema = z.strictObject({
  schema: z.literal('patchferry/medium'),
  schemaVersion: z.literal(1),
  id: z.string().regex(/^[0-9a-f]{32}$/),
  /** What is written on the stick, for people. */
  label: line(100),
  /** Where it may carry: into sites, back from them, or both. */
  direction: z.enum(['inward', 'return', 'both']),
  /** Sites it may carry for; empty: any. */
  sites: list(name, 1_000),
  madeAt: moment,
});
export type Medium = z.infer<typeof mediumSchema> & { readonly signedBy: string };

export interface PrepareMediumOptions {
  /** Root of the mounted medium. */
  readonly place: string;
  readonly label: string;
  readonly direction: Medium['direction'];
  readonly sites?: readonly string[] | undefined;
  readonly signer: Signer;
  /** Milliseconds since 1970. */
  readonly madeAt: number;
  readonly disk?: Disk | undefined;
}

/** Writes the marker onto a mounted medium, once; nothing else there is touched. @throws bundle.no-medium, bundle.unwritable */
export function prepareMedium(options: PrepareMediumOptions): Promise<Medium> {
  const { place, label, direction, signer } = options;
  const disk = options.disk ?? realDisk;
  return onMedium(place, async () => {
    if (disk.facts(place)?.kind !== 'folder') throw fault('no-medium', `${place} is no mounted medium`, { where: place });
    const body = {
      schema: 'patchferry/medium' as const,
      schemaVersion: 1 as const,
      id: randomBytes(16).toString('hex'),
      label,
      direction,
      sites: [...(options.sites ?? [])],
      madeAt: utcSeconds(options.madeAt),
    };
    const bytes = await signedBytes('medium', body, signer);
    const { key } = readSigned('medium', bytes, { schema: mediumSchema, keys: 'any', where: MEDIUM_FILE });
    replaceFile(disk, join(place, MEDIUM_FILE), bytes);
    return { ...body, signedBy: key };
  });
}

/**
 * The marker of the medium mounted at `place`. A mount point without a medium has none, so it is never read as an empty stick.
 * @param expected site and direction of what is to be read or written; what the marker does not allow is refused.
 * @throws bundle.no-medium, bundle.medium, bundle.unsigned, bundle.signature, bundle.malformed
 */
export function readMedium(
  place: string,
  keys: Keys,
  expected: { readonly site?: string; readonly kind?: 'content' | 'return' } = {},
  disk: Disk = realDisk,
): Medium {
  const where = join(place, MEDIUM_FILE);
  const bytes = disk.facts(place)?.kind === 'folder' ? readSmall(disk, where, BUNDLE_LIMITS.noteBytes) : undefined;
  if (bytes === undefined) {
    throw fault('no-medium', `${place} has no ${MEDIUM_FILE}: no stick is mounted there, or it was never prepared`, {
      where: place,
    });
  }
  const { body, key } = readSigned('medium', bytes, { schema: mediumSchema, keys, where });
  const { site, kind } = expected;
  if (site !== undefined && body.sites.length > 0 && !body.sites.includes(site)) {
    throw fault('medium', `the stick ${JSON.stringify(body.label)} is for ${body.sites.join(', ')}, not for ${site}`, {
      where,
    });
  }
  const direction = kind === undefined ? undefined : kind === 'content' ? 'inward' : 'return';
  if (direction !== undefined && body.direction !== 'both' && body.direction !== direction) {
    throw fault('medium', `the stick ${JSON.stringify(body.label)} carries ${body.direction} only`, { where });
  }
  return { ...body, signedBy: key };
}
