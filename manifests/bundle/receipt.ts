// RECEIPT.txt: what became of a bundle, for the courier to read on the way back and for the publisher to check. One text, one
// signed block; the text is made from the block, and a file whose text says something else is no receipt.
import { join } from 'node:path';
import { z } from 'zod';
import { count, line, moment, name } from '#manifests/schema';
import type { Signer } from '#manifests/trust';
import { type Disk, realDisk } from './disk.ts';
import { fault } from './faults.ts';
import { onMedium, readSmall, replaceFile } from './files.ts';
import { bundleKind } from './format.ts';
import { BUNDLE_LIMITS } from './limits.ts';
import { rangesText } from './names.ts';
import { type Keys, readSigned, signedBytes } from './signed.ts';

export const RECEIPT_FILE = 'RECEIPT.txt';

const visit = z.strictObject({
  /** Name of the bundle, `ward-7-000012-content`. */
  bundle: line(200),
  id: z.string().regex(/^[0-9a-f]{32}$/),
  kind: bundleKind,
  sequence: count,
  outcome: z.enum(['imported', 'partial', 'refused', 'exported']),
  /** Code of the error, for `refused`. */
  code: z
    .string()
    .regex(/^[a-z][a-z0-9-]*\.[a-z0-9-]+$/)
    .nullable(),
  /** Chunks or volumes that are there, of how many; and which are still awaited. */
  have: count,
  total: count,
  missing: z.array(z.strictObject({ first: count, last: count })).max(1_000),
  /** For people. */
  says: line(500),
});

const receiptSchema = z.strictObject({
  schema: z.literal('patchferry/receipt'),
  schemaVersion: z.literal(1),
  site: name,
  /** Who wrote it: a relay, an agent. */
  by: line(200),
  at: moment,
  bundles: z.array(visit).max(100),
});
export type Receipt = z.infer<typeof receiptSchema>;
export type ReceiptRow = Receipt['bundles'][number];

const BEGIN = '----- signed part, for the publisher; leave as it is -----';
const END = '----- end -----';

/** What a courier reads. */
function textOf(receipt: Receipt): string {
  const words = { imported: 'IMPORTED', partial: 'NOT COMPLETE', refused: 'REFUSED', exported: 'PUT ON THIS STICK' } as const;
  const rows = receipt.bundles.flatMap((row) => [
    '',
    `${words[row.outcome]}: ${row.bundle} (number ${row.sequence})`,
    `  ${row.says}`,
    ...(row.missing.length === 0 ? [] : [`  still awaited: ${rangesText(row.missing)} of ${row.total}`]),
    ...(row.code === null ? [] : [`  code: ${row.code}`]),
  ]);
  return [
    'patchferry: what happened with this stick',
    '',
    `at the site ${receipt.site}, by ${receipt.by}, ${receipt.at}`,
    ...rows,
    '',
    'Take the stick back as it is.',
    '',
  ].join('\r\n'); // read with whatever editor a courier has
}

/** Writes the receipt onto the medium. @throws bundle.medium-gone, bundle.no-space, bundle.unwritable */
export function writeReceipt(place: string, receipt: Receipt, signer: Signer, disk: Disk = realDisk): Promise<string> {
  return onMedium(place, async () => {
    const checked = receiptSchema.parse(receipt);
    const signed = (await signedBytes('receipt', checked, signer)).toString('utf8').trim();
    const path = join(place, RECEIPT_FILE);
    replaceFile(disk, path, Buffer.from(`${textOf(checked)}${BEGIN}\r\n${signed}\r\n${END}\r\n`, 'utf8'));
    return path;
  });
}

/**
 * Reads and checks the receipt on a medium; undefined when there is none. Line ends may have been changed by an editor.
 * @throws bundle.receipt when text and signed part differ, bundle.unsigned, bundle.signature, bundle.malformed
 */
export function readReceipt(
  place: string,
  keys: Keys,
  disk: Disk = realDisk,
): (Receipt & { readonly signedBy: string }) | undefined {
  const where = join(place, RECEIPT_FILE);
  const bytes = readSmall(disk, where, BUNDLE_LIMITS.noteBytes);
  if (bytes === undefined) return undefined;
  const lines = bytes.toString('utf8').split(/\r?\n/);
  const begin = lines.indexOf(BEGIN);
  const block = lines[begin + 1];
  if (begin < 0 || block === undefined || lines[begin + 2] !== END || lines.slice(begin + 3).some((row) => row !== '')) {
    throw fault('receipt', `${where} has no signed part`, { where });
  }
  const { body, key } = readSigned('receipt', Buffer.from(`${block}\n`), { schema: receiptSchema, keys, where });
  if (lines.slice(0, begin).join('\r\n') !== textOf(body).slice(0, -2)) {
    throw fault('receipt', `the text of ${where} is not what its signed part says`, { where });
  }
  return { ...body, signedBy: key };
}
