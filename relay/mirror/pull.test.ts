// Payloads on demand, hours without payloads, a quota, selections: against a real relay and a real signed repository.
import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import * as fs from 'node:fs';
import * as http from 'node:http';
import type { AddressInfo } from 'node:net';
import * as os from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { systemClock } from '#manifests/platform/clock';
import { silentLog } from '#manifests/platform/log';
import { openPayloadStore, payloadPath } from '#manifests/repository';
import { folderOrigin, httpOrigin } from '#manifests/transfer';
import { startRelay } from '../run.ts';
import { foldersOf, relaySettings } from '../settings.ts';
import { makePublisher, sha256, type TestPatch } from '../testing/repository.ts';
import { collectGarbage, mirrorLayout, openPull, type SyncOptions, syncMirror, verifyMirror } from './index.ts';
import { PULL_LIMITS } from './pull.ts';
import { readUsage } from './usage.ts';

const root = fs.mkdtempSync(join(os.tmpdir(), 'pf-pull-'));
const closing: (() => unknown)[] = [() => fs.rmSync(root, { recursive: true, force: true })];
after(async () => {
  for (const close of closing.toReversed()) await close();
});
let counter = 0;
const fresh = () => join(root, String((counter += 1)));
const freshFolders = () => foldersOf({ stateDir: join(fresh(), 'state'), cacheDir: join(fresh(), 'cache') });
const patch = (id: string, size = 2_000, as: TestPatch['as'] = 'approved'): TestPatch => ({ id, as, bytes: randomBytes(size) });
const want = ({ bytes }: TestPatch) => ({ sha256: sha256(bytes), size: bytes.length });

