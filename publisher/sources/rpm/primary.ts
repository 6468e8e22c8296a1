// Reads primary.xml as it streams in: one package after the other, every field checked. Format: createrepo_c, xml_dump_primary.c.
import { fault, SOURCE_LIMITS } from '../faults.ts';
import { isPlainPath, plainLine } from '../paths.ts';
import { readXml } from './xml.ts';

/** One binary package of the vendor, with what this project needs of it. */
export interface RpmPackage {
  readonly name: string;
  /** `[epoch:]version-release`; an epoch of 0 is not written. */
  readonly version: string;
  readonly epoch: string;
  readonly arch: string;
  readonly source: string;
  readonly sourceVersion: string;
  readonly sha256: string;
  readonly size: number;
  /** Relative to the repository's root; empty where it lies on another server (`xml:base`). */
  readonly path: string;
  readonly summary: string;
  readonly group: string;
  /** When it was built, in seconds; 0 when nothing tells. */
  readonly built: number;
}

interface Draft {
  name?: string;
  arch?: string;
  epoch?: string;
  version?: string;
  release?: string;
  sumType?: string;
  sum?: string;
  size?: string;
  path?: string;
  base?: string;
  summary?: string;
  group?: string;
  sourceRpm?: string;
  built?: string;
}

const NAME = /^[A-Za-z0-9_][A-Za-z0-9.+_-]{0,199}$/;
const PART = /^[A-Za-z0-9.+~^_]{1,190}$/;

/** Calls `take` for every binary package. Memory is bounded by one. @throws source.malformed, source.weak-hash, source.too-large */
export async function readPrimary(
  chunks: AsyncIterable<Uint8Array>,
  where: string,
  take: (found: RpmPackage) => void,
): Promise<number> {
  let draft: Draft | undefined;
  let count = 0;
  await readXml(chunks, where, {
    open({ name, attributes }, path) {
      if (path.length === 1 && name !== 'metadata')
        throw fault('malformed', `${where} is <${name}>, not <metadata>`, { where });
      if (path.length === 2 && name === 'package' && attributes['type'] === 'rpm') draft = {};
      if (draft === undefined || path.length !== 3) return;
      if (name === 'version') {
        draft.epoch = attributes['epoch'] ?? '0';
        draft.version = attributes['ver'] ?? '';
        draft.release = attributes['rel'] ?? '';
      } else if (name === 'checksum') draft.sumType = attributes['type'] ?? '';
      else if (name === 'size') draft.size = attributes['package'] ?? '';
      else if (name === 'time') draft.built = attributes['build'] ?? '';
      else if (name === 'location') {
        draft.path = attributes['href'] ?? '';
        if (attributes['xml:base'] !== undefined) draft.base = attributes['xml:base'];
      }
    },
    close(name, text, path) {
      if (draft === undefined) return;
      if (path.length === 3) {
        if (name === 'name' || name === 'arch' || name === 'summary') draft[name] = text;
        else if (name === 'checksum') draft.sum = text;
      } else if (path.length === 4 && name === 'sourcerpm') draft.sourceRpm = text;
      else if (path.length === 4 && name === 'group') draft.group = text;
      if (path.length !== 2) return;
      const done = draft;
      draft = undefined;
      count += 1;
      if (done.arch === 'src' || done.arch === 'nosrc') return;
      take(finish(done, `${where}, package ${count}`));
    },
  });
  return count;
}

function finish(draft: Draft, where: string): RpmPackage {
  const bad = (says: string) => fault('malformed', `${where}: ${says}`, { where });
  const need = (value: string | undefined, what: string, pattern: RegExp): string => {
    if (value === undefined || value === '') throw bad(`has no ${what}`);
    if (!pattern.test(value)) throw bad(`has the wrong ${what} ${JSON.stringify(value.slice(0, 120))}`);
    return value;
  };
  const name = need(draft.name, 'name', NAME);
  const epoch = need(draft.epoch, 'epoch', /^\d{1,9}$/).replace(/^0+(?=\d)/, '');
  const evr = `${need(draft.version, 'version', PART)}-${need(draft.release, 'release', PART)}`;
  if (draft.sumType !== 'sha256') throw fault('weak-hash', `${where}: ${name} has a ${draft.sumType ?? 'no'} sum`, { where });
  const size = Number(need(draft.size, 'size', /^(?:0|[1-9]\d{0,14})$/));
  if (size > SOURCE_LIMITS.payloadBytes) throw fault('too-large', `${where}: ${name} has ${size} bytes`, { where });
  const elsewhere = draft.base !== undefined;
  const path = elsewhere ? '' : (draft.path ?? '').replace(/^(?:\.\/)+/, '');
  if (!elsewhere && !isPlainPath(path))
    throw bad(`${name} lies outside of the repository: ${JSON.stringify(path.slice(0, 120))}`);
  const withEpoch = (text: string) => (epoch === '0' ? text : `${epoch}:${text}`);
  const source = /^([A-Za-z0-9][A-Za-z0-9.+_-]*)-([A-Za-z0-9.+~^_]+-[A-Za-z0-9.+~^_]+)\.(?:no)?src\.rpm$/.exec(
    draft.sourceRpm ?? '',
  );
  return {
    name,
    epoch,
    version: withEpoch(evr),
    arch: need(draft.arch, 'arch', /^[a-z0-9_]{1,40}$/),
    source: source?.[1] ?? name,
    sourceVersion: withEpoch(source?.[2] ?? evr),
    sha256: need(draft.sum, 'sum', /^[0-9a-f]{64}$/),
    size,
    path,
    summary: plainLine(draft.summary, 300),
    group: draft.group === 'Unspecified' ? '' : plainLine(draft.group, 100),
    built: /^\d{1,11}$/.test(draft.built ?? '') ? Number(draft.built) : 0,
  };
}
