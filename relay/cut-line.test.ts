// A relay behind a line that is cut again and again: signed documents and metadata come once and one chunk more a cut.
import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import * as fs from 'node:fs';
import * as net from 'node:net';
import * as os from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { isFault } from '#manifests/errors';
import { systemClock } from '#manifests/platform/clock';
import { silentLog } from '#manifests/platform/log';
import { httpOrigin } from '#manifests/transfer';
import { mirrorLayout, syncMirror } from './mirror/index.ts';
import { startRelay } from './run.ts';
import { foldersOf, relaySettings } from './settings.ts';
import { makePublisher } from './testing/repository.ts';

const root = fs.mkdtempSync(join(os.tmpdir(), 'pf-cut-line-'));
const closing: (() => unknown)[] = [() => fs.rmSync(root, { recursive: true, force: true })];
after(async () => {
  for (const close of closing.toReversed()) await close();
});
const CHUNK = 16 * 1024;

/** A line to a port that ends each connection after so many bytes down; what has gone down arrives. */
async function cutLine(port: number, perConnection: number) {
  const line = { down: 0, cuts: 0, url: '' };
  const server = net.createServer((client) => {
    const upstream = net.connect(port, '127.0.0.1');
    for (const end of [client, upstream]) end.on('error', () => undefined);
    client.on('data', (bytes) => upstream.write(bytes)).on('close', () => upstream.destroy());
    let left = perConnection;
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
  await new Promise<void>((done) => void server.listen(0, '127.0.0.1', done));
  closing.push(() => server.close());
  line.url = `http://127.0.0.1:${(server.address() as net.AddressInfo).port}`;
  return line;
}

test('S23 9.1 a sync over a line that is cut every 40 KB: every byte of documents and metadata once, and one chunk a cut', async () => {
  const publisher = await makePublisher(join(root, 'publisher'));
  const small = Object.fromEntries(Array.from({ length: 90 }, (_, at) => [`waivers/small-${at}.json.zst`, randomBytes(200)]));
  await publisher.publish({ patches: [], others: { 'waivers/large.json.zst': randomBytes(200_000), ...small } });
  const place = (name: string) => ({ stateDir: join(root, name, 'state'), cacheDir: join(root, name, 'cache') });
  const above = await startRelay(
    relaySettings.parse({
      listen: '127.0.0.1:0',
      upstream: [publisher.folder],
      upstreamRoot: publisher.root,
      ...place('above'),
    }),
    { log: silentLog },
  );
  closing.push(() => above.stop());
  await above.sync();
  const line = await cutLine(Number(new URL(above.url).port), 40_000);
  const folders = foldersOf(place('below'));
  let tries = 0;
  for (let done = false; !done; ) {
    const origin = httpOrigin(line.url); // as another process would
    try {
      await syncMirror({
        ...folders,
        origins: [origin],
        pinnedRoot: publisher.root,
        payloads: 'approved',
        clock: systemClock,
        log: silentLog,
      });
      done = true;
    } catch (error) {
      assert.ok(isFault(error, 'transfer.cut', 'transfer.unreachable'), String(error));
      tries += 1;
      assert.ok(tries < 40, 'it comes to an end');
    } finally {
      await origin.close();
    }
  }
  assert.ok(line.cuts >= 3, `${line.cuts} cuts`);
  const served = mirrorLayout(folders.mirror).current;
  const files = ['metadata', 'targets'].flatMap((part) =>
    fs
      .readdirSync(join(served, part), { recursive: true, encoding: 'utf8' })
      .map((file) => fs.statSync(join(served, part, file))),
  );
  const whole = files.filter((facts) => facts.isFile());
  const bytes = whole.reduce((sum, { size }) => sum + size, 0);
  // Headers of each answer, and what is asked for at each try again: timestamp and a next root.
  const headers = (whole.length + tries * 4) * 400;
  assert.ok(line.down <= bytes + headers + line.cuts * CHUNK + tries * 4_000, `${line.down} for ${bytes}, ${line.cuts} cuts`);
  assert.ok(line.down < bytes * 1.7, `${line.down} for ${bytes}`);
  assert.equal(
    fs.existsSync(mirrorLayout(folders.mirror).parts) && fs.readdirSync(mirrorLayout(folders.mirror).parts).length > 0,
    false,
  );
});
