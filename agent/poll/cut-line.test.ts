// A host behind a line that is cut again and again: what it needs of signed documents comes once, and one chunk more a cut.
import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import * as fs from 'node:fs';
import * as net from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import type { RosterAgent } from '#manifests/schema';
import { httpOrigin } from '#manifests/transfer';
import { openTrust } from '#manifests/trust';
import { makePublisher } from '../service/testing/publisher.ts';
import { startRelay } from '../service/testing/relay.ts';
import { openDocuments, openRelays, syncOnce } from './index.ts';

const folder = fs.mkdtempSync(join(tmpdir(), 'patchferry-cut-'));
const closing: (() => unknown)[] = [() => fs.rmSync(folder, { recursive: true, force: true })];
after(async () => {
  for (const close of closing.toReversed()) await close();
});
const CHUNK = 16 * 1024;

test('S23 a roster of 200 KB over a line that is cut every 50 KB: each poll goes on where the one before was cut, at another relay too', async () => {
  const publisher = await makePublisher(join(folder, 'publisher'));
  const member = (at: number): RosterAgent => ({
    id: randomBytes(16).toString('hex'),
    title: `host-${at}`,
    group: 'all',
    labels: {},
    signKey: randomBytes(32).toString('hex'),
    boxKey: randomBytes(32).toString('hex'),
    status: 'approved',
    since: '2026-01-01T00:00:00Z',
  });
  await publisher.publish({ releases: [], members: Array.from({ length: 2_000 }, (_, at) => member(at)) });
  const relays = [await startRelay(publisher.repository), await startRelay(publisher.repository)];
  for (const relay of relays) closing.push(() => relay.close());
  const line = { down: 0, cuts: 0 };
  const servers = relays.map(({ url }) => {
    const server = net.createServer((client) => {
      const upstream = net.connect(Number(new URL(url).port), '127.0.0.1');
      for (const end of [client, upstream]) end.on('error', () => undefined);
      client.on('data', (bytes) => upstream.write(bytes)).on('close', () => upstream.destroy());
      let left = 50_000;
      upstream.on('data', (bytes: Buffer) => {
        const part = bytes.subarray(0, left);
        left -= part.length;
        line.down += part.length;
        client.write(part);
        if (left > 0) return;
        line.cuts += 1;
        upstream.destroy();
        client.end();
      });
      upstream.on('close', () => client.end());
    });
    closing.push(() => server.close());
    return server;
  });
  const urls: string[] = [];
  for (const server of servers) {
    await new Promise<void>((done) => void server.listen(0, '127.0.0.1', done));
    urls.push(`http://127.0.0.1:${(server.address() as net.AddressInfo).port}`);
  }
  const place = join(folder, 'host');
  const notes = new Map<string, string>();
  let at = Date.now();
  const polls: string[] = [];
  for (let done = false; !done; at += 3_600_000) {
    const origins = urls.map((url) => httpOrigin(url)); // as another process would
    const trust = openTrust({
      folder: join(place, 'trust'),
      pinnedRoot: fs.readFileSync(publisher.rootFile),
      now: () => Date.now(),
    });
    const clock = { now: () => at, monotonic: () => at };
    const outcome = await syncOnce({
      relays: openRelays({
        origins,
        notes: { meta: (key) => notes.get(key), setMeta: (key, value) => void notes.set(key, value ?? '') },
        agent: 'host',
        clock,
        choice: 'listed',
      }),
      trust,
      documents: openDocuments(join(place, 'documents')),
      agent: null,
      eager: false,
      keep: [],
    });
    for (const origin of origins) await origin.close();
    polls.push(
      ...(outcome.kind === 'paused' ? [] : outcome.attempts.map(({ relay, code }) => `${urls.indexOf(relay)} ${code}`)),
    );
    done = outcome.kind === 'synced';
    assert.ok(polls.length < 20, polls.join());
  }
  const size = fs
    .readdirSync(join(publisher.repository, 'targets/roster'))
    .map((name) => fs.statSync(join(publisher.repository, 'targets/roster', name)).size)
    .reduce((most, each) => Math.max(most, each), 0);
  assert.ok(size > 150_000, `${size}`);
  assert.ok(polls.length >= 3, polls.join());
  assert.ok(
    polls.every((each) => each.endsWith(' transfer.cut')),
    polls.join(),
  );
  assert.ok(
    polls.some((each) => each.startsWith('1 ')),
    'the other relay went on with it',
  );
  // What else is asked for: metadata of a few KiB once, a timestamp and a next root at each try, headers.
  assert.ok(
    line.down <= size + line.cuts * CHUNK + 16_000 + polls.length * 4_000,
    `${line.down} for ${size}, ${line.cuts} cuts`,
  );
  assert.equal(
    fs.existsSync(join(place, 'documents/.partial')) && fs.readdirSync(join(place, 'documents/.partial')).length > 0,
    false,
  );
});
