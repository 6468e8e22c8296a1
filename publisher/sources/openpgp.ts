// Checks OpenPGP signatures against a keyring file: of a cleartext-signed file (RFC 9580, section 7), and detached ones
// (section 10.4). Pure: bytes in, text or signers out.
import * as openpgp from 'openpgp';
import { fault, SOURCE_LIMITS } from './faults.ts';

export interface Verified {
  /** Exactly the signed text, line ends as `\n`. Nothing outside of it may be believed. */
  readonly text: string;
  /** Who signed validly: fingerprint of the key (or subkey) and when, in ms. */
  readonly signers: { readonly fingerprint: string; readonly at: number }[];
}

export type VendorKey = openpgp.Key;

const BEGIN = '-----BEGIN PGP SIGNED MESSAGE-----';
const END = '-----END PGP SIGNATURE-----';
const ARMORED_BLOCK = /-----BEGIN PGP PUBLIC KEY BLOCK-----[\s\S]*?-----END PGP PUBLIC KEY BLOCK-----/g;

/** Reads a keyring: binary packets, or any number of armored blocks. @throws source.keyring */
export async function readKeyring(bytes: Uint8Array, where: string): Promise<VendorKey[]> {
  try {
    const start = Buffer.from(bytes.subarray(0, 4096)).toString('latin1');
    if (!start.includes('-----BEGIN PGP')) return await openpgp.readKeys({ binaryKeys: bytes });
    const blocks = Buffer.from(bytes).toString('utf8').match(ARMORED_BLOCK) ?? [];
    const keys = await Promise.all(blocks.map((armoredKeys) => openpgp.readKeys({ armoredKeys })));
    if (keys.flat().length === 0) throw new Error('it holds no public key');
    return keys.flat();
  } catch (cause) {
    throw fault('keyring', `${where} is not an OpenPGP keyring: ${(cause as Error).message}`, { where, cause });
  }
}

/**
 * Verifies a cleartext-signed message. At least one signature must be valid by a key of the ring that is neither revoked nor
 * expired at `at`; signatures by keys that are not in the ring count for nothing (archives sign with old and new keys at once).
 * Refused: text before or behind the signed block, more than one block (the signed text must be the whole file, or another
 * reader of the same bytes could believe another part), digests weaker than SHA-256's family, RSA below 2048 bits.
 * @param at now in ms. @throws source.unsigned, source.signature
 */
export async function verifyCleartext(bytes: Uint8Array, keys: VendorKey[], at: number, where: string): Promise<Verified> {
  const file = wholeBlock(bytes, where);
  let message: openpgp.CleartextMessage;
  let results: Awaited<ReturnType<typeof openpgp.verify>>['signatures'];
  try {
    message = await openpgp.readCleartextMessage({ cleartextMessage: file });
    // A signature a little in the future is a clock a little behind, which the check of `Date` bounds as well.
    const date = new Date(at + SOURCE_LIMITS.futureMs);
    results = (await openpgp.verify({ message, verificationKeys: keys, date })).signatures;
  } catch (cause) {
    throw fault('signature', `${where}: its signature cannot be read: ${(cause as Error).message}`, { where, cause });
  }
  return { text: message.getText(), signers: await goodSigners(results, keys, at, where) };
}

/**
 * Verifies a detached signature over a file, as `repomd.xml.asc` is over `repomd.xml`; the same rules as for cleartext ones.
 * @param signature one armored block and nothing else. @throws source.unsigned, source.signature
 */
export async function verifyDetached(
  bytes: Uint8Array,
  signature: Uint8Array,
  keys: VendorKey[],
  at: number,
  where: string,
): Promise<Verified['signers']> {
  const armor = Buffer.from(signature).toString('latin1').trim();
  if (!armor.startsWith('-----BEGIN PGP SIGNATURE-----') || !armor.endsWith(END) || armor.split('-----BEGIN').length !== 2) {
    throw fault('unsigned', `${where} is not one armored signature`, { where });
  }
  if (!isSoundArmor(`${armor}\n`)) throw fault('signature', `${where} is damaged (armor, RFC 4880, 6)`, { where });
  let results: Awaited<ReturnType<typeof openpgp.verify>>['signatures'];
  try {
    const message = await openpgp.createMessage({ binary: bytes });
    const read = await openpgp.readSignature({ armoredSignature: armor });
    const date = new Date(at + SOURCE_LIMITS.futureMs);
    results = (await openpgp.verify({ message, signature: read, verificationKeys: keys, date })).signatures;
  } catch (cause) {
    throw fault('signature', `${where} cannot be read: ${(cause as Error).message}`, { where, cause });
  }
  return goodSigners(results, keys, at, where);
}

