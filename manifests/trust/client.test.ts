// The client on an honest repository: everything a poll, a mirror and a reader of documents ask of it.
import assert from 'node:assert/strict';
import { hash } from 'node:crypto';
import { test } from 'node:test';
import { openTrust } from './client.ts';
import { DAY, signerOf, T0, TestRepository, temporaryFolder } from './testing/repository.ts';

const policyRole = () => ({
  name: 'policy',
  signers: [signerOf('policy1'), signerOf('policy2')],
  threshold: 2,
  paths: ['policy/*/*'],
});

test('refresh, read, and refresh unchanged with one request', async (t) => {
  const repository = new TestRepository().add('a.txt').delegate(policyRole()).add('policy/baselines/x', 'baseline', 'policy');
  await repository.publish();
  const folder = temporaryFolder(t);
  const client = openTrust({ folder, pinnedRoot: repository.get('root'), now: () => T0 });
  assert.equal(client.versions(), undefined);
  assert.equal(client.freshness().hardExpired, true);
  const first = await client.refresh(repository.fetcher);
  assert.deepEqual(first, { changed: true, versions: { root: 1, timestamp: 1, snapshot: 1, targets: 1 } });
  assert.equal(Buffer.from(await client.readTarget('policy/baselines/x', repository.fetcher)).toString(), 'baseline');
  assert.deepEqual(client.target('policy/baselines/x'), {
    path: 'policy/baselines/x',
    length: 8,
    sha256: hash('sha256', 'baseline'),
    role: 'policy',
  });
  assert.deepEqual(
    client
      .targets()
      .map(({ path }) => path)
      .toSorted(),
    ['a.txt', 'policy/baselines/x'],
  );
  repository.requests.length = 0;
  assert.equal((await client.refresh(repository.fetcher)).changed, false);
  assert.deepEqual(repository.requests, ['metadata/timestamp.json']);

  const again = openTrust({ folder, now: () => T0 });
  assert.equal(again.rebuilt, undefined);
  repository.requests.length = 0;
  assert.equal((await again.refresh(repository.fetcher)).changed, false);
  assert.deepEqual(repository.requests, ['metadata/timestamp.json']);
  assert.equal(again.target('a.txt')?.role, 'targets');
});

test('an update fetches only what changed', async (t) => {
  const repository = new TestRepository().add('a.txt').delegate(policyRole());
  await repository.publish();
  const client = openTrust({ folder: temporaryFolder(t), pinnedRoot: repository.get('root'), now: () => repository.now });
  await client.refresh(repository.fetcher);
  repository.now += DAY;
  await repository.publish('timestamp');
  repository.requests.length = 0;
  assert.deepEqual(await client.refresh(repository.fetcher), {
    changed: true,
    versions: { root: 1, timestamp: 2, snapshot: 1, targets: 1 },
  });
  assert.deepEqual(repository.requests, ['metadata/timestamp.json', 'metadata/2.root.json']);
});

test('a mirror can serve exactly what was verified, every root among it', async (t) => {
  const repository = new TestRepository().add('a.txt').delegate(policyRole()).add('policy/groups/g', 'g', 'policy');
  const pinned = await repository.publishRoot();
  await repository.publishRoot();
  await repository.publish();
  const client = openTrust({ folder: temporaryFolder(t), pinnedRoot: pinned, now: () => T0 });
  await client.refresh(repository.fetcher);
  const mirror = new Map(client.metadataFiles().map(({ name, bytes }) => [`metadata/${name}`, bytes]));
  assert.deepEqual(
    [...mirror.keys()].toSorted(),
    [...repository.files.keys()].filter((path) => path.startsWith('metadata/')).toSorted(),
  );
  for (const [path, bytes] of mirror) assert.deepEqual(Buffer.from(bytes), Buffer.from(repository.files.get(path) ?? []));
});

test('without consistent snapshots files have plain names', async (t) => {
  const repository = new TestRepository().add('dir/a.txt', 'aa');
  repository.consistent = false;
  await repository.publish();
  const client = openTrust({ folder: temporaryFolder(t), pinnedRoot: repository.get('root'), now: () => T0 });
  await client.refresh(repository.fetcher);
  assert.equal(Buffer.from(await client.readTarget('dir/a.txt', repository.fetcher)).toString(), 'aa');
  assert.ok(repository.requests.includes('metadata/snapshot.json') && repository.requests.includes('targets/dir/a.txt'));
});

test('two expiries: a warning first, then no installs, and since when', async (t) => {
  const repository = new TestRepository().add('a.txt');
  await repository.publish();
  let now = T0;
  const client = openTrust({ folder: temporaryFolder(t), pinnedRoot: repository.get('root'), now: () => now });
  await client.refresh(repository.fetcher);
  assert.deepEqual(client.freshness(), {
    trustedTime: T0,
    softExpired: false,
    hardExpired: false,
    expires: '2026-01-08T00:00:00Z',
    clock: 'ok',
  });
  now = T0 + 4 * DAY;
  assert.deepEqual(client.freshness(), {
    trustedTime: now,
    softExpired: true,
    hardExpired: false,
    expires: '2026-01-08T00:00:00Z',
    clock: 'ok',
    since: '2026-01-04T12:00:00Z',
  });
  now = T0 + 8 * DAY;
  assert.equal(client.freshness().hardExpired, true);
  assert.equal(client.freshness().since, '2026-01-08T00:00:00Z');
});

test('only the bins on the way are loaded when asked for', async (t) => {
  const repository = new TestRepository();
  repository.bins = { signers: [signerOf('bins')], threshold: 1, bits: 4, prefix: 'bin' };
  const { binOf } = await import('./verify/paths.ts');
  for (let i = 0; i < 16; i++) repository.contents.set(`bin-${i.toString(16)}`, new Map());
  for (let i = 0; i < 50; i++) {
    repository.add(`f/${i}`, `c${i}`, binOf({ bitLength: 4, namePrefix: 'bin', keyIds: [], threshold: 1 }, `f/${i}`));
  }
  await repository.publish();
  const client = openTrust({ folder: temporaryFolder(t), pinnedRoot: repository.get('root'), now: () => T0 });
  await client.refresh(repository.fetcher, undefined, { onlyFor: ['f/7'] });
  assert.equal(repository.requests.filter((path) => path.includes('bin-')).length, 1);
  assert.equal(Buffer.from(await client.readTarget('f/7', repository.fetcher)).toString(), 'c7');
  await client.refresh(repository.fetcher);
  assert.equal(client.targets().length, 50);
});

test('linear cost: 50,000 targets in one file', async (t) => {
  const times: number[] = [];
  for (const count of [5_000, 50_000]) {
    const repository = new TestRepository();
    for (let at = 0; at < count; at++) repository.add(`catalogs/product-${at}.json.zst`, `${at}`);
    await repository.publish();
    const client = openTrust({ folder: temporaryFolder(t), pinnedRoot: repository.get('root'), now: () => T0 });
    const started = performance.now();
    await client.refresh(repository.fetcher);
    assert.equal(client.target('catalogs/product-4999.json.zst')?.length, 4);
    times.push(performance.now() - started);
  }
  const [small = 0, large = 0] = times;
  t.diagnostic(`5,000 targets in ${Math.round(small)} ms, 50,000 in ${Math.round(large)} ms`);
  assert.ok(large < 3_000, `${large} ms`); // a quarter of a second on an idle core; the bound allows for busy machines
  assert.ok(large < 30 * Math.max(small, 20), `${small} ms, then ${large} ms`); // the square would be a hundred times
});
