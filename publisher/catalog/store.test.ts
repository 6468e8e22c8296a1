// The memory of patches: first-seen dates, withdrawals, several repositories of one product, CVEs read once.
import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import * as fs from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { DatabaseSync } from 'node:sqlite';
import { afterEach, beforeEach, describe, it } from 'node:test';
import { gzipSync } from 'node:zlib';
import * as fc from 'fast-check';
import { isFault } from '#manifests/errors';
import { openPayloadStore } from '#manifests/repository';
import { decodeDocument, encodeDocument, type VendorRepository } from '#manifests/schema';
import type { SourcePatch } from '../sources/index.ts';
import { openCatalogStore } from './index.ts';

const DAY = 86_400_000;
const T0 = Date.UTC(2026, 5, 1);
const sha256 = (data: Uint8Array | string) => createHash('sha256').update(data).digest('hex');

function repository(name = 'security'): VendorRepository {
  return {
    name,
    format: 'apt',
    suite: name,
    components: ['main'],
    architectures: ['amd64'],
    indexes: [],
    syncedAt: '2026-06-01T00:00:00Z',
  };
}

function patch(id: string, more: Partial<SourcePatch> = {}): SourcePatch {
  const [source = '', version = ''] = id.split('@');
  const content = id;
  const packages = [
    { name: source, version, arch: 'amd64', sha256: sha256(content), size: content.length, path: `pool/${source}.deb` },
  ];
  return {
    id,
    format: 'deb',
    source,
    version,
    title: source,
    classification: 'security',
    severity: 'unspecified',
    section: '',
    priority: '',
    repository: 'security',
    cves: [],
    advisories: [],
    released: null,
    updated: null,
    packages,
    ...more,
  };
}

/** A .deb (uncompressed data member) with this changelog. */
function debWith(name: string, changelog: string): Buffer {
  const content = gzipSync(changelog);
  const header = Buffer.alloc(512);
  header.write(`./usr/share/doc/${name}/changelog.Debian.gz`);
  header.write(`${content.length.toString(8).padStart(11, '0')}\0`, 124);
  header.write('        0', 148);
  header.write(
    `${header
      .reduce((sum, byte) => sum + byte, 0)
      .toString(8)
      .padStart(6, '0')}\0 `,
    148,
  );
  const tar = Buffer.concat([header, content, Buffer.alloc(512 - (content.length % 512)), Buffer.alloc(1024)]);
  const member = (title: string, bytes: Uint8Array) =>
    Buffer.concat([
      Buffer.from(`${title.padEnd(48)}${String(bytes.length).padEnd(10)}\`\n`),
      bytes,
      Buffer.alloc(bytes.length % 2),
    ]);
  return Buffer.concat([Buffer.from('!<arch>\n'), member('debian-binary', Buffer.from('2.0\n')), member('data.tar', tar)]);
}

