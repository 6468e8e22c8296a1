// A whole sync against a repository made by createrepo_c, of packages by rpmbuild, signed by GnuPG: what is believed, what refused.
import assert from 'node:assert/strict';
import * as fs from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, beforeEach, describe, it } from 'node:test';
import { gunzipSync, zstdCompressSync } from 'node:zlib';
import { type Clock, utcSeconds } from '#manifests/platform/clock';
import { openPayloadStore } from '#manifests/repository';
import { type Catalog, catalog, sha256Of } from '#manifests/schema';
import { folderOrigin } from '#manifests/transfer';
import { ADVISORIES, INSTALLED, MODULES, OARS, RpmVendor, UPDATED } from '../../../scripts/hosts/rpm/index.ts';
import type { VendorOrigin } from '../api.ts';
import { fetchPayloads, type SourceSettings, syncSource } from '../index.ts';

const missing = ['rpmbuild', 'rpmsign', 'createrepo_c', 'gpg'].filter((name) => !fs.existsSync(`/usr/bin/${name}`));
const skip = missing.length === 0 ? false : `needs ${missing.join(', ')}`;
const ALL = [...INSTALLED, ...Object.values(UPDATED)];
/** Every date of the metadata, in seconds. */
const DAY_ONE = 1_790_000_000;

