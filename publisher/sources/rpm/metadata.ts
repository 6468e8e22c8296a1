// The plain bytes of a metadata file that is in the payload store: checked before the decoder sees one of them, bounded while it
// works, and checked again at the end.
import { createHash } from 'node:crypto';
import * as fs from 'node:fs';
import { isFault } from '#manifests/errors';
import type { PayloadStore } from '#manifests/repository';
import { bounded, type Compression, decompress } from '../compression.ts';
import { fault, SOURCE_LIMITS } from '../faults.ts';
import type { RepomdEntry } from './repomd.ts';

const COMPRESSIONS: readonly (readonly [string, Compression])[] = [
  ['.gz', 'gz'],
  ['.xz', 'xz'],
  ['.zst', 'zst'],
  ['.bz2', 'bz2'],
  ['.xml', 'none'],
  ['.yaml', 'none'],
];

/**
 * What is read counts only when this ends without an error.
 * @throws source.index-hash, source.too-large, source.malformed when it cannot be unpacked
 */
export async function* plainBytes(entry: RepomdEntry, payloads: PayloadStore, from: string): AsyncGenerator<Uint8Array> {
  const where = `${from}/${entry.path}`;
  const kind = COMPRESSIONS.find(([ending]) => entry.path.endsWith(ending))?.[1];
  if (kind === undefined)
    throw fault('malformed', `${where} is compressed in a way that is not known (gz, xz, zst, bz2 are)`, { where });
  if (!(await payloads.verify(entry.sha256, entry.size))) {
    payloads.remove(entry.sha256);
    throw fault('index-hash', `${where}: the copy kept here was damaged and is removed`, { where, next: 'Sync again.' });
  }
  const packed = fs.createReadStream(payloads.pathOf(entry.sha256), { highWaterMark: 256 * 1024 });
  const limit = entry.plain?.size ?? SOURCE_LIMITS.indexPlainBytes;
  const tooMuch = () => fault('too-large', `${where} unpacks to more than the ${limit} bytes that it may have`, { where });
  const hash = createHash('sha256');
  let size = 0;
  try {
    for await (const chunk of bounded(decompress(packed, kind), limit, tooMuch)) {
      hash.update(chunk);
      size += chunk.length;
      yield chunk;
    }
  } catch (cause) {
    if (isFault(cause)) throw cause;
    throw fault('malformed', `${where} cannot be unpacked: ${(cause as Error).message}`, { where, cause });
  } finally {
    packed.destroy();
  }
  const { plain } = entry;
  if (plain !== null && (hash.digest('hex') !== plain.sha256 || (plain.size !== null && size !== plain.size))) {
    throw fault('index-hash', `${where} unpacks to something else than repomd.xml names`, { where });
  }
}
