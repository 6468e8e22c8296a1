// Patches as this publisher knows them, kept between runs: when each was first seen, which the vendor took back, what the
// packages themselves told of them.
import type { DatabaseSync } from 'node:sqlite';
import { utcSeconds } from '#manifests/platform/clock';
import type { Progress } from '#manifests/platform/progress';
import type { PayloadStore } from '#manifests/repository';
import { type Catalog, canonicalJson, type Patch, type VendorRepository } from '#manifests/schema';
import { comparatorFor } from '#manifests/versions';
import { enrich, type SourcePatch, type SourceSync } from '../sources/index.ts';
import { openDatabase, transaction } from './database.ts';
import { fault } from './faults.ts';

export interface MergeReport {
  /** Never seen before. */
  readonly added: string[];
  /** Offered before and now, with other contents. */
  readonly updated: string[];
  /** Of these, the ones in which one package version stands for other bytes than before: worth a look. */
  readonly rewritten: string[];
  /** No longer offered; kept, marked, not in the catalog. */
  readonly withdrawn: string[];
  /** Offered again; first-seen stays. */
  readonly returned: string[];
}

export interface EnrichReport {
  /** Patches whose CVEs and urgency became known now. */
  readonly enriched: number;
  /** Patches whose payload is not here yet. */
  readonly waiting: number;
  /** Patches whose payloads tell nothing, with the reason. */
  readonly silent: { readonly patch: string; readonly says: string }[];
}

export interface KnownPatch {
  readonly patch: Patch;
  /** ms; null while the vendor offers it. */
  readonly withdrawnAt: number | null;
}

export interface CatalogStore {
  /** Takes in what a source offers now; all or nothing. @param now ms */
  merge(product: string, sync: Pick<SourceSync, 'repository' | 'patches'>, now: number): MergeReport;
  /** Everything offered now, as a document. @param now ms. @throws catalog.no-product */
  catalogOf(product: string, now: number): Catalog;
  products(): string[];
  /** All versions of one source package (or component) ever seen, withdrawn ones too, oldest version first. */
  historyOf(product: string, source: string): KnownPatch[];
  /** Reads CVEs and urgency out of the payloads that are here, once for each patch. */
  enrich(
    product: string,
    payloads: PayloadStore,
    options?: { only?: ReadonlySet<string> | undefined; signal?: AbortSignal | undefined; progress?: Progress | undefined },
  ): Promise<EnrichReport>;
  /** A source is no longer used: its patches count as withdrawn. @param now ms */
  removeRepository(product: string, repository: string, now: number): void;
  close(): void;
  [Symbol.dispose](): void;
}

interface PatchRow {
  readonly repository: string;
  readonly id: string;
  readonly document: string;
  readonly first_seen: number;
  readonly withdrawn_at: number | null;
}

interface EnrichmentRow {
  readonly id: string;
  readonly after_version: string;
  readonly payloads: number;
  readonly known: number;
  readonly cves: string;
  readonly severity: Patch['severity'];
}

/** Opens (and makes) the store in a folder. @throws catalog.newer, catalog.damaged */
export function openCatalogStore(folder: string): CatalogStore {
  const database = openDatabase(folder);
  const close = () => {
    if (database.isOpen) database.close();
  };
  return {
    merge: (product, sync, now) => transaction(database, () => merge(database, product, sync, now)),
    catalogOf: (product, now) => catalogOf(database, product, now),
    products: () =>
      rows<{ product: string }>(database, 'SELECT DISTINCT product FROM repository ORDER BY product').map((row) => row.product),
    historyOf: (product, source) => historyOf(database, product, source),
    enrich: (product, payloads, options = {}) => enrichAll(database, product, payloads, options),
    removeRepository(product, repository, now) {
      transaction(database, () => {
        database.prepare('DELETE FROM repository WHERE product = ? AND name = ?').run(product, repository);
        database
          .prepare('UPDATE patch SET withdrawn_at = ? WHERE product = ? AND repository = ? AND withdrawn_at IS NULL')
          .run(now, product, repository);
      });
    },
    close,
    [Symbol.dispose]: close,
  };
}

function rows<T>(database: DatabaseSync, sql: string, ...values: string[]): T[] {
  return database.prepare(sql).all(...values) as unknown as T[];
}

