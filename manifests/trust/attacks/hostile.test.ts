// S12, S13, S17, S18: endless and slow data, strings made to break readers, and clocks that lie.
import assert from 'node:assert/strict';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { test } from 'node:test';
import { failover, httpOrigin } from '#manifests/transfer';
import { openTrust } from '../client.ts';
import { TRUST_LIMITS } from '../limits.ts';
import type { Fetcher } from '../refresh.ts';
import { DAY, signerOf, signRaw, T0, TestRepository, temporaryFolder } from '../testing/repository.ts';
import type { JsonObject } from '../verify/json.ts';
import { parseJsonObject } from '../verify/json.ts';
import { readMetadata } from '../verify/metadata.ts';
import { matchesPattern } from '../verify/paths.ts';

type Context = { after(fn: () => void): void };

test('S12 endless data on every URL: each request states its limit, and more is refused whatever the fetcher does', async (t) => {
  for (const bare of [false, true]) {
    const repository = new TestRepository().add('a.txt');
    repository.bare = bare;
    await repository.publish();
    const limits = new Map<string, number>();
    const endless = (victim: string): Fetcher => ({
      fetchSmall: async (path, options) => {
        limits.set(path, options.limitBytes);
        if (path !== victim) return repository.fetcher.fetchSmall(path, options);
        return { kind: 'found', bytes: new Uint8Array(options.limitBytes + 1), etag: undefined };
      },
    });
    const open = () => openTrust({ folder: temporaryFolder(t), pinnedRoot: repository.get('root'), now: () => T0 });
    for (const path of [
      'metadata/2.root.json',
      'metadata/timestamp.json',
      'metadata/1.snapshot.json',
      'metadata/1.targets.json',
    ]) {
      await assert.rejects(open().refresh(endless(path)), { code: 'trust.endless-data' }, path);
    }
    const client = open();
    await client.refresh(endless('nothing'));
    const target = repository.targetPath('a.txt', 'content of a.txt');
    await assert.rejects(client.readTarget('a.txt', endless(target)), { code: 'trust.target-hash' });
    assert.equal(limits.get('metadata/timestamp.json'), TRUST_LIMITS.timestampBytes);
    assert.equal(limits.get('metadata/2.root.json'), TRUST_LIMITS.rootBytes);
    assert.equal(limits.get('metadata/1.snapshot.json'), bare ? TRUST_LIMITS.snapshotBytes : repository.get('snapshot').length);
    assert.equal(limits.get('metadata/1.targets.json'), bare ? TRUST_LIMITS.targetsBytes : repository.get('targets').length);
    assert.equal(limits.get(target), 16);
  }
  // A signed length beyond our own limit is no permission.
  const repository = new TestRepository();
  repository.changes.set('timestamp', (signed) => {
    ((signed['meta'] as JsonObject)['snapshot.json'] as JsonObject)['length'] = 2 ** 50;
    return signed;
  });
  await repository.publish();
  const client = openTrust({ folder: temporaryFolder(t), pinnedRoot: repository.get('root'), now: () => T0 });
  await assert.rejects(client.refresh(repository.fetcher), { code: 'trust.endless-data' });
});

test('S13 slow retrieval: given up, another relay is used, and the stored state stays meanwhile', async (t) => {
  const repository = new TestRepository().add('a.txt');
  await repository.publish();
  let fast = 0;
  const slow = createServer((_request, response) => {
    response.writeHead(200);
    const timer = setInterval(() => response.write('{'), 20);
    response.on('close', () => clearInterval(timer));
  });
  const honest = createServer((request, response) => {
    fast++;
    const bytes = repository.files.get((request.url ?? '').slice(1));
    response.writeHead(bytes === undefined ? 404 : 200);
    response.end(bytes);
  });
  const origins: string[] = [];
  for (const server of [slow, honest]) {
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
    origins.push(`http://127.0.0.1:${(server.address() as AddressInfo).port}/`);
    t.after(() => {
      server.closeAllConnections();
      server.close();
    });
  }
  const limits = { windowMs: 200, minimumBytesPerSecond: 1_000 };
  const [first, second] = origins.map((url) => httpOrigin(url, { limits }));
  assert.ok(first && second);
  const client = openTrust({ folder: temporaryFolder(t), pinnedRoot: repository.get('root'), now: () => T0 });
  await assert.rejects(client.refresh(first), { code: 'transfer.slow' });
  assert.equal(client.versions(), undefined);
  await client.refresh(failover([first, second], {}));
  assert.equal(client.versions()?.timestamp, 1);
  assert.ok(fast > 0);
});

