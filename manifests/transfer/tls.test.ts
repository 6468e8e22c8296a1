// HTTPS: each way in which certificates can be wrong has its own words, renewed files are taken up, and nothing leads from https to
// http (S22).
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import * as fs from 'node:fs';
import * as https from 'node:https';
import type { AddressInfo } from 'node:net';
import * as os from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import type { TLSSocket } from 'node:tls';
import type { PatchferryError } from '#manifests/errors';
import type { TlsFiles } from '#manifests/schema';
import { httpOrigin } from './http.ts';
import { makeAuthority, type Pair } from './testing/certificates.ts';
import { inspectTls, openTls, TLS_LIMITS } from './tls.ts';

const folder = fs.mkdtempSync(join(os.tmpdir(), 'pf-tls-'));
const closing: (() => unknown)[] = [() => fs.rmSync(folder, { recursive: true })];
after(async () => {
  for (const close of closing.toReversed()) await close();
});
const ours = await makeAuthority(folder, 'our-ca');
const others = await makeAuthority(folder, 'other-ca');
const good = await ours.issue('relay');
const client = await ours.issue('host-7');
const copy = (from: Pair, to: Pair) => {
  fs.copyFileSync(from.cert, to.cert);
  fs.copyFileSync(from.key, to.key);
};

async function serve({ cert, key }: Pair, more: https.ServerOptions = {}): Promise<string> {
  const refuses = more.requestCert === true && more.rejectUnauthorized === false;
  const server = https.createServer(
    { cert: fs.readFileSync(cert), key: fs.readFileSync(key), ...more },
    (request, response) => {
      if (refuses && !(request.socket as TLSSocket).authorized)
        response.writeHead(403).end('{"code":"serve.client-certificate","message":"no"}');
      else if (request.url === '/down') response.writeHead(302, { location: 'http://127.0.0.1:1/x' }).end();
      else response.end('hello');
    },
  );
  server.listen(0, '127.0.0.1');
  await new Promise((done) => server.once('listening', done));
  closing.push(() => (server.closeAllConnections(), server.close()));
  return `https://127.0.0.1:${(server.address() as AddressInfo).port}`;
}

/** What a request comes to: its text, or the code and the words of the fault. */
async function ask(url: string, files?: TlsFiles): Promise<string> {
  const origin = httpOrigin(url, files === undefined ? {} : { tls: openTls(files) });
  try {
    const answer = await origin.fetchSmall('x', { limitBytes: 10 });
    return answer.kind === 'found' ? Buffer.from(answer.bytes).toString() : answer.kind;
  } catch (error) {
    const { code, message, next } = error as PatchferryError;
    assert.ok(next.length > 20);
    return `${code} ${message}`;
  } finally {
    await origin.close();
  }
}

test('unknown CA, wrong CA, over, another name, no TLS at all: each is told by a code of its own', async () => {
  const url = await serve(good);
  assert.equal(await ask(url, { ca: ours.cert }), 'hello');
  assert.match(await ask(url), /^transfer\.tls-authority .*no CA that is accepted here/);
  assert.match(await ask(url, { ca: others.cert }), /^transfer\.tls-authority/);
  assert.match(
    await ask(await serve(await ours.issue('old', undefined, -1)), { ca: ours.cert }),
    /^transfer\.tls-expired .*is over/,
  );
  const elsewhere = await serve(await ours.issue('elsewhere', 'DNS:relay.example'));
  assert.match(
    await ask(elsewhere.replace('127.0.0.1', 'localhost'), { ca: ours.cert }),
    /^transfer\.tls-name .*another name.*relay\.example/,
  );
  assert.match(await ask(url.replace(/^https/, 'http'), {}), /^transfer\./);
});

test('a side that wants a certificate and gets none says so in TLS; one that says it in HTTP, as nginx does, is understood too', async () => {
  const wanted = { ca: fs.readFileSync(ours.cert), requestCert: true, rejectUnauthorized: true };
  for (const maxVersion of ['TLSv1.3', 'TLSv1.2'] as const) {
    const url = await serve(good, { ...wanted, maxVersion });
    assert.equal(await ask(url, { ca: ours.cert, ...client }), 'hello');
    assert.match(await ask(url, { ca: ours.cert }), /^transfer\.tls-client .*certificate of this side/, maxVersion);
  }
  const nginx = https.createServer(
    { cert: fs.readFileSync(good.cert), key: fs.readFileSync(good.key) },
    (request, response) => {
      const says = request.url === '/x' ? '<center>The SSL certificate error</center>' : 'bad request';
      response.writeHead(400).end(says);
    },
  );
  nginx.listen(0, '127.0.0.1');
  await new Promise((done) => nginx.once('listening', done));
  closing.push(() => (nginx.closeAllConnections(), nginx.close()));
  const url = `https://127.0.0.1:${(nginx.address() as AddressInfo).port}`;
  assert.match(await ask(url, { ca: ours.cert, ...client }), /^transfer\.tls-client/);
  const origin = httpOrigin(url, { tls: openTls({ ca: ours.cert }) });
  closing.push(() => origin.close());
  const { status, body } = await origin.post('inbox', Buffer.from('y'));
  assert.equal(`${status} ${Buffer.from(body).toString()}`, '400 bad request', 'any other refusal stays what it is');
});

