// Keys: the vectors of the RFCs, tweetnacl and node:crypto against each other, keys at rest, and signers of every sort.
import assert from 'node:assert/strict';
import { createPublicKey, diffieHellman, generateKeyPairSync, verify } from 'node:crypto';
import * as fs from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import * as fc from 'fast-check';
import nacl from 'tweetnacl';
import { run } from '#manifests/platform/process';
import { malleated } from '../testing/malleated.ts';
import { temporaryFolder } from '../testing/repository.ts';
import { keyIdOf, type TufKey, tufKeyOf, verifyOne } from '../verify/keys.ts';
import { checkBoxKey, checkSigningKey } from '../verify/points.ts';
import { readKeyFile, writeKeyFile } from './file.ts';
import { boxKeyObject, generateBoxKey, generateSigningKey, signingKeyObject } from './pairs.ts';
import { commandSigner, fileSigner, memorySigner } from './signers.ts';

const bytes = (hex: string) => Uint8Array.from(Buffer.from(hex, 'hex'));
const hex = (data: Uint8Array) => Buffer.from(data).toString('hex');

test('RFC 8032, 7.1: test vectors of Ed25519', () => {
  const vectors = [
    [
      '9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60',
      'd75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a',
      '',
      'e5564300c360ac729086e2cc806e828a84877f1eb8e5d974d873e065224901555fb8821590a33bacc61e39701cf9b46bd25bf5f0595bbe24655141438e7a100b',
    ],
    [
      '4ccd089b28ff96da9db6c346ec114e0f5b8a319f35aba624da8cf6ed4fb8a6fb',
      '3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c',
      '72',
      '92a009a9f0d4cab8720e820b5f642540a2b27b5416503f8fb3762223ebdb69da085ac1e43e15996e458f3613d0f11d8c387b2eaeb4302aeeb00d291612bb0c00',
    ],
    [
      'c5aa8df43f9f837bedb7442f31dcb7b166d38535076f094b85ce3a2e0b4458f7',
      'fc51cd8e6218a1a38da47ed00230f0580816ed13ba3303ac5deb911548908025',
      'af82',
      '6291d657deec24024827e69c3abe01a30ce548a284743a445e3680d7db5ac3ac18ff9b538d16f290ae67f760984dc6594a7c15e9716ed28dc027beceea1ec40a',
    ],
  ];
  for (const [secret = '', publicKey = '', message = '', signature = ''] of vectors) {
    const pair = generateSigningKey(() => bytes(secret));
    assert.equal(pair.publicKey, publicKey);
    checkSigningKey(publicKey);
    assert.equal(hex(nacl.sign.detached(bytes(message), pair.secretKey)), signature);
    assert.equal(verifyOne(tufKeyOf(publicKey), bytes(message), signature), true);
    assert.equal(verifyOne(tufKeyOf(publicKey), bytes(`${message}00`), signature), false);
  }
});

test('RFC 7748: the key agreement of 6.1, and the function of 5.2', () => {
  const alice = generateBoxKey(() => bytes('77076d0a7318a57d3c16c17251b26645df4c2f87ebc0992ab177fba51db92c2a'));
  const bob = generateBoxKey(() => bytes('5dab087e624a8a4b79e17f8b83800ee66f3bb1292618b6fd1c2f8b27ff88e0eb'));
  assert.equal(alice.publicKey, '8520f0098930a754748b7ddcb43ef75a0dbf3a0d26381af4eba4a98eaa9b4e6a');
  const secret = diffieHellman({ privateKey: boxKeyObject(alice), publicKey: createPublicKey(boxKeyObject(bob)) });
  assert.equal(hex(secret), '4a5d9d5ba4ce2de1728e3bf480350f25e07e21c947d19e3376f09b3c1e161742');
  assert.equal(bob.publicKey, 'de9edb7d7b7dc1b4d35b61c2ece435373f8343c85b78674dadfc7e146f882b4f');
  const rows = [
    [
      'a546e36bf0527c9d3b16154b82465edd62144c0ac1fc5a18506a2244ba449ac4',
      'e6db6867583030db3594c1a424b15f7c726624ec26b3353b10a903a6d0ab1c4c',
      'c3da55379de9c6908e94ea4df28d084f32eccf03491c71f754b4075577a28552',
    ],
  ];
  for (const [scalar = '', point = '', wanted = ''] of rows) {
    const privateKey = boxKeyObject(generateBoxKey(() => bytes(scalar)));
    const publicKey = createPublicKey({
      key: { kty: 'OKP', crv: 'X25519', x: Buffer.from(point, 'hex').toString('base64url') },
      format: 'jwk',
    });
    assert.equal(hex(diffieHellman({ privateKey, publicKey })), wanted);
    assert.equal(hex(nacl.scalarMult(bytes(scalar), bytes(point))), wanted);
  }
});

