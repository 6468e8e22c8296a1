// `bundle export` and `bundle fill`: contents planned, payloads fetched, sealed to the site, signed with the timestamp key that
// every host knows from its root, and put onto a stick or into a folder.
import { createHash } from 'node:crypto';
import * as fs from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import {
  type ChunkRange,
  type Request,
  readMedium,
  type SourceEntry,
  type WrittenBundle,
  writeBundle,
} from '#manifests/bundle';
import {
  encodeReceived,
  onStick,
  publisherKeys,
  RECEIVED_FILE,
  removeOlderBundles,
  writeRoots,
  writingProgress,
} from '#manifests/courier';
import { type Clock, utcSeconds } from '#manifests/platform/clock';
import type { Progress } from '#manifests/platform/progress';
import { openPayloadStore } from '#manifests/repository';
import { sha256Of } from '#manifests/schema';
import type { Signer } from '#manifests/trust';
import type { PublisherHome } from '../home.ts';
import { type Keyring, readPublished } from '../sign/index.ts';
import { fault } from './faults.ts';
import { type Download, download } from './fetch.ts';
import { wishOfHosts } from './needs.ts';
import { contentsOf, type Documents, type Published, readDocuments, type Wish, wishOfProfile, wishOfRequest } from './plan.ts';
import { airgapFolders, asAcknowledged, noteExport, readSite, type SiteRecord, writeSite } from './sites.ts';

export interface BundleExportOptions {
  readonly home: PublisherHome;
  readonly keyring: Keyring;
  readonly site: string;
  readonly place: string;
  readonly medium: 'stick' | 'folder';
  /**
   * `profile`: everything for the site's products; `metadata`: documents alone; `request`: what the closed side asked for;
   * `exchange`: what it asked for, what its hosts are known to lack, and the profile's payloads where the site gets them.
   */
  readonly what: 'profile' | 'metadata' | 'request' | 'exchange';
  readonly request?: Request | undefined;
  /** Everything, also what the site has said it has. */
  readonly full: boolean;
  /** Fetch payloads of the profile that are not in the repository. Always done for a one-way site, and for what is asked for. */
  readonly fetch: boolean;
  readonly container: 'folder' | 'tar' | '7z';
  readonly volumeBytes?: number | undefined;
  /** Fill this stick and leave the rest for the next one. */
  readonly span: boolean;
  /** Only these chunks: the ones that arrived damaged. */
  readonly chunks?: readonly number[] | undefined;
  readonly dryRun: boolean;
  /** Dry run only: number of the content bundle that the stick says the site has. */
  readonly acknowledged?: number | undefined;
  readonly clock: Clock;
  readonly signal: AbortSignal;
  progress(label: string, total?: number): Progress;
}

export interface BundleExportReport {
  readonly site: string;
  readonly sequence: number;
  /** What it builds on; null when it is full. */
  readonly since: number | null;
  readonly what: BundleExportOptions['what'];
  readonly documents: number;
  readonly payloads: number;
  readonly payloadBytes: number;
  readonly download: Download;
  /** Payloads that the wish names and that are not here. */
  readonly lacking: { readonly count: number; readonly bytes: number };
  /** Rows of the request that nobody knows here. */
  readonly unknown: number;
  /** Rows of it that name a payload with another size than it has: not answered. */
  readonly altered: number;
  readonly expires: string;
  /** An exchange with nothing that the site does not have by its own word: nothing was written. */
  readonly current: boolean;
  readonly written: WrittenBundle;
}

/** @throws airgap.*, bundle.*, keys.missing, published.no-root */
export function exportBundle(options: BundleExportOptions): Promise<BundleExportReport> {
  return onStick(options.place, () => putBundle(options));
}

