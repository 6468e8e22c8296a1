// Results of this host as a return bundle, for a stick, and the list of what it lacks as a text. Results stay in the outbox
// until an ack covers them, so a stick that is lost costs nothing but its journey.
import { randomBytes } from 'node:crypto';
import * as fs from 'node:fs';
import { join } from 'node:path';
import { z } from 'zod';
import { openChannels, readMedium, type SourceEntry, writeBundle, writeRequest } from '#manifests/bundle';
import {
  COURIER_LIMITS,
  encodeSiteReport,
  noteExported,
  onStick,
  publisherKeys,
  removeOlderBundles,
  requestFileName,
  SITE_FILE,
  writingProgress,
} from '#manifests/courier';
import { utcSeconds } from '#manifests/platform/clock';
import { readFileBounded, writeFileAtomic } from '#manifests/platform/files';
import { openPayloadStore } from '#manifests/repository';
import { count, moment, sha256, sha256Of } from '#manifests/schema';
import { fault } from './faults.ts';
import { type AgentCourierOptions, courierPlaces, hostRoots, siteOf } from './import.ts';

export interface HostExportOptions extends AgentCourierOptions {
  /** Writes what waits (results, an enrolment) into a folder laid out as an inbox. @returns how many */
  writeInbox(folder: string): { results: number; enrolments: number };
  /** Payloads that this host would install and does not have. */
  readonly lacks: ReadonlyArray<{ readonly sha256: string; readonly size: number; readonly path: string }>;
}

export interface HostExportReport {
  readonly bundle: string | null;
  readonly sequence: number;
  readonly results: number;
  readonly enrolments: number;
  readonly request: { readonly file: string; readonly payloads: number } | null;
}

const stateSchema = z.strictObject({
  schemaVersion: z.literal(1),
  sequence: count,
  digest: sha256,
  madeAt: moment,
  request: z.strictObject({ id: z.string(), salt: z.string(), sequence: count, wants: sha256, madeAt: moment }).nullable(),
});
type State = z.infer<typeof stateSchema>;

const DAY = 86_400_000;

/** @throws agent-courier.*, bundle.no-medium, bundle.no-space, bundle.medium-gone */
export function exportFromHost(options: HostExportOptions): Promise<HostExportReport> {
  return onStick(options.place, () => putReturn(options));
}

async function putReturn(options: HostExportOptions): Promise<HostExportReport> {
  const { settings, clock, place, medium } = options;
  const site = await siteOf(settings);
  const { folder, drafts, returns } = courierPlaces(settings);
  if (medium === 'stick') {
    const { media } = publisherKeys(hostRoots(settings, clock), place);
    readMedium(place, [...media, site.card.signKey], { site: site.name, kind: 'return' });
  } else fs.mkdirSync(place, { recursive: true });
  const imported = openChannels(join(folder, 'channels.json')).last({ site: site.name, kind: 'content' });
  const scratch = fs.mkdtempSync(join(folder, 'leaving-'));
  try {
    const told = options.writeInbox(scratch);
    const envelopes = filesBelow(scratch).map((path) => ({ path, bytes: fs.readFileSync(join(scratch, path)) }));
    const digest = sha256Of(`${imported}\n${envelopes.map(({ path, bytes }) => `${path} ${sha256Of(bytes)}\n`).join('')}`);
    const before = readState(returns);
    const same = before?.digest === digest ? before : undefined;
    const state: State = same ?? {
      schemaVersion: 1,
      sequence: (before?.sequence ?? 0) + 1,
      digest,
      madeAt: utcSeconds(clock.now()),
      request: before?.request ?? null,
    };
    const { request, report } = writeLack(options, state, site.name, imported);
    writeFileAtomic(returns, `${JSON.stringify({ ...state, request })}\n`);
    const entries: SourceEntry[] = [
      { path: SITE_FILE, bytes: encodeSiteReport({ site: site.name, at: state.madeAt, imported }) },
      ...envelopes,
    ];
    const line = writingProgress((label, total) => options.progress?.(label, total), medium);
    const written = await writeBundle({
      work: drafts,
      place,
      medium: 'none', // looked at above
      container: 'folder',
      signer: site.signer,
      about: {
        kind: 'return',
        site: site.name,
        sequence: state.sequence,
        from: `agent ${site.name}`,
        madeAt: Date.parse(state.madeAt),
        expires: Date.parse(state.madeAt) + COURIER_LIMITS.returnDays * DAY,
      },
      entries,
      signal: options.signal,
      onProgress: line.onProgress,
    }).finally(() => line.end());
    // The new one carries everything of earlier ones that no ack has covered.
    removeOlderBundles(place, { site: site.name, kind: 'return', keys: [site.card.signKey], below: state.sequence });
    if (medium === 'stick') {
      const says = `${told.results} results${told.enrolments === 0 ? '' : ' and the enrolment of this host'}; only the publisher can read them`;
      await noteExported({ place, site, by: `agent ${site.name}`, now: clock.now() }, written, state.sequence, says);
    }
    return { bundle: written.name, sequence: state.sequence, ...told, request: report };
  } finally {
    fs.rmSync(scratch, { recursive: true, force: true });
  }
}

function writeLack(
  { settings, clock, place, lacks }: HostExportOptions,
  state: State,
  site: string,
  imported: number,
): { request: State['request']; report: HostExportReport['request'] } {
  const file = join(place, requestFileName(site));
  const stores = [join(courierPlaces(settings).repository, 'payloads'), join(settings.cacheDir, 'payloads')].map(
    openPayloadStore,
  );
  const wanted = lacks.filter((one) => !stores.some((store) => store.has(one.sha256, one.size)));
  if (wanted.length === 0) {
    fs.rmSync(file, { force: true });
    return { request: state.request, report: null };
  }
  const wants = sha256Of(
    wanted
      .map((one) => one.sha256)
      .toSorted()
      .join('\n'),
  );
  const request =
    state.request?.wants === wants
      ? state.request
      : {
          id: randomBytes(16).toString('hex'),
          salt: randomBytes(16).toString('hex'),
          sequence: (state.request?.sequence ?? 0) + 1,
          wants,
          madeAt: utcSeconds(clock.now()),
        };
  const rows = wanted.map((one) => ({ sha256: one.sha256, size: one.size, name: one.path.split('/').at(-1) }));
  const { id, salt, sequence } = request;
  const madeAt = Date.parse(request.madeAt);
  writeFileAtomic(file, writeRequest({ site, id, sequence, madeAt, level: 'names', salt, last: imported, wanted: rows }));
  return { request, report: { file, payloads: wanted.length } };
}

function readState(file: string): State | undefined {
  const bytes = readFileBounded(file, COURIER_LIMITS.smallBytes);
  if (bytes === undefined) return undefined;
  try {
    return stateSchema.parse(JSON.parse(Buffer.from(bytes).toString('utf8')));
  } catch (cause) {
    throw fault('state', `${file} is damaged`, { where: file, cause });
  }
}

function filesBelow(folder: string): string[] {
  return fs
    .readdirSync(folder, { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile() && entry.name.endsWith('.pfe'))
    .map((entry) =>
      join(entry.parentPath, entry.name)
        .slice(folder.length + 1)
        .replaceAll('\\', '/'),
    )
    .toSorted();
}
