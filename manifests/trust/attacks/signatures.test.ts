// S1 to S4, S16, S19: files nobody signed, too few signers, keys that count twice, and signatures and hashes that prove nothing.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import nacl from 'tweetnacl';
import { openTrust } from '../client.ts';
import type { Signer } from '../keys/signers.ts';
import { malleated } from '../testing/malleated.ts';
import { signerOf, signRaw, T0, TestRepository, temporaryFolder } from '../testing/repository.ts';
import { canonicalBytes } from '../verify/canonical.ts';
import type { JsonObject } from '../verify/json.ts';
import { keyIdOf, verifyOne } from '../verify/keys.ts';
import { checkBoxKey, checkSigningKey } from '../verify/points.ts';
import { trustedRoot } from '../verify/workflow.ts';
import { buildRoot, buildTargets } from '../write/build.ts';
import { sortedBytes } from '../write/bytes.ts';

type Context = { after(fn: () => void): void };

/** A client on a first honest publication, and the check that a following refresh is refused while the old state stays. */
async function victim(t: Context, repository = new TestRepository().add('a.txt')) {
  await repository.publish();
  const client = openTrust({ folder: temporaryFolder(t), pinnedRoot: repository.get('root'), now: () => repository.now });
  await client.refresh(repository.fetcher);
  const before = client.versions();
  const refused = async (code: string) => {
    await assert.rejects(client.refresh(repository.fetcher), { code });
    assert.equal(client.versions()?.targets, before?.targets);
    assert.equal(client.target('a.txt')?.role, 'targets');
  };
  return { repository, client, refused };
}

const parse = (bytes: Uint8Array) =>
  JSON.parse(Buffer.from(bytes).toString()) as { signed: JsonObject; signatures: { keyid: string; sig: string }[] };

test('S1 unsigned or garbage root, timestamp, snapshot, targets', async (t) => {
  for (const name of ['root', 'timestamp', 'snapshot', 'targets']) {
    const variants: [string, (honest: Uint8Array) => Uint8Array, string][] = [
      ['unsigned', (honest) => sortedBytes({ ...parse(honest), signatures: [] }), 'trust.threshold'],
      ['garbage', () => Buffer.from([0xff, 0xfe, 0, 1]), 'trust.malformed'],
      ['html', () => Buffer.from('<html>log in to the hotel network</html>'), 'trust.malformed'],
      ['empty', () => new Uint8Array(0), 'trust.malformed'],
      ['null', () => Buffer.from('null'), 'trust.malformed'],
    ];
    for (const [says, spoil, code] of variants) {
      const { repository, refused } = await victim(t);
      repository.bare = true; // no hashes above it: its own signature is the only guard
      if (name === 'root') await repository.publishRoot();
      await repository.publish();
      const version = repository.versions[name] ?? 0;
      const path =
        name === 'root'
          ? `metadata/${version}.root.json`
          : name === 'timestamp'
            ? 'metadata/timestamp.json'
            : repository.pathOf(name, version);
      repository.files.set(path, spoil(repository.get(name)));
      await refused(code).catch((error: Error) => assert.fail(`${name} ${says}: ${error.message}`));
    }
  }
});

test('S2 one signature less than the threshold', async (t) => {
  for (const name of ['timestamp', 'snapshot', 'targets'] as const) {
    const repository = new TestRepository().add('a.txt');
    repository.roles[name] = { signers: [signerOf('p'), signerOf('q'), signerOf('r')], threshold: 3 };
    const { refused } = await victim(t, repository);
    const all = repository.roles[name].signers;
    repository.roles[name].signers = all.slice(0, 2);
    await repository.publish();
    await refused('trust.threshold');
    // The same key's signature once more is no third one.
    const bytes = await signRaw(parse(repository.get('timestamp')).signed, [
      all[0] as Signer,
      all[0] as Signer,
      all[1] as Signer,
    ]);
    if (name === 'timestamp') {
      repository.files.set('metadata/timestamp.json', bytes);
      await refused('trust.key-id');
    }
  }
});

