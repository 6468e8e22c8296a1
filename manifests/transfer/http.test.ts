// A hostile or broken other side, over real HTTP on loopback: rows S12, S13, S20, S22, S23 as far as transferring goes.
import assert from 'node:assert/strict';
import { createHash, randomBytes } from 'node:crypto';
import * as fs from 'node:fs';
import * as http from 'node:http';
import * as net from 'node:net';
import * as os from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import * as fc from 'fast-check';
import { failover } from './failover.ts';
import { folderOrigin } from './folder.ts';
import { httpOrigin } from './http.ts';

const folder = fs.mkdtempSync(join(os.tmpdir(), 'pf-transfer-'));
const closing: (() => unknown)[] = [() => fs.rmSync(folder, { recursive: true, force: true })];
after(async () => {
  for (const close of closing.toReversed()) await close();
});

const quick = { windowMs: 150, minimumBytesPerSecond: 100, connectMs: 1_000, headersMs: 300 };
const sha = (bytes: Uint8Array) => createHash('sha256').update(bytes).digest('hex');
const want = (bytes: Uint8Array) => ({ sha256: sha(bytes), size: bytes.length });
let counter = 0;
const fresh = () => join(folder, `file-${(counter += 1)}`);

async function serve(handler: http.RequestListener): Promise<string> {
  const server = http.createServer(handler);
  server.listen(0, '127.0.0.1');
  await new Promise((done) => server.once('listening', done));
  closing.push(() => {
    server.closeAllConnections();
    server.close();
  });
  return `http://127.0.0.1:${(server.address() as net.AddressInfo).port}`;
}

async function serveRaw(handler: (socket: net.Socket) => void): Promise<string> {
  const sockets = new Set<net.Socket>();
  const server = net.createServer((socket) => {
    sockets.add(socket);
    socket.on('error', () => undefined);
    socket.once('data', () => handler(socket));
  });
  server.listen(0, '127.0.0.1');
  await new Promise((done) => server.once('listening', done));
  closing.push(() => {
    for (const socket of sockets) socket.destroy();
    server.close();
  });
  return `http://127.0.0.1:${(server.address() as net.AddressInfo).port}`;
}

function origin(url: string, limits = {}) {
  const made = httpOrigin(url, { limits: { ...quick, ...limits } });
  closing.push(() => made.close());
  return made;
}

test('a conditional request costs no body, and no other host, encoding or header than needed is asked for', async () => {
  const seen: http.IncomingHttpHeaders[] = [];
  const url = await serve((request, response) => {
    seen.push(request.headers);
    response.setHeader('etag', '"v1"');
    if (request.headers['if-none-match'] === '"v1"') response.writeHead(304).end();
    else response.end('hello');
  });
  const from = origin(url);
  const first = await from.fetchSmall('metadata/timestamp.json', { limitBytes: 10 });
  assert.equal(first.kind === 'found' && Buffer.from(first.bytes).toString(), 'hello');
  assert.deepEqual(await from.fetchSmall('metadata/timestamp.json', { limitBytes: 10, etag: '"v1"' }), { kind: 'unchanged' });
  assert.deepEqual(Object.keys(seen[1] ?? {}).toSorted(), ['accept-encoding', 'connection', 'host', 'if-none-match']);
});

test('a 304 that nobody asked for, a server error, an encoding and a missing file are told apart', async () => {
  const url = await serve((request, response) => {
    if (request.url === '/304') response.writeHead(304).end();
    else if (request.url === '/500') response.writeHead(500).end('x');
    else if (request.url === '/gzip') response.writeHead(200, { 'content-encoding': 'gzip' }).end('x');
    else response.writeHead(404).end();
  });
  const from = origin(url);
  await assert.rejects(from.fetchSmall('304', { limitBytes: 1 }), { code: 'transfer.status' });
  await assert.rejects(from.fetchSmall('500', { limitBytes: 1 }), { code: 'transfer.status' });
  await assert.rejects(from.fetchSmall('gzip', { limitBytes: 1 }), { code: 'transfer.encoding' });
  assert.deepEqual(await from.fetchSmall('none', { limitBytes: 1 }), { kind: 'missing' });
  await assert.rejects(from.download('none', want(Buffer.from('x')), fresh()), { code: 'transfer.missing' });
});

