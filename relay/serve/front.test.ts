// TLS, mutual TLS, rates, and nginx in front of a real relay: the same client code reads all of them.
import assert from 'node:assert/strict';
import { type ChildProcess, execFileSync, spawn } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import * as fs from 'node:fs';
import * as https from 'node:https';
import * as net from 'node:net';
import * as os from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import * as tls from 'node:tls';
import { isFault } from '#manifests/errors';
import { silentLog } from '#manifests/platform/log';
import { freePort } from '#manifests/platform/testing/free-port';
import { openPayloadStore, payloadPath } from '#manifests/repository';
import type { TlsFiles } from '#manifests/schema';
import { httpOrigin, openTls } from '#manifests/transfer';
import { openTrust } from '#manifests/trust';
import { makeAuthority } from '../../manifests/transfer/testing/certificates.ts';
import { startRelay } from '../run.ts';
import { foldersOf, relaySettings } from '../settings.ts';
import { makeAgent, makePublisher, sha256 } from '../testing/repository.ts';
import { nginxConfig, startServer } from './index.ts';
import { addressOf, clientOf, openRates } from './rates.ts';

const root = fs.mkdtempSync(join(os.tmpdir(), 'pf-front-'));
const closing: (() => unknown)[] = [() => fs.rmSync(root, { recursive: true, force: true })];
after(async () => {
  for (const close of closing.toReversed()) await close();
});
let counter = 0;
const fresh = () => join(root, String((counter += 1)));

/** A certificate with its key, made by openssl; signed by itself. */
function certificate(name: string): { cert: string; key: string } {
  const [cert, key] = [join(root, `${name}.pem`), join(root, `${name}.key`)];
  const subject = ['-subj', `/CN=${name}`, '-addext', 'subjectAltName=IP:127.0.0.1,DNS:localhost'];
  execFileSync(
    'openssl',
    [
      'req',
      '-x509',
      '-newkey',
      'ec',
      '-pkeyopt',
      'ec_paramgen_curve:P-256',
      '-nodes',
      '-days',
      '2',
      '-keyout',
      key,
      '-out',
      cert,
      ...subject,
    ],
    { stdio: 'ignore' },
  );
  return { cert, key };
}

function mirrorOf(payload: Uint8Array): string {
  const mirror = fresh();
  const file = join(mirror, payloadPath(sha256(payload)));
  fs.mkdirSync(join(file, '..'), { recursive: true });
  fs.writeFileSync(file, payload);
  fs.mkdirSync(join(mirror, 'generations/1/metadata'), { recursive: true });
  fs.writeFileSync(join(mirror, 'generations/1/metadata/timestamp.json'), 'timestamp');
  fs.symlinkSync('generations/1', join(mirror, 'current'));
  return mirror;
}

const common = { listen: '127.0.0.1:0', posts: new Map(), health: () => ({ ok: true }), log: silentLog };

test('TLS and mutual TLS: the CA in the settings is honoured, a client without a certificate gets nothing, a renewal is taken up', async () => {
  const [server, client, other] = [certificate('relay'), certificate('client'), certificate('other')];
  const mirror = mirrorOf(randomBytes(100));
  const get = async (url: string, files: TlsFiles) => {
    const origin = httpOrigin(url, { tls: openTls(files) });
    try {
      const got = await origin.fetchSmall('metadata/timestamp.json', { limitBytes: 100 });
      return got.kind;
    } catch (error) {
      assert.ok(isFault(error), String(error));
      return error.code;
    } finally {
      await origin.close();
    }
  };
  const own = { cert: join(root, 'live.pem'), key: join(root, 'live.key') };
  fs.copyFileSync(server.cert, own.cert);
  fs.copyFileSync(server.key, own.key);
  const plain = await startServer({ ...common, mirror, tls: own, limits: { renewalMs: 20 } });
  closing.push(() => plain.close());
  assert.match(plain.url, /^https:/);
  assert.equal(await get(plain.url, { ca: server.cert }), 'found');
  assert.equal(await get(plain.url, {}), 'transfer.tls-authority');
  fs.copyFileSync(other.cert, own.cert);
  fs.copyFileSync(other.key, own.key);
  while ((await get(plain.url, { ca: other.cert })) !== 'found');

  const mutual = await startServer({ ...common, mirror, tls: { ...server, clientCa: client.cert } });
  closing.push(() => mutual.close());
  const ca = server.cert;
  assert.equal(await get(mutual.url, { ca, ...client }), 'found');
  assert.equal(await get(mutual.url, { ca }), 'transfer.tls-client');
  assert.equal(await get(mutual.url, { ca, ...other }), 'transfer.tls-client');
  // A stranger gets one answer and no more, whatever it asks for, and a session of its own that it takes up again helps it nothing.
  let session: Buffer | undefined;
  const shout = (method: string) =>
    new Promise<string>((resolve) => {
      const port = Number(new URL(mutual.url).port);
      const socket = tls.connect({ host: '127.0.0.1', port, rejectUnauthorized: false, ...(session && { session }) }, () =>
        socket.write(`${method} /inbox/results HTTP/1.1\r\nhost: x\r\ncontent-length: 0\r\n\r\n`),
      );
      let said = '';
      socket.on('session', (value: Buffer) => (session = value));
      socket.on('data', (chunk: Buffer) => (said += chunk.toString()));
      socket.on('error', () => undefined).on('close', () => resolve(said));
    });
  for (const method of ['GET', 'POST', 'POST', 'DELETE'])
    assert.match(await shout(method), /^HTTP\/1\.1 403 [^]*serve\.client-certificate/);
  assert.ok(session !== undefined);

  for (const wrong of [
    { ...server, key: other.key },
    { ...server, cert: join(root, 'none') },
  ])
    await assert.rejects(startServer({ ...common, mirror, tls: wrong }), { code: 'serve.tls' });
});

