// What relays said under their own names, as it came into the inbox: halts of sites, and results that they had to drop. Kept as it
// was signed, one file each; nothing here acts on it.
import * as fs from 'node:fs';
import { join } from 'node:path';
import { judgeSiteHalt } from '#manifests/decide';
import { isFault } from '#manifests/errors';
import { readFileBounded, writeFileAtomic } from '#manifests/platform/files';
import { decodePlain, type RelayGap, type SignedDelegation, type SiteHalt } from '#manifests/schema';
import { openRecord, RECORD_LIMITS } from '#manifests/trust';
import { putAside } from './inbox.ts';

export interface SiteHaltRow
  extends Pick<SiteHalt, 'site' | 'name' | 'signedAt' | 'groups' | 'stops' | 'reason' | 'until' | 'fuse'> {
  /** SHA-256 of the signed document. */
  readonly id: string;
  readonly key: string;
  /** By the delegation as it is now. */
  readonly state: 'in-force' | 'over' | 'lifted' | 'refused';
  readonly says: string;
}

export interface DroppedRow extends Pick<RelayGap, 'site' | 'signedAt' | 'agent' | 'dropped' | 'results' | 'bytes' | 'why'> {
  readonly key: string;
  /** Whether a delegation names this key as one of its site's relays. */
  readonly known: boolean;
}

export interface RelayRecords {
  /** The newest first. */
  readonly halts: readonly SiteHaltRow[];
  readonly dropped: readonly DroppedRow[];
}

const NAME = /^[0-9a-f]{64}\.pfr$/;

/** Every record that was kept; what is torn on the disk is passed over. @param at milliseconds */
export function readRecords(folder: string, delegations: readonly SignedDelegation[], at: number): RelayRecords {
  const halts: SiteHaltRow[] = [];
  const dropped: DroppedRow[] = [];
  const bySite = new Map(delegations.map((each) => [each.site, each]));
  const relays = new Set(delegations.flatMap(({ relays: keys = [] }) => keys.map(({ signKey }) => signKey)));
  for (const name of namesIn(folder)) {
    const bytes = readFileBounded(join(folder, name), RECORD_LIMITS.bytes);
    const read = bytes === undefined ? undefined : opened(bytes);
    if (read === undefined || 'code' in read) continue;
    if (read.kind === 'gap') {
      const { site, signedAt, agent, dropped: ranges, results, bytes: size, why } = read.gap;
      dropped.push({
        site,
        signedAt,
        agent,
        dropped: ranges,
        results,
        bytes: size,
        why,
        key: read.key,
        known: relays.has(read.key),
      });
    } else {
      const { site, name: halt, signedAt, groups, stops, reason, until, fuse } = read.halt;
      const since = Date.parse(signedAt);
      const verdict = judgeSiteHalt({ id: read.id, key: read.key, halt: read.halt, since }, bySite.get(site) ?? null);
      const over = verdict.kind === 'counts' && verdict.halt.until !== null && at >= Date.parse(verdict.halt.until);
      const state = verdict.kind === 'counts' ? (over ? 'over' : 'in-force') : verdict.kind;
      const says = verdict.kind === 'counts' ? '' : verdict.says;
      halts.push({ id: read.id, key: read.key, site, name: halt, signedAt, groups, stops, reason, until, fuse, state, says });
    }
  }
  const newest = <T extends { readonly signedAt: string }>(rows: T[]) =>
    rows.toSorted((a, b) => (a.signedAt > b.signedAt ? -1 : 1));
  return { halts: newest(halts), dropped: newest(dropped) };
}

export interface TakenRecords {
  readonly taken: number;
  readonly refused: ReadonlyArray<{
    readonly file: string;
    readonly agent: null;
    readonly code: string;
    readonly says: string;
  }>;
}

/** Takes what relays said out of the inbox into `folder`. Killed anywhere, the next run ends the same. @param at moment, for the notes */
export function takeRecords(inboxFolder: string, folder: string, at: string): TakenRecords {
  const place = join(inboxFolder, 'records');
  let taken = 0;
  const refused: { file: string; agent: null; code: string; says: string }[] = [];
  for (const name of namesIn(place)) {
    const file = join(place, name);
    const bytes = fs.lstatSync(file).isFile() ? readFileBounded(file, RECORD_LIMITS.bytes) : undefined;
    const read = bytes === undefined ? ({ code: 'record.malformed', says: 'is no regular file' } as const) : opened(bytes);
    if ('code' in read || bytes === undefined) {
      const why = 'code' in read ? read : { code: 'record.malformed', says: 'cannot be read' };
      putAside(inboxFolder, file, why, at);
      refused.push({ file, agent: null, ...why });
      continue;
    }
    const kept = join(folder, `${read.id}.pfr`);
    if (!fs.existsSync(kept)) {
      writeFileAtomic(kept, bytes);
      taken += 1;
    }
    fs.rmSync(file, { force: true });
  }
  return { taken, refused };
}

type Read =
  | { readonly kind: 'halt'; readonly id: string; readonly key: string; readonly halt: SiteHalt }
  | { readonly kind: 'gap'; readonly id: string; readonly key: string; readonly gap: RelayGap };

function opened(bytes: Uint8Array): Read | { readonly code: string; readonly says: string } {
  try {
    const { key, id, body } = openRecord(bytes);
    const isHalt = Buffer.from(body).includes('"schema":"patchferry/site-halt"');
    return isHalt
      ? { kind: 'halt', id, key, halt: decodePlain('site-halt', body, 'a halt of a site') }
      : { kind: 'gap', id, key, gap: decodePlain('relay-gap', body, 'a record of a drop') };
  } catch (error) {
    if (!isFault(error)) throw error;
    return { code: error.code, says: error.message };
  }
}

function namesIn(folder: string): string[] {
  return fs.existsSync(folder)
    ? fs
        .readdirSync(folder)
        .filter((name) => NAME.test(name))
        .toSorted()
    : [];
}
