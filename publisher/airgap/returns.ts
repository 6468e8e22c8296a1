// What comes back on a stick or in a folder: returns of known sites into the inbox, receipts and acknowledgements into the
// sites' records, requests kept for `bundle fill`. Killed anywhere, the next run ends the same.
import * as fs from 'node:fs';
import { join } from 'node:path';
import {
  dropImported,
  findBundles,
  importBundle,
  incompleteFault,
  type Keys,
  type Request,
  readBundleIndex,
  readMedium,
  readReceipt,
  readRequest,
} from '#manifests/bundle';
import { COURIER_LIMITS, onStick, readSiteReport, requestFileName } from '#manifests/courier';
import { EXIT, isFault, PatchferryError } from '#manifests/errors';
import { readFileBounded, writeFileAtomic } from '#manifests/platform/files';
import { formatBytes, type Progress } from '#manifests/platform/progress';
import { payloadPath } from '#manifests/repository';
import type { PublisherHome } from '../home.ts';
import { fault } from './faults.ts';
import { acknowledgeContent, airgapFolders, listSites, readHas, readSite, type SiteRecord, writeSite } from './sites.ts';

export interface ReturnedRow {
  readonly site: string;
  readonly bundle: string;
  readonly sequence: number;
  readonly outcome: 'taken' | 'current' | 'partial' | 'refused' | 'planned';
  readonly envelopes: number;
  readonly code: string | null;
  readonly says: string;
}

export interface ReturnsReport {
  readonly rows: readonly ReturnedRow[];
  /** Sites that said what they have, by receipt or return: number of the content bundle. */
  readonly acknowledged: ReadonlyArray<{ readonly site: string; readonly sequence: number }>;
  readonly requests: ReadonlyArray<{ readonly site: string; readonly sequence: number; readonly payloads: number }>;
  readonly refused: readonly PatchferryError[];
}

export interface ReturnsOptions {
  readonly home: PublisherHome;
  readonly place: string;
  readonly medium: 'stick' | 'folder';
  /** Keys whose MEDIUM.json counts, beside those of the sites. */
  readonly media: Keys;
  /** Trusted time, ms. */
  readonly now: number;
  /** Only says what would be taken. */
  readonly dryRun?: boolean | undefined;
  readonly signal?: AbortSignal | undefined;
  progress(label: string, total?: number): Progress;
}

/** The caller holds the home's lock. @throws bundle.no-medium, bundle.medium, bundle.medium-gone, airgap.none */
export function takeReturns(options: ReturnsOptions): Promise<ReturnsReport> {
  return onStick(options.place, () => takeAll(options));
}

async function takeAll(options: ReturnsOptions): Promise<ReturnsReport> {
  const { home, place, medium } = options;
  const sites = new Map(listSites(home).map((site) => [site.name, site]));
  if (medium === 'stick') {
    const keys = options.media === 'any' ? 'any' : [...options.media, ...[...sites.values()].map(({ signKey }) => signKey)];
    readMedium(place, keys, { kind: 'return' });
  } else if (!fs.existsSync(place)) throw fault('none', `there is no folder ${place}`, { where: place });
  const rows: ReturnedRow[] = [];
  const refused: PatchferryError[] = [];
  const acknowledged = new Map<string, number>();
  const heard = (site: string, sequence: number) => {
    if (sequence <= 0) return;
    const has = options.dryRun === true ? readSite(home, site).sent : acknowledgeContent(home, site, sequence).acknowledged;
    if (has >= sequence) acknowledged.set(site, Math.max(sequence, acknowledged.get(site) ?? 0));
  };

  for (const { name, index: path } of findBundles(place)) {
    options.signal?.throwIfAborted();
    let site: string | undefined;
    let sequence = 0;
    try {
      const stated = readBundleIndex(path, 'any').index;
      if (stated.kind !== 'return') continue;
      ({ site, sequence } = stated);
      const row = await takeOne(options, name, path, readSite(home, site), heard);
      rows.push(row);
      if (row.outcome === 'partial') refused.push(incompleteOf(row));
    } catch (error) {
      if (!(error instanceof PatchferryError) || (error.exit !== EXIT.refused && error.code !== 'airgap.unknown-site'))
        throw error;
      rows.push({
        site: site ?? '?',
        bundle: name,
        sequence,
        outcome: 'refused',
        envelopes: 0,
        code: error.code,
        says: error.message,
      });
      refused.push(error);
    }
  }
  for (const site of sites.values()) takeReceipts(place, site, heard, refused);
  const requests = [...sites.values()].flatMap((site) => takeRequest(options, site, refused));
  return {
    rows,
    acknowledged: [...acknowledged].map(([site, sequence]) => ({ site, sequence })),
    requests,
    refused,
  };
}

const partials = new WeakMap<ReturnedRow, PatchferryError>();
const incompleteOf = (row: ReturnedRow) => partials.get(row) ?? fault('none', row.says);

