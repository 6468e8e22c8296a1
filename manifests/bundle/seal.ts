// Sealing: a bundle's list and chunks encrypted to a site's box key, each chunk by itself, so that any subset can travel.
import { createCipheriv, createDecipheriv, createPrivateKey, createPublicKey, diffieHellman, hkdfSync } from 'node:crypto';
import { type BoxKeyPair, checkBoxKey, generateBoxKey, type RandomBytes } from '#manifests/trust';
import { fault } from './faults.ts';
import { SEAL_BYTES, type Sealing } from './format.ts';

/** Encrypts and opens the pieces of one bundle; piece numbers are chunk numbers, the list has LIST_PIECE. */
export interface Seal {
  close(piece: number, plain: Uint8Array): Buffer;
  /** @throws bundle.sealed when the piece was not sealed with this key for this place */
  open(piece: number, sealed: Uint8Array): Buffer;
}

/** The list's place among the pieces; no chunk has this number. */
export const LIST_PIECE = 0xffff_ffff;

const KEY_BYTES = 32;
const INFO = Buffer.from('patchferry bundle 2 wrap', 'latin1');

/** A content key, wrapped for each recipient (X25519, RFC 7748; HKDF-SHA256, RFC 5869; ChaCha20-Poly1305, RFC 8439). */
export function wrapContentKey(contentKey: Uint8Array, recipients: readonly string[], randomBytes?: RandomBytes): Sealing {
  const ephemeral = generateBoxKey(randomBytes);
  const wraps = recipients.map((key) => {
    checkBoxKey(key);
    return { key, wrapped: encrypt(wrapKeyOf(ephemeral, key, ephemeral.publicKey, key), 0, contentKey, INFO).toString('hex') };
  });
  return { scheme: 'x25519-hkdf-sha256-chacha20-poly1305', ephemeral: ephemeral.publicKey, wraps };
}

/** The content key of a sealed bundle for one of its recipients. @throws bundle.sealed */
export function unwrapContentKey(sealing: Sealing, recipient: BoxKeyPair | undefined): Buffer {
  const wrap = sealing.wraps.find(({ key }) => key === recipient?.publicKey);
  if (recipient === undefined || wrap === undefined)
    throw fault('sealed', 'the bundle is sealed, and not to a key of this side');
  const { publicKey } = recipient;
  let key: Buffer | undefined;
  try {
    const wrapping = wrapKeyOf(recipient, sealing.ephemeral, sealing.ephemeral, publicKey);
    key = decrypt(wrapping, 0, Buffer.from(wrap.wrapped, 'hex'), INFO);
  } catch {
    key = undefined; // a low-order ephemeral key: node:crypto refuses the agreement
  }
  if (key === undefined) throw fault('sealed', 'the bundle names a key of this side, but is not sealed with it');
  return key;
}

/**
 * A content key seals each piece once: the nonce is the piece's number, the bundle's id is authenticated with it, so pieces
 * cannot change places or bundles. Both sides make the same bytes from the same key and piece.
 */
export function sealWith(contentKey: Uint8Array, bundleId: string): Seal {
  const authenticated = Buffer.from(`patchferry bundle 2 ${bundleId}`, 'latin1');
  return {
    close: (piece, plain) => encrypt(contentKey, piece, plain, authenticated),
    open(piece, sealed) {
      const plain = decrypt(contentKey, piece, sealed, authenticated);
      if (plain === undefined) throw fault('sealed', `piece ${piece} is not sealed as the index says`);
      return plain;
    },
  };
}

function wrapKeyOf(own: BoxKeyPair, other: string, ephemeral: string, recipient: string): Buffer {
  const jwk = (hex: string) => Buffer.from(hex, 'hex').toString('base64url');
  const shared = diffieHellman({
    privateKey: createPrivateKey({
      key: { kty: 'OKP', crv: 'X25519', d: Buffer.from(own.secretKey).toString('base64url'), x: jwk(own.publicKey) },
      format: 'jwk',
    }),
    publicKey: createPublicKey({ key: { kty: 'OKP', crv: 'X25519', x: jwk(other) }, format: 'jwk' }),
  });
  return Buffer.from(hkdfSync('sha256', shared, Buffer.from(ephemeral + recipient, 'hex'), INFO, KEY_BYTES));
}

function nonceOf(piece: number): Buffer {
  const nonce = Buffer.alloc(12);
  nonce.writeUInt32BE(piece, 8);
  return nonce;
}

function encrypt(key: Uint8Array, piece: number, plain: Uint8Array, authenticated: Uint8Array): Buffer {
  const cipher = createCipheriv('chacha20-poly1305', key, nonceOf(piece), { authTagLength: SEAL_BYTES });
  cipher.setAAD(authenticated, { plaintextLength: plain.length });
  return Buffer.concat([cipher.update(plain), cipher.final(), cipher.getAuthTag()]);
}

function decrypt(key: Uint8Array, piece: number, sealed: Uint8Array, authenticated: Uint8Array): Buffer | undefined {
  const end = sealed.length - SEAL_BYTES;
  if (end < 0) return undefined;
  const decipher = createDecipheriv('chacha20-poly1305', key, nonceOf(piece), { authTagLength: SEAL_BYTES });
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
