// Which payloads a mirror needs, from the signed documents alone. Pure.
import { payloadsOf } from '#manifests/repository';
import { type Catalog, decodeDocument, type ResolvedBaseline } from '#manifests/schema';

/** `approved`: what some baseline approves or will approve; `all`: whatever a catalog names. Vendors' indexes always. */
export const PAYLOAD_CHOICES = ['approved', 'all'] as const;
export type PayloadChoice = (typeof PAYLOAD_CHOICES)[number];

export interface WantedPayload {
  readonly sha256: string;
  readonly size: number;
  /** A vendor's index. Others may be absent upstream: a publisher may fetch only what its fleet lacks. */
  readonly required: boolean;
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
export function wantedPayloads({ catalogs, baselines }: Documents, choice: PayloadChoice): WantedPayload[] {
  const found = new Map<string, WantedPayload>();
  for (const catalog of catalogs) {
    const approved = new Set<string>();
    const pending = new Set<string>();
    for (const baseline of baselines) {
      if (baseline.product !== catalog.product) continue;
      for (const { patch } of baseline.approved) approved.add(patch);
      for (const { patch } of baseline.pending) pending.add(patch);
    }
    const indexes = new Set(catalog.repositories.flatMap((repository) => repository.indexes.map(({ sha256 }) => sha256)));
    const add = (only: ReadonlySet<string> | undefined) => {
      for (const { sha256, size } of payloadsOf(catalog, only)) {
        if (!found.has(sha256)) found.set(sha256, { sha256, size, required: indexes.has(sha256) });
      }
    };
    add(approved);
    add(choice === 'all' ? undefined : pending);
  }
  return [...found.values()].toSorted((a, b) => Number(b.required) - Number(a.required));
}