function merge(
  database: DatabaseSync,
  product: string,
  { repository, patches }: Pick<SourceSync, 'repository' | 'patches'>,
  now: number,
): MergeReport {
  const report: MergeReport = { added: [], updated: [], rewritten: [], withdrawn: [], returned: [] };
  database
    .prepare('INSERT OR REPLACE INTO repository (product, name, document) VALUES (?, ?, ?)')
    .run(product, repository.name, canonicalJson(repository));
  const sql = 'SELECT repository, id, document, first_seen, withdrawn_at FROM patch WHERE product = ? AND repository = ?';
  const gone = new Map(rows<PatchRow>(database, sql, product, repository.name).map((row) => [row.id, row]));
  const insert = database.prepare(
    'INSERT INTO patch (product, repository, id, source, version, document, first_seen) VALUES (?, ?, ?, ?, ?, ?, ?)',
  );
  const update = database.prepare(
    'UPDATE patch SET document = ?, withdrawn_at = NULL WHERE product = ? AND repository = ? AND id = ?',
  );
  for (const patch of patches) {
    const document = canonicalJson(patch);
    const known = gone.get(patch.id);
    gone.delete(patch.id);
    if (known === undefined) {
      insert.run(product, repository.name, patch.id, patch.source, patch.version, document, now);
      report.added.push(patch.id);
      continue;
    }
    if (known.withdrawn_at !== null) report.returned.push(patch.id);
    if (known.document !== document) {
      report.updated.push(patch.id);
      if (isRewritten(JSON.parse(known.document) as SourcePatch, patch)) report.rewritten.push(patch.id);
    }
    if (known.withdrawn_at !== null || known.document !== document) update.run(document, product, repository.name, patch.id);
  }
  const withdraw = database.prepare('UPDATE patch SET withdrawn_at = ? WHERE product = ? AND repository = ? AND id = ?');
  for (const { id, withdrawn_at } of gone.values()) {
    if (withdrawn_at !== null) continue;
    withdraw.run(now, product, repository.name, id);
    report.withdrawn.push(id);
  }
  if (report.updated.length > 0) forgetEnrichment(database, product, report.updated);
  return report;
}

/** Whether a package kept its name, version and architecture and lost its bytes. */
function isRewritten(before: SourcePatch, after: SourcePatch): boolean {
  const key = ({ name, version, arch }: SourcePatch['packages'][number]) => `${name} ${version} ${arch}`;
  const hashes = new Map(before.packages.map((item) => [key(item), item.sha256]));
  return after.packages.some((item) => (hashes.get(key(item)) ?? item.sha256) !== item.sha256);
}

function forgetEnrichment(database: DatabaseSync, product: string, ids: readonly string[]): void {
  const remove = database.prepare('DELETE FROM enrichment WHERE product = ? AND id = ?');
  for (const id of ids) remove.run(product, id);
}

/** Patches offered now, by id; of several repositories' the security one. First seen is the earliest of all of them. */
function offered(database: DatabaseSync, product: string): Map<string, Patch> {
  const sql = 'SELECT repository, id, document, first_seen, withdrawn_at FROM patch WHERE product = ? ORDER BY id, repository';
  const found = new Map<string, Patch>();
  const firstSeen = new Map<string, number>();
  for (const row of rows<PatchRow>(database, sql, product)) {
    firstSeen.set(row.id, Math.min(firstSeen.get(row.id) ?? row.first_seen, row.first_seen));
    if (row.withdrawn_at !== null) continue;
    const patch = JSON.parse(row.document) as SourcePatch;
    const other = found.get(row.id);
    if (other === undefined || (patch.classification === 'security' && other.classification !== 'security')) {
      found.set(row.id, { ...patch, firstSeen: '' });
    }
  }
  for (const [id, patch] of found) patch.firstSeen = utcSeconds(firstSeen.get(id) ?? 0);
  return found;
}

