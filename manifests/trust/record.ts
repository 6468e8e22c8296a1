// Records: short documents that a relay signs with its own key, as a text that a person can read. Who the key belongs to, and
// what it may say, is for the reader to judge (decide/site-halt.ts).
import { createHash, sign } from 'node:crypto';
import { defineFaults, EXIT } from '#manifests/errors';
import { type SigningKeyPair, signingKeyObject } from './keys/pairs.ts';
import { tufKeyOf, verifyOne } from './verify/keys.ts';
import { checkSigningKey } from './verify/points.ts';

const fault = defineFaults('record', {
  malformed: { exit: EXIT.refused, next: 'It is no record of a relay, or was cut; nothing of it was used.' },
  signature: { exit: EXIT.refused, next: 'It was changed on the way or is forged; nothing of it was used.' },
});

export const RECORD_LIMITS = {
  /** Bytes of a whole record. */
  bytes: 1024 * 1024,
} as const;

export interface OpenedRecord {
  /** Ed25519 key that signed it, hex. */
  readonly key: string;
  /** SHA-256 of the body: what a record is known by. */
  readonly id: string;
  /** Plain bytes of the document. */
  readonly body: Uint8Array;
}

const signedBytes = (body: Uint8Array) => Buffer.concat([Buffer.from('patchferry record 1\n', 'latin1'), body]);

/** `patchferry-record-v1 KEY SIGNATURE`, a line feed, and the document. @param body canonical JSON of one document */
export function signRecord(body: Uint8Array, key: SigningKeyPair): Uint8Array {
  const signature = sign(null, signedBytes(body), signingKeyObject(key)).toString('hex');
  return Buffer.concat([Buffer.from(`patchferry-record-v1 ${key.publicKey} ${signature}\n`, 'latin1'), body]);
}

/** Checks the signature by the key that the record itself names. @throws record.malformed, record.signature, trust.weak-key */
export function openRecord(bytes: Uint8Array): OpenedRecord {
  const head = Buffer.from(bytes.buffer, bytes.byteOffset, Math.min(bytes.length, 256)).toString('latin1');
  const match = /^patchferry-record-v1 ([0-9a-f]{64}) ([0-9a-f]{128})\n/.exec(head);
  if (match === null || bytes.length > RECORD_LIMITS.bytes) throw fault('malformed', 'this is no record of a relay');
  const [whole, key = '', signature = ''] = match;
  const body = bytes.subarray(whole.length);
  checkSigningKey(key);
  if (!verifyOne(tufKeyOf(key), signedBytes(body), signature))
    throw fault('signature', 'the signature of a record does not hold');
  return { key, id: createHash('sha256').update(body).digest('hex'), body };
}
