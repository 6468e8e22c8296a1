// What lies in a bundle beside the repository's own files and the envelopes: two small documents, one a direction.
import * as fs from 'node:fs';
import { join } from 'node:path';
import { z } from 'zod';
import { count, moment, name } from '#manifests/schema';
import { fault } from './faults.ts';

/** In a content bundle: what of the site's returns has reached the publisher and is kept there. */
export const RECEIVED_FILE = 'courier/received.json';
const received = z.strictObject({
  schema: z.literal('patchferry/courier-received'),
  schemaVersion: z.literal(1),
  site: name,
  /** Number of the last return that was collected; 0 before the first. */
  returned: count,
});

/** In a return bundle: up to where the publisher's bundles are here. */
export const SITE_FILE = 'courier/site.json';
const siteReport = z.strictObject({
  schema: z.literal('patchferry/courier-site'),
  schemaVersion: z.literal(1),
  site: name,
  at: moment,
  /** Number of the last content bundle that was taken over; 0 before the first. */
  imported: count,
});
export type SiteReport = z.infer<typeof siteReport>;

const encode = (value: unknown) => Buffer.from(`${JSON.stringify(value, null, 1)}\n`, 'utf8');

export function encodeReceived(site: string, returned: number): Uint8Array {
  return encode(received.parse({ schema: 'patchferry/courier-received', schemaVersion: 1, site, returned }));
}

export function encodeSiteReport(report: Omit<SiteReport, 'schema' | 'schemaVersion'>): Uint8Array {
  return encode(siteReport.parse({ schema: 'patchferry/courier-site', schemaVersion: 1, ...report }));
}

/** How many returns the publisher has, by an imported tree; 0 when it does not say. @throws courier.contents */
export function readReceived(tree: string, site: string): number {
  const value = readJson(join(tree, RECEIVED_FILE), received);
  if (value === undefined) return 0;
  if (value.site !== site) throw fault('contents', `${RECEIVED_FILE} in it speaks of the site ${value.site}`);
  return value.returned;
}

/** @throws courier.contents */
export function readSiteReport(tree: string, site: string): SiteReport | undefined {
  const value = readJson(join(tree, SITE_FILE), siteReport);
  if (value !== undefined && value.site !== site)
    throw fault('contents', `${SITE_FILE} in it speaks of the site ${value.site}`);
  return value;
}

const SMALL_BYTES = 64 * 1024;

function readJson<S extends z.ZodType>(file: string, schema: S): z.infer<S> | undefined {
  const size = fs.statSync(file, { throwIfNoEntry: false })?.size;
  if (size === undefined) return undefined;
  if (size > SMALL_BYTES) throw fault('contents', `${file} has ${size} bytes`, { where: file });
  try {
    return schema.parse(JSON.parse(fs.readFileSync(file, 'utf8')));
  } catch (cause) {
    throw fault('contents', `${file} cannot be read`, { where: file, cause });
  }
}
