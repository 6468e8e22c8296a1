// A name with several addresses: the system's first one as long as it serves, the next one after a renewal, over new connections.
import assert from 'node:assert/strict';
import * as http from 'node:http';
import type { AddressInfo } from 'node:net';
import { after, test } from 'node:test';
import { httpOrigin } from './http.ts';
import { type Addresses, turnedLookup } from './lookup.ts';

const closing: (() => unknown)[] = [];
after(async () => {
  for (const close of closing.toReversed()) await close();
});

async function serve(address: string, port: number, says: string): Promise<number> {
  const server = http.createServer((_request, response) => void response.end(says));
  await new Promise<void>((done) => void server.listen(port, address, done));
  closing.push(() => {
    server.closeAllConnections();
    server.close();
  });
  return (server.address() as AddressInfo).port;
}

const addresses =
  (...list: string[]): Addresses =>
  (_host, _options, told) =>
    told(
      null,
      list.map((address) => ({ address, family: 4 })),
    );

test('each renewal asks the next address of the name; without one, connections are kept at the first', async () => {
  const port = await serve('127.0.0.1', 0, 'one');
  await serve('127.0.0.2', port, 'two');
  const origin = httpOrigin(`http://relays.invalid:${port}`, { addresses: addresses('127.0.0.1', '127.0.0.2') });
  closing.push(() => origin.close());
  const said = async () => {
    const got = await origin.fetchSmall('x', { limitBytes: 100 });
    return got.kind === 'found' ? Buffer.from(got.bytes).toString() : got.kind;
  };
  assert.deepEqual([await said(), await said()], ['one', 'one']);
  origin.renew?.();
  assert.deepEqual([await said(), await said()], ['two', 'two']);
  origin.renew?.();
  assert.equal(await said(), 'one');
});

test('a renewal lets go what is in progress only when it has ended', async () => {
  let answer = () => undefined as unknown;
  const server = http.createServer((_request, response) => {
    response.write('first ');
    answer = () => response.end('second');
  });
  await new Promise<void>((done) => void server.listen(0, '127.0.0.1', done));
  closing.push(() => server.close());
  const origin = httpOrigin(`http://127.0.0.1:${(server.address() as AddressInfo).port}`);
  const got = origin.fetchSmall('x', { limitBytes: 100 });
  await new Promise((done) => void server.once('request', done));
  origin.renew?.();
  answer();
  const whole = await got;
  assert.equal(whole.kind === 'found' && Buffer.from(whole.bytes).toString(), 'first second');
  await origin.close();
});

test('a name without addresses, and one that cannot be found, end as they did before', async () => {
  const lookup = (found: Addresses, all: boolean) =>
    new Promise<unknown[]>((done) => turnedLookup(() => 3, found)('name', { all }, (...told) => done(told)));
  assert.equal(((await lookup(addresses(), false))[0] as NodeJS.ErrnoException).code, 'ENOTFOUND');
  const failing: Addresses = (_host, _options, told) => told(Object.assign(new Error('no'), { code: 'EAI_AGAIN' }), []);
  assert.equal(((await lookup(failing, true))[0] as NodeJS.ErrnoException).code, 'EAI_AGAIN');
  assert.deepEqual(await lookup(addresses('10.0.0.1', '10.0.0.2'), false), [null, '10.0.0.2', 4]);
});
