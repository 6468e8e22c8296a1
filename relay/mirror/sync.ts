// One sync: refresh the trusted metadata, fetch what is new, check everything, and only then switch to a new generation.
import * as fs from 'node:fs';
import { join } from 'node:path';
import { isFault } from '#manifests/errors';
import { type Clock, utcSeconds } from '#manifests/platform/clock';
import { readFileBounded } from '#manifests/platform/files';
import { takeLock } from '#manifests/platform/lock';
import type { Log } from '#manifests/platform/log';
import { metadataPath, openPayloadStore, type PayloadStore, targetFilePath } from '#manifests/repository';
import { type Failover, type Fetcher, failover, forgetParts, type Origin, RESUME_LIMITS, resuming } from '#manifests/transfer';
import { openTrust, type TrustClient, trustedRoot } from '#manifests/trust';
import { type BringOptions, bringPayloads } from './bring.ts';
import { settleChecked } from './checked.ts';
import { fault } from './faults.ts';
import {
  checkedBytes,
  currentGeneration,
  dropBroken,
  type Generation,
  generationNumbers,
  type MirrorLayout,
  mirrorLayout,
  olderGenerations,
  placeFile,
  pruneNext,
  switchTo,
} from './generations.ts';
import { type GroupDocuments, groupsHere, type Here, inOrderOfNeed, neededFor, openingsOf, readGroupInto } from './openings.ts';
import { readUsage } from './usage.ts';
import { type Documents, type PayloadChoice, readInto, selectionName, type WantedPayload, wantedPayloads } from './wanted.ts';

export const SYNC_LIMITS = {
  /** Bytes of a pinned root file. */
  rootBytes: 512 * 1024,
  /** Times a sync starts over because the upstream was published anew under it. */
  restarts: 3,
  /** Files of generations that were served within this time, milliseconds, are found in the new one too; of so many at most. */
  carriedForMs: 2 * 3_600_000,
  carriedGenerations: 20,
  /** Bytes of the list of payloads that were found damaged. */
  damagedBytes: 64 * 1024 * 1024,
} as const;

export interface SyncOptions extends BringOptions {
  /** The mirror's folder. */
  readonly mirror: string;
  /** Where the trusted metadata is kept. */
  readonly trust: string;
  readonly lock: string;
  /** The same origins with a memory of which one rests, from one sync to the next; without, none has failed yet. */
  readonly upstream?: Failover | undefined;
  /** Path of the root.json that the publisher handed over; needed for the first sync. */
  readonly pinnedRoot: string | undefined;
  readonly payloads: PayloadChoice;
  /** Products whose payloads are wanted; none means all. */
  readonly products?: readonly string[] | undefined;
  /** Whose windows say in which order payloads come; without, they come in no particular one. */
  readonly here?: (() => Here) | undefined;
  readonly clock: Clock;
  readonly log: Log;
  /** Looks for payloads again even when the signed state is the one that is here: a bundle may bring nothing but payloads. */
  readonly anew?: boolean | undefined;
}

export interface SyncReport {
  readonly changed: boolean;
  readonly generation: Generation;
  readonly origin: string;
  readonly fetchedDocuments: number;
  readonly fetchedPayloads: number;
  readonly fetchedBytes: number;
  /** What went wrong with upstreams that were passed over. */
  readonly failures: ReadonlyArray<{ origin: string; code: string; message: string }>;
}

/**
 * Brings the mirror to the upstream's state. A second sync with nothing new costs one conditional request and changes
 * nothing. @throws lock.held, mirror.*, trust.*, transfer.*, document.*
 */
export async function syncMirror(options: SyncOptions): Promise<SyncReport> {
  if (options.origins.length === 0) throw fault('no-upstream', 'no upstream is set');
  const lock = takeLock(options.lock, 'sync');
  try {
    return await syncLocked(options);
  } finally {
    lock.release();
  }
}

