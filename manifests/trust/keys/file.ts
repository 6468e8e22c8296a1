// Keys at rest: one JSON file a key, 0600, made once and never overwritten; with a passphrase, sealed (format in README.md).
import { createHmac, createPrivateKey, createPublicKey, randomBytes, scrypt, scryptSync } from 'node:crypto';
import * as fs from 'node:fs';
import { dirname } from 'node:path';
import nacl from 'tweetnacl';
import { readFileBounded, syncFolder } from '#manifests/platform/files';
import { fault } from '../faults.ts';

export interface StoredKey {
  readonly kind: 'sign' | 'box';
  /** 32 bytes, lower-case hex. */
  readonly publicKey: string;
  /** 64 bytes for `sign`, 32 for `box`. */
  readonly secretKey: Uint8Array;
}

/** What the passphrase is stretched with, and what is accepted when reading (more would be a way to make a reader hang). */
export const KEY_FILE_LIMITS = {
  fileBytes: 4_096,
  /** scrypt: memory is 128 * N * r bytes, so 128 MiB. */
  scryptN: 2 ** 17,
  scryptMostN: 2 ** 20,
  scryptR: 8,
  scryptP: 1,
  saltBytes: 32,
  nonceBytes: 24,
} as const;

interface Header {
  readonly format: 'patchferry/key';
  readonly formatVersion: 1;
  readonly kind: 'sign' | 'box';
  readonly publicKey: string;
  readonly kdf: {
    readonly name: 'scrypt';
    readonly N: number;
    readonly r: number;
    readonly p: number;
    readonly salt: string;
  } | null;
  readonly cipher: 'xsalsa20-poly1305' | null;
}

/** The header in one fixed spelling; it goes into the key of the box, so that a changed header opens nothing. */
function headerText({ format, formatVersion, kind, publicKey, kdf, cipher }: Header): string {
  const kdfText = kdf === null ? null : { name: kdf.name, N: kdf.N, r: kdf.r, p: kdf.p, salt: kdf.salt };
  return JSON.stringify({ format, formatVersion, kind, publicKey, kdf: kdfText, cipher });
}
function boxKey(stretched: Uint8Array, header: Header): Uint8Array {
  return Uint8Array.from(createHmac('sha256', stretched).update(headerText(header)).digest());
}
function scryptOptions(N: number) {
  return {
    N,
    r: KEY_FILE_LIMITS.scryptR,
    p: KEY_FILE_LIMITS.scryptP,
    maxmem: 128 * N * KEY_FILE_LIMITS.scryptR + 16 * 1024 * 1024,
  };
}

/**
 * Writes a new key file, 0600, with O_EXCL: an existing one is never replaced. With a passphrase the secret is sealed.
 * @throws trust.key-file when the file exists or cannot be written
 */
export function writeKeyFile(path: string, key: StoredKey, passphrase?: string): void {
  const { kind, publicKey, secretKey } = key;
  const salt = randomBytes(KEY_FILE_LIMITS.saltBytes);
  const { scryptN: N, scryptR: r, scryptP: p } = KEY_FILE_LIMITS;
  const header: Header = {
    format: 'patchferry/key',
    formatVersion: 1,
    kind,
    publicKey,
    kdf: passphrase === undefined ? null : { name: 'scrypt', N, r, p, salt: salt.toString('hex') },
    cipher: passphrase === undefined ? null : 'xsalsa20-poly1305',
  };
  let secret: object = { secretKey: Buffer.from(secretKey).toString('hex') };
  if (passphrase !== undefined) {
    const nonce = randomBytes(KEY_FILE_LIMITS.nonceBytes);
    const stretched = scryptSync(passphrase.normalize('NFC'), salt, 32, scryptOptions(N));
    const sealed = nacl.secretbox(Uint8Array.from(secretKey), Uint8Array.from(nonce), boxKey(stretched, header));
    secret = { nonce: nonce.toString('hex'), sealed: Buffer.from(sealed).toString('hex') };
  }
  const text = `${JSON.stringify({ ...(JSON.parse(headerText(header)) as object), ...secret })}\n`;
  try {
    fs.mkdirSync(dirname(path), { recursive: true, mode: 0o700 });
    const handle = fs.openSync(path, 'wx', 0o600);
    try {
      fs.writeFileSync(handle, text);
      fs.fsyncSync(handle);
    } finally {
      fs.closeSync(handle);
    }
    syncFolder(dirname(path));
  } catch (cause) {
    throw fault('key-file', `cannot write the key file ${path}: ${(cause as Error).message}`, { where: path, cause });
  }
}

/**
 * Reads a key file. The passphrase is asked for only when the file is sealed.
 * @throws trust.key-file when it is missing, readable by others or damaged; trust.passphrase when it does not open
 */
