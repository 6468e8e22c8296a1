// S5 to S11: old, frozen, mixed and fast-forwarded metadata, loose expiries, and broken chains of roots.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { openTrust } from '../client.ts';
import type { TrustLimits } from '../limits.ts';
import { DAY, signerOf, signRaw, T0, TestRepository, temporaryFolder } from '../testing/repository.ts';
import type { Json, JsonObject } from '../verify/json.ts';

type Context = { after(fn: () => void): void };
async function victim(t: Context, repository = new TestRepository().add('a.txt'), limits: Partial<TrustLimits> = {}) {
  await repository.publish();
  const folder = temporaryFolder(t);
  const client = openTrust({ folder, pinnedRoot: repository.get('root'), now: () => repository.now, limits });
  await client.refresh(repository.fetcher);
  return { repository, client, folder };
}

for (const bare of [false, true]) {
  test(`S5 rollback of timestamp, snapshot, targets, against stored state too (${bare ? 'without' : 'with'} hashes)`, async (t) => {
    const repository = new TestRepository().add('a.txt');
    repository.bare = bare;
    await repository.publish();
    const old = new Map(repository.files);
    await repository.publish();
    const folder = temporaryFolder(t);
    const pinnedRoot = repository.get('root');
    const client = openTrust({ folder, pinnedRoot, now: () => T0 });
    await client.refresh(repository.fetcher);
    const good = new Map(repository.files);
    // An old timestamp, to the running client and to one that starts anew from the same folder.
    repository.files.set('metadata/timestamp.json', old.get('metadata/timestamp.json') as Uint8Array);
    await assert.rejects(client.refresh(repository.fetcher), { code: 'trust.rollback' });
    await assert.rejects(openTrust({ folder, now: () => T0 }).refresh(repository.fetcher), { code: 'trust.rollback' });
    // A new timestamp that names an old snapshot (a stolen timestamp key).
    for (const [path, bytes] of good) repository.files.set(path, bytes);
    repository.versions['snapshot'] = 1;
    await repository.publishTimestamp();
    await assert.rejects(openTrust({ folder, now: () => T0 }).refresh(repository.fetcher), { code: 'trust.rollback' });
    // A new snapshot that names old targets, or drops them (a stolen snapshot key).
    for (const vanish of [false, true]) {
      repository.versions = { ...repository.versions, snapshot: 5 + Number(vanish), targets: 2 };
      repository.changes.set('snapshot', (signed) => {
        const meta = signed['meta'] as Record<string, JsonObject>;
        if (vanish) meta['gone.json'] = { version: 1 };
        else (meta['targets.json'] as JsonObject)['version'] = 1;
        return signed;
      });
      await repository.publish();
      if (!vanish)
        await assert.rejects(openTrust({ folder, now: () => T0 }).refresh(repository.fetcher), { code: 'trust.rollback' });
      else {
        await openTrust({ folder, now: () => T0 }).refresh(repository.fetcher);
        repository.changes.clear(); // the next one no longer lists gone.json
        await repository.publish();
        await assert.rejects(openTrust({ folder, now: () => T0 }).refresh(repository.fetcher), { code: 'trust.rollback' });
      }
    }
  });
}

test('S6 a refused rollback does not poison the store', async (t) => {
  const { repository, client, folder } = await victim(t);
  const old = repository.get('timestamp');
  await repository.publish();
  await client.refresh(repository.fetcher);
  const newer = repository.get('timestamp');
  repository.files.set('metadata/timestamp.json', old);
  await assert.rejects(client.refresh(repository.fetcher), { code: 'trust.rollback' });
  repository.files.set('metadata/timestamp.json', newer);
  assert.equal((await client.refresh(repository.fetcher)).changed, false);
  await repository.publish();
  assert.equal((await client.refresh(repository.fetcher)).versions.timestamp, 3);
  // A root that was refused is not trusted later either.
  repository.files.set('metadata/2.root.json', await signRaw({ forged: true }, [signerOf('stranger')]));
  await repository.publish();
  await assert.rejects(client.refresh(repository.fetcher), { code: 'trust.wrong-role' });
  repository.files.delete('metadata/2.root.json');
  assert.equal((await openTrust({ folder, now: () => T0 }).refresh(repository.fetcher)).versions.root, 1);
});