test('S17 names of the language itself are plain names', async (t) => {
  const names = ['__proto__', 'constructor', 'toString', 'hasOwnProperty', 'prototype'];
  const repository = new TestRepository();
  for (const name of names)
    repository.delegate({ name, signers: [signerOf(name)], threshold: 1, paths: [`${name}/*`] }).add(`${name}/x`, name, name);
  repository.add('__proto__', 'p');
  await repository.publish();
  const client = openTrust({ folder: temporaryFolder(t), pinnedRoot: repository.get('root'), now: () => T0 });
  await client.refresh(repository.fetcher);
  for (const name of names) {
    assert.equal(Buffer.from(await client.readTarget(`${name}/x`, repository.fetcher)).toString(), name);
    assert.equal(client.target(name)?.path, name === '__proto__' ? name : undefined);
  }
  assert.equal(({} as Record<string, unknown>)['x'], undefined);
});

test('S17 lone surrogates, control characters, climbing paths', async (t) => {
  const bytes = (text: string) => Buffer.from(text);
  for (const text of ['{"a":"\\ud800"}', '{"\\udc00":1}', '{"a":"\\ud800\\ud800"}']) {
    assert.throws(() => parseJsonObject(bytes(text), 'x'), { code: 'trust.malformed' });
  }
  assert.throws(() => parseJsonObject(Buffer.from([0x7b, 0x22, 0xc0, 0xaf, 0x22, 0x3a, 0x31, 0x7d]), 'x'), {
    code: 'trust.malformed',
  });
  for (const text of [
    '{"a":1,"a":1}',
    '{"a":{"b":1,"\\u0062":2}}',
    '{"a":1.0}',
    '{"a":1e3}',
    '{"a":9007199254740992}',
    '\ufeff{}',
    '[]',
    '{}{}',
    '{"a":01}',
  ]) {
    assert.throws(() => parseJsonObject(bytes(text), 'x'), { code: 'trust.malformed' }, text);
  }
  for (const path of ['a\u0000b', 'a\nb', 'a\u0085b']) {
    await assert.rejects(new TestRepository().add(path).publish(), { code: 'trust.malformed' });
  }
  const repository = new TestRepository();
  const climbing = ['../../etc/passwd', '/etc/passwd', 'a/../../b', 'a//b', './a', 'a\\..\\b', '..'];
  for (const path of climbing) repository.add(path);
  await repository.publish();
  const client = openTrust({ folder: temporaryFolder(t), pinnedRoot: repository.get('root'), now: () => T0 });
  await client.refresh(repository.fetcher);
  repository.requests.length = 0;
  for (const path of climbing) await assert.rejects(client.readTarget(path, repository.fetcher), { code: 'trust.target-path' });
  assert.deepEqual(repository.requests, []);
});

test('S17 a million keys, depth 100,000, patterns built to blow up: bounded time, typed error', async (t) => {
  const started = performance.now();
  const timed = (what: string, run: () => void) => {
    const at = performance.now();
    run();
    assert.ok(performance.now() - at < 3_000, `${what} took ${performance.now() - at} ms`);
  };
  const refusal = { code: 'trust.malformed' };
  timed('depth in lists', () =>
    assert.throws(() => parseJsonObject(Buffer.from(`{"a":${'['.repeat(100_000)}${']'.repeat(100_000)}}`), 'x'), refusal),
  );
  timed('depth in objects', () =>
    assert.throws(() => parseJsonObject(Buffer.from(`${'{"a":'.repeat(100_000)}1${'}'.repeat(100_000)}`), 'x'), refusal),
  );
  timed('unclosed', () => assert.throws(() => parseJsonObject(Buffer.from('['.repeat(1_000_000)), 'x'), refusal));
  const million = `{"signatures":[],"signed":{"_type":"root","spec_version":"1.0.31","version":1,"expires":"2030-01-01T00:00:00Z","roles":{},"keys":{${Array.from({ length: 1_000_000 }, (_, at) => `"${at}":1`).join(',')}}}}`;
  timed('a million keys', () => assert.throws(() => readMetadata('root', Buffer.from(million), 'x'), refusal));
  const hostile = `${'*a'.repeat(500)}b`;
  timed('patterns', () => {
    for (let at = 0; at < 100; at++) assert.equal(matchesPattern(hostile, 'a'.repeat(1_024)), false);
  });
  timed('braces and extglobs are literal', () =>
    assert.equal(matchesPattern(`${'{a,b}'.repeat(200)}+(a|b)`, 'ab'.repeat(400)), false),
  );

  const repository = new TestRepository();
  repository.delegate({
    name: 'd',
    signers: [signerOf('d')],
    threshold: 1,
    paths: Array.from({ length: 300 }, (_, at) => `${'*a'.repeat(400)}${at}`),
  });
  await repository.publish();
  const client = openTrust({ folder: temporaryFolder(t), pinnedRoot: repository.get('root'), now: () => T0 });
  await client.refresh(repository.fetcher);
  timed('search', () => assert.equal(client.target('a'.repeat(1_024)), undefined));
  // Too many patterns are refused before they cost anything.
  repository.changes.set('targets', (signed) => {
    const roles = (signed['delegations'] as JsonObject)['roles'] as JsonObject[];
    (roles[0] as JsonObject)['paths'] = Array.from({ length: 100_000 }, () => '*a*a*a*b');
    return signed;
  });
  await repository.publish();
  await assert.rejects(client.refresh(repository.fetcher), refusal);
  assert.ok(performance.now() - started < 30_000);
});

