// Key pairs: made with tweetnacl, from the host's randomness unless another source is passed in.
import { createHash, createPrivateKey, randomBytes as hostRandomBytes, type KeyObject } from 'node:crypto';
import nacl from 'tweetnacl';

export interface SigningKeyPair {
  /** 32 bytes, lower-case hex. */
  readonly publicKey: string;
  /** 64 bytes: seed and public key, as tweetnacl and RFC 8032 implementations keep it. */
  readonly secretKey: Uint8Array;
}
export interface BoxKeyPair {
  /** 32 bytes, lower-case hex. */
  readonly publicKey: string;
  /** 32 bytes. */
  readonly secretKey: Uint8Array;
}

export type RandomBytes = (count: number) => Uint8Array;

const hex = (bytes: Uint8Array) => Buffer.from(bytes).toString('hex');

/** A new Ed25519 key pair (RFC 8032). */
export function generateSigningKey(randomBytes: RandomBytes = hostRandomBytes): SigningKeyPair {
  const pair = nacl.sign.keyPair.fromSeed(Uint8Array.from(randomBytes(nacl.sign.seedLength)));
  return { publicKey: hex(pair.publicKey), secretKey: pair.secretKey };
}

/** A new X25519 key pair (RFC 7748). */
export function generateBoxKey(randomBytes: RandomBytes = hostRandomBytes): BoxKeyPair {
  const pair = nacl.box.keyPair.fromSecretKey(Uint8Array.from(randomBytes(nacl.box.secretKeyLength)));
  return { publicKey: hex(pair.publicKey), secretKey: pair.secretKey };
}

/** An agent's id: the first 32 hex digits of the SHA-256 over the 32 bytes of its signing key. */
export function agentIdOf(signKeyHex: string): string {
  return createHash('sha256').update(Buffer.from(signKeyHex, 'hex')).digest('hex').slice(0, 32);
}

/** The signing key as `node:crypto` takes it. */
export function signingKeyObject(pair: SigningKeyPair): KeyObject {
  const d = Buffer.from(pair.secretKey.subarray(0, 32)).toString('base64url');
  return createPrivateKey({
    key: { kty: 'OKP', crv: 'Ed25519', d, x: Buffer.from(pair.publicKey, 'hex').toString('base64url') },
    format: 'jwk',
  });
}

/** The box key as `node:crypto` takes it. */
export function boxKeyObject(pair: BoxKeyPair): KeyObject {
  const d = Buffer.from(pair.secretKey).toString('base64url');
  return createPrivateKey({
    key: { kty: 'OKP', crv: 'X25519', d, x: Buffer.from(pair.publicKey, 'hex').toString('base64url') },
    format: 'jwk',
  });
}
