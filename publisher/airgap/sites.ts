// The closed sites this publisher serves by stick: keys, profile, and up to where each side has what the other sent.
import * as fs from 'node:fs';
import { join } from 'node:path';
import { z } from 'zod';
import type { SiteCard } from '#manifests/courier';
import { readFileBounded, writeFileAtomic } from '#manifests/platform/files';
import { agentId, count, line, list, moment, name, product, publicKeyHex, suggestion } from '#manifests/schema';
import type { PublisherHomePaths } from '../home.ts';
import { fault } from './faults.ts';

const AIRGAP_LIMITS = {
  /** Bytes of a site's file, and of a list of what it has. */
  siteBytes: 1024 * 1024,
  hasBytes: 256 * 1024 * 1024,
} as const;

const range = z.strictObject({ first: count, last: count });

const siteRecord = z.strictObject({
  schema: z.literal('patchferry/site'),
  schemaVersion: z.literal(1),
  name,
  signKey: publicKeyHex,
  boxKey: publicKeyHex,
  addedAt: moment,
  /** Nothing ever comes back from it: bundles are filled from the profile alone. */
  oneWay: z.boolean(),
  /** Profile. Empty lists mean: all. */
  products: list(product, 1_000),
  architectures: list(line(40), 100),
  packages: list(line(200), 100_000),
  /** What an exchange sends: payloads of the profile that are here, or only those asked for or known to be lacking there. */
  payloads: z.enum(['profile', 'asked']).default('profile'),
  /** Agents whose results or enrolments came from it. */
  agents: list(agentId, 1_000_000).default([]),
  /** Number of the last content bundle made; the last one the site said it has. */
  sent: count,
  acknowledged: count,
  /** Number of the last return that was collected. */
  returned: count,
  /** Results came that no bundle has acknowledged yet. */
  owes: z.boolean().default(false),
  /** The last request that was answered or seen. */
  request: z.strictObject({ id: z.string(), sequence: count }).nullable(),
  /** The last bundle made: what it holds, and chunks that did not fit onto the media so far. */
  last: z
    .strictObject({
      sequence: count,
      digest: z.string(),
      metadata: z.string().default(''),
      madeAt: moment,
      expires: moment,
      left: z.array(range),
    })
    .nullable(),
});
export type SiteRecord = z.infer<typeof siteRecord>;

export interface SiteProfile {
  readonly oneWay: boolean;
  readonly products: readonly string[];
  readonly architectures: readonly string[];
  readonly packages: readonly string[];
  readonly payloads: 'profile' | 'asked';
}

/** Where the sneakernet keeps what: sites, what each has, drafts, staging, requests. */
export function airgapFolders({ folder }: Pick<PublisherHomePaths, 'folder'>) {
  const root = join(folder, 'courier');
  return {
    root,
    sites: join(root, 'sites'),
    has: join(root, 'has'),
    exports: join(root, 'exports'),
    drafts: join(root, 'drafts'),
    staging: join(root, 'staging'),
    requests: join(root, 'requests'),
  };
}

/** @throws airgap.site-exists */
export function addSite(
  home: PublisherHomePaths,
  card: SiteCard,
  profile: SiteProfile,
  options: { readonly addedAt: string; readonly replace: boolean },
): SiteRecord {
  const file = fileOf(home, card.site);
  const before = fs.existsSync(file) ? readSite(home, card.site) : undefined;
  if (before !== undefined && !options.replace)
    throw fault('site-exists', `there is a site ${card.site} already`, { where: file });
  const { signKey, boxKey } = card;
  const same = before?.signKey === signKey && before.boxKey === boxKey;
  const record: SiteRecord = {
    schema: 'patchferry/site',
    schemaVersion: 1,
    name: card.site,
    signKey,
    boxKey,
    addedAt: options.addedAt,
    oneWay: profile.oneWay,
    products: [...profile.products],
    architectures: [...profile.architectures],
    packages: [...profile.packages],
    payloads: profile.payloads,
    agents: same ? before.agents : [],
    sent: before?.sent ?? 0, // never given out twice
    acknowledged: same ? before.acknowledged : 0,
    returned: same ? before.returned : 0,
    owes: same && before.owes,
    request: same ? before.request : null,
    last: null,
  };
  if (!same) fs.rmSync(hasFile(home, card.site), { force: true }); // made anew, it has nothing
  writeSite(home, record);
  return record;
}

