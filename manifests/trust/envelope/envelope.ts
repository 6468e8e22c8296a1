// Results and requests on their way up: signed, compressed, padded, sealed to the recipients, and signed again on the outside.
import { hash, randomBytes as hostRandomBytes, verify } from 'node:crypto';
import { zstdCompressSync, zstdDecompressSync } from 'node:zlib';
import nacl from 'tweetnacl';
import { agentIdOf, type BoxKeyPair, type RandomBytes, type SigningKeyPair } from '../keys/pairs.ts';
import { checkBoxKey, checkSigningKey } from '../verify/points.ts';
import {
  AT,
  DETAIL_FLAG,
  ENVELOPE_LIMITS,
  type EnvelopeHeader,
  type EnvelopeKind,
  fault,
  headerBytes,
  INNER_HEADER_BYTES,
  inspectEnvelope,
  KEY_BYTES,
  KIND_NUMBERS,
  LENGTH_BYTES,
  MAGIC,
  paddedSize,
  SIGNATURE_BYTES,
  WRAP_BYTES,
} from './layout.ts';
import { agreeKey, seal, secretKey, unseal, verifyKey, wrapKey } from './primitives.ts';

export interface SealInput {
  /** Plain bytes of the document; compressed inside when that makes them smaller. */
  readonly body: Uint8Array;
  readonly kind: EnvelopeKind;
  /** 32 hex digits; for an enrolment the hash of the signing key. */
  readonly agent: string;
  readonly sequence: number;
  readonly signKey: SigningKeyPair;
  /** X25519 keys, hex; at least one. */
  readonly recipients: readonly string[];
  /** A later result repeats it: where there is no room it may be dropped first. */
  readonly detail?: boolean | undefined;
  readonly randomBytes?: RandomBytes | undefined;
}

const INNER_DOMAIN = Buffer.from('patchferry envelope 1 inner\n', 'latin1');
const OUTER_DOMAIN = Buffer.from('patchferry envelope 1 outer\n', 'latin1');
const PLAIN = 0;
const ZSTD = 1;

/** What the inner signature covers: who says it, as which number, to whom, and what. */
function innerMessage(prefix: Uint8Array, recipients: readonly Uint8Array[], body: Uint8Array): Buffer {
  return Buffer.concat([INNER_DOMAIN, prefix, Buffer.from([recipients.length]), ...recipients, hash('sha256', body, 'buffer')]);
}
function outerMessage(headerAndSealed: Uint8Array): Buffer {
  return Buffer.concat([OUTER_DOMAIN, hash('sha256', headerAndSealed, 'buffer')]);
}

/**
 * Signs and seals one body. Recipient keys must be checked keys of the roster; weak ones are refused here once more.
 * @throws trust.weak-key, envelope.too-large, envelope.agent
 */
