// bzip2 as the real program packs it, cut into any pieces; and what is not whole and right, which must never pass.
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { existsSync } from 'node:fs';
import { describe, it } from 'node:test';
import * as fc from 'fast-check';
import { unbzip2 } from './bzip2.ts';

const skip = existsSync('/usr/bin/bzip2') || existsSync('/bin/bzip2') ? false : 'no bzip2 here: ours is not judged against it';

/** How bzip2 1.0.8 packs `Hello, ferry!` and a line end, up to where its tables begin. */
const HEAD = '425a6839314159265359cc595d320000025580001060040040030490';

function pack(plain: Uint8Array, level = 9): Buffer {
  const { stdout, status } = spawnSync('bzip2', ['-c', `-${level}`], { input: plain, maxBuffer: 1 << 28 });
  assert.equal(status, 0);
  return stdout;
}

async function* pieces(bytes: Uint8Array, size = bytes.length || 1) {
  for (let at = 0; at < bytes.length; at += size) yield bytes.subarray(at, at + size);
}

async function unpack(bytes: Uint8Array, size?: number): Promise<Buffer> {
  const parts: Uint8Array[] = [];
  for await (const part of unbzip2(pieces(bytes, size))) parts.push(part);
  return Buffer.concat(parts);
}

describe('bzip2', { skip }, () => {
  it('a text of several blocks, in pieces of any size', async () => {
    const text = Buffer.from(Array.from({ length: 60_000 }, (_, at) => `<package>${at * 7919}</package>`).join('\n'));
    const packed = pack(text, 1);
    for (const size of [1_000, 65_536, packed.length]) assert.ok((await unpack(packed, size)).equals(text));
    assert.ok((await unpack(pack(text))).equals(text));
  });

  it('anything that the program packs, at any level', async () => {
    const runs = fc
      .array(fc.tuple(fc.nat({ max: 255 }), fc.integer({ min: 1, max: 1_000 })), { maxLength: 40 })
      .map((list) => Buffer.concat(list.map(([byte, count]) => Buffer.alloc(count, byte))));
    const bytes = fc.oneof(
      runs,
      fc.uint8Array({ maxLength: 3_000 }).map((list) => Buffer.from(list)),
    );
    await fc.assert(
      fc.asyncProperty(bytes, fc.integer({ min: 1, max: 9 }), async (plain, level) => {
        assert.ok((await unpack(pack(plain, level))).equals(plain));
      }),
      { numRuns: 60, seed: 20_261_121 },
    );
  });

  it('bytes without any order, and long runs', async () => {
    for (const plain of [randomBytes(300_000), Buffer.alloc(5_000_000), Buffer.alloc(1_000_003, 'ab')])
      assert.ok((await unpack(pack(plain, 2))).equals(plain));
  });

  it('streams one after the other are one', async () => {
    const parts = ['one', '', 'two'].map((text) => pack(Buffer.from(text)));
    assert.equal((await unpack(Buffer.concat(parts))).toString(), 'onetwo');
  });

  it('any bit that is another, or an end that is missing, is noticed', async () => {
    const plain = Buffer.from('the ferry sails at noon '.repeat(40));
    const packed = pack(plain);
    for (let bit = 0; bit < packed.length * 8; bit += 1) {
      const changed = Buffer.from(packed);
      changed[bit >> 3] = (changed[bit >> 3] ?? 0) ^ (0x80 >> (bit & 7));
      const got = await unpack(changed).catch(() => undefined);
      // The level only says how large blocks may be, and the last byte has bits that fill it up.
      assert.ok(got === undefined || got.equals(plain), `bit ${bit}`);
    }
    for (let end = 0; end < packed.length; end += 1) await assert.rejects(unpack(packed.subarray(0, end)), /bzip2|ends early/);
    await assert.rejects(unpack(Buffer.concat([packed, Buffer.from('x')])), /bzip2/);
  });

  it('never runs away on bytes of any kind', async () => {
    const head = Buffer.from(HEAD, 'hex');
    await fc.assert(
      fc.asyncProperty(fc.uint8Array({ maxLength: 400 }), async (tail) => {
        await assert.rejects(unpack(Buffer.concat([head, tail])), /bzip2/);
      }),
      { numRuns: 300, seed: 20_261_121 },
    );
  });
});