export async function readKeyFile(path: string, passphrase?: () => Promise<string> | string): Promise<StoredKey> {
  const bytes = readFileBounded(path, KEY_FILE_LIMITS.fileBytes);
  if (bytes === undefined) throw fault('key-file', `there is no key file ${path}`, { where: path });
  if (process.platform !== 'win32' && (fs.statSync(path).mode & 0o077) !== 0) {
    throw fault('key-file', `${path} can be read by others`, { where: path, next: `Run: chmod 600 ${path}` });
  }
  const { header, secretKey: open, nonce, sealed } = parse(bytes, path);
  if (header.kdf === null) return checked(header, open, path);
  if (passphrase === undefined) throw fault('passphrase', `${path} is sealed and no passphrase was given`, { where: path });
  const secret = await passphrase();
  const { N, salt } = header.kdf;
  const stretched = await new Promise<Uint8Array>((resolve, reject) => {
    scrypt(secret.normalize('NFC'), Buffer.from(salt, 'hex'), 32, scryptOptions(N), (error, key) =>
      error ? reject(error) : resolve(key),
    );
  });
  const opened = nacl.secretbox.open(sealed, nonce, boxKey(stretched, header));
  if (opened === null) throw fault('passphrase', `the passphrase does not open ${path}`, { where: path });
  return checked(header, opened, path);
}

function parse(bytes: Uint8Array, path: string) {
  const damaged = (cause?: unknown) => fault('key-file', `${path} is damaged or no key file`, { where: path, cause });
  let value: Record<string, unknown>;
  try {
    value = JSON.parse(Buffer.from(bytes).toString('utf8')) as Record<string, unknown>;
  } catch (cause) {
    throw damaged(cause);
  }
  if (typeof value !== 'object' || value === null) throw damaged();
  const hexOf = (field: unknown, least: number, most: number): Uint8Array => {
    if (typeof field !== 'string' || !/^(?:[0-9a-f]{2})*$/.test(field)) throw damaged();
    if (field.length < least * 2 || field.length > most * 2) throw damaged();
    return Uint8Array.from(Buffer.from(field, 'hex'));
  };
  const { kind, publicKey, kdf } = value;
  if (value['format'] !== 'patchferry/key' || value['formatVersion'] !== 1 || (kind !== 'sign' && kind !== 'box'))
    throw damaged();
  hexOf(publicKey, 32, 32);
  const header: Header = {
    format: 'patchferry/key',
    formatVersion: 1,
    kind,
    publicKey: publicKey as string,
    kdf: null,
    cipher: null,
  };
  const none = new Uint8Array(0);
  if (kdf === null) return { header, secretKey: hexOf(value['secretKey'], 32, 64), nonce: none, sealed: none };
  const { name, N, r, p, salt } = (kdf ?? {}) as Record<string, unknown>;
  hexOf(salt, KEY_FILE_LIMITS.saltBytes, KEY_FILE_LIMITS.saltBytes);
  const fitting =
    typeof N === 'number' && N >= KEY_FILE_LIMITS.scryptN && N <= KEY_FILE_LIMITS.scryptMostN && (N & (N - 1)) === 0;
  if (name !== 'scrypt' || !fitting || r !== KEY_FILE_LIMITS.scryptR || p !== KEY_FILE_LIMITS.scryptP) throw damaged();
  if (value['cipher'] !== 'xsalsa20-poly1305') throw damaged();
  return {
    header: {
      ...header,
      kdf: { name: 'scrypt' as const, N, r, p, salt: salt as string },
      cipher: 'xsalsa20-poly1305' as const,
    },
    secretKey: none,
    nonce: hexOf(value['nonce'], KEY_FILE_LIMITS.nonceBytes, KEY_FILE_LIMITS.nonceBytes),
    sealed: hexOf(value['sealed'], 32 + 16, 64 + 16),
  };
}

/** The public half must be the secret's own: a file put together from two keys would sign what nobody can verify. */
function checked(header: Header, secretKey: Uint8Array, path: string): StoredKey {
  const { kind, publicKey } = header;
  if (secretKey.length !== (kind === 'sign' ? 64 : 32)) throw fault('key-file', `${path} is damaged`, { where: path });
  const derived = publicHalf(kind, secretKey.subarray(0, 32));
  const whole = kind === 'box' || Buffer.from(secretKey.subarray(32)).equals(derived);
  if (!whole || derived.toString('hex') !== publicKey) {
    throw fault('key-file', `${path}: its public key does not belong to its secret key`, { where: path });
  }
  return { kind, publicKey, secretKey: Uint8Array.from(secretKey) };
}

/** PKCS #8 of an Ed25519 and of an X25519 key up to the 32 secret bytes (RFC 8410, section 7). */
const PKCS8_HEAD = { sign: '302e020100300506032b657004220420', box: '302e020100300506032b656e04220420' } as const;

/** The public key of 32 secret bytes. By node:crypto, which takes a hundredth of tweetnacl's time; every agent command pays it. */
function publicHalf(kind: 'sign' | 'box', secret: Uint8Array): Buffer {
  const der = Buffer.concat([Buffer.from(PKCS8_HEAD[kind], 'hex'), secret]);
  const { x } = createPublicKey(createPrivateKey({ key: der, format: 'der', type: 'pkcs8' })).export({ format: 'jwk' });
  return Buffer.from(x ?? '', 'base64url');
}
