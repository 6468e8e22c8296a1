// An RPM repository as a source. The order of the checks is the table in ../README.md; nothing is believed before its check.
import { isFault } from '#manifests/errors';
import { utcSeconds } from '#manifests/platform/clock';
import { readFileBounded } from '#manifests/platform/files';
import type { PayloadSource, PayloadStore } from '#manifests/repository';
import { type ContentRef, canonicalJson, sha256Of, type VendorRepository } from '#manifests/schema';
import type { SourceKindImplementation, SourceSettings, SourceSync, SyncOptions, VendorOrigin } from '../api.ts';
import { fault, SOURCE_LIMITS } from '../faults.ts';
import { readKeyring, verifyDetached } from '../openpgp.ts';
import { folderOf, withOrigin } from '../origin.ts';
import { plainBytes } from './metadata.ts';
import { readModules } from './modules.ts';
import { collectRpms } from './patches.ts';
import { readPrimary } from './primary.ts';
import { CARRIED, parseRepomd, type Repomd, type RepomdEntry } from './repomd.ts';
import { type RpmState, readState, writeState } from './state.ts';
import { readUpdateInfo } from './updateinfo.ts';

const REPOMD = 'repodata/repomd.xml';

interface RpmSettings {
  readonly keyring: string;
  readonly architectures: readonly string[];
  readonly signed: boolean;
}

export const rpm: SourceKindImplementation = {
  checkSettings: (settings) => void rpmSettings(settings),
  sync: (settings, options) => withOrigin(settings, options, (origin) => sync(settings, origin, options)),
};

async function sync(settings: SourceSettings, origin: VendorOrigin, options: SyncOptions): Promise<SourceSync> {
  const { payloads, clock, signal } = options;
  const own = rpmSettings(settings);
  const keys = await readKeyring(keyringBytes(own.keyring), own.keyring);
  const where = `${origin.name}/${REPOMD}`;
  const before = readState(options.folder);

  const fetched = await fetchRoot(origin, own, before, settings, payloads, signal);
  const signers =
    fetched.signature === null ? [] : await verifyDetached(fetched.bytes, fetched.signature, keys, clock.now(), `${where}.asc`);
  const repomd = await parseRepomd(fetched.bytes, where);
  checkDate(repomd, before, settings.url, clock.now(), where);
  const entries = CARRIED.flatMap((type) => repomd.entries.get(type) ?? []);
  let seen = 0;
  for (const entry of entries) {
    await fetchMetadata(entry, origin, payloads, {
      signal,
      onBytes: (bytes) => {
        seen += bytes;
        options.progress?.at(seen, entry.path);
      },
    });
  }

  const collected = collectRpms(settings.name, own.architectures, where);
  const [primary, updateinfo] = ['primary', 'updateinfo'].map((type) => repomd.entries.get(type));
  if (primary !== undefined)
    await readPrimary(plainBytes(primary, payloads, origin.name), `${origin.name}/${primary.path}`, (item) =>
      collected.take(item),
    );
  let advisories = 0;
  if (updateinfo !== undefined) {
    const name = `${origin.name}/${updateinfo.path}`;
    advisories = await readUpdateInfo(plainBytes(updateinfo, payloads, origin.name), name, (item) => collected.advise(item));
  }
  const modules = repomd.entries.get('modules');
  let streams = 0;
  if (modules !== undefined) {
    const name = `${origin.name}/${modules.path}`;
    streams = await readModules(plainBytes(modules, payloads, origin.name), name, (stream) => collected.assign(stream));
  }
  signal.throwIfAborted();

  const root = await keep(payloads, fetched.bytes);
  const signature = fetched.signature === null ? null : await keep(payloads, fetched.signature);
  const digest = settingsDigest(settings, own);
  const same = before?.repomd.sha256 === root.sha256 && before.signature?.sha256 === signature?.sha256;
  const changed = !same || before.settings !== digest;
  const state: RpmState = {
    schema: 'patchferry/rpm-source-state',
    schemaVersion: 1,
    url: settings.url,
    date: utcSeconds(repomd.date),
    repomd: root,
    signature,
    etag: fetched.etag ?? null,
    settings: digest,
    syncedAt: same ? before.syncedAt : utcSeconds(clock.now()),
  };
  if (changed || before.etag !== state.etag || before.url !== state.url) writeState(options.folder, state);

  const patches = collected.patches();
  const repository: VendorRepository = {
    name: settings.name,
    format: 'rpm',
    suite: '',
    components: [],
    architectures: [...own.architectures],
    indexes: [
      { ...root, path: REPOMD },
      ...(signature === null ? [] : [{ ...signature, path: `${REPOMD}.asc` }]),
      ...entries.map(({ sha256, size, path }) => ({ sha256, size, path })),
    ],
    syncedAt: state.syncedAt,
  };
  const left = [
    streams === 0 ? '' : `, ${streams} builds of module streams`,
    collected.retracted() === 0 ? '' : `, ${collected.retracted()} retracted packages left out`,
    collected.elsewhere() === 0 ? '' : `, ${collected.elsewhere()} of other servers (xml:base) left out`,
  ].join('');
  const by =
    signers.length === 0
      ? 'not signed by the vendor, as settings allow'
      : `signed by ${signers.map(({ fingerprint }) => fingerprint.slice(-16).toUpperCase()).join(', ')}`;
  const says = changed
    ? `${settings.name}: metadata of ${state.date}, ${collected.count()} packages in ${patches.length} patches, ${advisories} advisories${left}, ${by}`
    : `${settings.name}: nothing new since ${state.date}`;
  return { changed, says, repository, patches };
}

interface Root {
  readonly bytes: Uint8Array;
  readonly signature: Uint8Array | null;
  readonly etag: string | undefined;
}