describe('catalog store', () => {
  let work: string;
  const open = () => openCatalogStore(join(work, 'catalog'));
  const merge = (patches: SourcePatch[], now: number, name?: string) => {
    using store = open();
    return store.merge('debian-12', { repository: repository(name), patches }, now);
  };
  const catalog = (now = T0) => {
    using store = open();
    return store.catalogOf('debian-12', now);
  };
  const firstSeen = () => Object.fromEntries(catalog().patches.map(({ id, firstSeen }) => [id, firstSeen.slice(0, 10)]));
  beforeEach(() => {
    work = fs.mkdtempSync(join(tmpdir(), 'patchferry-catalog-'));
  });
  afterEach(() => fs.rmSync(work, { recursive: true, force: true }));

  it('keeps when a patch was first seen, through changes, withdrawal and return', () => {
    assert.deepEqual(merge([patch('a@1'), patch('b@1')], T0).added, ['a@1', 'b@1']);
    const empty = { added: [], updated: [], rewritten: [], withdrawn: [], returned: [] };
    assert.deepEqual(merge([patch('a@1'), patch('b@1')], T0 + DAY), empty);
    assert.deepEqual(merge([patch('a@1'), patch('a@2')], T0 + 2 * DAY), { ...empty, added: ['a@2'], withdrawn: ['b@1'] });
    assert.deepEqual(firstSeen(), { 'a@1': '2026-06-01', 'a@2': '2026-06-03' });
    assert.deepEqual(merge([patch('b@1', { title: 'new' }), patch('a@2')], T0 + 3 * DAY), {
      ...empty,
      updated: ['b@1'],
      returned: ['b@1'],
      withdrawn: ['a@1'],
    });
    assert.deepEqual(firstSeen(), { 'a@2': '2026-06-03', 'b@1': '2026-06-01' });
  });

  it('what the vendor took back stays known', () => {
    merge([patch('a@1.9'), patch('a@1.10')], T0);
    merge([patch('a@1.10')], T0 + DAY);
    using store = open();
    assert.deepEqual(
      store.historyOf('debian-12', 'a').map(({ patch: { id }, withdrawnAt }) => [id, withdrawnAt]),
      [
        ['a@1.9', T0 + DAY],
        ['a@1.10', null],
      ],
    );
  });

  it('other bytes under the same package version are pointed out', () => {
    merge([patch('a@1')], T0);
    const [item] = patch('a@1').packages;
    const other = patch('a@1', { packages: item === undefined ? [] : [{ ...item, sha256: sha256('other') }] });
    assert.deepEqual(merge([other], T0 + DAY).rewritten, ['a@1']);
    const more = patch('a@1', { packages: item === undefined ? [] : [...other.packages, { ...item, arch: 'arm64' }] });
    const report = merge([more], T0 + DAY);
    assert.deepEqual([report.updated, report.rewritten], [['a@1'], []]);
  });

  it('several repositories of one product: one patch an id, the security one, seen when the first was', () => {
    merge([patch('a@1', { classification: 'bugfix', repository: 'main' }), patch('b@1', { repository: 'main' })], T0, 'main');
    merge([patch('a@1')], T0 + DAY, 'security');
    const { patches, repositories } = catalog();
    assert.deepEqual(
      patches.map((item) => [item.id, item.repository, item.firstSeen]),
      [
        ['a@1', 'security', '2026-06-01T00:00:00Z'],
        ['b@1', 'main', '2026-06-01T00:00:00Z'],
      ],
    );
    assert.deepEqual(
      repositories.map(({ name }) => name),
      ['main', 'security'],
    );
    using store = open();
    store.removeRepository('debian-12', 'main', T0 + 2 * DAY);
    assert.deepEqual(
      store.catalogOf('debian-12', T0).patches.map(({ id }) => id),
      ['a@1'],
    );
  });

  it('the catalog is a valid document, and the same for the same state', () => {
    merge([patch('b@1'), patch('a@1')], T0);
    const bytes = encodeDocument('catalog', catalog());
    assert.deepEqual(decodeDocument('catalog', bytes, 'test'), catalog());
    assert.deepEqual(encodeDocument('catalog', catalog()), bytes);
    using store = open();
    assert.deepEqual(store.products(), ['debian-12']);
    assert.throws(
      () => store.catalogOf('debian-13', T0),
      (error) => isFault(error, 'catalog.no-product'),
    );
  });

  it('first-seen never moves later, whatever comes and goes', () => {
    const ids = ['a@1', 'a@2', 'b@1', 'c@1'];
    fc.assert(
      fc.property(fc.array(fc.subarray(ids), { minLength: 1, maxLength: 8 }), (syncs) => {
        const folder = fs.mkdtempSync(join(work, 'run-'));
        using store = openCatalogStore(folder);
        const first = new Map<string, number>();
        for (const [nth, offered] of syncs.entries()) {
          const now = T0 + nth * DAY;
          for (const id of offered) if (!first.has(id)) first.set(id, now);
          store.merge('p', { repository: repository(), patches: offered.map((id) => patch(id)) }, now);
          const seen = store
            .catalogOf('p', now)
            .patches.map(({ id, firstSeen }): [string, number] => [id, Date.parse(firstSeen)]);
          assert.deepEqual(
            seen,
            offered.toSorted().map((id) => [id, first.get(id)]),
          );
        }
      }),
      { numRuns: 30 },
    );
  });

  it('CVEs and urgency are read once, stay when the payload goes, and move up when a version between is withdrawn', async () => {
    const entry = (version: string, urgency: string, cve: string) =>
      `a (${version}) bookworm-security; urgency=${urgency}\n\n  * ${cve}\n\n -- A <a@b>  Wed, 21 Oct 2026 16:54:24 +0700\n\n`;
    const log = ['3', '2', '1'].map((version) =>
      entry(version, version === '2' ? 'critical' : 'low', `CVE-2026-000${version}`),
    );
    const payloads = openPayloadStore(join(work, 'payloads'));
    const make = async (version: string, nth: number) => {
      const bytes = debWith('a', log.slice(nth).join(''));
      await payloads.put(sha256(bytes), bytes.length, [bytes] as unknown as AsyncIterable<Uint8Array>);
      const packages = [{ name: 'a', version, arch: 'amd64', sha256: sha256(bytes), size: bytes.length, path: 'pool/a.deb' }];
      return patch(`a@${version}`, { packages });
    };
    const [three, two, one] = [await make('3', 0), await make('2', 1), await make('1', 2)];
    const cves = () => Object.fromEntries(catalog().patches.map((item) => [item.id, [item.severity, ...item.cves]]));
    using store = open();
    const waiting = patch('b@1');
    store.merge('debian-12', { repository: repository(), patches: [one, two, three, waiting] }, T0);
    assert.deepEqual(await store.enrich('debian-12', payloads), { enriched: 3, waiting: 1, silent: [] });
    assert.deepEqual(cves(), {
      'a@1': ['low', 'CVE-2026-0001'],
      'a@2': ['critical', 'CVE-2026-0002'],
      'a@3': ['low', 'CVE-2026-0003'],
      'b@1': ['unspecified'],
    });
    assert.equal((await store.enrich('debian-12', payloads)).enriched, 0);
    store.merge('debian-12', { repository: repository(), patches: [one, three] }, T0 + DAY);
    assert.equal((await store.enrich('debian-12', payloads)).enriched, 1);
    assert.deepEqual(cves()['a@3'], ['critical', 'CVE-2026-0002', 'CVE-2026-0003']);
    for (const { packages } of [one, three]) payloads.remove(packages[0]?.sha256 ?? '');
    assert.deepEqual(await store.enrich('debian-12', payloads), { enriched: 0, waiting: 0, silent: [] });
    assert.deepEqual(cves()['a@3'], ['critical', 'CVE-2026-0002', 'CVE-2026-0003']);
  });

  it('a merge that fails changes nothing', () => {
    merge([patch('a@1')], T0);
    const bad = { ...patch('b@1'), source: null as unknown as string };
    assert.throws(() => merge([patch('c@1'), bad], T0 + DAY));
    assert.deepEqual(firstSeen(), { 'a@1': '2026-06-01' });
  });

  it('a store of a newer patchferry, or one that is none: refused', () => {
    merge([patch('a@1')], T0);
    const file = join(work, 'catalog', 'catalog.sqlite');
    const database = new DatabaseSync(file);
    database.exec('PRAGMA user_version=99');
    database.close();
    assert.throws(open, (error) => isFault(error, 'catalog.newer'));
    fs.rmSync(join(work, 'catalog'), { recursive: true });
    fs.mkdirSync(join(work, 'catalog'));
    fs.writeFileSync(file, 'nonsense '.repeat(1_000));
    assert.throws(open, (error) => isFault(error, 'catalog.damaged'));
  });
});
