// Signed documents over a line that cuts: each byte once and one chunk more a cut; what is not what was signed is never used.
import assert from 'node:assert/strict';
import { createHash, randomBytes } from 'node:crypto';
import * as fs from 'node:fs';
import * as http from 'node:http';
import type { AddressInfo } from 'node:net';
import * as os from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { folderOrigin } from './folder.ts';
import { httpOrigin } from './http.ts';
import { forgetParts, RESUME_LIMITS, resuming } from './resuming.ts';

const root = fs.mkdtempSync(join(os.tmpdir(), 'pf-resuming-'));
const closing: (() => unknown)[] = [() => fs.rmSync(root, { recursive: true, force: true })];
after(async () => {
  for (const close of closing.toReversed()) await close();
});
const sha = (bytes: Uint8Array) => createHash('sha256').update(bytes).digest('hex');
const CHUNK = 8 * 1024;
let counter = 0;
const fresh = () => join(root, `parts-${(counter += 1)}`);

/** A server of one document that is cut after so many bytes of each answer; says what it has sent. */
async function cutting(
  document: () => Uint8Array,
  cutAfter: () => number,
  validator = (bytes: Uint8Array) => `"${sha(bytes)}"`,
) {
  const sent = { bytes: 0, requests: 0 };
  const server = http.createServer((request, response) => {
    sent.requests += 1;
    const bytes = document();
    const etag = validator(bytes);
    const from = /^bytes=(\d+)-$/.exec(request.headers.range ?? '')?.[1];
    const condition = request.headers['if-range'];
    const start = from !== undefined && (condition === undefined || condition === etag) ? Number(from) : 0;
    const headers: http.OutgoingHttpHeaders = { etag, 'content-length': bytes.length - start };
    if (start > 0) headers['content-range'] = `bytes ${start}-${bytes.length - 1}/${bytes.length}`;
    response.writeHead(start > 0 ? 206 : 200, headers);
    const end = Math.min(bytes.length, start + cutAfter());
    const next = (at: number): void => {
      if (at >= end) {
        if (end === bytes.length) response.end();
        else setImmediate(() => response.destroy());
        return;
      }
      const piece = bytes.subarray(at, Math.min(end, at + CHUNK));
      sent.bytes += piece.length;
      response.write(piece, () => next(at + piece.length));
    };
    next(start);
  });
  await new Promise<void>((done) => void server.listen(0, '127.0.0.1', done));
  closing.push(() => (server.closeAllConnections(), server.close()));
  const origin = httpOrigin(`http://127.0.0.1:${(server.address() as AddressInfo).port}`);
  closing.push(() => origin.close());
  return { origin, sent };
}

test('S23 a document of 200 KB over a line that cuts every 40 KB: each byte once and a chunk a cut, in another process each time', async () => {
  const document = randomBytes(200_000);
  const want = { sha256: sha(document), size: document.length };
  const { origin, sent } = await cutting(
    () => document,
    () => 40_000,
  );
  const folder = fresh();
  let cuts = 0;
  for (;;) {
    try {
      const got = await resuming(origin, folder).fetchKnown(`targets/catalogs/${want.sha256}.test.json.zst`, want);
      assert.ok(got.kind === 'found' && document.equals(got.bytes));
      break;
    } catch (error) {
      assert.equal((error as { code?: string }).code, 'transfer.cut');
      cuts += 1;
      assert.ok(cuts < 20);
    }
  }
  assert.ok(cuts >= 4, `${cuts} cuts`);
  assert.ok(sent.bytes <= document.length + cuts * CHUNK, `${sent.bytes} bytes for ${document.length}, ${cuts} cuts`);
  assert.deepEqual(fs.readdirSync(folder), [], 'nothing is left of it');
});

test('S23 metadata goes on under its own hash; another server with validators of its own goes on by the name of a document', async () => {
  const document = randomBytes(120_000);
  const want = { sha256: sha(document), size: document.length };
  for (const path of ['metadata/7.catalog.json', `targets/catalogs/${want.sha256}.test.json.zst`]) {
    const first = await cutting(
      () => document,
      () => 90_000,
    );
    const own = path.startsWith('metadata') ? undefined : () => '"its-own"';
    const second = await cutting(
      () => document,
      () => document.length,
      own,
    );
    const folder = fresh();
    await assert.rejects(resuming(first.origin, folder).fetchKnown(path, want), { code: 'transfer.cut' });
    const got = await resuming(second.origin, folder).fetchKnown(path, want);
    assert.ok(got.kind === 'found' && document.equals(got.bytes));
    assert.ok(second.sent.bytes < 40_000, `${path}: ${second.sent.bytes}`);
  }
});