test('a key of another certificate, a key open to others, files that are none: named before anything is sent', async () => {
  const url = await serve(good);
  assert.match(await ask(url, { ca: ours.cert, cert: client.cert, key: good.key }), /^tls\.mismatch .*is not the key of/);
  const open = join(folder, 'open.key');
  fs.copyFileSync(client.key, open);
  fs.chmodSync(open, 0o644);
  assert.match(await ask(url, { ca: ours.cert, cert: client.cert, key: open }), /^tls\.key-mode .*mode is 644/);
  fs.chmodSync(open, 0o640);
  assert.equal(await ask(url, { ca: ours.cert, cert: client.cert, key: open }), 'hello', 'a group may read it');
  const locked = join(folder, 'locked.key');
  execFileSync('openssl', ['ec', '-in', client.key, '-aes256', '-passout', 'pass:geheim', '-out', locked], { stdio: 'ignore' });
  fs.chmodSync(locked, 0o600);
  for (const files of [
    { ca: join(folder, 'none') },
    { ca: client.key },
    { ca: ours.cert, cert: client.key, key: client.key },
    { ca: ours.cert, cert: client.cert, key: client.cert },
    { ca: ours.cert, cert: client.cert, key: locked },
  ])
    assert.match(await ask(url, files), /^tls\.(?:file|key-mode)/, JSON.stringify(files));
});

test('renewed files are taken up by the next request; half renewed ones are told once, and the ones before stay in use', async () => {
  const live = { cert: join(folder, 'live.pem'), key: join(folder, 'live.key') };
  copy(client, live);
  const url = await serve(good, { ca: fs.readFileSync(others.cert), requestCert: true, rejectUnauthorized: false });
  const told: string[] = [];
  const origin = httpOrigin(url, { tls: openTls({ ca: ours.cert, ...live }, ({ code }) => told.push(code)) });
  closing.push(() => origin.close());
  const get = () =>
    origin.fetchSmall('x', { limitBytes: 10 }).then(
      ({ kind }) => kind,
      ({ code }: PatchferryError) => code,
    );
  assert.equal(await get(), 'transfer.tls-client');
  const next = await others.issue('next');
  fs.copyFileSync(next.cert, live.cert);
  assert.equal(await get(), 'transfer.tls-client');
  assert.equal(await get(), 'transfer.tls-client');
  assert.deepEqual(told, ['tls.mismatch']);
  fs.copyFileSync(next.key, live.key);
  assert.equal(await get(), 'found');
});

test('what doctor says: good until, soon over, over, not fitting', () => {
  const now = Date.now();
  const says = (files: TlsFiles, at = now) => inspectTls(files, at, 'this host').map(({ ok, says: text }) => `${ok} ${text}`);
  const [own, ca] = says({ ca: ours.cert, ...client });
  assert.match(own ?? '', /^true the certificate of this host \(.*host-7\.pem\) is good until 2/);
  assert.match(ca ?? '', /^true the CA our-ca \(/);
  assert.match(says(client, now + 60 * 86_400_000 - TLS_LIMITS.renewMs + 1_000)[0] ?? '', /^false .* ends at /);
  assert.match(says(client, now + 61 * 86_400_000)[0] ?? '', /^false .* is over since /);
  assert.match(says(client, now - 86_400_000)[0] ?? '', /^false .* not valid before /);
  assert.match(says({ cert: client.cert, key: good.key })[0] ?? '', /^false tls\.mismatch: /);
  assert.deepEqual(says({}), []);
});

test('without a CA in the settings those of the machine are believed', async () => {
  const url = await serve(good);
  const script = `import { httpOrigin } from ${JSON.stringify(join(import.meta.dirname, 'http.ts'))};
    const origin = httpOrigin(${JSON.stringify(url)});
    console.log((await origin.fetchSmall('x', { limitBytes: 10 })).kind);
    await origin.close();`;
  const { promise, resolve } = Promise.withResolvers<string>();
  const { execFile } = await import('node:child_process');
  const env = { ...process.env, SSL_CERT_FILE: ours.cert };
  execFile(process.execPath, ['--input-type=module', '-e', script], { env }, (error, out) => resolve(error?.message ?? out));
  assert.equal((await promise).trim(), 'found');
});

test('S22 https to http is refused', async () => {
  const origin = httpOrigin(await serve(good), { tls: openTls({ ca: ours.cert }) });
  closing.push(() => origin.close());
  await assert.rejects(origin.fetchSmall('down', { limitBytes: 10 }), {
    code: 'transfer.redirect',
    message: /from https to http/,
  });
});
