// Two publishers who upload at the same time: whatever the order of their requests, the newer timestamp is what stays where the store
// honours conditions; where it does not, a write between two others is seen and mended.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { array, asyncProperty, boolean, assert as check, constantFrom } from 'fast-check';
import { sha256Of } from '#manifests/schema';
import type { S3Body, S3Store } from './s3.ts';
import { replaceTimestamp } from './timestamp.ts';

const fileOf = (text: string) => {
  const bytes = Buffer.from(text);
  return { bytes, body: { sha256: sha256Of(bytes), size: bytes.length, open: () => bytes } };
};
const timestamp = (version: number, by = '') => ({
  path: 'metadata/timestamp.json',
  headers: {},
  version,
  ...fileOf(`${version}${by}`),
});
const root = { path: 'metadata/1.root.json', headers: {}, ...fileOf('root') };
const versionOf = (bytes: Uint8Array) => Number.parseInt(Buffer.from(bytes).toString(), 10);

type Kind = 'honours' | 'ignores' | 'refuses';

/** A store in memory. @param turn awaited before each request, so that a test says who is next */
function storeOf(objects: Map<string, Buffer>, kind: Kind, turn: () => Promise<void>): S3Store {
  const etag = (bytes: Buffer) => `"${sha256Of(bytes).slice(0, 32)}"`;
  const write = (path: string, body: S3Body) => objects.set(path, Buffer.from(body.open() as Uint8Array));
  const none = () => Promise.reject(new Error('not of this test'));
  return {
    list: none,
    get: none,
    put: none,
    remove: none,
    close: () => Promise.resolve(),
    async read(path) {
      await turn();
      const bytes = objects.get(path);
      return bytes === undefined ? undefined : { bytes, etag: etag(bytes) };
    },
    async putWhere(path, body, headers, fine) {
      await turn();
      const there = objects.get(path);
      const status = () => {
        const { 'if-match': match, 'if-none-match': none } = headers;
        if (match === undefined && none === undefined) return 200;
        if (kind === 'refuses') return 501;
        if (kind === 'ignores') return 200;
        return (match === undefined || (there !== undefined && match === etag(there))) &&
          (none === undefined || there === undefined)
          ? 200
          : 412;
      };
      const ended = status();
      assert.ok(fine.includes(ended), `${ended}`);
      if (ended === 200) write(path, body);
      return ended;
    },
  };
}

const startOf = (version: number | null) =>
  new Map([
    [root.path, Buffer.from(root.bytes)],
    ...(version === null ? [] : [['metadata/timestamp.json', Buffer.from(String(version))] as const]),
  ]);
const now = (objects: Map<string, Buffer>) => objects.get('metadata/timestamp.json')?.toString();
const atOnce = () => Promise.resolve();

test('a conditional write where the store honours one, a comparison where it does not; what it does is told', async () => {
  for (const [kind, says] of [
    ['honours', 'honoured'],
    ['ignores', 'ignored'],
    ['refuses', 'ignored'],
  ] as const) {
    for (const before of [null, 3]) {
      const objects = startOf(before);
      assert.equal(await replaceTimestamp(storeOf(objects, kind, atOnce), timestamp(4), root, versionOf), says);
      assert.equal(now(objects), '4');
      assert.equal(objects.get(root.path)?.toString(), 'root');
    }
  }
});

test('something newer, or another publication of the same number, that came meanwhile is not touched', async () => {
  for (const [kind, there] of [
    ['honours', '5'],
    ['ignores', '5'],
    ['ignores', '4 of another'],
  ] as const) {
    const objects = startOf(null);
    objects.set('metadata/timestamp.json', Buffer.from(there));
    await assert.rejects(replaceTimestamp(storeOf(objects, kind, atOnce), timestamp(4), root, versionOf), {
      code: 'upload.older',
    });
    assert.equal(now(objects), there);
  }
});

/** Runs two uploads with their requests in the order that `order` says. */
async function race(kind: Kind, objects: Map<string, Buffer>, order: readonly boolean[]): Promise<void> {
  const waiting: [(() => void)[], (() => void)[]] = [[], []];
  const ended = [false, false];
  const side = (index: 0 | 1) => storeOf(objects, kind, () => new Promise((go) => void waiting[index].push(go)));
  const runs = (
    [
      [0, 5],
      [1, 6],
    ] as const
  ).map(([index, version]) =>
    replaceTimestamp(side(index), timestamp(version), root, versionOf)
      .catch((error: { code?: string }) =>
        assert.ok(['upload.older', 'upload.raced'].includes(error.code ?? ''), error.code ?? 'no code'),
      )
      .finally(() => (ended[index] = true)),
  );
  for (let step = 0; !ended.every(Boolean); step += 1) {
    await new Promise(setImmediate);
    const first = order[step % Math.max(1, order.length)] === true ? 1 : 0;
    const next = waiting[first].shift() ?? waiting[1 - first]?.shift();
    next?.();
  }
  await Promise.all(runs);
}

test('a property: two publishers at the same time, in any order of requests; a store that honours conditions ends with the newer', async () => {
  await check(
    asyncProperty(array(boolean(), { minLength: 1, maxLength: 16 }), constantFrom(null, 3), async (order, before) => {
      const objects = startOf(before);
      await race('honours', objects, order);
      assert.equal(now(objects), '6');
    }),
    { numRuns: 300 },
  );
});

test('where conditions are ignored: an older one written over the newer is seen by who looks after it, and put right', async () => {
  const objects = startOf(3);
  let reads = 0;
  const store = storeOf(objects, 'ignores', atOnce);
  const between: S3Store = {
    ...store,
    async read(path) {
      reads += 1;
      if (reads === 2) objects.set(path, Buffer.from('5')); // the other one, that had compared before
      return store.read(path);
    },
  };
  assert.equal(await replaceTimestamp(between, timestamp(6), root, versionOf), 'ignored');
  assert.equal(now(objects), '6');
});
