// Writes a bundle as format version 1 had it: all lists in the index, plain chunk hashes, parts and nothing else in the folder.
import * as fs from 'node:fs';
import { join } from 'node:path';
import type { Signer } from '#manifests/trust';
import { partName } from '../names.ts';
import { signedBytes } from '../signed.ts';
import { sha256 } from './stage.ts';

export interface Version1 {
  readonly place: string;
  readonly name: string;
  readonly entries: ReadonlyArray<{ readonly path: string; readonly bytes: Buffer }>;
  readonly chunkBytes: number;
  readonly chunksPerPart: number;
  readonly signer: Signer;
  readonly about: object;
}

/** Gives the path of the index. */
export async function writeVersion1(options: Version1): Promise<string> {
  const { place, name, chunkBytes, chunksPerPart } = options;
  const stream = Buffer.concat(options.entries.map(({ bytes }) => bytes));
  const chunks: string[] = [];
  for (let at = 0; at < stream.length; at += chunkBytes) chunks.push(sha256(stream.subarray(at, at + chunkBytes)));
  const folder = join(place, `${name}.pfb`);
  fs.mkdirSync(folder, { recursive: true });
  for (let first = 0; first < chunks.length; first += chunksPerPart) {
    const last = Math.min(chunks.length, first + chunksPerPart) - 1;
    fs.writeFileSync(join(folder, partName({ first, last })), stream.subarray(first * chunkBytes, (last + 1) * chunkBytes));
  }
  const body = {
    schema: 'patchferry/bundle',
    schemaVersion: 1,
    ...options.about,
    chunkBytes,
    streamBytes: stream.length,
    chunks,
    entries: options.entries.map(({ path, bytes }) => ({ path, size: bytes.length, sha256: sha256(bytes) })),
  };
  const index = join(place, `${name}.pfb.json`);
  fs.writeFileSync(index, await signedBytes('index', body, options.signer));
  return index;
}