function catalogOf(database: DatabaseSync, product: string, now: number): Catalog {
  const repositories = rows<{ document: string }>(
    database,
    'SELECT document FROM repository WHERE product = ? ORDER BY name',
    product,
  );
  if (repositories.length === 0) throw fault('no-product', `no source of ${product} was synced yet`, { where: product });
  const patches = offered(database, product);
  for (const row of rows<EnrichmentRow>(database, 'SELECT * FROM enrichment WHERE product = ? AND known = 1', product)) {
    const patch = patches.get(row.id);
    if (patch === undefined) continue;
    patch.cves = [...new Set([...patch.cves, ...(JSON.parse(row.cves) as string[])])].toSorted();
    if (patch.severity === 'unspecified') patch.severity = row.severity;
  }
  return {
    schema: 'patchferry/catalog',
    schemaVersion: 1,
    product,
    generatedAt: utcSeconds(now),
    repositories: repositories.map(({ document }) => JSON.parse(document) as VendorRepository),
    patches: [...patches.values()].toSorted((a, b) => (a.id < b.id ? -1 : 1)),
  };
}

function historyOf(database: DatabaseSync, product: string, source: string): KnownPatch[] {
  const sql =
    'SELECT repository, id, document, first_seen, withdrawn_at FROM patch WHERE product = ? AND source = ? ORDER BY id, repository';
  return rows<PatchRow>(database, sql, product, source)
    .map(({ document, first_seen, withdrawn_at }) => {
      const patch: Patch = { ...(JSON.parse(document) as SourcePatch), firstSeen: utcSeconds(first_seen) };
      return { patch, withdrawnAt: withdrawn_at };
    })
    .toSorted((a, b) => comparatorFor(a.patch.format)(a.patch.version, b.patch.version));
}

async function enrichAll(
  database: DatabaseSync,
  product: string,
  payloads: PayloadStore,
  options: { only?: ReadonlySet<string> | undefined; signal?: AbortSignal | undefined; progress?: Progress | undefined },
): Promise<EnrichReport> {
  const patches = offered(database, product);
  const after = earlierVersions([...patches.values()]);
  const known = new Map(
    rows<EnrichmentRow>(database, 'SELECT * FROM enrichment WHERE product = ?', product).map((row) => [row.id, row]),
  );
  const save = database.prepare(
    'INSERT OR REPLACE INTO enrichment (product, id, after_version, payloads, known, cves, severity) VALUES (?, ?, ?, ?, ?, ?, ?)',
  );
  // One walk through the store instead of a question for each of a release's tens of thousands of packages.
  const present = new Map(Array.from(payloads.list(), ({ sha256, size }) => [sha256, size]));
  const silent: { patch: string; says: string }[] = [];
  let enriched = 0;
  let waiting = 0;
  let done = 0;
  for (const patch of patches.values()) {
    done += 1;
    if (patch.format !== 'deb' || options.only?.has(patch.id) === false) continue;
    const earlier = after.get(patch.id) ?? '';
    const here = patch.packages.filter(({ sha256, size }) => present.get(sha256) === size).length;
    const row = known.get(patch.id);
    // What was read once stays, also when the payload is gone. It is read anew when another version is the earlier one
    // now (the one between was withdrawn, and its fixes are this one's), or when more payloads may tell more.
    if (here === 0 && row?.known !== 1) waiting += 1;
    if (here === 0 || (row?.after_version === earlier && (row.known === 1 || row.payloads === here))) continue;
    options.progress?.at(done, patch.source);
    const result = await enrich(patch, payloads, { after: earlier === '' ? undefined : earlier, signal: options.signal });
    if (result.kind === 'known') {
      save.run(product, patch.id, earlier, here, 1, JSON.stringify(result.cves), result.severity);
      enriched += 1;
    } else if (result.kind === 'no-changelog') {
      save.run(product, patch.id, earlier, here, 0, '[]', 'unspecified');
      silent.push({ patch: patch.id, says: result.says });
    }
  }
  return { enriched, waiting, silent };
}

/** For each patch the next lower version of its source that is offered as well. */
function earlierVersions(patches: readonly Patch[]): Map<string, string> {
  const earlier = new Map<string, string>();
  for (const group of Map.groupBy(patches, ({ format, source }) => `${format} ${source}`).values()) {
    const compare = comparatorFor(group[0]?.format ?? 'deb');
    const sorted = group.toSorted((a, b) => compare(a.version, b.version));
    for (const [nth, patch] of sorted.entries()) {
      const below = sorted.slice(0, nth).findLast((other) => compare(other.version, patch.version) < 0);
      if (below !== undefined) earlier.set(patch.id, below.version);
    }
  }
  return earlier;
}
