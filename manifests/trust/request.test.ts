// Signed requests: what is signed is the whole of it, and a header is read in one spelling only.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import * as fc from 'fast-check';
import nacl from 'tweetnacl';
import { agentIdOf, generateSigningKey } from './keys/pairs.ts';
import { parseRequestHeader, type SignedRequest, signRequest, verifyRequest } from './request.ts';

const pair = generateSigningKey(() => Buffer.alloc(32, 7));
const agent = agentIdOf(pair.publicKey);
const AT = 1_772_452_800_123;
const request: SignedRequest = { method: 'POST', path: '/v1/pre-reboot', body: Buffer.from('{"a":1}') };

test('the signed text is as documented, line by line', () => {
  const header = parseRequestHeader(signRequest(request, agent, pair, AT)) ?? assert.fail();
  assert.deepEqual([header.agent, header.at], [agent, AT]);
  const hash = '015abd7f5cc57a2dd94b7590f04ad8084273905ee33ec5cebeae62276a97f862'; // sha256sum of {"a":1}
  const text = `patchferry-request-v1\n${agent}\n${AT}\nPOST\n/v1/pre-reboot\n${hash}\n`;
  const signature = Uint8Array.from(Buffer.from(header.signature, 'hex'));
  assert.ok(nacl.sign.detached.verify(Uint8Array.from(Buffer.from(text)), signature, Buffer.from(pair.publicKey, 'hex')));
});

test('another method, path, body, agent, time, key or signature does not hold', () => {
  const header = parseRequestHeader(signRequest(request, agent, pair, AT)) ?? assert.fail();
  assert.equal(verifyRequest(request, header, pair.publicKey), true);
  const other = generateSigningKey(() => Buffer.alloc(32, 8));
  assert.equal(verifyRequest(request, header, other.publicKey), false);
  for (const wrong of [{ method: 'PUT' }, { path: '/v1/steady-state' }, { body: Buffer.from('{"a":2}') }])
    assert.equal(verifyRequest({ ...request, ...wrong }, header, pair.publicKey), false);
  assert.equal(verifyRequest(request, { ...header, at: AT + 1 }, pair.publicKey), false);
  assert.equal(verifyRequest(request, { ...header, agent: agentIdOf(other.publicKey) }, pair.publicKey), false);
  fc.assert(
    fc.property(fc.nat(127), fc.integer({ min: 1, max: 15 }), (at, change) => {
      const digit = (Number.parseInt(header.signature[at] ?? '0', 16) ^ change).toString(16);
      const signature = header.signature.slice(0, at) + digit + header.signature.slice(at + 1);
      assert.equal(verifyRequest(request, { ...header, signature }, pair.publicKey), false);
    }),
    { numRuns: 50 },
  );
});

test('S16 S17 headers in any other spelling are none', () => {
  const value = signRequest(request, agent, pair, AT);
  for (const wrong of [
    '',
    ` ${value}`,
    `${value} `,
    `${value}00`,
    value.toUpperCase(),
    value.replace('v1', 'v2'),
    value.replaceAll(' ', '  '),
    value.replace(String(AT), `0${AT}`),
    value.replace(String(AT), '-1'),
    value.replace(String(AT), '1e3'),
    value.replace(String(AT), '9'.repeat(30)),
  ])
    assert.equal(parseRequestHeader(wrong), undefined, wrong);
  fc.assert(fc.property(fc.string(), (text) => parseRequestHeader(text) === undefined));
});