test('S3 one key under two key ids, and a key id that is not the hash of its key', async (t) => {
  const signer = signerOf('twice');
  const honest = parse(await new TestRepository().publishRoot()).signed;
  const roles = honest['roles'] as JsonObject;
  const keys = honest['keys'] as JsonObject;
  const entry = { ...signer.key, keyval: { ...signer.key.keyval } };
  // A second id that is a true hash of the same key, by a member that a hash over the whole entry takes in.
  const spelledAnew = { ...entry, 'x-note': 'again' };
  const secondId = (await import('node:crypto')).hash('sha256', canonicalBytes(spelledAnew));
  const spellings: [string, JsonObject, string[]][] = [
    ['invented second id', { ...keys, [signer.keyId]: entry, ['ab'.repeat(32)]: entry }, [signer.keyId, 'ab'.repeat(32)]],
    ['hash of another spelling', { ...keys, [signer.keyId]: entry, [secondId]: spelledAnew }, [signer.keyId, secondId]],
    ['listed twice', { ...keys, [signer.keyId]: entry }, [signer.keyId, signer.keyId]],
    ['only an invented id', { ...keys, ['cd'.repeat(32)]: entry }, ['cd'.repeat(32)]],
  ];
  for (const [says, newKeys, keyids] of spellings) {
    const signed = { ...honest, keys: newKeys, roles: { ...roles, timestamp: { keyids, threshold: keyids.length } } };
    const bytes = await signRaw(signed, new TestRepository().roles.root.signers);
    assert.throws(() => trustedRoot(bytes), { code: 'trust.key-id' }, says);
    const { repository, refused } = await victim(t);
    repository.files.set('metadata/2.root.json', await signRaw({ ...signed, version: 2 }, repository.roles.root.signers));
    repository.now += 1000;
    await repository.publish('timestamp');
    await refused('trust.key-id');
  }
});

test('S4 threshold zero, negative, fractional, or written as text', async () => {
  const repository = new TestRepository();
  const honest = parse(await repository.publishRoot()).signed;
  for (const role of ['root', 'targets', 'snapshot', 'timestamp']) {
    for (const threshold of [0, -1, '1', null, true]) {
      const roles = structuredClone(honest['roles']) as Record<string, JsonObject>;
      (roles[role] as JsonObject)['threshold'] = threshold;
      const bytes = await signRaw({ ...honest, roles }, repository.roles.root.signers);
      assert.throws(() => trustedRoot(bytes), { code: 'trust.threshold' }, `${role} ${threshold}`);
    }
  }
  for (const number of ['0.5', '1.5', '1e0', '-0.1']) {
    const text = Buffer.from(repository.get('root')).toString().replace('"threshold":1', `"threshold":${number}`);
    assert.throws(() => trustedRoot(Buffer.from(text)), { code: 'trust.malformed' }, number);
  }
  // A writer cannot make such a role, nor one with a threshold that its keys can never reach.
  const key = signerOf('k').key;
  const role = { keys: [key], threshold: 1 };
  for (const threshold of [0, -1, 1.5, 2]) {
    const input = {
      version: 1,
      expires: T0,
      roles: { root: role, targets: { keys: [key], threshold }, snapshot: role, timestamp: role },
    };
    assert.throws(() => buildRoot(input), /threshold|integer/);
  }
});

test('S16 malleated signature, upper-case, trailing or short hex: such a signature counts as none', async (t) => {
  const { repository, refused } = await victim(t);
  await repository.publish('timestamp');
  const file = parse(repository.get('timestamp'));
  const honest = file.signatures[0] as { keyid: string; sig: string };
  const signer = repository.roles.timestamp.signers[0] as Signer;
  const changed = malleated(Buffer.from(honest.sig, 'hex'));
  assert.equal(
    nacl.sign.detached.verify(
      Uint8Array.from(canonicalBytes(file.signed)),
      Uint8Array.from(changed),
      Buffer.from(signer.key.keyval.public, 'hex'),
    ),
    true,
  );
  for (const sig of [
    Buffer.from(changed).toString('hex'),
    honest.sig.toUpperCase(),
    `${honest.sig}zz`,
    `${honest.sig}00`,
    honest.sig.slice(2),
    ` ${honest.sig}`,
    '',
  ]) {
    repository.files.set('metadata/timestamp.json', sortedBytes({ ...file, signatures: [{ ...honest, sig }] }));
    await refused('trust.threshold');
  }
});

