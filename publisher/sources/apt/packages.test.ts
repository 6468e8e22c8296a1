// The reader of Packages: what it takes, however it is cut; and that no input makes it hang, grow or throw anything untyped.
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import * as fc from 'fast-check';
import { isFault } from '#manifests/errors';
import { SOURCE_LIMITS } from '../faults.ts';
import { stanzaOf } from './mock.ts';
import { type BinaryPackage, parseStanza, readPackages } from './packages.ts';
import { collectPatches } from './patches.ts';

async function* cut(bytes: Uint8Array, sizes: readonly number[]): AsyncGenerator<Uint8Array> {
  let at = 0;
  for (let nth = 0; at < bytes.length; nth += 1) {
    const size = Math.max(1, sizes[nth % Math.max(1, sizes.length)] ?? bytes.length);
    yield bytes.subarray(at, at + size);
    at += size;
  }
}

async function read(bytes: Uint8Array, sizes: readonly number[] = []): Promise<BinaryPackage[]> {
  const found: BinaryPackage[] = [];
  await readPackages(cut(bytes, sizes), ['amd64'], 'test', (item) => found.push(item));
  return found;
}

describe('Packages', () => {
  const two = Buffer.from(`${stanzaOf({ name: 'alpha', version: '1.0' })}\n\n${stanzaOf({ name: 'beta', version: '2' })}`);

  it('takes blank lines, no line end at the end, field names in any case, ./ before a path, text in other scripts', async () => {
    assert.deepEqual(
      (await read(two)).map(({ name }) => name),
      ['alpha', 'beta'],
    );
    assert.deepEqual((await read(two.subarray(0, -1))).length, 2);
    assert.deepEqual(await read(Buffer.from('\n\n\n')), []);
    assert.deepEqual(await read(new Uint8Array()), []);
    const odd = stanzaOf({
      name: 'alpha',
      version: '1.0',
      fields: { Filename: './pool/a.deb', Description: 'Größe 見る \u0007x' },
    })
      .replace('Package:', 'PACKAGE:')
      .replace('Size:', 'size:');
    const [item] = await read(Buffer.from(odd));
    assert.equal(item?.path, 'pool/a.deb');
    assert.equal(item?.summary, 'Größe 見る  x');
  });

  it('Source is the package itself, a name, or a name with a version', () => {
    const of = (source: string | undefined) => {
      const item = parseStanza(
        stanzaOf({ name: 'x', version: '1+b1', ...(source === undefined ? {} : { source }) }),
        ['amd64'],
        'test',
      );
      return [item.source, item.sourceVersion];
    };
    assert.deepEqual(of(undefined), ['x', '1+b1']);
    assert.deepEqual(of('y'), ['y', '1+b1']);
    assert.deepEqual(of('y (1)'), ['y', '1']);
  });

  it('a field twice, no field at all, a continued line first, bytes that are no UTF-8: source.malformed', async () => {
    const good = stanzaOf({ name: 'alpha', version: '1.0' });
    for (const bad of [`${good}version: 2.0\n`, `${good}nonsense\n`, ` x\n${good}`, good.replace(/^Size:.*\n/m, '')]) {
      await assert.rejects(read(Buffer.from(bad)), (error) => isFault(error, 'source.malformed'));
    }
    await assert.rejects(read(Buffer.concat([two, Buffer.from([0xff, 0xfe])])), (error) => isFault(error, 'source.malformed'));
  });

  it('a stanza without end is given up at its limit', async () => {
    async function* endless() {
      for (;;) yield Buffer.from(`X-${'y'.repeat(65_000)}: z\n`);
    }
    const started = performance.now();
    await assert.rejects(
      readPackages(endless(), ['amd64'], 'test', () => undefined),
      (error) => isFault(error, 'source.too-large', 'source.malformed'),
    );
    async function* continued() {
      yield Buffer.from('Package: x\n');
      for (;;) yield Buffer.from(` ${'y'.repeat(65_000)}\n`);
    }
    await assert.rejects(
      readPackages(continued(), ['amd64'], 'test', () => undefined),
      (error) => isFault(error, 'source.too-large'),
    );
    assert.ok(performance.now() - started < 5_000);
    assert.ok(SOURCE_LIMITS.stanzaChars < 2 ** 24);
  });

  it('the same packages however the stream is cut', async () => {
    const whole = await read(two);
    await fc.assert(
      fc.asyncProperty(fc.array(fc.integer({ min: 1, max: 90 }), { minLength: 1, maxLength: 20 }), async (sizes) => {
        assert.deepEqual(await read(two, sizes), whole);
      }),
      { numRuns: 200 },
    );
  });

  it('any bytes, and any damage to good ones, give packages or a typed error', async () => {
    const tryOut = async (bytes: Uint8Array) => {
      try {
        for (const item of await read(bytes, [37])) {
          assert.match(item.path, /^[^/.][^\0]*$|^\.[^./]/);
          assert.ok(!item.path.split('/').includes('..'));
        }
      } catch (error) {
        if (!isFault(error)) throw error;
      }
    };
    await fc.assert(fc.asyncProperty(fc.uint8Array({ maxLength: 400 }), tryOut), { numRuns: 300 });
    const damage = fc.array(fc.tuple(fc.nat(two.length - 1), fc.integer({ min: 0, max: 255 })), { minLength: 1, maxLength: 6 });
    await fc.assert(
      fc.asyncProperty(damage, async (changes) => {
        const bytes = Buffer.from(two);
        for (const [at, value] of changes) bytes[at] = value;
        await tryOut(bytes);
      }),
      { numRuns: 1_000 },
    );
  });

  it('patches do not depend on the order of the packages', () => {
    const items = ['a', 'b', 'c', 'd', 'e'].map((name) =>
      parseStanza(stanzaOf({ name, version: '1', source: name < 'c' ? 'one' : 'two' }), ['amd64'], 'test'),
    );
    const patchesOf = (order: readonly BinaryPackage[]) => {
      const collected = collectPatches('test', 'security', 'test');
      for (const item of order) collected.take(item);
      for (const item of order) collected.take(item); // the same again (architecture `all` is in several indexes)
      return collected.patches();
    };
    fc.assert(
      fc.property(fc.shuffledSubarray(items, { minLength: items.length }), (order) => {
        assert.deepEqual(patchesOf(order), patchesOf(items));
      }),
    );
  });

  it('50,000 packages are read in linear time', async () => {
    const text = Array.from({ length: 50_000 }, (_, nth) => stanzaOf({ name: `p${nth}`, version: '1', content: 'x' })).join(
      '\n',
    );
    const small = Buffer.from(text.slice(0, text.indexOf('Package: p5000\n')));
    const time = async (bytes: Uint8Array) => {
      const started = performance.now();
      await read(bytes, [65_536]);
      return performance.now() - started;
    };
    await time(small);
    const [tenth, whole] = [await time(small), await time(Buffer.from(text))];
    assert.ok(whole < 40 * Math.max(tenth, 5), `${tenth} ms for a tenth, ${whole} ms for all`);
  });
});
