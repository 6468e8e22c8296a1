// Packages opened for their changelog: real ones by dpkg-deb, and hostile ones built here byte by byte.
import assert from 'node:assert/strict';
import * as fs from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import { gzipSync, zstdCompressSync } from 'node:zlib';
import * as fc from 'fast-check';
import { isFault } from '#manifests/errors';
import { run } from '#manifests/platform/process';
import { readChangelog, readMembers } from './deb.ts';
import { readFromTar, TAR_LIMITS } from './tar.ts';

const CHANGELOG = 'usr/share/doc/demo/changelog.Debian.gz';
const TEXT =
  'demo (1.0-1) bookworm-security; urgency=high\n\n  * Fix CVE-2026-1234.\n\n -- A B <a@b>  Wed, 21 Oct 2026 16:54:24 +0700\n';

interface TarEntry {
  readonly name: string;
  readonly type?: string;
  readonly content?: Uint8Array;
  /** What the size field says, when it lies. */
  readonly size?: string;
  readonly prefix?: string;
}

function tarEntry({ name, type = '0', content = new Uint8Array(), size, prefix = '' }: TarEntry): Buffer {
  const header = Buffer.alloc(512);
  header.write(name, 0, 100);
  header.write(size ?? `${content.length.toString(8).padStart(11, '0')}\0`, 124, 12, 'latin1');
  header.write('        ', 148);
  header.write(type, 156);
  header.write('ustar\u000000', 257);
  header.write(prefix, 345);
  const sum = header.reduce((total, byte) => total + byte, 0);
  header.write(`${sum.toString(8).padStart(6, '0')}\0 `, 148);
  return Buffer.concat([header, content, Buffer.alloc((512 - (content.length % 512)) % 512)]);
}

const tarOf = (...entries: TarEntry[]) => Buffer.concat([...entries.map(tarEntry), Buffer.alloc(1024)]);

function arOf(...members: [string, Uint8Array][]): Buffer {
  const parts = [Buffer.from('!<arch>\n')];
  for (const [name, bytes] of members) {
    const header = `${name.padEnd(16)}${'0'.padEnd(12)}${'0'.padEnd(6)}${'0'.padEnd(6)}${'100644'.padEnd(8)}${String(bytes.length).padEnd(10)}\`\n`;
    parts.push(Buffer.from(header), Buffer.from(bytes), Buffer.alloc(bytes.length % 2, '\n'));
  }
  return Buffer.concat(parts);
}

const debOf = (data: Uint8Array, name = 'data.tar') =>
  arOf(['debian-binary', Buffer.from('2.0\n')], ['control.tar', tarOf()], [name, data]);

async function* pieces(bytes: Uint8Array, size: number): AsyncGenerator<Uint8Array> {
  for (let at = 0; at < bytes.length; at += size) yield bytes.subarray(at, at + size);
}

