// The request: what a closed site lacks, as a text that a reviewer reads before it crosses the border. It names payloads, and no
// host, address, user or version of anything that is inside. Rows may be struck out by the reviewer; nothing else is in it.
import { createHash } from 'node:crypto';
import { utcSeconds } from '#manifests/platform/clock';
import { moment, name as nameSchema } from '#manifests/schema';
import { fault } from './faults.ts';
import { BUNDLE_LIMITS } from './limits.ts';
import { nameFault } from './names.ts';

/** How much a request says: payloads with their file names, only their hashes, or hashes salted for this one request. */
export type RequestLevel = 'names' | 'hashes' | 'salted';

export interface Wanted {
  readonly sha256: string;
  readonly size: number;
  /** File name, for people; only with level `names`. */
  readonly name?: string | undefined;
}

export interface Request {
  readonly site: string;
  /** 32 hex digits; an answer quotes it. */
  readonly id: string;
  /** Number of this request of this site; only ever grows. */
  readonly sequence: number;
  readonly madeAt: string;
  readonly level: RequestLevel;
  /** 32 hex digits. */
  readonly salt: string;
  /** Number of the last content bundle that is here whole; the answer builds on it. */
  readonly last: number;
  /** Rows that a reviewer struck out; null where the request does not say how many it was made with (version 1). */
  readonly struck: number | null;
  /** With level `salted` the hashes are SHA-256(salt ‖ hash), and sizes are left out. */
  readonly wanted: readonly Wanted[];
}

const TITLE = 'patchferry request 2';
const TITLE_BEFORE = 'patchferry request 1';
const HEX = { 32: /^[0-9a-f]{32}$/, 64: /^[0-9a-f]{64}$/ } as const;

/** SHA-256 over the bytes of salt and payload hash: what stands for a payload in a salted request. */
export function saltedHash(salt: string, sha256: string): string {
  return createHash('sha256')
    .update(Buffer.from(salt + sha256, 'hex'))
    .digest('hex');
}

/** The text of a request. `wanted` holds plain hashes; what the level leaves out is left out here. @throws bundle.name */
export function writeRequest(input: Omit<Request, 'madeAt' | 'struck'> & { readonly madeAt: number }): string {
  const { site, id, sequence, level, salt, last } = input;
  if (!HEX[32].test(id) || !HEX[32].test(salt)) throw fault('name', 'the id and salt of a request are 32 hex digits each');
  const rows = input.wanted.map(({ sha256, size, name }) => {
    if (!HEX[64].test(sha256)) throw fault('name', `${JSON.stringify(sha256.slice(0, 80))} is no SHA-256`);
    if (level === 'salted') return saltedHash(salt, sha256);
    const shown = name !== undefined && nameFault(name) === undefined ? ` ${name}` : '';
    return `${sha256} ${size}${level === 'names' ? shown : ''}`;
  });
  const bytes = input.wanted.reduce((sum, { size }) => sum + size, 0);
  return [
    TITLE,
    '# All that leaves this network with this file is in it. A row below "wants" may be struck out.',
    `site ${site}`,
    `number ${sequence}`,
    `id ${id}`,
    `made ${utcSeconds(input.madeAt)}`,
    `salt ${salt}`,
    `last ${last}`,
    `level ${level}`,
    `rows ${rows.length}`,
    ...(level === 'salted' ? [] : [`# ${rows.length} files, ${bytes} bytes`]),
    'wants',
    ...rows.toSorted(),
    'end',
    '',
  ].join('\n');
}

