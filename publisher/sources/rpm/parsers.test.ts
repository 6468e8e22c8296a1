// What vendors write in repomd.xml, primary.xml and updateinfo.xml, and what of it is refused. A real repository is in sync.test.ts.
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { collectRpms } from './patches.ts';
import { type RpmPackage, readPrimary } from './primary.ts';
import { parseRepomd } from './repomd.ts';
import { type Advisory, parseDate, readUpdateInfo } from './updateinfo.ts';

const SUM = 'a'.repeat(64);

async function* bytesOf(text: string) {
  yield Buffer.from(text);
}

const data = (change: Partial<Record<'type' | 'sum' | 'href' | 'size' | 'base' | 'sumType', string>> = {}) =>
  `<data type="${change.type ?? 'primary'}"><checksum type="${change.sumType ?? 'sha256'}">${change.sum ?? SUM}</checksum>` +
  `<location ${change.base === undefined ? '' : `xml:base="${change.base}" `}href="${change.href ?? 'repodata/primary.xml.gz'}"/>` +
  `<timestamp>1700000000</timestamp><size>${change.size ?? '10'}</size></data>`;
const repomd = (...entries: string[]) =>
  parseRepomd(Buffer.from(`<repomd><revision>9</revision>${entries.join('')}</repomd>`), 'repomd.xml');

describe('repomd.xml', () => {
  it('files with their sums; the date is the latest one', async () => {
    const { entries, date, revision } = await repomd(data(), data({ type: 'other', href: 'repodata/other.xml.gz' }));
    assert.deepEqual([...entries.keys()], ['primary', 'other']);
    assert.deepEqual([date, revision], [1_700_000_000_000, '9']);
    assert.equal(entries.get('primary')?.plain, null);
  });
  for (const [what, entry, code] of [
    ['a file outside of the repository', data({ href: '../../etc/passwd' }), 'source.malformed'],
    ['a file of another server', data({ base: 'http://other.example/' }), 'source.malformed'],
    ['an absolute path', data({ href: '/etc/passwd' }), 'source.malformed'],
    ['a weak sum', data({ sumType: 'sha', sum: 'b'.repeat(40) }), 'source.weak-hash'],
    ['a size that is none', data({ size: '-1' }), 'source.malformed'],
    ['a size beyond all bounds', data({ size: '999999999999999' }), 'source.too-large'],
    ['no primary metadata', data({ type: 'other' }), 'source.missing-index'],
    ['one kind twice', data() + data(), 'source.malformed'],
    ['another document', '</repomd><repomd>', 'source.malformed'],
  ] as const) {
    it(`refuses ${what}`, () => assert.rejects(repomd(entry), { code }));
  }
});

const packageXml = (
  change: Partial<Record<'name' | 'arch' | 'epoch' | 'href' | 'sum' | 'sumType' | 'source' | 'ver', string>> = {},
) =>
  `<package type="rpm"><name>${change.name ?? 'openssl-libs'}</name><arch>${change.arch ?? 'x86_64'}</arch>` +
  `<version epoch="${change.epoch ?? '1'}" ver="${change.ver ?? '3.0.7'}" rel="27.el9"/>` +
  `<checksum type="${change.sumType ?? 'sha256'}" pkgid="YES">${change.sum ?? SUM}</checksum><summary>Shared &amp; static</summary>` +
  `<time file="1700000001" build="1700000000"/><size package="4096" installed="9" archive="9"/>` +
  `<location href="${change.href ?? 'Packages/o/openssl-libs-3.0.7-27.el9.x86_64.rpm'}"/>` +
  `<format><rpm:license>x</rpm:license><rpm:group>Unspecified</rpm:group>` +
  `<rpm:sourcerpm>${change.source ?? 'openssl-3.0.7-27.el9.src.rpm'}</rpm:sourcerpm><file>/usr/lib64/libssl.so.3</file></format></package>`;