describe('.deb', () => {
  let work: string;
  before(() => {
    work = fs.mkdtempSync(join(tmpdir(), 'patchferry-deb-'));
  });
  after(() => fs.rmSync(work, { recursive: true, force: true }));
  const changelogOf = (bytes: Uint8Array): Promise<string | undefined> => {
    const file = join(work, 'x.deb');
    fs.writeFileSync(file, bytes);
    return readChangelog(file, 'demo');
  };
  const refused = (error: unknown) => isFault(error, 'source.payload');

  it('reads the changelog of packages that dpkg-deb made, in every compression it has', async (test) => {
    const version = await run('dpkg-deb', ['--version'], { timeoutMs: 10_000 }).catch(() => undefined);
    if (version?.code !== 0) return test.skip('dpkg-deb is not on this machine');
    const tree = join(work, 'tree');
    fs.mkdirSync(join(tree, 'DEBIAN'), { recursive: true });
    fs.mkdirSync(join(tree, 'usr/share/doc/demo'), { recursive: true });
    fs.mkdirSync(join(tree, `usr/share/${'long-name/'.repeat(15)}`), { recursive: true });
    fs.writeFileSync(join(tree, `usr/share/${'long-name/'.repeat(15)}file`), 'x'.repeat(100_000));
    fs.writeFileSync(
      join(tree, 'DEBIAN/control'),
      'Package: demo\nVersion: 1.0-1\nArchitecture: all\nMaintainer: A <a@b>\nDescription: x\n',
    );
    fs.writeFileSync(join(tree, CHANGELOG), gzipSync(TEXT));
    for (const kind of ['xz', 'gzip', 'zstd', 'none']) {
      const file = join(work, `${kind}.deb`);
      const made = await run('dpkg-deb', ['--root-owner-group', `-Z${kind}`, '-b', tree, file], { timeoutMs: 30_000 });
      assert.equal(made.code, 0, made.stderr);
      assert.equal(await readChangelog(file, 'demo'), TEXT, kind);
      assert.equal(await readChangelog(file, 'other'), undefined);
    }
  });

  it('prefers the Debian changelog, takes a native one, passes over links and folders', async () => {
    const native = { name: './usr/share/doc/demo/changelog.gz', content: gzipSync('upstream') };
    const debian = { name: `./${CHANGELOG}`, content: gzipSync(TEXT) };
    assert.equal(await changelogOf(debOf(tarOf(native, debian))), TEXT);
    assert.equal(await changelogOf(debOf(gzipSync(tarOf(native)), 'data.tar.gz')), 'upstream');
    assert.equal(await changelogOf(debOf(zstdCompressSync(tarOf(debian)), 'data.tar.zst')), TEXT);
    for (const type of ['1', '2', '5', '3', '6'])
      assert.equal(await changelogOf(debOf(tarOf({ name: `./${CHANGELOG}`, type }))), undefined);
    assert.equal(
      await changelogOf(debOf(tarOf({ name: 'changelog.Debian.gz', prefix: 'usr/share/doc/demo', content: gzipSync(TEXT) }))),
      TEXT,
    );
  });

  it('GNU long names are names', async () => {
    const long = { name: '././@LongLink', type: 'L', content: Buffer.from(`./${CHANGELOG}\0`) };
    assert.equal(await changelogOf(debOf(tarOf(long, { name: 'cut', content: gzipSync(TEXT) }))), TEXT);
  });

  it('no package, cut packages, lying sizes, bombs: source.payload', async () => {
    const good = debOf(tarOf({ name: `./${CHANGELOG}`, content: gzipSync(TEXT) }));
    const hostile: [string, Uint8Array][] = [
      ['empty', new Uint8Array()],
      ['other format', Buffer.from('PK\u0003\u0004')],
      ['cut in a header', good.subarray(0, 100)],
      ['cut in data', good.subarray(0, -2_000)],
      ['no data member', arOf(['debian-binary', Buffer.from('2.0\n')])],
      ['unknown compression', debOf(tarOf(), 'data.tar.lz')],
      ['another version', arOf(['debian-binary', Buffer.from('3.0\n')], ['data.tar', tarOf()])],
      ['order', arOf(['data.tar', tarOf()], ['debian-binary', Buffer.from('2.0\n')])],
      [
        'many members',
        arOf(
          ['debian-binary', Buffer.from('2.0\n')],
          ...Array.from({ length: 40 }, (_, n): [string, Buffer] => [`m${n}`, Buffer.alloc(0)]),
        ),
      ],
      ['negative size', Buffer.from(good.toString('latin1').replace(/4         `/, '-4        `'), 'latin1')],
      ['not gzip', debOf(Buffer.from('nonsense'), 'data.tar.gz')],
      ['not xz', debOf(Buffer.from('nonsense'), 'data.tar.xz')],
      ['not tar', debOf(Buffer.alloc(2_048, 'x'))],
      ['huge changelog', debOf(tarOf({ name: `./${CHANGELOG}`, size: '77777777777\0' }))],
      ['base-256 size', debOf(tarOf({ name: './x', size: `\u0080${'\u00ff'.repeat(11)}` }))],
      ['changelog bomb', debOf(tarOf({ name: `./${CHANGELOG}`, content: gzipSync(Buffer.alloc(80 * 1024 * 1024)) }))],
      ['changelog no gzip', debOf(tarOf({ name: `./${CHANGELOG}`, content: Buffer.from('plain') }))],
      ['long name bomb', debOf(tarOf({ name: 'x', type: 'L', content: Buffer.alloc(TAR_LIMITS.nameBytes + 1, 'y') }))],
      ['ends in an entry', debOf(tarEntry({ name: './x', content: Buffer.alloc(900) }).subarray(0, 1_000))],
    ];
    for (const [what, bytes] of hostile) await assert.rejects(changelogOf(bytes), refused, what);
  });

  it('tar: the same files however the stream is cut', async () => {
    const bytes = tarOf(
      { name: './a', content: Buffer.alloc(700, 'a') },
      { name: './d', type: '5' },
      { name: 'b', content: Buffer.alloc(512, 'b') },
      { name: 'c' },
    );
    await fc.assert(
      fc.asyncProperty(fc.integer({ min: 1, max: 1_500 }), async (size) => {
        const found = await readFromTar(
          pieces(bytes, size),
          () => true,
          () => false,
          'test',
        );
        assert.deepEqual(
          [...found].map(([name, content]) => [name, content.length]),
          [
            ['a', 700],
            ['b', 512],
            ['c', 0],
          ],
        );
      }),
    );
  });

  it('any damage gives files or a typed error, in bounded time', async () => {
    const tar = tarOf({ name: './a', content: Buffer.alloc(700, 'a') }, { name: `./${CHANGELOG}`, content: gzipSync(TEXT) });
    const deb = debOf(tar);
    const started = performance.now();
    const changes = (length: number) =>
      fc.array(fc.tuple(fc.nat(length - 1), fc.integer({ min: 0, max: 255 })), { minLength: 1, maxLength: 8 });
    const damaged = (good: Buffer, list: readonly (readonly [number, number])[]) => {
      const bytes = Buffer.from(good);
      for (const [at, value] of list) bytes[at] = value;
      return bytes;
    };
    const typed = (error: unknown) => {
      if (!isFault(error)) throw error;
    };
    await fc.assert(
      fc.asyncProperty(changes(tar.length), async (list) => {
        await readFromTar(
          pieces(damaged(tar, list), 333),
          () => true,
          () => false,
          'test',
        ).catch(typed);
      }),
      { numRuns: 1_000 },
    );
    await fc.assert(
      fc.asyncProperty(changes(200), async (list) => {
        const bytes = damaged(deb, list);
        try {
          readMembers((start, length) => bytes.subarray(start, start + length), bytes.length, 'test');
        } catch (error) {
          typed(error);
        }
        await changelogOf(bytes).catch(typed);
      }),
      { numRuns: 500 },
    );
    await fc.assert(
      fc.asyncProperty(fc.uint8Array({ maxLength: 3_000 }), async (bytes) => {
        await readFromTar(
          pieces(bytes, 100),
          () => true,
          () => false,
          'test',
        ).catch(typed);
      }),
      { numRuns: 500 },
    );
    assert.ok(performance.now() - started < 30_000);
  });
});
