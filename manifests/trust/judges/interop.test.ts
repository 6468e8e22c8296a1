// Other clients read what we write, and we read what others write: tuf-js and @tufjs/models, over files and over HTTP.
import assert from 'node:assert/strict';
import { constants, sign as cryptoSign, generateKeyPairSync, hash, type KeyObject } from 'node:crypto';
import { test } from 'node:test';
import * as models from '@tufjs/models';
import { openTrust } from '../client.ts';
import type { Signer } from '../keys/signers.ts';
import { DAY, signerOf, T0, TestRepository, temporaryFolder } from '../testing/repository.ts';
import { judge, serve } from '../testing/tufjs.ts';
import { keyIdOf, type TufKey } from '../verify/keys.ts';

test('a repository written by us is read by tuf-js, delegations and bins included', async (t) => {
  for (const consistent of [true, false]) {
    const repository = new TestRepository().add('a.txt').add('dir/b.txt');
    repository.now = Date.now();
    repository.consistent = consistent;
    repository.delegate({ name: 'policy', signers: [signerOf('p1'), signerOf('p2')], threshold: 2, paths: ['policy/*/*'] });
    repository.delegate({
      name: 'h',
      signers: [signerOf('h')],
      threshold: 1,
      pathHashPrefixes: [hash('sha256', 'hashed').slice(0, 2)],
    });
    repository.add('policy/groups/servers.json', 'group', 'policy').add('hashed', 'by hash', 'h');
    const pinned = await repository.publishRoot();
    await repository.publishRoot();
    await repository.publish();
    const server = await serve(t, repository);
    for (const [path, content] of [
      ['a.txt', 'content of a.txt'],
      ['dir/b.txt', 'content of dir/b.txt'],
      ['policy/groups/servers.json', 'group'],
      ['hashed', 'by hash'],
    ]) {
      const said = await judge(t, server, pinned, path);
      assert.deepEqual(said, { verdict: 'accepted', content }, `${path} ${consistent}`);
    }
  }
  const bins = new TestRepository();
  bins.now = Date.now();
  bins.bins = { signers: [signerOf('bins')], threshold: 1, bits: 2, prefix: 'bin' };
  for (let at = 0; at < 4; at++) bins.contents.set(`bin-${at}`, new Map());
  for (let at = 0; at < 9; at++)
    bins.add(`f${at}`, `c${at}`, `bin-${Number.parseInt(hash('sha256', `f${at}`).slice(0, 1), 16) >>> 2}`);
  await bins.publish();
  const server = await serve(t, bins);
  assert.deepEqual(await judge(t, server, bins.get('root'), 'f3'), { verdict: 'accepted', content: 'c3' });
});

interface ModelSigner {
  key: models.Key;
  sign(bytes: Buffer): models.Signature;
}
function modelSigner(keytype: string, scheme: string, publicText: string, privateKey: KeyObject): ModelSigner {
  const keyID = keyIdOf({ keytype, scheme, keyval: { public: publicText } });
  const key = new models.Key({ keyID, keyType: keytype, scheme, keyVal: { public: publicText } });
  const how = { key: privateKey, padding: constants.RSA_PKCS1_PSS_PADDING, saltLength: constants.RSA_PSS_SALTLEN_DIGEST };
  return {
    key,
    sign: (bytes) => {
      const sig =
        keytype === 'ed25519'
          ? cryptoSign(null, bytes, privateKey)
          : cryptoSign('sha256', bytes, keytype === 'rsa' ? how : privateKey);
      return new models.Signature({ keyID, sig: sig.toString('hex') });
    },
  };
}
const pem = (key: KeyObject) => key.export({ type: 'spki', format: 'pem' });

