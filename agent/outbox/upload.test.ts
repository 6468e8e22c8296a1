// Sending results: what one relay refuses is asked of the next, and a result refused for what it is holds none behind it up.
import assert from 'node:assert/strict';
import { once } from 'node:events';
import * as fs from 'node:fs';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, test } from 'node:test';
import { type Origin, openOrigin } from '#manifests/transfer';
import { generateBoxKey, inspectEnvelope } from '#manifests/trust';
import { type Journal, openJournal } from '../run/journal.ts';
import { ensureKeys } from './keys.ts';
import { type Outbox, openOutbox } from './outbox.ts';

const STAMP = { boot: 'b', trustedTime: '2026-03-02T10:00:00Z', wallTime: '2026-03-02T10:00:00Z' };
const HOUR = 3_600_000;
const NOW = Date.parse('2026-03-02T10:00:00Z');

const box = generateBoxKey().publicKey;
let folder: string;
let journal: Journal;
let outbox: Outbox;
beforeEach(async () => {
  folder = fs.mkdtempSync(join(tmpdir(), 'patchferry-outbox-'));
  journal = openJournal(join(folder, 'journal.sqlite'), { now: NOW });
  const keys = await ensureKeys(join(folder, 'keys'));
  outbox = openOutbox({ journal, folder: join(folder, 'outbox'), keys, failPoint: () => undefined });
  for (let number = 1; number <= 4; number += 1)
    journal.results.append('alert', { code: `test.${number}`, message: 'm', where: null }, STAMP);
  outbox.seal([box]);
});
afterEach(() => {
  journal[Symbol.dispose]();
  fs.rmSync(folder, { recursive: true, force: true });
});

/** A relay that answers by the number of the result. */
function scripted(
  name: string,
  answer: (sequence: number) => [status: number, code?: string | undefined, again?: unknown],
): Origin & { got: number[] } {
  const got: number[] = [];
  const post = (_path: string, bytes: Uint8Array) => {
    const { sequence } = inspectEnvelope(bytes);
    const [status, code, again] = answer(sequence);
    if (status === 201) got.push(sequence);
    return Promise.resolve({ status, body: Buffer.from(JSON.stringify({ code, message: 'so it is', again })) });
  };
  return { name, post, got } as unknown as Origin & { got: number[] };
}

test('trap 19: a result that a full relay dropped before holds up none behind it; it goes once there is room', async () => {
  let full = true;
  const relay = scripted('a', (sequence) => (sequence === 1 && full ? [507, 'inbox.dropped'] : [201]));
  const first = await outbox.upload([relay], NOW);
  assert.deepEqual([first.sent, first.left], [3, 1]);
  assert.match(first.says ?? '', /a does not take result 1: 507/);
  assert.deepEqual(relay.got, [2, 3, 4]);
  assert.equal(outbox.status().unsent, 1);
  full = false;
  assert.deepEqual(await outbox.upload([relay], NOW), { sent: 1, left: 0, says: null });
  assert.deepEqual(relay.got, [2, 3, 4, 1]);
});

test('trap 19: the same over HTTP, where a full relay answers with 507; one that is full for everything is left', async () => {
  let full = true;
  const got: number[] = [];
  const words = { dropped: '{"code":"inbox.dropped","message":"m"}', full: '{"code":"inbox.full","message":"no room"}' };
  const server = createServer((request, response) => {
    const chunks: Buffer[] = [];
    request.on('data', (chunk: Buffer) => chunks.push(chunk));
    request.on('end', () => {
      const { sequence } = inspectEnvelope(Buffer.concat(chunks));
      const no = full && sequence === 1 ? words.dropped : full && sequence === 3 ? words.full : undefined;
      if (no === undefined) got.push(sequence);
      response.writeHead(no === undefined ? 201 : 507).end(no ?? '{"state":"kept"}');
    });
  }).listen(0, '127.0.0.1');
  await once(server, 'listening');
  const origin = openOrigin(`http://127.0.0.1:${(server.address() as AddressInfo).port}`);
  try {
    const first = await outbox.upload([origin], NOW);
    assert.deepEqual(
      [first.sent, first.left, got],
      [1, 3, [2]],
      'behind the one that was dropped, up to where there is no room at all',
    );
    assert.match(first.says ?? '', /does not take result 3: 507 .*no room/);
    full = false;
    assert.equal((await outbox.upload([origin], NOW)).sent, 3);
    assert.deepEqual(got, [2, 1, 3, 4]);
  } finally {
    await origin.close();
    server.close();
  }
});

