// A bundle straight into this host, without any relay: verified against the pinned root in a scratch state, then laid into a
// repository folder of this host, which its normal poll reads as it would a relay.
import * as fs from 'node:fs';
import { join } from 'node:path';
import { type Arrived, openSite, type ReceiveReport, receiveContent, type Site } from '#manifests/courier';
import type { Clock } from '#manifests/platform/clock';
import { readFileBounded } from '#manifests/platform/files';
import type { Progress } from '#manifests/platform/progress';
import { metadataPath, openPayloadStore, payloadsOf, publishFiles, targetFilePath } from '#manifests/repository';
import { decodeDocument } from '#manifests/schema';
import { folderOrigin } from '#manifests/transfer';
import { type Fetcher, openTrust, TRUST_LIMITS, type TrustClient } from '#manifests/trust';
import { type AgentSettings, openAgentTrust } from '../service/index.ts';
import { fault } from './faults.ts';

/** Where the host keeps what bundles bring. */
export function courierPlaces({ stateDir }: Pick<AgentSettings, 'stateDir'>) {
  const folder = join(stateDir, 'courier');
  return {
    folder,
    repository: join(folder, 'repository'),
    drafts: join(folder, 'drafts'),
    returns: join(folder, 'returns.json'),
  };
}

export interface AgentCourierOptions {
  readonly settings: AgentSettings;
  readonly clock: Clock;
  readonly place: string;
  readonly medium: 'stick' | 'folder';
  readonly dryRun?: boolean | undefined;
  readonly signal?: AbortSignal | undefined;
  progress?(label: string, total: number): Progress;
}

/** The site that this host is by itself. @throws agent-courier.no-site */
export async function siteOf(settings: AgentSettings, name?: string): Promise<Site> {
  const { folder } = courierPlaces(settings);
  if (name === undefined && !fs.existsSync(join(folder, 'site'))) throw fault('no-site', 'this host is no site of its own yet');
  return openSite(folder, name);
}

/** Roots this host trusts: those of its state, or the pinned one. */
export function hostRoots(settings: AgentSettings, clock: Clock): Uint8Array[] {
  const known =
    stateOf(settings, clock)
      ?.metadataFiles()
      .filter(({ name }) => /^\d+\.root\.json$/.test(name)) ?? [];
  if (known.length > 0) return known.map(({ bytes }) => bytes);
  const pinned = settings.rootFile === undefined ? undefined : readFileBounded(settings.rootFile, TRUST_LIMITS.rootBytes);
  return pinned === undefined ? [] : [pinned];
}

function stateOf(settings: AgentSettings, clock: Clock): TrustClient | undefined {
  try {
    return openAgentTrust(settings, clock);
  } catch {
    return undefined; // nothing was verified yet, and no root was given: said by whoever needs one
  }
}

/** @throws bundle.*, courier.*, agent-courier.*, lock.held */
export async function importIntoHost(options: AgentCourierOptions): Promise<ReceiveReport> {
  const { settings, clock, place, medium } = options;
  const site = await siteOf(settings);
  const roots = hostRoots(settings, clock);
  return receiveContent({
    place,
    medium,
    site,
    roots,
    folder: courierPlaces(settings).folder,
    now: stateOf(settings, clock)?.freshness().trustedTime ?? clock.now(),
    dryRun: options.dryRun,
    answer: true,
    by: `agent ${site.name}`,
    signal: options.signal,
    ...(options.progress === undefined ? {} : { progress: (label, total) => options.progress?.(label, total) as Progress }),
    apply: (arrived) => layIn(options, arrived, roots),
  });
}

/** Everything is checked before a file is placed; `timestamp.json` comes last, so a poll sees the old state or the new one. */
async function layIn(
  { settings, clock, signal }: AgentCourierOptions,
  { tree }: Arrived,
  roots: readonly Uint8Array[],
): Promise<string> {
  const { folder, repository } = courierPlaces(settings);
  const scratch = fs.mkdtempSync(join(folder, 'checking-'));
  try {
    const [pinnedRoot] = roots;
    const trust = openTrust({ folder: scratch, now: () => clock.now(), ...(pinnedRoot === undefined ? {} : { pinnedRoot }) });
    const both = oneAfterTheOther(tree, repository);
    await trust.refresh(both, signal);
    const versions = trust.versions();
    const known = stateOf(settings, clock)?.versions();
    if (known !== undefined && versions !== undefined && versions.timestamp < known.timestamp) {
      throw fault('older', `its timestamp is number ${versions.timestamp}; this host has seen number ${known.timestamp}`);
    }
    const files: { path: string; bytes: Uint8Array }[] = [];
    const named = new Set<string>();
    for (const { path, sha256 } of trust.targets()) {
      const bytes = await trust.readTarget(path, both, signal);
      files.push({ path: targetFilePath(path, sha256), bytes });
      if (!/^catalogs\/[^/]+\.json\.zst$/.test(path)) continue;
      for (const payload of payloadsOf(decodeDocument('catalog', bytes, path))) named.add(payload.sha256);
    }
    const store = openPayloadStore(join(repository, 'payloads'));
    let payloads = 0;
    for (const { sha256, size } of openPayloadStore(join(tree, 'payloads')).list()) {
      signal?.throwIfAborted();
      if (!named.has(sha256) || store.has(sha256, size)) continue;
      await store.put(sha256, size, join(tree, 'payloads', 'sha256', sha256.slice(0, 2), sha256), { move: true });
      payloads += 1;
    }
    const metadata = trust.metadataFiles().map(({ name, bytes }) => ({ path: metadataPath(name), bytes }));
    const last = metadata.filter(({ path }) => path.endsWith('/timestamp.json'));
    publishFiles(repository, [...files, ...metadata.filter((file) => !last.includes(file))], last);
    for (const { sha256 } of store.list()) if (!named.has(sha256)) store.remove(sha256);
    return `timestamp ${versions?.timestamp ?? 0}: ${files.length} documents, ${payloads} new payloads; the next cycle reads them from ${repository}`;
  } finally {
    fs.rmSync(scratch, { recursive: true, force: true });
  }
}

/** What the tree does not have is what is here already: bundles build on each other. Hashes and signatures are checked by trust. */
function oneAfterTheOther(tree: string, repository: string): Fetcher {
  const first = folderOrigin(tree);
  const second = fs.existsSync(join(repository, 'metadata')) ? folderOrigin(repository) : undefined;
  return {
    async fetchSmall(path, { etag: _etag, ...options }) {
      const found = await first.fetchSmall(path, options);
      return found.kind === 'missing' && second !== undefined && !/\.root\.json$|timestamp\.json$/.test(path)
        ? second.fetchSmall(path, options)
        : found;
    },
  };
}
