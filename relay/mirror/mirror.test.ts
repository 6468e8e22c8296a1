// The mirror against a real signed repository: verified before visible, resumable, switched at once.
import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import * as fs from 'node:fs';
import * as http from 'node:http';
import type { AddressInfo } from 'node:net';
import * as os from 'node:os';
import { dirname, join } from 'node:path';
import { after, test } from 'node:test';
import { isFault } from '#manifests/errors';
import { systemClock } from '#manifests/platform/clock';
import { takeLock } from '#manifests/platform/lock';
import { silentLog } from '#manifests/platform/log';
import { payloadPath } from '#manifests/repository';
import { folderOrigin, httpOrigin, type Origin } from '#manifests/transfer';
import { foldersOf } from '../settings.ts';
import { makePublisher, sha256, type TestPatch } from '../testing/repository.ts';
import { collectGarbage, currentGeneration, mirrorLayout, type SyncOptions, syncMirror, verifyMirror } from './index.ts';

const HOUR = 3_600_000;
const root = fs.mkdtempSync(join(os.tmpdir(), 'pf-mirror-'));
const closing: (() => unknown)[] = [() => fs.rmSync(root, { recursive: true, force: true })];
after(async () => {
  for (const close of closing.toReversed()) await close();
});

let counter = 0;
function freshRelay(): ReturnType<typeof foldersOf> {
  counter += 1;
  return foldersOf({ stateDir: join(root, `state-${counter}`), cacheDir: join(root, `cache-${counter}`) });
}
const freshPublisher = () => makePublisher(join(root, `publisher-${(counter += 1)}`));

const patch = (id: string, as: TestPatch['as'] = 'approved', size = 2_000): TestPatch => ({
  id: `${id}@1`,
  as,
  bytes: randomBytes(size),
});

function options(folders: ReturnType<typeof foldersOf>, origins: readonly Origin[], pinnedRoot: string): SyncOptions {
  return { ...folders, origins, pinnedRoot, payloads: 'approved', clock: systemClock, log: silentLog };
}

/** Everything below a folder: path and inode, links followed for what they are. */
function listing(folder: string): string[] {
  return fs
    .readdirSync(folder, { recursive: true, encoding: 'utf8' })
    .map((path) => `${path} ${fs.lstatSync(join(folder, path)).ino}`)
    .toSorted();
}

/** Serves a folder over HTTP as plain as can be, with a hook that may answer in its place. */
async function serveFolder(folder: string, hook: (path: string, response: http.ServerResponse) => boolean = () => false) {
  const requests: { path: string; status: number }[] = [];
  const server = http.createServer((request, response) => {
    const path = (request.url ?? '').slice(1);
    response.once('finish', () => requests.push({ path, status: response.statusCode }));
    if (hook(path, response)) return;
    const file = join(folder, path);
    const bytes = fs.existsSync(file) ? fs.readFileSync(file) : undefined;
    const etag = bytes && `"${sha256(bytes)}"`;
    const range = /^bytes=(\d+)-$/.exec(request.headers.range ?? '');
    if (bytes === undefined || etag === undefined) response.writeHead(404).end();
    else if (request.headers['if-none-match'] === etag) response.writeHead(304).end();
    else if (range !== null && request.headers['if-range'] === etag) {
      const start = Number(range[1]);
      response.writeHead(206, { etag, 'content-range': `bytes ${start}-${bytes.length - 1}/${bytes.length}` });
      response.end(bytes.subarray(start));
    } else response.writeHead(200, { etag, 'content-length': bytes.length }).end(bytes);
  });
  server.listen(0, '127.0.0.1');
  await new Promise((done) => server.once('listening', done));
  const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
  const origin = httpOrigin(url, { limits: { windowMs: 300, minimumBytesPerSecond: 200, connectMs: 1_000, headersMs: 500 } });
  closing.push(
    () => {
      server.closeAllConnections();
      server.close();
    },
    () => origin.close(),
  );
  return { url, origin, requests };
}

