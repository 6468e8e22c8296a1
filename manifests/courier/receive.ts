// Taking content bundles in at a closed site: which of those in a place are for here, collected and verified whole, handed to
// whoever makes them visible, answered with a receipt; what is refused is put away with a note.
import * as fs from 'node:fs';
import { join } from 'node:path';
import {
  type Answered,
  acceptIndex,
  type BundleIndex,
  dropImported,
  findBundles,
  type ImportOutcome,
  importBundle,
  incompleteFault,
  openChannels,
  type ReceiptRow,
  readBundleIndex,
  readMedium,
} from '#manifests/bundle';
import { EXIT, isFault, PatchferryError } from '#manifests/errors';
import { takeLock } from '#manifests/platform/lock';
import { formatBytes, type Progress } from '#manifests/platform/progress';
import { fault } from './faults.ts';
import { putReceipt } from './receipts.ts';
import { rejectBundle, removeBundle } from './rejected.ts';
import { publisherKeys } from './roots.ts';
import type { Site } from './site.ts';
import { onStick } from './stick.ts';

/** A bundle that was verified whole; nothing of it is visible yet. */
export interface Arrived {
  readonly index: BundleIndex;
  /** A repository tree: metadata/, targets/, payloads/, and `courier/`. */
  readonly tree: string;
}

export interface ReceiveOptions {
  /** Stick or drop folder. */
  readonly place: string;
  /** `stick` must carry MEDIUM.json, and nothing on it is moved or removed; `folder` is on a disk of this side. */
  readonly medium: 'stick' | 'folder';
  readonly site: Site;
  /** Roots this side trusts already (the pinned one, or those of its trust state). */
  readonly roots: readonly Uint8Array[];
  /** Folder of this side: staging, numbers of channels, notes. */
  readonly folder: string;
  /** Trusted time, ms. */
  readonly now: number;
  /** The last request made here. */
  readonly request?: Answered | undefined;
  readonly dryRun?: boolean | undefined;
  /** Whether anything may be written onto a stick: not where nothing may leave. */
  readonly answer: boolean;
  /** Of a folder: `false` while it may still be copied into, so that what is damaged is awaited; `true` when it is refused. */
  readonly final?: boolean | undefined;
  /** Who this is, for the receipt: `relay ward-7`. */
  readonly by: string;
  readonly signal?: AbortSignal | undefined;
  progress?(label: string, total: number): Progress;
  /** Makes a verified bundle visible, at once and whole. @returns what a person is told. @throws trust.* and others: refused */
  apply(bundle: Arrived): Promise<string>;
}

export type RowOutcome = ReceiptRow['outcome'] | 'planned' | 'current';
export interface ReceivedRow extends Omit<ReceiptRow, 'outcome'> {
  readonly outcome: RowOutcome;
  readonly next: string | null;
  /** Path of the note about a refusal. */
  readonly note: string | null;
}

export interface ReceiveReport {
  readonly rows: readonly ReceivedRow[];
  readonly receipt: string | null;
  /** Bundles of other sites on the same stick; they were not touched. */
  readonly others: number;
  /** What a command ends with when not everything went well. */
  readonly error: PatchferryError | null;
}

/**
 * Takes in every bundle for this site that is newer than what is here, in order.
 * @throws bundle.no-medium, bundle.medium, courier.nothing, courier.no-folder, bundle.medium-gone, bundle.no-space, lock.held
 */
export async function receiveContent(options: ReceiveOptions): Promise<ReceiveReport> {
  const lock = takeLock(join(options.folder, 'courier.lock'), 'import');
  try {
    return await onStick(options.place, () => receive(options));
  } finally {
    lock.release();
  }
}

interface Candidate {
  readonly name: string;
  readonly path: string;
  readonly index: BundleIndex;
}