export function sealEnvelope(input: SealInput): Uint8Array {
  const { body, kind, agent, sequence, signKey, recipients } = input;
  const random = input.randomBytes ?? hostRandomBytes;
  if (body.length > ENVELOPE_LIMITS.bodyBytes)
    throw fault('too-large', `a body of ${body.length} bytes does not fit an envelope`);
  if (!/^[0-9a-f]{32}$/.test(agent)) throw fault('agent', `${agent} is no agent id`);
  if (kind === 'enrolment' && agent !== agentIdOf(signKey.publicKey)) throw fault('agent', 'an enrolment names its own key');
  if (
    recipients.length < 1 ||
    recipients.length > ENVELOPE_LIMITS.recipients ||
    new Set(recipients).size !== recipients.length
  ) {
    throw fault('malformed', `envelope: 1 to ${ENVELOPE_LIMITS.recipients} different recipients are needed`);
  }
  for (const recipient of recipients) checkBoxKey(recipient);

  const ephemeral = nacl.box.keyPair.fromSecretKey(Uint8Array.from(random(KEY_BYTES)));
  const ephemeralPair = { publicKey: Buffer.from(ephemeral.publicKey).toString('hex'), secretKey: ephemeral.secretKey };
  const contentKey = random(KEY_BYTES);

  const prefix = Buffer.alloc(AT.wraps);
  MAGIC.copy(prefix, AT.magic);
  prefix[AT.kind] = KIND_NUMBERS[kind];
  prefix[AT.recipientCount] = recipients.length;
  prefix.writeUInt16BE(input.detail === true ? DETAIL_FLAG : 0, AT.flags);
  prefix.write(agent, AT.agent, 'hex');
  prefix.writeBigUInt64BE(BigInt(sequence), AT.sequence);
  prefix.write(signKey.publicKey, AT.signKey, 'hex');
  prefix.set(ephemeral.publicKey, AT.ephemeralKey);

  const keys = recipients.map((recipient) => Buffer.from(recipient, 'hex'));
  const wraps = keys.map((key) => {
    const wrap = wrapKey(secretKey(ephemeralPair, 'X25519'), agreeKey(key.toString('hex')), ephemeral.publicKey, key);
    return Buffer.concat([key, seal(wrap, contentKey, prefix)]);
  });

  const content = innerContent(body, nacl.sign.detached(Uint8Array.from(innerMessage(prefix, keys, body)), signKey.secretKey));
  const length = Buffer.alloc(LENGTH_BYTES);
  length.writeUInt32BE(content.length + 16);
  const header = Buffer.concat([prefix, ...wraps, length]);
  const unsigned = Buffer.concat([header, seal(contentKey, content, header)]);
  return Buffer.concat([unsigned, nacl.sign.detached(Uint8Array.from(outerMessage(unsigned)), signKey.secretKey)]);
}

function innerContent(body: Uint8Array, signature: Uint8Array): Buffer {
  const packed = zstdCompressSync(body);
  const [compression, stored] = packed.length < body.length ? [ZSTD, packed] : [PLAIN, body];
  const content = Buffer.alloc(paddedSize(INNER_HEADER_BYTES + stored.length));
  content.set(signature);
  content[SIGNATURE_BYTES] = compression;
  content.writeUInt32BE(stored.length, SIGNATURE_BYTES + 1);
  content.writeUInt32BE(body.length, SIGNATURE_BYTES + 5);
  content.set(stored, INNER_HEADER_BYTES);
  return content;
}

/**
 * Checks the outer signature: under the key the roster has for the agent, or, for an enrolment, under the key it carries, whose
 * hash must be the agent's id. Needs no secret; a relay asks this. @throws envelope.signature, envelope.agent, envelope.malformed
 */
export function verifyEnvelope(bytes: Uint8Array, signKey?: string): EnvelopeHeader {
  const header = inspectEnvelope(bytes);
  checkSigner(header, signKey);
  const end = bytes.length - SIGNATURE_BYTES;
  if (!verify(null, outerMessage(bytes.subarray(0, end)), verifyKey(header.signKey), bytes.subarray(end))) {
    throw fault('signature', `envelope ${header.sequence} of ${header.agent}: the outer signature does not hold`);
  }
  return header;
}

/** `verifyEnvelope` for many at a time: the signature is checked beside the caller's thread. @throws as verifyEnvelope */
export async function verifyEnvelopeBeside(bytes: Uint8Array, signKey?: string): Promise<EnvelopeHeader> {
  const header = inspectEnvelope(bytes);
  checkSigner(header, signKey);
  const end = bytes.length - SIGNATURE_BYTES;
  const holds = await new Promise<boolean>((resolve, reject) => {
    verify(null, outerMessage(bytes.subarray(0, end)), verifyKey(header.signKey), bytes.subarray(end), (error, result) =>
      error === null ? resolve(result) : reject(error),
    );
  });
  if (!holds) throw fault('signature', `envelope ${header.sequence} of ${header.agent}: the outer signature does not hold`);
  return header;
}

function checkSigner(header: EnvelopeHeader, signKey: string | undefined): void {
  if (signKey !== undefined && signKey !== header.signKey) {
    throw fault('agent', `envelope ${header.sequence} of ${header.agent} is signed with another key than the roster has`);
  }
  if (signKey !== undefined) return; // the roster's keys were checked when they entered
  if (header.agent !== agentIdOf(header.signKey)) {
    throw fault('agent', `envelope ${header.sequence} of ${header.agent}: the agent id is not the hash of the key it carries`);
  }
  checkSigningKey(header.signKey);
}