test('a first sync brings everything; a second costs one conditional request and leaves all as it is', async () => {
  const publisher = await freshPublisher();
  const patches = [patch('a'), patch('b', 'pending'), patch('c', 'neither')];
  await publisher.publish({ patches });
  const upstream = await serveFolder(publisher.folder);
  const relay = freshRelay();
  const report = await syncMirror(options(relay, [upstream.origin], publisher.root));
  assert.equal(report.changed, true);
  assert.equal(report.fetchedPayloads, 3, 'the index, the approved and the pending one');
  const current = join(relay.mirror, 'current');
  for (const name of [
    'metadata/timestamp.json',
    'metadata/1.snapshot.json',
    'metadata/1.catalog.json',
    'metadata/1.root.json',
  ]) {
    assert.deepEqual(fs.readFileSync(join(current, name)), fs.readFileSync(join(publisher.folder, name)), name);
  }
  const [a, b, c] = patches.map(({ bytes }) => join(current, payloadPath(sha256(bytes))));
  assert.ok(fs.existsSync(a ?? '') && fs.existsSync(b ?? '') && !fs.existsSync(c ?? ''));

  upstream.requests.length = 0;
  const before = [listing(relay.mirror), listing(relay.trust)];
  const again = await syncMirror(options(relay, [upstream.origin], publisher.root));
  assert.equal(again.changed, false);
  assert.deepEqual(upstream.requests, [{ path: 'metadata/timestamp.json', status: 304 }]);
  assert.deepEqual([listing(relay.mirror), listing(relay.trust)], before);

  const all = await syncMirror({ ...options(relay, [upstream.origin], publisher.root), payloads: 'all' });
  assert.equal(all.fetchedPayloads, 1);
  assert.ok(fs.existsSync(c ?? ''));
});

test('a new version: only what is new is fetched, unchanged files are hard links, clients on their way find theirs', async () => {
  const publisher = await freshPublisher();
  const first = patch('a');
  const note = randomBytes(500);
  await publisher.publish({ patches: [first], others: { 'waivers/w': note } });
  const upstream = await serveFolder(publisher.folder);
  const relay = freshRelay();
  await syncMirror(options(relay, [upstream.origin], publisher.root));
  await publisher.publish({ patches: [first, patch('b')], others: { 'waivers/w': note } });
  upstream.requests.length = 0;
  const report = await syncMirror(options(relay, [upstream.origin], publisher.root));
  assert.equal(report.generation.number, 2);
  assert.equal(report.fetchedPayloads, 1);
  assert.ok(!upstream.requests.some(({ path }) => path.endsWith('.w')), 'the unchanged document was not asked for');
  const waiver = `targets/waivers/${sha256(note)}.w`;
  const inode = (generation: number, path: string) =>
    fs.statSync(join(relay.mirror, 'generations', String(generation), path)).ino;
  assert.equal(inode(1, waiver), inode(2, waiver));
  assert.equal(inode(1, 'metadata/1.root.json'), inode(2, 'metadata/1.root.json'));
  assert.ok(fs.existsSync(join(relay.mirror, 'current/metadata/1.snapshot.json')), 'S21: of the generation before');
});

test('S21 a publisher that signs several times an hour: a client that began with any of them finds its files, a day later none', async () => {
  const publisher = await freshPublisher();
  const relay = freshRelay();
  let ahead = 0;
  const clock = { now: () => Date.now() + ahead, monotonic: () => performance.now() };
  const publishAndSync = async (note: Uint8Array) => {
    await publisher.publish({ patches: [], others: { 'waivers/w': note } });
    await syncMirror({ ...options(relay, [folderOrigin(publisher.folder)], publisher.root), clock });
    return join(relay.mirror, 'current', `targets/waivers/${sha256(note)}.w`);
  };
  const files: string[] = [];
  for (let round = 1; round <= 5; round += 1) files.push(await publishAndSync(randomBytes(500)));
  for (const [index, file] of files.entries()) {
    assert.ok(fs.existsSync(file), `document of generation ${index + 1}`);
    assert.ok(fs.existsSync(join(relay.mirror, `current/metadata/${index + 1}.snapshot.json`)));
  }
  assert.equal((await verifyMirror({ ...relay, now: clock.now })).bad.length, 0);
  ahead = 3 * HOUR;
  files.push(await publishAndSync(randomBytes(500)));
  assert.deepEqual(
    files.map((file) => fs.existsSync(file)),
    [false, false, false, false, true, true],
    'the last one was served until now',
  );
  const gone = (hours: number) => collectGarbage({ ...relay, dryRun: true, now: clock.now() + hours * HOUR }).generations;
  assert.deepEqual(gone(0), []);
  assert.deepEqual(gone(25), [1, 2, 3], 'the current one and two older ones stay in any case');
});

