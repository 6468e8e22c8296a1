// Looking again: every file of the current generation and every payload is hashed anew; what is wrong is marked for the next sync.
import * as fs from 'node:fs';
import { join } from 'node:path';
import { readFileBounded, writeFileAtomic } from '#manifests/platform/files';
import { takeLock } from '#manifests/platform/lock';
import { metadataPath, openPayloadStore, targetFilePath } from '#manifests/repository';
import { openTrust } from '#manifests/trust';
import { fault } from './faults.ts';
import { checkedBytes, currentGeneration, mirrorLayout } from './generations.ts';
import { readUsage } from './usage.ts';
import { type Documents, readInto, wantedPayloads } from './wanted.ts';

export interface VerifyReport {
  readonly generation: number;
  readonly files: number;
  readonly payloads: number;
  readonly bytes: number;
  /** Files that are damaged or gone, by path in the repository. */
  readonly bad: ReadonlyArray<{ path: string; says: string }>;
}

const METADATA_BYTES = 64 * 1024 * 1024;

/**
 * Hashes everything that is served. Damaged payloads are removed and the next sync fetches them again.
 * @throws lock.held, mirror.empty when nothing was mirrored yet
 */
export async function verifyMirror(options: {
  mirror: string;
  trust: string;
  lock: string;
  now: () => number;
  onProgress?: (doneBytes: number) => void;
  signal?: AbortSignal;
}): Promise<VerifyReport> {
  const layout = mirrorLayout(options.mirror);
  const generation = currentGeneration(layout);
  if (generation === undefined) throw fault('empty', 'nothing has been mirrored yet', { where: layout.root });
  const bad: { path: string; says: string }[] = [];
  const folder = join(layout.generations, String(generation.number));
  let bytes = 0;

  // Metadata against what was verified by signature and is kept in the trust folder.
  const trust = openTrust({ folder: options.trust, now: options.now });
  const trusted = new Map(trust.metadataFiles().map((file) => [file.name, file.bytes]));
  // Of the timestamp only the newest is kept there; a sync may have got further than what is served.
  if (trust.versions()?.timestamp !== generation.versions.timestamp) trusted.delete('timestamp.json');
  for (const name of generation.metadata) {
    const here = readFileBounded(join(folder, metadataPath(name)), METADATA_BYTES);
    const signed = trusted.get(name);
    bytes += here?.length ?? 0;
    if (here === undefined) bad.push({ path: metadataPath(name), says: 'is gone' });
    else if (signed !== undefined && !Buffer.from(here).equals(signed)) {
      bad.push({ path: metadataPath(name), says: 'is not what was signed' });
    }
  }

  const documents: Documents = { catalogs: [], baselines: [] };
  for (const target of generation.targets) {
    const path = targetFilePath(target.path, target.sha256);
    const content = checkedBytes(folder, path, target.length);
    bytes += content?.length ?? 0;
    if (content === undefined) bad.push({ path, says: 'is damaged or gone' });
    else readInto(documents, target.path, content);
  }

  const store = openPayloadStore(layout.payloads);
  const damaged: string[] = [];
  let payloads = 0;
  const sizes = new Map(wantedPayloads(documents, { payloads: 'all' }).map(({ sha256, size }) => [sha256, size]));
  for (const { sha256, size } of store.list()) {
    options.signal?.throwIfAborted();
    payloads += 1;
    bytes += size;
    options.onProgress?.(bytes);
    if (await store.verify(sha256, sizes.get(sha256))) continue;
    damaged.push(sha256);
    bad.push({ path: store.pathOf(sha256).slice(layout.root.length + 1), says: 'is damaged' });
  }
  const lacking = new Set(generation.lacking);
  const kept = { payloads: generation.payloads, products: generation.only, asked: readUsage(layout).asked };
  for (const { sha256, size, required } of wantedPayloads(documents, kept)) {
    if (!required && generation.payloads === 'missing') continue; // agents may have asked for more since the last sync
    if (lacking.has(sha256) || damaged.includes(sha256) || store.has(sha256, size)) continue;
    bad.push({ path: store.pathOf(sha256).slice(layout.root.length + 1), says: 'is gone' });
    damaged.push(sha256);
  }
  if (bad.length > 0) {
    const lock = takeLock(options.lock, 'verify');
    try {
      writeFileAtomic(layout.damaged, `${damaged.join('\n')}\n`);
      for (const sha256 of damaged) store.remove(sha256);
      for (const { path } of bad) if (!path.startsWith('payloads/')) fs.rmSync(join(folder, path), { force: true });
    } finally {
      lock.release();
    }
  }
  return { generation: generation.number, files: generation.metadata.length + generation.targets.length, payloads, bytes, bad };
}
