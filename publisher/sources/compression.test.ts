// Decompression as a stream: right bytes, an end for cut and broken input, and no stream that blocks the next one.
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { gzipSync, zstdCompressSync } from 'node:zlib';
import { bounded, type Compression, decompress } from './compression.ts';

const PLAIN = Buffer.from('patchferry\n'.repeat(500));
/** PLAIN, by `xz -9` of XZ Utils 5.4. */
const XZ = Buffer.from(
  '/Td6WFoAAATm1rRGAgAhARwAAAAQz1jM4BV7ACxdADgYSu7FL6OTKMwamVJeb/hNIDONGJ7IThqpsBr74oXlo6jpdWCzxbCe0AAAAN6Lpaa5X5EYAAFI/CoAAADarhViscRn+wIAAAAABFla',
  'base64',
);

const packed: readonly [Compression, Buffer][] = [
  ['xz', XZ],
  ['gz', gzipSync(PLAIN)],
  ['zst', zstdCompressSync(PLAIN)],
  ['none', PLAIN],
];

async function* inPieces(bytes: Uint8Array, size: number): AsyncGenerator<Uint8Array> {
  yield new Uint8Array();
  for (let at = 0; at < bytes.length; at += size) yield bytes.subarray(at, at + size);
}

async function all(source: AsyncIterable<Uint8Array>): Promise<Buffer> {
  const chunks: Uint8Array[] = [];
  for await (const chunk of source) chunks.push(chunk);
  return Buffer.concat(chunks);
}

describe('decompress', () => {
  for (const [kind, bytes] of packed) {
    it(`${kind}: whole, in single bytes, and many at once`, async () => {
      assert.deepEqual(await all(decompress(inPieces(bytes, 1 << 20), kind)), PLAIN);
      assert.deepEqual(await all(decompress(inPieces(bytes, 1), kind)), PLAIN);
      for (const one of await Promise.all(Array.from({ length: 8 }, () => all(decompress(inPieces(bytes, 50), kind))))) {
        assert.deepEqual(one, PLAIN);
      }
    });
    if (kind === 'none') continue;
    it(`${kind}: cut or broken input ends with an error, and the next stream works`, async () => {
      for (const bad of [bytes.subarray(0, 0), bytes.subarray(0, 7), bytes.subarray(0, -6), Buffer.alloc(500, 'x')]) {
        await assert.rejects(all(decompress(inPieces(bad, 1 << 20), kind)));
      }
      assert.deepEqual(await all(decompress(inPieces(bytes, 1 << 20), kind)), PLAIN);
    });
    it(`${kind}: the caller may stop early, and an error of the source comes through`, async () => {
      for (let nth = 0; nth < 20; nth += 1) {
        for await (const chunk of decompress(inPieces(bytes, 40), kind)) {
          assert.ok(chunk.length > 0);
          break;
        }
      }
      async function* failing() {
        yield bytes.subarray(0, 20);
        throw new Error('disk');
      }
      await assert.rejects(all(decompress(failing(), kind)), /disk/);
      assert.deepEqual(await all(decompress(inPieces(bytes, 40), kind)), PLAIN);
    });
  }

  it('a bomb is cut at its bound', async () => {
    const bomb = gzipSync(Buffer.alloc(64 * 1024 * 1024));
    let seen = 0;
    await assert.rejects(async () => {
      for await (const chunk of bounded(decompress(inPieces(bomb, 65_536), 'gz'), 100_000, () => new Error('too much')))
        seen += chunk.length;
    }, /too much/);
    assert.ok(seen <= 100_000);
  });
});