async function putBundle(options: BundleExportOptions): Promise<BundleExportReport> {
  const { home, keyring, place, dryRun } = options;
  const { record: site, has: known } = asAcknowledged(home, options.site, (dryRun ? options.acknowledged : undefined) ?? 0);
  const scratch = fs.mkdtempSync(join(tmpdir(), 'patchferry-bundle-'));
  try {
    const published = await readPublished(home, scratch, options.signal);
    if (published.targets.size === 0) throw fault('nothing-published', 'nothing is published yet');
    const { roots, signer, media } = await signerOf(home, keyring);
    if (options.medium === 'stick') readMedium(place, [...media, site.signKey], { site: site.name, kind: 'content' });
    else if (!dryRun) fs.mkdirSync(place, { recursive: true });
    const documents = await readDocuments(published);
    const store = openPayloadStore(join(home.repositoryFolder, 'payloads'));
    const { wishes, asked, unknown, altered } = await wishOf(options, site, documents, store);
    const toFetch = options.fetch || site.oneWay ? wishes : asked;
    const fetched = dryRun ? { fetched: 0, bytes: 0, failed: [] } : await download(home, toFetch, store, options);

    const has = options.full || site.oneWay ? new Set<string>() : known;
    const contents = contentsOf({ repository: home.repositoryFolder, published, documents, wishes, has, store });
    const metadata = digestOf(contents.entries.filter(({ path }) => path.startsWith('metadata/')));
    contents.entries.unshift({ path: RECEIVED_FILE, bytes: encodeReceived(site.name, site.returned) });
    const { about, after, left } = numbered(options, site, published, contents.entries, metadata, has.size > 0);
    const summary = {
      site: site.name,
      sequence: about.sequence,
      since: about.since ?? null,
      what: options.what,
      documents: contents.documents,
      payloads: contents.payloads,
      payloadBytes: contents.payloadBytes,
      download: fetched,
      lacking: contents.lacking,
      unknown,
      altered,
      expires: utcSeconds(about.expires),
    };
    const nothingNew = contents.documents + contents.payloads === 0 && site.last?.metadata === metadata && !site.owes;
    const line = writingProgress(dryRun ? undefined : (label, total) => options.progress(label, total), options.medium);
    const own = { site: site.name, kind: 'content', keys: media } as const;
    if (options.what === 'exchange' && nothingNew && site.last !== null && site.last.sequence <= site.acknowledged) {
      const [name, id] = ['', ''];
      return {
        ...summary,
        current: true,
        written: { name, id, index: undefined, files: 0, contentBytes: 0, writtenBytes: 0, chunks: 0, left: [] },
      };
    }
    const onlyStick = options.medium === 'stick' && !dryRun;
    if (onlyStick) removeOlderBundles(place, { ...own, below: Math.min(site.acknowledged, about.sequence - 1) + 1 });
    let written: WrittenBundle;
    try {
      if (!dryRun) {
        noteExport(home, site.name, about.sequence, contents.keeps);
        writeSite(home, after); // the number is given out before it can be on any stick
        dropOtherDrafts(airgapFolders(home).drafts, site.name, about.sequence);
      }
      written = await writeBundle({
        work: airgapFolders(home).drafts,
        place,
        medium: 'none', // looked at above
        container: options.container,
        signer,
        about,
        entries: contents.entries,
        sealTo: [site.boxKey],
        partBytes: options.volumeBytes,
        whenFull: options.span ? 'fill' : 'refuse',
        only: options.chunks ?? left,
        keepDraft: true, // a chunk that arrives damaged is written again from it
        dryRun,
        signal: options.signal,
        onProgress: line.onProgress,
      });
    } finally {
      line.end();
    }
    if (!dryRun) {
      writeRoots(place, roots);
      // Everything since the site's last word is in the new one.
      if (onlyStick) removeOlderBundles(place, { ...own, below: about.sequence });
      if (options.chunks === undefined && after.last !== null)
        writeSite(home, { ...readSite(home, site.name), last: { ...after.last, left: [...written.left] } });
    }
    return { ...summary, current: false, written };
  } finally {
    fs.rmSync(scratch, { recursive: true, force: true });
  }
}

/** The signer is a timestamp key that the published root names, so that every side can tell it from the root it pinned. */
export async function signerOf(
  home: PublisherHome,
  keyring: Keyring,
): Promise<{ roots: { name: string; bytes: Uint8Array }[]; signer: Signer; media: readonly string[] }> {
  const folder = join(home.repositoryFolder, 'metadata');
  const names = fs.existsSync(folder) ? fs.readdirSync(folder).filter((name) => /^\d+\.root\.json$/.test(name)) : [];
  const roots = names.map((name) => ({ name, bytes: fs.readFileSync(join(folder, name)) }));
  const keys = publisherKeys(
    roots.map(({ bytes }) => bytes),
    undefined,
  );
  const [signer] = await keyring.signers('timestamp', keys.bundles, 1);
  if (signer === undefined) throw fault('nothing-published', 'the published root names no timestamp key of this home');
  return { roots, signer, media: keys.media };
}