async function receive(options: ReceiveOptions): Promise<ReceiveReport> {
  const { place, site, medium, now } = options;
  if (!fs.existsSync(place)) throw fault('no-folder', `there is no folder ${place}`, { where: place });
  const keys = publisherKeys(options.roots, place);
  if (keys.bundles.length === 0) throw fault('no-root', 'no root of the publisher is known here, so no bundle can be checked');
  if (medium === 'stick') readMedium(place, [...keys.media, site.card.signKey], { site: site.name, kind: 'content' });

  const rows: ReceivedRow[] = [];
  const errors: PatchferryError[] = [];
  const refuse = (name: string, error: PatchferryError, index?: BundleIndex) => {
    const move = medium === 'folder' && options.dryRun !== true;
    const quiet = options.dryRun === true || error.exit !== EXIT.refused || (medium === 'stick' && !options.answer);
    const own = join(options.folder, 'rejected');
    const note = quiet ? '' : rejectBundle({ place, name, error, move, own, now });
    rows.push(rowOf(name, 'refused', error.message, index, { error, note: note === '' ? null : note }));
    errors.push(error);
  };

  const channels = openChannels(join(options.folder, 'channels.json'));
  const last = () => channels.last({ site: site.name, kind: 'content' });
  const { mine, others } = sortOut(options, refuse);
  const newer = mine.filter(({ index }) => index.sequence > last());
  if (newer.length === 0 && mine.length > 0) alreadyHere(options, mine, keys.bundles, last(), { rows, errors, refuse });
  if (mine.length === 0 && rows.length === 0) {
    const [other] = others;
    if (other === undefined) throw fault('nothing', `there is no bundle in ${place}`, { where: place });
    const accept = { keys: keys.bundles, kind: 'content', site: site.name, lastSequence: 0, now } as const;
    const error = caught(() => acceptIndex(other.index, accept, other.path));
    if (medium === 'folder') refuse(other.name, error, other.index);
    else throw error;
  }

  let awaiting = false;
  for (const { name, path, index } of newer) {
    options.signal?.throwIfAborted();
    if (awaiting && index.since !== null && index.since > last()) continue; // it builds on one that is not whole yet
    const outcome = await takeIn(options, { name, path, index }, keys.bundles, last());
    if (outcome instanceof PatchferryError) {
      refuse(name, outcome, index);
      continue;
    }
    if (outcome.kind === 'planned') {
      const says = `would be taken: ${formatBytes(outcome.bytes)} to copy, ${outcome.have} of ${outcome.total} chunks are here`;
      rows.push(rowOf(name, 'planned', says, index, outcome));
    } else if (outcome.kind === 'partial') {
      const error = incompleteFault(outcome) as PatchferryError;
      if (options.final === true && medium === 'folder' && error.exit === EXIT.refused) {
        refuse(name, error, index);
        continue;
      }
      rows.push(rowOf(name, 'partial', outcome.says, index, { ...outcome, error }));
      errors.push(error);
      awaiting = true;
    } else {
      channels.note(index);
      dropImported(join(options.folder, 'staging'), index.id);
      if (medium === 'folder') removeBundle(place, name);
      rows.push(rowOf(name, 'imported', outcome.says, index, { have: index.chunkCount, total: index.chunkCount }));
    }
  }
  const receipt = options.dryRun === true || !options.answer ? null : await answer(options, rows);
  return { rows, receipt, others: others.length, error: errors[0] ?? null };
}

/** Which bundles in the place are for here; returns on their way out are passed over, damaged ones refused. */
function sortOut(
  { place, site }: ReceiveOptions,
  refuse: (name: string, error: PatchferryError) => void,
): { mine: Candidate[]; others: Candidate[] } {
  const mine: Candidate[] = [];
  const others: Candidate[] = [];
  for (const { name, index: path } of findBundles(place)) {
    try {
      const { index } = readBundleIndex(path, 'any');
      if (index.kind !== 'content') continue;
      (index.site === site.name ? mine : others).push({ name, path, index });
    } catch (error) {
      if (!(error instanceof PatchferryError) || error.exit !== EXIT.refused) throw error;
      refuse(name, error);
    }
  }
  return { mine: mine.toSorted((a, b) => a.index.sequence - b.index.sequence), others };
}

/** Nothing newer is there: says of the newest one why it is not taken. */
function alreadyHere(
  options: ReceiveOptions,
  mine: readonly Candidate[],
  keys: readonly string[],
  lastSequence: number,
  to: {
    rows: ReceivedRow[];
    errors: PatchferryError[];
    refuse(name: string, error: PatchferryError, index: BundleIndex): void;
  },
): void {
  const { site, now, medium, place } = options;
  for (const { name, path, index } of mine) {
    const error = caught(() => {
      readBundleIndex(path, keys);
      acceptIndex(index, { keys, kind: 'content', site: site.name, lastSequence, now }, path);
    });
    if (error.code === 'bundle.current') {
      to.rows.push(rowOf(name, 'current', error.message, index, { error }));
      to.errors.push(error);
      if (medium === 'folder' && options.dryRun !== true) removeBundle(place, name);
    } else if (medium === 'folder' || mine.at(-1)?.name === name) to.refuse(name, error, index);
  }
  to.errors.sort((a, b) => Number(a.exit === EXIT.current) - Number(b.exit === EXIT.current));
}

