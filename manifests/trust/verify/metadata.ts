// One metadata file: bytes to a typed value and its signatures, and the count of signatures that hold.
import { hash } from 'node:crypto';
import { fault } from '../faults.ts';
import { FORM_LIMITS } from '../limits.ts';
import { canonicalBytes } from './canonical.ts';
import { type FormOf, type Keys, type Kind, type Role, readRoot, readSnapshot, readTargets, readTimestamp } from './forms.ts';
import { isObject, type Json, type JsonObject, parseJsonObject } from './json.ts';

/** A file that has the right shape. That its signatures hold is said by `checkSignatures` alone. */
export interface Metadata<K extends Kind = Kind> {
  readonly kind: K;
  readonly signed: FormOf[K];
  readonly signatures: ReadonlyMap<string, string>;
  /** The bytes under the signatures. */
  readonly canonical: Uint8Array;
  /** The file, byte for byte. */
  readonly bytes: Uint8Array;
  /** SHA-256 of the file. */
  readonly sha256: string;
  /** Delegations under which the signatures were already found to hold; saves checking a file again that did not change. */
  readonly provenUnder: Set<string>;
}

const READERS: { readonly [K in Kind]: (signed: JsonObject, where: string) => FormOf[K] } = {
  root: readRoot,
  timestamp: readTimestamp,
  snapshot: readSnapshot,
  targets: readTargets,
};

/** @throws trust.malformed, trust.wrong-role, trust.expires, trust.key-id, trust.weak-key, trust.weak-hash, trust.threshold, trust.delegation */
export function readMetadata<K extends Kind>(kind: K, bytes: Uint8Array, where: string): Metadata<K> {
  const file = parseJsonObject(bytes, where);
  const { signed, signatures: list } = file;
  if (!isObject(signed)) throw fault('malformed', `${where}: signed must be an object`, { where });
  const signatures = readSignatures(list, where);
  const form = READERS[kind](signed, where);
  return {
    kind,
    signed: form,
    signatures,
    canonical: canonicalBytes(signed),
    bytes,
    sha256: hash('sha256', bytes),
    provenUnder: new Set(),
  };
}

function readSignatures(list: Json | undefined, where: string): ReadonlyMap<string, string> {
  if (!Array.isArray(list) || list.length > FORM_LIMITS.signatures) {
    throw fault('malformed', `${where}: signatures must be a list of at most ${FORM_LIMITS.signatures}`, { where });
  }
  const signatures = new Map<string, string>();
  for (const entry of list) {
    const id = isObject(entry) ? entry['keyid'] : undefined;
    const value = isObject(entry) ? entry['sig'] : undefined;
    if (typeof id !== 'string' || typeof value !== 'string') {
      throw fault('malformed', `${where}: a signature needs keyid and sig`, { where });
    }
    // 4.2: one signature a key id; a second one would be a second chance for an attacker, never a need.
    if (signatures.has(id)) throw fault('key-id', `${where}: two signatures under one key id`, { where });
    signatures.set(id, value);
  }
  return signatures;
}

/**
 * Refuses unless at least `threshold` distinct keys of the role signed (5.3.4, 5.4.2, 5.5.3, 5.6.3: "arbitrary software attack").
 * A signature that is malleated, written loosely, or of an unknown key counts as none. @throws trust.threshold
 */
export function checkSignatures(metadata: Metadata, keys: Keys, role: Role, where: string): void {
  const delegation = delegationDigest(keys, role);
  if (metadata.provenUnder.has(delegation)) return;
  const signers = new Set<string>();
  for (const id of role.keyIds) {
    if (signers.size >= role.threshold) break;
    const key = keys.get(id);
    const signature = metadata.signatures.get(id);
    if (key?.check === undefined || signature === undefined) continue;
    if (key.check(metadata.canonical, signature)) signers.add(key.identity);
  }
  if (signers.size < role.threshold) {
    throw fault('threshold', `${where}: ${signers.size} of ${role.threshold} needed signatures hold`, { where });
  }
  metadata.provenUnder.add(delegation);
}

/** One text for "these keys at this threshold": ids are hashes of keys, so that equal ids are equal keys. */
function delegationDigest(keys: Keys, role: Role): string {
  const known = role.keyIds.filter((id) => keys.has(id));
  return `${role.threshold}:${known.toSorted().join(',')}`;
}