type SignatureResult = Awaited<ReturnType<typeof openpgp.verify>>['signatures'][number];

/** Who of the ring signed validly; at least one. @throws source.signature */
async function goodSigners(
  results: readonly SignatureResult[],
  keys: VendorKey[],
  at: number,
  where: string,
): Promise<Verified['signers']> {
  const signers: Verified['signers'] = [];
  const reasons: string[] = [];
  for (const result of results) {
    try {
      await result.verified;
      const signature = await result.signature;
      const key = await usableKey(keys, result.keyID, at);
      const created = signature.packets[0]?.created?.getTime() ?? 0;
      signers.push({ fingerprint: key, at: created });
    } catch (cause) {
      reasons.push(`${result.keyID.toHex()}: ${(cause as Error).message}`);
    }
  }
  if (signers.length === 0) {
    const why = reasons.length === 0 ? 'no signature in it' : reasons.slice(0, 5).join('; ');
    throw fault('signature', `${where}: no valid signature by a key of the keyring (${why})`, { where });
  }
  return signers;
}

/** The file as text, when it is one signed block and nothing else. */
function wholeBlock(bytes: Uint8Array, where: string): string {
  let file: string;
  try {
    file = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(bytes);
  } catch (cause) {
    throw fault('unsigned', `${where} is not a text`, { where, cause });
  }
  const begins = file.match(/^-----BEGIN PGP SIGNED MESSAGE-----/gm)?.length ?? 0;
  const ends = file.match(/^-----END PGP SIGNATURE-----/gm)?.length ?? 0;
  if (!file.startsWith(BEGIN) || !file.trimEnd().endsWith(END) || begins !== 1 || ends !== 1) {
    throw fault('unsigned', `${where} is not one cleartext-signed block from its first to its last line`, { where });
  }
  if (!isSoundArmor(file.slice(file.indexOf('-----BEGIN PGP SIGNATURE-----')))) {
    throw fault('signature', `${where}: its signature is damaged (armor, RFC 4880, 6)`, { where });
  }
  return file;
}

/**
 * Whether an armored block is base64 to the letter and its checksum, where there is one, is right. gpgv on a host looks at
 * both and the library at neither: a file that only we could read must not get as far as the hosts.
 */
function isSoundArmor(block: string): boolean {
  const match =
    /^-----BEGIN PGP SIGNATURE-----\r?\n(?:[A-Za-z]+: .*\r?\n)*\r?\n([\s\S]*?)(?:=([A-Za-z0-9+/]{4})\r?\n)?-----END/.exec(
      block,
    );
  const lines = match?.[1]?.trimEnd().split(/\r?\n/) ?? [''];
  if (!lines.every((line) => /^[A-Za-z0-9+/]{1,76}={0,2}$/.test(line))) return false;
  const sum = match?.[2];
  return sum === undefined || crc24(Buffer.from(lines.join(''), 'base64')) === Buffer.from(sum, 'base64').readUIntBE(0, 3);
}

/** RFC 4880, 6.1. */
function crc24(bytes: Uint8Array): number {
  let crc = 0xb704ce;
  for (const byte of bytes) {
    crc ^= byte << 16;
    for (let bit = 0; bit < 8; bit += 1) crc = (crc & 0x800000) === 0 ? crc << 1 : (crc << 1) ^ 0x1864cfb;
  }
  return crc & 0xffffff;
}

/** Fingerprint of the key that signed, when it is good today: a signature of an expired or revoked key is as none. */
async function usableKey(keys: VendorKey[], keyId: openpgp.KeyID, at: number): Promise<string> {
  const owner = keys.find((key) => key.getKeys(keyId).length > 0);
  const part = owner?.getKeys(keyId)[0];
  if (owner === undefined || part === undefined) throw new Error('not in the keyring');
  for (const expiry of [await owner.getExpirationTime(), part === owner ? null : await expiryOf(part)]) {
    if (expiry instanceof Date && expiry.getTime() <= at) throw new Error(`the key expired on ${expiry.toISOString()}`);
  }
  if (await owner.isRevoked()) throw new Error('the key is revoked');
  return part.getFingerprint();
}

function expiryOf(part: openpgp.Key | openpgp.Subkey): Promise<Date | typeof Infinity | null> {
  return part.getExpirationTime();
}
