// The relay's own server: ranges against a reference, conditions, row S24, row S21.
import assert from 'node:assert/strict';
import { createHash, randomBytes } from 'node:crypto';
import * as fs from 'node:fs';
import * as http from 'node:http';
import * as net from 'node:net';
import * as os from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import * as fc from 'fast-check';
import { silentLog } from '#manifests/platform/log';
import { payloadPath } from '#manifests/repository';
import { parseRange } from './ranges.ts';
import { type RunningServer, startServer } from './server.ts';

const root = fs.mkdtempSync(join(os.tmpdir(), 'pf-serve-'));
const sha = (bytes: Uint8Array) => createHash('sha256').update(bytes).digest('hex');
const small = randomBytes(1_000);
const large = randomBytes(3 * 1024 * 1024 + 17);
const smallPath = `/targets/catalogs/${sha(small)}.debian-12.json.zst`;
const largePath = `/${payloadPath(sha(large))}`;
let server: RunningServer;
let port: number;
const taken: number[] = [];

function write(path: string, bytes: Uint8Array | string): void {
  fs.mkdirSync(join(root, path, '..'), { recursive: true });
  fs.writeFileSync(join(root, path), bytes);
}

before(async () => {
  write('generations/1/metadata/timestamp.json', 'timestamp 1');
  write(`generations/1${smallPath}`, small);
  write(`generations/1/generation.json`, '{}');
  write(largePath.slice(1), large);
  write('secret.txt', 'secret');
  fs.symlinkSync(join(root, 'secret.txt'), join(root, 'generations/1/metadata/link.json'));
  fs.symlinkSync('generations/1', join(root, 'current'));
  server = await startServer({
    listen: '127.0.0.1:0',
    mirror: root,
    posts: new Map([
      [
        '/inbox/results',
        {
          limitBytes: 1_000,
          memoryBytes: 2_500,
          handle: async (body: Uint8Array) => {
            taken.push(body.length);
            return { status: 201, body: { state: 'kept' } };
          },
        },
      ],
    ]),
    health: () => ({ ok: true }),
    log: silentLog,
    limits: {
      headersMs: 400,
      requestMs: 600,
      idleMs: 1_500,
      checkEveryMs: 50,
      pieceMs: 700,
      connectionsOfOne: 40,
      connections: 60,
      generationMs: 0,
      graceMs: 300,
    },
  });
  port = Number(new URL(server.url).port);
});
after(async () => {
  await server.close();
  fs.rmSync(root, { recursive: true, force: true });
});

interface Answer {
  status: number;
  headers: http.IncomingHttpHeaders;
  body: Buffer;
}

function ask(path: string, headers: http.OutgoingHttpHeaders = {}, method = 'GET', body?: Uint8Array): Promise<Answer> {
  return new Promise((resolve, reject) => {
    const request = http.request({ port, host: '127.0.0.1', path, headers, method, agent: false }, (response) => {
      const chunks: Buffer[] = [];
      response.on('data', (chunk: Buffer) => chunks.push(chunk));
      response.once('end', () =>
        resolve({ status: response.statusCode ?? 0, headers: response.headers, body: Buffer.concat(chunks) }),
      );
      response.once('error', reject);
    });
    request.once('error', reject);
    request.end(body);
  });
}

/** Bytes sent as they are; gives what comes back until the other side closes. */
function raw(text: string, keepWriting?: { text: string; everyMs: number }): Promise<{ got: string; ms: number }> {
  return new Promise((resolve) => {
    const started = performance.now();
    const chunks: Buffer[] = [];
    const socket = net.connect(port, '127.0.0.1', () => socket.write(text));
    const timer = keepWriting && setInterval(() => socket.write(keepWriting.text), keepWriting.everyMs);
    socket.on('data', (chunk: Buffer) => chunks.push(chunk));
    socket.on('error', () => undefined);
    socket.once('close', () => {
      clearInterval(timer);
      resolve({ got: Buffer.concat(chunks).toString('latin1'), ms: performance.now() - started });
    });
  });
}