test('S12 endless data: nothing beyond the limit is read, with and without a stated length', async () => {
  let written = 0;
  const url = await serve((request, response) => {
    if (request.url === '/stated') response.setHeader('content-length', 1e15);
    const block = Buffer.alloc(65_536, 0x7a);
    const pump = () => {
      while (!response.destroyed && response.write(block)) written += block.length;
    };
    response.on('drain', pump);
    response.on('error', () => undefined);
    pump();
  });
  const from = origin(url);
  await assert.rejects(from.fetchSmall('endless', { limitBytes: 100_000 }), { code: 'transfer.too-large' });
  await assert.rejects(from.fetchSmall('stated', { limitBytes: 100_000 }), { code: 'transfer.too-large' });
  const destination = fresh();
  await assert.rejects(from.download('endless', { sha256: sha(Buffer.from('x')), size: 100_000 }, destination), {
    code: 'transfer.too-large',
  });
  await assert.rejects(from.download('stated', { sha256: sha(Buffer.from('x')), size: 100_000 }, destination), {
    code: 'transfer.size',
  });
  assert.ok(!fs.existsSync(destination) && !fs.existsSync(`${destination}.part`), 'nothing of it is kept');
  assert.ok(written < 64 * 1024 * 1024, `the other side could write ${written} bytes into buffers`);
});

test('S12 endless headers are cut', async () => {
  const url = await serveRaw((socket) => {
    socket.write('HTTP/1.1 200 OK\r\n');
    const pump = () => {
      while (socket.writable && socket.write(`x-${'a'.repeat(1_000)}: b\r\n`));
    };
    socket.on('drain', pump);
    pump();
  });
  await assert.rejects(origin(url).fetchSmall('x', { limitBytes: 10 }), { code: 'transfer.too-large' });
});

test('S13 slow retrieval: a drip, a silence after the headers, and no answer are given up, and another relay is used', async () => {
  const bytes = randomBytes(5_000);
  const timers = new Set<NodeJS.Timeout>();
  closing.push(() => timers.forEach(clearInterval));
  const slow = await serve((request, response) => {
    if (request.url?.includes('silent')) return;
    response.writeHead(200, { 'content-length': bytes.length });
    response.flushHeaders();
    if (request.url?.includes('stall')) return;
    let at = 0;
    timers.add(setInterval(() => response.write(bytes.subarray(at, (at += 1))), 20));
  });
  const good = await serve((_, response) => response.end(bytes));
  const from = origin(slow);
  await assert.rejects(from.download('drip', want(bytes), fresh()), { code: 'transfer.slow' });
  await assert.rejects(from.download('stall', want(bytes), fresh()), { code: 'transfer.slow' });
  await assert.rejects(from.fetchSmall('drip', { limitBytes: 10_000 }), { code: 'transfer.slow' });
  await assert.rejects(origin(slow, { connectMs: 100, headersMs: 100 }).fetchSmall('silent', { limitBytes: 10 }), {
    code: /^transfer\.(?:slow|timeout)$/,
  });
  const both = failover([from, origin(good)]);
  const destination = fresh();
  await both.download('drip', want(bytes), destination);
  assert.deepEqual(fs.readFileSync(destination), bytes);
  assert.equal(both.report()[0]?.lastFailure?.code, 'transfer.slow');
});

test('S13 headers that drip for ever are given up', async () => {
  const url = await serveRaw((socket) => {
    socket.write('HTTP/1.1 200 OK\r\nx-long: ');
    const timer = setInterval(() => socket.write('a'), 20);
    socket.once('close', () => clearInterval(timer));
  });
  await assert.rejects(origin(url, { connectMs: 100, headersMs: 100 }).fetchSmall('x', { limitBytes: 10 }), {
    code: /^transfer\.(?:slow|timeout)$/,
  });
});

