// A folder as origin: copies are checked and resumed; a medium that is not there is never "empty".
import assert from 'node:assert/strict';
import { createHash, randomBytes } from 'node:crypto';
import * as fs from 'node:fs';
import * as os from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { folderOrigin } from './folder.ts';
import { openOrigin } from './open.ts';

const root = fs.mkdtempSync(join(os.tmpdir(), 'pf-folder-'));
after(() => fs.rmSync(root, { recursive: true, force: true }));
const sha = (bytes: Uint8Array) => createHash('sha256').update(bytes).digest('hex');

test('small files, unchanged ones, missing ones, and too large ones', async () => {
  const folder = join(root, 'a');
  fs.mkdirSync(join(folder, 'metadata'), { recursive: true });
  fs.writeFileSync(join(folder, 'metadata/timestamp.json'), 'hello');
  const from = openOrigin(`file://${folder}`);
  const first = await from.fetchSmall('metadata/timestamp.json', { limitBytes: 5 });
  assert.ok(first.kind === 'found' && Buffer.from(first.bytes).toString() === 'hello');
  const again = { limitBytes: 5, etag: first.etag };
  assert.deepEqual(await from.fetchSmall('metadata/timestamp.json', again), { kind: 'unchanged' });
  fs.writeFileSync(join(folder, 'metadata/new'), 'other');
  fs.renameSync(join(folder, 'metadata/new'), join(folder, 'metadata/timestamp.json'));
  assert.equal((await from.fetchSmall('metadata/timestamp.json', again)).kind, 'found');
  assert.deepEqual(await from.fetchSmall('metadata/2.root.json', { limitBytes: 5 }), { kind: 'missing' });
  await assert.rejects(from.fetchSmall('metadata/timestamp.json', { limitBytes: 4 }), { code: 'transfer.too-large' });
  await assert.rejects(from.fetchSmall('../a/metadata/timestamp.json', { limitBytes: 9 }), { code: 'transfer.missing' });
  await assert.rejects(from.post('inbox/results', new Uint8Array()), { code: 'transfer.no-post' });
});

test('S30 a mount point without a medium is refused, never read as empty', async () => {
  const empty = join(root, 'mountpoint');
  fs.mkdirSync(empty);
  await assert.rejects(folderOrigin(empty).fetchSmall('metadata/timestamp.json', { limitBytes: 9 }), {
    code: 'transfer.not-a-repository',
  });
  await assert.rejects(folderOrigin(join(root, 'none')).fetchSmall('metadata/2.root.json', { limitBytes: 9 }), {
    code: 'transfer.not-a-repository',
  });
});

test('S28 a medium removed while copying: nothing visible; it resumes', async () => {
  const folder = join(root, 'stick');
  const bytes = randomBytes(3 * 1024 * 1024);
  const want = { sha256: sha(bytes), size: bytes.length };
  fs.mkdirSync(join(folder, 'metadata'), { recursive: true });
  fs.writeFileSync(join(folder, 'x'), bytes);
  const from = folderOrigin(folder);
  const destination = join(root, 'copy');
  const stop = new AbortController();
  let got = 0;
  const onBytes = (n: number) => {
    got += n;
    if (got >= 1024 * 1024) stop.abort(new Error('pulled out'));
  };
  await assert.rejects(from.download('x', want, destination, { onBytes, signal: stop.signal }), /pulled out/);
  assert.ok(!fs.existsSync(destination));
  const before = got;
  await from.download('x', want, destination, { onBytes: (n) => (got += n) });
  assert.deepEqual(fs.readFileSync(destination), bytes);
  assert.equal(got, bytes.length, 'resumed, nothing copied twice');
  assert.ok(before > 0 && before < bytes.length);

  fs.writeFileSync(join(folder, 'x'), bytes.subarray(1));
  await assert.rejects(from.download('x', want, join(root, 'copy2')), { code: 'transfer.size' });
  bytes[5] = (bytes[5] ?? 0) ^ 1;
  fs.writeFileSync(join(folder, 'x'), bytes);
  await assert.rejects(from.download('x', want, join(root, 'copy2')), { code: 'transfer.hash' });
});