/** The eight points of order 1, 2, 4, 8 and their non-canonical spellings (y + p), as listed in the literature. */
const SMALL_ORDER_ED25519 = [
  '0100000000000000000000000000000000000000000000000000000000000000',
  'ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f',
  '0000000000000000000000000000000000000000000000000000000000000080',
  '0000000000000000000000000000000000000000000000000000000000000000',
  'c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a',
  'c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac03fa',
  '26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05',
  '26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc85',
  '0100000000000000000000000000000000000000000000000000000000000080',
  'edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f',
  'eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f',
  'ffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff',
];
const SMALL_ORDER_X25519 = [
  '0000000000000000000000000000000000000000000000000000000000000000',
  '0100000000000000000000000000000000000000000000000000000000000000',
  'e0eb7a7c3b41b8ae1656e3faf19fc46ada098deb9c32b1fd866205165f49b800',
  '5f9c95bca3508c24b1d0b1559c83ef5b04445cc4581c8e86d8224eddd09f1157',
  'ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f',
  'edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f',
  'eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f',
];

test('S16 small-order, non-canonical and off-curve keys are refused where keys enter', async () => {
  for (const hex of SMALL_ORDER_ED25519) assert.throws(() => checkSigningKey(hex), { code: 'trust.weak-key' }, hex);
  for (const hex of SMALL_ORDER_X25519) assert.throws(() => checkBoxKey(hex), { code: 'trust.weak-key' }, hex);
  assert.throws(() => checkSigningKey(`02${'00'.repeat(31)}`), { code: 'trust.weak-key' }); // y = 2 is no point of the curve
  for (const bad of ['', 'zz', signerOf('x').key.keyval.public.toUpperCase(), `${signerOf('x').key.keyval.public}00`]) {
    assert.throws(() => checkSigningKey(bad), { code: 'trust.weak-key' });
  }
  for (let at = 0; at < 50; at++) checkSigningKey(signerOf(`key ${at}`).key.keyval.public);

  const honest = parse(await new TestRepository().publishRoot()).signed;
  const weak = { keytype: 'ed25519', scheme: 'ed25519', keyval: { public: SMALL_ORDER_ED25519[0] as string } };
  const keys = { ...(honest['keys'] as JsonObject), [keyIdOf(weak)]: weak };
  const bytes = await signRaw({ ...honest, keys }, new TestRepository().roles.root.signers);
  assert.throws(() => trustedRoot(bytes), { code: 'trust.weak-key' });
  assert.throws(() => verifyOne(weak, Buffer.from('any'), '00'.repeat(64)), { code: 'trust.weak-key' });
});

test('S19 empty or weak hashes', async (t) => {
  const weak: JsonObject[] = [
    {},
    { md5: 'd41d8cd98f00b204e9800998ecf8427e' },
    { sha1: 'da39a3ee5e6b4b0d3255bfef95601890afd80709' },
    { sha256: '' },
    { sha256: 'AB'.repeat(32) },
  ];
  for (const hashes of weak) {
    for (const where of ['targets', 'snapshot', 'timestamp']) {
      const { repository, refused } = await victim(t);
      repository.changes.set(where, (signed) => {
        const list = Object.values((where === 'targets' ? signed['targets'] : signed['meta']) as JsonObject) as JsonObject[];
        for (const entry of list) entry['hashes'] = hashes;
        return signed;
      });
      await repository.publish();
      await refused('trust.weak-hash');
    }
  }
  assert.throws(() => buildTargets({ version: 1, expires: T0, targets: [{ path: 'x', length: 1, sha256: '' }] }), {
    code: 'trust.weak-hash',
  });
});
