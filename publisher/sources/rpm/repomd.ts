// Reads repomd.xml, the root of an RPM repository: which metadata files there are, with their sums. Format: createrepo_c,
// xml_dump_repomd.c.
import { fault, SOURCE_LIMITS } from '../faults.ts';
import { isPlainPath } from '../paths.ts';
import { readXml } from './xml.ts';

/** One metadata file. */
export interface RepomdEntry {
  readonly type: string;
  /** Relative to the repository's root. */
  readonly path: string;
  readonly sha256: string;
  readonly size: number;
  /** Of the unpacked file, where the vendor says it. */
  readonly plain: { readonly sha256: string; readonly size: number | null } | null;
  /** Seconds. */
  readonly timestamp: number;
}

export interface Repomd {
  readonly revision: string;
  /** The latest date of its files (or a numeric revision, which is one too), in ms: what an older state is told by. */
  readonly date: number;
  /** By type. */
  readonly entries: ReadonlyMap<string, RepomdEntry>;
}

/** The metadata that travels to hosts, because dnf asks for it; `other` (changelogs) and databases stay behind. */
export const CARRIED = ['primary', 'filelists', 'updateinfo', 'modules', 'group', 'group_gz', 'prestodelta'] as const;

interface Draft {
  type: string;
  path?: string;
  sha256?: string;
  openSha256?: string;
  size?: number;
  openSize?: number;
  timestamp?: number;
}

/** @throws source.malformed, source.weak-hash, source.missing-index */
export async function parseRepomd(bytes: Uint8Array, where: string): Promise<Repomd> {
  const bad = (says: string) => fault('malformed', `${where}: ${says}`, { where });
  const entries = new Map<string, RepomdEntry>();
  let revision = '';
  let draft: Draft | undefined;
  let sumType = '';
  async function* whole() {
    yield bytes;
  }
  await readXml(whole(), where, {
    open({ name, attributes }, path) {
      if (path.length === 1 && name !== 'repomd') throw bad(`is <${name}>, not <repomd>`);
      if (path.length === 2 && name === 'data') draft = { type: attributes['type'] ?? '' };
      if (draft === undefined || path.length !== 3) return;
      if (name === 'checksum' || name === 'open-checksum') sumType = attributes['type'] ?? '';
      if (name === 'location') {
        if (attributes['xml:base'] !== undefined) throw bad(`${draft.type} lies on another server`);
        draft.path = attributes['href'] ?? '';
      }
    },
    close(name, text, path) {
      if (path.length === 2 && name === 'revision') revision = text.slice(0, 200);
      if (path.length === 2 && name === 'data' && draft !== undefined) {
        const entry = finish(draft, where);
        if (entries.has(entry.type)) throw bad(`lists ${entry.type} twice`);
        if (entries.size >= SOURCE_LIMITS.metadataFiles) throw bad(`lists more than ${SOURCE_LIMITS.metadataFiles} files`);
        entries.set(entry.type, entry);
        draft = undefined;
      }
      if (draft === undefined || path.length !== 3) return;
      if (name === 'checksum' && sumType === 'sha256') draft.sha256 = text;
      else if (name === 'open-checksum' && sumType === 'sha256') draft.openSha256 = text;
      else if (name === 'size') draft.size = number(text, bad);
      else if (name === 'open-size') draft.openSize = number(text, bad);
      else if (name === 'timestamp') draft.timestamp = Math.floor(Number(text) || 0);
    },
  });
  if (!entries.has('primary')) throw fault('missing-index', `${where}: lists no primary metadata`, { where });
  const dates = [...entries.values()].map(({ timestamp }) => timestamp);
  if (/^\d{9,11}$/.test(revision)) dates.push(Number(revision));
  return { revision, date: Math.max(0, ...dates) * 1000, entries };
}

function number(text: string, bad: (says: string) => Error): number {
  if (!/^\d{1,15}$/.test(text)) throw bad(`has the size ${JSON.stringify(text.slice(0, 40))}`);
  return Number(text);
}

function finish(draft: Draft, where: string): RepomdEntry {
  const { type, path, sha256, size } = draft;
  const bad = (says: string) => fault('malformed', `${where}: ${says}`, { where });
  if (!/^[A-Za-z0-9_.-]{1,60}$/.test(type)) throw bad(`names a kind of metadata ${JSON.stringify(type.slice(0, 60))}`);
  if (path === undefined || !isPlainPath(path)) throw bad(`${type} lies outside of the repository`);
  if (sha256 === undefined) throw fault('weak-hash', `${where}: ${type} has no SHA-256 sum`, { where });
  if (!/^[0-9a-f]{64}$/.test(sha256)) throw bad(`${type} has a sum that is none`);
  if (size === undefined) throw bad(`${type} has no size`);
  const { openSha256 } = draft;
  if (openSha256 !== undefined && !/^[0-9a-f]{64}$/.test(openSha256)) throw bad(`${type} has an open sum that is none`);
  if (size > SOURCE_LIMITS.indexBytes || (draft.openSize ?? 0) > SOURCE_LIMITS.indexPlainBytes) {
    throw fault('too-large', `${where}: ${type} has ${size} bytes, ${draft.openSize ?? '?'} unpacked`, { where });
  }
  const plain = openSha256 === undefined ? null : { sha256: openSha256, size: draft.openSize ?? null };
  return { type, path, sha256, size, plain, timestamp: draft.timestamp ?? 0 };
}