test('a folder as upstream, and a relay of a relay', async () => {
  const publisher = await freshPublisher();
  await publisher.publish({ patches: [patch('a')] });
  const near = freshRelay();
  await syncMirror(options(near, [folderOrigin(publisher.folder)], publisher.root));
  const far = freshRelay();
  const report = await syncMirror(options(far, [folderOrigin(join(near.mirror, 'current'))], publisher.root));
  assert.equal(report.changed, true);
  assert.equal((await verifyMirror({ ...far, now: Date.now })).bad.length, 0);
  const again = await syncMirror(options(far, [folderOrigin(join(near.mirror, 'current'))], publisher.root));
  assert.equal(again.changed, false);
});

test('S20 tampered, truncated, stale, foreign and portal upstreams are passed over with the exact reason; the good one is used', async () => {
  const publisher = await freshPublisher();
  const target = patch('a', 'approved', 5_000);
  await publisher.publish({ patches: [patch('old')] });
  const old = join(root, 'old-copy');
  fs.cpSync(publisher.folder, old, { recursive: true });
  const relay = freshRelay();
  await syncMirror(options(relay, [folderOrigin(publisher.folder)], publisher.root));
  await publisher.publish({ patches: [target] });
  const other = await freshPublisher();
  await other.publish({ patches: [] });
  await other.publish({ patches: [] });
  await other.publish({ patches: [] });

  const payload = payloadPath(sha256(target.bytes));
  const flip = (path: string) => {
    const bytes = fs.readFileSync(join(publisher.folder, path));
    bytes[bytes.length >> 1] = (bytes[bytes.length >> 1] ?? 0) ^ 1;
    return bytes;
  };
  const hostile: [string, (path: string, response: http.ServerResponse) => boolean, RegExp][] = [
    ['payload flipped', (path, r) => path === payload && (r.end(flip(path)), true), /^transfer\.hash$/],
    [
      'payload truncated',
      (path, r) => path === payload && (r.write(flip(path).subarray(0, 9)), r.end(), true),
      /^transfer\.cut$/,
    ],
    ['catalog flipped', (path, r) => path.startsWith('targets/catalogs') && (r.end(flip(path)), true), /^trust\.target-hash$/],
    ['timestamp flipped', (path, r) => path === 'metadata/timestamp.json' && (r.end(flip(path)), true), /^trust\./],
    ['snapshot flipped', (path, r) => path === 'metadata/2.snapshot.json' && (r.end(flip(path)), true), /^trust\./],
    ['portal', (_, r) => (r.end('<!doctype html><title>Hotel</title>'), true), /^transfer\.portal$/],
    [
      'endless timestamp',
      (path, r) => path === 'metadata/timestamp.json' && (r.end(Buffer.alloc(1e6, 0x20)), true),
      /^transfer\.too-large$/,
    ],
    ['off-host', (_, r) => (r.writeHead(302, { location: 'http://127.0.0.2:1/' }).end(), true), /^transfer\.redirect$/],
  ];
  const before = currentGeneration(mirrorLayout(relay.mirror));
  for (const [name, hook, code] of hostile) {
    const bad = await serveFolder(publisher.folder, hook);
    const copy = freshRelay();
    for (const part of ['mirror', 'trust'] as const)
      fs.cpSync(relay[part], copy[part], { recursive: true, verbatimSymlinks: true });
    await assert.rejects(
      syncMirror(options(copy, [bad.origin], publisher.root)),
      (error) => isFault(error) && code.test(error.code),
      name,
    );
    assert.deepEqual(currentGeneration(mirrorLayout(copy.mirror)), before, `${name}: what is served did not change`);
    const report = await syncMirror(options(copy, [bad.origin, folderOrigin(publisher.folder)], publisher.root));
    assert.equal(report.origin, publisher.folder, name);
    assert.match(report.failures[0]?.code ?? '', code, name);
    assert.equal((await verifyMirror({ ...copy, now: Date.now })).bad.length, 0, name);
  }
  // Older and other repositories, against a relay that is up to date.
  await syncMirror(options(relay, [folderOrigin(publisher.folder)], publisher.root));
  await assert.rejects(syncMirror(options(relay, [folderOrigin(old)], publisher.root)), { code: 'trust.rollback' });
  await assert.rejects(
    syncMirror(options(relay, [folderOrigin(other.folder)], publisher.root)),
    (error) => isFault(error) && error.exit === 5,
  );
  const report = await syncMirror(options(relay, [folderOrigin(old), folderOrigin(publisher.folder)], publisher.root));
  assert.deepEqual([report.changed, report.failures[0]?.code], [false, 'trust.rollback']);
});