async function primary(...packages: string[]): Promise<RpmPackage[]> {
  const found: RpmPackage[] = [];
  const text = `<metadata xmlns:rpm="x" packages="1">${packages.join('')}</metadata>`;
  await readPrimary(bytesOf(text), 'primary.xml', (item) => found.push(item));
  return found;
}

describe('primary.xml', () => {
  it('a package: epoch, source, sizes, dates; source packages are left out', async () => {
    assert.deepEqual(await primary(packageXml(), packageXml({ arch: 'src' })), [
      {
        name: 'openssl-libs',
        epoch: '1',
        version: '1:3.0.7-27.el9',
        arch: 'x86_64',
        source: 'openssl',
        sourceVersion: '1:3.0.7-27.el9',
        sha256: SUM,
        size: 4096,
        path: 'Packages/o/openssl-libs-3.0.7-27.el9.x86_64.rpm',
        summary: 'Shared & static',
        group: '',
        built: 1_700_000_000,
      },
    ]);
  });
  it('a caret in a version and a path, an epoch of 0, a package without a source', async () => {
    const [found] = await primary(packageXml({ ver: '1.0^git2', epoch: '0', href: 'p/a-1.0^git2.rpm', source: '' }));
    assert.deepEqual(
      [found?.version, found?.source, found?.sourceVersion],
      ['1.0^git2-27.el9', 'openssl-libs', '1.0^git2-27.el9'],
    );
  });
  for (const [what, change, code] of [
    ['a path that climbs', { href: '../x.rpm' }, 'source.malformed'],
    ['a name with a slash', { name: 'a/b' }, 'source.malformed'],
    ['a version with a blank', { ver: '1 0' }, 'source.malformed'],
    ['a SHA-1 sum', { sumType: 'sha', sum: 'b'.repeat(40) }, 'source.weak-hash'],
    ['an epoch that is none', { epoch: '-1' }, 'source.malformed'],
  ] as const) {
    it(`refuses ${what}`, () => assert.rejects(primary(packageXml(change)), { code }));
  }
});

async function advisories(text: string): Promise<Advisory[]> {
  const found: Advisory[] = [];
  await readUpdateInfo(bytesOf(`<updates>${text}</updates>`), 'updateinfo.xml', (item) => found.push(item));
  return found;
}

const COLLECTION =
  '<pkglist><collection><package name="openssl-libs" epoch="1" version="3.0.7" release="27.el9" arch="x86_64">' +
  '<filename>x</filename></package></collection></pkglist>';

describe('updateinfo.xml', () => {
  it('dates as vendors write them, in UTC', () => {
    assert.equal(parseDate('2026-10-01 08:30:00'), Date.UTC(2026, 9, 1, 8, 30));
    assert.equal(parseDate('2026-10-01'), Date.UTC(2026, 9, 1));
    assert.equal(parseDate('2026-10-01T08:30:00Z'), Date.UTC(2026, 9, 1, 8, 30));
    assert.equal(parseDate('1700000000'), 1_700_000_000_000);
    for (const text of ['', 'soon', '2026-13-41', '10/01/2026']) assert.equal(parseDate(text), null);
  });

  it("Red Hat's, Amazon's, SUSE's words; flaws from references and titles; a reboot on advisory or package", async () => {
    const [red, amazon, suse] = await advisories(
      `<update type="security" status="final"><id>RHSA-2026:1</id><title>Important: x (CVE-2026-0009)</title><severity>Important</severity>
       <issued date="2026-10-01 00:00:00"/><references><reference type="cve" id="CVE-2026-0001"/><reference type="bugzilla" id="77"/></references>
       ${COLLECTION}<reboot_suggested>True</reboot_suggested></update>
       <update type="security"><id>ALAS-2026-2</id><severity>medium</severity><references><reference id="CVE-2026-0002"/></references></update>
       <update type="recommended" status="retracted"><id>SUSE-RU-3</id><issued date="1700000000"/>
       <pkglist><collection><package name="a" epoch="" version="1" release="1" arch="noarch"><reboot_suggested>1</reboot_suggested></package></collection></pkglist></update>`,
    );
    assert.deepEqual(
      [red?.classification, red?.severity, red?.cves, red?.reboot, red?.packages],
      ['security', 'high', ['CVE-2026-0001', 'CVE-2026-0009'], true, ['openssl-libs-1:3.0.7-27.el9.x86_64']],
    );
    assert.deepEqual([amazon?.severity, amazon?.cves, amazon?.issued], ['medium', ['CVE-2026-0002'], null]);
    assert.deepEqual(
      [suse?.classification, suse?.retracted, suse?.reboot, suse?.packages, suse?.issued],
      ['bugfix', true, true, ['a-0:1-1.noarch'], 1_700_000_000_000],
    );
  });
  it('refuses an advisory without an id, and another document', async () => {
    await assert.rejects(advisories('<update type="security"><title>x</title></update>'), { code: 'source.malformed' });
    await assert.rejects(
      readUpdateInfo(bytesOf('<html/>'), 'x', () => undefined),
      { code: 'source.malformed' },
    );
  });
});