async function syncLocked(options: SyncOptions): Promise<SyncReport> {
  const pinned = options.pinnedRoot === undefined ? undefined : readFileBounded(options.pinnedRoot, SYNC_LIMITS.rootBytes);
  if (options.pinnedRoot !== undefined && pinned === undefined) {
    throw fault('no-root', `there is no ${options.pinnedRoot}`, { where: options.pinnedRoot });
  }
  if (pinned !== undefined) checkPinned(pinned, options.pinnedRoot);
  const trust = openTrustOrSay(options, pinned);
  const failures: { origin: string; code: string; message: string }[] = [];
  const upstream = options.upstream ?? failover(options.origins, { clock: options.clock });
  const report = await upstream.attempt(
    (origin) => syncFrom(origin, trust, options),
    ({ origin, code, message }) => failures.push({ origin, code, message }),
  );
  for (const { origin, lastFailure, restsUntil } of upstream.report())
    if (lastFailure !== null && restsUntil !== null && failures.every((failure) => failure.origin !== origin))
      failures.push({ origin, code: lastFailure.code, message: `${lastFailure.message}; it rests until ${restsUntil}` });
  return { ...report, failures };
}

function checkPinned(bytes: Uint8Array, path: string | undefined): void {
  try {
    trustedRoot(bytes);
  } catch (cause) {
    if (!isFault(cause)) throw cause;
    throw fault('bad-root', `${path} is no root.json: ${cause.message}`, { where: path, cause });
  }
}

function openTrustOrSay(options: SyncOptions, pinnedRoot: Uint8Array | undefined): TrustClient {
  try {
    return openTrust({ folder: options.trust, now: () => options.clock.now(), pinnedRoot });
  } catch (cause) {
    if (pinnedRoot !== undefined || !isFault(cause, 'trust.no-root')) throw cause;
    throw fault('no-root', 'a first sync needs the root.json of the publisher', { cause });
  }
}

async function syncFrom(origin: Origin, trust: TrustClient, options: SyncOptions): Promise<SyncReport> {
  const { parts } = mirrorLayout(options.mirror);
  forgetParts(parts, RESUME_LIMITS.keptParts);
  const from = resuming(origin, parts);
  for (let round = 1; ; round += 1) {
    const { changed, versions } = await trust.refresh(from, options.signal);
    try {
      const report = await bringHere(origin, from, trust, options, versions);
      forgetParts(parts);
      return report;
    } catch (error) {
      // Files that are gone may mean that the upstream was published anew meanwhile; then its new state is asked for.
      if (!isFault(error, 'transfer.missing', 'trust.target-missing', 'trust.missing')) throw error;
      if (round > SYNC_LIMITS.restarts) {
        throw fault('moving', `${origin.name} changed ${round} times during one sync`, { where: origin.name, cause: error });
      }
      const again = await trust.refresh(from, options.signal);
      if (!again.changed) throw error;
      options.log.info({ origin: origin.name, changed }, 'upstream changed during the sync, starting over');
    }
  }
}