async function withClock(t: Context) {
  const repository = new TestRepository().add('a.txt');
  await repository.publish();
  const clock = { now: T0 };
  const folder = temporaryFolder(t);
  const open = () => openTrust({ folder, pinnedRoot: repository.files.get('metadata/1.root.json'), now: () => clock.now });
  const client = open();
  await client.refresh(repository.fetcher);
  return { repository, clock, client, open };
}

test('S18 clock back a year, or at 1970: nothing expired is accepted below the floor', async (t) => {
  const { repository, clock, client, open } = await withClock(t);
  const old = new Map(repository.files);
  // Half a year on, with fresh metadata …
  repository.now = T0 + 20 * DAY;
  clock.now = repository.now;
  await repository.publish();
  await client.refresh(repository.fetcher);
  // … the clock falls back. The floor holds in this process, and in the next one.
  for (const now of [T0 - 345 * DAY, 0, -1]) {
    clock.now = now;
    for (const each of [client, open()]) {
      assert.equal(each.freshness().trustedTime, T0 + 20 * DAY);
      assert.equal(each.freshness().clock, 'behind');
      assert.equal(each.freshness().hardExpired, false);
    }
    // Signed by the right keys, newer by its number, but expired at the floor.
    repository.now = T0;
    const versions = { ...repository.versions };
    const good = repository.get('timestamp');
    await repository.publish('timestamp');
    await assert.rejects(open().refresh(repository.fetcher), { code: 'trust.expired' });
    repository.versions = versions;
    repository.files.set('metadata/timestamp.json', good);
    assert.equal((await open().refresh(repository.fetcher)).changed, false);
  }
  assert.ok(old.size > 0);
});

test('S18 clock forward ten years, or at 2099: everything counts as expired, and once it is right again all is well', async (t) => {
  for (const wrong of [T0 + 3_650 * DAY, Date.parse('2099-01-01T00:00:00Z')]) {
    const { repository, clock, client, open } = await withClock(t);
    clock.now = wrong;
    assert.equal(client.freshness().clock, 'suspect');
    assert.equal(client.freshness().hardExpired, true);
    await repository.publish();
    await assert.rejects(client.refresh(repository.fetcher), { code: 'trust.expired' });
    client.noteTime(wrong); // results are made with the wrong clock meanwhile
    // Right again: the present metadata stays expired (its time is over for all we can prove), its successor is taken.
    clock.now = T0 + DAY;
    repository.now = T0 + DAY;
    await repository.publish();
    const again = open();
    assert.equal(again.freshness().trustedTime, T0 + 7 * DAY);
    assert.equal((await again.refresh(repository.fetcher)).changed, true);
    assert.equal(again.freshness().hardExpired, false);
    assert.equal(Buffer.from(await again.readTarget('a.txt', repository.fetcher)).toString(), 'content of a.txt');
  }
});

test('S18 own results raise the floor, so that a clock set back does not revive what has expired', async (t) => {
  const { clock, client, open } = await withClock(t);
  client.noteTime(T0 + 5 * DAY);
  clock.now = T0;
  assert.equal(open().freshness().trustedTime, T0 + 5 * DAY);
  client.noteTime(T0 + 400 * DAY);
  client.noteTime(T0 + 2 * DAY);
  assert.equal(open().freshness().hardExpired, true);
  assert.equal(open().freshness().since, '2026-01-08T00:00:00Z');
});

test('S17 what a signer of one role may write stays inside that role', async (t) => {
  const repository = new TestRepository();
  await repository.publish();
  const client = openTrust({ folder: temporaryFolder(t), pinnedRoot: repository.get('root'), now: () => T0 });
  // Honest targets metadata, offered as timestamp and signed by the timestamp key.
  const file = JSON.parse(Buffer.from(repository.get('targets')).toString()) as { signed: JsonObject };
  repository.files.set('metadata/timestamp.json', await signRaw(file.signed, repository.roles.timestamp.signers));
  await assert.rejects(client.refresh(repository.fetcher), { code: 'trust.wrong-role' });
});
