// The file of what the fuse has counted, and up to where the other relays of the site were read. Version 1 knew only reports.
import { randomBytes } from 'node:crypto';
import { z } from 'zod';
import { readFileBounded, writeFileAtomic } from '#manifests/platform/files';
import { type CountedReport, compacted } from './counts.ts';
import { SITE_LIMITS } from './limits.ts';

const common = { agent: z.string(), sequence: z.int(), group: z.string(), at: z.string(), ok: z.boolean() };
const fileOfVersion1 = z.strictObject({
  schema: z.literal('patchferry/relay-fuse'),
  schemaVersion: z.literal(1),
  reports: z.array(z.strictObject(common)),
});

const cursor = z.strictObject({
  /** Its address, as in the settings. */
  sibling: z.string(),
  /** Its log, by the name it has given itself, and the last number that was read of it. */
  log: z.string(),
  after: z.int().min(0),
  /** The first number whose host this relay's roster did not know then, and which roster that was. */
  unknown: z.strictObject({ number: z.int(), roster: z.string() }).nullable(),
  /** Since when it does not tell what it counts, and why. */
  failing: z.strictObject({ since: z.string(), says: z.string() }).nullable(),
});
export type SiblingCursor = z.infer<typeof cursor>;

const fuseFile = z.strictObject({
  schema: z.literal('patchferry/relay-fuse'),
  schemaVersion: z.literal(2),
  /** Under which name, and from which number on, this relay keeps envelopes for the others. */
  log: z.strictObject({ id: z.string().regex(/^[0-9a-f]{16}$/), next: z.int().min(1) }),
  reports: z.array(
    z.strictObject({
      ...common,
      from: z.enum(['here', 'sibling']),
      hash: z.string().nullable(),
      number: z.int().nullable(),
    }),
  ),
  siblings: z.array(cursor),
});

export interface FuseContent {
  readonly log: { readonly id: string; readonly next: number };
  readonly reports: readonly CountedReport[];
  readonly siblings: readonly SiblingCursor[];
}

const EMPTY = (): FuseContent => ({ log: { id: randomBytes(8).toString('hex'), next: 1 }, reports: [], siblings: [] });

/** As last written; a torn file counts as none: its results come again while no ack has covered them, and siblings are read anew. */
export function readFuseFile(file: string): FuseContent {
  try {
    const bytes = readFileBounded(file, SITE_LIMITS.fuseFileBytes);
    if (bytes === undefined) return EMPTY();
    const value: unknown = JSON.parse(Buffer.from(bytes).toString('utf8'));
    const old = fileOfVersion1.safeParse(value);
    if (!old.success) return fuseFile.parse(value);
    const reports = old.data.reports.map((each): CountedReport => ({ ...each, from: 'here', hash: null, number: null }));
    return { ...EMPTY(), reports: [...compacted(reports).values()] };
  } catch {
    return EMPTY();
  }
}

/** Durable when it returns. @throws files.unwritable */
export function writeFuseFile(file: string, content: FuseContent): void {
  const { log, reports, siblings } = content;
  const whole: z.infer<typeof fuseFile> = {
    schema: 'patchferry/relay-fuse',
    schemaVersion: 2,
    log,
    reports: [...reports],
    siblings: [...siblings],
  };
  writeFileAtomic(file, `${JSON.stringify(whole)}\n`, { mode: 0o640 });
}
