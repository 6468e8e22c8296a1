// Which payloads a mirror needs, from the signed documents alone. Pure.
import { payloadsOf } from '#manifests/repository';
import { type Catalog, decodeDocument, type ResolvedBaseline } from '#manifests/schema';

/**
 * `approved`: what some baseline approves or will approve; `all`: whatever a catalog names; `missing`: of what is approved, the
 * packages that some agent here has asked for before, others when they are asked for; `on-demand`: only when asked for.
 * Vendors' indexes always.
 */
export const PAYLOAD_CHOICES = ['approved', 'all', 'missing', 'on-demand'] as const;
export type PayloadChoice = (typeof PAYLOAD_CHOICES)[number];

export interface WantedPayload {
  readonly sha256: string;
  readonly size: number;
  /** A vendor's index. Others may be absent upstream: a publisher may fetch only what its fleet lacks. */
  readonly required: boolean;
}

/** Which payloads a relay keeps. */
export interface Selection {
  readonly payloads: PayloadChoice;
  /** Only of these; undefined or none means all. */
  readonly products?: readonly string[] | undefined;
  /** `product name arch` of packages that agents asked for, for `missing`. */
  readonly asked?: ReadonlySet<string> | undefined;
}

/** What a selection was made with, to see that it changed. */
export function selectionName({ payloads, products = [] }: Selection): string {
  return [payloads, ...products.toSorted()].join(' ');
}

export interface Documents {
  readonly catalogs: Catalog[];
  readonly baselines: ResolvedBaseline[];
}

/** Adds a document to what decides about payloads; others are mirrored without being read. @throws document.* */
export function readInto(documents: Documents, path: string, bytes: Uint8Array): void {
  if (/^catalogs\/[^/]+\.json\.zst$/.test(path)) documents.catalogs.push(decodeDocument('catalog', bytes, path));
  if (/^policy\/baselines\/[^/]+\.json\.zst$/.test(path))
    documents.baselines.push(decodeDocument('resolved-baseline', bytes, path));
}

/** Every payload to have, each once: indexes first, then what is approved, then the rest. */
export function wantedPayloads({ catalogs, baselines }: Documents, selection: Selection): WantedPayload[] {
  const { payloads: choice, products = [], asked } = selection;
  const found = new Map<string, WantedPayload>();
  for (const catalog of catalogs) {
    if (products.length > 0 && !products.includes(catalog.product)) continue;
    const approved = new Set<string>();
    const pending = new Set<string>();
    for (const baseline of baselines) {
      if (baseline.product !== catalog.product) continue;
      for (const { patch } of baseline.approved) approved.add(patch);
      for (const { patch } of baseline.pending) pending.add(patch);
    }
    const indexes = new Set(catalog.repositories.flatMap((repository) => repository.indexes.map(({ sha256 }) => sha256)));
    const packages = choice === 'missing' ? askedPackages(catalog, asked ?? new Set()) : undefined;
    const add = (only: ReadonlySet<string> | undefined) => {
      for (const { sha256, size } of payloadsOf(catalog, only)) {
        if (packages !== undefined && !packages.has(sha256) && !indexes.has(sha256)) continue;
        if (!found.has(sha256)) found.set(sha256, { sha256, size, required: indexes.has(sha256) });
      }
    };
    if (choice === 'on-demand') add(new Set());
    else {
      add(approved);
      add(choice === 'all' ? undefined : pending);
    }
  }
  return [...found.values()].toSorted((a, b) => Number(b.required) - Number(a.required));
}

function askedPackages(catalog: Catalog, asked: ReadonlySet<string>): ReadonlySet<string> {
  const found = new Set<string>();
  for (const { packages } of catalog.patches)
    for (const { name, arch, sha256 } of packages) if (asked.has(`${catalog.product} ${name} ${arch}`)) found.add(sha256);
  return found;
}

/** What a catalog's payloads are: their size, and the package by product, name and architecture; vendors' indexes have none. */
export function namedPayloads({ catalogs }: Documents): Map<string, { size: number; package: string | undefined }> {
  const named = new Map<string, { size: number; package: string | undefined }>();
  for (const catalog of catalogs) {
    for (const { sha256, size } of payloadsOf(catalog)) named.set(sha256, { size, package: undefined });
    for (const { packages } of catalog.patches)
      for (const { name, arch, sha256, size } of packages)
        named.set(sha256, { size, package: `${catalog.product} ${name} ${arch}` });
  }
  return named;
}
