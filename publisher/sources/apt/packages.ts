// Reads a Packages index as it streams in: one binary package a stanza (deb822(5)). Pure but for the stream it is given.
import { fault, SOURCE_LIMITS } from '../faults.ts';
import { isPlainPath, plainLine } from '../paths.ts';

/** One binary package of the vendor, with what this project needs of it; every field is checked. */
export interface BinaryPackage {
  readonly name: string;
  readonly version: string;
  readonly arch: string;
  readonly source: string;
  readonly sourceVersion: string;
  readonly sha256: string;
  readonly size: number;
  /** Relative to the repository's root. */
  readonly path: string;
  readonly section: string;
  readonly priority: string;
  /** First line of the description. */
  readonly summary: string;
}

const NAME = /^[A-Za-z0-9][A-Za-z0-9.+_-]{0,199}$/;
const VERSION = /^[A-Za-z0-9.+~:^_-]{1,200}$/;
const SOURCE = /^(\S+)(?:\s+\((\S+)\))?$/;
const WANTED = new Set([
  'package',
  'version',
  'architecture',
  'source',
  'sha256',
  'size',
  'filename',
  'section',
  'priority',
  'description',
]);

/**
 * Calls `take` for every package of the index. Memory is bounded by one stanza.
 * @param architectures a package of any other one (but `all`) is refused: the index is not the one that was asked for.
 * @throws source.malformed with the number of the stanza; source.too-large; what `take` throws
 */
export async function readPackages(
  chunks: AsyncIterable<Uint8Array>,
  architectures: readonly string[],
  where: string,
  take: (found: BinaryPackage) => void,
): Promise<number> {
  const decoder = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true });
  let rest = '';
  let stanzas = 0;
  const feed = (text: string, last: boolean) => {
    rest += text;
    let from = 0;
    for (;;) {
      let end = rest.indexOf('\n\n', from);
      if (end < 0 && last) end = rest.length;
      if (end < 0) break;
      const stanza = rest.slice(from, end);
      from = end + 2;
      if (stanza.trim() !== '') {
        stanzas += 1;
        take(parseStanza(stanza, architectures, `${where}, stanza ${stanzas}`));
      }
      if (from >= rest.length) break;
    }
    rest = rest.slice(from);
    if (rest.length > SOURCE_LIMITS.stanzaChars) {
      throw fault('too-large', `${where}: stanza ${stanzas + 1} is longer than ${SOURCE_LIMITS.stanzaChars} characters`, {
        where,
      });
    }
  };
  const decode = (chunk?: Uint8Array): string => {
    try {
      return chunk === undefined ? decoder.decode() : decoder.decode(chunk, { stream: true });
    } catch (cause) {
      throw fault('malformed', `${where}: is not UTF-8 behind stanza ${stanzas}`, { where, cause });
    }
  };
  for await (const chunk of chunks) feed(decode(chunk), false);
  feed(decode(), true);
  return stanzas;
}

/** One stanza. @throws source.malformed */
export function parseStanza(stanza: string, architectures: readonly string[], where: string): BinaryPackage {
  const bad = (says: string) => fault('malformed', `${where}: ${says}`, { where });
  if (stanza.length > SOURCE_LIMITS.stanzaChars) throw fault('too-large', `${where}: is too long`, { where });
  const fields = readFields(stanza, bad);
  const need = (field: string, pattern: RegExp): string => {
    const value = fields.get(field);
    if (value === undefined) throw bad(`has no ${field}`);
    if (!pattern.test(value)) throw bad(`has the wrong ${field} ${JSON.stringify(value.slice(0, 120))}`);
    return value;
  };
  const name = need('package', NAME);
  const version = need('version', VERSION);
  const arch = need('architecture', /^[a-z0-9-]{1,40}$/);
  if (arch !== 'all' && !architectures.includes(arch)) throw bad(`${name} is for ${arch}, not for ${architectures.join(', ')}`);
  const size = Number(need('size', /^(?:0|[1-9]\d{0,14})$/));
  if (size > SOURCE_LIMITS.payloadBytes) throw fault('too-large', `${where}: ${name} has ${size} bytes`, { where });
  const path = need('filename', /^\S{1,1024}$/).replace(/^(?:\.\/)+/, '');
  if (!isPlainPath(path)) throw bad(`${name} lies outside of the repository: ${JSON.stringify(path.slice(0, 120))}`);
  const [, source = name, sourceVersion = version] = SOURCE.exec(fields.get('source') ?? name) ?? ['', ''];
  if (!NAME.test(source) || !VERSION.test(sourceVersion)) throw bad(`${name} has a wrong source`);
  return {
    name,
    version,
    arch,
    source,
    sourceVersion,
    sha256: need('sha256', /^[0-9a-f]{64}$/),
    size,
    path,
    section: plainLine(fields.get('section'), 100),
    priority: plainLine(fields.get('priority'), 40),
    summary: plainLine(fields.get('description'), 300),
  };
}

/** The wanted fields by lower-case name (field names are case-insensitive, Debian policy 5.1); first lines only. */
function readFields(stanza: string, bad: (says: string) => Error): Map<string, string> {
  const fields = new Map<string, string>();
  let from = 0;
  let first = true;
  while (from < stanza.length) {
    let end = stanza.indexOf('\n', from);
    if (end < 0) end = stanza.length;
    const lead = stanza.charCodeAt(from);
    if (lead === 32 || lead === 9) {
      if (first) throw bad('starts with a continued line');
    } else if (end > from) {
      const colon = stanza.indexOf(':', from);
      if (colon < 0 || colon >= end || colon === from || colon - from > 100) throw bad('has a line that is no field');
      const field = stanza.slice(from, colon).toLowerCase();
      if (WANTED.has(field)) {
        if (fields.has(field)) throw bad(`has the field ${field} twice`);
        fields.set(field, stanza.slice(colon + 1, end).trim());
      }
      first = false;
    }
    from = end + 1;
  }
  return fields;
}
