// The tree over the chunks: SHA-256 with separate prefixes for leaves and nodes, shaped as in RFC 6962, 2.1. Pure.
import { createHash } from 'node:crypto';

/** Bytes of one hash. */
export const HASH_BYTES = 32;

/**
 * The root over the SHA-256 hashes of the chunks, which lie one after the other in `leaves`. A leaf of the tree is
 * SHA-256(0x00 ‖ chunk hash), a node SHA-256(0x01 ‖ left ‖ right); a level with an odd node hands it up (RFC 6962, 2.1).
 */
export function merkleRoot(leaves: Uint8Array): string {
  const count = leaves.length / HASH_BYTES;
  if (!Number.isInteger(count)) throw new RangeError('leaves are not whole hashes');
  if (count === 0) return createHash('sha256').digest('hex');
  let level: Buffer[] = [];
  for (let at = 0; at < count; at++) {
    level.push(hashOf(LEAF, leaves.subarray(at * HASH_BYTES, (at + 1) * HASH_BYTES)));
  }
  while (level.length > 1) {
    const above: Buffer[] = [];
    for (let at = 0; at < level.length; at += 2) {
      const left = level[at] as Buffer;
      const right = level[at + 1];
      above.push(right === undefined ? left : hashOf(NODE, left, right));
    }
    level = above;
  }
  return (level[0] as Buffer).toString('hex');
}

const LEAF = Buffer.of(0);
const NODE = Buffer.of(1);

function hashOf(prefix: Buffer, ...parts: Uint8Array[]): Buffer {
  const hash = createHash('sha256').update(prefix);
  for (const part of parts) hash.update(part);
  return hash.digest();
}