test('S20 corrupt, truncated, longer bytes and a portal page with status 200: each is named, and the next relay is used', async () => {
  const bytes = randomBytes(20_000);
  const flipped = Buffer.from(bytes);
  flipped[777] = (flipped[777] ?? 0) ^ 1;
  const page = '<!DOCTYPE html><html><body>Please log in</body></html>';
  const cases: [string, http.RequestListener, string][] = [
    ['corrupt', (_, r) => r.end(flipped), 'transfer.hash'],
    ['shorter', (_, r) => r.end(bytes.subarray(0, 9_000)), 'transfer.size'],
    ['longer', (_, r) => r.end(Buffer.concat([bytes, bytes])), 'transfer.size'],
    ['longer, chunked', (_, r) => (r.write(bytes), r.end(bytes)), 'transfer.too-large'],
    ['shorter, chunked', (_, r) => (r.write(bytes.subarray(0, 5)), r.end()), 'transfer.cut'],
    ['portal', (_, r) => r.setHeader('content-type', 'text/html').end(page), 'transfer.portal'],
    ['portal, chunked', (_, r) => (r.write(page), r.end()), 'transfer.portal'],
    ['portal of the same length', (_, r) => r.end(page.padEnd(bytes.length)), 'transfer.portal'],
    [
      'gone in the middle',
      (_, r) => (r.setHeader('content-length', bytes.length), r.write(bytes.subarray(0, 999), () => r.destroy())),
      'transfer.cut',
    ],
  ];
  const good = origin(await serve((_, response) => response.end(bytes)));
  for (const [name, handler, code] of cases) {
    const bad = origin(await serve(handler));
    await assert.rejects(bad.download('payloads/x', want(bytes), fresh()), { code }, name);
    const both = failover([bad, good]);
    const destination = fresh();
    await both.download('payloads/x', want(bytes), destination);
    assert.deepEqual(fs.readFileSync(destination), bytes, name);
    const [failure] = both.report();
    assert.equal(failure?.lastFailure?.code, code, name);
    assert.match(failure?.lastFailure?.message ?? '', /127\.0\.0\.1.*payloads\/x/, name);
  }
  const portal = origin(await serve((_, r) => r.setHeader('content-type', 'text/html').end(page)));
  await assert.rejects(portal.fetchSmall('metadata/timestamp.json', { limitBytes: 10_000 }), { code: 'transfer.portal' });
});

test('S22 redirect loop, off-host, https to http, with a query, into nowhere: refused; the same host is followed', async () => {
  const asked: string[] = [];
  const other = await serve((request, response) => {
    asked.push(request.url ?? '');
    response.end('other');
  });
  const locations: Record<string, string | undefined> = {
    '/loop': '/loop',
    '/ring-a': '/ring-b',
    '/ring-b': '/ring-a',
    '/off': `${other}/x`,
    '/off-name': 'http://localhost:1/x',
    '/protocol-relative': '//evil.invalid/x',
    '/query': '/good?x=1',
    '/file': 'file:///etc/passwd',
    '/here': '/moved',
  };
  const url = await serve((request, response) => {
    const path = request.url ?? '';
    const deep = /^\/deep-(\d+)$/.exec(path);
    if (deep) response.writeHead(302, { location: `/deep-${Number(deep[1]) + 1}` }).end();
    else if (path === '/nowhere') response.writeHead(301).end();
    else if (Object.hasOwn(locations, path)) response.writeHead(302, { location: locations[path] }).end();
    else response.end('good');
  });
  const from = origin(url);
  for (const path of ['loop', 'ring-a', 'off', 'off-name', 'protocol-relative', 'query', 'file', 'deep-0', 'nowhere']) {
    await assert.rejects(from.fetchSmall(path, { limitBytes: 100 }), { code: 'transfer.redirect' }, path);
    await assert.rejects(from.download(path, { sha256: sha(Buffer.from('other')), size: 5 }, fresh()), {
      code: 'transfer.redirect',
    });
  }
  assert.deepEqual(asked, [], 'the other host was never asked');
  const found = await from.fetchSmall('here', { limitBytes: 100 });
  assert.equal(found.kind === 'found' && Buffer.from(found.bytes).toString(), 'good');
  await assert.rejects(from.post('here', Buffer.from('x')), { code: 'transfer.redirect' });
});

