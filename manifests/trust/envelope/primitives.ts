// The cryptographic steps of an envelope on node:crypto: key objects (kept for a while), key derivation, sealing, opening.
import {
  createCipheriv,
  createDecipheriv,
  createHmac,
  createPrivateKey,
  createPublicKey,
  diffieHellman,
  type KeyObject,
} from 'node:crypto';
import { KEY_BYTES, TAG_BYTES } from './layout.ts';

/** A key is used for one message only, so that the nonce may be fixed. */
const NONCE = Buffer.alloc(12);
const INFO = Buffer.from('patchferry envelope 1 wrap', 'latin1');
/** Key objects kept; a collector meets the same agents and recipients again and again. */
const KEPT_KEYS = 4_096;
const kept = new Map<string, KeyObject>();

function keep(name: string, make: () => KeyObject): KeyObject {
  const known = kept.get(name);
  if (known !== undefined) return known;
  if (kept.size >= KEPT_KEYS) kept.delete(kept.keys().next().value as string);
  const made = make();
  kept.set(name, made);
  return made;
}

export function verifyKey(hex: string): KeyObject {
  const x = Buffer.from(hex, 'hex').toString('base64url');
  return keep(`ed:${hex}`, () => createPublicKey({ key: { kty: 'OKP', crv: 'Ed25519', x }, format: 'jwk' }));
}
export function agreeKey(hex: string): KeyObject {
  return createPublicKey({
    key: { kty: 'OKP', crv: 'X25519', x: Buffer.from(hex, 'hex').toString('base64url') },
    format: 'jwk',
  });
}
/** Secret keys are not kept by value: the object is bound to the caller's own pair and goes with it. */
const secretObjects = new WeakMap<object, KeyObject>();
export function secretKey(
  pair: { readonly publicKey: string; readonly secretKey: Uint8Array },
  curve: 'Ed25519' | 'X25519',
): KeyObject {
  const known = secretObjects.get(pair);
  if (known !== undefined) return known;
  const d = Buffer.from(pair.secretKey.subarray(0, KEY_BYTES)).toString('base64url');
  const x = Buffer.from(pair.publicKey, 'hex').toString('base64url');
  const made = createPrivateKey({ key: { kty: 'OKP', crv: curve, d, x }, format: 'jwk' });
  secretObjects.set(pair, made);
  return made;
}

/**
 * The key that wraps the content key for one recipient: HKDF-SHA256 (RFC 5869) over the X25519 secret (RFC 7748), salted with
 * both public keys. Refuses, through node:crypto, a shared secret of all zeros.
 */
export function wrapKey(privateKey: KeyObject, publicKey: KeyObject, ephemeral: Uint8Array, recipient: Uint8Array): Buffer {
  const shared = diffieHellman({ privateKey, publicKey });
  const extracted = createHmac('sha256', Buffer.concat([ephemeral, recipient]))
    .update(shared)
    .digest();
  return createHmac('sha256', extracted)
    .update(INFO)
    .update(Buffer.from([1]))
    .digest();
}

/** ChaCha20-Poly1305 (RFC 8439): ciphertext and tag. */
export function seal(key: Uint8Array, plain: Uint8Array, authenticated: Uint8Array): Buffer {
  const cipher = createCipheriv('chacha20-poly1305', key, NONCE, { authTagLength: TAG_BYTES });
  cipher.setAAD(authenticated, { plaintextLength: plain.length });
  return Buffer.concat([cipher.update(plain), cipher.final(), cipher.getAuthTag()]);
}

/** Undefined when the tag does not hold. */
export function unseal(key: Uint8Array, sealed: Uint8Array, authenticated: Uint8Array): Buffer | undefined {
  const decipher = createDecipheriv('chacha20-poly1305', key, NONCE, { authTagLength: TAG_BYTES });
  const end = sealed.length - TAG_BYTES;
  decipher.setAAD(authenticated, { plaintextLength: end });
  decipher.setAuthTag(sealed.subarray(end));
  const plain = decipher.update(sealed.subarray(0, end));
  try {
    decipher.final();
    return plain;
  } catch {
    return undefined;
  }
}