test('S7 freeze: expired metadata is refused, the last good copy stays readable, and since when is said', async (t) => {
  for (const role of ['timestamp', 'snapshot', 'targets', 'root'] as const) {
    const repository = new TestRepository().add('a.txt');
    for (const name of ['root', 'timestamp', 'snapshot', 'targets']) repository.lifetimes[name] = 1000 * DAY;
    repository.lifetimes[role] = DAY;
    const { client } = await victim(t, repository);
    await repository.publish('timestamp');
    repository.now += DAY; // the moment itself counts as expired
    const frozen = openTrust({
      folder: temporaryFolder(t),
      pinnedRoot: client.metadataFiles()[0]?.bytes,
      now: () => repository.now,
    });
    await assert.rejects(frozen.refresh(repository.fetcher), { code: 'trust.expired' });
    await assert.rejects(client.refresh(repository.fetcher), { code: 'trust.expired' });
    assert.equal(client.freshness().hardExpired, true);
    assert.equal(client.freshness().since, '2026-01-02T00:00:00Z');
    assert.equal(Buffer.from(await client.readTarget('a.txt', repository.fetcher)).toString(), 'content of a.txt');
  }
});

test('S8 missing, unparsable or loosely written expiry', async (t) => {
  const loose: Json[] = [
    null,
    1893456000,
    '',
    'never',
    '2030-01-01',
    '2030-01-01T00:00:00',
    '2030-01-01T00:00:00+00:00',
    '2030-01-01T00:00:00.000Z',
    '2030-02-30T00:00:00Z',
    '2030-01-01T24:00:00Z',
    '2030-01-01t00:00:00z',
    ' 2030-01-01T00:00:00Z',
    '2030-01-01T00:00:00Z\n',
    '+002030-01-01T00:00:00Z',
  ];
  for (const role of ['timestamp', 'snapshot', 'targets', 'root']) {
    for (const expires of [undefined, ...loose]) {
      const repository = new TestRepository().add('a.txt');
      const { client } = await victim(t, repository);
      repository.changes.set(role, (signed) => {
        if (expires === undefined) delete signed['expires'];
        else signed['expires'] = expires;
        return signed;
      });
      if (role === 'root') await repository.publishRoot();
      await repository.publish();
      await assert.rejects(client.refresh(repository.fetcher), { code: 'trust.expires' }, `${role} ${JSON.stringify(expires)}`);
      assert.equal(client.versions()?.timestamp, 1);
    }
  }
});

for (const bare of [false, true]) {
  test(`S9 mix and match of versions (${bare ? 'without' : 'with'} hashes)`, async (t) => {
    const make = async () => {
      const repository = new TestRepository().add('a.txt');
      repository.bare = bare;
      repository.consistent = false;
      const made = await victim(t, repository);
      const old = new Map(repository.files);
      repository.add('b.txt');
      await repository.publish();
      return { ...made, old };
    };
    for (const file of ['metadata/snapshot.json', 'metadata/targets.json']) {
      const { repository, client, old } = await make();
      repository.files.set(file, old.get(file) as Uint8Array);
      await assert.rejects(client.refresh(repository.fetcher), { code: 'trust.mix-and-match' });
      assert.equal(client.target('b.txt'), undefined);
    }
  });
}

test('S10 fast-forward attack, then key rotation: recovers', async (t) => {
  const { repository, client } = await victim(t);
  const most = Number.MAX_SAFE_INTEGER;
  repository.versions = { ...repository.versions, timestamp: most - 1, snapshot: most - 1, targets: most - 1 };
  repository.changes.set('timestamp', (signed) => ({
    ...signed,
    signedAt: '2099-01-01T00:00:00Z',
    expires: '2099-06-01T00:00:00Z',
  }));
  for (const role of ['snapshot', 'targets'])
    repository.changes.set(role, (signed) => ({ ...signed, expires: '2099-06-01T00:00:00Z' }));
  repository.lifetimes['root'] = 100 * 365 * DAY;
  await repository.publishRoot();
  await repository.publish();
  await client.refresh(repository.fetcher);
  assert.equal(client.versions()?.timestamp, most);
  assert.equal(client.freshness().clock, 'behind'); // the thief signed for a far future, and is believed until his key is gone
  // The owner rotates the two keys and goes on from where the versions honestly were.
  repository.changes.clear();
  repository.roles.timestamp = { signers: [signerOf('timestamp 2')], threshold: 1 };
  repository.roles.snapshot = { signers: [signerOf('snapshot 2')], threshold: 1 };
  repository.versions = { ...repository.versions, timestamp: 1, snapshot: 1, targets: 1 };
  await repository.publishRoot();
  await repository.publish();
  assert.deepEqual((await client.refresh(repository.fetcher)).versions, { root: 3, timestamp: 2, snapshot: 2, targets: 2 });
  assert.equal(client.freshness().clock, 'ok');
});

