// Overlays of sites: signed by the site with its own key, checked against its delegation, taken in, and published as they are.
import * as fs from 'node:fs';
import { join } from 'node:path';
import { z } from 'zod';
import { signedOverlayOf, siteRules } from '#manifests/decide';
import { defineFaults, EXIT, isFault } from '#manifests/errors';
import { readFileBounded, writeFileAtomic } from '#manifests/platform/files';
import {
  canonicalJson,
  count,
  decodeDocument,
  document,
  encodeDocument,
  name,
  type SignedDelegation,
  type SignedOverlay,
  type SiteOverlay,
  sha256Of,
} from '#manifests/schema';
import { buildTargets, holdingSignatures, keyIdOf, type Signer, signMetadata, tufKeyOf, verifyOne } from '#manifests/trust';
import type { PublisherHomePaths, SiteRole } from '../home.ts';
import type { TargetDocument } from './documents.ts';
import type { SiteSigning } from './metadata.ts';
import type { Published } from './published.ts';

const fault = defineFaults('overlay', {
  beyond: { exit: EXIT.refused, next: 'Stay within the bound that is named, or ask the publisher for a wider delegation.' },
  key: { exit: EXIT.refused, next: 'Sign with a key that the delegation of the site names; see `publisher site list`.' },
  older: {
    exit: EXIT.refused,
    next: 'A newer overlay of the site is published: sign this one anew against what is published now.',
  },
  malformed: { exit: EXIT.refused, next: 'Have the site sign it anew; nothing of it was used.' },
  expired: { exit: EXIT.refused, next: 'Have the site sign it anew, for longer (--days).' },
});

const OVERLAY_LIMITS = { fileBytes: 4 * 1024 * 1024, characters: 2_000_000 } as const;

/** What a site hands over: its TUF metadata and the document that this names. */
const signedFile = document('signed-overlay', 1, {
  site: name,
  version: count.min(1),
  /** Base64. */
  metadata: z.string().max(OVERLAY_LIMITS.characters),
  document: z.string().max(OVERLAY_LIMITS.characters),
});
export type SignedOverlayFile = z.infer<typeof signedFile>;

export const siteRole = (site: string): SiteRole => `site-${site}`;
const overlayPath = (site: string) => `sites/${site}/overlay.json.zst`;
const pathsOf = (site: string) => [`sites/${site}/*`];

/** Refuses what the delegation does not allow, naming each bound; hosts would refuse it as well. @param at milliseconds @throws overlay.beyond */
export function checkOverlay(delegation: SignedDelegation, overlay: SignedOverlay, at: number): readonly string[] {
  const { refused, applied } = siteRules(
    { delegation, overlay },
    { agent: '', site: overlay.site, labels: overlay.labels },
    at,
  );
  if (refused.length > 0) {
    const rows = refused.map(({ bound, says }) => `${says} (bound: ${bound})`);
    throw fault('beyond', rows.join('; '), { where: overlay.site });
  }
  return applied;
}

/** Signs an overlay with the site's key. @param now milliseconds @throws overlay.beyond, overlay.key */
export async function signOverlay(
  authored: SiteOverlay,
  delegation: SignedDelegation,
  signer: Signer,
  { version, expires, now }: { readonly version: number; readonly expires: number; readonly now: number },
): Promise<SignedOverlayFile> {
  const { site } = authored.spec;
  if (!delegation.keys.some((key) => keyIdOf(tufKeyOf(key)) === signer.keyId))
    throw fault('key', `the delegation of ${site} does not name this key`, { where: site });
  const overlay = signedOverlayOf(authored, now);
  checkOverlay(delegation, overlay, now);
  const bytes = encodeDocument('site-overlay', overlay);
  const target = { path: overlayPath(site), length: bytes.length, sha256: sha256Of(bytes) };
  const metadata = await signMetadata(buildTargets({ version, expires, signedAt: now, targets: [target] }), [signer]);
  return {
    schema: 'patchferry/signed-overlay',
    schemaVersion: 1,
    site,
    version,
    metadata: Buffer.from(metadata).toString('base64'),
    document: Buffer.from(bytes).toString('base64'),
  };
}

export interface OpenedOverlay {
  readonly site: string;
  readonly version: number;
  /** Milliseconds. */
  readonly expires: number;
  readonly metadata: Uint8Array;
  readonly bytes: Uint8Array;
  readonly overlay: SignedOverlay;
}

/**
 * Checks a file that a site handed over: signature by a key of its delegation, the one path it may sign, the document's hash, and
 * every bound. @param at milliseconds @throws overlay.*
 */