async function bringHere(
  origin: Origin,
  from: Fetcher,
  trust: TrustClient,
  options: SyncOptions,
  versions: Generation['versions'],
): Promise<SyncReport> {
  const layout = mirrorLayout(options.mirror);
  const before = currentGeneration(layout);
  const unchanged = { origin: origin.name, fetchedDocuments: 0, fetchedPayloads: 0, fetchedBytes: 0, failures: [] };
  if (before !== undefined && options.anew !== true && isComplete(layout, before, trust, options)) {
    return { changed: false, generation: before, ...unchanged };
  }

  fs.mkdirSync(layout.next, { recursive: true });
  const store = openPayloadStore(layout.payloads);
  const beganAt = options.clock.now();
  const damaged = await forgetDamaged(layout, store);
  const keep = new Set<string>();
  const documents = await bringDocuments(from, trust, options, layout, before, keep);
  const metadata = placeMetadata(trust, layout, before, keep);
  const wanted = wantedInOrder(documents, options, layout);
  const payloads = await bringPayloads(origin, store, wanted, options);
  if (before !== undefined) carryOver(layout, before, keep, options.clock.now());
  pruneNext(layout, keep);

  const record: Generation = {
    schema: 'patchferry/generation',
    schemaVersion: 1,
    number: (generationNumbers(layout).at(-1) ?? 0) + 1,
    madeAt: utcSeconds(options.clock.now()),
    from: origin.name,
    versions,
    payloads: options.payloads,
    only: (options.products ?? []).toSorted(),
    targets: trust.targets().map(({ path, sha256, length, role }) => ({ path, sha256, length, role })),
    metadata,
    payloadCount: wanted.length - payloads.lacking.length,
    payloadBytes: payloads.bytesHere,
    absent: payloads.absent,
    waiting: payloads.waiting,
    overQuota: payloads.overQuota,
    lacking: payloads.lacking,
    products: documents.read.catalogs.map(({ product }) => product).toSorted(),
  };
  options.signal?.throwIfAborted();
  switchTo(layout, record);
  if (damaged !== undefined) dropBroken(layout, record.number);
  // What was found damaged meanwhile is the next sync's.
  if (damaged !== undefined && damagedList(layout) === damaged) fs.rmSync(layout.damaged, { force: true });
  const { absentHashes: absent, lacking } = payloads;
  settleChecked(layout, { beganAt, now: options.clock.now(), absent, lacking: new Set(lacking) });
  options.log.info(
    { generation: record.number, from: origin.name, ...versions, absent: payloads.absent, waiting: payloads.waiting },
    'new generation',
  );
  return {
    changed: true,
    generation: record,
    origin: origin.name,
    fetchedDocuments: documents.fetched,
    fetchedPayloads: payloads.fetched,
    fetchedBytes: documents.fetchedBytes + payloads.fetchedBytes,
    failures: [],
  };
}

/** Whether the current generation is the trusted state already, with the payloads that the settings ask for. */
function isComplete(layout: MirrorLayout, generation: Generation, trust: TrustClient, options: SyncOptions): boolean {
  const selected = { payloads: generation.payloads, products: generation.only };
  if (selectionName(selected) !== selectionName(options) || fs.existsSync(layout.damaged)) return false;
  if (generation.waiting > 0 && options.payloadsNow?.() !== false) return false;
  const trusted = trust.metadataFiles().find(({ name }) => name === 'timestamp.json');
  const here = readFileBounded(join(layout.current, metadataPath('timestamp.json')), SYNC_LIMITS.rootBytes);
  return trusted !== undefined && here !== undefined && Buffer.from(here).equals(trusted.bytes);
}

interface BroughtDocuments {
  readonly read: Documents;
  readonly groups: GroupDocuments;
  readonly fetched: number;
  readonly fetchedBytes: number;
}

/** What is to be had: for the window that opens first, first. */
function wantedInOrder({ read, groups }: BroughtDocuments, options: SyncOptions, layout: MirrorLayout): WantedPayload[] {
  const selection = { ...options, asked: readUsage(layout).asked };
  const wanted = wantedPayloads(read, selection);
  const here = options.here?.();
  if (here === undefined) return wanted;
  const openings = openingsOf(groupsHere(groups, here), options.clock.now(), here.zone);
  return inOrderOfNeed(wanted, neededFor(openings, read, selection));
}

