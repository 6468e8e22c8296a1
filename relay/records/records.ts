// Records in and out: taken from other relays when they may say what they say, told to agents and to the other relays of the site,
// and laid into the inbox to travel up.
import { judgeSiteHalt } from '#manifests/decide';
import { isFault, PatchferryError } from '#manifests/errors';
import type { Clock } from '#manifests/platform/clock';
import type { Log } from '#manifests/platform/log';
import {
  canonicalJson,
  decodePlain,
  encodePlain,
  type RelayGap,
  type SignedDelegation,
  type SiteHalt,
} from '#manifests/schema';
import { openRecord, type SigningKeyPair, signRecord } from '#manifests/trust';
import type { Hop, Spool } from '../inbox/index.ts';
import { fault, RECORDS_LIMITS } from './limits.ts';
import { inForce, type KeptHalt, type RecordStore } from './store.ts';

/** What the signed documents say that is needed here. */
export interface RecordDocuments {
  delegation(site: string): SignedDelegation | undefined;
  /** Undefined before the first sync. */
  roster(): ReadonlyMap<string, unknown> | undefined;
}

export interface RecordsOptions {
  readonly store: RecordStore;
  readonly spool: Pick<Spool, 'keepRecord' | 'items'>;
  readonly documents: RecordDocuments;
  /** This relay's own key. */
  readonly key: SigningKeyPair;
  /** The other relays of the site. */
  readonly siblings: readonly Hop[];
  readonly clock: Clock;
  readonly log: Log;
  /** Told after something came that has to go on. */
  readonly onKept?: () => void;
}

/** What another relay of the site made of what it was told now; `says` is empty where it has it. */
export interface Told {
  readonly relay: string;
  readonly says: string;
}

export interface Records {
  /** Takes a record that another relay posted. */
  take(bytes: Uint8Array): Promise<{ status: number; body: object }>;
  /** Signs and keeps a halt of this site, and tells it to everybody. @throws files.unwritable */
  halt(halt: SiteHalt): string;
  /** Signs and keeps which results were dropped. @throws files.unwritable */
  gap(gap: RelayGap): string;
  /** Halts of a site that stop its hosts now. */
  inForce(site: string): readonly KeptHalt[];
  /** What agents of a site are told; undefined when nothing of this site was ever said. */
  answer(site: string): { body: string } | undefined;
  /** Brings halts in force to the other relays of the site, each until it has it. */
  tellSiblings(site: string | undefined, signal?: AbortSignal): Promise<Told[]>;
  tidy(): void;
}

const STATUS: Readonly<Record<string, number>> = {
  'records.not-allowed': 403,
  'records.unknown-agent': 403,
  'record.signature': 403,
  'records.too-many': 429,
  'records.full': 507,
};

