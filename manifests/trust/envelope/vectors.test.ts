// The envelope format held fast: vectors made from fixed randomness, and an opener of its own made of other libraries.
import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import * as fs from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { zstdDecompressSync } from 'node:zlib';
import { chacha20poly1305 } from '@noble/ciphers/chacha.js';
import { ed25519, x25519 } from '@noble/curves/ed25519.js';
import { hkdf } from '@noble/hashes/hkdf.js';
import { sha256 } from '@noble/hashes/sha2.js';
import { agentIdOf, generateBoxKey, generateSigningKey } from '../keys/pairs.ts';
import { envelopeHash, openEnvelope, type SealInput, sealEnvelope, verifyEnvelope } from './envelope.ts';

const FILE = join(import.meta.dirname, 'fixtures/vectors.json');
const digest = (text: string) => createHash('sha256').update(text).digest();

interface Vector {
  says: string;
  kind: SealInput['kind'];
  sequence: number;
  agentSeed: string;
  recipientSecrets: string[];
  ephemeralSecret: string;
  contentKey: string;
  body: string;
  envelope: string;
}

/** Rebuilt only when the format itself changes: `UPDATE_VECTORS=1 node --test envelope/vectors.test.ts`. */
function makeVectors(): Vector[] {
  const plans: [string, SealInput['kind'], number, number, string][] = [
    ['a short result to one recipient', 'result', 1, 1, '{"a":1}'],
    ['an empty body', 'result', 0, 1, ''],
    [
      'a compressible result to three recipients',
      'result',
      9_007_199_254_740_991,
      3,
      JSON.stringify(Array.from({ length: 80 }, (_, at) => ({ at, name: 'package' }))),
    ],
    ['an enrolment', 'enrolment', 0, 2, '{"host":"web-1"}'],
    ['a waiver request', 'waiver-request', 12, 1, '{"patch":"x"}'],
  ];
  return plans.map(([says, kind, sequence, count, body], index) => {
    const vector = {
      says,
      kind,
      sequence,
      agentSeed: digest(`agent ${index}`).toString('hex'),
      recipientSecrets: Array.from({ length: count }, (_, at) => digest(`recipient ${index} ${at}`).toString('hex')),
      ephemeralSecret: digest(`ephemeral ${index}`).toString('hex'),
      contentKey: digest(`content ${index}`).toString('hex'),
      body,
    };
    return { ...vector, envelope: Buffer.from(sealed(vector)).toString('hex') };
  });
}

function sealed(vector: Omit<Vector, 'envelope'>): Uint8Array {
  const signKey = generateSigningKey(() => Buffer.from(vector.agentSeed, 'hex'));
  const random = [vector.ephemeralSecret, vector.contentKey];
  return sealEnvelope({
    body: Buffer.from(vector.body),
    kind: vector.kind,
    agent: agentIdOf(signKey.publicKey),
    sequence: vector.sequence,
    signKey,
    recipients: vector.recipientSecrets.map((secret) => generateBoxKey(() => Buffer.from(secret, 'hex')).publicKey),
    randomBytes: () => Buffer.from(random.shift() ?? '', 'hex'),
  });
}

if (process.env['UPDATE_VECTORS'] === '1') {
  fs.mkdirSync(join(FILE, '..'), { recursive: true });
  fs.writeFileSync(FILE, `${JSON.stringify(makeVectors(), undefined, 2)}\n`);
}
const vectors = JSON.parse(fs.readFileSync(FILE, 'utf8')) as Vector[];

test('vectors: the same input gives the same envelope, and it opens', () => {
  assert.equal(vectors.length, 5);
  for (const vector of vectors) {
    const bytes = Buffer.from(vector.envelope, 'hex');
    // Compression may differ between versions of zstd; all else is fixed. The kept envelope must open in any case.
    if (vector.body.length < 200) assert.equal(Buffer.from(sealed(vector)).toString('hex'), vector.envelope, vector.says);
    const signKey = generateSigningKey(() => Buffer.from(vector.agentSeed, 'hex')).publicKey;
    assert.equal(verifyEnvelope(bytes, signKey).sequence, vector.sequence);
    for (const secret of vector.recipientSecrets) {
      const recipient = generateBoxKey(() => Buffer.from(secret, 'hex'));
      assert.equal(Buffer.from(openEnvelope(bytes, { recipient, signKey }).body).toString(), vector.body);
    }
    assert.equal(envelopeHash(bytes), createHash('sha256').update(bytes).digest('hex'));
  }
});

const utf8 = (text: string) => Uint8Array.from(Buffer.from(text));

/** Another implementation, written from the table in README.md on the noble libraries: nothing of it is shared with ours. */
function openIndependently(bytes: Uint8Array, secret: Uint8Array): string {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
  const count = view.getUint8(5);
  const start = 96 + 80 * count + 4;
  const signKey = bytes.slice(32, 64);
  const recipients = Array.from({ length: count }, (_, at) => bytes.slice(96 + 80 * at, 128 + 80 * at));
  const outer = Uint8Array.from([...utf8('patchferry envelope 1 outer\n'), ...sha256(bytes.slice(0, -64))]);
  assert.ok(ed25519.verify(bytes.slice(-64), outer, signKey));
  const own = x25519.getPublicKey(secret);
  const index = recipients.findIndex((key) => key.every((byte, at) => byte === own[at]));
  const shared = x25519.getSharedSecret(secret, bytes.slice(64, 96));
  const wrapKey = hkdf(
    sha256,
    shared,
    Uint8Array.from([...bytes.slice(64, 96), ...own]),
    utf8('patchferry envelope 1 wrap'),
    32,
  );
  const nonce = new Uint8Array(12);
  const contentKey = chacha20poly1305(wrapKey, nonce, bytes.slice(0, 96)).decrypt(
    bytes.slice(128 + 80 * index, 176 + 80 * index),
  );
  const content = chacha20poly1305(contentKey, nonce, bytes.slice(0, start)).decrypt(bytes.slice(start, -64));
  const inside = new DataView(content.buffer, content.byteOffset, content.length);
  const stored = content.slice(73, 73 + inside.getUint32(65));
  const body = content[64] === 1 ? Uint8Array.from(zstdDecompressSync(stored)) : stored;
  assert.equal(body.length, inside.getUint32(69));
  const parts = [
    utf8('patchferry envelope 1 inner\n'),
    bytes.slice(0, 96),
    Uint8Array.from([count]),
    ...recipients,
    sha256(body),
  ];
  assert.ok(ed25519.verify(content.slice(0, 64), Uint8Array.from(parts.flatMap((part) => [...part])), signKey));
  return Buffer.from(body).toString();
}

test('vectors: an independent implementation reads the same bodies', () => {
  for (const vector of vectors) {
    for (const secret of vector.recipientSecrets) {
      assert.equal(
        openIndependently(Uint8Array.from(Buffer.from(vector.envelope, 'hex')), Uint8Array.from(Buffer.from(secret, 'hex'))),
        vector.body,
        vector.says,
      );
    }
  }
});
