import assert from 'node:assert/strict';
import * as fs from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import type { Clock } from '#manifests/platform/clock';
import { encodePlain } from '#manifests/schema';
import { parseOsRelease, productOf, readComponents, readKernels, readZone } from './host.ts';
import { packagesDigest, takeInventory } from './index.ts';

const clock: Clock = { now: () => Date.UTC(2026, 10, 21, 3), monotonic: () => 0 };

/** A root with what an inventory reads; `change` adds to it. */
function withRoot<T>(work: (root: string) => T): T {
  const root = fs.mkdtempSync(join(tmpdir(), 'inventory-'));
  const put = (path: string, text: string) => {
    fs.mkdirSync(join(root, path, '..'), { recursive: true });
    fs.writeFileSync(join(root, path), text);
  };
  put('etc/os-release', 'PRETTY_NAME="Debian GNU/Linux 12 (bookworm)"\nVERSION_ID="12"\nID=debian\n');
  put('etc/hostname', 'ward-7\n');
  put('var/lib/dpkg/status', fs.readFileSync(join(import.meta.dirname, 'fixtures/status.txt'), 'utf8'));
  put('boot/vmlinuz-6.1.0-9-amd64', '');
  put('boot/vmlinuz-6.1.0-50-amd64', '');
  put('usr/lib/modules/6.12.1/vmlinuz', '');
  put('usr/lib/modules/5.10.0-8-amd64/modules.dep', '');
  fs.symlinkSync('/usr/share/zoneinfo/Europe/Berlin', join(root, 'etc/localtime'));
  const end = () => fs.rmSync(root, { recursive: true, force: true });
  let result: T;
  try {
    result = work(root);
  } catch (error) {
    end();
    throw error;
  }
  if (result instanceof Promise) return result.finally(end) as T;
  end();
  return result;
}

test('an inventory of another root is a valid document', () =>
  withRoot(async (root) => {
    const inventory = await takeInventory({ root, clock, labels: { site: 'ward' } });
    assert.doesNotThrow(() => encodePlain('inventory', inventory));
    assert.equal(inventory.product, 'debian-12');
    assert.equal(inventory.hostname, 'ward-7');
    assert.equal(inventory.zone, 'Europe/Berlin');
    assert.equal(inventory.takenAt, '2026-11-21T03:00:00Z');
    assert.deepEqual(inventory.kernels.installed, ['6.1.0-9-amd64', '6.1.0-50-amd64', '6.12.1']);
    assert.equal(inventory.packages.length, 5);
    assert.ok((inventory.freeBytes['/'] ?? 0) > 0);
    assert.ok(Number(inventory.facts['memory.bytes']) > 1e6);
  }));

test('a bare root without dpkg, os-release and zone still gives an inventory', async () => {
  const root = fs.mkdtempSync(join(tmpdir(), 'inventory-'));
  const inventory = await takeInventory({ root, clock, labels: {} });
  fs.rmSync(root, { recursive: true });
  assert.doesNotThrow(() => encodePlain('inventory', inventory));
  assert.deepEqual([inventory.product, inventory.zone, inventory.hostname, inventory.packages], [null, 'UTC', 'unknown', []]);
});

test('the digest tells sets of packages apart, not their order', () =>
  withRoot(async (root) => {
    const inventory = await takeInventory({ root, clock, labels: {} });
    const turned = { ...inventory, packages: inventory.packages.toReversed() };
    const newer = { ...inventory, packages: inventory.packages.map((p, at) => (at === 0 ? { ...p, version: '9' } : p)) };
    assert.equal(packagesDigest(turned), packagesDigest(inventory));
    assert.notEqual(packagesDigest(newer), packagesDigest(inventory));
  }));

test('os-release: quotes, comments, and products that have no version', () => {
  assert.equal(productOf(parseOsRelease('# x\nID=\'ubuntu\'\nVERSION_ID="24.04"\n')), 'ubuntu-24.04');
  assert.equal(productOf(parseOsRelease('ID=debian\n')), null);
  assert.equal(productOf(parseOsRelease('ID="../x"\nVERSION_ID=1\n')), null);
  assert.equal(productOf(parseOsRelease('__proto__=1\nID=debian\nVERSION_ID="13"')), 'debian-13');
});

test('zone: a copy of the file, a name that is none, and nothing at all', () =>
  withRoot((root) => {
    fs.rmSync(join(root, 'etc/localtime'));
    fs.writeFileSync(join(root, 'etc/timezone'), 'Asia/Kolkata\n');
    assert.equal(readZone(root), 'Asia/Kolkata');
    fs.writeFileSync(join(root, 'etc/timezone'), 'Not/AZone\n');
    assert.equal(readZone(root), 'UTC');
  }));

test('module folders without a kernel image are no kernels', () =>
  withRoot((root) => assert.ok(!readKernels(root).installed.includes('5.10.0-8-amd64'))));

test('components are what their current link says', () =>
  withRoot((root) => {
    const components = join(root, 'components');
    fs.mkdirSync(join(components, 'tool/versions/1.2'), { recursive: true });
    fs.mkdirSync(join(components, 'unfinished'), { recursive: true });
    fs.symlinkSync('versions/1.2', join(components, 'tool/current'));
    assert.deepEqual(readComponents(components), { tool: '1.2' });
    assert.deepEqual(readComponents(join(root, 'none')), {});
  }));

test('a host of 800 packages costs less than 150 ms of CPU', () =>
  withRoot(async (root) => {
    const status = join(root, 'var/lib/dpkg/status');
    const text = fs.readFileSync(status, 'utf8');
    const many = Array.from({ length: 160 }, (_, at) => text.replace(/^Package: (.*)$/gm, `Package: $1-${at}`));
    fs.writeFileSync(status, many.join(''));
    await takeInventory({ root, clock, labels: {} }); // the first one also loads code
    const before = process.cpuUsage();
    const inventory = await takeInventory({ root, clock, labels: {} });
    const { user, system } = process.cpuUsage(before);
    assert.equal(inventory.packages.length, 800);
    assert.ok((user + system) / 1000 < 150, `${(user + system) / 1000} ms`);
  }));
