// An APT repository as a source. The order of the checks is the table in ../README.md; nothing is believed before its check.
import { createHash } from 'node:crypto';
import * as fs from 'node:fs';
import { isFault } from '#manifests/errors';
import { utcSeconds } from '#manifests/platform/clock';
import { readFileBounded } from '#manifests/platform/files';
import type { PayloadSource, PayloadStore } from '#manifests/repository';
import { type ContentRef, canonicalJson, sha256Of, type VendorRepository } from '#manifests/schema';
import type { SourceKindImplementation, SourceSettings, SourceSync, SyncOptions, VendorOrigin } from '../api.ts';
import { bounded, decompress } from '../compression.ts';
import { fault, SOURCE_LIMITS } from '../faults.ts';
import { readKeyring, verifyCleartext } from '../openpgp.ts';
import { withOrigin } from '../origin.ts';
import { isPlainPath } from '../paths.ts';
import { readPackages } from './packages.ts';
import { classify, collectPatches } from './patches.ts';
import { checkRelease, type IndexPlan, planIndexes } from './plan.ts';
import { parseRelease } from './release.ts';
import { type AptState, readState, writeState } from './state.ts';

interface AptSettings {
  readonly suite: string;
  readonly components: readonly string[];
  readonly architectures: readonly string[];
  readonly keyring: string;
}

export const apt: SourceKindImplementation = {
  checkSettings: (settings) => void aptSettings(settings),
  sync: (settings, options) => withOrigin(settings, options, (origin) => sync(settings, origin, options)),
};

async function sync(settings: SourceSettings, origin: VendorOrigin, options: SyncOptions): Promise<SourceSync> {
  const { payloads, clock, signal } = options;
  const apt = aptSettings(settings);
  const keys = await readKeyring(keyringBytes(apt.keyring), apt.keyring);
  const path = `dists/${apt.suite}/InRelease`;
  const where = `${origin.name}/${path}`;
  const before = readState(options.folder);

  const fetched = await fetchInRelease(origin, path, before, settings, payloads, signal);
  const { text, signers } = await verifyCleartext(fetched.bytes, keys, clock.now(), where);
  const release = parseRelease(text, where);
  checkRelease(release, apt.suite, before, clock.now(), where);
  const indexes = planIndexes(release, apt.suite, apt.components, apt.architectures, where);
  let seen = 0;
  for (const index of indexes) {
    await fetchIndex(index, origin, payloads, {
      signal,
      onBytes: (bytes) => {
        seen += bytes;
        options.progress?.at(seen, index.path);
      },
    });
  }

  const collected = collectPatches(settings.name, classify(release, apt.suite), where);
  for (const index of indexes) await readIndex(index, payloads, apt.architectures, (item) => collected.take(item), origin.name);
  signal.throwIfAborted();

  const inRelease: ContentRef = { sha256: sha256Of(fetched.bytes), size: fetched.bytes.length };
  await payloads.put(inRelease.sha256, inRelease.size, once(fetched.bytes));
  const digest = settingsDigest(settings, apt);
  const same = before?.inRelease.sha256 === inRelease.sha256;
  const changed = !same || before.settings !== digest;
  const state: AptState = {
    schema: 'patchferry/apt-source-state',
    schemaVersion: 1,
    url: settings.url,
    suite: apt.suite,
    codename: release.codename,
    date: utcSeconds(release.date),
    inRelease,
    etag: fetched.etag ?? null,
    settings: digest,
    syncedAt: same ? before.syncedAt : utcSeconds(clock.now()),
  };
  if (changed || before.etag !== state.etag || before.url !== state.url) writeState(options.folder, state);

  const patches = collected.patches();
  const repository: VendorRepository = {
    name: settings.name,
    format: 'apt',
    suite: apt.suite,
    components: [...apt.components],
    architectures: [...apt.architectures],
    indexes: [{ ...inRelease, path }, ...indexes.map(({ sha256, size, path }) => ({ sha256, size, path }))],
    syncedAt: state.syncedAt,
  };
  const of = `${apt.suite} of ${state.date}`;
  const says = changed
    ? `${settings.name}: ${of}, ${collected.count()} packages in ${patches.length} patches, signed by ${signers.map(({ fingerprint }) => fingerprint.slice(-16).toUpperCase()).join(', ')}`
    : `${settings.name}: nothing new since ${of}`;
  return { changed, says, repository, patches };
}

/** The InRelease as the vendor has it now; when the vendor says that nothing changed, the one accepted before. */
async function fetchInRelease(
  origin: VendorOrigin,
  path: string,
  before: AptState | undefined,
  settings: SourceSettings,
  payloads: PayloadStore,
  signal: AbortSignal,
): Promise<{ bytes: Uint8Array; etag: string | undefined }> {
  const known = before?.url === settings.url && before.suite === settings.suite ? before : undefined;
  const kept = known && readFileBounded(payloads.pathOf(known.inRelease.sha256), SOURCE_LIMITS.inReleaseBytes);
  const usable = kept !== undefined && sha256Of(kept) === known?.inRelease.sha256;
  const etag = usable ? (known?.etag ?? undefined) : undefined;
  const got = await origin.fetchSmall(path, { limitBytes: SOURCE_LIMITS.inReleaseBytes, etag, signal });
  if (got.kind === 'found') return { bytes: got.bytes, etag: got.etag };
  if (got.kind === 'unchanged' && kept !== undefined && usable) return { bytes: kept, etag };
  const where = `${origin.name}/${path}`;
  throw fault('missing', `${where} is not there`, { where });
}

