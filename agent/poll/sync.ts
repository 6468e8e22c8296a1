// One poll: what the relays have, in their order, and whether it is genuine. The repository's trust is in `trust`, the order
// of the relays in `relays`; here is which documents of the repository concern this host.
import { readStop } from '#manifests/decide';
import { isFault, PatchferryError } from '#manifests/errors';
import type { PayloadStore } from '#manifests/repository';
import { type ContentRef, canonicalJson, type DocumentKind, type DocumentOf, decodeDocument } from '#manifests/schema';
import type { Fetcher, Origin, Resuming } from '#manifests/transfer';
import type { TrustClient } from '#manifests/trust';
import { BEHIND_LIMITS, isOlder, TIMESTAMP } from './behind.ts';
import {
  ACKS_PATH,
  ANSWERS_PATH,
  baselinePath,
  catalogPath,
  type DocumentList,
  type DocumentStore,
  delegationPath,
  groupPath,
  HALTS,
  overlayPath,
  RECALLS,
  ROSTER_PATH,
  WAIVERS,
} from './documents.ts';
import { fault } from './faults.ts';
import type { Relays } from './relays.ts';

interface Attempt {
  readonly relay: string;
  readonly code: string;
  readonly message: string;
  readonly where: string | null;
}

export interface SyncRequest {
  readonly relays: Relays;
  readonly trust: TrustClient;
  readonly documents: DocumentStore;
  readonly agent: string | null;
  /** By hand: relays that rest are asked all the same, last. */
  readonly eager: boolean;
  /** This host has asked for waivers: what became of that is fetched too. */
  readonly asked?: boolean | undefined;
  /** Documents that an unfinished run still needs. */
  readonly keep: readonly string[];
  readonly signal?: AbortSignal | undefined;
}

export type SyncOutcome =
  | { readonly kind: 'synced'; readonly changed: boolean; readonly origin: Origin; readonly attempts: readonly Attempt[] }
  /** Whoever could be asked has an older state: this host goes on with the one it holds, which has not expired. */
  | {
      readonly kind: 'behind';
      readonly origin: Origin;
      readonly attempts: readonly Attempt[];
      readonly error: PatchferryError;
    }
  | { readonly kind: 'paused'; readonly until: number; readonly attempts: readonly Attempt[] }
  /** `refused` when at least one relay answered with something that is not genuine or not fresh. */
  | { readonly kind: 'unreachable' | 'refused'; readonly attempts: readonly Attempt[]; readonly error: PatchferryError };

/**
 * Asks the relays in their order until one gives a verified state. Whatever goes wrong, the last verified state stays.
 * With nothing new this is one conditional request.
 */
export async function syncOnce(request: SyncRequest): Promise<SyncOutcome> {
  const { relays, trust } = request;
  if (relays.origins.length === 0) {
    return { kind: 'unreachable', attempts: [], error: fault('no-relay', 'no relay is known to this agent') };
  }
  const attempts: Attempt[] = [];
  const errors: PatchferryError[] = [];
  const order = relays.order(request.eager);
  if (order.length === 0) return { kind: 'paused', until: relays.restsUntil(), attempts };
  let lagging: Origin | undefined;
  for (const origin of order) {
    try {
      const { changed, mixed } = await askOne(request, origin);
      relays.good(origin, trust.versions()?.timestamp ?? 0, mixed);
      return { kind: 'synced', changed, origin, attempts };
    } catch (thrown) {
      if (!(thrown instanceof PatchferryError)) throw thrown;
      if (thrown.code === 'files.unwritable' || thrown.code === 'lock.held') throw thrown; // this host's own; no other relay helps
      const held = { timestamp: newestTimestamp(trust), expired: trust.freshness().hardExpired };
      const { behind, error } = relays.noted(origin, thrown, held);
      if (behind) lagging ??= origin;
      errors.push(error);
      attempts.push({ relay: origin.name, code: error.code, message: error.message, where: error.where ?? null });
    }
  }
  const refused = errors.some(isRefusal);
  const rows = attempts.map(({ relay, code, message }) => `  ${relay}: ${code}: ${message}`).join('\n');
  const error = fault(refused ? 'refused' : 'unreachable', `no relay gave a verified state:\n${rows}`, {
    cause: new AggregateError(errors),
  });
  if (lagging !== undefined && !refused) return { kind: 'behind', origin: lagging, attempts, error };
  return { kind: refused ? 'refused' : 'unreachable', attempts, error };
}