/**
 * Opens an envelope and checks the inner signature, which covers the header fields, the recipients and the body.
 * Give `signKey` (the roster's) for all but enrolments. The outer signature is `verifyEnvelope`'s.
 * @throws envelope.recipient, envelope.sealed, envelope.signature, envelope.agent, envelope.malformed
 */
export function openEnvelope(
  bytes: Uint8Array,
  options: { readonly recipient: BoxKeyPair; readonly signKey?: string | undefined },
): { header: EnvelopeHeader; body: Uint8Array } {
  const header = inspectEnvelope(bytes);
  const { recipient, signKey } = options;
  checkSigner(header, signKey);
  const what = `envelope ${header.sequence} of ${header.agent}`;
  const index = header.recipients.indexOf(recipient.publicKey);
  if (index < 0) throw fault('recipient', `${what} is not sealed to ${recipient.publicKey}`);
  const start = headerBytes(header.recipients.length);
  const prefix = bytes.subarray(0, AT.wraps);
  const ephemeral = bytes.subarray(AT.ephemeralKey, AT.ephemeralKey + KEY_BYTES);
  const wrapAt = AT.wraps + index * WRAP_BYTES;
  const key = bytes.subarray(wrapAt, wrapAt + KEY_BYTES);
  let wrap: Uint8Array;
  try {
    wrap = wrapKey(secretKey(recipient, 'X25519'), agreeKey(Buffer.from(ephemeral).toString('hex')), ephemeral, key);
  } catch (cause) {
    throw fault('sealed', `${what}: its ephemeral key is weak`, { cause });
  }
  const contentKey = unseal(wrap, bytes.subarray(wrapAt + KEY_BYTES, wrapAt + WRAP_BYTES), prefix);
  const content =
    contentKey && unseal(contentKey, bytes.subarray(start, bytes.length - SIGNATURE_BYTES), bytes.subarray(0, start));
  if (content === undefined) throw fault('sealed', `${what} does not open: it was changed after it was sealed`);
  const body = bodyOf(content, what);
  const keys = header.recipients.map((item) => Buffer.from(item, 'hex'));
  if (!verify(null, innerMessage(prefix, keys, body), verifyKey(header.signKey), content.subarray(0, SIGNATURE_BYTES))) {
    throw fault('signature', `${what}: the inner signature does not hold`);
  }
  return { header, body };
}

function bodyOf(content: Buffer, what: string): Uint8Array {
  const compression = content[SIGNATURE_BYTES];
  const storedBytes = content.readUInt32BE(SIGNATURE_BYTES + 1);
  const bodyBytes = content.readUInt32BE(SIGNATURE_BYTES + 5);
  const malformed = () => fault('malformed', `${what}: its content is not laid out as it states`);
  const end = INNER_HEADER_BYTES + storedBytes;
  // Exactly the class its content needs, and nothing hidden in the padding.
  if (end > content.length || paddedSize(end) !== content.length || bodyBytes > ENVELOPE_LIMITS.bodyBytes) throw malformed();
  if (content.subarray(end).some((byte) => byte !== 0)) throw malformed();
  const stored = content.subarray(INNER_HEADER_BYTES, end);
  if (compression === PLAIN) {
    if (storedBytes !== bodyBytes) throw malformed();
    return stored;
  }
  if (compression !== ZSTD) throw malformed();
  try {
    const body = zstdDecompressSync(stored, { maxOutputLength: Math.max(bodyBytes, 1) });
    if (body.length === bodyBytes) return body;
  } catch {
    // falls to the one answer
  }
  throw malformed();
}

/** SHA-256 of the whole envelope: what `previous` and acks name. Signatures are checked strictly, so that it cannot be varied. */
export function envelopeHash(bytes: Uint8Array): string {
  return hash('sha256', bytes);
}
