// Exporting from this relay: sealed results and enrolments of its spool as one return bundle, and the missing list as a text
// beside it. Nothing leaves the spool here: that happens when the publisher acknowledges the return.
import { randomBytes } from 'node:crypto';
import * as fs from 'node:fs';
import { join } from 'node:path';
import { openChannels, readMedium, type SourceEntry, writeBundle, writeRequest } from '#manifests/bundle';
import {
  COURIER_LIMITS,
  encodeSiteReport,
  noteExported,
  onStick,
  openSite,
  publisherKeys,
  removeOlderBundles,
  requestFileName,
  SITE_FILE,
  writingProgress,
} from '#manifests/courier';
import { systemClock, utcSeconds } from '#manifests/platform/clock';
import { writeFileAtomic } from '#manifests/platform/files';
import { takeLock } from '#manifests/platform/lock';
import { sha256Of } from '#manifests/schema';
import { foldersOf, type REQUEST_LEVELS } from '../settings.ts';
import { missingHere, type Named } from './asked.ts';
import { fault } from './faults.ts';
import { type CourierOptions, counted, draftsOf, trustedRoots } from './import.ts';
import { type ReturnedItem, type Returns, readReturns, spooled, writeReturns } from './returns.ts';

export interface ExportOptions extends CourierOptions {
  readonly requestLevel?: (typeof REQUEST_LEVELS)[number] | undefined;
}

export interface ExportReport {
  /** Name of the return bundle; null when there was none to write. */
  readonly bundle: string | null;
  readonly sequence: number;
  readonly results: number;
  readonly enrolments: number;
  readonly bytes: number;
  /** The missing list: path of the text, its number, and what is in it. */
  readonly request: {
    readonly file: string;
    readonly sequence: number;
    readonly payloads: number;
    readonly bytes: number;
  } | null;
  /** Whether anything is on the stick that was not acknowledged before. */
  readonly anything: boolean;
}

const DAY = 86_400_000;

/** @throws relay-courier.nothing-leaves, bundle.no-medium, bundle.no-space, bundle.medium-gone, lock.held */
export function exportReturn(options: ExportOptions): Promise<ExportReport> {
  return onStick(options.place, () => putReturn(options));
}

async function putReturn(options: ExportOptions): Promise<ExportReport> {
  const { settings, place, medium } = options;
  const folders = foldersOf(settings);
  if (settings.returns === 'nothing') throw fault('nothing-leaves', 'nothing may leave this site');
  const site = await openSite(folders.courier, settings.site);
  const lock = takeLock(join(folders.courier, 'courier.lock'), 'export');
  try {
    if (medium === 'stick') {
      const keys = publisherKeys(trustedRoots(settings), place);
      readMedium(place, [...keys.media, site.card.signKey], { site: site.name, kind: 'return' });
    } else if (options.dryRun !== true) fs.mkdirSync(place, { recursive: true });
    const now = systemClock.now();
    const imported = openChannels(join(folders.courier, 'channels.json')).last({ site: site.name, kind: 'content' });
    const items = settings.returns === 'results' ? spooled(folders.inbox) : [];
    const before = readReturns(folders.courier);
    const { state, current } = nextReturn(before, items, imported, now);
    const missing = missingHere(folders.courier, folders.mirror);
    const request = options.dryRun === true ? null : writeMissing(options, state, site.name, missing, imported, now);

    let written: Awaited<ReturnType<typeof writeBundle>> | undefined;
    if (current !== undefined && settings.returns === 'results') {
      if (options.dryRun !== true) writeReturns(folders.courier, request?.state ?? state); // before it can be on any stick
      const line = writingProgress((label, total) => options.progress?.(label, total), medium);
      const entries: SourceEntry[] = [
        { path: SITE_FILE, bytes: encodeSiteReport({ site: site.name, at: current.madeAt, imported }) },
        ...items.map(({ path, hash }) => ({ path, file: join(folders.inbox, path), sha256: hash })),
      ];
      try {
        written = await writeBundle({
          work: draftsOf(folders.courier),
          place,
          medium: 'none', // looked at above
          container: 'folder',
          signer: site.signer,
          about: {
            kind: 'return',
            site: site.name,
            sequence: current.sequence,
            from: `relay ${site.name}`,
            madeAt: Date.parse(current.madeAt),
            expires: Date.parse(current.madeAt) + COURIER_LIMITS.returnDays * DAY,
          },
          entries,
          dryRun: options.dryRun,
          signal: options.signal,
          onProgress: line.onProgress,
        });
      } finally {
        line.end();
      }
      // The new one carries everything of earlier ones that was not acknowledged.
      if (options.dryRun !== true)
        removeOlderBundles(place, { site: site.name, kind: 'return', keys: [site.card.signKey], below: current.sequence });
      if (options.dryRun !== true && medium === 'stick') {
        const of = (kind: ReturnedItem['kind']) => items.filter((one) => one.kind === kind).length;
        const says = `${counted(of('results'), 'result')}, ${counted(of('enrolments'), 'enrolment')}; only the publisher can read them`;
        await noteExported({ place, site, by: `relay ${site.name}`, now }, written, current.sequence, says);
      }
    } else if (request !== null && request.state !== before) writeReturns(folders.courier, request.state);
    return {
      bundle: written?.name ?? null,
      sequence: current?.sequence ?? state.sequence,
      results: items.filter(({ kind }) => kind === 'results').length,
      enrolments: items.filter(({ kind }) => kind === 'enrolments').length,
      bytes: written?.contentBytes ?? 0,
      request: options.dryRun === true ? plannedRequest(missing, before) : (request?.report ?? null),
      anything: written !== undefined || missing.length > 0,
    };
  } finally {
    lock.release();
  }
}