/** Serves a folder, counting what is sent of each path; `hook` may answer in its place. */
async function serveFolder(folder: string, hook: (path: string, response: http.ServerResponse) => boolean = () => false) {
  const sent = new Map<string, number>();
  const server = http.createServer((request, response) => {
    const path = (request.url ?? '').slice(1);
    if (hook(path, response)) return;
    const file = join(folder, path);
    if (!fs.existsSync(file)) {
      response.writeHead(404).end();
      return;
    }
    const bytes = fs.readFileSync(file);
    const start = Number(/^bytes=(\d+)-$/.exec(request.headers.range ?? '')?.[1] ?? 0);
    sent.set(path, (sent.get(path) ?? 0) + bytes.length - start);
    const range = start === 0 ? {} : { 'content-range': `bytes ${start}-${bytes.length - 1}/${bytes.length}` };
    response.writeHead(start === 0 ? 200 : 206, { etag: `"${sha256(bytes)}"`, ...range }).end(bytes.subarray(start));
  });
  server.listen(0, '127.0.0.1');
  await new Promise((done) => server.once('listening', done));
  closing.push(() => (server.closeAllConnections(), server.close()));
  return { url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`, sent };
}

test('on demand: a sync brings documents and indexes; a payload comes when somebody asks, once for all who do, and only if a catalog names it', async () => {
  const publisher = await makePublisher(fresh());
  const patches = [patch('a@1', 50_000), patch('b@1')];
  await publisher.publish({ patches });
  const secret = randomBytes(10);
  const unnamed = join(publisher.folder, payloadPath(sha256(secret)));
  fs.mkdirSync(join(unnamed, '..'), { recursive: true });
  fs.writeFileSync(unnamed, secret);
  const upstream = await serveFolder(publisher.folder);
  const place = { stateDir: join(fresh(), 'state'), cacheDir: join(fresh(), 'cache') };
  const relay = await startRelay(
    relaySettings.parse({
      ...place,
      listen: '127.0.0.1:0',
      upstream: [upstream.url],
      upstreamRoot: publisher.root,
      payloads: 'on-demand',
    }),
    { log: silentLog },
  );
  closing.push(() => relay.stop());
  await relay.sync();
  const store = openPayloadStore(mirrorLayout(foldersOf(place).mirror).payloads);
  assert.equal([...store.list()].length, 1, 'the index');
  const fetched = async () =>
    Number(
      /^patchferry_relay_upstream_fetched_bytes_total (\d+)$/m.exec(await (await fetch(`${relay.url}/metrics`)).text())?.[1],
    );
  const ahead = await fetched();
  assert.ok(ahead > 0);
  const [a] = patches as [TestPatch];
  const agents = Array.from({ length: 8 }, () => ({ origin: httpOrigin(relay.url), store: openPayloadStore(fresh()) }));
  await Promise.all(agents.map((agent) => agent.store.fetch(agent.origin, want(a))));
  for (const agent of agents) assert.ok(await agent.store.verify(want(a).sha256, want(a).size));
  assert.equal(upstream.sent.get(payloadPath(want(a).sha256)), a.bytes.length, 'fetched once for all');
  assert.equal((await fetched()) - ahead, a.bytes.length, 'what came on demand is in the figures of the line');
  assert.equal((await fetch(`${relay.url}/${payloadPath(sha256(secret))}`)).status, 404);
  assert.equal(upstream.sent.get(payloadPath(sha256(secret))), undefined, 'what no catalog names is not even asked for');
  assert.equal((await verifyMirror({ ...foldersOf(place), now: Date.now })).bad.length, 0);
  await Promise.all(agents.map(({ origin }) => origin.close()));
});

test('S20 on demand from an upstream that sends other bytes: never served, never kept, told to come again', async () => {
  const publisher = await makePublisher(fresh());
  const a = patch('a@1', 5_000);
  await publisher.publish({ patches: [a] });
  const folders = freshFolders();
  const origin = folderOrigin(publisher.folder);
  await syncMirror(optionsOf(folders, publisher, { payloads: 'on-demand' }));
  const bad = await serveFolder(publisher.folder, (path, response) =>
    path.startsWith('payloads/') ? (response.end(randomBytes(5_000)), true) : false,
  );
  const hostile = httpOrigin(bad.url);
  const pull = openPull({ ...common, mirror: folders.mirror, origins: [hostile] });
  assert.deepEqual(await pull.pull(want(a).sha256), { kind: 'later', seconds: PULL_LIMITS.retrySeconds });
  assert.ok(!openPayloadStore(mirrorLayout(folders.mirror).payloads).has(want(a).sha256, a.bytes.length));
  const better = openPull({ ...common, mirror: folders.mirror, origins: [hostile, origin] });
  assert.deepEqual(await better.pull(want(a).sha256), { kind: 'here' });
  assert.deepEqual(await better.pull('0'.repeat(64)), { kind: 'none' });
  await hostile.close();
});

const common = { clock: systemClock, log: silentLog, signal: new AbortController().signal };

function optionsOf(
  folders: ReturnType<typeof foldersOf>,
  publisher: { folder: string; root: string },
  more: Partial<SyncOptions>,
): SyncOptions {
  const origins = [folderOrigin(publisher.folder)];
  return { ...folders, origins, pinnedRoot: publisher.root, payloads: 'approved', ...common, ...more };
}

test('hours without payloads: the signed state is switched to at once, payloads follow in the next free hour, every byte once', async () => {
  const publisher = await makePublisher(fresh());
  const patches = [patch('a@1', 400_000), patch('b@1')];
  await publisher.publish({ patches });
  const upstream = await serveFolder(publisher.folder);
  const origin = httpOrigin(upstream.url);
  closing.push(() => origin.close());
  const folders = freshFolders();
  let free = false;
  const sync = () =>
    syncMirror(
      optionsOf(folders, publisher, {
        origins: [origin],
        payloadsNow: () => free,
      }),
    );
  const first = await sync();
  assert.deepEqual([first.changed, first.fetchedPayloads, first.generation.waiting], [true, 0, 3]);
  assert.ok(fs.existsSync(join(folders.mirror, 'current/metadata/timestamp.json')));
  const still = await sync();
  assert.equal(still.changed, false);
  assert.equal([...upstream.sent.keys()].filter((path) => path.startsWith('payloads/')).length, 0);
  const pull = openPull({ ...common, mirror: folders.mirror, origins: [origin], payloadsNow: () => free });
  assert.equal((await pull.pull(want(patches[0] as TestPatch).sha256)).kind, 'later');

  // The free hour ends in the middle of the large payload: its part stays and is taken up.
  free = true;
  const cut = syncMirror(
    optionsOf(folders, publisher, {
      origins: [origin],
      payloadsNow: () => free,
      onProgress: (done) => {
        free = done < 60_000;
      },
    }),
  );
  const half = await cut;
  assert.ok(half.generation.waiting >= 1);
  const before = half.fetchedBytes;
  free = true;
  const last = await sync();
  assert.equal(last.generation.waiting, 0);
  const all = 400_000 + 2_000 + Buffer.byteLength('Origin: test\n');
  assert.equal(
    [...openPayloadStore(mirrorLayout(folders.mirror).payloads).list()].reduce((sum, { size }) => sum + size, 0),
    all,
  );
  assert.equal(before + last.fetchedBytes, all, 'every byte once');
  assert.deepEqual((await verifyMirror({ ...folders, now: Date.now })).bad, []);
});

test('quota: what is pinned stays, what is used stays, the rest goes, least recently used first; too much is left to be asked for', async () => {
  const publisher = await makePublisher(fresh());
  const old = ['a@1', 'b@1', 'c@1', 'd@1'].map((id) => patch(id, 10_000));
  await publisher.publish({ patches: old });
  const folders = freshFolders();
  const store = openPayloadStore(mirrorLayout(folders.mirror).payloads);
  let now = Date.parse('2026-01-01T00:00:00Z');
  const clock = { now: () => now, monotonic: () => now };
  await syncMirror(optionsOf(folders, publisher, { payloads: 'on-demand' }));
  const pull = openPull({
    ...common,
    clock,
    mirror: folders.mirror,
    origins: [folderOrigin(publisher.folder)],
    quotaBytes: 25_000,
  });
  const [a, b, c, d] = old.map((each) => want(each).sha256) as [string, string, string, string];
  const here = () => [a, b, c, d].filter((sha) => store.has(sha, 10_000));
  for (const sha of [a, b]) {
    assert.equal((await pull.pull(sha)).kind, 'here');
    now += 60_000;
  }
  await pull.pull(c);
  assert.deepEqual(here(), [a, b, c], 'all three were just asked for: none is taken away');
  now += PULL_LIMITS.leaseMs - 70_000;
  pull.used(a);
  now += 120_000;
  await pull.pull(d);
  assert.deepEqual(here(), [a, d], 'b and c were used longest ago');
  await pull.close();
  assert.ok(readUsage(mirrorLayout(folders.mirror)).lastUsed.has(a), 'known after a restart');

  // What a baseline approves is pinned: nothing of it goes, and no more of it comes than there is room for.
  now += 86_400_000;
  const report = await syncMirror(optionsOf(folders, publisher, { quotaBytes: 25_000 }));
  assert.equal(report.generation.overQuota, 2);
  assert.equal(here().length, 2);
  const pinned = openPull({ ...common, clock, mirror: folders.mirror, origins: [], quotaBytes: 1 });
  assert.equal(pinned.makeRoom().payloads, 0);
  assert.equal(collectGarbage({ ...folders, dryRun: true, now: Date.now() }).payloads, 0);
  const other = await syncMirror(optionsOf(folders, publisher, {}));
  assert.equal(other.generation.overQuota, 2, 'nothing is fetched until something is new');
});

test('trap 15: a quota never takes anything while a document cannot be read', async () => {
  const publisher = await makePublisher(fresh());
  const a = patch('a@1', 10_000);
  await publisher.publish({ patches: [a] });
  const folders = freshFolders();
  const { generation } = await syncMirror(optionsOf(folders, publisher, { payloads: 'all' }));
  const catalog = generation.targets.find(({ path }) => path.startsWith('catalogs/'));
  fs.truncateSync(join(folders.mirror, `current/targets/catalogs/${catalog?.sha256}.test-1.json.zst`), 5);
  const pull = openPull({ ...common, mirror: folders.mirror, origins: [], quotaBytes: 1 });
  assert.equal(pull.makeRoom().payloads, 0);
  assert.deepEqual(await pull.pull(want(a).sha256), { kind: 'none' });
});

test('missing: packages that agents asked for come ahead in their next version; products that are not selected do not', async () => {
  const publisher = await makePublisher(fresh());
  const [a, b] = [patch('a@1'), patch('b@1')];
  await publisher.publish({ patches: [a, b] });
  const folders = freshFolders();
  const store = openPayloadStore(mirrorLayout(folders.mirror).payloads);
  const missing = { payloads: 'missing' } as const;
  assert.equal((await syncMirror(optionsOf(folders, publisher, missing))).fetchedPayloads, 1, 'the index');
  const pull = openPull({ ...common, mirror: folders.mirror, origins: [folderOrigin(publisher.folder)] });
  assert.equal((await pull.pull(want(a).sha256)).kind, 'here');
  await pull.close();
  const [a2, b2] = [patch('a@2'), patch('b@2')];
  await publisher.publish({ patches: [a, b, a2, b2] });
  await syncMirror(optionsOf(folders, publisher, missing));
  assert.deepEqual(
    [a2, b2].map((each) => store.has(want(each).sha256, 2_000)),
    [true, false],
  );

  const selected = freshFolders();
  const none = await syncMirror(optionsOf(selected, publisher, { payloads: 'all', products: ['other-9'] }));
  assert.equal(none.fetchedPayloads, 0);
  assert.ok(
    none.generation.targets.some(({ path }) => path.startsWith('catalogs/test-1')),
    'signed documents come whole',
  );
  const now = await syncMirror(optionsOf(selected, publisher, { payloads: 'all', products: ['test-1'] }));
  assert.equal(now.fetchedPayloads, 5, 'another selection is taken up although nothing is new');
});

test('trap 28: an upstream that failed rests from one sync to the next, and says until when; every byte that came is counted', async () => {
  const publisher = await makePublisher(fresh());
  const big = patch('a@1', 50_000);
  await publisher.publish({ patches: [big] });
  let asked = 0;
  const bad = await serveFolder(publisher.folder, (path, response) => {
    asked += path === 'metadata/timestamp.json' ? 1 : 0;
    if (path !== payloadPath(want(big).sha256)) return false;
    response.writeHead(200, { 'content-length': big.bytes.length });
    response.write(big.bytes.subarray(0, 20_000), () => response.destroy());
    return true;
  });
  const good = await serveFolder(publisher.folder);
  const place = { stateDir: join(fresh(), 'state'), cacheDir: join(fresh(), 'cache') };
  let at = 0;
  const clock = { now: () => Date.now() + at, monotonic: () => performance.now() + at };
  const relay = await startRelay(
    relaySettings.parse({ ...place, listen: '127.0.0.1:0', upstream: [bad.url, good.url], upstreamRoot: publisher.root }),
    { log: silentLog, clock },
  );
  closing.push(() => relay.stop());
  const first = await relay.sync();
  assert.equal(first?.origin, good.url);
  assert.deepEqual(
    first.failures.map(({ code }) => code),
    ['transfer.cut'],
  );
  const before = asked;
  const second = await relay.sync();
  assert.deepEqual([second?.origin, asked], [good.url, before], 'it is not asked while it rests');
  assert.match(second?.failures[0]?.message ?? '', /; it rests until 20/);
  at += 20_000;
  assert.equal((await relay.sync())?.origin, bad.url, 'nothing is new, so it can do that');
  assert.ok(asked > before, 'its rest is over');

  const metrics = await (await fetch(`${relay.url}/metrics`)).text();
  const counted = Number(/^patchferry_relay_upstream_fetched_bytes_total (\d+)$/m.exec(metrics)?.[1]);
  const sent = [...bad.sent.values(), ...good.sent.values()].reduce((sum, bytes) => sum + bytes, 0);
  assert.equal(counted, sent + 20_000, 'whole files from both, and the part that came before the cut');
});