test('rates: one client and all together are held to theirs, metadata never waits, too many requests are told to come again', async () => {
  const payload = randomBytes(96 * 1024);
  const mirror = mirrorOf(payload);
  const server = await startServer({ ...common, mirror, rates: { total: 64 * 1024, ofOne: 1024 * 1024 } });
  closing.push(() => server.close());
  const origin = httpOrigin(server.url);
  const started = performance.now();
  const download = origin.download(payloadPath(sha256(payload)), { sha256: sha256(payload), size: payload.length }, fresh());
  assert.equal((await origin.fetchSmall('metadata/timestamp.json', { limitBytes: 100 })).kind, 'found');
  assert.ok(performance.now() - started < 400);
  await download;
  assert.ok(performance.now() - started > 300, '32 KiB more than the burst of 64 KiB at 64 KiB a second');
  await origin.close();

  const busy = await startServer({ ...common, mirror, rates: { requestsOfOne: 5 } });
  closing.push(() => busy.close());
  const statuses = await Promise.all(
    Array.from({ length: 12 }, async () => (await fetch(`${busy.url}/metadata/timestamp.json`)).status),
  );
  assert.ok(statuses.filter((status) => status === 200).length >= 5 && statuses.includes(429), statuses.join());
});

test('who is one client: an IPv4 address however written, the /64 of an IPv6 one; the number kept is bounded', () => {
  assert.equal(clientOf('192.0.2.7'), '192.0.2.7');
  assert.equal(clientOf('::ffff:192.0.2.7'), '192.0.2.7');
  assert.equal(clientOf('2001:DB8:0:1:2:3:4:5'), '2001:db8:0:1::/64');
  assert.equal(clientOf('2001:db8:0:1::5'), clientOf('2001:db8:0:1:ffff::1'));
  assert.notEqual(clientOf('2001:db8:0:2::5'), clientOf('2001:db8:0:1::5'));
  assert.equal(clientOf('::1'), '0:0:0:0::/64');
  let now = 0;
  const rates = openRates({ requestsOfOne: 1 }, () => now, 10);
  assert.ok(rates.allowed('192.0.2.1'));
  assert.ok(!rates.allowed('192.0.2.1'));
  now = 1_000;
  assert.ok(rates.allowed('192.0.2.1'));
  for (let n = 0; n < 50; n += 1) assert.ok(rates.allowed(`198.51.100.${n}`));
});

const hasNginx = (() => {
  try {
    execFileSync('nginx', ['-v'], { stdio: 'ignore' });
    return true;
  } catch {
    return false;
  }
})();