export function openRecords(options: RecordsOptions): Records {
  const { store, spool, documents, key, clock, log } = options;
  /** Which relays have which halt, as they said. */
  const told = new Map<Hop, Set<string>>();

  const verdictOf = (halt: KeptHalt) => judgeSiteHalt(halt, documents.delegation(halt.halt.site) ?? null);
  const inForceOf = (site: string) =>
    store.halts().filter((halt) => halt.halt.site === site && inForce(verdictOf(halt), clock.now()));

  /** Up first, so that a kill between the two leaves one that travels; keeping it again is no harm. */
  function keep(kind: 'halts' | 'gaps', id: string, record: Uint8Array): void {
    spool.keepRecord(id, record);
    store.put(kind, id, record);
    options.onKept?.();
  }

  function own(kind: 'halts' | 'gaps', body: Uint8Array): string {
    const record = signRecord(body, key);
    const { id } = openRecord(record);
    keep(kind, id, record);
    return id;
  }

  function bound(signer: string): void {
    const here = spool.items('records');
    if (here.length >= RECORDS_LIMITS.waiting) throw fault('too-many', `${here.length} records wait already`);
    const known = store.gaps().filter((gap) => gap.key === signer).length;
    if (known >= RECORDS_LIMITS.waitingOfOne && here.length >= RECORDS_LIMITS.waitingOfOne)
      throw fault('too-many', `${known} records of one relay wait already`);
  }

  function takeHalt({ key: signer, id, body }: ReturnType<typeof openRecord>, record: Uint8Array): 'kept' | 'duplicate' {
    const halt = decodePlain('site-halt', body, 'a halt of a site');
    if (store.has('halts', id)) return 'duplicate';
    const verdict = judgeSiteHalt({ id, key: signer, halt, since: clock.now() }, documents.delegation(halt.site) ?? null);
    if (verdict.kind === 'refused') throw fault('not-allowed', verdict.says);
    if (verdict.kind === 'lifted') return 'duplicate';
    if (store.halts().filter((each) => each.halt.site === halt.site).length >= RECORDS_LIMITS.halts)
      throw fault('too-many', `${RECORDS_LIMITS.halts} halts of site ${halt.site} are here already`);
    keep('halts', id, record);
    log.warn({ site: halt.site, halt: halt.name, reason: halt.reason }, 'another relay has halted its site');
    return 'kept';
  }

  function takeGap({ key: signer, id, body }: ReturnType<typeof openRecord>, record: Uint8Array): 'kept' | 'duplicate' {
    const gap = decodePlain('relay-gap', body, 'a record of a drop');
    if (store.has('gaps', id)) return 'duplicate';
    if (documents.roster()?.has(gap.agent) !== true) throw fault('unknown-agent', `agent ${gap.agent} is not in the roster`);
    bound(signer);
    keep('gaps', id, record);
    return 'kept';
  }

  return {
    take(bytes) {
      try {
        const opened = openRecord(bytes);
        const kind = schemaOf(opened.body);
        const state = kind === 'patchferry/site-halt' ? takeHalt(opened, bytes) : takeGap(opened, bytes);
        return Promise.resolve({ status: state === 'kept' ? 201 : 200, body: { state, hash: opened.id } });
      } catch (error) {
        if (!(error instanceof PatchferryError)) throw error;
        const said = isFault(error, 'files.unwritable') ? fault('full', error.message, { cause: error }) : error;
        log.warn({ code: said.code, reason: said.message }, 'refused a record');
        return Promise.resolve({
          status: STATUS[said.code] ?? 400,
          body: { code: said.code, message: said.message, next: said.next },
        });
      }
    },
    halt(halt) {
      const id = own('halts', encodePlain('site-halt', halt));
      log.error({ site: halt.site, halt: halt.name, reason: halt.reason }, 'this site is halted');
      return id;
    },
    gap: (gap) => own('gaps', encodePlain('relay-gap', gap)),
    inForce: inForceOf,
    answer(site) {
      if (!store.halts().some(({ halt }) => halt.site === site)) return undefined;
      const records = inForceOf(site).map(({ record }) => Buffer.from(record).toString('utf8'));
      return { body: canonicalJson({ schema: 'patchferry/site-halts', schemaVersion: 1, records }) };
    },
    async tellSiblings(site, signal) {
      const outcome: Told[] = [];
      if (site === undefined) return outcome;
      for (const sibling of options.siblings) {
        const has = told.get(sibling) ?? new Set<string>();
        told.set(sibling, has);
        for (const { id, record } of inForceOf(site)) {
          if (has.has(id)) continue;
          const item = { kind: 'records', agent: id.slice(0, 32), path: `records/${id}.pfr` } as const;
          try {
            const end = await sibling.deliver(item, record, signal);
            if (end.kind === 'delivered') has.add(id);
            else log.warn({ sibling: sibling.name, reason: end.says }, 'another relay of the site does not take a halt');
            outcome.push({ relay: sibling.name, says: end.kind === 'delivered' ? '' : end.says });
          } catch (error) {
            if (signal?.aborted === true) return outcome;
            log.warn({ sibling: sibling.name, reason: (error as Error).message }, 'another relay of the site cannot be told');
            outcome.push({ relay: sibling.name, says: (error as Error).message });
            break;
          }
        }
      }
      return outcome;
    },
    tidy: () => store.tidy(clock.now(), (site) => documents.delegation(site)),
  };
}

function schemaOf(body: Uint8Array): unknown {
  try {
    return (JSON.parse(Buffer.from(body).toString('utf8')) as { schema?: unknown } | null)?.schema;
  } catch {
    return undefined; // the reader of a document says what is wrong with it
  }
}
