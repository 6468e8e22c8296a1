// A download that is cut goes on at another relay in mid-file: the content's hash is the validator that all of them share.
import assert from 'node:assert/strict';
import { createHash, randomBytes } from 'node:crypto';
import * as fs from 'node:fs';
import * as http from 'node:http';
import type { AddressInfo } from 'node:net';
import * as os from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { launch } from '#manifests/platform/process';
import { failover, httpOrigin } from './index.ts';

const root = fs.mkdtempSync(join(os.tmpdir(), 'pf-resume-'));
const closing: (() => unknown)[] = [() => fs.rmSync(root, { recursive: true, force: true })];
after(async () => {
  for (const close of closing.toReversed()) await close();
});

const body = randomBytes(200_000);
const sha256 = createHash('sha256').update(body).digest('hex');

/** A relay that gives out the content's hash as ETag, and breaks off after `most` bytes of an answer. */
async function relay(etag: string, most = Number.POSITIVE_INFINITY, conditional = true, content = body) {
  const served: { start: number; ifRange: string | undefined; sent: number }[] = [];
  const server = http.createServer((request, response) => {
    const asked = Number(/^bytes=(\d+)-$/.exec(request.headers.range ?? '')?.[1] ?? 0);
    const start = !conditional || request.headers['if-range'] === etag ? asked : 0;
    const rest = content.subarray(start);
    const part = rest.subarray(0, most);
    served.push({ start, ifRange: request.headers['if-range'] as string | undefined, sent: part.length });
    const range = start === 0 ? {} : { 'content-range': `bytes ${start}-${content.length - 1}/${content.length}` };
    response.writeHead(start === 0 ? 200 : 206, { etag, 'content-length': rest.length, ...range });
    response.write(part, () => (part.length < rest.length ? response.destroy() : response.end()));
  });
  server.listen(0, '127.0.0.1');
  await new Promise((done) => server.once('listening', done));
  const origin = httpOrigin(`http://127.0.0.1:${(server.address() as AddressInfo).port}`);
  closing.push(
    () => (server.closeAllConnections(), server.close()),
    () => origin.close(),
  );
  return { origin, served };
}

test('S23 cut in mid-file at one relay, taken up at the next: every byte once', async () => {
  const [first, second] = [await relay(`"${sha256}"`, 120_000), await relay(`"${sha256}"`)];
  const file = join(root, 'a');
  let got = 0;
  const relays = failover([first.origin, second.origin]);
  await relays.download('f', { sha256, size: body.length }, file, { onBytes: (bytes) => (got += bytes) });
  assert.deepEqual(fs.readFileSync(file), body);
  assert.equal(got, body.length);
  assert.deepEqual(second.served, [{ start: 120_000, ifRange: `"${sha256}"`, sent: 80_000 }]);
  assert.equal(relays.report()[0]?.lastFailure?.code, 'transfer.cut');
});

test('S23 the next server has validators of its own: the whole is sent anew, never a splice', async () => {
  const [first, second] = [await relay(`"${sha256}"`, 120_000), await relay('"66a1-30d40"')];
  const file = join(root, 'b');
  await failover([first.origin, second.origin]).download('f', { sha256, size: body.length }, file);
  assert.deepEqual(fs.readFileSync(file), body);
  assert.equal(second.served[0]?.start, 0);
});

test('S23 a path named by its hash goes on at a server with validators of its own; what it splices there is refused and asked anew', async () => {
  const path = `payloads/sha256/${sha256.slice(0, 2)}/${sha256}`;
  const [first, second] = [await relay(`"${sha256}"`, 120_000), await relay('"66a1-30d40"', Number.POSITIVE_INFINITY, false)];
  const file = join(root, 'c');
  await failover([first.origin, second.origin]).download(path, { sha256, size: body.length }, file);
  assert.deepEqual(fs.readFileSync(file), body);
  assert.deepEqual(second.served, [{ start: 120_000, ifRange: undefined, sent: 80_000 }]);

  const other = await relay('"66a1-30d40"', Number.POSITIVE_INFINITY, false, randomBytes(body.length));
  const spliced = join(root, 'd');
  const start = await relay(`"${sha256}"`, 120_000);
  const whole = await relay(`"${sha256}"`);
  const all = failover([start.origin, other.origin, whole.origin]);
  await all.download(path, { sha256, size: body.length }, spliced);
  assert.deepEqual(fs.readFileSync(spliced), body);
  assert.deepEqual(
    other.served.map(({ start }) => start),
    [120_000, 0],
    'its own whole was asked for before it was blamed',
  );
  assert.equal(all.report()[1]?.lastFailure?.code, 'transfer.hash');
});

test('S23 killed in mid-download with a torn end, as power cuts leave it: only what was not flushed comes again', async () => {
  const file = join(root, 'torn');
  const program = `
    const { httpOrigin } = await import(${JSON.stringify(join(import.meta.dirname, 'index.ts'))});
    const want = { sha256: ${JSON.stringify(sha256)}, size: ${body.length} };
    await httpOrigin(process.argv[1]).download('f', want, ${JSON.stringify(file)});`;
  let stalled: (() => void) | undefined;
  const stall = new Promise<void>((resolve) => {
    stalled = resolve;
  });
  const thin = http.createServer((_request, response) => {
    response.writeHead(200, { etag: `"${sha256}"`, 'content-length': body.length });
    let at = 0;
    const timer = setInterval(() => {
      response.write(body.subarray(at, (at += 10_000)));
      if (at < 150_000) return;
      clearInterval(timer);
      stalled?.();
    }, 200);
  });
  thin.listen(0, '127.0.0.1');
  await new Promise((done) => thin.once('listening', done));
  closing.push(() => (thin.closeAllConnections(), thin.close()));
  const address = `http://127.0.0.1:${(thin.address() as AddressInfo).port}`;
  const logFile = join(root, 'torn.log');
  const taker = await launch(process.execPath, ['--input-type=module', '-e', program, address], { logFile });
  await stall;
  await until(() => (fs.statSync(`${file}.part`, { throwIfNoEntry: false })?.size ?? 0) === 150_000);
  taker.kill('SIGKILL');
  await taker.ended;
  const flushed = Number(fs.readFileSync(`${file}.part.from`, 'utf8').split('\n')[2]);
  assert.ok(flushed >= 80_000 && flushed < 150_000, `${flushed} bytes were flushed`);
  fs.truncateSync(`${file}.part`, flushed);
  fs.truncateSync(`${file}.part`, 150_000); // zeros behind what was flushed
  const next = await relay(`"${sha256}"`);
  await next.origin.download('f', { sha256, size: body.length }, file);
  assert.deepEqual(fs.readFileSync(file), body);
  assert.deepEqual(next.served, [{ start: flushed, ifRange: `"${sha256}"`, sent: body.length - flushed }]);
});

async function until(holds: () => boolean): Promise<void> {
  for (let round = 0; round < 400 && !holds(); round += 1) await new Promise((resolve) => setTimeout(resolve, 25));
  assert.ok(holds());
}
