// The relays of a host as it uses them: payloads that move on in mid-file, rests that survive a restart, places without inbox.
import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import * as fs from 'node:fs';
import * as http from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { systemClock } from '#manifests/platform/clock';
import { openPayloadStore, payloadPath } from '#manifests/repository';
import { sha256Of } from '#manifests/schema';
import { httpOrigin, type Origin } from '#manifests/transfer';
import { fetchPayloads, openRelays } from './index.ts';

const root = fs.mkdtempSync(join(tmpdir(), 'patchferry-relays-'));
const closing: (() => unknown)[] = [() => fs.rmSync(root, { recursive: true, force: true })];
after(async () => {
  for (const close of closing.toReversed()) await close();
});

const body = randomBytes(300_000);
const ref = { sha256: sha256Of(body), size: body.length, path: 'pool/a.deb' };

interface Place {
  readonly origin: Origin;
  /** Bytes of bodies that were sent, and where each began. */
  readonly sent: { start: number; bytes: number }[];
  /** An answer breaks off after so many bytes. */
  most: number;
  status: number;
}

/** A relay of one payload. */
async function place(): Promise<Place> {
  const state: Omit<Place, 'origin'> = { sent: [], most: Number.POSITIVE_INFINITY, status: 200 };
  const server = http.createServer((request, response) => {
    if (state.status !== 200) return response.writeHead(state.status).end();
    if (request.url !== `/${payloadPath(ref.sha256)}`) return response.writeHead(404).end();
    const start = Number(/^bytes=(\d+)-$/.exec(request.headers.range ?? '')?.[1] ?? 0);
    const rest = body.subarray(start);
    const part = rest.subarray(0, state.most);
    state.sent.push({ start, bytes: part.length });
    const range = start === 0 ? {} : { 'content-range': `bytes ${start}-${body.length - 1}/${body.length}` };
    response.writeHead(start === 0 ? 200 : 206, { etag: `"${ref.sha256}"`, 'content-length': rest.length, ...range });
    return response.write(part, () => (part.length < rest.length ? response.destroy() : response.end()));
  });
  server.listen(0, '127.0.0.1');
  await new Promise((done) => server.once('listening', done));
  const origin = httpOrigin(`http://127.0.0.1:${(server.address() as AddressInfo).port}`);
  closing.push(
    () => (server.closeAllConnections(), server.close()),
    () => origin.close(),
  );
  return Object.assign(state, { origin });
}

function relaysOf(places: readonly Place[], notes = new Map<string, string>(), clock = systemClock) {
  const book = {
    meta: (key: string) => notes.get(key),
    setMeta: (key: string, value: string | null) => void (value === null ? notes.delete(key) : notes.set(key, value)),
  };
  const origins = places.map(({ origin }) => origin);
  return openRelays({ origins, notes: book, agent: 'host', clock, choice: 'measured' });
}

test('an agent goes on with a payload at the next relay in mid-file, also after it was killed; every byte comes once', async () => {
  const [first, second, third] = [await place(), await place(), await place()];
  first.most = 100_000;
  second.most = 80_000;
  third.status = 503;
  const notes = new Map<string, string>();
  const store = openPayloadStore(join(root, 'cut'));
  await assert.rejects(fetchPayloads([ref], relaysOf([first, second, third], notes), store), { code: 'transfer.all-failed' });
  third.status = 200;
  const again = relaysOf([first, second, third], notes); // another process: what failed still rests
  assert.deepEqual(again.order(false), []);
  let got = 0;
  await fetchPayloads([ref], again, openPayloadStore(join(root, 'cut')), { onBytes: (done) => (got = done) });
  assert.ok(await store.verify(ref.sha256, ref.size));
  const all = [first, second, third].flatMap(({ sent }) => sent);
  assert.equal(
    all.reduce((sum, { bytes }) => sum + bytes, 0),
    body.length,
    JSON.stringify(all),
  );
  const inOrder = all.toSorted((a, b) => a.start - b.start);
  for (const [index, { start }] of inOrder.entries()) {
    const before = inOrder[index - 1];
    assert.equal(start, before === undefined ? 0 : before.start + before.bytes, 'each begins where the one before was cut');
  }
  assert.equal(got, body.length - 180_000);
  assert.match(JSON.stringify(again.report()), /transfer\.cut/);
});

test('a slow relay is found out by a payload that is needed anyway, and the faster one is used from then on', async () => {
  const [slow, fast] = [await place(), await place()];
  let at = 1_000_000;
  const clock = { now: () => at, monotonic: () => at };
  const notes = new Map<string, string>();
  const relays = relaysOf([slow, fast], notes, clock);
  const dragging: Origin = {
    ...slow.origin,
    async download(...args) {
      await slow.origin.download(...args);
      at += 20_000;
    },
  };
  const both = openRelays({
    origins: [dragging, fast.origin],
    notes: { meta: (key) => notes.get(key), setMeta: (key, value) => void notes.set(key, value ?? '') },
    agent: 'host',
    clock,
    choice: 'measured',
  });
  both.good(dragging, 1, false);
  for (const name of ['one', 'two', 'three']) {
    at += 3_600_000;
    await fetchPayloads([ref], both, openPayloadStore(join(root, name)));
  }
  assert.deepEqual([slow.sent.length, fast.sent.length], [1, 2]);
  assert.equal(both.report().relays[0]?.relay, fast.origin.name);
  assert.match(both.report().why, /times as fast as/);
  assert.equal(relays.order(false)[0], slow.origin, 'what another process noted is read when it starts');
  assert.equal(relaysOf([slow, fast], notes, clock).order(false)[0], fast.origin);
});

test('what no relay has is held against none; a disk that is full is this host’s own', async () => {
  const place404 = await place();
  const relays = relaysOf([place404]);
  const other = { ...ref, sha256: 'a'.repeat(64) };
  await assert.rejects(fetchPayloads([other], relays, openPayloadStore(join(root, 'none'))), { code: 'transfer.missing' });
  fs.writeFileSync(join(root, 'file'), '');
  await assert.rejects(fetchPayloads([ref], relays, openPayloadStore(join(root, 'file/below'))));
  assert.deepEqual([relays.report().relays[0]?.failures, relays.order(false).length], [0, 1]);
});

test('a place that takes no results is not posted to again for a day', async () => {
  const [files, relay] = [await place(), await place()];
  let at = 1_000_000;
  const relays = relaysOf([files, relay], new Map(), { now: () => at, monotonic: () => at });
  assert.deepEqual(relays.posts(false), [files.origin, relay.origin]);
  relays.takesNoPosts(files.origin);
  assert.deepEqual(relays.posts(false), [relay.origin]);
  assert.deepEqual(relays.order(false), [files.origin, relay.origin]);
  at += 24 * 3_600_000;
  assert.equal(relays.posts(false).length, 2);
});
