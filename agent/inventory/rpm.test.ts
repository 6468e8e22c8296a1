// RPM's answers read, on recorded text; what is held; what waits for a reboot. A real database is in rpm.host.test.ts.
import assert from 'node:assert/strict';
import * as fs from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { parseOsRelease, productOf, readKernels } from './host.ts';
import {
  installedFromRpm,
  isHeld,
  nativeRpmArch,
  parseRpmQuery,
  parseSourceRpm,
  readRpmHolds,
  waitingForReboot,
} from './rpm.ts';

const row = (name: string, more: Partial<Record<'epoch' | 'evr' | 'arch' | 'source' | 'at', string>> = {}) => {
  const [version = '', release = ''] = (more.evr ?? '1.0-1.el9').split('-');
  const source = more.source ?? `${name}-1.0-1.el9.src.rpm`;
  return [name, more.epoch ?? '0', version, release, more.arch ?? 'x86_64', source, more.at ?? '1700000000', '4096'].join('\t');
};

test('rows of rpm: epoch, source, size; keys and packages without a source', () => {
  const text = [
    row('openssl-libs', { epoch: '1', evr: '3.0.7-27.el9', source: 'openssl-3.0.7-27.el9.src.rpm' }),
    row('gpg-pubkey', { arch: '(none)', source: '(none)' }),
    row('own-tool', { source: '(none)' }),
    '',
  ].join('\n');
  const [libs, own, ...rest] = parseRpmQuery(text);
  assert.deepEqual(libs, {
    name: 'openssl-libs',
    version: '1:3.0.7-27.el9',
    arch: 'x86_64',
    source: 'openssl',
    sourceVersion: '1:3.0.7-27.el9',
    installedAt: 1_700_000_000_000,
    installedBytes: 4096,
    installOnly: false,
  });
  assert.deepEqual([own?.source, own?.sourceVersion, rest], ['own-tool', '1.0-1.el9', []]);
  assert.throws(() => parseRpmQuery('error: rpmdb: BDB0113 Thread died\n'), { code: 'inventory.rpm-database' });
  assert.throws(() => parseRpmQuery(row('x'.repeat(300))), { code: 'inventory.rpm-database' });
});

test('source packages by their file names', () => {
  assert.deepEqual(parseSourceRpm('java-17-openjdk-17.0.9.0.9-2.el9.src.rpm'), {
    name: 'java-17-openjdk',
    version: '17.0.9.0.9-2.el9',
  });
  assert.deepEqual(parseSourceRpm('kernel-5.14.0-362.el9.nosrc.rpm')?.name, 'kernel');
  assert.equal(parseSourceRpm('(none)'), undefined);
});

test('two versions of one package are an interrupted transaction, of an installonly package they are not', () => {
  const rows = [row('bash'), row('bash', { evr: '1.0-2.el9' }), row('kernel-core'), row('kernel-core', { evr: '1.0-2.el9' })];
  const entries = parseRpmQuery(rows.join('\n'), new Set(['kernel-core\t1.0-1.el9\tx86_64', 'kernel-core\t1.0-2.el9\tx86_64']));
  assert.deepEqual(
    installedFromRpm(entries, { patterns: [] }).map(({ name, version, state }) => [name, version, state]),
    [
      ['bash', '1.0-1.el9', 'broken'],
      ['bash', '1.0-2.el9', 'broken'],
      ['kernel-core', '1.0-1.el9', 'installed'],
      ['kernel-core', '1.0-2.el9', 'installed'],
    ],
  );
});

test('held: exclude of dnf.conf over several lines, and versionlock; other sections and forbidden versions do not hold', () => {
  const root = fs.mkdtempSync(join(tmpdir(), 'holds-'));
  fs.mkdirSync(join(root, 'etc/dnf/plugins'), { recursive: true });
  fs.writeFileSync(
    join(root, 'etc/dnf/dnf.conf'),
    '[main]\nexclude = kernel*, bash\n  vim-*\ngpgcheck=1\n# exclude=nano\n[extra]\nexcludepkgs=curl\n',
  );
  fs.writeFileSync(
    join(root, 'etc/dnf/plugins/versionlock.list'),
    '# Added lock\nopenssl-libs-1:3.0.7-27.el9.*\n!zlib-0:1.2-3.el9.*\nnginx\n',
  );
  const holds = readRpmHolds(root);
  fs.rmSync(root, { recursive: true });
  const held = (name: string) => isHeld(holds, { name, arch: 'x86_64', version: '9-9' });
  for (const name of ['kernel-core', 'bash', 'vim-minimal', 'openssl-libs', 'nginx']) assert.ok(held(name), name);
  for (const name of ['nano', 'curl', 'zlib', 'bash-completion', 'gpgcheck']) assert.ok(!held(name), name);
});

test('what waits for a reboot, and the architecture of most packages', () => {
  const entries = parseRpmQuery(
    [
      row('glibc', { at: '2000' }),
      row('glibc', { at: '2000', arch: 'i686' }),
      row('systemd', { at: '900' }),
      row('bash', { at: '2000' }),
      row('tzdata', { arch: 'noarch' }),
    ].join('\n'),
  );
  assert.deepEqual(waitingForReboot(entries, 1_000_000), ['glibc']);
  assert.equal(nativeRpmArch(entries), 'x86_64');
  assert.equal(nativeRpmArch([]), undefined);
});

test("products of Red Hat's kind are named by their major release", () => {
  const product = (text: string) => productOf(parseOsRelease(text));
  assert.equal(product('ID="rhel"\nID_LIKE="fedora"\nVERSION_ID="9.4"'), 'rhel-9');
  assert.equal(product('ID="rocky"\nID_LIKE="rhel centos fedora"\nVERSION_ID="9.3"'), 'rocky-9');
  assert.equal(product('ID="ol"\nID_LIKE="fedora"\nVERSION_ID="8.9"'), 'ol-8');
  assert.equal(product('ID="amzn"\nID_LIKE="fedora"\nVERSION_ID="2023"'), 'amzn-2023');
  assert.equal(product('ID="opensuse-leap"\nID_LIKE="suse opensuse"\nVERSION_ID="15.6"'), 'opensuse-leap-15.6');
});

test('a rescue image is no kernel', () => {
  const root = fs.mkdtempSync(join(tmpdir(), 'kernels-'));
  fs.mkdirSync(join(root, 'boot'));
  for (const name of ['vmlinuz-0-rescue-6a9d', 'vmlinuz-5.14.0-9.el9.x86_64', 'vmlinuz-5.14.0-362.el9.x86_64'])
    fs.writeFileSync(join(root, 'boot', name), '');
  assert.deepEqual(readKernels(root).installed, ['5.14.0-9.el9.x86_64', '5.14.0-362.el9.x86_64']);
  fs.rmSync(root, { recursive: true });
});
