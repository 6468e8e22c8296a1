// Verified copies of the signed documents this host decides from, on its own disk: by hash, with a list of those that belong
// together. So that a host decides offline, and from one consistent state even when a poll broke off half-way.
import * as fs from 'node:fs';
import { join } from 'node:path';
import { isSea } from 'node:sea';
import { zstdDecompressSync } from 'node:zlib';
import { readStop, siteRecipients } from '#manifests/decide';
import { isFault } from '#manifests/errors';
import { readFileBounded, removeTemporaries, writeFileAtomic } from '#manifests/platform/files';
import {
  type Ack,
  type Catalog,
  canonicalJson,
  DOCUMENT_LIMITS,
  type DocumentKind,
  type DocumentOf,
  decodeDocument,
  type Group,
  type ResolvedBaseline,
  type Roster,
  type RosterAgent,
  type SignedDelegation,
  type SignedHalt,
  type SignedOverlay,
  type SignedRecall,
  type SignedWaiver,
  sha256Of,
  type WaiverAnswer,
} from '#manifests/schema';
import { checkBoxKey, ENVELOPE_LIMITS } from '#manifests/trust';
import { fault } from './faults.ts';
import { openSiteHalts, type SiteHalts } from './site-halts.ts';

/** The documents of one sync. `path` is the target path, `catalogs/debian-12.json.zst`. */
export type DocumentList = readonly { readonly path: string; readonly sha256: string }[];

export const ROSTER_PATH = 'roster/roster.json.zst';
export const ACKS_PATH = 'roster/acks.json.zst';
export const groupPath = (name: string) => `policy/groups/${name}.json.zst`;
export const baselinePath = (name: string) => `policy/baselines/${name}.json.zst`;
export const catalogPath = (product: string) => `catalogs/${product}.json.zst`;

/** Under these lie documents that every host takes: small, and each says itself whom it is about. */
export const HALTS = 'halts/';
export const RECALLS = 'policy/recalls/';
export const WAIVERS = 'waivers/';
/** What became of requests; fetched by hosts that asked. */
export const ANSWERS_PATH = 'answers/waivers.json.zst';
export const delegationPath = (site: string) => `policy/sites/${site}.json.zst`;
export const overlayPath = (site: string) => `sites/${site}/overlay.json.zst`;

/** What the signed documents say about this host. */
export interface PolicyView {
  /** This host's entry in the roster; null while nobody has approved it. */
  readonly member: RosterAgent | null;
  readonly standing: 'approved' | 'revoked' | 'unknown';
  /** A document that was torn or is gone: until the next sync has fetched it again, nothing is known. */
  readonly damaged: string | null;
  /** Box keys that results are sealed to: the publisher's, and relays of the site where policy lets them count failures. */
  readonly recipients: readonly string[];
  readonly group: Group | null;
  readonly baselines: readonly ResolvedBaseline[];
  readonly catalogs: readonly Catalog[];
  readonly ack: Ack | null;
  /** In force or not: whom and until when is for the decision. */
  readonly halts: readonly SignedHalt[];
  readonly recalls: readonly SignedRecall[];
  readonly waivers: readonly SignedWaiver[];
  /** To requests of this host. */
  readonly answers: readonly WaiverAnswer[];
  /** What this host's site may do and does; null when it has none. */
  readonly site: { readonly delegation: SignedDelegation; readonly overlay: SignedOverlay } | null;
  readonly delegation: SignedDelegation | null;
  /** Hashes of the documents as they lie on the disk. */
  readonly catalogDocuments: readonly string[];
  readonly baselineDocuments: readonly { readonly name: string; readonly product: string; readonly sha256: string }[];
}

const EMPTY_VIEW: PolicyView = {
  member: null,
  standing: 'unknown',
  damaged: null,
  recipients: [],
  group: null,
  baselines: [],
  catalogs: [],
  ack: null,
  halts: [],
  recalls: [],
  waivers: [],
  answers: [],
  site: null,
  delegation: null,
  catalogDocuments: [],
  baselineDocuments: [],
};

