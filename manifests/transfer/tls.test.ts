// HTTPS: an unknown certificate is named, a given CA is honoured, and nothing leads from https to http (S22).
import assert from 'node:assert/strict';
import * as fs from 'node:fs';
import * as https from 'node:https';
import type { AddressInfo } from 'node:net';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { httpOrigin } from './http.ts';
import type { Origin } from './origin.ts';

const fixture = (name: string) => fs.readFileSync(join(import.meta.dirname, 'fixtures', name), 'utf8');
const cert = fixture('localhost.cert.pem');
const opened: Origin[] = [];
let server: https.Server;
let url: string;

before(async () => {
  server = https.createServer({ cert, key: fixture('localhost.key.pem') }, (request, response) => {
    if (request.url === '/down')
      response.writeHead(302, { location: `http://127.0.0.1:${(server.address() as AddressInfo).port}/x` }).end();
    else response.end('hello');
  });
  server.listen(0, '127.0.0.1');
  await new Promise((done) => server.once('listening', done));
  url = `https://127.0.0.1:${(server.address() as AddressInfo).port}`;
});
after(async () => {
  await Promise.all(opened.map((origin) => origin.close()));
  server.closeAllConnections();
  server.close();
});

function open(options: { ca?: string }): Origin {
  const origin = httpOrigin(url, options);
  opened.push(origin);
  return origin;
}

test('a certificate that no known CA signed is refused by name', async () => {
  await assert.rejects(open({}).fetchSmall('x', { limitBytes: 10 }), { code: 'transfer.tls' });
});

test('with its CA given it is used', async () => {
  const answer = await open({ ca: cert }).fetchSmall('x', { limitBytes: 10 });
  assert.ok(answer.kind === 'found' && Buffer.from(answer.bytes).toString() === 'hello');
});

test('S22 https to http is refused', async () => {
  await assert.rejects(open({ ca: cert }).fetchSmall('down', { limitBytes: 10 }), {
    code: 'transfer.redirect',
    message: /from https to http/,
  });
});