test('tweetnacl and node:crypto agree on every signature and every agreed secret, malleated ones apart', () => {
  fc.assert(
    fc.property(
      fc.uint8Array({ minLength: 32, maxLength: 32 }),
      fc.uint8Array({ maxLength: 300 }),
      fc.nat(511),
      (seed, message, flip) => {
        const pair = generateSigningKey(() => seed);
        const theirs = createPublicKey(signingKeyObject(pair));
        const signature = nacl.sign.detached(Uint8Array.from(message), pair.secretKey);
        assert.equal(verify(null, message, theirs, signature), true);
        const changed = Uint8Array.from(signature);
        changed[flip >>> 3] = (changed[flip >>> 3] ?? 0) ^ (1 << (flip & 7));
        const naclSays = nacl.sign.detached.verify(Uint8Array.from(message), changed, bytes(pair.publicKey));
        assert.equal(verify(null, message, theirs, changed), naclSays);
        // S + L: tweetnacl accepts it (so that a signature is never an identity), node:crypto and we do not.
        const plusL = Uint8Array.from(malleated(signature));
        assert.equal(nacl.sign.detached.verify(Uint8Array.from(message), plusL, bytes(pair.publicKey)), true);
        assert.equal(verifyOne(tufKeyOf(pair.publicKey), message, hex(plusL)), false);

        const one = generateBoxKey(() => seed);
        const two = generateBoxKey();
        const node = diffieHellman({ privateKey: boxKeyObject(one), publicKey: createPublicKey(boxKeyObject(two)) });
        assert.equal(hex(node), hex(nacl.scalarMult(one.secretKey, bytes(two.publicKey))));
        checkBoxKey(one.publicKey);
        checkSigningKey(pair.publicKey);
      },
    ),
    { numRuns: 40 },
  );
});