export interface DocumentStore {
  /** Folder of what has arrived of documents that a cut has kept from being whole. */
  readonly parts: string;
  /** Bytes of a document by hash, checked; undefined when it is not here. */
  bytes(sha256: string): Uint8Array | undefined;
  put(sha256: string, bytes: Uint8Array): void;
  /** Whether there is a file under this hash; its bytes are checked when it is read. */
  has(sha256: string): boolean;
  /** A document, decoded; the last ones stay decoded. @throws poll.document-missing, document.* */
  read<K extends DocumentKind>(kind: K, sha256: string, path: string): DocumentOf<K>;
  /** What lies under `halts/`, of whichever of the two kinds. @throws poll.document-missing, recall.beyond-halts, document.* */
  readStop(sha256: string, path: string): ReturnType<typeof readStop>;
  /** The documents of the last whole sync. */
  current(): DocumentList;
  /** Makes these the current ones, and drops what neither they nor `keep` name. */
  setCurrent(list: DocumentList, keep: readonly string[]): void;
  view(agent: string | null): PolicyView;
  /** Halts that the site signs by itself. */
  readonly siteHalts: SiteHalts;
}

const LIST_BYTES = 1024 * 1024;

/**
 * Which program checked the current documents against their schemas. The very same standalone program need not do it again
 * (a third of what a scan costs): their hashes still are checked at each read. Null where code can change between two starts.
 */
function readerOf(): string | null {
  if (!isSea()) return null;
  const { size, mtimeMs } = fs.statSync(process.execPath);
  return `${process.version} ${size} ${mtimeMs}`;
}

