// Reads a Release file (the signed text of an InRelease). Pure. Format: wiki.debian.org/DebianRepository/Format; deb822(5).
import { fault, SOURCE_LIMITS } from '../faults.ts';
import { isPlainPath } from '../paths.ts';

export interface ReleaseEntry {
  readonly sha256: string;
  readonly size: number;
}

export interface Release {
  readonly origin: string;
  readonly label: string;
  readonly suite: string;
  readonly codename: string;
  /** ms */
  readonly date: number;
  /** ms; null when the vendor sets none. */
  readonly validUntil: number | null;
  /** Indexes can be fetched under their hash, so that a mirror in mid-sync cannot mix two states. */
  readonly byHash: boolean;
  readonly architectures: string[];
  readonly components: string[];
  /** True when packages of architecture `all` are in each architecture's own index. */
  readonly allIsInEach: boolean;
  /** Files by path relative to the Release file. */
  readonly files: ReadonlyMap<string, ReleaseEntry>;
}

const MONTHS = ['Jan', 'Feb', 'Mar', 'Apr', 'May', 'Jun', 'Jul', 'Aug', 'Sep', 'Oct', 'Nov', 'Dec'];
const DATE =
  /^(?:Mon|Tue|Wed|Thu|Fri|Sat|Sun), +(\d{1,2}) ([A-Z][a-z]{2}) (\d{4}) (\d{2}):(\d{2}):(\d{2}) (?:UTC|GMT|Z|[+-]0000)$/;

/** @param text the signed text. @throws source.malformed, source.weak-hash */
export function parseRelease(text: string, where: string): Release {
  const bad = (says: string) => fault('malformed', `${where}: ${says}`, { where });
  const { fields, sha256Lines } = readFields(text, bad);
  const date = fields.get('date');
  if (date === undefined) throw bad('has no Date');
  const validUntil = fields.get('valid-until');
  const suite = fields.get('suite') ?? '';
  const codename = fields.get('codename') ?? '';
  if (suite === '' && codename === '') throw bad('names neither Suite nor Codename');
  if (sha256Lines === undefined) throw fault('weak-hash', `${where}: lists no SHA256 sums`, { where });
  return {
    origin: fields.get('origin') ?? '',
    label: fields.get('label') ?? '',
    suite,
    codename,
    date: parseDate(date, 'Date', bad),
    validUntil: validUntil === undefined ? null : parseDate(validUntil, 'Valid-Until', bad),
    byHash: /^(?:yes|force)$/i.test(fields.get('acquire-by-hash') ?? ''),
    architectures: words(fields.get('architectures')),
    components: words(fields.get('components')),
    allIsInEach: words(fields.get('no-support-for-architecture-all')).includes('Packages'),
    files: readFiles(sha256Lines, bad, where),
  };
}

type Bad = (says: string) => Error;

function readFields(text: string, bad: Bad): { fields: Map<string, string>; sha256Lines: string[] | undefined } {
  const fields = new Map<string, string>();
  let sha256Lines: string[] | undefined;
  let current = '';
  for (const line of text.replace(/\n+$/, '').split('\n')) {
    if (line.startsWith(' ') || line.startsWith('\t')) {
      if (current === '') throw bad('starts with a continued line');
      if (current === 'sha256') sha256Lines?.push(line);
      continue;
    }
    const colon = line.indexOf(':');
    if (colon <= 0 || colon > 100) throw bad(`has a line that is no field: ${JSON.stringify(line.slice(0, 60))}`);
    current = line.slice(0, colon).toLowerCase();
    if (fields.has(current)) throw bad(`has the field ${line.slice(0, colon)} twice`);
    if (fields.size > 200) throw bad('has more than 200 fields');
    const value = line.slice(colon + 1).trim();
    if (value.length > 10_000) throw bad(`has a field ${current} of ${value.length} characters`);
    fields.set(current, value);
    if (current === 'sha256') sha256Lines = [];
  }
  return { fields, sha256Lines };
}

function readFiles(lines: string[], bad: Bad, where: string): Map<string, ReleaseEntry> {
  if (lines.length > SOURCE_LIMITS.releaseFiles) {
    throw fault('too-large', `${where}: lists ${lines.length} files, the limit is ${SOURCE_LIMITS.releaseFiles}`, { where });
  }
  const files = new Map<string, ReleaseEntry>();
  for (const line of lines) {
    const match = /^[ \t]+([0-9a-f]{64})[ \t]+(\d{1,15})[ \t]+(\S+)[ \t]*$/.exec(line);
    if (match === null) throw bad(`has a SHA256 line that is none: ${JSON.stringify(line.slice(0, 120))}`);
    const [, sha256 = '', size = '', path = ''] = match;
    if (!isPlainPath(path)) throw bad(`lists a file outside of itself: ${JSON.stringify(path.slice(0, 120))}`);
    const known = files.get(path);
    if (known !== undefined && (known.sha256 !== sha256 || known.size !== Number(size))) {
      throw bad(`lists ${path} twice with different sums`);
    }
    files.set(path, { sha256, size: Number(size) });
  }
  return files;
}

/** `Wed, 18 Nov 2026 22:17:41 UTC` and nothing looser: an unreadable date must not become "never". */
function parseDate(value: string, field: string, bad: Bad): number {
  const match = DATE.exec(value);
  const [, day, month = '', year, hour, minute, second] = match ?? [];
  const at = Date.UTC(Number(year), MONTHS.indexOf(month), Number(day), Number(hour), Number(minute), Number(second));
  if (match === null || !MONTHS.includes(month) || new Date(at).getUTCDate() !== Number(day) || Number(hour) > 23) {
    throw bad(`${field} is not a date in UTC: ${JSON.stringify(value.slice(0, 60))}`);
  }
  return at;
}

function words(value: string | undefined): string[] {
  return (value ?? '').split(/\s+/).filter((word) => word !== '');
}