test('keys at rest: 0600, never overwritten, opened only by the passphrase, any change is noticed', async (t) => {
  const folder = temporaryFolder(t);
  const pair = generateSigningKey();
  const plain = join(folder, 'plain.key');
  writeKeyFile(plain, { kind: 'sign', ...pair });
  assert.equal(fs.statSync(plain).mode & 0o777, 0o600);
  assert.deepEqual(await readKeyFile(plain), { kind: 'sign', ...pair });
  assert.throws(() => writeKeyFile(plain, { kind: 'sign', ...generateSigningKey() }), { code: 'trust.key-file' });
  assert.deepEqual(await readKeyFile(plain), { kind: 'sign', ...pair });
  fs.chmodSync(plain, 0o640);
  await assert.rejects(readKeyFile(plain), { code: 'trust.key-file' });
  await assert.rejects(readKeyFile(join(folder, 'none.key')), { code: 'trust.key-file' });

  const sealed = join(folder, 'sealed.key');
  const box = generateBoxKey();
  writeKeyFile(sealed, { kind: 'box', ...box }, 'correct horse');
  const text = fs.readFileSync(sealed, 'utf8');
  assert.ok(!text.includes(hex(box.secretKey)));
  const header = JSON.parse(text) as { kdf: { N: number }; kind: string; publicKey: string };
  assert.ok(header.kdf.N >= 2 ** 17);
  assert.deepEqual(await readKeyFile(sealed, () => 'correct horse'), { kind: 'box', ...box });
  await assert.rejects(
    readKeyFile(sealed, () => 'wrong horse'),
    { code: 'trust.passphrase' },
  );
  await assert.rejects(readKeyFile(sealed), { code: 'trust.passphrase' });
  // The header is authenticated: another kind, key or salt opens nothing; weaker or endless stretching is not even tried.
  const changes: [string, string, string][] = [
    ['"kind":"box"', '"kind":"sign"', 'trust.passphrase'],
    [box.publicKey, generateBoxKey().publicKey, 'trust.passphrase'],
    ['"N":131072', '"N":65536', 'trust.key-file'],
    ['"N":131072', '"N":1073741824', 'trust.key-file'],
    ['"N":131072', '"N":131073', 'trust.key-file'],
    ['"r":8', '"r":1', 'trust.key-file'],
    ['xsalsa20', 'none', 'trust.key-file'],
    ['"formatVersion":1', '"formatVersion":2', 'trust.key-file'],
  ];
  for (const [from, to, code] of changes) {
    assert.ok(text.includes(from), from);
    fs.writeFileSync(sealed, text.replace(from, to));
    await assert.rejects(
      readKeyFile(sealed, () => 'correct horse'),
      { code },
      `${from} to ${to}`,
    );
  }
  for (const at of [0, 10, Math.floor(text.length / 2)]) {
    fs.writeFileSync(sealed, text.slice(0, at));
    await assert.rejects(
      readKeyFile(sealed, () => 'correct horse'),
      { code: 'trust.key-file' },
    );
  }
  // A file put together from two keys.
  const mixed = join(folder, 'mixed.key');
  writeKeyFile(mixed, { kind: 'sign', publicKey: generateSigningKey().publicKey, secretKey: pair.secretKey });
  await assert.rejects(readKeyFile(mixed), { code: 'trust.key-file' });
});

test('file signer and command signer; a program that signs wrongly is found out at once', async (t) => {
  const folder = temporaryFolder(t);
  const pair = generateSigningKey();
  const path = join(folder, 'k.key');
  writeKeyFile(path, { kind: 'sign', ...pair });
  const message = Buffer.from('message');
  const signer = await fileSigner(path);
  const wanted = hex(await signer.sign(message));
  assert.equal(verifyOne(signer.key, message, wanted), true);
  assert.equal(hex(await memorySigner(pair).sign(message)), wanted);
  const boxPath = join(folder, 'b.key');
  writeKeyFile(boxPath, { kind: 'box', ...generateBoxKey() });
  await assert.rejects(fileSigner(boxPath), { code: 'trust.key-file' });

  const ec = generateKeyPairSync('ec', {
    namedCurve: 'P-256',
    publicKeyEncoding: { type: 'spki', format: 'pem' },
    privateKeyEncoding: { type: 'pkcs8', format: 'pem' },
  });
  fs.writeFileSync(join(folder, 'ec.pem'), ec.privateKey, { mode: 0o600 });
  const ecKey: TufKey = { keytype: 'ecdsa', scheme: 'ecdsa-sha2-nistp256', keyval: { public: ec.publicKey } };
  const script =
    "const c=require('crypto'),f=require('fs');process.stdout.write(c.sign('sha256',f.readFileSync(0),f.readFileSync(process.argv[1])).toString('hex'))";
  const external = commandSigner({ key: ecKey, command: process.execPath, args: ['-e', script, join(folder, 'ec.pem')] });
  assert.equal(external.keyId, keyIdOf(ecKey));
  assert.equal(verifyOne(ecKey, message, hex(await external.sign(message))), true);
  const liar = commandSigner({ key: signer.key, command: process.execPath, args: ['-e', script, join(folder, 'ec.pem')] });
  await assert.rejects(liar.sign(message), { code: 'trust.signer' });
  const failing = commandSigner({ key: signer.key, command: process.execPath, args: ['-e', 'process.exit(3)'] });
  await assert.rejects(failing.sign(message), { code: 'trust.signer' });
  const hanging = commandSigner({
    key: signer.key,
    command: process.execPath,
    args: ['-e', 'setInterval(() => {}, 1000)'],
    timeoutMs: 500,
  });
  await assert.rejects(hanging.sign(message), { code: 'trust.signer' });
});

