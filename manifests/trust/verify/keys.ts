// Keys as TUF metadata carries them (TUF specification 1.0.31, 4.2): key ids, and the check of one signature.
import { constants, createPublicKey, hash, type KeyObject, verify } from 'node:crypto';
import { fault } from '../faults.ts';
import { FORM_LIMITS } from '../limits.ts';
import { canonicalBytes } from './canonical.ts';
import { isObject, type Json } from './json.ts';
import { checkSigningKey } from './points.ts';

/** A public key as it stands in metadata. */
export interface TufKey {
  readonly keytype: string;
  readonly scheme: string;
  readonly keyval: { readonly public: string };
}

/** A key read from metadata: `identity` is the same for the same key in any spelling; no `check`: a scheme we do not know. */
export interface ReadKey {
  readonly id: string;
  readonly identity: string;
  readonly check: ((message: Uint8Array, signatureHex: string) => boolean) | undefined;
}

const ED25519_DER_PREFIX = '302a300506032b6570032100';
const RSA_LEAST_BITS = 2_048;

/** The key id: SHA-256 over the canonical form of the key (4.2, "KEYID"). */
export function keyIdOf(key: TufKey): string {
  const { keytype, scheme, keyval } = key;
  return hash('sha256', canonicalBytes({ keytype, scheme, keyval: { public: keyval.public } }));
}

/** An Ed25519 public key (32 bytes, hex) as TUF writes it. */
export function tufKeyOf(publicKeyHex: string): TufKey {
  return { keytype: 'ed25519', scheme: 'ed25519', keyval: { public: publicKeyHex } };
}

/**
 * Reads one entry of a `keys` object. The id must be the hash of the key: of the whole entry, or of its three defined members
 * (some writers add members of their own after they computed the id). @throws trust.key-id, trust.weak-key, trust.malformed
 */
export function readKey(id: string, entry: Json, where: string): ReadKey {
  const malformed = (message: string, cause?: unknown) =>
    fault('malformed', `${where}: key ${id}: ${message}`, { where, cause });
  if (!isObject(entry)) throw malformed('must be an object');
  const { keytype, scheme, keyval } = entry;
  if (typeof keytype !== 'string' || typeof scheme !== 'string') throw malformed('needs keytype and scheme');
  const publicText = isObject(keyval) ? keyval['public'] : undefined;
  if (typeof publicText !== 'string' || publicText.length > FORM_LIMITS.publicKeyCharacters)
    throw malformed('needs keyval.public');
  const key: TufKey = { keytype, scheme, keyval: { public: publicText } };
  // 4.2: the key id is computed from the key, so that nobody lists one key twice to reach a threshold.
  if (id !== keyIdOf(key) && id !== hash('sha256', canonicalBytes(entry))) {
    throw fault('key-id', `${where}: key id ${id.slice(0, 80)} is not the hash of its key`, { where });
  }
  let opened: { object: KeyObject; check: NonNullable<ReadKey['check']> } | undefined;
  try {
    opened = openKey(key);
  } catch (cause) {
    if (cause instanceof Error && 'code' in cause && cause.code === 'trust.weak-key') throw cause;
    throw malformed('is no public key of its type', cause);
  }
  if (opened === undefined) return { id, identity: `unknown:${id}`, check: undefined };
  return { id, identity: hash('sha256', opened.object.export({ type: 'spki', format: 'der' })), check: opened.check };
}

/** Undefined for a type or scheme this code does not know: such a key signs nothing here, and others may still do. */
function openKey(key: TufKey): { object: KeyObject; check: NonNullable<ReadKey['check']> } | undefined {
  const text = key.keyval.public;
  if (key.keytype === 'ed25519' && key.scheme === 'ed25519') {
    const object = text.startsWith('-----') ? createPublicKey(text) : ed25519Object(text);
    if (object.asymmetricKeyType !== 'ed25519') throw new TypeError('not an Ed25519 key');
    checkSigningKey(
      Buffer.from(object.export({ type: 'spki', format: 'der' }))
        .subarray(-32)
        .toString('hex'),
    );
    return {
      object,
      check: (message, signature) => isHex(signature, 128) && verify(null, message, object, Buffer.from(signature, 'hex')),
    };
  }
  if ((key.keytype === 'ecdsa' || key.keytype === 'ecdsa-sha2-nistp256') && key.scheme === 'ecdsa-sha2-nistp256') {
    const object = createPublicKey(text);
    if (object.asymmetricKeyType !== 'ec' || object.asymmetricKeyDetails?.namedCurve !== 'prime256v1')
      throw new TypeError('not a P-256 key');
    return {
      object,
      check: (message, signature) => isHex(signature) && verify('sha256', message, object, Buffer.from(signature, 'hex')),
    };
  }
  if (key.keytype === 'rsa' && key.scheme === 'rsassa-pss-sha256') {
    const object = createPublicKey(text);
    if (object.asymmetricKeyType !== 'rsa') throw new TypeError('not an RSA key');
    if ((object.asymmetricKeyDetails?.modulusLength ?? 0) < RSA_LEAST_BITS) {
      throw fault('weak-key', `an RSA key needs at least ${RSA_LEAST_BITS} bits`);
    }
    const options = { key: object, padding: constants.RSA_PKCS1_PSS_PADDING, saltLength: constants.RSA_PSS_SALTLEN_AUTO };
    return {
      object,
      check: (message, signature) => isHex(signature) && verify('sha256', message, options, Buffer.from(signature, 'hex')),
    };
  }
  return undefined;
}

function ed25519Object(hex: string): KeyObject {
  if (!isHex(hex, 64)) throw new TypeError('an Ed25519 key is 64 lower-case hex digits');
  return createPublicKey({ key: Buffer.from(ED25519_DER_PREFIX + hex, 'hex'), format: 'der', type: 'spki' });
}

/** Lower-case hex of whole bytes and nothing behind it: `Buffer.from` alone would stop silently at the first bad digit. */
function isHex(text: string, digits?: number): boolean {
  if (digits !== undefined && text.length !== digits) return false;
  return text.length > 0 && text.length % 2 === 0 && text.length <= FORM_LIMITS.signatureDigits && /^[0-9a-f]+$/.test(text);
}

/** One check of one signature under a key as TUF writes it; for writers that must know what a reader will say. */
export function verifyOne(key: TufKey, message: Uint8Array, signatureHex: string): boolean {
  const read = readKey(
    keyIdOf(key),
    { keytype: key.keytype, scheme: key.scheme, keyval: { public: key.keyval.public } },
    'key',
  );
  return read.check?.(message, signatureHex) ?? false;
}
