import assert from 'node:assert/strict';
import * as fs from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { run } from '#manifests/platform/process';
import { installedFrom, nativeArch, parseStatus, readDpkgEntries, readDpkgPackages, sourceOf } from './dpkg-status.ts';

const recorded = fs.readFileSync(join(import.meta.dirname, 'fixtures/status.txt'), 'latin1');

function stanza(name: string, status: string, more = ''): string {
  return `Package: ${name}\nStatus: ${status}\nArchitecture: amd64\nVersion: 1.0-1\n${more}\n`;
}

function withRoot(work: (root: string) => void): void {
  const root = fs.mkdtempSync(join(tmpdir(), 'inventory-'));
  try {
    fs.mkdirSync(join(root, 'var/lib/dpkg/updates'), { recursive: true });
    work(root);
  } finally {
    fs.rmSync(root, { recursive: true, force: true });
  }
}

test('recorded entries: name, version, architecture, source', () => {
  const packages = installedFrom(parseStatus(recorded, 'status'));
  const rows = packages.map((p) => [p.name, p.version, p.arch, p.source, p.sourceVersion, p.state, p.held]);
  assert.deepEqual(rows, [
    ['adduser', '3.134', 'all', 'adduser', '3.134', 'installed', false],
    ['libc6', '2.36-9+deb12u14', 'amd64', 'glibc', '2.36-9+deb12u14', 'installed', false],
    ['perl-base', '5.36.0-7+deb12u3', 'amd64', 'perl', '5.36.0-7+deb12u3', 'installed', false],
    ['libacl1', '2.3.1-3', 'amd64', 'acl', '2.3.1-3', 'installed', false],
    ['bash', '5.2.15-2+b13', 'amd64', 'bash', '5.2.15-2', 'installed', false],
  ]);
});

test('a word at the start of a line of a description is not taken for a field', () => {
  const [entry] = parseStatus(stanza('one', 'install ok installed', 'Description: x\n Version: 9\n .\n'), 'status');
  assert.equal(entry?.version, '1.0-1');
});

test('the three forms of Source', () => {
  const base = { name: 'bin', version: '2.0-1+b1' };
  assert.deepEqual(sourceOf({ ...base, source: '' }), { source: 'bin', sourceVersion: '2.0-1+b1' });
  assert.deepEqual(sourceOf({ ...base, source: 'src' }), { source: 'src', sourceVersion: '2.0-1+b1' });
  assert.deepEqual(sourceOf({ ...base, source: 'src (2.0-1)' }), { source: 'src', sourceVersion: '2.0-1' });
});

for (const [status, expected] of [
  ['install ok installed', { state: 'installed', held: false }],
  ['hold ok installed', { state: 'installed', held: true }],
  ['install ok unpacked', { state: 'broken', held: false }],
  ['install ok half-configured', { state: 'broken', held: false }],
  ['install ok half-installed', { state: 'broken', held: false }],
  ['install reinstreq half-installed', { state: 'broken', held: false }],
  ['install ok triggers-awaited', { state: 'broken', held: false }],
  ['install ok triggers-pending', { state: 'broken', held: false }],
  ['deinstall ok config-files', undefined],
  ['unknown ok not-installed', undefined],
] as const) {
  test(`state "${status}" is ${expected === undefined ? 'not there' : expected.state}`, () => {
    const [found] = installedFrom(parseStatus(stanza('one', status), 'status'));
    assert.deepEqual(found === undefined ? undefined : { state: found.state, held: found.held }, expected);
  });
}

test('what an interrupted dpkg had written to its journal counts', () => {
  withRoot((root) => {
    fs.writeFileSync(
      join(root, 'var/lib/dpkg/status'),
      `${stanza('one', 'install ok installed')}\n${stanza('two', 'install ok installed')}\n`,
    );
    fs.writeFileSync(join(root, 'var/lib/dpkg/updates/0000'), stanza('one', 'install ok half-installed'));
    fs.writeFileSync(join(root, 'var/lib/dpkg/updates/0001'), stanza('one', 'install ok unpacked'));
    fs.writeFileSync(join(root, 'var/lib/dpkg/updates/tmp.i'), 'half a stan');
    const packages = readDpkgPackages(root);
    assert.deepEqual(
      packages?.map(({ name, state }) => [name, state]),
      [
        ['one', 'broken'],
        ['two', 'installed'],
      ],
    );
    assert.equal(readDpkgEntries(root)?.find(({ name }) => name === 'one')?.status, 'unpacked');
  });
});

test('a host without dpkg has no packages; a damaged database is an error, not half a list', () => {
  withRoot((root) => {
    assert.equal(readDpkgPackages(root), undefined);
    fs.writeFileSync(join(root, 'var/lib/dpkg/status'), 'Package: one\nStatus: insta');
    assert.throws(() => readDpkgPackages(root), { code: 'inventory.package-database' });
    fs.writeFileSync(join(root, 'var/lib/dpkg/status'), stanza('one', 'install ok installed', `Source: ${'x'.repeat(300)}\n`));
    assert.throws(() => readDpkgPackages(root), { code: 'inventory.package-database' });
  });
});

const noDpkg = fs.existsSync('/var/lib/dpkg/status') ? false : 'this machine has no dpkg';

test('this machine: the same packages as dpkg itself says', { skip: noDpkg }, async () => {
  const format = '${binary:Package}\t${Version}\t${Architecture}\t${source:Package}\t${source:Version}\t${db:Status-Status}\n';
  const asked = await run('dpkg-query', ['-W', '-f', format], { timeoutMs: 60_000 });
  const theirs = asked.stdout
    .trim()
    .split('\n')
    .map((row) => row.split('\t'))
    .filter(([, , , , , status]) => status === 'installed')
    .map(([name, ...rest]) => [name?.split(':')[0], ...rest.slice(0, 4)].join(' '));
  const ours = (readDpkgPackages('/') ?? [])
    .filter(({ state }) => state === 'installed')
    .map((p) => [p.name, p.version, p.arch, p.source, p.sourceVersion].join(' '));
  assert.deepEqual(ours.toSorted(), theirs.toSorted());
  const arch = await run('dpkg', ['--print-architecture'], { timeoutMs: 60_000 });
  assert.equal(nativeArch(readDpkgEntries('/') ?? []), arch.stdout.trim());
});
