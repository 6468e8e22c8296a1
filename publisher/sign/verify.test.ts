import assert from 'node:assert/strict';
import * as fs from 'node:fs';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { type TryOut, tryOut } from '../cli/try-out.ts';

const DAY_MS = 86_400_000;

describe('verify refuses, by its code, what was not signed so', () => {
  let now = Date.parse('2026-03-01T12:00:00Z');
  let lab: TryOut;
  let original: string;
  before(async () => {
    lab = tryOut({ clock: { now: () => now, monotonic: () => now } });
    await lab.prepare();
    assert.equal((await lab.run('publish')).exit, 0);
    original = join(lab.folder, 'original');
    fs.cpSync(lab.repository, original, { recursive: true });
  });
  after(() => lab.remove());

  const only = (folder: string) => {
    const file = fs
      .readdirSync(folder, { recursive: true, encoding: 'utf8' })
      .find((name) => fs.statSync(join(folder, name)).isFile());
    assert.ok(file);
    return join(folder, file);
  };
  /** A copy of the repository with one change. */
  const changed = (name: string, change: (folder: string) => void) => {
    const copy = join(lab.folder, name);
    fs.cpSync(original, copy, { recursive: true });
    change(copy);
    return copy;
  };
  const rewrite = (file: string, change: (bytes: Buffer) => Uint8Array) => {
    const bytes = change(fs.readFileSync(file));
    fs.rmSync(file);
    fs.writeFileSync(file, bytes);
  };
  const flip = (bytes: Buffer) => {
    const copy = Buffer.from(bytes);
    const at = Math.floor(copy.length / 2);
    copy[at] = (copy[at] ?? 0) ^ 1;
    return copy;
  };
  const refused = async (folder: string, code: string, ...more: string[]) => {
    const ended = await lab.run('verify', folder, '--root', lab.root, '--json', ...more);
    const report = JSON.parse(ended.out) as { checks: { verdict: string; code: string | null }[] };
    assert.deepEqual(
      report.checks.filter(({ verdict }) => verdict === 'refused').map((check) => check.code),
      [code],
    );
    assert.equal(ended.exit, 5);
  };

  test('the original is sound', async () => {
    assert.equal((await lab.run('verify', original, '--root', lab.root, '--payloads')).exit, 0);
  });

  test('a tampered payload is refused when it is read again, a shorter one at once', async () => {
    const folder = changed('payload', (copy) => rewrite(only(join(copy, 'payloads', 'sha256')), flip));
    assert.equal((await lab.run('verify', folder, '--root', lab.root)).exit, 0, 'the size is right');
    await refused(folder, 'repository.payload-hash', '--payloads');
    const short = changed('short-payload', (copy) =>
      rewrite(only(join(copy, 'payloads', 'sha256')), (bytes) => bytes.subarray(1)),
    );
    await refused(short, 'repository.payload-hash');
  });

  test('a payload of an approved patch that is not there is counted, and a finding with --complete', async () => {
    const folder = changed('no-payload', (copy) => fs.rmSync(join(copy, 'payloads'), { recursive: true }));
    const counted = await lab.run('verify', folder, '--root', lab.root);
    assert.equal(counted.exit, 0);
    assert.match(counted.out, /1 named by catalogs, 0 here .*; 1 of approved patches not here/);
    const ended = await lab.run('verify', folder, '--root', lab.root, '--complete');
    assert.equal(ended.exit, 1);
    assert.match(ended.out, /1 of approved patches are not here \(\d+ B\), such as 1\.0\.0\/tool\.tar\.gz/);
  });

  test('a tampered or truncated catalog', async () => {
    await refused(
      changed('catalog', (copy) => rewrite(only(join(copy, 'targets', 'catalogs')), flip)),
      'trust.target-hash',
    );
    await refused(
      changed('short-catalog', (copy) => rewrite(only(join(copy, 'targets', 'catalogs')), (bytes) => bytes.subarray(0, -1))),
      'trust.target-hash',
    );
    await refused(
      changed('no-catalog', (copy) => fs.rmSync(only(join(copy, 'targets', 'catalogs')))),
      'trust.target-missing',
    );
  });

  test('a tampered timestamp, snapshot and role file', async () => {
    const later = (bytes: Buffer) => Buffer.from(bytes.toString().replace(/"expires":"2026/, '"expires":"2027'));
    await refused(
      changed('timestamp', (copy) => rewrite(join(copy, 'metadata', 'timestamp.json'), later)),
      'trust.threshold',
    );
    const folder = changed('snapshot', (copy) => rewrite(join(copy, 'metadata', '1.snapshot.json'), later));
    const ended = await lab.run('verify', folder, '--root', lab.root);
    assert.equal(ended.exit, 5, ended.out);
    const role = changed('role', (copy) => rewrite(join(copy, 'metadata', '1.policy.json'), later));
    assert.equal((await lab.run('verify', role, '--root', lab.root)).exit, 5);
  });

  test('the same by HTTP: payloads are counted, or fetched and checked', async () => {
    let served = original;
    const server = createServer((request, response) => {
      const path = join(served, decodeURIComponent(request.url ?? '/'));
      const found = fs.existsSync(path) && fs.statSync(path).isFile();
      if (found) response.end(fs.readFileSync(path));
      else response.writeHead(404).end();
    });
    await new Promise<void>((resolve) => void server.listen(0, '127.0.0.1', resolve));
    try {
      const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
      const counted = await lab.run('verify', url, '--root', lab.root);
      assert.equal(counted.exit, 0, counted.out + counted.err);
      assert.match(counted.out, /1 named, not looked at/);
      const fetched = await lab.run('verify', url, '--root', lab.root, '--payloads', '--complete');
      assert.equal(fetched.exit, 0, fetched.out + fetched.err);
      assert.match(fetched.out, /1 named by catalogs, 1 here \(read again\)/);
      served = join(lab.folder, 'payload');
      await refused(url, 'repository.payload-hash', '--payloads');
      served = join(lab.folder, 'no-payload');
      assert.equal((await lab.run('verify', url, '--root', lab.root, '--payloads', '--complete')).exit, 1);
    } finally {
      server.closeAllConnections();
      server.close();
    }
  });

  test('a repository of other keys', async () => {
    const other = tryOut({ clock: { now: () => now, monotonic: () => now } });
    try {
      await other.prepare();
      assert.equal((await other.run('publish')).exit, 0);
      const ended = await lab.run('verify', other.repository, '--root', lab.root);
      assert.equal(ended.exit, 5);
      assert.match(ended.out, /trust\.threshold/);
    } finally {
      other.remove();
    }
  });

  test('an old timestamp: first a finding, then refused; the publisher signs anew all the same', async () => {
    now += 8 * DAY_MS;
    const soft = await lab.run('verify', original, '--root', lab.root);
    assert.equal(soft.exit, 1, soft.out);
    assert.match(soft.out, /finding +freshness/);
    now += 8 * DAY_MS;
    await refused(original, 'trust.expired');
    const report = await lab.json('publish');
    assert.deepEqual(
      (report['roles'] as { role: string; why: string }[]).map(({ role, why }) => [role, why]),
      [['timestamp', 'renewal']],
    );
    assert.equal((await lab.run('verify', lab.repository, '--root', lab.root)).exit, 0);
    now += 300 * DAY_MS;
    const long = await lab.json('publish');
    assert.equal((long['roles'] as unknown[]).length, 9, 'after a year away every role is signed anew, root included');
    assert.equal((await lab.run('verify', lab.repository, '--root', lab.root)).exit, 0);
  });

  test('a place that is no repository cannot be reached: exit 8', async () => {
    assert.equal((await lab.run('verify', join(lab.folder, 'nowhere'), '--root', lab.root)).exit, 8);
    const noRoot = await lab.run('verify', original, '--root', join(lab.folder, 'nowhere.json'));
    assert.equal(noRoot.exit, 2);
    assert.match(noRoot.err, /verify\.no-root/);
  });
});
