// Signatures onto metadata: several signers at once, or one after the other on files that travel between people.
import { fault } from '../faults.ts';
import type { Signer } from '../keys/signers.ts';
import type { Kind } from '../verify/forms.ts';
import { isObject, type JsonObject, parseJsonObject } from '../verify/json.ts';
import { verifyOne } from '../verify/keys.ts';
import { type Metadata, readMetadata } from '../verify/metadata.ts';
import type { Signed } from './build.ts';
import { sortedBytes } from './bytes.ts';

/** The bytes of a new file with a signature of each signer; the same input gives the same bytes (Ed25519). */
export async function signMetadata(signed: Signed, signers: readonly Signer[]): Promise<Uint8Array> {
  let bytes = sortedBytes({ signatures: [], signed });
  for (const signer of signers) bytes = await addSignature(bytes, signer);
  return bytes;
}

/**
 * The file with one more signature, signatures sorted by key id; one of the same key is replaced.
 * @throws what a reader would say of the file, and trust.signer when the signature does not hold
 */
export async function addSignature(bytes: Uint8Array, signer: Signer): Promise<Uint8Array> {
  const file = parseJsonObject(bytes, 'metadata to sign');
  const kind = kindOf(file);
  const { canonical, signatures } = readMetadata(kind, bytes, `${kind}.json to sign`);
  const signature = Buffer.from(await signer.sign(canonical)).toString('hex');
  if (!verifyOne(signer.key, canonical, signature)) throw fault('signer', 'the signer gave a signature that does not hold');
  const all = new Map([...signatures, [signer.keyId, signature]]);
  const list = [...all].toSorted(([a], [b]) => (a < b ? -1 : 1)).map(([keyid, sig]) => ({ keyid, sig }));
  return sortedBytes({ ...file, signatures: list });
}

/** Which keys' signatures hold on a file, by key id: what a signing round shows its people. */
export function holdingSignatures(
  bytes: Uint8Array,
  keys: readonly { readonly id: string; readonly check: ((message: Uint8Array, hex: string) => boolean) | undefined }[],
): string[] {
  const { canonical, signatures } = readAny(bytes);
  return keys.filter(({ id, check }) => check?.(canonical, signatures.get(id) ?? '') ?? false).map(({ id }) => id);
}

/** Reads a file of any kind; its shape is checked, its signatures are not. */
export function readAny(bytes: Uint8Array): Metadata {
  const kind = kindOf(parseJsonObject(bytes, 'metadata'));
  return readMetadata(kind, bytes, `${kind}.json`);
}

function kindOf(file: JsonObject): Kind {
  const signed = file['signed'];
  const kind = isObject(signed) ? signed['_type'] : undefined;
  if (kind !== 'root' && kind !== 'timestamp' && kind !== 'snapshot' && kind !== 'targets') {
    throw fault('wrong-role', 'is no TUF metadata', {});
  }
  return kind;
}