test('a repository written with @tufjs/models is read by us: Ed25519, ECDSA P-256 and RSA-PSS', async (t) => {
  const ed = generateKeyPairSync('ed25519');
  const ec = generateKeyPairSync('ec', { namedCurve: 'P-256' });
  const rsa = generateKeyPairSync('rsa', { modulusLength: 2048 });
  const raw = ed.publicKey.export({ type: 'spki', format: 'der' }).subarray(-32).toString('hex');
  const signers = [
    modelSigner('ed25519', 'ed25519', raw, ed.privateKey),
    modelSigner('ecdsa', 'ecdsa-sha2-nistp256', pem(ec.publicKey), ec.privateKey),
    modelSigner('rsa', 'rsassa-pss-sha256', pem(rsa.publicKey), rsa.privateKey),
  ];
  const expires = new Date(T0 + DAY).toISOString().replace('.000Z', 'Z');
  const content = 'hello';
  const common = { version: 1, specVersion: '1.0.31', expires };
  const targets = new models.Metadata(new models.Targets(common));
  targets.signed.addTarget(
    new models.TargetFile({ path: 'x', length: content.length, hashes: { sha256: hash('sha256', content) } }),
  );
  const snapshot = new models.Metadata(
    new models.Snapshot({ ...common, meta: { 'targets.json': new models.MetaFile({ version: 1 }) } }),
  );
  const timestamp = new models.Metadata(new models.Timestamp({ ...common, snapshotMeta: new models.MetaFile({ version: 1 }) }));
  const root = new models.Metadata(new models.Root({ ...common, consistentSnapshot: true }));
  const files = new Map<string, Uint8Array>();
  for (const name of ['root', 'targets', 'snapshot', 'timestamp']) {
    for (const signer of signers) root.signed.addKey(signer.key, name);
    Object.assign(root.signed.roles[name] ?? {}, { threshold: 3 }); // all three schemes must hold for every role
  }
  for (const [path, metadata] of [
    ['1.root.json', root],
    ['1.targets.json', targets],
    ['1.snapshot.json', snapshot],
    ['timestamp.json', timestamp],
  ] as const) {
    for (const signer of signers) metadata.sign((bytes) => signer.sign(bytes));
    files.set(`metadata/${path}`, Buffer.from(JSON.stringify(metadata.toJSON(), undefined, 2)));
  }
  files.set(`targets/${hash('sha256', content)}.x`, Buffer.from(content));
  const client = openTrust({ folder: temporaryFolder(t), pinnedRoot: files.get('metadata/1.root.json'), now: () => T0 });
  const fetcher = {
    fetchSmall: (path: string) => {
      const bytes = files.get(path);
      return Promise.resolve(
        bytes === undefined ? { kind: 'missing' as const } : { kind: 'found' as const, bytes, etag: undefined },
      );
    },
  };
  await client.refresh(fetcher);
  assert.equal(Buffer.from(await client.readTarget('x', fetcher)).toString(), content);
});

test('ECDSA and RSA signers of ours are read by tuf-js', async (t) => {
  const repository = new TestRepository().add('a.txt');
  repository.now = Date.now();
  const ec = generateKeyPairSync('ec', { namedCurve: 'P-256' });
  const rsa = generateKeyPairSync('rsa', { modulusLength: 2048 });
  const ecKey: TufKey = { keytype: 'ecdsa', scheme: 'ecdsa-sha2-nistp256', keyval: { public: pem(ec.publicKey) } };
  const rsaKey: TufKey = { keytype: 'rsa', scheme: 'rsassa-pss-sha256', keyval: { public: pem(rsa.publicKey) } };
  const how = { key: rsa.privateKey, padding: constants.RSA_PKCS1_PSS_PADDING, saltLength: constants.RSA_PSS_SALTLEN_DIGEST };
  const signers: Signer[] = [
    { keyId: keyIdOf(ecKey), key: ecKey, sign: (message) => Promise.resolve(cryptoSign('sha256', message, ec.privateKey)) },
    { keyId: keyIdOf(rsaKey), key: rsaKey, sign: (message) => Promise.resolve(cryptoSign('sha256', message, how)) },
  ];
  repository.roles.targets = { signers, threshold: 2 };
  await repository.publish();
  assert.equal((await judge(t, await serve(t, repository), repository.get('root'), 'a.txt')).verdict, 'accepted');
  const client = openTrust({ folder: temporaryFolder(t), pinnedRoot: repository.get('root'), now: () => repository.now });
  await client.refresh(repository.fetcher);
  assert.equal(client.target('a.txt')?.role, 'targets');
});