test('files: whole, HEAD, conditional, immutable when named by hash', async () => {
  const whole = await ask(smallPath);
  assert.equal(whole.status, 200);
  assert.deepEqual(whole.body, small);
  assert.equal(whole.headers.etag, `"${sha(small)}"`);
  assert.match(whole.headers['cache-control'] ?? '', /immutable/);
  const head = await ask(smallPath, {}, 'HEAD');
  assert.equal(head.status, 200);
  assert.equal(head.headers['content-length'], '1000');
  assert.equal(head.body.length, 0);
  const timestamp = await ask('/metadata/timestamp.json');
  assert.equal(timestamp.headers['cache-control'], 'no-cache');
  const etag = timestamp.headers.etag ?? '';
  for (const value of [etag, `W/${etag}`, `"x", ${etag}`, '*']) {
    const again = await ask('/metadata/timestamp.json', { 'if-none-match': value });
    assert.equal(again.status, 304, value);
    assert.equal(again.body.length, 0);
  }
  assert.equal((await ask('/metadata/timestamp.json', { 'if-none-match': '"other"' })).status, 200);
  assert.deepEqual((await ask(largePath)).body, large);
  assert.equal((await ask(largePath, { 'if-none-match': `"${sha(large)}"` })).status, 304);
  assert.equal((await ask('/healthz')).status, 200);
});

/** RFC 9110, 14.1.2 as plain as it can be said: which of the positions are asked for. */
function reference(first: number | undefined, last: number | undefined, size: number): number[] {
  const positions = Array.from({ length: size }, (_, index) => index);
  if (first === undefined) return last === 0 ? [] : positions.slice(-(last ?? 0));
  return positions.filter((position) => position >= first && (last === undefined || position <= last));
}

test('ranges equal a reference, for any bounds and sizes', () => {
  const bound = fc.option(fc.integer({ min: 0, max: 70 }), { nil: undefined });
  fc.assert(
    fc.property(bound, bound, fc.integer({ min: 0, max: 60 }), (first, last, size) => {
      const answer = parseRange(`bytes=${first ?? ''}-${last ?? ''}`, size);
      const malformed =
        (first === undefined && last === undefined) || (first !== undefined && last !== undefined && last < first);
      if (malformed) return answer.kind === 'whole';
      const wanted = reference(first, last, size);
      if (wanted.length === 0) return answer.kind === 'unsatisfiable';
      return answer.kind === 'part' && answer.start === wanted[0] && answer.end === wanted.at(-1);
    }),
    { numRuns: 5_000 },
  );
  fc.assert(
    fc.property(fc.string(), fc.integer({ min: 0, max: 100 }), (header, size) => {
      const answer = parseRange(header, size);
      return answer.kind !== 'part' || (answer.start >= 0 && answer.start <= answer.end && answer.end < size);
    }),
    { numRuns: 2_000 },
  );
});

test('ranges over HTTP equal slices, small and large, with and without If-Range', async () => {
  await fc.assert(
    fc.asyncProperty(
      fc.constantFrom({ path: smallPath, bytes: small }, { path: largePath, bytes: large }),
      fc.double({ min: 0, max: 1.1, noNaN: true }),
      fc.double({ min: 0, max: 1.1, noNaN: true }),
      fc.constantFrom('none', 'right', 'wrong', 'weak'),
      async ({ path, bytes }, from, length, ifRange) => {
        const start = Math.floor(from * bytes.length);
        const end = start + Math.floor(length * bytes.length);
        const etag = `"${sha(bytes)}"`;
        const condition = {
          none: {},
          right: { 'if-range': etag },
          wrong: { 'if-range': '"x"' },
          weak: { 'if-range': `W/${etag}` },
        }[ifRange];
        const answer = await ask(path, { range: `bytes=${start}-${end}`, ...condition });
        if (ifRange === 'wrong' || ifRange === 'weak') {
          assert.equal(answer.status, 200);
          assert.ok(answer.body.equals(bytes));
        } else if (start >= bytes.length) {
          assert.equal(answer.status, 416);
          assert.equal(answer.headers['content-range'], `bytes */${bytes.length}`);
        } else {
          assert.equal(answer.status, 206);
          assert.ok(answer.body.equals(bytes.subarray(start, end + 1)));
          assert.equal(answer.headers['content-range'], `bytes ${start}-${Math.min(end, bytes.length - 1)}/${bytes.length}`);
        }
      },
    ),
    { numRuns: 60 },
  );
});