test('S12 S13 an endless and a dripping upstream are given up, and the next one is used', async () => {
  const publisher = await freshPublisher();
  const big = patch('a', 'approved', 50_000);
  await publisher.publish({ patches: [big] });
  const timers = new Set<NodeJS.Timeout>();
  closing.push(() => timers.forEach(clearInterval));
  const payload = payloadPath(sha256(big.bytes));
  const drip = await serveFolder(publisher.folder, (path, response) => {
    if (path !== payload) return false;
    response.flushHeaders();
    timers.add(setInterval(() => response.write('x'), 20));
    return true;
  });
  const endless = await serveFolder(publisher.folder, (path, response) => {
    if (path !== payload) return false;
    const pump = () => {
      while (!response.destroyed && response.write(Buffer.alloc(65_536)));
    };
    response.on('drain', pump).on('error', () => undefined);
    pump();
    return true;
  });
  const relay = freshRelay();
  const report = await syncMirror(
    options(relay, [drip.origin, endless.origin, folderOrigin(publisher.folder)], publisher.root),
  );
  assert.deepEqual(
    report.failures.map(({ code }) => code),
    ['transfer.slow', 'transfer.too-large'],
  );
  assert.equal(report.changed, true);
});

test('S23 a sync over a line that is cut again and again: every byte once', async () => {
  const publisher = await freshPublisher();
  const big = patch('a', 'approved', 300_000);
  await publisher.publish({ patches: [big] });
  let sent = 0;
  const payload = payloadPath(sha256(big.bytes));
  const server = http.createServer((request, response) => {
    const path = (request.url ?? '').slice(1);
    const bytes = fs.existsSync(join(publisher.folder, path)) ? fs.readFileSync(join(publisher.folder, path)) : undefined;
    if (bytes === undefined) response.writeHead(404).end();
    else if (path === payload) sendPiece(request, response, bytes);
    else response.end(bytes);
  });
  const sendPiece = (request: http.IncomingMessage, response: http.ServerResponse, bytes: Buffer) => {
    const start = Number(/^bytes=(\d+)-$/.exec(request.headers.range ?? '')?.[1] ?? 0);
    const headers = { etag: '"v"', 'content-length': bytes.length - start };
    if (start === 0) response.writeHead(200, headers);
    else response.writeHead(206, { ...headers, 'content-range': `bytes ${start}-${bytes.length - 1}/${bytes.length}` });
    const piece = bytes.subarray(start, start + 30_000);
    const cut = () => void setImmediate(() => response.destroy());
    response.write(piece, () => (start + piece.length === bytes.length ? response.end() : cut()));
    sent += piece.length;
  };
  server.listen(0, '127.0.0.1');
  await new Promise((done) => server.once('listening', done));
  const origin = httpOrigin(`http://127.0.0.1:${(server.address() as AddressInfo).port}`);
  closing.push(
    () => server.close(),
    () => origin.close(),
  );
  const relay = freshRelay();
  let cuts = 0;
  for (;;) {
    try {
      await syncMirror(options(relay, [origin], publisher.root));
      break;
    } catch (error) {
      assert.ok(isFault(error, 'transfer.cut'), String(error));
      assert.equal(currentGeneration(mirrorLayout(relay.mirror)), undefined, 'nothing is visible yet');
      cuts += 1;
      assert.ok(cuts < 30);
    }
  }
  assert.equal(cuts, 9);
  assert.equal(sent, big.bytes.length, 'no byte was sent twice');
});

test('S30 an upstream folder without a medium is refused and nothing is deleted', async () => {
  const publisher = await freshPublisher();
  await publisher.publish({ patches: [patch('a')] });
  const relay = freshRelay();
  const mount = join(root, 'mount');
  fs.cpSync(publisher.folder, mount, { recursive: true });
  await syncMirror(options(relay, [folderOrigin(mount)], publisher.root));
  const before = listing(relay.mirror);
  fs.rmSync(mount, { recursive: true });
  fs.mkdirSync(mount);
  await assert.rejects(syncMirror(options(relay, [folderOrigin(mount)], publisher.root)), {
    code: 'transfer.not-a-repository',
  });
  assert.deepEqual(listing(relay.mirror), before);
});

test('S39 two syncs at once: one wins, the other says who holds it', async () => {
  const publisher = await freshPublisher();
  await publisher.publish({ patches: [] });
  const relay = freshRelay();
  const lock = takeLock(relay.lock, 'sync');
  await assert.rejects(syncMirror(options(relay, [folderOrigin(publisher.folder)], publisher.root)), { code: 'lock.held' });
  lock.release();
  await syncMirror(options(relay, [folderOrigin(publisher.folder)], publisher.root));
});

