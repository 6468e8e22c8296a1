// The envelope format held fast: vectors made from fixed randomness, and an opener of its own made with tweetnacl and plain steps.
import assert from 'node:assert/strict';
import { createDecipheriv, createHash, hkdfSync } from 'node:crypto';
import * as fs from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { zstdDecompressSync } from 'node:zlib';
import nacl from 'tweetnacl';
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

/** Another implementation, written from the table in README.md: tweetnacl for the curve and signatures, HKDF as one call. */
function openIndependently(bytes: Buffer, secret: Uint8Array): string {
  const count = bytes.readUInt8(5);
  const start = 96 + 80 * count + 4;
  const outer = Buffer.concat([
    Buffer.from('patchferry envelope 1 outer\n'),
    createHash('sha256').update(bytes.subarray(0, -64)).digest(),
  ]);
  const signKey = Uint8Array.from(bytes.subarray(32, 64));
  assert.ok(nacl.sign.detached.verify(Uint8Array.from(outer), Uint8Array.from(bytes.subarray(-64)), signKey));
  const publicKey = Buffer.from(nacl.scalarMult.base(secret));
  const index =
    Array.from({ length: count }, (_, at) => at).find((at) => bytes.subarray(96 + 80 * at, 128 + 80 * at).equals(publicKey)) ??
    -1;
  const wrapped = bytes.subarray(128 + 80 * index, 176 + 80 * index);
  const shared = nacl.scalarMult(secret, Uint8Array.from(bytes.subarray(64, 96)));
  const salt = Buffer.concat([bytes.subarray(64, 96), publicKey]);
  const open = (key: Uint8Array, data: Buffer, authenticated: Buffer) => {
    const decipher = createDecipheriv('chacha20-poly1305', key, Buffer.alloc(12), { authTagLength: 16 });
    decipher.setAAD(authenticated, { plaintextLength: data.length - 16 });
    decipher.setAuthTag(data.subarray(-16));
    return Buffer.concat([decipher.update(data.subarray(0, -16)), decipher.final()]);
  };
  const wrapKey = new Uint8Array(hkdfSync('sha256', shared, salt, 'patchferry envelope 1 wrap', 32));
  const content = open(open(wrapKey, wrapped, bytes.subarray(0, 96)), bytes.subarray(start, -64), bytes.subarray(0, start));
  const stored = content.subarray(73, 73 + content.readUInt32BE(65));
  const body = content[64] === 1 ? zstdDecompressSync(stored) : stored;
  assert.equal(body.length, content.readUInt32BE(69));
  const recipients = Array.from({ length: count }, (_, at) => bytes.subarray(96 + 80 * at, 128 + 80 * at));
  const inner = [
    Buffer.from('patchferry envelope 1 inner\n'),
    bytes.subarray(0, 96),
    Buffer.from([count]),
    ...recipients,
    createHash('sha256').update(body).digest(),
  ];
  assert.ok(
    nacl.sign.detached.verify(Uint8Array.from(Buffer.concat(inner)), Uint8Array.from(content.subarray(0, 64)), signKey),
  );
  return body.toString();
}

test('vectors: an independent implementation reads the same bodies', () => {
  for (const vector of vectors) {
    for (const secret of vector.recipientSecrets) {
      assert.equal(
        openIndependently(Buffer.from(vector.envelope, 'hex'), Uint8Array.from(Buffer.from(secret, 'hex'))),
        vector.body,
        vector.says,
      );
    }
  }
});
