// Which payloads a mirror needs, from the signed documents alone. Pure.
import { payloadsOf } from '#manifests/repository';
import { type Catalog, decodeDocument, type ResolvedBaseline } from '#manifests/schema';

/** `approved`: what some baseline approves or will approve; `all`: whatever a catalog names. Vendors' indexes always. */
export const PAYLOAD_CHOICES = ['approved', 'all'] as const;
export type PayloadChoice = (typeof PAYLOAD_CHOICES)[number];

export interface WantedPayload {
  readonly sha256: string;
  readonly size: number;
  /** Without it the generation would be of no use: an index, or part of an approved patch. Others may be absent upstream. */
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

/** Every payload to have, each once, the required ones first. */
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
    const add = (only: ReadonlySet<string> | undefined, required: boolean) => {
      for (const { sha256, size } of payloadsOf(catalog, only)) {
        const known = found.get(sha256);
        if (known === undefined || (required && !known.required)) found.set(sha256, { sha256, size, required });
      }
    };
    add(approved, true);
    add(choice === 'all' ? undefined : pending, false);
  }
  return [...found.values()].toSorted((a, b) => Number(b.required) - Number(a.required));
}
