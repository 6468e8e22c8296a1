import assert from 'node:assert/strict';
import * as fs from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import * as fc from 'fast-check';
import { batches } from './copy.ts';
import { createResolver, isExcluded, isInRoots } from './scope.ts';
import { difference, type Entry, fromRows, scan, toRows } from './tree.ts';

function withFolder(work: (root: string) => void): void {
  const root = fs.mkdtempSync(join(tmpdir(), 'tree-'));
  try {
    work(root);
  } finally {
    fs.rmSync(root, { recursive: true, force: true });
  }
}

const entry = (change: Partial<Entry> = {}): Entry => ({
  type: 'file',
  mode: 0o644,
  uid: 0,
  gid: 0,
  size: 1,
  mtime: '1',
  inode: '1',
  ctime: '1',
  links: 1,
  ...change,
});

test('what differs: changed, gone and new files, gone folders; untouched ones do not', () => {
  withFolder((root) => {
    for (const name of ['same', 'written', 'replaced', 'mode', 'gone']) {
      fs.mkdirSync(join(root, 'usr/folder'), { recursive: true });
      fs.writeFileSync(join(root, 'usr', name), 'old');
    }
    const before = scan(root, ['/usr']).entries;
    fs.appendFileSync(join(root, 'usr/written'), 'x');
    fs.writeFileSync(join(root, 'usr/other'), 'old');
    fs.renameSync(join(root, 'usr/other'), join(root, 'usr/replaced'));
    fs.chmodSync(join(root, 'usr/mode'), 0o600);
    fs.rmSync(join(root, 'usr/gone'));
    fs.rmdirSync(join(root, 'usr/folder'));
    fs.mkdirSync(join(root, 'usr/new/deep'), { recursive: true });
    fs.writeFileSync(join(root, 'usr/new/deep/file'), 'new');
    const found = difference(before, scan(root, ['/usr']));
    assert.deepEqual(found.bring.toSorted(), ['/usr/gone', '/usr/mode', '/usr/replaced', '/usr/written']);
    assert.deepEqual(found.folders, ['/usr/folder']);
    assert.deepEqual(found.remove, ['/usr/new/deep/file', '/usr/new/deep', '/usr/new']);
  });
});

test('a list survives JSON', () => {
  withFolder((root) => {
    fs.mkdirSync(join(root, 'etc'));
    fs.writeFileSync(join(root, 'etc/a'), 'x');
    fs.symlinkSync('a', join(root, 'etc/b'));
    const { entries } = scan(root, ['/etc']);
    assert.deepEqual(fromRows(JSON.parse(JSON.stringify(toRows(entries))) as ReturnType<typeof toRows>), entries);
  });
});

test('the rule of what is covered and what never is', () => {
  for (const path of [
    '/usr/bin/ping',
    '/etc/nginx/nginx.conf',
    '/boot/initrd.img-6.1',
    '/var/lib/dpkg/status',
    '/opt/vendor/x',
  ]) {
    assert.ok(isInRoots(path) && !isExcluded(path), path);
  }
  for (const path of [
    '/usr/local/bin/own',
    '/var/lib/dpkg/lock',
    '/etc/machine-id',
    '/opt/patchferry/components/x',
    '/run/x',
    '/.patchferry/way-back',
  ]) {
    assert.ok(isExcluded(path), path);
  }
  for (const path of [
    '/home/x',
    '/srv/x',
    '/var/lib/postgresql/15/main',
    '/var/lib/patchferry/journal.sqlite',
    '/var/log/syslog',
    '/usrlocal',
  ]) {
    assert.ok(!isInRoots(path), path);
  }
});

test('paths of packages are followed through merged folders, relative and absolute, without leaving the root', () => {
  withFolder((root) => {
    fs.mkdirSync(join(root, 'usr/lib/deep'), { recursive: true });
    fs.symlinkSync('usr/lib', join(root, 'lib'));
    fs.symlinkSync('/usr/lib/deep', join(root, 'usr/lib/absolute'));
    fs.symlinkSync('loop', join(root, 'loop'));
    const resolve = createResolver({ root });
    assert.equal(resolve('/lib/x.so'), '/usr/lib/x.so');
    assert.equal(resolve('/lib/absolute/x'), '/usr/lib/deep/x');
    assert.equal(resolve('/lib'), '/lib');
    assert.equal(resolve('/not/there/x'), '/not/there/x');
    assert.equal(typeof resolve('/loop/x'), 'string');
  });
});

test('property: every path is copied once, and hard links of one file in one call', () => {
  const rows = fc.uniqueArray(fc.tuple(fc.nat(400), fc.nat(30)), { selector: ([name]) => name, maxLength: 300 });
  fc.assert(
    fc.property(rows, (pairs) => {
      const padding = 'x'.repeat(9_000);
      const entries = new Map(
        pairs.map(([name, inode]) => [`/usr/${name}/${padding}`, entry({ inode: String(inode), links: 2 })]),
      );
      const calls = batches([...entries.keys()], entries);
      assert.deepEqual(calls.flat().toSorted(), [...entries.keys()].toSorted());
      const callOf = new Map<string, number>();
      for (const [at, call] of calls.entries()) {
        for (const path of call) {
          const inode = entries.get(path)?.inode ?? '';
          assert.equal(callOf.get(inode) ?? at, at);
          callOf.set(inode, at);
        }
      }
    }),
  );
});