const fileOf = (home: PublisherHomePaths, site: string) => join(airgapFolders(home).sites, `${site}.json`);
const hasFile = (home: PublisherHomePaths, site: string) => join(airgapFolders(home).has, `${site}.txt`);
const exportFile = (home: PublisherHomePaths, site: string, sequence: number) =>
  join(airgapFolders(home).exports, site, `${sequence}.txt`);

export function writeSite(home: PublisherHomePaths, record: SiteRecord): void {
  writeFileAtomic(fileOf(home, record.name), `${JSON.stringify(siteRecord.parse(record), null, 1)}\n`, { mode: 0o600 });
}

/** All sites, by name. @throws airgap.site-state */
export function listSites(home: PublisherHomePaths): SiteRecord[] {
  const { sites } = airgapFolders(home);
  const files = fs.existsSync(sites) ? fs.readdirSync(sites) : [];
  return files
    .filter((file) => file.endsWith('.json') && !file.startsWith('.'))
    .toSorted()
    .map((file) => readSite(home, file.slice(0, -'.json'.length)));
}

/** @throws airgap.unknown-site, airgap.site-state */
export function readSite(home: PublisherHomePaths, site: string): SiteRecord {
  const file = name.safeParse(site).success ? fileOf(home, site) : undefined;
  const bytes = file === undefined ? undefined : readFileBounded(file, AIRGAP_LIMITS.siteBytes);
  if (file === undefined || bytes === undefined) {
    const { sites } = airgapFolders(home);
    const known = (fs.existsSync(sites) ? fs.readdirSync(sites) : []).map((one) => one.replace(/\.json$/, ''));
    throw fault('unknown-site', `there is no site ${JSON.stringify(site.slice(0, 80))}${suggestion(site, known)}`, {
      where: site,
    });
  }
  try {
    return siteRecord.parse(JSON.parse(Buffer.from(bytes).toString('utf8')));
  } catch (cause) {
    throw fault('site-state', `${file} is damaged`, { where: file, cause });
  }
}

/** Paths of the repository that the site has by its own word. */
export function readHas(home: PublisherHomePaths, site: string): Set<string> {
  return new Set(readLines(hasFile(home, site)));
}

/** Remembers what a bundle holds, until the site says that it has it. */
export function noteExport(home: PublisherHomePaths, site: string, sequence: number, paths: readonly string[]): void {
  writeFileAtomic(exportFile(home, site, sequence), paths.map((path) => `${path}\n`).join(''));
}

/** The site has content bundle `sequence`: what was in it need not travel again. Twice is as good as once. */
export function acknowledgeContent(home: PublisherHomePaths, site: string, sequence: number): SiteRecord {
  const { record, has, changed } = asAcknowledged(home, site, sequence);
  if (!changed) return record;
  const lines = [...has].toSorted().map((path) => `${path}\n`);
  writeFileAtomic(hasFile(home, site), lines.join(''));
  writeSite(home, record);
  return record;
}

/** A site and what it has as they are once content bundle `sequence` is acknowledged; nothing is written. */
export function asAcknowledged(
  home: PublisherHomePaths,
  site: string,
  sequence: number,
): { record: SiteRecord; has: Set<string>; changed: boolean } {
  const record = readSite(home, site);
  const has = readHas(home, site);
  const file = exportFile(home, site, sequence);
  if (sequence > record.sent || !fs.existsSync(file)) return { record, has, changed: false };
  for (const path of readLines(file)) has.add(path);
  return { record: { ...record, acknowledged: Math.max(record.acknowledged, sequence) }, has, changed: true };
}

function readLines(file: string): string[] {
  const bytes = readFileBounded(file, AIRGAP_LIMITS.hasBytes);
  return bytes === undefined
    ? []
    : Buffer.from(bytes)
        .toString('utf8')
        .split('\n')
        .filter((row) => row !== '');
}
