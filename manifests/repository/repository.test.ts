// Names, the payload store and publication.
import assert from 'node:assert/strict';
import { createHash, randomBytes } from 'node:crypto';
import * as fs from 'node:fs';
import * as os from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { hashInPath, metadataPath, openPayloadStore, payloadPath, publishFiles, targetFilePath } from './index.ts';

const root = fs.mkdtempSync(join(os.tmpdir(), 'pf-repository-'));
after(() => fs.rmSync(root, { recursive: true, force: true }));

const sha = (bytes: Uint8Array) => createHash('sha256').update(bytes).digest('hex');
const hash = 'ab'.repeat(32);
const all = (folder: string) => fs.readdirSync(folder, { recursive: true, encoding: 'utf8' });

test('names are plain, hashed, and never climb', () => {
  assert.equal(metadataPath('3.root.json'), 'metadata/3.root.json');
  assert.equal(targetFilePath('catalogs/debian-12.json.zst', hash), `targets/catalogs/${hash}.debian-12.json.zst`);
  assert.equal(targetFilePath('top.json', hash), `targets/${hash}.top.json`);
  assert.equal(payloadPath(hash), `payloads/sha256/ab/${hash}`);
  assert.equal(hashInPath(payloadPath(hash)), hash);
  assert.equal(hashInPath(targetFilePath('policy/groups/a.json.zst', hash)), hash);
  assert.equal(hashInPath('metadata/timestamp.json'), undefined);
  assert.equal(hashInPath(`payloads/sha256/cd/${hash}`), undefined);
  for (const bad of ['../x', 'a/../b', '/etc/passwd', 'a//b', '', '.', 'a\\b', 'a\u0000', '..']) {
    assert.throws(() => targetFilePath(bad, hash), { code: 'repository.name' }, bad);
    assert.throws(() => metadataPath(bad), { code: 'repository.name' }, bad);
  }
  assert.throws(() => payloadPath('AB'.repeat(32)), { code: 'repository.name' });
  assert.throws(() => payloadPath(`../${hash.slice(3)}`), { code: 'repository.name' });
});

test('a payload is checked before it has its name, is read-only, and stays when put again', async () => {
  const store = openPayloadStore(join(root, 'payloads'));
  const bytes = randomBytes(3_000);
  const file = join(root, 'a.deb');
  fs.writeFileSync(file, bytes);
  await assert.rejects(store.put(hash, 3_000, file), { code: 'repository.payload-hash' });
  await assert.rejects(store.put(sha(bytes), 2_999, file), { code: 'repository.payload-size' });
  await assert.rejects(store.put(sha(bytes), 3_001, file), { code: 'repository.payload-size' });
  assert.deepEqual([...store.list()], []);
  assert.deepEqual(fs.readdirSync(join(root, 'payloads', '.partial')), [], 'no left-over');

  await store.put(sha(bytes), 3_000, file);
  assert.ok(store.has(sha(bytes), 3_000) && !store.has(sha(bytes), 2_999) && fs.existsSync(file));
  assert.deepEqual(fs.readFileSync(store.pathOf(sha(bytes))), bytes);
  assert.equal(fs.statSync(store.pathOf(sha(bytes))).mode & 0o777, 0o444);
  const before = fs.statSync(store.pathOf(sha(bytes)));
  await store.put(sha(bytes), 3_000, file, { move: true });
  assert.equal(fs.statSync(store.pathOf(sha(bytes))).ino, before.ino);
  assert.ok(!fs.existsSync(file));
  assert.ok(await store.verify(sha(bytes), 3_000));
  fs.chmodSync(store.pathOf(sha(bytes)), 0o644);
  fs.writeFileSync(store.pathOf(sha(bytes)), randomBytes(3_000));
  assert.equal(await store.verify(sha(bytes), 3_000), false);
  store.remove(sha(bytes));
  assert.ok(!store.has(sha(bytes), 3_000));
});

test('a payload from a stream; a stream that breaks leaves nothing', async () => {
  const store = openPayloadStore(join(root, 'streamed'));
  const bytes = randomBytes(100_000);
  async function* pieces(broken: boolean) {
    for (let at = 0; at < bytes.length; at += 7_000) {
      if (broken && at > 50_000) throw new Error('line gone');
      yield bytes.subarray(at, at + 7_000);
    }
  }
  await assert.rejects(store.put(sha(bytes), bytes.length, pieces(true)), /line gone/);
  assert.deepEqual(fs.readdirSync(join(root, 'streamed', '.partial')), []);
  await store.put(sha(bytes), bytes.length, pieces(false));
  assert.deepEqual([...store.list()], [{ sha256: sha(bytes), size: bytes.length }]);
});

test('publication: new files first, the last ones at the end, hard links of the old keep their content', () => {
  const folder = join(root, 'published');
  const text = (value: string) => Buffer.from(value);
  publishFiles(
    folder,
    [{ path: 'metadata/1.snapshot.json', bytes: text('s1') }],
    [{ path: 'metadata/timestamp.json', bytes: text('t1') }],
  );
  fs.linkSync(join(folder, 'metadata/timestamp.json'), join(root, 'old-timestamp'));
  const inode = fs.statSync(join(folder, 'metadata/1.snapshot.json')).ino;
  fs.writeFileSync(join(folder, 'metadata/.tmp-dead-timestamp.json'), 'left by a killed publisher');
  publishFiles(
    folder,
    [
      { path: 'metadata/1.snapshot.json', bytes: text('s1') },
      { path: 'targets/catalogs/x', bytes: text('c') },
    ],
    [{ path: 'metadata/timestamp.json', bytes: text('t2') }],
  );
  assert.equal(fs.readFileSync(join(folder, 'metadata/timestamp.json'), 'utf8'), 't2');
  assert.equal(fs.readFileSync(join(root, 'old-timestamp'), 'utf8'), 't1');
  assert.equal(fs.statSync(join(folder, 'metadata/1.snapshot.json')).ino, inode, 'an unchanged file is left alone');
  assert.deepEqual(
    all(folder).filter((name) => name.includes('.tmp-')),
    [],
  );
});

test('publication that fails leaves the old state current', () => {
  const folder = join(root, 'failing');
  const text = (value: string) => Buffer.from(value);
  publishFiles(folder, [], [{ path: 'metadata/timestamp.json', bytes: text('t1') }]);
  fs.writeFileSync(join(folder, 'targets'), 'a file where a folder must be');
  assert.throws(
    () =>
      publishFiles(folder, [{ path: 'targets/x', bytes: text('x') }], [{ path: 'metadata/timestamp.json', bytes: text('t2') }]),
    { code: 'repository.unwritable' },
  );
  assert.throws(() => publishFiles(folder, [{ path: '../x', bytes: text('x') }], []), { code: 'repository.name' });
  assert.equal(fs.readFileSync(join(folder, 'metadata/timestamp.json'), 'utf8'), 't1');
  assert.deepEqual(fs.readdirSync(join(folder, 'metadata')), ['timestamp.json']);
});
