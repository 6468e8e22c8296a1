// The published tree into an object store: new files first, `timestamp.json` last, so that a reader sees the old publication or the
// new one. What is there is not sent again; nothing is removed unless that is what was asked for.
import { createHash } from 'node:crypto';
import * as fs from 'node:fs';
import { join } from 'node:path';
import { readFileBounded } from '#manifests/platform/files';
import { hashInPath, metadataPath } from '#manifests/repository';
import { TRUST_LIMITS } from '#manifests/trust';
import { fault, UPLOAD_LIMITS } from './faults.ts';
import type { S3Body, S3Store } from './s3.ts';
import { type Conditions, replaceTimestamp } from './timestamp.ts';

export interface UploadOptions {
  readonly repository: string;
  readonly store: S3Store;
  readonly dryRun: boolean;
  /** Removes what the published tree has not (any more), afterwards. */
  readonly prune: boolean;
  readonly signal?: AbortSignal | undefined;
  readonly onBytes?: ((done: number, total: number) => void) | undefined;
}

export interface UploadReport {
  readonly sent: number;
  readonly sentBytes: number;
  /** There before. */
  readonly same: number;
  readonly removed: number;
  /** Objects that the tree has not and that were left. */
  readonly others: number;
  readonly timestamp: number;
  readonly timestampBefore: number | null;
  /** Whether the store honours conditional writes; null when that was not asked, since the timestamp was there. */
  readonly conditions: Conditions | null;
}

interface TreeFile {
  readonly path: string;
  readonly size: number;
}

const TIMESTAMP = metadataPath('timestamp.json');
const FIRST_ROOT = metadataPath('1.root.json');
/** In this order; each part only when all of the one before has arrived. */
const PARTS = [/^payloads\//, /^targets\//, /^metadata\/\d+\./] as const;

/** @throws upload.* */
export async function upload(options: UploadOptions): Promise<UploadReport> {
  const { repository, store, dryRun } = options;
  const tree = treeOf(repository);
  const timestamp = tree.find(({ path }) => path === TIMESTAMP);
  const version = timestamp === undefined ? null : versionOf(readSmall(repository, TIMESTAMP));
  if (timestamp === undefined || version === null)
    throw fault('empty', `${repository} holds no publication`, { where: repository });
  const tooLarge = tree.find(({ size }) => size > UPLOAD_LIMITS.objectBytes);
  if (tooLarge !== undefined) throw fault('large', `${tooLarge.path} has ${tooLarge.size} bytes`, { where: tooLarge.path });

  const before = await store.get(TIMESTAMP);
  const versionBefore = before === undefined ? null : versionOf(before);
  if (versionBefore !== null && versionBefore > version)
    throw fault('older', `timestamp ${versionBefore} is there already, here is ${version}`);
  const root = await store.get(FIRST_ROOT);
  if (root !== undefined && !Buffer.from(readSmall(repository, FIRST_ROOT)).equals(root))
    throw fault('other', 'the first root there is not the one of this home');

  const there = new Map((await store.list()).map(({ path, size }) => [path, size]));
  // Hash-named and numbered files never change, so name and size tell; the rest is told apart by its bytes.
  const missing = tree.filter(({ path, size }) => path !== TIMESTAMP && there.get(path) !== size);
  const stale = before === undefined || !Buffer.from(readSmall(repository, TIMESTAMP)).equals(before);
  const total = [...missing, ...(stale ? [timestamp] : [])].reduce((sum, { size }) => sum + size, 0);
  let sentBytes = 0;
  const send = async (file: TreeFile) => {
    options.signal?.throwIfAborted();
    if (!dryRun) await store.put(file.path, bodyOf(repository, file), headersOf(file.path));
    sentBytes += file.size;
    options.onBytes?.(sentBytes, total);
  };
  for (const part of PARTS) {
    const queue = missing.filter(({ path }) => part.test(path)).values();
    const worker = async () => {
      for (const file of queue) await send(file);
    };
    await Promise.all(Array.from({ length: UPLOAD_LIMITS.parallel }, worker));
  }
  let conditions: Conditions | null = null;
  if (stale && !dryRun) {
    options.signal?.throwIfAborted();
    const firstRoot = { path: FIRST_ROOT, size: readSmall(repository, FIRST_ROOT).length };
    const bytes = readSmall(repository, TIMESTAMP);
    conditions = await replaceTimestamp(
      store,
      { path: TIMESTAMP, bytes, version, body: bodyOf(repository, timestamp), headers: headersOf(TIMESTAMP) },
      { path: FIRST_ROOT, body: bodyOf(repository, firstRoot), headers: headersOf(FIRST_ROOT) },
      versionOf,
    );
  }
  if (stale) {
    sentBytes += timestamp.size;
    options.onBytes?.(sentBytes, total);
  }

  const known = new Set(tree.map(({ path }) => path));
  const others = [...there.keys()].filter((path) => !known.has(path));
  if (options.prune && !dryRun) for (const path of others) await store.remove(path);
  return {
    sent: missing.length + (stale ? 1 : 0),
    sentBytes,
    same: tree.length - missing.length - (stale ? 1 : 0),
    removed: options.prune ? others.length : 0,
    others: options.prune ? 0 : others.length,
    timestamp: version,
    timestampBefore: versionBefore,
    conditions,
  };
}

/** Files of a publication; downloads in the making and whatever else lies in the folder are none. */
function treeOf(repository: string): TreeFile[] {
  return ['metadata', 'targets', 'payloads'].flatMap((part) => {
    if (!fs.existsSync(join(repository, part))) return [];
    return fs
      .readdirSync(join(repository, part), { recursive: true, encoding: 'utf8' })
      .map((name) => `${part}/${name.replaceAll('\\', '/')}`)
      .filter((path) => !/(?:^|\/)\./.test(path) && (path === TIMESTAMP || PARTS.some((each) => each.test(path))))
      .flatMap((path) => {
        const facts = fs.statSync(join(repository, path));
        return facts.isFile() ? [{ path, size: facts.size }] : [];
      })
      .toSorted((a, b) => (a.path < b.path ? -1 : 1));
  });
}

const readSmall = (repository: string, path: string): Uint8Array =>
  readFileBounded(join(repository, path), TRUST_LIMITS.rootBytes) ?? new Uint8Array();

function versionOf(bytes: Uint8Array): number | null {
  try {
    const { signed } = JSON.parse(Buffer.from(bytes).toString('utf8')) as { signed?: { version?: unknown } };
    return Number.isSafeInteger(signed?.version) ? Number(signed?.version) : null;
  } catch {
    return null;
  }
}

/** The store checks the hash while it comes; of a hash-named file it is in the name. */
function bodyOf(repository: string, { path, size }: TreeFile): S3Body {
  const file = join(repository, path);
  const sha256 = hashInPath(path) ?? createHash('sha256').update(fs.readFileSync(file)).digest('hex');
  return { sha256, size, open: () => fs.createReadStream(file) };
}

function headersOf(path: string): Record<string, string> {
  const forGood = path !== TIMESTAMP;
  return {
    'content-type': 'application/octet-stream',
    'cache-control': forGood ? 'public, max-age=31536000, immutable' : 'no-cache',
  };
}
