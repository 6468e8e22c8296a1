// A whole sync against a small signed repository: what is fetched, what is believed, and what is refused by which error.
import assert from 'node:assert/strict';
import * as fs from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, before, beforeEach, describe, it } from 'node:test';
import type { Clock } from '#manifests/platform/clock';
import { openPayloadStore } from '#manifests/repository';
import { catalog } from '#manifests/schema';
import { type SourceSettings, syncSource } from '../index.ts';
import { clearsign, type MockKey, type MockServer, mockKey, serveMock, T0, writeMockRepository } from './mock.ts';

const DAY = 86_400_000;
const IN_RELEASE = 'dists/test-security/InRelease';

describe('sync of an APT repository', () => {
  let work: string;
  let root: string;
  let server: MockServer;
  let key: MockKey;
  let now = T0;
  const clock: Clock = { now: () => now, monotonic: () => now };
  const keyring = () => join(work, 'keyring.gpg');
  const settings = (more: Partial<SourceSettings> = {}): SourceSettings => ({
    name: 'test',
    kind: 'apt',
    product: 'test-1',
    url: server.url,
    suite: 'test-security',
    keyring: keyring(),
    ...more,
  });
  const payloads = () => openPayloadStore(join(work, 'payloads'));
  const sync = (more: Partial<SourceSettings> = {}) =>
    syncSource(settings(more), {
      folder: join(work, 'state'),
      payloads: payloads(),
      clock,
      signal: new AbortController().signal,
    });
  const refused = (code: string) => (error: unknown) => {
    assert.equal((error as { code?: string }).code, code, String(error));
    return true;
  };
  const overwrite = (path: string, change: (bytes: Buffer) => Buffer | string) =>
    fs.writeFileSync(join(root, path), change(fs.readFileSync(join(root, path))));
  const indexPath = () => {
    const folder = 'dists/test-security/main/binary-amd64/by-hash/SHA256';
    return `${folder}/${fs.readdirSync(join(root, folder))[0]}`;
  };

  before(async () => {
    key = await mockKey();
  });
  beforeEach(async () => {
    now = T0;
    work = fs.mkdtempSync(join(tmpdir(), 'patchferry-apt-'));
    root = join(work, 'vendor');
    fs.writeFileSync(keyring(), key.publicBytes);
    await writeMockRepository(root, [key]);
    server = await serveMock(root);
  });
  afterEach(async () => {
    await server.close();
    fs.rmSync(work, { recursive: true, force: true });
  });

  it('patches are source packages with all their binaries, the vendor files are kept byte for byte', async () => {
    const { changed, patches, repository } = await sync();
    assert.equal(changed, true);
    assert.deepEqual(
      patches.map(({ id, packages }) => [id, packages.map(({ name, version, arch }) => `${name}_${version}_${arch}`)]),
      [
        ['alpha@1.0-1', ['alpha_1.0-1_amd64', 'alpha-doc_1.0-1_all', 'libalpha1_1.0-1+b1_amd64']],
        ['beta@2:3.4~rc1-5', ['beta_2:3.4~rc1-5_amd64']],
      ],
    );
    assert.equal(patches[0]?.classification, 'security');
    assert.equal(patches[0]?.title, 'The alpha of a test');
    assert.deepEqual(
      repository.indexes.map(({ path }) => path),
      [IN_RELEASE, 'dists/test-security/main/binary-amd64/Packages.gz'],
    );
    for (const index of repository.indexes) {
      assert.deepEqual(fs.readFileSync(payloads().pathOf(index.sha256)), fs.readFileSync(join(root, index.path)));
    }
    const document = { schema: 'patchferry/catalog', schemaVersion: 1, product: 'test-1', generatedAt: '2026-06-01T12:00:00Z' };
    const firstSeen = '2026-06-01T12:00:00Z';
    catalog.parse({ ...document, repositories: [repository], patches: patches.map((patch) => ({ ...patch, firstSeen })) });
  });

  it('indexes are fetched by their hash; a second sync with nothing new is one conditional request', async () => {
    const first = await sync();
    assert.deepEqual(server.requests, [`GET ${IN_RELEASE} 200`, `GET ${indexPath()} 200`]);
    server.requests.length = 0;
    const second = await sync();
    assert.deepEqual(server.requests, [`GET ${IN_RELEASE} 304`]);
    assert.equal(second.changed, false);
    assert.deepEqual(second.patches, first.patches);
    assert.deepEqual(second.repository, first.repository);
  });

  it('a mirror without ETags costs one request as well', async () => {
    await server.close();
    server = await serveMock(root, { etags: false });
    await sync();
    server.requests.length = 0;
    assert.equal((await sync()).changed, false);
    assert.deepEqual(server.requests, [`GET ${IN_RELEASE} 200`]);
  });

  it('a mirror that only tells dates costs one conditional request as well', async () => {
    await server.close();
    server = await serveMock(root, { etags: false, modified: new Date(Date.now() - 86_400_000).toUTCString() });
    await sync();
    server.requests.length = 0;
    assert.equal((await sync()).changed, false);
    assert.deepEqual(server.requests, [`GET ${IN_RELEASE} 304`]);
  });

  it('a mirror that does not keep by-hash is asked for the plain name', async () => {
    server.intercept = (path, _, response) => path.includes('by-hash') && response.writeHead(404).end() !== undefined;
    assert.equal((await sync()).patches.length, 2);
    assert.match(server.requests.at(-1) ?? '', /binary-amd64\/Packages\.gz 200$/);
  });

  it('a component or architecture that the vendor lacks is refused; changed settings count as a change', async () => {
    await sync();
    await assert.rejects(sync({ components: ['main', 'contrib'] }), refused('source.missing-index'));
    await assert.rejects(sync({ architectures: ['arm64'] }), refused('source.missing-index'));
    server.requests.length = 0;
    assert.equal((await sync({ product: 'test-2' })).changed, true);
    assert.deepEqual(server.requests, [`GET ${IN_RELEASE} 304`]);
  });

  it('a folder is read as a mirror is', async () => {
    assert.equal((await sync({ url: root })).patches.length, 2);
    assert.equal((await sync({ url: `file://${root}` })).changed, false);
  });

  it('tampered InRelease: refused by its signature, nothing kept, the next good one works', async () => {
    const good = fs.readFileSync(join(root, IN_RELEASE));
    overwrite(IN_RELEASE, (bytes) => bytes.toString().replace('Label: Test', 'Label: Evil'));
    await assert.rejects(sync(), refused('source.signature'));
    assert.equal(fs.existsSync(join(work, 'state')), false);
    assert.deepEqual([...payloads().list()], []);
    overwrite(IN_RELEASE, () => good);
    assert.equal((await sync()).changed, true);
  });

  it('S1 unsigned, wrapped, doubled, emptied InRelease: refused', async () => {
    const good = fs.readFileSync(join(root, IN_RELEASE), 'utf8');
    const signed = /\n\n([\s\S]*)\n-----BEGIN PGP SIGNATURE/.exec(good)?.[1] ?? '';
    for (const bytes of [
      signed,
      `Suite: evil\n${good}`,
      `${good}Suite: evil\n`,
      good + good,
      '',
      '\u00ff\u00fe',
      good.slice(0, -60),
    ]) {
      overwrite(IN_RELEASE, () => bytes);
      await assert.rejects(sync(), (error) => /^source\.(?:unsigned|signature)$/.test((error as { code: string }).code));
    }
  });

  it('wrong keyring, keyring that is none, no keyring: each by its code', async () => {
    fs.writeFileSync(keyring(), (await mockKey()).publicBytes);
    await assert.rejects(sync(), refused('source.signature'));
    fs.writeFileSync(keyring(), 'nonsense');
    await assert.rejects(sync(), refused('source.keyring'));
    await assert.rejects(sync({ keyring: join(work, 'absent') }), refused('source.keyring'));
    await assert.rejects(sync({ keyring: undefined }), refused('source.settings'));
  });

  it('several signatures: one good one by a known key is enough, an expired key counts for nothing', async () => {
    const [other, old] = [await mockKey(), await mockKey({ expiresAfterMs: DAY + 60_000 })];
    await writeMockRepository(root, [other, key]);
    assert.equal((await sync()).changed, true);
    fs.writeFileSync(keyring(), old.publicBytes);
    await writeMockRepository(root, [old]);
    assert.equal((await sync()).changed, true);
    now = T0 + 120_000;
    await assert.rejects(sync(), refused('source.signature'));
  });

  it('tampered Packages of the same length, and a truncated one: refused before they are unpacked', async () => {
    const path = indexPath();
    const good = fs.readFileSync(join(root, path));
    overwrite(path, (bytes) => Buffer.concat([bytes.subarray(0, -1), Buffer.from([(bytes.at(-1) ?? 0) ^ 1])]));
    await assert.rejects(sync(), refused('source.index-hash'));
    overwrite(path, () => good.subarray(0, -5));
    await assert.rejects(sync(), refused('source.index-hash'));
    assert.equal(fs.existsSync(join(work, 'state')), false);
    overwrite(path, () => good);
    assert.equal((await sync()).patches.length, 2);
  });

  it('an index that unpacks to more, or to something else, than was signed: refused', async () => {
    await writeMockRepository(root, [key], { edit: (text) => text.replace(/(\d+)( main\/binary-amd64\/Packages\n)/, '100$2') });
    await assert.rejects(sync(), refused('source.too-large'));
    await writeMockRepository(root, [key], {
      edit: (text) => text.replace(/[0-9a-f]{64}( \d+ main\/binary-amd64\/Packages\n)/, `${'0'.repeat(64)}$1`),
    });
    await assert.rejects(sync(), refused('source.index-hash'));
    await writeMockRepository(root, [key], {
      edit: (text) => text.replace(/(\d+)( main\/binary-amd64\/Packages\n)/, '999999999999$2'),
    });
    await assert.rejects(sync(), refused('source.too-large'));
  });

  it('S12 endless InRelease: bounded', async () => {
    server.intercept = (_, request, response) => {
      response.writeHead(200);
      const more = () => {
        while (!request.destroyed && response.write(Buffer.alloc(65_536, 'x')));
      };
      response.on('drain', more);
      more();
      return true;
    };
    await assert.rejects(sync(), refused('transfer.too-large'));
  });

  it('S7 Valid-Until: expired is refused, also when the mirror answers "unchanged" for ever; none is no end', async () => {
    await sync();
    now = T0 + 8 * DAY;
    await assert.rejects(sync(), refused('source.expired'));
    assert.deepEqual(server.requests.at(-1), `GET ${IN_RELEASE} 304`);
    await writeMockRepository(root, [key], { validUntil: null });
    assert.equal((await sync()).changed, true);
  });

  it('a Date in the far future, or one that is none: refused', async () => {
    await writeMockRepository(root, [key], { date: T0 + 2 * 3_600_000 });
    await assert.rejects(sync(), refused('source.future'));
    for (const date of [
      'tomorrow',
      'Mon, 31 Feb 2026 00:00:00 UTC',
      'Mon, 01 Jun 2026 10:00:00 CEST',
      '2026-06-01T10:00:00Z',
    ]) {
      await writeMockRepository(root, [key], { edit: (text) => text.replace(/^Date: .*$/m, `Date: ${date}`) });
      await assert.rejects(sync(), refused('source.malformed'));
    }
    await writeMockRepository(root, [key], { edit: (text) => text.replace(/^Valid-Until: .*$/m, 'Valid-Until: never') });
    await assert.rejects(sync(), refused('source.malformed'));
  });

  it('S5, S6 rollback: an older InRelease with a good signature is refused, the next newer one works', async () => {
    const old = fs.readFileSync(join(root, IN_RELEASE));
    await writeMockRepository(root, [key], { date: T0 - 60_000, packages: [{ name: 'alpha', version: '1.0-2' }] });
    assert.equal((await sync()).patches.length, 1);
    const kept = fs.readFileSync(join(work, 'state', 'state.json'), 'utf8');
    overwrite(IN_RELEASE, () => old);
    await assert.rejects(sync(), refused('source.rollback'));
    await assert.rejects(sync({ url: root }), refused('source.rollback'), 'by another mirror of the same suite too');
    assert.equal(fs.readFileSync(join(work, 'state', 'state.json'), 'utf8'), kept);
    await writeMockRepository(root, [key], { date: T0 - 30_000, packages: [{ name: 'alpha', version: '1.0-3' }] });
    assert.equal((await sync()).patches[0]?.version, '1.0-3');
  });

  it('S14 another suite under this name, or a suite that became another release: refused', async () => {
    await sync();
    await writeMockRepository(root, [key], { codename: 'next-security', date: T0 - 60_000 });
    await assert.rejects(sync(), refused('source.wrong-suite'));
    await writeMockRepository(root, [key], { edit: (text) => text.replaceAll('test-security', 'other') });
    await assert.rejects(sync(), refused('source.wrong-suite'));
  });

  it('S19 a Release without SHA-256: refused', async () => {
    await writeMockRepository(root, [key], { edit: (text) => text.replace('SHA256:', 'MD5Sum:') });
    await assert.rejects(sync(), refused('source.weak-hash'));
  });

  it('hostile Release: climbing paths, two sums for one file, a field twice', async () => {
    const line = (path: string) => ` ${'a'.repeat(64)} 1 ${path}\n`;
    for (const extra of [
      line('../../etc/passwd'),
      line('/etc/passwd'),
      line('main/binary-amd64/Packages'),
      'Suite: twice\n',
      'x\n',
    ]) {
      await writeMockRepository(root, [key], { edit: (text) => text + extra });
      await assert.rejects(sync(), refused('source.malformed'), extra);
    }
  });

  it('hostile Packages, though signed: refused as a whole, with the stanza', async () => {
    const stanzas: [string, RegExp][] = [
      ['Filename: ../../etc/passwd', /stanza 1: alpha lies outside/],
      ['Filename: /etc/passwd', /outside/],
      ['Size: 99999999999999', /bytes/],
      ['Size: -1', /wrong size/],
      ['SHA256: d41d8cd98f00b204e9800998ecf8427e', /wrong sha256/],
      ['Architecture: arm64', /is for arm64/],
      ['Version: 1 0', /wrong version/],
      ['Package: ../x', /wrong package/],
      ['Source: a b c', /wrong source/],
    ];
    for (const [line, says] of stanzas) {
      const [field = '', value = ''] = line.split(': ');
      await writeMockRepository(root, [key], {
        packages: [{ name: 'alpha', version: '1.0-1', fields: { [field]: value } }],
      });
      await assert.rejects(sync(), (error) => {
        assert.match((error as { code: string }).code, /^source\.(?:malformed|too-large)$/, line);
        assert.match(String(error), says);
        return true;
      });
    }
    await writeMockRepository(root, [key], {
      packages: [
        { name: 'alpha', version: '1.0-1' },
        { name: 'alpha', version: '1.0-1', content: 'other' },
      ],
    });
    await assert.rejects(sync(), refused('source.malformed'));
  });

  it('S36 a damaged record is not taken for none; damaged or lost payloads are fetched anew', async () => {
    const { repository } = await sync();
    const [inRelease, index] = repository.indexes.map(({ sha256 }) => payloads().pathOf(sha256));
    fs.rmSync(inRelease ?? '');
    server.requests.length = 0;
    assert.equal((await sync()).changed, false);
    assert.deepEqual(server.requests, [`GET ${IN_RELEASE} 200`]);
    fs.chmodSync(index ?? '', 0o644);
    fs.writeFileSync(index ?? '', Buffer.alloc(fs.statSync(index ?? '').size));
    await assert.rejects(sync(), refused('source.index-hash'));
    assert.equal((await sync()).changed, false);
    fs.writeFileSync(join(work, 'state', 'state.json'), '{"schema":');
    await assert.rejects(sync(), refused('source.state'));
  });

  it('settings that cannot be: source.settings', async () => {
    for (const wrong of [
      { suite: '../x' },
      { suite: undefined },
      { components: [] },
      { architectures: ['a/../b'] },
      { components: ['..'] },
      { name: 'A b' },
      { product: '' },
      { url: 'ftp://example.org/' },
      { url: '' },
    ] as Partial<SourceSettings>[]) {
      await assert.rejects(sync(wrong), refused('source.settings'), JSON.stringify(wrong));
    }
  });

  it('a signed message of another kind is no Release', async () => {
    fs.writeFileSync(join(root, IN_RELEASE), await clearsign('Dear all,\n\nhello', [key], T0));
    await assert.rejects(sync(), refused('source.malformed'));
  });
});