test('S24 path traversal and everything that is no file of the repository', async () => {
  const hash = sha(large);
  const paths = [
    '/',
    '/metadata',
    '/metadata/',
    '/metadata/../secret.txt',
    '/metadata/../../../secret.txt',
    '/metadata/%2e%2e/secret.txt',
    '/metadata/..%2fsecret.txt',
    '/metadata/..\\secret.txt',
    '/metadata//timestamp.json',
    '//metadata/timestamp.json',
    '/metadata/./timestamp.json',
    '/secret.txt',
    '/current/metadata/timestamp.json',
    '/generation.json',
    '/metadata/generation.json',
    '/metadata/link.json',
    `/payloads/sha256/${hash.slice(0, 2)}`,
    `/payloads/sha256/00/${hash}`,
    '/payloads/.partial/x',
    `/targets/catalogs/${'a'.repeat(2_000)}`,
    '/metadata/timestamp.json%00',
    '/metadata/timestamp.json/x',
  ];
  for (const path of paths) {
    const answer = await ask(path);
    assert.equal(answer.status, 404, path);
    assert.ok(!answer.body.includes('secret'), path);
    assert.deepEqual(Object.keys(JSON.parse(answer.body.toString()) as object), ['code', 'message', 'next'], path);
  }
  assert.match(
    (await raw('GET http://127.0.0.1/metadata/../../secret.txt HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n')).got,
    /^HTTP\/1\.1 404/,
  );
  assert.equal((await ask('/metadata/timestamp.json', {}, 'DELETE')).status, 405);
  assert.equal((await ask('/metadata/timestamp.json', {}, 'POST')).status, 404);
  assert.equal((await ask('/inbox/results')).status, 405);
});

test('S24 header floods, oversized and malformed requests get their status and lose the connection', async () => {
  assert.match((await raw(`GET / HTTP/1.1\r\nx: ${'a'.repeat(20_000)}\r\n\r\n`)).got, /^HTTP\/1\.1 431/);
  assert.match((await raw(`GET / HTTP/1.1\r\n${'a: b\r\n'.repeat(5_000)}\r\n`)).got, /^HTTP\/1\.1 431/);
  assert.match((await raw('nonsense\r\n\r\n')).got, /^HTTP\/1\.1 400/);
  assert.match(
    (await raw('GET / HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n')).got,
    /^HTTP\/1\.1 400/,
  );
  assert.equal((await ask('/inbox/results', {}, 'POST', Buffer.alloc(1_001))).status, 413);
  assert.equal((await ask('/inbox/results', { 'content-length': '-1' }, 'POST').catch(() => ({ status: 400 }))).status, 400);
  const chunked = await raw(
    `POST /inbox/results HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n1f4\r\n${'a'.repeat(500)}\r\n1f5\r\n${'a'.repeat(501)}\r\n0\r\n\r\n`,
  );
  assert.match(chunked.got, /^HTTP\/1\.1 413/);
  assert.equal((await ask('/inbox/results', {}, 'POST', Buffer.alloc(1_000))).status, 201);
  assert.deepEqual(taken, [1_000], 'nothing else reached the inbox');
});

test('S24 slow requests: headers and bodies that drip are ended while others are served', async () => {
  const slow = [
    raw('GET /metadata/timestamp.json HTTP/1.1\r\nx: ', { text: 'a', everyMs: 50 }),
    raw('POST /inbox/results HTTP/1.1\r\nHost: x\r\nContent-Length: 900\r\n\r\n', { text: 'a', everyMs: 50 }),
  ];
  for (let round = 0; round < 20; round += 1) assert.equal((await ask('/metadata/timestamp.json')).status, 200);
  for (const { got, ms } of await Promise.all(slow)) {
    assert.match(got, /^HTTP\/1\.1 408/);
    assert.ok(ms < 5_000);
  }
  assert.deepEqual(taken, [1_000], 'half a body never reaches the inbox');
});

