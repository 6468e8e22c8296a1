// Envelopes: what goes in comes out, to every recipient and to nobody else, and any change is noticed.
import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { test } from 'node:test';
import * as fc from 'fast-check';
import { agentIdOf, generateBoxKey, generateSigningKey } from '../keys/pairs.ts';
import { envelopeHash, openEnvelope, sealEnvelope, verifyEnvelope, verifyEnvelopeBeside } from './envelope.ts';
import { inspectEnvelope, paddedSize } from './layout.ts';

const seeded = (seed: string) => () => createHash('sha256').update(seed).digest();
const agentKey = generateSigningKey(seeded('agent'));
const agent = agentIdOf(agentKey.publicKey);
const alice = generateBoxKey(seeded('alice'));
const bob = generateBoxKey(seeded('bob'));
const carol = generateBoxKey(seeded('carol'));
const sealed = (body: Uint8Array, recipients = [alice.publicKey, bob.publicKey]) =>
  sealEnvelope({ body, kind: 'result', agent, sequence: 7, signKey: agentKey, recipients });

test('every recipient opens it, nobody else does', () => {
  const body = Buffer.from('{"hello":"world"}');
  const bytes = sealed(body);
  const header = {
    kind: 'result',
    detail: false,
    agent,
    sequence: 7,
    signKey: agentKey.publicKey,
    recipients: [alice.publicKey, bob.publicKey],
    size: bytes.length,
  };
  assert.deepEqual(inspectEnvelope(bytes), header);
  assert.deepEqual(verifyEnvelope(bytes, agentKey.publicKey), header);
  for (const recipient of [alice, bob]) {
    assert.deepEqual(Buffer.from(openEnvelope(bytes, { recipient, signKey: agentKey.publicKey }).body), body);
  }
  assert.throws(() => openEnvelope(bytes, { recipient: carol, signKey: agentKey.publicKey }), { code: 'envelope.recipient' });
  assert.match(envelopeHash(bytes), /^[0-9a-f]{64}$/);
});

test('any body comes back, in a size class', () => {
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 5_000 }), (body) => {
      const bytes = sealed(body, [alice.publicKey]);
      assert.deepEqual(
        Buffer.from(openEnvelope(bytes, { recipient: alice, signKey: agentKey.publicKey }).body),
        Buffer.from(body),
      );
      const content = bytes.length - (96 + 80 + 4) - 16 - 64;
      assert.equal(paddedSize(content), content);
    }),
    { numRuns: 30 },
  );
});

test('every changed byte is noticed by the outer signature, and by the opener', () => {
  const bytes = sealed(Buffer.from('x'), [alice.publicKey]);
  for (let at = 0; at < bytes.length; at++) {
    const changed = Uint8Array.from(bytes);
    changed[at] = (changed[at] ?? 0) ^ 1;
    assert.throws(() => verifyEnvelope(changed, agentKey.publicKey), /./, `byte ${at}`);
    if (at < bytes.length - 64)
      assert.throws(() => openEnvelope(changed, { recipient: alice, signKey: agentKey.publicKey }), /./, `byte ${at}`);
  }
});

test('checked beside the thread: the same verdict as in line, byte by byte', async () => {
  const bytes = sealed(Buffer.from('x'), [alice.publicKey]);
  assert.deepEqual(await verifyEnvelopeBeside(bytes, agentKey.publicKey), verifyEnvelope(bytes, agentKey.publicKey));
  for (let at = 0; at < bytes.length; at += 7) {
    const changed = Uint8Array.from(bytes);
    changed[at] = (changed[at] ?? 0) ^ 1;
    await assert.rejects(verifyEnvelopeBeside(changed, agentKey.publicKey), /./, `byte ${at}`);
  }
});

test('an enrolment proves its own key; another id or key is refused', () => {
  const body = Buffer.from('{}');
  const bytes = sealEnvelope({ body, kind: 'enrolment', agent, sequence: 0, signKey: agentKey, recipients: [alice.publicKey] });
  assert.equal(verifyEnvelope(bytes).agent, agent);
  const other = generateSigningKey(seeded('other'));
  const forged = sealEnvelope({ body, kind: 'result', agent, sequence: 0, signKey: other, recipients: [alice.publicKey] });
  assert.throws(() => verifyEnvelope(forged), { code: 'envelope.agent' });
  assert.throws(() => verifyEnvelope(forged, agentKey.publicKey), { code: 'envelope.agent' });
  assert.throws(
    () => sealEnvelope({ body, kind: 'enrolment', agent, sequence: 0, signKey: other, recipients: [alice.publicKey] }),
    { code: 'envelope.agent' },
  );
  assert.throws(() => sealed(body, ['00'.repeat(32)]), { code: 'trust.weak-key' });
});
