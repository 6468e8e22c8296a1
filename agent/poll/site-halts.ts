// Halts that the site signs by itself: asked of the relay where the signed delegation lets relays halt, checked, and kept. What was
// seen once holds until its end or until the publisher lifts it: a relay that tells nothing any more releases nobody.
import { join } from 'node:path';
import { z } from 'zod';
import { judgeSiteHalt } from '#manifests/decide';
import { isFault } from '#manifests/errors';
import { readFileBounded, writeFileAtomic } from '#manifests/platform/files';
import { canonicalJson, decodePlain, type SignedDelegation, type SignedHalt } from '#manifests/schema';
import type { Fetcher } from '#manifests/transfer';
import { openRecord } from '#manifests/trust';

export const SITE_HALT_LIMITS = {
  /** Bytes of a relay's answer, and of the file here. */
  answerBytes: 1024 * 1024,
  /** Halts that are kept; further ones are not taken. */
  kept: 100,
} as const;

const answer = z.strictObject({
  schema: z.literal('patchferry/site-halts'),
  schemaVersion: z.literal(1),
  records: z.array(z.string()).max(SITE_HALT_LIMITS.kept),
});

const stateFile = z.strictObject({
  schemaVersion: z.literal(1),
  etag: z.string().nullable(),
  /** Of whom the etag is. */
  relay: z.string().nullable(),
  /** Records as they were signed, with the trusted time (milliseconds) they came at. */
  halts: z.array(z.strictObject({ record: z.string(), since: z.number() })),
});
type State = z.infer<typeof stateFile>;

const NOTHING: State = { schemaVersion: 1, etag: null, relay: null, halts: [] };

export interface SiteHalts {
  /** Asks the relay. Trouble is told and changes nothing. @param at milliseconds of trusted time */
  ask(
    origin: Fetcher & { readonly name: string },
    delegation: SignedDelegation,
    at: number,
    signal?: AbortSignal,
  ): Promise<string | null>;
  /** What counts on this host by this delegation, as halts of the publisher do. */
  inForce(delegation: SignedDelegation | null): readonly SignedHalt[];
}

/** @param folder of the documents of this host */
export function openSiteHalts(folder: string): SiteHalts {
  const file = join(folder, 'site-halts.json');
  let known: State | undefined;

  function read(): State {
    if (known !== undefined) return known;
    try {
      const bytes = readFileBounded(file, SITE_HALT_LIMITS.answerBytes * 2);
      known = bytes === undefined ? NOTHING : stateFile.parse(JSON.parse(Buffer.from(bytes).toString('utf8')));
    } catch {
      known = NOTHING; // torn: the relay is asked for all of it again
    }
    return known;
  }
  function write(state: State): void {
    if (canonicalJson(state) === canonicalJson(read())) return;
    writeFileAtomic(file, `${canonicalJson(state)}\n`, { mode: 0o600 });
    known = state;
  }

  return {
    async ask(origin, delegation, at, signal) {
      const state = read();
      try {
        const told = await origin.fetchSmall(`site-halts/${delegation.site}.json`, {
          limitBytes: SITE_HALT_LIMITS.answerBytes,
          etag: state.relay === origin.name ? (state.etag ?? undefined) : undefined,
          signal,
        });
        if (told.kind !== 'found') return null; // nothing new, or a place that knows of no halts
        const { records } = answer.parse(JSON.parse(Buffer.from(told.bytes).toString('utf8')));
        const news = records.filter((record) => !state.halts.some((each) => each.record === record));
        const refused = news.flatMap((record) => {
          const end = verdict(record, at, delegation);
          return end.kind === 'refused' ? [end.says] : [];
        });
        // Lifted ones and those that ended make room; what is in force is never dropped for want of being told again.
        const kept = [...state.halts, ...news.map((record) => ({ record, since: at }))].filter((each) => {
          const end = verdict(each.record, each.since, delegation);
          return end.kind === 'counts' && (end.halt.until === null || at < Date.parse(end.halt.until));
        });
        write({ schemaVersion: 1, etag: told.etag ?? null, relay: origin.name, halts: kept.slice(0, SITE_HALT_LIMITS.kept) });
        return refused.length === 0 ? null : `${origin.name}: ${refused[0]}`;
      } catch (error) {
        if (signal?.aborted === true) throw error;
        return `${origin.name}: what it says of halts of this site cannot be used: ${(error as Error).message.split('\n', 1)[0]}`;
      }
    },
    inForce: (delegation) =>
      read().halts.flatMap(({ record, since }) => {
        const end = verdict(record, since, delegation);
        return end.kind === 'counts' ? [end.halt] : [];
      }),
  };
}

/** The signature is checked each time: what lies on the disk is no better than what came over the line. */
function verdict(record: string, since: number, delegation: SignedDelegation | null) {
  try {
    const { key, id, body } = openRecord(Buffer.from(record, 'utf8'));
    return judgeSiteHalt({ id, key, halt: decodePlain('site-halt', body, 'a halt of the site'), since }, delegation);
  } catch (error) {
    if (!isFault(error)) throw error;
    return { kind: 'refused', says: error.message } as const;
  }
}