/** Starts nginx with a server block in a folder of its own. */
async function startNginx(block: string, port: number): Promise<ChildProcess> {
  const folder = fresh();
  fs.mkdirSync(join(folder, 'tmp'), { recursive: true });
  fs.writeFileSync(join(folder, 'block.conf'), block);
  const temporary = ['client_body', 'proxy', 'fastcgi', 'uwsgi', 'scgi'].map((name) => `${name}_temp_path tmp/${name};`);
  const user = process.getuid?.() === 0 ? 'user root;\n' : '';
  fs.writeFileSync(
    join(folder, 'nginx.conf'),
    `${user}worker_processes 1;\npid nginx.pid;\nerror_log stderr error;\nevents { }\nhttp {\naccess_log off;\n${temporary.join('\n')}\ninclude block.conf;\n}\n`,
  );
  const child = spawn('nginx', ['-p', folder, '-c', join(folder, 'nginx.conf'), '-g', 'daemon off;'], {
    stdio: ['ignore', 'ignore', 'pipe'],
  });
  let said = '';
  child.stderr?.on('data', (chunk: Buffer) => (said += chunk.toString()));
  const ended = new Promise((done) => child.once('close', done));
  closing.push(() => (child.kill('SIGTERM'), ended));
  for (let up = false; !up; ) {
    if (child.exitCode !== null) throw new Error(`nginx ended: ${said}`);
    up = await new Promise<boolean>((resolve) => {
      const socket = net.connect(port, '127.0.0.1', () => resolve(true));
      socket.once('error', () => resolve(false));
      socket.once('close', () => socket.destroy());
      socket.end();
    });
  }
  return child;
}

test('nginx with the printed configuration: an agent refreshes, polls for one 304, downloads, goes on in mid-file, and its result arrives', {
  skip: hasNginx ? false : 'nginx is not installed here',
}, async () => {
  const publisher = await makePublisher(join(fresh(), 'publisher'));
  const agent = makeAgent(publisher.collector);
  const patch = { id: 'a@1', as: 'approved' as const, bytes: randomBytes(300_000) };
  await publisher.publish({ patches: [patch], agents: [agent] });
  const place = { stateDir: join(fresh(), 'state'), cacheDir: join(fresh(), 'cache') };
  const settings = relaySettings.parse({
    ...place,
    listen: '127.0.0.1:0',
    upstream: [publisher.folder],
    upstreamRoot: publisher.root,
    payloads: 'approved',
  });
  const relay = await startRelay(settings, { log: silentLog });
  closing.push(() => relay.stop());
  await relay.sync();
  const port = await freePort();
  const { mirror } = foldersOf(place);
  await startNginx(nginxConfig({ mirror, front: `127.0.0.1:${port}`, relay: new URL(relay.url).host }), port);
  const url = `http://127.0.0.1:${port}`;
  const origin = httpOrigin(url);
  closing.push(() => origin.close());
  const trust = openTrust({ folder: fresh(), pinnedRoot: fs.readFileSync(publisher.root), now: Date.now });
  assert.equal((await trust.refresh(origin)).changed, true);
  assert.equal((await trust.refresh(origin)).changed, false);
  const first = await fetch(`${url}/metadata/timestamp.json`);
  assert.equal(first.headers.get('cache-control'), 'no-cache');
  const again = await fetch(`${url}/metadata/timestamp.json`, {
    headers: { 'if-none-match': first.headers.get('etag') ?? '' },
  });
  assert.equal(again.status, 304);
  assert.ok((await trust.readTarget('catalogs/test-1.json.zst', origin)).length > 0);

  const store = openPayloadStore(fresh());
  const want = { sha256: sha256(patch.bytes), size: patch.bytes.length };
  const stop = new AbortController();
  await assert.rejects(store.fetch(origin, want, { signal: stop.signal, onBytes: () => stop.abort(new Error('cut')) }), /cut/);
  let rest = 0;
  await store.fetch(origin, want, { onBytes: (bytes) => (rest += bytes) });
  assert.ok(rest < want.size, `${rest} bytes of ${want.size}: the download went on`);
  assert.ok(await store.verify(want.sha256, want.size));
  const cached = await fetch(`${url}/${payloadPath(want.sha256)}`, { method: 'HEAD' });
  assert.match(cached.headers.get('cache-control') ?? '', /immutable/);

  for (const path of [
    '/generation.json',
    '/payloads/.partial/',
    '/../root.json',
    '/',
    '/metadata/',
    '/payloads/sha256/00/none',
  ])
    assert.ok([403, 404].includes((await fetch(url + path)).status), path);
  assert.equal((await fetch(`${url}/metadata/timestamp.json`, { method: 'POST', body: 'x' })).status, 403);
  assert.equal((await origin.post('inbox/results', agent.result(1))).status, 201);
  for (const page of ['healthz', 'readyz', 'metrics', 'site/', 'site'])
    assert.equal((await fetch(`${url}/${page}`)).status, 200, page);
  const lease = await fetch(`${url}/v1/pre-reboot`, { method: 'POST', headers: { 'fleet-lock-protocol': 'true' }, body: '{}' });
  assert.deepEqual([lease.status, ((await lease.json()) as { kind: string }).kind], [400, 'bad_request'], 'the relay answered');
  const halts = await fetch(`${url}/site-halts/ward-7.json`);
  assert.equal(((await halts.json()) as { code: string }).code, 'serve.path', 'the relay answered');

  // The next generation is seen without a reload.
  await publisher.publish({ patches: [patch, { id: 'b@1', as: 'approved', bytes: randomBytes(10) }], agents: [agent] });
  assert.equal((await relay.sync())?.changed, true);
  while (!(await trust.refresh(origin)).changed);
});

