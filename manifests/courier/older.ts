// Bundles on a stick that a newer one of the same site and direction makes needless.
import * as fs from 'node:fs';
import { join } from 'node:path';
import { type BundleKind, findBundles, readBundleIndex } from '#manifests/bundle';
import { isFault } from '#manifests/errors';
import { removeBundle } from './rejected.ts';

/**
 * Removes bundles of one site and direction with a number below `below`, signed by one of `keys`, and what interrupted exports
 * of such left: nothing of anybody else's. @returns how many
 */
export function removeOlderBundles(
  place: string,
  what: { readonly site: string; readonly kind: BundleKind; readonly keys: readonly string[]; readonly below: number },
): number {
  const { site, kind, keys, below } = what;
  if (!fs.existsSync(place)) return 0;
  let removed = 0;
  const found = findBundles(place);
  for (const { name, index: path } of found) {
    try {
      const { index } = readBundleIndex(path, keys);
      if (index.kind !== kind || index.site !== site || index.sequence >= below) continue;
      removeBundle(place, name);
      removed += 1;
    } catch (error) {
      if (!isFault(error)) throw error; // somebody else's bundle
    }
  }
  const parts = new RegExp(`^(${site.replaceAll('.', '\\.')}-(\\d{6,})-${kind})\\.pfb$`);
  for (const entry of fs.readdirSync(place)) {
    const [, name, number] = parts.exec(entry) ?? [];
    if (number === undefined || Number(number) >= below || found.some((one) => one.name === name)) continue;
    fs.rmSync(join(place, entry), { recursive: true, force: true });
  }
  return removed;
}