/** Reads a request. Line ends and blanks at the end of lines may have been changed by an editor. @throws bundle.request */
export function readRequest(bytes: Uint8Array, where: string): Request {
  const wrong = (message: string) => fault('request', `${where}: ${message}`, { where });
  if (bytes.length > BUNDLE_LIMITS.requestBytes) throw wrong(`${bytes.length} bytes are more than a request has`);
  const lines = Buffer.from(bytes)
    .toString('utf8')
    .split('\n')
    .map((row) => row.trimEnd())
    .filter((row) => row !== '' && !row.startsWith('#'));
  if (lines[0] !== TITLE && lines[0] !== TITLE_BEFORE) throw wrong('is no request of patchferry');
  const fields = new Map<string, string>();
  let at = 1;
  for (; at < lines.length && lines[at] !== 'wants'; at++) {
    const [key = '', value = '', ...more] = (lines[at] ?? '').split(' ');
    if (more.length > 0 || fields.has(key) || !FIELDS.includes(key))
      throw wrong(`the line ${JSON.stringify((lines[at] ?? '').slice(0, 80))}`);
    fields.set(key, value);
  }
  const field = (key: string, pattern: RegExp) => {
    const value = fields.get(key) ?? '';
    if (!pattern.test(value)) throw wrong(`${key} is missing or has no valid form`);
    return value;
  };
  const rows = lines.slice(at + 1, -1);
  if (at >= lines.length || lines.at(-1) !== 'end') throw wrong('is cut: its end is missing');
  if (rows.length > BUNDLE_LIMITS.requestRows) throw wrong(`${rows.length} rows are more than a request has`);
  const made = lines[0] === TITLE ? Number(field('rows', /^\d{1,7}$/)) : null;
  if (made !== null && rows.length > made)
    throw wrong(`${rows.length} rows, and it was made with ${made}: rows may be struck out, none may be added`);
  const level = field('level', /^(?:names|hashes|salted)$/) as RequestLevel;
  const site = field('site', /./);
  const madeAt = field('made', /./);
  if (!nameSchema.safeParse(site).success || !moment.safeParse(madeAt).success) throw wrong('site or moment has no valid form');
  const wanted = rows.map((row): Wanted => {
    const [sha256 = '', size, name, ...more] = row.split(' ');
    const sized = level === 'salted' ? size === undefined : /^\d{1,15}$/.test(size ?? '');
    const named = name === undefined || (level === 'names' && nameFault(name) === undefined);
    if (!HEX[64].test(sha256) || !sized || !named || more.length > 0)
      throw wrong(`the row ${JSON.stringify(row.slice(0, 100))}`);
    return { sha256, size: Number(size ?? 0), ...(name === undefined ? {} : { name }) };
  });
  if (new Set(wanted.map(({ sha256 }) => sha256)).size < wanted.length) throw wrong('names a payload twice');
  return {
    site,
    struck: made === null ? null : made - rows.length,
    id: field('id', HEX[32]),
    sequence: Number(field('number', /^\d{1,15}$/)),
    madeAt,
    level,
    salt: field('salt', HEX[32]),
    last: Number(field('last', /^\d{1,15}$/)),
    wanted,
  };
}

const FIELDS = ['site', 'number', 'id', 'made', 'salt', 'last', 'level', 'rows'];

/**
 * Which of the payloads known here a request asks for, which of its rows nobody knows, and which were altered on the way: they
 * name a payload with another size than it has. Rows are no reason to trust anything: payloads are checked by their hashes.
 */
export function matchRequest<P extends { readonly sha256: string; readonly size: number }>(
  request: Request,
  known: Iterable<P>,
): { found: P[]; unknown: Wanted[]; altered: Wanted[] } {
  const rows = new Map(request.wanted.map((row) => [row.sha256, row]));
  const found: P[] = [];
  const altered: Wanted[] = [];
  for (const payload of known) {
    const hash = request.level === 'salted' ? saltedHash(request.salt, payload.sha256) : payload.sha256;
    const row = rows.get(hash);
    if (row === undefined) continue;
    rows.delete(hash);
    if (request.level === 'salted' || row.size === payload.size) found.push(payload);
    else altered.push(row);
  }
  return { found, unknown: [...rows.values()], altered };
}