test('S10 a key that is only added frees nobody from what was signed before; one taken away does, for both roles', async (t) => {
  const { repository, client } = await victim(t);
  const old = repository.get('timestamp');
  await repository.publish();
  await client.refresh(repository.fetcher);
  repository.roles.timestamp = { signers: [...repository.roles.timestamp.signers, signerOf('second')], threshold: 1 };
  await repository.publishRoot();
  repository.files.set('metadata/timestamp.json', old);
  await assert.rejects(client.refresh(repository.fetcher), { code: 'trust.rollback' });
  // Only the snapshot's key was stolen and rotated: the timestamp that named its far version is forgotten with it.
  repository.versions = { ...repository.versions, snapshot: 5_000 };
  await repository.publish();
  await client.refresh(repository.fetcher);
  repository.roles.snapshot = { signers: [signerOf('snapshot 2')], threshold: 1 };
  repository.versions = { ...repository.versions, snapshot: 2 };
  await repository.publishRoot();
  await repository.publish();
  assert.equal((await client.refresh(repository.fetcher)).versions.snapshot, 3);
});

test('S11 root skipped, with a gap, signed only by old or only by new keys, more than the cap; a long sleeper catches up', async (t) => {
  const stolen = { signers: [signerOf('new1'), signerOf('new2')], threshold: 2 };
  const cases: [string, string, (repository: TestRepository) => Promise<void>][] = [
    [
      'skips a version',
      'trust.root-chain',
      async (repository) => {
        repository.versions['root'] = 2;
        repository.files.set('metadata/2.root.json', await repository.publishRoot());
      },
    ],
    [
      'repeats its version',
      'trust.root-chain',
      (repository) => {
        repository.files.set('metadata/2.root.json', repository.get('root', 1));
        return Promise.resolve();
      },
    ],
    [
      'signed only by new keys',
      'trust.threshold',
      async (repository) => {
        repository.roles.root = stolen;
        await repository.publishRoot([]);
      },
    ],
    [
      'signed only by old keys',
      'trust.threshold',
      async (repository) => {
        const old = repository.roles.root.signers;
        repository.roles.root = stolen;
        const signed = (JSON.parse(Buffer.from(await repository.publishRoot([])).toString()) as { signed: JsonObject }).signed;
        repository.files.set('metadata/2.root.json', await signRaw(signed, old));
      },
    ],
    [
      'signed by one old key of two',
      'trust.threshold',
      async (repository) => {
        const [one] = repository.roles.root.signers;
        repository.roles.root = stolen;
        await repository.publishRoot(one === undefined ? [] : [one]);
      },
    ],
    [
      'more than the cap',
      'trust.root-chain',
      async (repository) => {
        for (let at = 0; at < 6; at++) await repository.publishRoot();
      },
    ],
  ];
  for (const [says, code, attack] of cases) {
    const { repository, client } = await victim(t, undefined, { rootRotations: 5 });
    await attack(repository);
    repository.now += 1000;
    await repository.publishTimestamp();
    await assert.rejects(client.refresh(repository.fetcher), { code }, says);
    assert.equal(client.versions()?.timestamp, 1);
  }
  // A gap in the middle hides what follows; a whole chain is walked, each with keys of its own.
  const { repository, client } = await victim(t);
  for (let at = 0; at < 60; at++) {
    repository.roles.root = { signers: [signerOf(`g${at}a`), signerOf(`g${at}b`)], threshold: 2 };
    await repository.publishRoot();
  }
  await repository.publish();
  const hidden = repository.get('root', 30);
  repository.files.delete('metadata/30.root.json');
  assert.equal((await client.refresh(repository.fetcher)).versions.root, 29);
  repository.files.set('metadata/30.root.json', hidden);
  await repository.publish();
  assert.equal((await client.refresh(repository.fetcher)).versions.root, 61);
});