export function openOverlay(file: SignedOverlayFile, delegation: SignedDelegation, at: number): OpenedOverlay {
  const { site, version } = file;
  const metadata = Buffer.from(file.metadata, 'base64');
  const bytes = Buffer.from(file.document, 'base64');
  const bad = (says: string, cause?: unknown) => fault('malformed', `overlay of ${site}: ${says}`, { where: site, cause });
  let signed: z.infer<typeof siteMetadata>;
  let overlay: SignedOverlay;
  let holds: string[];
  try {
    const keys = delegation.keys.map(tufKeyOf);
    holds = holdingSignatures(
      metadata,
      keys.map((key) => ({ id: keyIdOf(key), check: (message, signature) => verifyOne(key, message, signature) })),
    );
    signed = siteMetadata.parse((JSON.parse(metadata.toString('utf8')) as { signed: unknown }).signed);
    overlay = decodeDocument('site-overlay', bytes, overlayPath(site));
  } catch (cause) {
    if (isFault(cause) || cause instanceof z.ZodError || cause instanceof SyntaxError) throw bad('is no signed overlay', cause);
    throw cause;
  }
  if (holds.length === 0) throw fault('key', `overlay of ${site}: no key of its delegation has signed it`, { where: site });
  const target = signed.targets[overlayPath(site)];
  if (Object.keys(signed.targets).length !== 1 || target === undefined)
    throw bad(`signs something else than ${overlayPath(site)}`);
  if (target.length !== bytes.length || target.hashes.sha256 !== sha256Of(bytes))
    throw bad('the document is not the one that was signed');
  if (signed.version !== version || overlay.site !== site) throw bad('names another version or site than it was signed for');
  const expires = Date.parse(signed.expires);
  if (at >= expires) throw fault('expired', `overlay of ${site} expired at ${signed.expires}`, { where: site });
  checkOverlay(delegation, overlay, at);
  return { site, version, expires, metadata, bytes, overlay };
}

const siteMetadata = z.object({
  version: count,
  expires: z.string(),
  delegations: z.undefined().optional(),
  targets: z.record(z.string(), z.object({ length: count, hashes: z.object({ sha256: z.string() }) })),
});

/** @throws overlay.malformed */
export function readSignedOverlay(file: string): SignedOverlayFile {
  const bytes = readFileBounded(file, OVERLAY_LIMITS.fileBytes);
  try {
    if (bytes === undefined) throw new Error('there is no such file');
    return signedFile.parse(JSON.parse(Buffer.from(bytes).toString('utf8')));
  } catch (cause) {
    throw fault('malformed', `${file} is no signed overlay`, { where: file, cause });
  }
}

export function writeSignedOverlay(file: string, value: SignedOverlayFile): void {
  writeFileAtomic(file, `${canonicalJson(value)}\n`);
}

const takenFile = (home: PublisherHomePaths, site: string) => join(home.overlaysFolder, `${site}.json`);

/** Keeps an overlay for the next publish. @throws overlay.older */
export function keepOverlay(home: PublisherHomePaths, file: SignedOverlayFile): void {
  const before = takenOverlay(home, file.site);
  if (before !== undefined && before.version > file.version)
    throw fault('older', `version ${before.version} of the overlay of ${file.site} is here already`, { where: file.site });
  fs.mkdirSync(home.overlaysFolder, { recursive: true });
  writeSignedOverlay(takenFile(home, file.site), file);
}

export function dropOverlay(home: PublisherHomePaths, site: string): void {
  fs.rmSync(takenFile(home, site), { force: true });
}

/** The overlay that was taken in last. @throws overlay.malformed */
export function takenOverlay(home: PublisherHomePaths, site: string): SignedOverlayFile | undefined {
  const file = takenFile(home, site);
  return fs.existsSync(file) ? readSignedOverlay(file) : undefined;
}

export interface SitesToSign {
  readonly sites: readonly SiteSigning[];
  readonly documents: readonly TargetDocument[];
  /** Overlays that are left out, and why. */
  readonly remarks: readonly string[];
}

/**
 * The sites' roles as they are published next. An overlay that would expire before the timestamp does is left out in time: an
 * expired role would make every host refuse the whole. @param at milliseconds @param lifeMs how long the timestamp holds
 */
export function sitesToSign(
  home: PublisherHomePaths,
  delegations: readonly SignedDelegation[],
  published: Published,
  at: number,
  lifeMs: number,
): SitesToSign {
  const sites: SiteSigning[] = [];
  const documents: TargetDocument[] = [];
  const remarks: string[] = [];
  for (const delegation of delegations) {
    const { site, keys, until } = delegation;
    if (at >= Date.parse(until)) {
      remarks.push(`the delegation of site ${site} ended at ${until}; it signs nothing any more`);
      continue;
    }
    if (keys.length === 0) continue; // its relays may halt it: nothing of it is an overlay
    const role = siteRole(site);
    const opened = holding(home, delegation, published, at, lifeMs, remarks);
    sites.push({ role, keys, paths: pathsOf(site), file: opened && { version: opened.version, bytes: opened.metadata } });
    if (opened === null) continue;
    const path = overlayPath(site);
    const sha256 = sha256Of(opened.bytes);
    const before = published.targets.get(path);
    const state = before === undefined ? 'new' : before.sha256 === sha256 ? 'same' : 'changed';
    documents.push({ path, role, bytes: opened.bytes, sha256, state });
  }
  return { sites, documents, remarks };
}

function holding(
  home: PublisherHomePaths,
  delegation: SignedDelegation,
  published: Published,
  at: number,
  lifeMs: number,
  remarks: string[],
): OpenedOverlay | null {
  const { site } = delegation;
  try {
    const taken = takenOverlay(home, site);
    if (taken === undefined) return null;
    const opened = openOverlay(taken, delegation, at);
    const before = published.files.get(siteRole(site))?.version ?? 0;
    if (opened.version < before)
      throw fault('older', `version ${before} of the overlay of ${site} is published`, { where: site });
    if (opened.expires > at + lifeMs) return opened;
    throw fault('expired', `the signature of the overlay of ${site} ends before the next timestamp does`, { where: site });
  } catch (error) {
    if (!isFault(error)) throw error;
    remarks.push(`overlay of site ${site} is not published: ${error.message}; ${error.next}`);
    return null;
  }
}