describe('patches of packages and advisories', () => {
  const advisory = (more: Partial<Advisory>): Advisory => ({
    id: 'A-1',
    title: '',
    classification: 'security',
    severity: 'low',
    issued: null,
    updated: null,
    cves: [],
    reboot: false,
    retracted: false,
    packages: ['openssl-libs-1:3.0.7-27.el9.x86_64'],
    ...more,
  });
  const collect = async (packages: string[], list: Advisory[]) => {
    const collected = collectRpms('base', ['x86_64'], 'test');
    for (const item of await primary(...packages)) collected.take(item);
    for (const item of list) collected.advise(item);
    return collected;
  };

  it('the gravest advisory speaks, the first dates, all flaws count', async () => {
    const collected = await collect(
      [packageXml(), packageXml({ arch: 'noarch', name: 'openssl-doc', href: 'd.rpm' }), packageXml({ arch: 'aarch64' })],
      [
        advisory({
          id: 'B-2',
          classification: 'bugfix',
          severity: 'unspecified',
          issued: 1_000_000,
          updated: 9_000_000,
          cves: ['CVE-2026-0002'],
        }),
        advisory({ id: 'A-1', title: 'Grave', severity: 'critical', issued: 5_000_000, cves: ['CVE-2026-0001'], reboot: true }),
      ],
    );
    const [patch, ...rest] = collected.patches();
    assert.deepEqual(rest, []);
    assert.deepEqual(
      { ...patch, packages: patch?.packages.map(({ name }) => name) },
      {
        id: 'openssl@1:3.0.7-27.el9',
        format: 'rpm',
        source: 'openssl',
        version: '1:3.0.7-27.el9',
        title: 'Grave',
        classification: 'security',
        severity: 'critical',
        section: '',
        priority: '',
        repository: 'base',
        cves: ['CVE-2026-0001', 'CVE-2026-0002'],
        advisories: ['A-1', 'B-2'],
        released: '1970-01-01T00:16:40Z',
        updated: '1970-01-01T02:30:00Z',
        rebootSuggested: true,
        packages: ['openssl-doc', 'openssl-libs'],
      },
    );
  });
  it('without an advisory: of no class, dated by its build', async () => {
    const [patch] = (await collect([packageXml()], [])).patches();
    assert.deepEqual(
      [patch?.classification, patch?.severity, patch?.released, patch?.title],
      ['other', 'unspecified', '2023-11-14T22:13:20Z', 'Shared & static'],
    );
  });
  it('what the vendor retracted is not offered', async () => {
    const collected = await collect([packageXml()], [advisory({ retracted: true })]);
    assert.deepEqual([collected.patches(), collected.retracted()], [[], 1]);
  });
  it('one name and version with two contents is refused, the same one twice is not', async () => {
    await assert.rejects(collect([packageXml(), packageXml({ sum: 'b'.repeat(64) })], []), { code: 'source.malformed' });
    assert.equal((await collect([packageXml(), packageXml({ href: 'other/place.rpm' })], [])).count(), 1);
  });
});