/** A server of one file with ranges that cuts the connection after `cut` body bytes of each answer. */
function cutting(state: {
  bytes: Uint8Array;
  etag: string | undefined;
  cut: number;
  ranges: (string | undefined)[];
}): http.RequestListener {
  return (request, response) => {
    const { bytes, etag, cut } = state;
    state.ranges.push(request.headers.range);
    const range = /^bytes=(\d+)-$/.exec(request.headers.range ?? '');
    const matches = request.headers['if-range'] === etag;
    const start = range !== null && etag !== undefined && matches ? Number(range[1]) : 0;
    if (etag !== undefined) response.setHeader('etag', etag);
    if (start > 0) {
      response.statusCode = 206;
      response.setHeader('content-range', `bytes ${start}-${bytes.length - 1}/${bytes.length}`);
    }
    response.setHeader('content-length', bytes.length - start);
    const piece = bytes.subarray(start, start + cut);
    if (start + cut >= bytes.length) response.end(piece);
    else response.write(piece, () => setImmediate(() => response.destroy()));
  };
}

test('S23 a cut at every chunk: each byte is asked for once', async () => {
  const bytes = randomBytes(40_000);
  const state = { bytes, etag: '"a"', cut: 1_000, ranges: [] as (string | undefined)[] };
  const from = origin(await serve(cutting(state)));
  const destination = fresh();
  let got = 0;
  for (let round = 0; round < 60 && !fs.existsSync(destination); round += 1) {
    await from.download('x', want(bytes), destination, { onBytes: (n) => (got += n) }).catch((error: { code: string }) => {
      assert.equal(error.code, 'transfer.cut');
    });
  }
  assert.deepEqual(fs.readFileSync(destination), bytes);
  assert.equal(got, bytes.length, 'nothing came twice');
  assert.equal(state.ranges.filter((range) => range === undefined).length, 1);
  assert.ok(!fs.existsSync(`${destination}.part`) && !fs.existsSync(`${destination}.part.from`), 'nothing is left over');
});

test('S23 the file changed between ranges: restarted, never spliced, for any contents, cuts and validators', async () => {
  const state = {
    bytes: new Uint8Array(),
    etag: undefined as string | undefined,
    cut: 0,
    ranges: [] as (string | undefined)[],
  };
  const from = origin(await serve(cutting(state)));
  await fc.assert(
    fc.asyncProperty(
      fc.uint8Array({ minLength: 1, maxLength: 300 }),
      fc.uint8Array({ minLength: 1, maxLength: 300 }),
      fc.integer({ min: 1, max: 299 }),
      fc.constantFrom('"same"', undefined, 'W/"weak"'),
      fc.boolean(),
      async (before, now, cut, etag, lies) => {
        const destination = fresh();
        Object.assign(state, { bytes: before, etag, cut });
        await from.download('x', want(before), destination).catch(() => undefined);
        fs.rmSync(destination, { force: true });
        // The wanted content is `now`; a server that lies keeps its ETag, so that the range splices two contents.
        Object.assign(state, { bytes: now, etag: lies ? etag : '"new"', cut: 1_000 });
        await from.download('x', want(now), destination);
        assert.deepEqual(new Uint8Array(fs.readFileSync(destination)), now);
      },
    ),
    { numRuns: 150 },
  );
});