/** Brings every signed document into the generation in the making: from there, from the generation before, or anew. */
async function bringDocuments(
  from: Fetcher,
  trust: TrustClient,
  options: SyncOptions,
  layout: MirrorLayout,
  before: Generation | undefined,
  keep: Set<string>,
): Promise<BroughtDocuments> {
  const read: Documents = { catalogs: [], baselines: [] };
  const groups: GroupDocuments = { groups: [], roster: undefined };
  let fetched = 0;
  let fetchedBytes = 0;
  const old = before === undefined ? undefined : join(layout.generations, String(before.number));
  const bring = async (target: { path: string; length: number }, path: string): Promise<Uint8Array> => {
    const here = checkedBytes(layout.next, path, target.length);
    if (here !== undefined) return here;
    fs.rmSync(join(layout.next, path), { force: true });
    const kept = old === undefined ? undefined : checkedBytes(old, path, target.length);
    if (kept !== undefined && old !== undefined) {
      placeFile(layout.next, path, { linkTo: join(old, path) });
      return kept;
    }
    const bytes = await trust.readTarget(target.path, from, options.signal);
    placeFile(layout.next, path, { bytes });
    fetched += 1;
    fetchedBytes += bytes.length;
    return bytes;
  };
  for (const target of trust.targets()) {
    options.signal?.throwIfAborted();
    const path = targetFilePath(target.path, target.sha256);
    keep.add(path);
    const bytes = await bring(target, path);
    readInto(read, target.path, bytes);
    if (options.here !== undefined) readGroupInto(groups, target.path, bytes);
  }
  return { read, groups, fetched, fetchedBytes };
}

function placeMetadata(trust: TrustClient, layout: MirrorLayout, before: Generation | undefined, keep: Set<string>): string[] {
  const names: string[] = [];
  const holds = (file: string, bytes: Uint8Array) => fs.existsSync(file) && fs.readFileSync(file).equals(bytes);
  for (const { name, bytes } of trust.metadataFiles()) {
    const path = metadataPath(name);
    if (!holds(join(layout.next, path), bytes)) {
      const old = before === undefined ? undefined : join(layout.generations, String(before.number), path);
      fs.rmSync(join(layout.next, path), { force: true });
      placeFile(layout.next, path, old !== undefined && holds(old, bytes) ? { linkTo: old } : { bytes });
    }
    keep.add(path);
    names.push(name);
  }
  if (before !== undefined) ageApart(layout, before);
  return names.toSorted();
}

/**
 * Other web servers make an ETag of a file's length and its time in whole seconds; two timestamps of one length must never
 * share it, or clients are told "not modified" for good. So each is at least a second younger than the one before.
 */
function ageApart(layout: MirrorLayout, before: Generation): void {
  const path = metadataPath('timestamp.json');
  const old = fs.statSync(join(layout.generations, String(before.number), path), { throwIfNoEntry: false });
  const file = join(layout.next, path);
  const now = fs.statSync(file);
  if (old === undefined || old.ino === now.ino) return;
  const least = Math.floor(old.mtimeMs / 1_000) + 1;
  if (now.mtimeMs / 1_000 < least) fs.utimesSync(file, now.atimeMs / 1_000, least);
}

/** A client that began with a generation that was just served still finds its files: they are linked into the new one too (S21). */
function carryOver(layout: MirrorLayout, before: Generation, keep: Set<string>, now: number): void {
  const older = olderGenerations(layout, before, SYNC_LIMITS.carriedGenerations)
    .filter(({ since }) => now - since < SYNC_LIMITS.carriedForMs)
    .flatMap(({ record }) => record ?? []);
  for (const generation of [before, ...older]) {
    const old = join(layout.generations, String(generation.number));
    const own = [
      ...generation.metadata.filter((name) => name !== 'timestamp.json').map(metadataPath),
      ...generation.targets.map(({ path, sha256 }) => targetFilePath(path, sha256)),
    ];
    for (const path of own) {
      if (keep.has(path) || !fs.existsSync(join(old, path))) continue;
      placeFile(layout.next, path, { linkTo: join(old, path) });
      keep.add(path);
    }
  }
}

/** Payloads that were found damaged and are here all the same (a power cut brought them back) go. @returns the list */
async function forgetDamaged(layout: MirrorLayout, store: PayloadStore): Promise<string | undefined> {
  const list = damagedList(layout);
  for (const line of list?.split('\n') ?? [])
    if (/^[0-9a-f]{64}$/.test(line) && !(await store.verify(line))) store.remove(line);
  return list;
}

function damagedList(layout: MirrorLayout): string | undefined {
  const bytes = readFileBounded(layout.damaged, SYNC_LIMITS.damagedBytes);
  return bytes === undefined ? undefined : Buffer.from(bytes).toString('latin1');
}
