// The line between here and there: validators that are dates, a proxy with a password, hosts beside it, a limited rate.
import assert from 'node:assert/strict';
import { createHash, randomBytes } from 'node:crypto';
import * as fs from 'node:fs';
import * as http from 'node:http';
import * as net from 'node:net';
import * as os from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { httpOrigin, isExcepted, openRate } from './index.ts';

const closing: (() => unknown)[] = [];
after(async () => {
  for (const close of closing.toReversed()) await close();
});

async function serve(listener: http.RequestListener): Promise<{ url: string; server: http.Server }> {
  const server = http.createServer(listener);
  server.listen(0, '127.0.0.1');
  await new Promise((done) => server.once('listening', done));
  closing.push(() => (server.closeAllConnections(), server.close()));
  return { url: `http://127.0.0.1:${(server.address() as net.AddressInfo).port}`, server };
}

test('an upstream that only tells dates costs one conditional request too; a file of this very minute is asked for again', async () => {
  let modified = new Date(Date.now() - 3_600_000).toUTCString();
  const seen: (string | undefined)[] = [];
  const { url } = await serve((request, response) => {
    seen.push(request.headers['if-modified-since']);
    if (request.headers['if-modified-since'] === modified) response.writeHead(304).end();
    else response.writeHead(200, { 'last-modified': modified }).end('content');
  });
  const origin = httpOrigin(url);
  closing.push(() => origin.close());
  const ask = (etag?: string) => origin.fetchSmall('f', { limitBytes: 100, etag });
  const first = await ask();
  assert.equal(first.kind === 'found' && first.etag, `last-modified:${modified}`);
  assert.equal((await ask(`last-modified:${modified}`)).kind, 'unchanged');
  const before = modified;
  modified = new Date(Date.now() - 5_000).toUTCString();
  const second = await ask(`last-modified:${before}`);
  assert.equal(second.kind, 'found');
  assert.equal(second.kind === 'found' && second.etag, undefined, 'it may change again within the same second');
  assert.deepEqual(seen, [undefined, before, before]);
});

test('a proxy: http is sent to it, https goes through it, with the password; hosts beside it are asked directly', async () => {
  const target = await serve((_, response) => response.end('direct'));
  const lines: string[] = [];
  const wanted = `Basic ${Buffer.from('relay:geheim ü').toString('base64')}`;
  const { url, server } = await serve((request, response) => {
    lines.push(`${request.method} ${request.url}`);
    if (request.headers['proxy-authorization'] !== wanted) response.writeHead(407).end();
    else response.end('by proxy');
  });
  server.on('connect', (request: http.IncomingMessage, socket: net.Socket) => {
    lines.push(`CONNECT ${request.url} ${request.headers['proxy-authorization'] === wanted}`);
    socket.end('HTTP/1.1 403 Forbidden\r\n\r\n');
  });
  const get = async (to: string, options: Parameters<typeof httpOrigin>[1]) => {
    const origin = httpOrigin(to, options);
    try {
      const got = await origin.fetchSmall('f', { limitBytes: 100 });
      return got.kind === 'found' ? Buffer.from(got.bytes).toString() : got.kind;
    } finally {
      await origin.close();
    }
  };
  const proxy = { url, user: 'relay', password: () => 'geheim ü' };
  assert.equal(await get('http://upstream.example/base', { proxy }), 'by proxy');
  assert.equal(lines.at(-1), 'GET http://upstream.example/base/f');
  await assert.rejects(get('http://upstream.example', { proxy: { ...proxy, password: () => 'wrong' } }), {
    code: 'transfer.proxy',
  });
  await assert.rejects(get('https://upstream.example', { proxy }), { code: 'transfer.proxy' });
  for (const scheme of ['http', 'https'])
    await assert.rejects(get(`${scheme}://upstream.example`, { proxy: { url: 'http://127.0.0.1:1' } }), {
      code: 'transfer.proxy',
      message: /^the proxy http:\/\/127\.0\.0\.1:1 cannot be reached/,
    });
  await assert.rejects(get('http://127.0.0.1:1', { proxy: { url, except: ['127.0.0.1'] } }), { code: 'transfer.unreachable' });
  assert.equal(lines.at(-1), 'CONNECT upstream.example:443 true');
  assert.equal(await get(target.url, { proxy: { ...proxy, except: ['127.0.0.1'] } }), 'direct');
  assert.equal(lines.length, 3);
});

test('which hosts are asked beside the proxy', () => {
  const is = (url: string, ...except: string[]) => isExcepted(new URL(url), except);
  assert.ok(is('http://a.example.org', 'example.org') && is('http://a.example.org', '.example.org') && is('http://x', '*'));
  assert.ok(is('http://a.example.org', '*.example.org') && is('https://h:8443', 'h:8443') && is('http://[::1]:80', '::1'));
  assert.ok(is('http://EXAMPLE.org', 'example.ORG') && is('https://h', 'h:443'));
  assert.ok(!is('http://badexample.org', 'example.org') && !is('http://h:81', 'h:80') && !is('http://h', 'i', ''));
});

test('a limited rate: a download takes its time, and is not taken for a slow other side', async () => {
  const body = randomBytes(60_000);
  const { url } = await serve((_, response) => response.writeHead(200, { 'content-length': body.length }).end(body));
  const rate = openRate(
    () => 40_000,
    () => performance.now(),
  );
  const origin = httpOrigin(url, { rate, limits: { windowMs: 100, minimumBytesPerSecond: 100_000 } });
  closing.push(() => origin.close());
  const file = join(fs.mkdtempSync(join(os.tmpdir(), 'pf-line-')), 'f');
  closing.push(() => fs.rmSync(join(file, '..'), { recursive: true }));
  const started = performance.now();
  const want = { sha256: createHash('sha256').update(body).digest('hex'), size: body.length };
  await origin.download('f', want, file);
  assert.ok(performance.now() - started > 400, '20,000 bytes beyond the burst of a second');
});