/** The same things waiting are the same return: an interrupted export goes on, and a second stick gets the same bundle. */
function nextReturn(
  before: Returns,
  items: readonly ReturnedItem[],
  imported: number,
  now: number,
): { state: Returns; current: Returns['open'][number] | undefined } {
  const digest = (list: readonly ReturnedItem[]) => sha256Of(list.map(({ path, hash }) => `${path} ${hash}\n`).join(''));
  const last = before.open.at(-1);
  if (last !== undefined && last.imported === imported && digest(last.items) === digest(items))
    return { state: before, current: last };
  if (items.length === 0 && last === undefined && imported === 0) return { state: before, current: undefined };
  const made = { sequence: before.sequence + 1, madeAt: utcSeconds(now), imported, items: [...items] };
  return { state: { ...before, sequence: made.sequence, open: [...before.open, made] }, current: made };
}

/** The missing list as a text on the stick; the same list keeps its number. One that is not needed any more is removed. */
function writeMissing(
  { place, settings, requestLevel }: ExportOptions,
  state: Returns,
  site: string,
  missing: readonly Named[],
  imported: number,
  now: number,
): { state: Returns; report: ExportReport['request'] } {
  const file = join(place, requestFileName(site));
  if (missing.length === 0) {
    fs.rmSync(file, { force: true });
    return { state, report: null };
  }
  const wants = sha256Of(missing.map(({ sha256 }) => sha256).join('\n'));
  const request =
    state.request?.wants === wants
      ? state.request
      : {
          id: randomBytes(16).toString('hex'),
          salt: randomBytes(16).toString('hex'),
          sequence: (state.request?.sequence ?? 0) + 1,
          wants,
          madeAt: utcSeconds(now),
        };
  const text = writeRequest({
    site,
    id: request.id,
    sequence: request.sequence,
    madeAt: Date.parse(request.madeAt),
    level: requestLevel ?? settings.requestLevel,
    salt: request.salt,
    last: imported,
    wanted: missing,
  });
  writeFileAtomic(file, text);
  return {
    state: { ...state, request },
    report: { file, sequence: request.sequence, payloads: missing.length, bytes: bytesOf(missing) },
  };
}

function plannedRequest(missing: readonly Named[], { request }: Returns): ExportReport['request'] {
  if (missing.length === 0) return null;
  return { file: '', sequence: (request?.sequence ?? 0) + 1, payloads: missing.length, bytes: bytesOf(missing) };
}

const bytesOf = (missing: readonly Named[]) => missing.reduce((sum, { size }) => sum + size, 0);