interface WishedFor {
  readonly wishes: readonly Wish[];
  /** Those of them that are fetched when they are not here. */
  readonly asked: readonly Wish[];
  readonly unknown: number;
  readonly altered: number;
}

async function wishOf(
  options: BundleExportOptions,
  site: SiteRecord,
  documents: Documents,
  store: ReturnType<typeof openPayloadStore>,
): Promise<WishedFor> {
  const { what, request } = options;
  const none = { unknown: 0, altered: 0 };
  if (what === 'metadata') return { wishes: [], asked: [], ...none };
  if (what === 'profile') return { wishes: await wishOfProfile(documents, site, store), asked: [], ...none };
  if (what === 'request' && request === undefined) throw fault('no-request', `no request of ${site.name} is here`);
  const answer =
    request === undefined ? { wishes: [], unknown: [], altered: [] } : await wishOfRequest(documents, request, site, store);
  const rows = { unknown: answer.unknown.length, altered: answer.altered.length };
  if (what === 'request') return { wishes: answer.wishes, asked: answer.wishes, ...rows };
  const asked = [...answer.wishes, ...(await wishOfHosts(options.home, documents, site, store, options.clock.now()))];
  const profile = site.payloads === 'profile' || site.oneWay ? await wishOfProfile(documents, site, store) : [];
  return { wishes: [...asked, ...profile], asked, ...rows };
}

/** The same contents are the same bundle, so that an export that was cut off, or the next stick, goes on with it. */
function numbered(
  options: BundleExportOptions,
  site: SiteRecord,
  published: Published,
  entries: readonly SourceEntry[],
  metadata: string,
  builds: boolean,
) {
  const digest = digestOf(entries, options.request?.id);
  const same =
    site.last !== null && site.last.digest === digest && site.last.sequence > site.acknowledged ? site.last : undefined;
  const sequence = same?.sequence ?? site.sent + 1;
  const ends = ['timestamp', 'snapshot'].map((role) => published.files.get(role)?.expires ?? Number.MAX_SAFE_INTEGER);
  const madeAt = same === undefined ? options.clock.now() : Date.parse(same.madeAt);
  const expires = Math.min(...ends);
  const left = same === undefined || same.left.length === 0 ? undefined : same.left.flatMap(numbersOf);
  const after: SiteRecord = {
    ...site,
    owes: false,
    sent: Math.max(site.sent, sequence),
    request: options.request === undefined ? site.request : { id: options.request.id, sequence: options.request.sequence },
    last: { sequence, digest, metadata, madeAt: utcSeconds(madeAt), expires: utcSeconds(expires), left: same?.left ?? [] },
  };
  const about = {
    kind: 'content' as const,
    site: site.name,
    sequence,
    from: 'publisher',
    since: builds ? site.acknowledged : undefined,
    answers: options.request === undefined ? undefined : { id: options.request.id, sequence: options.request.sequence },
    note: {
      profile: 'updates for this site',
      metadata: 'documents only; payloads follow when they are asked for',
      request: 'what was asked for',
      exchange: 'updates for this site, and what it asked for',
    }[options.what],
    madeAt,
    expires,
  };
  return { about, after, left };
}

function digestOf(entries: readonly SourceEntry[], more = ''): string {
  const hash = createHash('sha256');
  for (const entry of entries) {
    hash.update(`${entry.path}\n`);
    if ('bytes' in entry) hash.update(sha256Of(entry.bytes));
  }
  return hash.update(more).digest('hex');
}

function numbersOf({ first, last }: ChunkRange): number[] {
  return Array.from({ length: last - first + 1 }, (_, at) => first + at);
}

function dropOtherDrafts(drafts: string, site: string, sequence: number): void {
  const own = new RegExp(`^${site.replaceAll('.', '\\.')}-(\\d+)-content$`);
  for (const name of fs.existsSync(drafts) ? fs.readdirSync(drafts) : []) {
    const number = own.exec(name)?.[1];
    if (number !== undefined && Number(number) !== sequence) fs.rmSync(join(drafts, name), { recursive: true, force: true });
  }
}
