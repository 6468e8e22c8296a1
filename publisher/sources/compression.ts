// Decompression as a stream, for indexes and for .deb members: xz (WebAssembly), gzip and zstd (Node's own), bzip2 (bzip2.ts).
// Of Debian's security index the .xz is a fifth smaller on the line than .gz and takes 28 ms instead of 6 to unpack: .xz first.
import { Readable } from 'node:stream';
import { createGunzip, createZstdDecompress } from 'node:zlib';
import xz from 'xz-decompress';
import { unbzip2 } from './bzip2.ts';

export type Compression = 'xz' | 'gz' | 'zst' | 'bz2' | 'none';

/** The WebAssembly module is shared and takes one stream at a time; others wait here, so that none is cut while it waits. */
let xzFree: Promise<void> = Promise.resolve();

/**
 * The plain bytes of a compressed stream. The caller bounds what it takes and may stop at any time.
 * @throws whatever the decoder says of input that is broken or ends early
 */
export async function* decompress(source: AsyncIterable<Uint8Array>, kind: Compression): AsyncGenerator<Uint8Array> {
  if (kind === 'none') yield* source;
  else if (kind === 'xz') yield* unxz(source);
  else if (kind === 'bz2') yield* unbzip2(source);
  else {
    const input = Readable.from(source, { objectMode: false });
    const decoder = kind === 'gz' ? createGunzip() : createZstdDecompress();
    input.on('error', (error) => decoder.destroy(error));
    try {
      yield* input.pipe(decoder) as AsyncIterable<Uint8Array>;
    } finally {
      input.destroy();
      decoder.destroy();
    }
  }
}

async function* unxz(source: AsyncIterable<Uint8Array>): AsyncGenerator<Uint8Array> {
  const before = xzFree;
  const { promise, resolve } = Promise.withResolvers<void>();
  xzFree = before.then(() => promise);
  await before;
  try {
    // An empty piece would be taken for the end of the stream by the decoder.
    const plain = new xz.XzReadableStream(Readable.toWeb(Readable.from(notEmpty(source))) as ReadableStream<Uint8Array>);
    for await (const chunk of plain) if (chunk.length > 0) yield chunk;
  } finally {
    resolve();
  }
}

async function* notEmpty(source: AsyncIterable<Uint8Array>): AsyncGenerator<Uint8Array> {
  for await (const chunk of source) if (chunk.length > 0) yield chunk;
}

/** Passes bytes on until `limit` is passed, then throws what `tooMuch` makes. */
export async function* bounded(
  source: AsyncIterable<Uint8Array>,
  limit: number,
  tooMuch: () => Error,
): AsyncGenerator<Uint8Array> {
  let total = 0;
  for await (const chunk of source) {
    total += chunk.length;
    if (total > limit) throw tooMuch();
    yield chunk;
  }
}
