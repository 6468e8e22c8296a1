// Whose bundles count: the publisher signs them with the keys of the role timestamp, which the trusted root names. Newer roots
// travel beside the bundles, so that a rotation of keys reaches a site that was not visited for long.
import * as fs from 'node:fs';
import { join } from 'node:path';
import { isFault } from '#manifests/errors';
import { readFileBounded, writeFileAtomic } from '#manifests/platform/files';
import { nextRoot, TRUST_LIMITS, trustedRoot } from '#manifests/trust';
import { COURIER_LIMITS } from './limits.ts';

/** Folder on a stick that holds the publisher's public roots, `N.root.json`. */
export const ROOTS_FOLDER = 'patchferry-roots';

export interface PublisherKeys {
  /** Keys whose bundles count: those of the newest root that can be reached, hex. */
  readonly bundles: readonly string[];
  /** Keys whose MEDIUM.json counts: also those of roots on the way there, as a stick is prepared once. */
  readonly media: readonly string[];
  readonly root: number;
}

/**
 * Follows the roots on a stick from the one trusted here; each is signed by the one before it (TUF 1.0.31, 5.3.4).
 * @throws trust.* when the trusted root itself does not hold
 */
export function publisherKeys(trusted: readonly Uint8Array[], place: string | undefined): PublisherKeys {
  const known = trusted.map((bytes) => trustedRoot(bytes)).toSorted((a, b) => a.signed.version - b.signed.version);
  let current = known.at(-1);
  if (current === undefined) return { bundles: [], media: [], root: 0 };
  const media = new Set(known.flatMap(timestampKeys));
  const rootAfter = (version: number) =>
    place === undefined ? undefined : readRoot(join(place, ROOTS_FOLDER, `${version + 1}.root.json`));
  while (current.signed.version < COURIER_LIMITS.roots) {
    const next = rootAfter(current.signed.version);
    if (next === undefined) break;
    try {
      current = nextRoot(current, next);
    } catch (error) {
      if (!isFault(error)) throw error;
      break; // somebody put a file there that is no root of ours: the keys known so far stay in force
    }
    for (const key of timestampKeys(current)) media.add(key);
  }
  return { bundles: timestampKeys(current), media: [...media], root: current.signed.version };
}

/** Puts the publisher's roots beside the bundles. */
export function writeRoots(place: string, roots: ReadonlyArray<{ readonly name: string; readonly bytes: Uint8Array }>): void {
  for (const { name, bytes } of roots) {
    const file = join(place, ROOTS_FOLDER, name);
    const here = readRoot(file);
    if (here === undefined || !Buffer.from(here).equals(bytes)) writeFileAtomic(file, bytes);
  }
}

function readRoot(file: string): Uint8Array | undefined {
  try {
    if (fs.lstatSync(file, { throwIfNoEntry: false })?.isFile() !== true) return undefined;
    return readFileBounded(file, TRUST_LIMITS.rootBytes);
  } catch {
    return undefined; // too large, or a stick that cannot be read: then no newer root is known
  }
}

/** Ed25519 keys, hex, of the role timestamp of a root whose signatures hold. */
function timestampKeys(root: ReturnType<typeof trustedRoot>): string[] {
  const { signed } = JSON.parse(Buffer.from(root.bytes).toString('utf8')) as {
    signed: { keys: Record<string, { keyval?: { public?: unknown } }> };
  };
  return root.signed.roles.timestamp.keyIds.flatMap((id) => {
    const key = signed.keys[id]?.keyval?.public;
    return typeof key === 'string' && /^[0-9a-f]{64}$/.test(key) ? [key] : [];
  });
}