/**
 * Asks one relay. Several may stand behind its name, and not all are in step: one that answers with an older state than was seen is
 * asked again, on a new connection and at another address of the name, a few times. What is older is never used.
 */
async function askOne(request: SyncRequest, origin: Origin): Promise<{ changed: boolean; mixed: boolean }> {
  const { forgetParts, RESUME_LIMITS, resuming } = await import('#manifests/transfer'); // loaded when it was opened
  const { parts } = request.documents;
  forgetParts(parts, RESUME_LIMITS.keptParts);
  const from = steady(origin, resuming(origin, parts));
  for (let older = false; ; older = true) {
    try {
      const { changed } = await request.trust.refresh(from, request.signal);
      const fetched = await fetchDocuments(request, from, changed);
      forgetParts(parts);
      return { changed: changed || fetched, mixed: older || from.mixed() };
    } catch (error) {
      if (!(error instanceof PatchferryError) || !isOlder(error) || !(await from.elsewhere())) throw error;
    }
  }
}

/** Version of the newest timestamp that was verified here, also where a cut has kept what it names from coming. */
function newestTimestamp(trust: TrustClient): number {
  const bytes = trust.newest().get('timestamp');
  if (bytes === undefined) return 0;
  return (JSON.parse(Buffer.from(bytes).toString('utf8')) as { signed: { version: number } }).signed.version;
}

/**
 * The same origin, asked with patience: a file that is signed for and not there is asked for again elsewhere, one after the other so
 * that they do not take turns in meeting the relay that lags. A next root may be lacking, and mostly is.
 */
function steady(
  origin: Origin,
  from: Resuming,
): Resuming & {
  /** Looks for another timestamp than the last one under the same name; the next who asks gets it. Bounded in all. */
  elsewhere(): Promise<boolean>;
  /** Whether what was not there at one time was there at another. */
  mixed(): boolean;
} {
  type Fetch = Fetcher['fetchSmall'];
  let before: Promise<unknown> = Promise.resolve();
  let asked: Parameters<Fetch>[1] | undefined;
  let last: Uint8Array | undefined;
  let found: Awaited<ReturnType<Fetch>> | undefined;
  let looks = 1;
  let mixed = false;
  const again = async (path: string, fetch: () => ReturnType<Fetch>): ReturnType<Fetch> => {
    if (/^metadata\/\d+\.root\.json$/.test(path)) return { kind: 'missing' };
    for (let tries = 2; ; tries += 1) {
      origin.renew?.();
      const got = await fetch();
      mixed ||= got.kind !== 'missing';
      if (got.kind !== 'missing' || tries >= BEHIND_LIMITS.missingTries) return got;
    }
  };
  const inTurn = (path: string, fetch: () => ReturnType<Fetch>) => {
    const turn = before.then(() => again(path, fetch));
    before = turn.catch(() => undefined);
    return turn;
  };
  return {
    mixed: () => mixed,
    async fetchSmall(path, options) {
      const held = path === TIMESTAMP ? found : undefined;
      if (held !== undefined) found = undefined;
      const got = held ?? (await from.fetchSmall(path, options));
      if (path === TIMESTAMP && got.kind === 'found') [asked, last] = [options, got.bytes];
      return got.kind === 'missing' ? inTurn(path, () => from.fetchSmall(path, options)) : got;
    },
    async fetchKnown(path, want, options) {
      const got = await from.fetchKnown(path, want, options);
      return got.kind === 'missing' ? inTurn(path, () => from.fetchKnown(path, want, options)) : got;
    },
    async elsewhere() {
      const older = last;
      if (asked === undefined || older === undefined) return false;
      const without = { ...asked, etag: undefined };
      for (; looks < BEHIND_LIMITS.tries; looks += 1) {
        origin.renew?.();
        const got = await origin.fetchSmall(TIMESTAMP, without);
        if (got.kind !== 'found' || Buffer.from(got.bytes).equals(older)) continue;
        found = got;
        looks += 1;
        return true;
      }
      return false;
    },
  };
}

/** What a relay sent was not genuine, as opposed to a line that is down. */
export function isRefusal(error: { code: string }): boolean {
  return (
    /^(?:trust|document|repository|recall)\./.test(error.code) ||
    /^transfer\.(?:hash|size|too-large|portal|range|redirect|encoding|tls)$/.test(error.code)
  );
}