describe('sync of an RPM repository', { skip }, () => {
  let work: string;
  let vendor: RpmVendor;
  let fresh: string;
  let root: string;
  let run: string;
  let count = 0;
  const asked: string[] = [];
  let now = 0;
  const clock: Clock = { now: () => now, monotonic: () => now };

  before(async () => {
    work = fs.mkdtempSync(join(tmpdir(), 'patchferry-rpm-'));
    vendor = await RpmVendor.open(join(work, 'vendor'));
    fresh = join(work, 'fresh');
    await vendor.publish(fresh, ALL, { advisories: ADVISORIES, revision: DAY_ONE });
  });
  after(async () => {
    await vendor?.close();
    fs.rmSync(work, { recursive: true, force: true });
  });
  beforeEach(() => {
    now = Date.now(); // keys and signatures are of today
    count += 1;
    run = join(work, `run${count}`);
    root = join(run, 'mirror');
    fs.cpSync(fresh, root, { recursive: true });
    asked.length = 0;
  });

  const settings = (more: Partial<SourceSettings> = {}): SourceSettings => ({
    name: 'ferry-9',
    kind: 'rpm',
    product: 'ferrylinux-9',
    url: root,
    keyring: vendor.publicKey,
    ...more,
  });
  const payloads = () => openPayloadStore(join(run, 'payloads'));
  /** The folder, noting what is asked of it. */
  const line = (): VendorOrigin => {
    const real = folderOrigin(root, 'repodata');
    return {
      name: real.name,
      fetchSmall: (path, options) => {
        asked.push(path);
        return real.fetchSmall(path, options);
      },
      download: (path, ...rest) => {
        asked.push(path);
        return real.download(path, ...rest);
      },
    };
  };
  const options = () => ({
    folder: join(run, 'state'),
    payloads: payloads(),
    clock,
    signal: new AbortController().signal,
    origin: line(),
  });
  const sync = (more: Partial<SourceSettings> = {}) => syncSource(settings(more), options());
  const fileOf = (type: string) => {
    const name = fs.readdirSync(join(root, 'repodata')).find((each) => each.includes(`-${type}.xml`));
    return join(root, 'repodata', name ?? assert.fail(type));
  };
  const edit = (path: string, change: (text: string) => string) =>
    fs.writeFileSync(path, change(fs.readFileSync(path, 'utf8')));
  const repomdFile = () => join(root, 'repodata/repomd.xml');
  /** Puts another primary.xml (packed by zstd) into the repository, and signs. */
  const replacePrimary = async (packed: Buffer, plainSum?: string, plainSize?: number) => {
    const old = fileOf('primary');
    const plain = gunzipSync(fs.readFileSync(old));
    edit(repomdFile(), (text) =>
      text
        .replaceAll(`>${sha256Of(fs.readFileSync(old))}<`, `>${sha256Of(packed)}<`)
        .replaceAll(`>${sha256Of(plain)}<`, `>${plainSum ?? sha256Of(plain)}<`)
        .replace(`<open-size>${plain.length}<`, `<open-size>${plainSize ?? plain.length}<`)
        .replace(`<size>${fs.statSync(old).size}</size>`, `<size>${packed.length}</size>`)
        .replace(/href="repodata\/[0-9a-f]*-primary\.xml\.gz"/, 'href="repodata/primary.xml.zst"'),
    );
    fs.writeFileSync(join(root, 'repodata/primary.xml.zst'), packed);
    await vendor.signFile(repomdFile());
  };

  it('patches with advisories, severities, flaws and dates; index files byte for byte; a second sync asks one question', async () => {
    const first = await sync();
    assert.equal(first.changed, true);
    assert.match(first.says, /20 packages in 20 patches, 6 advisories, signed by [0-9A-F]{16}$/);
    const lib = first.patches.find(({ id }) => id === 'libferry@1.0-2.fl9');
    assert.deepEqual(
      [lib?.classification, lib?.severity, lib?.cves, lib?.advisories, lib?.released, lib?.updated, lib?.title],
      [
        'security',
        'high',
        ['CVE-2026-1001', 'CVE-2026-1002'],
        ['FLSA-2026:0001'],
        '2026-10-01T08:30:00Z',
        '2026-10-02T00:00:00Z',
        'Important: ferry security update',
      ],
    );
    assert.equal(first.patches.find(({ id }) => id === 'kernel-core@6.1.0-2.fl9')?.rebootSuggested, true);
    assert.equal(first.patches.find(({ id }) => id === 'keel@1:2.0-2.fl9')?.classification, 'bugfix');
    assert.equal(first.patches.find(({ id }) => id === 'mast@1.0-2.fl9')?.classification, 'other');
    assert.deepEqual(
      first.repository.indexes.map(({ path }) => path.replace(/[0-9a-f]{64}-/, '')),
      [
        'repodata/repomd.xml',
        'repodata/repomd.xml.asc',
        'repodata/primary.xml.gz',
        'repodata/filelists.xml.gz',
        'repodata/updateinfo.xml.gz',
      ],
    );
    for (const { sha256, path } of first.repository.indexes)
      assert.deepEqual(fs.readFileSync(payloads().pathOf(sha256)), fs.readFileSync(join(root, path)));
    const document: Catalog = {
      schema: 'patchferry/catalog',
      schemaVersion: 1,
      product: 'ferrylinux-9',
      generatedAt: utcSeconds(now),
      repositories: [first.repository],
      patches: first.patches.map((patch) => ({ ...patch, firstSeen: utcSeconds(now) })),
    };
    assert.ok(catalog.safeParse(document).success);

    asked.length = 0;
    const second = await sync();
    assert.deepEqual([second.changed, asked], [false, ['repodata/repomd.xml']]);
    assert.deepEqual(second.patches, first.patches);
    assert.deepEqual(second.repository, first.repository);
  });

  it('packages come by the hash of the signed metadata', async () => {
    const { patches } = await sync();
    const wanted = patches.filter(({ classification }) => classification === 'security');
    const report = await fetchPayloads(settings(), wanted, { ...options() });
    assert.deepEqual(report.failed, []);
    assert.equal(report.fetched, wanted.flatMap((patch) => patch.packages).length);
    fs.writeFileSync(join(root, wanted[0]?.packages[0]?.path ?? ''), 'something else');
    payloads().remove(wanted[0]?.packages[0]?.sha256 ?? '');
    const again = await fetchPayloads(settings(), wanted, { ...options() });
    assert.deepEqual(
      again.failed.map(({ patch }) => patch),
      [wanted[0]?.id],
    );
  });

  it('packages of module streams carry the streams; a host is offered those of its own alone', async () => {
    await vendor.publish(root, [...INSTALLED, ...Object.values(OARS)], { modules: MODULES, revision: DAY_ONE });
    const { patches, repository, says } = await sync();
    assert.match(says, /, 3 builds of module streams, signed by/);
    assert.ok(
      repository.indexes.some(({ path }) => path.endsWith('modules.yaml.gz')),
      "the host's dnf reads it too",
    );
    const streams = patches
      .filter(({ source }) => source === 'oar')
      .map(({ version, packages }) => [version, packages[0]?.modules]);
    assert.deepEqual(streams, [
      ['1.0-1.module_fl9+1+abc', ['oar:1']],
      ['1.0-2.module_fl9+1+abc', ['oar:1']],
      ['2.0-1.module_fl9+2+abc', ['oar:2']],
      ['3.0-1.fl9', undefined],
    ]);
  });

  it('packages on another server (xml:base) are left out and counted; the others stay', async () => {
    const file = fileOf('primary');
    const text = gunzipSync(fs.readFileSync(file)).toString();
    const moved = text.replace(
      '<location href="Packages/mast-1.0-2',
      '<location xml:base="http://other.example/" href="mast-1.0-2',
    );
    assert.notEqual(moved, text);
    const packed = zstdCompressSync(Buffer.from(moved));
    await replacePrimary(packed, sha256Of(Buffer.from(moved)), Buffer.byteLength(moved));
    const { patches, says } = await sync();
    assert.match(says, /19 packages in 19 patches.*, 1 of other servers \(xml:base\) left out/);
    assert.ok(!patches.some(({ id }) => id === 'mast@1.0-2.fl9'));
  });

  it('metadata that unpacks to more, or to something else, than is signed stops there', async () => {
    const plain = gunzipSync(fs.readFileSync(fileOf('primary')));
    await replacePrimary(zstdCompressSync(Buffer.concat([plain, Buffer.alloc(64 << 20, ' ')])));
    await assert.rejects(sync(), { code: 'source.too-large' });
    await vendor.index(root, { advisories: ADVISORIES, revision: DAY_ONE });
    await replacePrimary(zstdCompressSync(plain), 'b'.repeat(64));
    await assert.rejects(sync(), { code: 'source.index-hash' });
    await vendor.index(root, { advisories: ADVISORIES, revision: DAY_ONE });
    edit(repomdFile(), (text) => text.replace(/<open-size>\d+</, '<open-size>9999999999999<'));
    await vendor.signFile(repomdFile());
    await assert.rejects(sync(), { code: 'source.too-large' });
    assert.ok(!fs.existsSync(join(run, 'state/state.json')));
  });

  it('pieces of zchunk beside the metadata, and databases of SQLite, are neither fetched nor carried', async () => {
    const extra = ['primary_zck', 'filelists_zck', 'primary_db', 'other_db'].map(
      (type) =>
        `<data type="${type}"><checksum type="sha256">${'a'.repeat(64)}</checksum><location href="repodata/${type}.zck"/><size>9</size></data>`,
    );
    edit(repomdFile(), (text) => text.replace('</repomd>', `${extra.join('')}</repomd>`));
    await vendor.signFile(repomdFile());
    const { repository } = await sync();
    assert.ok(!repository.indexes.some(({ path }) => path.includes('zck')));
    assert.ok(!asked.some((path) => path.includes('zck')));
  });

  it('metadata in xz, bzip2 and zstd reads the same', async () => {
    const gz = await sync();
    const state = () => fs.rmSync(join(run, 'state'), { recursive: true });
    state();
    for (const compression of ['xz', 'bz2'] as const) {
      await vendor.index(root, { advisories: ADVISORIES, revision: DAY_ONE, compression });
      const other = await sync();
      assert.ok(other.repository.indexes.some(({ path }) => path.endsWith(`-primary.xml.${compression}`)));
      assert.deepEqual(other.patches, gz.patches);
      state();
    }
    await vendor.index(root, { advisories: ADVISORIES, revision: DAY_ONE });
    await replacePrimary(zstdCompressSync(gunzipSync(fs.readFileSync(fileOf('primary')))));
    const { patches, repository } = await sync();
    assert.ok(repository.indexes.some(({ path }) => path === 'repodata/primary.xml.zst'));
    assert.deepEqual(patches, gz.patches);
  });

  it('S: tampered metadata, another key, no signature, a signature over something else: nothing is believed', async () => {
    edit(repomdFile(), (text) => text.replace('<revision>', '<revision>1'));
    await assert.rejects(sync(), { code: 'source.signature' });
    fs.rmSync(`${repomdFile()}.asc`);
    await assert.rejects(sync(), { code: 'source.unsigned' });
    fs.writeFileSync(`${repomdFile()}.asc`, 'no signature');
    await assert.rejects(sync(), { code: 'source.unsigned' });
    await using stranger = await RpmVendor.open(join(run, 'stranger'), 'Stranger <s@stranger.example>');
    await stranger.signFile(repomdFile());
    await assert.rejects(sync(), { code: 'source.signature' });
    assert.ok(!fs.existsSync(join(run, 'state/state.json')));
  });

  it('metadata that is not what the signed repomd.xml names is refused', async () => {
    const file = fileOf('primary');
    const bytes = fs.readFileSync(file);
    bytes[bytes.length >> 1] = (bytes[bytes.length >> 1] ?? 0) ^ 1;
    fs.writeFileSync(file, bytes);
    await assert.rejects(sync(), { code: 'source.index-hash' });
    fs.rmSync(file);
    await assert.rejects(sync(), { code: 'source.index-hash' });
  });

  it('an older state than was accepted is refused, a newer one taken, one of the future refused', async () => {
    await sync();
    await vendor.index(root, { advisories: ADVISORIES, revision: DAY_ONE - 100 });
    await assert.rejects(sync(), { code: 'source.rollback' });
    await vendor.index(root, { advisories: ADVISORIES.slice(1), revision: DAY_ONE + 100 });
    const newer = await sync();
    assert.ok(newer.changed);
    assert.deepEqual(newer.patches.find(({ id }) => id === 'libferry@1.0-2.fl9')?.advisories, []);
    await vendor.index(root, { revision: Math.floor(now / 1000) + 7_200 });
    await assert.rejects(sync(), { code: 'source.future' });
  });

  it('unsigned metadata only where the settings name it, and never over plain http', async () => {
    await vendor.index(root, { advisories: ADVISORIES, revision: DAY_ONE, sign: false });
    fs.rmSync(`${repomdFile()}.asc`, { force: true });
    await assert.rejects(sync(), { code: 'source.unsigned' });
    const taken = await sync({ unsignedMetadata: true });
    assert.match(taken.says, /not signed by the vendor, as settings allow/);
    assert.ok(!taken.repository.indexes.some(({ path }) => path.endsWith('.asc')));
    await assert.rejects(sync(), { code: 'source.unsigned' }, 'stricter settings ask again');
    await assert.rejects(sync({ unsignedMetadata: true, url: 'http://mirror.example/' }), { code: 'source.settings' });
    await assert.rejects(sync({ suite: 'x' }), { code: 'source.settings' });
  });

  it('without advisories every patch is of no class; a retracted one is left out', async () => {
    await vendor.index(root, { revision: DAY_ONE });
    assert.ok((await sync()).patches.every(({ classification }) => classification === 'other'));
    const [first, ...rest] = ADVISORIES;
    if (first === undefined) assert.fail();
    await vendor.index(root, { advisories: [{ ...first, status: 'retracted' }, ...rest], revision: DAY_ONE + 1 });
    const synced = await sync();
    assert.ok(!synced.patches.some(({ id }) => id === 'libferry@1.0-2.fl9'));
    assert.match(synced.says, /2 retracted packages left out/);
  });

  it('a folder without repodata says what the url should be', async () => {
    fs.rmSync(join(root, 'repodata/repomd.xml'));
    await assert.rejects(sync(), { code: 'source.missing', next: /the folder that holds `repodata\/`/ });
    fs.rmSync(join(root, 'repodata'), { recursive: true });
    const { origin: _, ...own } = options();
    await assert.rejects(syncSource(settings(), own), { code: 'transfer.not-a-repository', message: /no folder repodata/ });
  });
});