test('S23 wrong ranges: another offset, another total, 416 for ever: the whole is asked for or it is refused', async () => {
  const bytes = randomBytes(1_000);
  const answers: Record<string, (response: http.ServerResponse, ranged: boolean) => void> = {
    'other-offset': (r, ranged) =>
      ranged ? r.writeHead(206, { 'content-range': `bytes 0-899/1000` }).end(bytes.subarray(0, 900)) : r.end(bytes),
    'other-total': (r, ranged) =>
      ranged ? r.writeHead(206, { 'content-range': `bytes 100-1099/1100` }).end(Buffer.alloc(1_000)) : r.end(bytes),
    'no-content-range': (r, ranged) => (ranged ? r.writeHead(206).end(bytes.subarray(100)) : r.end(bytes)),
    416: (r, ranged) => (ranged ? r.writeHead(416).end() : r.end(bytes)),
  };
  const url = await serve((request, response) => {
    if (request.url === '/always-206') response.writeHead(206, { 'content-range': 'bytes 0-999/1000' }).end(bytes);
    else answers[request.url?.slice(1) ?? '']?.(response, request.headers.range !== undefined);
  });
  const from = origin(url);
  for (const path of Object.keys(answers)) {
    const destination = fresh();
    fs.writeFileSync(`${destination}.part`, bytes.subarray(0, 100));
    await from.download(path, want(bytes), destination);
    assert.deepEqual(fs.readFileSync(destination), bytes, path);
  }
  const destination = fresh();
  await assert.rejects(from.download('always-206', want(bytes), destination), { code: 'transfer.range' });
});

test('S23 a part torn by a power cut, one too long and one already whole', async () => {
  const bytes = randomBytes(5_000);
  let asked = 0;
  const state = { bytes, etag: `"${sha(bytes)}"`, cut: 10_000, ranges: [] as (string | undefined)[] };
  const handler = cutting(state);
  const from = origin(await serve((request, response) => ((asked += 1), handler(request, response))));
  const parts = [Buffer.alloc(2_000), randomBytes(9_000), Buffer.alloc(5_000), bytes.subarray(0, 4_999), bytes];
  for (const part of parts) {
    const destination = fresh();
    fs.writeFileSync(`${destination}.part`, part);
    await from.download('x', want(bytes), destination);
    assert.deepEqual(fs.readFileSync(destination), bytes);
  }
  assert.equal(asked, 2 + 1 + 1 + 1 + 0);
});

test('a download goes on at another relay where the first was cut', async () => {
  const bytes = randomBytes(30_000);
  const etag = `"${sha(bytes)}"`;
  const a = { bytes, etag, cut: 12_345, ranges: [] as (string | undefined)[] };
  const b = { bytes, etag, cut: 99_999, ranges: [] as (string | undefined)[] };
  const both = failover([origin(await serve(cutting(a))), origin(await serve(cutting(b)))]);
  const destination = fresh();
  await both.download('x', want(bytes), destination);
  assert.deepEqual(b.ranges, ['bytes=12345-']);
});

test('nobody listening, no such name, a redirecting proxy of another kind: unreachable, with the address', async () => {
  await assert.rejects(origin('http://127.0.0.1:1').fetchSmall('x', { limitBytes: 1 }), {
    code: 'transfer.unreachable',
    message: /127\.0\.0\.1:1/,
  });
  assert.throws(() => httpOrigin('http://user:secret@host/'), { code: 'transfer.address' });
  assert.throws(() => httpOrigin('ftp://host/'), { code: 'transfer.address' });
  const none = failover([origin('http://127.0.0.1:1'), folderOrigin(join(folder, 'not-mounted'))]);
  await assert.rejects(
    none.fetchSmall('metadata/timestamp.json', { limitBytes: 1 }),
    (error: { code: string; message: string }) => {
      assert.equal(error.code, 'transfer.all-failed');
      assert.match(error.message, /transfer\.unreachable: .*\n.*transfer\.not-a-repository: /);
      return true;
    },
  );
});

test('a caller who gives up gets its own reason', async () => {
  const url = await serve((_, response) => response.flushHeaders());
  const stop = new AbortController();
  const waiting = origin(url, { windowMs: 60_000 }).fetchSmall('x', { limitBytes: 10, signal: stop.signal });
  stop.abort(new Error('enough'));
  await assert.rejects(waiting, /enough/);
});