/** repomd.xml and its signature as the vendor has them now; when nothing changed, those accepted before. */
async function fetchRoot(
  origin: VendorOrigin,
  own: RpmSettings,
  before: RpmState | undefined,
  settings: SourceSettings,
  payloads: PayloadStore,
  signal: AbortSignal,
): Promise<Root> {
  const kept = before?.url === settings.url ? readKept(before, own, payloads) : undefined;
  const etag = kept === undefined ? undefined : (before?.etag ?? undefined);
  const got = await origin.fetchSmall(REPOMD, { limitBytes: SOURCE_LIMITS.repomdBytes, etag, signal });
  if (got.kind === 'unchanged' && kept !== undefined) return { ...kept, etag };
  const where = `${origin.name}/${REPOMD}`;
  if (got.kind !== 'found') {
    throw fault('missing', `${where} is not there`, { where, next: 'Correct `url`: the folder that holds `repodata/`.' });
  }
  const asc = await origin.fetchSmall(`${REPOMD}.asc`, { limitBytes: SOURCE_LIMITS.signatureBytes, signal });
  if (asc.kind === 'found') return { bytes: got.bytes, signature: asc.bytes, etag: got.etag };
  if (!own.signed) return { bytes: got.bytes, signature: null, etag: got.etag };
  throw fault('unsigned', `${where}.asc is not there`, {
    where: `${where}.asc`,
    next: 'Nothing was believed. If this vendor signs its packages and not its metadata, say so with `unsignedMetadata: true`.',
  });
}

/** What was accepted last, when all of it is here unharmed. */
function readKept(before: RpmState, own: RpmSettings, payloads: PayloadStore): Omit<Root, 'etag'> | undefined {
  const read = (ref: ContentRef, limit: number) => {
    const bytes = readFileBounded(payloads.pathOf(ref.sha256), limit);
    return bytes !== undefined && sha256Of(bytes) === ref.sha256 ? bytes : undefined;
  };
  if (before.signature === null && own.signed) return undefined; // the settings became stricter: ask for the signature
  const bytes = read(before.repomd, SOURCE_LIMITS.repomdBytes);
  const signature = before.signature === null ? null : read(before.signature, SOURCE_LIMITS.signatureBytes);
  return bytes === undefined || signature === undefined ? undefined : { bytes, signature };
}

/** @throws source.future, source.rollback */
function checkDate(repomd: Repomd, before: RpmState | undefined, url: string, now: number, where: string): void {
  if (repomd.date > now + SOURCE_LIMITS.futureMs) {
    throw fault('future', `${where}: is dated ${utcSeconds(repomd.date)}, it is ${utcSeconds(now)} here`, { where });
  }
  if (before?.url === url && repomd.date < Date.parse(before.date)) {
    throw fault('rollback', `${where}: is dated ${utcSeconds(repomd.date)}, ${before.date} was accepted before`, { where });
  }
}

/** Gets one metadata file into the payload store, unless it is there. */
async function fetchMetadata(
  entry: RepomdEntry,
  origin: VendorOrigin,
  payloads: PayloadStore,
  options: { signal: AbortSignal; onBytes: (bytes: number) => void },
): Promise<void> {
  const from: PayloadSource = { download: (_, want, to, more) => origin.download(entry.path, want, to, more) };
  const where = `${origin.name}/${entry.path}`;
  try {
    await payloads.fetch(from, entry, options);
  } catch (cause) {
    if (isFault(cause, 'transfer.missing')) {
      throw fault('index-hash', `${where} is listed in repomd.xml and not there`, { where, cause });
    }
    if (isFault(cause, 'transfer.hash', 'transfer.size', 'transfer.too-large')) {
      throw fault('index-hash', `${where} is not the file that repomd.xml names: ${cause.message}`, { where, cause });
    }
    throw cause;
  }
}

async function keep(payloads: PayloadStore, bytes: Uint8Array): Promise<ContentRef> {
  const ref: ContentRef = { sha256: sha256Of(bytes), size: bytes.length };
  async function* once() {
    yield bytes;
  }
  await payloads.put(ref.sha256, ref.size, once());
  return ref;
}

/** @throws source.settings */
function rpmSettings(settings: SourceSettings): RpmSettings {
  const where = `source ${settings.name}`;
  const bad = (says: string) => fault('settings', `${where}: ${says}`, { where });
  const { keyring, architectures = ['x86_64'], unsignedMetadata = false } = settings;
  if (keyring === undefined || keyring === '') throw bad('`keyring` must name the file of the vendor’s public keys');
  const wrong = architectures.find((item) => !/^[a-z0-9_]{1,40}$/.test(item));
  if (wrong !== undefined) throw bad(`${JSON.stringify(wrong)} is no architecture of rpm`);
  if (architectures.length === 0) throw bad('`architectures` must not be empty');
  if (settings.suite !== undefined || settings.components !== undefined) {
    throw bad('`suite` and `components` are of APT; the `url` of an RPM repository is the folder that holds `repodata/`');
  }
  if (unsignedMetadata && folderOf(settings) === undefined && !/^https:/i.test(settings.url)) {
    throw bad('metadata without a signature needs `https:` or a folder: nothing else says whose it is');
  }
  return { keyring, architectures: [...new Set(architectures)], signed: !unsignedMetadata };
}

function settingsDigest(settings: SourceSettings, { architectures, signed }: RpmSettings): string {
  return sha256Of(canonicalJson({ product: settings.product, name: settings.name, architectures, signed }));
}

function keyringBytes(path: string): Uint8Array {
  const bytes = readFileBounded(path, SOURCE_LIMITS.keyringBytes);
  if (bytes === undefined) throw fault('keyring', `${path} is not there`, { where: path });
  return bytes;
}