type Taken = Exclude<ImportOutcome, { kind: 'complete' }> | { readonly kind: 'complete'; readonly says: string };

/** @returns an error that means this bundle is refused; others (no room, stick gone) are thrown */
async function takeIn(
  options: ReceiveOptions,
  { path, index: stated }: Candidate,
  keys: readonly string[],
  lastSequence: number,
): Promise<Taken | PatchferryError> {
  const { site, now, request, medium } = options;
  const staging = join(options.folder, 'staging');
  const begun = fs.existsSync(join(staging, stated.id));
  let line: Progress | undefined;
  try {
    const outcome = await importBundle({
      index: path,
      staging,
      accept: { keys, kind: 'content', site: site.name, lastSequence, now, request },
      recipient: site.box,
      medium: 'none', // looked at once, for the whole stick
      dryRun: options.dryRun,
      signal: options.signal,
      onProgress: (done, total) => {
        line ??= options.progress?.(medium === 'stick' ? 'from the stick, bytes' : 'from the folder, bytes', total);
        line?.at(done);
      },
    });
    line?.end();
    if (outcome.kind === 'planned' && !begun) dropImported(staging, stated.id);
    if (outcome.kind !== 'complete') return outcome;
    const { index, tree } = outcome;
    if (index.since !== null && index.since > lastSequence) {
      throw fault('gap', `it builds on number ${index.since}; the last one imported here is ${lastSequence}`, { where: path });
    }
    return { kind: 'complete', says: await options.apply({ index, tree }) };
  } catch (error) {
    line?.end('not finished');
    if (!(error instanceof PatchferryError) || error.exit !== EXIT.refused) throw error;
    if (options.final === false && isFault(error, 'bundle.file-removed', 'bundle.file-changed', 'bundle.truncated')) {
      return awaited(stated, path, error); // somebody is still copying it
    }
    dropImported(staging, stated.id);
    return error;
  }
}

/** A bundle of which parts are not there, or not whole, yet. */
function awaited(index: BundleIndex, part: string, { code, message }: PatchferryError): Taken {
  const problem = { code: code as 'bundle.truncated', part, chunks: { first: 0, last: 0 }, says: message };
  const total = index.chunkCount;
  return { kind: 'partial', index, unit: 'chunk', have: 0, total, missing: [], problems: [problem], says: message };
}

function rowOf(
  bundle: string,
  outcome: RowOutcome,
  says: string,
  index: BundleIndex | undefined,
  more: {
    have?: number;
    total?: number;
    missing?: ReceiptRow['missing'] | readonly { readonly first: number; readonly last: number }[];
    error?: PatchferryError;
    note?: string | null;
  },
): ReceivedRow {
  return {
    bundle: bundle.slice(0, 200),
    id: index?.id ?? '0'.repeat(32),
    kind: 'content',
    sequence: index?.sequence ?? 0,
    outcome,
    code: more.error?.code ?? null,
    have: more.have ?? 0,
    total: more.total ?? index?.chunkCount ?? 0,
    missing: [...(more.missing ?? [])].slice(0, 1_000).map(({ first, last }) => ({ first, last })),
    says: oneLine(says),
    next: more.error?.next ?? null,
    note: more.note ?? null,
  };
}

function oneLine(says: string): string {
  return says
    .replaceAll(/[\u0000-\u001f\u007f-\u009f]+/g, ' ')
    .toWellFormed()
    .slice(0, 500);
}

/** The receipt for the courier: what was taken, refused, or is still awaited. */
async function answer(options: ReceiveOptions, rows: readonly ReceivedRow[]): Promise<string | null> {
  const stated = rows.filter((row) => row.outcome !== 'planned' && row.outcome !== 'current');
  if (stated.length === 0 || options.medium === 'folder') return null;
  return putReceipt(
    options,
    stated.map(({ next: _next, note: _note, ...row }) => row as ReceiptRow),
  );
}

function caught(action: () => void): PatchferryError {
  try {
    action();
  } catch (error) {
    if (error instanceof PatchferryError) return error;
    throw error;
  }
  throw new TypeError('this bundle should not have been acceptable');
}