/** Gets an index into the payload store, unless it is there: by its hash where the vendor offers that. */
async function fetchIndex(
  index: IndexPlan,
  origin: VendorOrigin,
  payloads: PayloadStore,
  options: { signal: AbortSignal; onBytes: (bytes: number) => void },
): Promise<void> {
  for (const [nth, path] of index.tries.entries()) {
    const from: PayloadSource = { download: (_, want, to, more) => origin.download(path, want, to, more) };
    try {
      await payloads.fetch(from, index, options);
      return;
    } catch (cause) {
      const where = `${origin.name}/${path}`;
      if (isFault(cause, 'transfer.missing')) {
        if (nth + 1 < index.tries.length) continue; // not every mirror keeps `by-hash`
        throw fault('index-hash', `${where} is listed in InRelease and not there`, { where, cause });
      }
      if (isFault(cause, 'transfer.hash', 'transfer.size', 'transfer.too-large')) {
        throw fault('index-hash', `${where} is not the file that InRelease names: ${cause.message}`, { where, cause });
      }
      throw cause;
    }
  }
}

/**
 * Reads an index from the payload store. Its compressed bytes are checked before the decoder sees one of them, the plain
 * ones are bounded by their signed size and checked at the end; what was collected counts only when this returns.
 */
async function readIndex(
  index: IndexPlan,
  payloads: PayloadStore,
  architectures: readonly string[],
  take: Parameters<typeof readPackages>[3],
  from: string,
): Promise<void> {
  const where = `${from}/${index.path}`;
  if (!(await payloads.verify(index.sha256, index.size))) {
    payloads.remove(index.sha256);
    throw fault('index-hash', `${where}: the copy kept here was damaged and is removed`, { where, next: 'Sync again.' });
  }
  const packed = fs.createReadStream(payloads.pathOf(index.sha256), { highWaterMark: 256 * 1024 });
  const hash = createHash('sha256');
  let size = 0;
  async function* plain(): AsyncGenerator<Uint8Array> {
    const tooMuch = () => fault('too-large', `${where} unpacks to more than the signed ${index.plain.size} bytes`, { where });
    for await (const chunk of bounded(decompress(packed, index.compression), index.plain.size, tooMuch)) {
      hash.update(chunk);
      size += chunk.length;
      yield chunk;
    }
  }
  try {
    await readPackages(plain(), architectures, where, take);
  } catch (cause) {
    if (isFault(cause)) throw cause;
    throw fault('malformed', `${where} cannot be unpacked: ${(cause as Error).message}`, { where, cause });
  } finally {
    packed.destroy();
  }
  if (size !== index.plain.size || hash.digest('hex') !== index.plain.sha256) {
    throw fault('index-hash', `${where} unpacks to something else than InRelease names`, { where });
  }
}

const NAME = /^[A-Za-z0-9][A-Za-z0-9.+-]{0,63}$/;

/** @throws source.settings */
function aptSettings(settings: SourceSettings): AptSettings {
  const where = `source ${settings.name}`;
  const bad = (says: string) => fault('settings', `${where}: ${says}`, { where });
  const { suite, keyring, components = ['main'], architectures = ['amd64'] } = settings;
  if (suite === undefined || !isPlainPath(suite) || suite.length > 100) throw bad('`suite` must be as `bookworm-security`');
  if (keyring === undefined || keyring === '') throw bad('`keyring` must name the file of the vendor’s public keys');
  const wrong = [...components.flatMap((item) => item.split('/')), ...architectures].find((item) => !NAME.test(item));
  if (wrong !== undefined) throw bad(`${JSON.stringify(wrong)} is no component or architecture`);
  if (components.length === 0 || architectures.length === 0) throw bad('`components` and `architectures` must not be empty');
  return { suite, keyring, components: [...new Set(components)], architectures: [...new Set(architectures)] };
}

function settingsDigest(settings: SourceSettings, { suite, components, architectures }: AptSettings): string {
  return sha256Of(canonicalJson({ product: settings.product, name: settings.name, suite, components, architectures }));
}

function keyringBytes(path: string): Uint8Array {
  const bytes = readFileBounded(path, SOURCE_LIMITS.keyringBytes);
  if (bytes === undefined) throw fault('keyring', `${path} is not there`, { where: path });
  return bytes;
}

async function* once(bytes: Uint8Array): AsyncGenerator<Uint8Array> {
  yield bytes;
}