const MODULES = [
  '/usr/lib/softhsm/libsofthsm2.so',
  '/usr/lib/x86_64-linux-gnu/softhsm/libsofthsm2.so',
  '/usr/lib/aarch64-linux-gnu/softhsm/libsofthsm2.so',
];

test('a PKCS#11 token signs metadata: SoftHSM through pkcs11-tool, Ed25519 and ECDSA P-256', async (t) => {
  const module = MODULES.find((path) => fs.existsSync(path));
  if (module === undefined) return t.skip('SoftHSM is not installed (packages softhsm2 and opensc)');
  const folder = temporaryFolder(t);
  fs.mkdirSync(join(folder, 'tokens'));
  fs.writeFileSync(
    join(folder, 'softhsm2.conf'),
    `directories.tokendir = ${join(folder, 'tokens')}\nobjectstore.backend = file\nlog.level = ERROR\n`,
  );
  const env = { PATH: process.env['PATH'] ?? '', SOFTHSM2_CONF: join(folder, 'softhsm2.conf'), LC_ALL: 'C.UTF-8', PIN: '1234' };
  const tool = async (...args: string[]) => {
    const ran = await run('pkcs11-tool', ['--module', module, ...args], { timeoutMs: 60_000, env });
    assert.equal(ran.code, 0, ran.stderr);
  };
  await tool('--init-token', '--slot-index', '0', '--label', 'test', '--so-pin', '12345678');
  await tool('--token-label', 'test', '--login', '--login-type', 'so', '--so-pin', '12345678', '--init-pin', '--pin', '1234');
  const login = ['--token-label', 'test', '--login', '--pin', 'env:PIN'];
  const kinds = [
    { id: '01', type: 'EC:edwards25519', mechanism: ['--mechanism', 'EDDSA', '--input-file', '{in}'] },
    {
      id: '02',
      type: 'EC:prime256v1',
      mechanism: ['--mechanism', 'ECDSA', '--signature-format', 'openssl', '--input-file', '{sha256}'],
    },
  ];
  for (const { id, type, mechanism } of kinds) {
    await tool(...login, '--keypairgen', '--key-type', type, '--id', id);
    await tool(...login, '--read-object', '--type', 'pubkey', '--id', id, '--output-file', join(folder, `${id}.der`));
    const read = fs.readFileSync(join(folder, `${id}.der`)); // this tool writes PEM for one type and DER for the other
    const object = read.toString('latin1').startsWith('-----')
      ? createPublicKey(read)
      : createPublicKey({ key: read, format: 'der', type: 'spki' });
    const der = object.export({ type: 'spki', format: 'der' });
    const key: TufKey =
      id === '01'
        ? tufKeyOf(der.subarray(-32).toString('hex'))
        : {
            keytype: 'ecdsa',
            scheme: 'ecdsa-sha2-nistp256',
            keyval: {
              public: object.export({ type: 'spki', format: 'pem' }),
            },
          };
    const signer = commandSigner({
      key,
      command: 'pkcs11-tool',
      args: ['--module', module, ...login, '--sign', '--id', id, ...mechanism, '--output-file', '{out}'],
      env,
    });
    const { buildTargets } = await import('../write/build.ts');
    const { holdingSignatures, signMetadata } = await import('../write/sign.ts');
    const file = await signMetadata(buildTargets({ version: 1, expires: Date.parse('2030-01-01T00:00:00Z') }), [signer]);
    const { readKey } = await import('../verify/keys.ts');
    assert.deepEqual(
      holdingSignatures(file, [readKey(signer.keyId, { ...key, keyval: { ...key.keyval } }, 'test')]),
      [signer.keyId],
      type,
    );
  }
});