test('S24 a client that does not read is let go, and its memory with it', async () => {
  const socket = net.connect(port, '127.0.0.1');
  socket.on('error', () => undefined);
  await new Promise((done) => socket.once('connect', done));
  socket.pause();
  // Many pipelined answers of 3 MiB: more than the sockets' buffers take.
  socket.write(`GET ${largePath} HTTP/1.1\r\nHost: x\r\n\r\n`.repeat(30));
  while ((await server.connections()) === 0) await new Promise((done) => setImmediate(done));
  const started = performance.now();
  while ((await server.connections()) > 0) await new Promise((done) => setImmediate(done));
  const ms = performance.now() - started;
  assert.ok(ms > 300 && ms < 10_000, `let go after ${ms} ms`);
  let got = 0;
  socket.on('data', (chunk: Buffer) => (got += chunk.length)).resume();
  await new Promise((done) => socket.once('close', done));
  assert.ok(got < 25 * large.length, `${got} bytes had been written for it`);
});

test('S24 many connections of one address: further ones are dropped, the server goes on', async () => {
  const sockets = await Promise.all(
    Array.from(
      { length: 80 },
      () =>
        new Promise<net.Socket>((resolve) => {
          const socket = net.connect(port, '127.0.0.1', () => resolve(socket));
          socket.on('error', () => resolve(socket));
        }),
    ),
  );
  const gone = () => sockets.filter((socket) => socket.destroyed || socket.readableEnded || socket.closed).length;
  for (const socket of sockets) socket.resume();
  while (gone() < 40) await new Promise((done) => setImmediate(done));
  for (const socket of sockets) socket.destroy();
  for (;;) {
    const answer = await ask('/healthz').catch(() => undefined);
    if (answer?.status === 200) break;
  }
});

test('too many bodies in memory at a time: told to come again, nothing lost', async () => {
  const waiting = Array.from({ length: 6 }, () => ask('/inbox/results', {}, 'POST', Buffer.alloc(900)));
  const statuses = (await Promise.all(waiting)).map(({ status }) => status);
  assert.ok(statuses.every((status) => status === 201 || status === 503));
  assert.ok(statuses.includes(201));
});

test('S21 a switch of generations: from one request to the next, never a mixture of bytes', async () => {
  const text = (generation: number) => `timestamp ${generation} ${'x'.repeat(1_000 * generation)}`;
  for (const generation of [2, 3, 4, 5]) write(`generations/${generation}/metadata/timestamp.json`, text(generation));
  const seen: string[] = [];
  const stop = new AbortController();
  const reader = (async () => {
    while (!stop.signal.aborted) seen.push((await ask('/metadata/timestamp.json')).body.toString());
  })();
  for (const generation of [2, 3, 4, 5]) {
    fs.symlinkSync(`generations/${generation}`, join(root, 'current.new'));
    fs.renameSync(join(root, 'current.new'), join(root, 'current'));
    const count = seen.length;
    while (seen.length < count + 3) await new Promise((next) => setImmediate(next));
    assert.equal(seen.at(-1), text(generation));
  }
  stop.abort();
  await reader;
  assert.ok(seen.every((body) => body === 'timestamp 1' || [2, 3, 4, 5].some((generation) => body === text(generation))));
});

test('a port in use and a bad address are named', async () => {
  const other = { mirror: root, posts: new Map(), health: () => ({ ok: true }), log: silentLog };
  await assert.rejects(startServer({ ...other, listen: `127.0.0.1:${port}` }), { code: 'serve.listen' });
  await assert.rejects(startServer({ ...other, listen: 'nowhere' }), { code: 'serve.listen' });
  await assert.rejects(startServer({ ...other, listen: '127.0.0.1:70000' }), { code: 'serve.listen' });
});
