// What relays of a site hand each other: the runs that a fuse has counted, as the hosts sealed them. One page: a line of JSON that
// says what follows, then the envelopes. Pure; nothing in it is believed, every envelope is checked as if its host had brought it.
import { z } from 'zod';
import { SITE_LIMITS } from './limits.ts';

const NAME = '[a-z0-9](?:[a-z0-9.-]{0,61}[a-z0-9])?';
const PATH = new RegExp(`^/site-runs/(${NAME})/([0-9a-f]{16}|-)/(\\d{1,15})$`);

const head = z.strictObject({
  schema: z.literal('patchferry/site-runs'),
  schemaVersion: z.literal(1),
  site: z.string(),
  /** The name that this relay has given its log; another one means that it began anew. */
  log: z.string().regex(/^[0-9a-f]{16}$/),
  /** More is there behind this page. */
  more: z.boolean(),
  /** Of each envelope its number, ascending, and its bytes. */
  items: z
    .array(z.strictObject({ number: z.int().min(1), bytes: z.int().min(1).max(SITE_LIMITS.sharedBytes) }))
    .max(SITE_LIMITS.pageRuns),
});

export interface RunsPage {
  readonly site: string;
  readonly log: string;
  readonly more: boolean;
  readonly items: readonly { readonly number: number; readonly envelope: Uint8Array }[];
}

/** Where a page is asked for: what is behind `after` of a log, or from its beginning where another log is there by now. */
export const runsPath = (site: string, log: string | undefined, after: number): string =>
  `site-runs/${site}/${log ?? '-'}/${after}`;

/** What a request asks for; undefined when it is for something else. */
export function readRunsPath(path: string): { site: string; log: string; after: number } | undefined {
  const found = PATH.exec(path);
  if (found === null) return undefined;
  const [, site = '', log = '', after = ''] = found;
  return { site, log, after: Number(after) };
}

export function encodeRuns({ site, log, more, items }: RunsPage): Uint8Array {
  const line: z.infer<typeof head> = {
    schema: 'patchferry/site-runs',
    schemaVersion: 1,
    site,
    log,
    more,
    items: items.map(({ number, envelope }) => ({ number, bytes: envelope.length })),
  };
  return Buffer.concat([Buffer.from(`${JSON.stringify(line)}\n`), ...items.map(({ envelope }) => envelope)]);
}

/** What a page says, or why it says nothing. @param after the number that was asked for of `log` */
export function decodeRuns(
  bytes: Uint8Array,
  asked: { site: string; log: string | undefined; after: number },
): RunsPage | string {
  const view = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length);
  const end = view.subarray(0, SITE_LIMITS.runsHeadBytes).indexOf(0x0a);
  if (end < 0) return 'its first line is none';
  let line: unknown;
  try {
    line = JSON.parse(view.toString('utf8', 0, end));
  } catch {
    return 'its first line is no JSON';
  }
  const parsed = head.safeParse(line);
  if (!parsed.success) return 'its first line is not of this format';
  const { site, log, more, items } = parsed.data;
  if (site !== asked.site) return `it is of site ${site.slice(0, 63)}`;
  let at = end + 1;
  let last = log === asked.log ? asked.after : 0;
  const found: { number: number; envelope: Uint8Array }[] = [];
  for (const { number, bytes: size } of items) {
    if (number <= last) return 'its numbers do not grow';
    last = number;
    found.push({ number, envelope: view.subarray(at, at + size) });
    at += size;
  }
  if (at !== view.length) return 'it is not as long as it says';
  if (more && items.length === 0) return 'it has more and tells nothing';
  return { site, log, more, items: found };
}