async function takeOne(
  options: ReturnsOptions,
  name: string,
  path: string,
  site: SiteRecord,
  heard: (site: string, sequence: number) => void,
): Promise<ReturnedRow> {
  const { home } = options;
  const { staging } = airgapFolders(home);
  const { index } = readBundleIndex(path, [site.signKey]);
  const row = { site: site.name, bundle: name, sequence: index.sequence, envelopes: 0, code: null };
  if (index.sequence <= site.returned) return { ...row, outcome: 'current', says: 'was collected before' };
  const begun = fs.existsSync(join(staging, index.id));
  let line: Progress | undefined;
  const outcome = await importBundle({
    index: path,
    staging,
    accept: { keys: [site.signKey], kind: 'return', site: site.name, lastSequence: site.returned, now: options.now },
    medium: 'none', // looked at once, for the whole stick
    dryRun: options.dryRun,
    signal: options.signal,
    onProgress: (done, total) => {
      line ??= options.progress('from the stick, bytes', total);
      line.at(done);
    },
  });
  line?.end();
  if (outcome.kind !== 'complete') {
    if (outcome.kind === 'planned' && !begun) dropImported(staging, index.id);
    if (outcome.kind === 'planned')
      return { ...row, outcome: 'planned', says: `would be taken: ${formatBytes(outcome.bytes)}` };
    const { says } = outcome;
    const partial: ReturnedRow = { ...row, outcome: 'partial', says };
    partials.set(partial, incompleteFault(outcome) as PatchferryError);
    return partial;
  }
  const report = readSiteReport(outcome.tree, site.name);
  let envelopes = 0;
  const agents = new Set<string>();
  for (const { path: entry } of outcome.entries) {
    if (!ENVELOPE.test(entry)) continue; // the site's own report, and what later versions may add
    writeFileAtomic(join(home.inboxFolder, entry), fs.readFileSync(join(outcome.tree, entry)));
    envelopes += 1;
    agents.add(/[0-9a-f]{32}/.exec(entry)?.[0] ?? '');
  }
  if (report !== undefined) heard(site.name, report.imported);
  const known = readSite(home, site.name);
  writeSite(home, {
    ...known,
    agents: [...new Set([...known.agents, ...agents])].toSorted(),
    owes: known.owes || envelopes > 0,
    returned: index.sequence, // only now that all of it is in the inbox
  });
  dropImported(staging, index.id);
  return {
    ...row,
    envelopes,
    outcome: 'taken',
    says: envelopes === 1 ? '1 result or enrolment' : `${envelopes} results and enrolments`,
  };
}

const ENVELOPE =
  /^(?:(?:results\/[0-9a-f]{32}\/\d{12,16}-[0-9a-f]{16,64}|enrolments\/[0-9a-f]{32}-[0-9a-f]{16,64})\.pfe|records\/[0-9a-f]{64}\.pfr)$/;

/** Receipts of a site, at the root of a stick or in its own folder there. */
function takeReceipts(
  place: string,
  site: SiteRecord,
  heard: (site: string, sequence: number) => void,
  refused: PatchferryError[],
): void {
  for (const folder of [join(place, 'receipts', site.name), place]) {
    try {
      const receipt = readReceipt(folder, 'any');
      if (receipt?.site !== site.name) continue;
      const checked = readReceipt(folder, [site.signKey]);
      for (const { kind, outcome, sequence } of checked?.bundles ?? [])
        if (kind === 'content' && outcome === 'imported') heard(site.name, sequence);
    } catch (error) {
      if (!(error instanceof PatchferryError)) throw error;
      if (folder !== place) refused.push(error);
    }
  }
}

/** Keeps the newest missing list of a site. One older than what was seen is told. */
function takeRequest(
  { home, place, dryRun }: ReturnsOptions,
  site: SiteRecord,
  refused: PatchferryError[],
): { site: string; sequence: number; payloads: number }[] {
  try {
    const request = requestOn(place, site);
    if (request === undefined) return [];
    const file = join(airgapFolders(home).requests, `${site.name}.txt`);
    if (dryRun !== true) writeFileAtomic(file, fs.readFileSync(join(place, requestFileName(site.name))));
    return [{ site: site.name, sequence: request.sequence, payloads: request.wanted.length }];
  } catch (error) {
    if (!(error instanceof PatchferryError)) throw error;
    refused.push(error);
    return [];
  }
}

/** The missing list of a site on a stick. @throws airgap.other-site, airgap.old-request, bundle.request */
function requestOn(place: string, site: SiteRecord): Request | undefined {
  const file = join(place, requestFileName(site.name));
  const bytes = readFileBounded(file, COURIER_LIMITS.smallBytes);
  if (bytes === undefined) return undefined;
  const request = readRequest(bytes, file);
  if (request.site !== site.name) throw fault('other-site', `${file} is a request of ${request.site}`, { where: file });
  if (site.request !== null && request.sequence < site.request.sequence) {
    throw fault('old-request', `${file} is request ${request.sequence}; request ${site.request.sequence} was seen here`, {
      where: file,
    });
  }
  return request;
}

/** The missing list to answer: the one on the stick, else the one last collected. @throws airgap.no-request */
export function requestFor(home: PublisherHome, site: SiteRecord, place: string | undefined): Request {
  const here = place === undefined ? undefined : requestOn(place, site);
  if (here !== undefined) return here;
  const file = join(airgapFolders(home).requests, `${site.name}.txt`);
  const bytes = readFileBounded(file, COURIER_LIMITS.smallBytes);
  if (bytes === undefined) throw fault('no-request', `no request of ${site.name} is here`, { where: place ?? file });
  return readRequest(bytes, file);
}

/**
 * The missing list an exchange answers: the one on the stick or the last one collected, while something of it is not at the
 * site by its own word.
 */
export function requestToAnswer(
  home: PublisherHome,
  site: SiteRecord,
  place: string,
  has: ReadonlySet<string> = readHas(home, site.name),
): Request | undefined {
  let request: Request;
  try {
    request = requestFor(home, site, place);
  } catch (error) {
    // One that is refused was named when the stick was taken in.
    if (isFault(error, 'airgap.no-request', 'airgap.other-site', 'airgap.old-request', 'bundle.request')) return undefined;
    throw error;
  }
  const lacks = request.level === 'salted' || request.wanted.some(({ sha256 }) => !has.has(payloadPath(sha256)));
  return lacks ? request : undefined;
}