test('a payload may be absent upstream and is counted; another upstream is asked for it', async () => {
  const publisher = await freshPublisher();
  const absent = { ...patch('now'), absent: true };
  await publisher.publish({ patches: [patch('a'), absent, { ...patch('later', 'pending'), absent: true }] });
  const relay = freshRelay();
  const report = await syncMirror(options(relay, [folderOrigin(publisher.folder)], publisher.root));
  assert.equal(report.generation.absent, 2);
  assert.equal(report.generation.payloadCount, 2);
  const other = join(root, 'other');
  const path = join(other, payloadPath(sha256(absent.bytes)));
  fs.mkdirSync(dirname(path), { recursive: true });
  fs.writeFileSync(path, absent.bytes);
  const two = await syncMirror(options(freshRelay(), [folderOrigin(publisher.folder), folderOrigin(other)], publisher.root));
  assert.equal(two.generation.absent, 1);
});

test('verify finds every kind of damage, the next sync repairs it, gc removes only what no kept document names', async () => {
  const publisher = await freshPublisher();
  const keep = patch('keep');
  const patches = [keep, patch('gone')];
  await publisher.publish({ patches });
  const relay = freshRelay();
  const from = () => options(relay, [folderOrigin(publisher.folder)], publisher.root);
  await syncMirror(from());
  const current = join(relay.mirror, 'current');
  const payload = join(current, payloadPath(sha256(keep.bytes)));
  fs.chmodSync(payload, 0o644);
  fs.writeFileSync(payload, randomBytes(keep.bytes.length));
  const record = currentGeneration(mirrorLayout(relay.mirror));
  const catalog = record?.targets.find(({ path }) => path.startsWith('roster/'));
  const roster = join(current, `targets/roster/${catalog?.sha256}.roster.json.zst`);
  fs.truncateSync(roster, 10);
  fs.appendFileSync(join(current, 'metadata/1.policy.json'), ' ');
  fs.rmSync(join(current, payloadPath(sha256((patches[1] as TestPatch).bytes))));
  const found = await verifyMirror({ ...relay, now: Date.now });
  assert.deepEqual(found.bad.map(({ says }) => says).toSorted(), [
    'is damaged',
    'is damaged or gone',
    'is gone',
    'is not what was signed',
  ]);
  const repaired = await syncMirror(from());
  assert.equal(repaired.changed, true);
  assert.equal((await verifyMirror({ ...relay, now: Date.now })).bad.length, 0);

  for (let round = 0; round < 4; round += 1) {
    await publisher.publish({ patches: [keep] });
    await syncMirror(from());
  }
  const later = Date.now() + 2 * 24 * HOUR;
  assert.deepEqual(collectGarbage({ ...relay, dryRun: true, now: Date.now() }).generations, [], 'all were served within a day');
  const dry = collectGarbage({ ...relay, dryRun: true, now: later });
  assert.equal(dry.payloads, 1);
  assert.ok(fs.existsSync(join(current, payloadPath(sha256((patches[1] as TestPatch).bytes)))));
  assert.deepEqual(collectGarbage({ ...relay, dryRun: false, now: later }), dry);
  assert.ok(!fs.existsSync(join(current, payloadPath(sha256((patches[1] as TestPatch).bytes)))));
  assert.equal((await verifyMirror({ ...relay, now: Date.now })).bad.length, 0);
  assert.deepEqual(collectGarbage({ ...relay, dryRun: false, now: later }), { generations: [], payloads: 0, bytes: 0 });
});

test('an upstream published anew in the middle of a sync is started over', async () => {
  const publisher = await freshPublisher();
  await publisher.publish({ patches: [patch('a')] });
  let republished = false;
  const upstream = await serveFolder(publisher.folder, (path, response) => {
    if (republished || !path.startsWith('targets/')) return false;
    response.writeHead(404).end(); // as a plain folder does that keeps only the newest
    return true;
  });
  const relay = freshRelay();
  const original = upstream.origin;
  const origin: Origin = {
    ...original,
    fetchSmall: async (path, fetchOptions) => {
      const answer = await original.fetchSmall(path, fetchOptions);
      if (path.startsWith('targets/') && !republished) {
        await publisher.publish({ patches: [patch('b')] });
        republished = true;
      }
      return answer;
    },
  };
  const report = await syncMirror(options(relay, [origin], publisher.root));
  assert.equal(report.generation.versions.timestamp, 2);
});
