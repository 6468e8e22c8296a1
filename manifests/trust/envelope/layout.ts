// The bytes of an envelope: where each field lies, how its size is bounded and padded. README.md has the same as a table.
import { defineFaults, EXIT } from '#manifests/errors';

export const fault = defineFaults('envelope', {
  malformed: { exit: EXIT.refused, next: 'It is no envelope, or was cut; the agent sends it again until it is acknowledged.' },
  'too-large': { exit: EXIT.refused, next: 'No agent makes envelopes of this size; look at who sent it.' },
  signature: { exit: EXIT.refused, next: 'It was changed on the way or is forged; nothing of it was used.' },
  agent: {
    exit: EXIT.refused,
    next: 'The envelope names another agent or key than its signature belongs to; nothing of it was used.',
  },
  recipient: {
    exit: EXIT.refused,
    next: 'It is not sealed to this key; use the key it names, or tell the agent the new recipients.',
  },
  sealed: { exit: EXIT.refused, next: 'It was changed after it was sealed; nothing of it was used.' },
});

export type EnvelopeKind = 'result' | 'enrolment' | 'waiver-request';
export const KIND_NUMBERS: Readonly<Record<EnvelopeKind, number>> = { result: 1, enrolment: 2, 'waiver-request': 3 };

export const ENVELOPE_LIMITS = {
  /** Bytes of a whole envelope. */
  envelopeBytes: 72 * 1024 * 1024,
  /** Bytes of a body before compression. */
  bodyBytes: 64 * 1024 * 1024,
  recipients: 20,
  /** The smallest size class; classes double from here … */
  leastClassBytes: 1_024,
  /** … up to this one, and go in steps of it beyond. */
  stepClassBytes: 1024 * 1024,
} as const;

/** Fixed fields, big-endian. */
export const AT = {
  magic: 0,
  kind: 4,
  recipientCount: 5,
  /** Flags in the second byte; the first is reserved. */
  flags: 6,
  agent: 8,
  sequence: 24,
  signKey: 32,
  ephemeralKey: 64,
  wraps: 96,
} as const;
export const MAGIC = Buffer.from('PFE1', 'latin1');
export const KEY_BYTES = 32;
export const TAG_BYTES = 16;
export const SIGNATURE_BYTES = 64;
/** Recipient key, wrapped content key, its tag. */
export const WRAP_BYTES = KEY_BYTES + KEY_BYTES + TAG_BYTES;
export const LENGTH_BYTES = 4;
/** Inside: signature, compression, length of the stored body, length of the plain body. */
export const INNER_HEADER_BYTES = SIGNATURE_BYTES + 1 + 4 + 4;

/** Set by the agent on what a later result repeats: a relay without room may drop it, and says so. */
export const DETAIL_FLAG = 1;

export interface EnvelopeHeader {
  readonly kind: EnvelopeKind;
  readonly detail: boolean;
  /** 32 hex digits. */
  readonly agent: string;
  readonly sequence: number;
  /** Ed25519 key the envelope says it is signed with, hex. */
  readonly signKey: string;
  /** X25519 keys it is sealed to, hex. */
  readonly recipients: readonly string[];
  /** Bytes of the whole envelope. */
  readonly size: number;
}

/** Bytes of the sealed content after padding: what a relay can learn of a body is only its class. */
export function paddedSize(contentBytes: number): number {
  const { leastClassBytes, stepClassBytes } = ENVELOPE_LIMITS;
  if (contentBytes > stepClassBytes) return Math.ceil(contentBytes / stepClassBytes) * stepClassBytes;
  let size: number = leastClassBytes;
  while (size < contentBytes) size *= 2;
  return size;
}

/** Where the ciphertext begins. */
export function headerBytes(recipientCount: number): number {
  return AT.wraps + recipientCount * WRAP_BYTES + LENGTH_BYTES;
}

/**
 * Reads the header. Bounded, and checks nothing cryptographic: whoever acts on it asks `verifyEnvelope` first.
 * @throws envelope.malformed, envelope.too-large
 */
export function inspectEnvelope(bytes: Uint8Array): EnvelopeHeader {
  const malformed = (message: string) => fault('malformed', `envelope: ${message}`);
  if (bytes.length > ENVELOPE_LIMITS.envelopeBytes) {
    throw fault('too-large', `envelope: ${bytes.length} bytes are more than ${ENVELOPE_LIMITS.envelopeBytes}`);
  }
  const view = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length);
  if (view.length < headerBytes(1) || !view.subarray(0, MAGIC.length).equals(MAGIC)) throw malformed('is none');
  const number = view[AT.kind];
  const kind = (Object.keys(KIND_NUMBERS) as EnvelopeKind[]).find((item) => KIND_NUMBERS[item] === number);
  if (kind === undefined) throw malformed(`kind ${number} is unknown`);
  const count = view[AT.recipientCount] ?? 0;
  if (count < 1 || count > ENVELOPE_LIMITS.recipients) throw malformed(`${count} recipients`);
  const flags = view.readUInt16BE(AT.flags);
  if ((flags & ~DETAIL_FLAG) !== 0) throw malformed('reserved bits are set');
  const sequence = view.readBigUInt64BE(AT.sequence);
  if (sequence > BigInt(Number.MAX_SAFE_INTEGER)) throw malformed('sequence of 2^53 or more');
  const start = headerBytes(count);
  if (view.length < start) throw malformed('is cut');
  const sealedBytes = view.readUInt32BE(start - LENGTH_BYTES);
  if (view.length !== start + sealedBytes + SIGNATURE_BYTES) throw malformed('its length is not the one it states');
  if (sealedBytes < TAG_BYTES || paddedSize(sealedBytes - TAG_BYTES) !== sealedBytes - TAG_BYTES)
    throw malformed('is of no size class');
  const hexAt = (at: number, length: number) => view.subarray(at, at + length).toString('hex');
  const recipients = Array.from({ length: count }, (_, index) => hexAt(AT.wraps + index * WRAP_BYTES, KEY_BYTES));
  if (new Set(recipients).size !== count) throw malformed('names one recipient twice');
  return {
    kind,
    detail: flags === DETAIL_FLAG,
    agent: hexAt(AT.agent, 16),
    sequence: Number(sequence),
    signKey: hexAt(AT.signKey, KEY_BYTES),
    recipients,
    size: view.length,
  };
}

/** Whether an envelope that begins with these bytes is marked as detail. @param head its first 8 bytes */
export function isDetailHead(head: Uint8Array): boolean {
  const view = Buffer.from(head.buffer, head.byteOffset, head.length);
  return view.length >= AT.agent && view.subarray(0, MAGIC.length).equals(MAGIC) && view.readUInt16BE(AT.flags) === DETAIL_FLAG;
}
