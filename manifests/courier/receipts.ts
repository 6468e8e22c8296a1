// The receipt on a stick: one at its root for the courier, and a copy by site where several share a stick.
import * as fs from 'node:fs';
import { join } from 'node:path';
import { type Receipt, type ReceiptRow, readReceipt, writeReceipt } from '#manifests/bundle';
import { PatchferryError } from '#manifests/errors';
import { utcSeconds } from '#manifests/platform/clock';
import type { Site } from './site.ts';

/** Most rows of one receipt. */
const ROWS = 100;

export interface Answering {
  readonly place: string;
  readonly site: Site;
  /** Who writes it: `relay ward-7`. */
  readonly by: string;
  /** Trusted time, ms. */
  readonly now: number;
}

/** Writes both. A stick that takes no writing is no error. @returns path of the one at the root, null when it could not be written */
export async function putReceipt({ place, site, by, now }: Answering, bundles: readonly ReceiptRow[]): Promise<string | null> {
  const receipt: Receipt = {
    schema: 'patchferry/receipt',
    schemaVersion: 1,
    site: site.name,
    by,
    at: utcSeconds(now),
    bundles: bundles.slice(0, ROWS),
  };
  try {
    const copy = copyOf(place, site);
    fs.mkdirSync(copy, { recursive: true });
    await writeReceipt(copy, receipt, site.signer);
    return await writeReceipt(place, receipt, site.signer);
  } catch (error) {
    if (error instanceof PatchferryError || (error instanceof Error && 'syscall' in error)) return null;
    throw error;
  }
}

/** Adds to the receipt what this side put onto the stick, so that a courier sees what he takes back. */
export async function noteExported(
  where: Answering,
  { name, id }: { readonly name: string; readonly id: string },
  sequence: number,
  says: string,
): Promise<string | null> {
  const before = ownReceipt(where)?.bundles.filter(({ outcome }) => outcome !== 'exported') ?? [];
  const common = { code: null, have: 0, total: 0, missing: [] } as const;
  const row = { ...common, bundle: name, id, kind: 'return', sequence, outcome: 'exported', says } as const;
  return putReceipt(where, [...before.slice(0, ROWS - 1), { ...row, missing: [] }]);
}

const copyOf = (place: string, { name }: Site) => join(place, 'receipts', name);

function ownReceipt({ place, site }: Answering): Receipt | undefined {
  try {
    return readReceipt(copyOf(place, site), [site.card.signKey]);
  } catch (error) {
    if (error instanceof PatchferryError) return undefined; // somebody changed it: a new one is written
    throw error;
  }
}
