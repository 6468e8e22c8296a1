// Payloads: fetched once, checked, resumed; one that fails does not stop the others.
import assert from 'node:assert/strict';
import * as fs from 'node:fs';
import type { ServerResponse } from 'node:http';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, it } from 'node:test';
import { openPayloadStore } from '#manifests/repository';
import { type MockServer, serveMock, sha256 } from './apt/mock.ts';
import { fetchPayloads, missingBytes, SOURCE_LIMITS, type SourceSettings } from './index.ts';

describe('payloads', () => {
  let work: string;
  let server: MockServer;
  let settings: SourceSettings;
  const store = () => openPayloadStore(join(work, 'payloads'));
  const signal = new AbortController().signal;
  const contents = Array.from({ length: 12 }, (_, nth) => Buffer.alloc(50_000 + nth, `${nth}`));
  const patches = contents.map((content, nth) => ({
    id: `p${nth}@1`,
    packages: [
      {
        name: `p${nth}`,
        version: '1',
        arch: 'all',
        sha256: sha256(content),
        size: content.length,
        path: `pool/p${nth}_1+b.deb`,
      },
    ],
  }));
  beforeEach(async () => {
    work = fs.mkdtempSync(join(tmpdir(), 'patchferry-fetch-'));
    fs.mkdirSync(join(work, 'vendor/pool'), { recursive: true });
    for (const [nth, content] of contents.entries()) fs.writeFileSync(join(work, `vendor/pool/p${nth}_1+b.deb`), content);
    server = await serveMock(join(work, 'vendor'));
    settings = { name: 'test', kind: 'apt', product: 'test-1', url: server.url, suite: 's', keyring: 'k' };
  });
  afterEach(async () => {
    await server.close();
    fs.rmSync(work, { recursive: true, force: true });
  });

  it('all are fetched, four at a time at most, and never twice', async () => {
    let open = 0;
    let most = 0;
    server.intercept = (_, __, response: ServerResponse) => {
      open += 1;
      most = Math.max(most, open);
      response.on('close', () => {
        open -= 1;
      });
      return false;
    };
    const total = contents.reduce((sum, { length }) => sum + length, 0);
    assert.equal(missingBytes(patches, store()), total);
    let last = 0;
    const progress = { at: (done: number) => void (last = done), end: () => undefined };
    assert.deepEqual(await fetchPayloads(settings, [...patches, ...patches], { payloads: store(), signal, progress }), {
      fetched: 12,
      bytes: total,
      failed: [],
    });
    assert.equal(last, total);
    assert.ok(most <= SOURCE_LIMITS.parallelFetches);
    assert.equal(missingBytes(patches, store()), 0);
    server.requests.length = 0;
    assert.equal((await fetchPayloads(settings, patches, { payloads: store(), signal })).fetched, 0);
    assert.deepEqual(server.requests, []);
  });

  it('tampered, cut, absent: each is reported with its patch, the others are there', async () => {
    fs.writeFileSync(join(work, 'vendor/pool/p3_1+b.deb'), Buffer.alloc(contents[3]?.length ?? 0, 'x'));
    fs.truncateSync(join(work, 'vendor/pool/p5_1+b.deb'), 1_000);
    fs.rmSync(join(work, 'vendor/pool/p7_1+b.deb'));
    const { fetched, failed } = await fetchPayloads(settings, patches, { payloads: store(), signal });
    assert.equal(fetched, 9);
    assert.deepEqual(
      failed.map(({ patch }) => patch),
      ['p3@1', 'p5@1', 'p7@1'],
    );
    assert.ok(!store().has(sha256(Buffer.alloc(contents[3]?.length ?? 0, 'x')), contents[3]?.length ?? 0));
    assert.equal([...store().list()].length, 9);
  });

  it('S23 a download that is cut goes on where it was', async () => {
    let cut = true;
    const ranges: (string | undefined)[] = [];
    server.intercept = (path, request, response) => {
      if (!path.includes('p1_')) return false;
      const content = contents[1] ?? Buffer.alloc(0);
      ranges.push(request.headers.range);
      const from = Number(/^bytes=(\d+)-/.exec(request.headers.range ?? '')?.[1] ?? 0);
      const head = { etag: '"one"', 'content-length': content.length - from };
      if (from > 0)
        response.writeHead(206, { ...head, 'content-range': `bytes ${from}-${content.length - 1}/${content.length}` });
      else response.writeHead(200, head);
      if (cut) response.write(content.subarray(0, 20_000), () => response.destroy());
      else response.end(content.subarray(from));
      return true;
    };
    const one = patches.slice(1, 2);
    assert.equal((await fetchPayloads(settings, one, { payloads: store(), signal })).failed.length, 1);
    cut = false;
    assert.equal((await fetchPayloads(settings, one, { payloads: store(), signal })).fetched, 1);
    assert.equal(ranges.at(-1), 'bytes=20000-');
  });

  it('an abort ends it', async () => {
    await assert.rejects(
      fetchPayloads(settings, patches, { payloads: store(), signal: AbortSignal.abort(new Error('stopped')) }),
      /stopped/,
    );
  });
});