test('a relay without room, or without a roster yet, is left at its first no: order is kept, and the next one gets them all', async () => {
  const full = scripted('full', () => [507, 'inbox.full']);
  const lagging = scripted('lagging', (sequence) => (sequence < 3 ? [201] : [503, 'inbox.no-roster']));
  const good = scripted('good', () => [201]);
  assert.deepEqual(await outbox.upload([full, lagging, good], NOW), { sent: 4, left: 0, says: null });
  assert.deepEqual([full.got, lagging.got, good.got], [[], [1, 2], [3, 4]]);
});

test('what one relay drops or cannot read, another one is asked to take', async () => {
  const one = scripted('one', (sequence) => (sequence === 2 ? [400, 'inbox.malformed'] : [201]));
  const other = scripted('other', () => [201]);
  assert.deepEqual(await outbox.upload([one, other], NOW), { sent: 4, left: 0, says: null });
  assert.deepEqual([one.got, other.got], [[1, 3, 4], [2]]);
});

test('without an ack a result goes again after six hours, then after twice as long each time, and at least once a week', async () => {
  const relay = scripted('a', () => [201]);
  const hours: number[] = [];
  for (let hour = 0; hour <= 90 * 24; hour += 1) {
    relay.got.length = 0;
    await outbox.upload([relay], NOW + hour * HOUR);
    if (relay.got.length > 0) hours.push(hour);
    assert.ok([0, 4].includes(relay.got.length), 'all of them were sent at one time');
  }
  assert.deepEqual(hours.slice(0, 7), [0, 6, 18, 42, 90, 186, 354], 'doubling, then after 7 days');
  assert.deepEqual(new Set(hours.slice(6).map((hour, index) => hour - (hours[index + 5] ?? 0))), new Set([168]));
});

test('a result whose relay is not the one in use any more goes to the new one after an hour', async () => {
  const [old, other] = [scripted('old', () => [201]), scripted('new', () => [201])];
  await outbox.upload([old], NOW);
  await outbox.upload([other, old], NOW + HOUR - 1);
  assert.deepEqual(other.got, []);
  await outbox.upload([other, old], NOW + HOUR);
  assert.deepEqual(other.got, [1, 2, 3, 4]);
});

test('trap 19: what a relay took, dropped and has room for again is sent again; a relay that asks too much is not listened to', async () => {
  let again: unknown;
  const relay = scripted('a', () => [201, undefined, again]);
  const tell = (code: string) => journal.results.append('alert', { code, message: 'm', where: null }, STAMP);
  await outbox.upload([relay], NOW);
  again = [[2, 3]];
  tell('test.5');
  outbox.seal([box]);
  await outbox.upload([relay], NOW + HOUR - 1); // too soon
  assert.equal(outbox.status().unsent, 0);
  tell('test.6');
  outbox.seal([box]);
  await outbox.upload([relay], NOW + HOUR);
  assert.equal(outbox.status().unsent, 2, 'it is told that they have to go again');
  relay.got.length = 0;
  await outbox.upload([relay], NOW + HOUR);
  assert.deepEqual(relay.got, [2, 3]);
  relay.got.length = 0;
  await outbox.upload([relay], NOW + 2 * HOUR - 1);
  assert.deepEqual(relay.got, [], 'asked for again, and again not sooner than an hour');

  // Another relay cannot ask for what it never took, and nonsense is nothing.
  const other = scripted('b', () => [201, undefined, [[1, 6]]]);
  tell('test.7');
  outbox.seal([box]);
  await outbox.upload([other, relay], NOW + 2 * HOUR - 1);
  assert.equal(outbox.status().unsent, 0);
  for (const odd of ['all', [['1', 6]], [null], { from: 1 }, [[-1, 1e300]], 7]) {
    again = odd;
    tell('test.odd');
    outbox.seal([box]);
    await outbox.upload([relay], NOW + 4 * HOUR);
    assert.equal(outbox.status().unsent, 0, JSON.stringify(odd));
  }
});

test('a place that takes no results at all is told apart from a relay that refuses this host', async () => {
  const told: string[] = [];
  const note = ({ name }: Origin) => void told.push(name);
  const plain = (name: string, status: number) => ({
    ...scripted(name, () => [status]),
    post: () => Promise.resolve({ status, body: Buffer.from('<Error><Code>AccessDenied</Code></Error>') }),
  });
  const bucket = plain('bucket', 403) as unknown as Origin;
  const swift = plain('swift', 401) as unknown as Origin;
  const strict = scripted('strict', () => [403, 'inbox.unknown-agent']);
  const server = plain('server', 405) as unknown as Origin;
  const { sent } = await outbox.upload([bucket, swift, strict, server], NOW, undefined, note);
  assert.equal(sent, 0);
  assert.deepEqual(told, ['bucket', 'swift', 'server']);
});