export function openDocuments(folder: string): DocumentStore {
  const listFile = join(folder, 'current.json');
  const reader = readerOf();
  const siteHalts = openSiteHalts(folder);
  const decoded = new Map<string, unknown>();
  const pathOf = (sha256: string) => join(folder, sha256);

  const bytes = (sha256: string): Uint8Array | undefined => {
    const found = readFileBounded(pathOf(sha256), DOCUMENT_LIMITS.plainBytes);
    return found !== undefined && sha256Of(found) === sha256 ? found : undefined; // torn or changed on disk: as if absent
  };
  const read = <K extends DocumentKind>(kind: K, sha256: string, path: string): DocumentOf<K> => {
    const known = decoded.get(sha256);
    if (known !== undefined) return known as DocumentOf<K>;
    const found = bytes(sha256);
    if (found === undefined) {
      fs.rmSync(pathOf(sha256), { force: true }); // so that the next sync sees that it has to fetch it
      throw fault('document-missing', `${path} is not on this host any more`, { where: pathOf(sha256) });
    }
    const value =
      reader !== null && currentFile().checkedBy === reader
        ? (JSON.parse(
            zstdDecompressSync(found, { maxOutputLength: DOCUMENT_LIMITS.plainBytes }).toString('utf8'),
          ) as DocumentOf<K>)
        : decodeDocument(kind, found, path);
    decoded.set(sha256, value);
    return value;
  };
  const stopOf = (sha256: string, path: string): ReturnType<typeof readStop> => {
    const found = bytes(sha256);
    if (found === undefined) {
      fs.rmSync(pathOf(sha256), { force: true });
      throw fault('document-missing', `${path} is not on this host any more`, { where: pathOf(sha256) });
    }
    return readStop(found, path);
  };
  const currentFile = (): { documents: DocumentList; checkedBy: string | null } => {
    const found = readFileBounded(listFile, LIST_BYTES);
    if (found === undefined) return { documents: [], checkedBy: null };
    try {
      const value = JSON.parse(Buffer.from(found).toString('utf8')) as { documents?: DocumentList; checkedBy?: string };
      return { documents: Array.isArray(value.documents) ? value.documents : [], checkedBy: value.checkedBy ?? null };
    } catch {
      return { documents: [], checkedBy: null }; // torn: the next sync writes it anew
    }
  };
  const current = (): DocumentList => currentFile().documents;

  return {
    parts: join(folder, '.partial'),
    bytes,
    read,
    readStop: stopOf,
    current,
    siteHalts,
    has: (sha256) => fs.existsSync(pathOf(sha256)),
    put: (sha256, data) => writeFileAtomic(pathOf(sha256), data, { mode: 0o600 }),
    setCurrent(list, keep) {
      const before = currentFile();
      const sorted = list.toSorted((a, b) => (a.path < b.path ? -1 : 1));
      if (canonicalJson(sorted) !== canonicalJson(before.documents) || before.checkedBy !== reader) {
        const file = canonicalJson({ schemaVersion: 1, checkedBy: reader, documents: sorted });
        writeFileAtomic(listFile, `${file}\n`, { mode: 0o600 });
      }
      const wanted = new Set([...list.map(({ sha256 }) => sha256), ...keep]);
      for (const sha256 of decoded.keys()) if (!wanted.has(sha256)) decoded.delete(sha256);
      removeTemporaries(folder);
      for (const name of fs.existsSync(folder) ? fs.readdirSync(folder) : []) {
        if (/^[0-9a-f]{64}$/.test(name) && !wanted.has(name)) fs.rmSync(join(folder, name), { force: true });
      }
    },
    view(agent) {
      try {
        return viewOf(agent);
      } catch (error) {
        if (isFault(error, 'poll.document-missing')) return { ...EMPTY_VIEW, damaged: error.message };
        throw error;
      }
    },
  };

  function siteOf(site: string | undefined): Pick<PolicyView, 'site' | 'delegation'> {
    const list = current();
    const hashOf = (path: string) => list.find((entry) => entry.path === path)?.sha256;
    const [delegated, overlaid] = site === undefined ? [] : [hashOf(delegationPath(site)), hashOf(overlayPath(site))];
    if (site === undefined || delegated === undefined) return { site: null, delegation: null };
    const delegation = read('site-delegation', delegated, delegationPath(site));
    if (overlaid === undefined) return { site: null, delegation };
    return { site: { delegation, overlay: read('site-overlay', overlaid, overlayPath(site)) }, delegation };
  }

  function viewOf(agent: string | null): PolicyView {
    const list = current();
    const hashOf = (path: string) => list.find((entry) => entry.path === path)?.sha256;
    const rosterHash = hashOf(ROSTER_PATH);
    if (rosterHash === undefined) return EMPTY_VIEW;
    const roster = read('roster', rosterHash, ROSTER_PATH);
    const entry = roster.agents.find(({ id }) => id === agent);
    const member = entry?.status === 'approved' ? entry : null;
    const acksHash = hashOf(ACKS_PATH);
    const ack = acksHash === undefined ? undefined : read('acks', acksHash, ACKS_PATH).acks.find((one) => one.agent === agent);
    const named = <K extends DocumentKind>(kind: K, prefix: string) =>
      list.flatMap(({ path, sha256 }) => (path.startsWith(prefix) ? [{ value: read(kind, sha256, path), sha256 }] : []));
    const baselines = named('resolved-baseline', 'policy/baselines/');
    const catalogs = named('catalog', 'catalogs/');
    const stops = list.flatMap(({ path, sha256 }) => (path.startsWith(HALTS) ? [stopOf(sha256, path)] : []));
    const { site, delegation } = siteOf(member?.site);
    const groupHash = member === null ? undefined : hashOf(groupPath(member.group));
    return {
      member,
      standing: entry?.status ?? 'unknown',
      damaged: null,
      recipients: recipientsOf(roster, delegation),
      group: member === null || groupHash === undefined ? null : read('group', groupHash, groupPath(member.group)),
      baselines: baselines.map(({ value }) => value),
      catalogs: catalogs.map(({ value }) => value),
      ack: ack ?? null,
      halts: [...stops.flatMap((stop) => (stop.kind === 'halt' ? [stop.halt] : [])), ...siteHalts.inForce(delegation)],
      recalls: [
        ...stops.flatMap((stop) => (stop.kind === 'recall' ? [stop.recall] : [])),
        ...named('recall', RECALLS).map(({ value }) => value),
      ],
      waivers: named('waiver', WAIVERS).map(({ value }) => value),
      answers: named('waiver-answers', ANSWERS_PATH).flatMap(({ value }) => value.answers.filter((one) => one.agent === agent)),
      site,
      delegation,
      catalogDocuments: catalogs.map(({ sha256 }) => sha256),
      baselineDocuments: baselines.map(({ value, sha256 }) => ({ name: value.name, product: value.product, sha256 })),
    };
  }
}

/** The publisher's keys first; a site's key that no seal can be made to is left out, so that no result is held up by it. */
function recipientsOf({ recipients }: Roster, delegation: SignedDelegation | null): readonly string[] {
  const own = recipients.map(({ boxKey }) => boxKey);
  const sites = siteRecipients(delegation).filter((key) => {
    try {
      checkBoxKey(key);
      return !own.includes(key);
    } catch {
      return false;
    }
  });
  return [...own, ...new Set(sites)].slice(0, ENVELOPE_LIMITS.recipients);
}
