// Uploading to a real object store (OpenStack Swift with its S3 interface), and reading the repository from there.
import assert from 'node:assert/strict';
import * as fs from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { sha256Of } from '#manifests/schema';
import { httpOrigin } from '#manifests/transfer';
import { openTrust } from '#manifests/trust';
import { ensureDebianPackages } from '../../scripts/setup/debian.ts';
import { tryOut } from '../cli/try-out.ts';
import { openS3, upload } from './index.ts';
import type { S3Store } from './s3.ts';
import { type ObjectStore, startSwift } from './testing/swift.ts';

const lacking = await ensureDebianPackages(['store']);

describe('a real object store', { skip: lacking ?? false }, () => {
  const folder = fs.mkdtempSync(join(tmpdir(), 'pf-upload-'));
  const lab = tryOut();
  const credentials = join(folder, 'credentials');
  let swift: ObjectStore;
  let bucket: string;
  const run = (...words: string[]) =>
    lab.run('upload', 's3://updates/fleet', '--endpoint', swift.endpoint, '--credentials', credentials, ...words);
  const open = (): S3Store =>
    openS3({
      bucket: 'updates',
      prefix: 'fleet/',
      endpoint: swift.endpoint,
      region: 'us-east-1',
      credentials: swift.credentials,
      now: () => Date.now(),
    });
  before(async () => {
    swift = await startSwift(join(folder, 'swift'));
    bucket = await swift.makeBucket('updates');
    const { accessKeyId, secretAccessKey } = swift.credentials;
    fs.writeFileSync(
      credentials,
      `[default]\naws_access_key_id = ${accessKeyId}\naws_secret_access_key = ${secretAccessKey}\n`,
      {
        mode: 0o600,
      },
    );
    await lab.prepare();
    await lab.addRelease('1.0.1');
    for (const words of [['source', 'sync'], ['publish']]) assert.equal((await lab.run(...words)).exit, 0);
  });
  after(() => {
    swift.stop();
    lab.remove();
    fs.rmSync(folder, { recursive: true, force: true });
  });

  test('everything arrives and is read from there by plain HTTP: metadata, documents, payloads; a second time nothing is sent', async () => {
    const first = await run();
    assert.equal(first.exit, 0, first.err);
    const again = await run('--json');
    assert.equal(again.exit, 3, again.err);
    assert.equal((JSON.parse(again.out) as { sent: number }).sent, 0);

    const origin = httpOrigin(`${bucket}/fleet`);
    const trust = openTrust({ folder: join(folder, 'trust'), pinnedRoot: fs.readFileSync(lab.root), now: () => Date.now() });
    await trust.refresh(origin);
    for (const { path } of trust.targets()) assert.ok((await trust.readTarget(path, origin)).length > 0);
    assert.equal((await trust.refresh(origin)).changed, false, 'a poll with nothing new is one conditional request here too');
    const payloads = join(lab.repository, 'payloads/sha256');
    const [part = ''] = fs.readdirSync(payloads);
    const [sha256 = ''] = fs.readdirSync(join(payloads, part));
    const { size } = fs.statSync(join(payloads, part, sha256));
    await origin.download(`payloads/sha256/${part}/${sha256}`, { sha256, size }, join(folder, 'got'));
    await origin.close();
  });

  test('S42 an upload that ends anywhere leaves the old publication to readers; the next one brings the rest', async () => {
    await lab.addRelease('2.0.0');
    for (const words of [['source', 'sync'], ['publish']]) assert.equal((await lab.run(...words)).exit, 0);
    const store = open();
    const order: string[] = [];
    const breaking: S3Store = {
      ...store,
      async put(path, body, headers) {
        if (order.length === 3) throw new Error('the line broke');
        order.push(path);
        await store.put(path, body, headers);
      },
    };
    await assert.rejects(
      upload({ repository: lab.repository, store: breaking, dryRun: false, prune: false }),
      /the line broke/,
    );
    const origin = httpOrigin(`${bucket}/fleet`);
    const reader = openTrust({ folder: join(folder, 'trust'), pinnedRoot: fs.readFileSync(lab.root), now: () => Date.now() });
    assert.equal((await reader.refresh(origin)).changed, false, 'the old one, whole');
    const noting: S3Store = {
      ...store,
      put: (path, ...rest) => (order.push(path), store.put(path, ...rest)),
      putWhere: (path, ...rest) => (order.push(path), store.putWhere(path, ...rest)),
    };
    await upload({ repository: lab.repository, store: noting, dryRun: false, prune: false });
    const [asked, last] = order.splice(-2);
    assert.deepEqual(
      [asked, last],
      ['metadata/1.root.json', 'metadata/timestamp.json'],
      'whether it honours conditions, then the last',
    );
    assert.equal(new Set(order).size, order.length, 'nothing twice');
    assert.equal((await reader.refresh(origin)).changed, true);
    for (const { path } of reader.targets()) assert.ok((await reader.readTarget(path, origin)).length > 0);
    await Promise.all([origin.close(), store.close()]);
  });

  test('an older publication, another root, a file of credentials that others may read, and a wrong key are refused', async () => {
    const other = tryOut();
    try {
      await other.prepare();
      assert.equal((await other.run('publish')).exit, 0);
      const words = ['upload', 's3://updates/fleet', '--endpoint', swift.endpoint, '--credentials', credentials];
      const refused = await other.run(...words);
      assert.equal(refused.exit, 5, refused.out);
      assert.match(refused.err, /upload\.(?:older|other)/);
    } finally {
      other.remove();
    }
    fs.chmodSync(credentials, 0o644);
    assert.match((await run()).err, /upload\.credentials/);
    fs.chmodSync(credentials, 0o600);
    const wrong = join(folder, 'wrong');
    fs.writeFileSync(wrong, 'aws_access_key_id = test:tester\naws_secret_access_key = other\n', { mode: 0o600 });
    const denied = await lab.run('upload', 's3://updates/fleet', '--endpoint', swift.endpoint, '--credentials', wrong);
    assert.equal(denied.exit, 2);
    assert.match(denied.err, /upload\.refused/);
    assert.match(denied.err, /SignatureDoesNotMatch/);
    assert.ok(!denied.err.includes('other\n') && !denied.err.includes('testing'), 'no secret is told');
  });

  test('trap 15: what the repository does not have stays in the store, until it is asked to go', async () => {
    const store = open();
    const body = Buffer.from('an older file');
    await store.put('targets/old', { sha256: sha256Of(body), size: body.length, open: () => body }, {});
    const kept = await run();
    assert.match(kept.out, /1 object there that the repository does not have: --prune/);
    assert.ok((await store.get('targets/old')) !== undefined);
    assert.match((await run('--prune', '--dry-run')).out, /would remove 1 object/);
    assert.ok((await store.get('targets/old')) !== undefined);
    assert.equal((await run('--prune')).exit, 0);
    assert.equal(await store.get('targets/old'), undefined);
    await store.close();
  });
});