/** Fetches the documents that concern this host and are not here yet. @returns whether there were any */
async function fetchDocuments(request: SyncRequest, origin: Fetcher, changed: boolean): Promise<boolean> {
  const { documents, trust } = request;
  const before = documents.current();
  if (
    !changed &&
    before.length > 0 &&
    before.every(({ path, sha256 }) => trust.target(path)?.sha256 === sha256 && documents.has(sha256))
  )
    return false;
  const { list } = await collectDocuments(request, origin);
  documents.setCurrent(list, request.keep);
  return canonicalJson(list.toSorted((a, b) => (a.path < b.path ? -1 : 1))) !== canonicalJson(before);
}

async function collectDocuments(
  { trust, documents, agent, signal, asked }: SyncRequest,
  origin: Fetcher,
): Promise<{ list: DocumentList }> {
  const list: { path: string; sha256: string }[] = [];
  const load = async <K extends DocumentKind>(kind: K, path: string): Promise<DocumentOf<K> | undefined> => {
    const target = trust.target(path);
    if (target === undefined) return undefined;
    let bytes = documents.bytes(target.sha256);
    if (bytes === undefined) {
      bytes = await trust.readTarget(path, origin, signal);
      decodeDocument(kind, bytes, path); // before it is kept: a document that cannot be read must not become current
      documents.put(target.sha256, bytes);
    }
    list.push({ path, sha256: target.sha256 });
    return documents.read(kind, target.sha256, path);
  };
  /** A halt must hold before it is kept too; one of a kind that the halts role may not sign is refused with the whole poll. */
  const loadStop = async (path: string) => {
    const target = trust.target(path);
    if (target === undefined) return;
    let bytes = documents.bytes(target.sha256);
    if (bytes === undefined) {
      bytes = await trust.readTarget(path, origin, signal);
      readStop(bytes, path);
      documents.put(target.sha256, bytes);
    }
    list.push({ path, sha256: target.sha256 });
  };
  const roster = await load('roster', ROSTER_PATH);
  await load('acks', ACKS_PATH);
  const member = roster?.agents.find(({ id, status }) => id === agent && status === 'approved');
  const group = member === undefined ? undefined : await load('group', groupPath(member.group));
  for (const { baseline, product } of [...(group?.baselines ?? []), ...(group?.choose ?? [])]) {
    if (list.some(({ path }) => path === baselinePath(baseline))) continue;
    await load('resolved-baseline', baselinePath(baseline));
    if (!list.some(({ path }) => path === catalogPath(product))) await load('catalog', catalogPath(product));
  }
  for (const { path } of trust.targets()) {
    if (path.startsWith(HALTS)) await loadStop(path);
    else if (path.startsWith(RECALLS)) await load('recall', path);
    else if (path.startsWith(WAIVERS)) await load('waiver', path);
  }
  if (asked === true && member !== undefined) await load('waiver-answers', ANSWERS_PATH);
  if (member?.site !== undefined) {
    await load('site-delegation', delegationPath(member.site));
    await load('site-overlay', overlayPath(member.site));
  }
  return { list };
}

/**
 * Brings payloads into the store; what is here is not fetched again, a cut download goes on where it stopped, at another relay
 * where there is one. @throws transfer.*, repository.*
 */
export async function fetchPayloads(
  wanted: readonly ContentRef[],
  from: Pick<Origin, 'download'>,
  store: PayloadStore,
  options: { signal?: AbortSignal; onBytes?: (done: number, total: number) => void } = {},
): Promise<void> {
  const missing = [...new Map(wanted.map((ref) => [ref.sha256, ref])).values()].filter(
    ({ sha256, size }) => !store.has(sha256, size),
  );
  const total = missing.reduce((sum, { size }) => sum + size, 0);
  let done = 0;
  let absent: PatchferryError | undefined;
  for (const ref of missing) {
    options.signal?.throwIfAborted();
    try {
      await store.fetch(from, ref, {
        onBytes: (bytes) => options.onBytes?.((done += bytes), total),
        ...(options.signal === undefined ? {} : { signal: options.signal }),
      });
    } catch (error) {
      // What no relay has is no reason to leave the rest: each is asked for, so that a relay without a line knows what to ask for.
      if (!(error instanceof PatchferryError) || !isAbsent(error)) throw error;
      absent ??= error;
    }
  }
  if (absent !== undefined) throw absent;
}

/** Whether every relay that was asked says that it does not have it. */
function isAbsent(error: PatchferryError): boolean {
  const reasons = error.cause instanceof AggregateError ? (error.cause.errors as unknown[]) : [error];
  return reasons.every((reason) => isFault(reason, 'transfer.missing'));
}