test('S20 S23 a part of something else: refused with its own name, forgotten, and the whole asked for once', async () => {
  const document = randomBytes(100_000);
  const want = { sha256: sha(document), size: document.length };
  const path = `targets/catalogs/${want.sha256}.test.json.zst`;
  let serves: Uint8Array = randomBytes(100_000);
  const { origin, sent } = await cutting(
    () => serves,
    () => (serves === document ? document.length : 60_000),
    () => '"always the same"',
  );
  const folder = fresh();
  const ask = () => resuming(origin, folder).fetchKnown(path, want);
  await assert.rejects(ask(), { code: 'transfer.cut' });
  serves = document;
  sent.bytes = 0;
  const got = await ask();
  assert.ok(got.kind === 'found' && document.equals(got.bytes), 'spliced bytes are never given out');
  assert.ok(sent.bytes <= 40_000 + CHUNK + document.length, 'the rest, and then the whole once');
  serves = randomBytes(100_000);
  const liar = await cutting(
    () => serves,
    () => 100_000,
  );
  await assert.rejects(resuming(liar.origin, folder).fetchKnown(path, want), { code: 'transfer.hash' });
  assert.deepEqual(fs.readdirSync(folder), []);
});

test('small ones, what is missing, folders, and a disk that takes no parts: as without', async () => {
  const document = randomBytes(RESUME_LIMITS.leastBytes);
  const want = { sha256: sha(document), size: document.length };
  const { origin } = await cutting(
    () => document,
    () => document.length,
  );
  fs.writeFileSync(join(root, 'file'), '');
  const found = await resuming(origin, join(root, 'file/below')).fetchKnown('x', want);
  assert.ok(found.kind === 'found' && document.equals(found.bytes));
  const small = randomBytes(100);
  const folder = fresh();
  const other = await cutting(
    () => small,
    () => 100,
  );
  assert.equal((await resuming(other.origin, folder).fetchKnown('x', { sha256: sha(small), size: 100 })).kind, 'found');
  assert.equal(fs.existsSync(folder), false);
  fs.mkdirSync(join(root, 'repository/metadata'), { recursive: true });
  fs.writeFileSync(join(root, 'repository/metadata/x'), document);
  const local = resuming(folderOrigin(join(root, 'repository')), folder);
  assert.equal((await local.fetchKnown('metadata/x', want)).kind, 'found');
  assert.equal((await local.fetchKnown('metadata/y', want)).kind, 'missing');
  assert.equal(fs.existsSync(folder), false);
});

test('what a killed process has left whole is used; parts of other files go when they are too many, or when none is needed', async () => {
  const document = randomBytes(50_000);
  const want = { sha256: sha(document), size: document.length };
  const { origin, sent } = await cutting(
    () => document,
    () => document.length,
  );
  const folder = fresh();
  fs.mkdirSync(folder);
  fs.writeFileSync(join(folder, want.sha256), document);
  assert.equal((await resuming(origin, folder).fetchKnown('x', want)).kind, 'found');
  assert.equal(sent.requests, 0);
  fs.writeFileSync(join(folder, want.sha256), randomBytes(50_000));
  assert.equal((await resuming(origin, folder).fetchKnown('x', want)).kind, 'found');
  assert.equal(sent.requests, 1, 'a torn one is not');
  for (let part = 0; part < 5; part += 1) {
    for (const end of ['.part', '.part.from']) fs.writeFileSync(join(folder, `${String(part).repeat(64)}${end}`), 'x');
    fs.utimesSync(join(folder, `${String(part).repeat(64)}.part`), part + 1, part + 1);
    fs.utimesSync(join(folder, `${String(part).repeat(64)}.part.from`), part + 1, part + 1);
  }
  forgetParts(folder, 2);
  assert.deepEqual(
    fs
      .readdirSync(folder)
      .map((name) => name.slice(0, 1))
      .toSorted(),
    ['3', '3', '4', '4'],
  );
  forgetParts(folder);
  assert.deepEqual(fs.readdirSync(folder), []);
});