test('nginx before a relay with mutual TLS: shown by the relay’s own certificate; a client without one gets nothing; rates are of clients', {
  skip: hasNginx ? false : 'nginx is not installed here',
}, async () => {
  const papers = fresh();
  fs.mkdirSync(papers);
  const ca = await makeAuthority(papers, 'clients');
  const [server, client] = [certificate('front'), await ca.issue('client')];
  const mirror = mirrorOf(randomBytes(100));
  const tls = { ...server, clientCa: ca.cert };
  let taken = 0;
  const handle = () => Promise.resolve({ status: (taken += 1) > 0 ? 201 : 500, body: {} });
  const posts = new Map([['/inbox/results', { limitBytes: 1_000, memoryBytes: 10_000, handle }]]);
  const relay = await startServer({ ...common, mirror, tls, posts, rates: { requestsOfOne: 3 } });
  closing.push(() => relay.close());
  const port = await freePort();
  await startNginx(nginxConfig({ mirror, front: `127.0.0.1:${port}`, relay: new URL(relay.url).host, tls }), port);
  const url = `https://127.0.0.1:${port}`;
  const post = (localAddress: string) =>
    new Promise<number | undefined>((resolve, reject) => {
      const read = (file: string) => fs.readFileSync(file);
      const shown = { ca: read(server.cert), cert: read(client.cert), key: read(client.key) };
      https
        .request(`${url}/inbox/results`, { method: 'POST', localAddress, ...shown }, (answer) => {
          answer.resume();
          resolve(answer.statusCode);
        })
        .on('error', reject)
        .end('x');
    });
  const statuses = await Promise.all(Array.from({ length: 8 }, () => post('127.0.0.1')));
  assert.ok(statuses.filter((status) => status === 201).length >= 3 && statuses.includes(429), statuses.join());
  assert.equal(await post('127.0.0.2'), 201, 'another client is not held to what the first one asked');
  assert.equal(taken, statuses.filter((status) => status === 201).length + 1);
  const stranger = httpOrigin(url, { tls: openTls({ ca: server.cert }) });
  closing.push(() => stranger.close());
  await assert.rejects(stranger.fetchSmall('metadata/timestamp.json', { limitBytes: 100 }), { code: 'transfer.tls-client' });
});

test('whose request it is: a web server on this machine says it, nobody else is believed', () => {
  const of = (remoteAddress: string, told?: string) =>
    addressOf({ socket: { remoteAddress }, headers: told === undefined ? {} : { 'x-real-ip': told } });
  for (const here of ['127.0.0.1', '::1', '::ffff:127.0.0.1']) {
    assert.equal(of(here, '192.0.2.7'), '192.0.2.7');
    for (const nothing of [undefined, '', 'x', '192.0.2.7, 192.0.2.8']) assert.equal(of(here, nothing), here);
  }
  assert.equal(of('192.0.2.1', '192.0.2.7'), '192.0.2.1');
  assert.equal(of('::127.0.0.1', '192.0.2.7'), '::127.0.0.1');
});

test('paths that cannot be written into a configuration are refused', () => {
  assert.throws(() => nginxConfig({ mirror: '/a$b', front: '1', relay: '2' }), TypeError);
  assert.match(
    nginxConfig({ mirror: '/a b', front: '0.0.0.0:1', relay: '0.0.0.0:8480' }),
    /root "\/a b\/current"[^]*127\.0\.0\.1:8480/,
  );
});
