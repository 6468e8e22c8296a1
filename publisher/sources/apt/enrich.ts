// What only the package itself tells of a patch: CVEs and urgency, from the changelog inside of a payload that is here.

import { isFault } from '#manifests/errors';
import type { PayloadStore } from '#manifests/repository';
import type { SourcePatch } from '../api.ts';
import { type Fixes, fixesIn } from './changelog.ts';
import { readChangelog } from './deb.ts';

/** Packages of one patch that are opened in search of a changelog; the smallest first. */
const MOST_OPENED = 8;

export type Enrichment =
  | ({ readonly kind: 'known' } & Fixes)
  /** No payload of the patch is here; ask again when one is. */
  | { readonly kind: 'no-payload' }
  /** The payloads that are here carry no changelog of this source. */
  | { readonly kind: 'no-changelog'; readonly says: string };

/**
 * @param options.after the version known before; what was fixed up to it is not told again.
 */
export async function enrich(
  patch: Pick<SourcePatch, 'format' | 'source' | 'version' | 'packages'>,
  payloads: PayloadStore,
  options: { after?: string | undefined; signal?: AbortSignal | undefined } = {},
): Promise<Enrichment> {
  if (patch.format !== 'deb') return { kind: 'no-changelog', says: `${patch.format} carries none` };
  const here = patch.packages.filter(({ sha256, size }) => payloads.has(sha256, size)).toSorted((a, b) => a.size - b.size);
  if (here.length === 0) return { kind: 'no-payload' };
  const reasons: string[] = [];
  for (const { name, sha256 } of here.slice(0, MOST_OPENED)) {
    options.signal?.throwIfAborted();
    try {
      const text = await readChangelog(payloads.pathOf(sha256), name);
      const fixes = text === undefined ? undefined : fixesIn(text, patch.source, patch.version, options.after);
      if (fixes !== undefined) return { kind: 'known', ...fixes };
      reasons.push(`${name}: ${text === undefined ? 'none' : `not of ${patch.source}`}`);
    } catch (cause) {
      if (!isFault(cause, 'source.payload')) throw cause;
      reasons.push(`${name}: ${cause.message}`);
    }
  }
  return { kind: 'no-changelog', says: reasons.join('; ') };
}
