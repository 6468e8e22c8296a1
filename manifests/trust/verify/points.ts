// Public keys that give no protection: small-order and non-canonical points of edwards25519 and curve25519 (RFC 8032, RFC 7748).
import { fault } from '../faults.ts';

const P = 2n ** 255n - 19n;
const D = mod(-121665n * invert(121666n));
const MASK = 2n ** 255n - 1n;

function mod(value: bigint): bigint {
  const rest = value % P;
  return rest < 0n ? rest + P : rest;
}
function power(base: bigint, exponent: bigint): bigint {
  let result = 1n;
  for (let square = mod(base), left = exponent; left > 0n; left >>= 1n, square = (square * square) % P) {
    if (left & 1n) result = (result * square) % P;
  }
  return result;
}
function invert(value: bigint): bigint {
  return power(value, P - 2n);
}
function littleEndian(hex: string): bigint {
  return BigInt(`0x${Buffer.from(Buffer.from(hex, 'hex').toReversed()).toString('hex')}`);
}
function mustBeHex(hex: string, what: string): void {
  if (!/^[0-9a-f]{64}$/.test(hex)) throw fault('weak-key', `${what} must be 32 bytes in lower-case hex`);
}

/** True when the y coordinate belongs to a point whose order divides 8: y = ±1 (order 1, 2), 0 (order 4), or doubling gives 0. */
function isSmallOrderY(y: bigint): boolean {
  if (y === 0n || y === 1n || y === P - 1n) return true;
  const square = (y * y) % P;
  return mod(D * square * square + 2n * square - 1n) === 0n;
}

/**
 * Refuses an Ed25519 public key that is not canonical (RFC 8032, 5.1.3: y < p), not on the curve, or of small order (any
 * signature would verify under it). @throws trust.weak-key
 */
export function checkSigningKey(hex: string): void {
  mustBeHex(hex, 'a signing key');
  const y = littleEndian(hex) & MASK;
  if (y >= P) throw fault('weak-key', 'the signing key is not in its canonical form', { where: hex });
  if (isSmallOrderY(y)) throw fault('weak-key', 'the signing key is a point of small order', { where: hex });
  const square = (y * y) % P;
  const u = mod(square - 1n);
  const v = mod(D * square + 1n);
  // u/v is a square exactly where u·v is (their quotient is the square of v), which saves inverting v.
  if (power(u * v, (P - 1n) / 2n) !== 1n) throw fault('weak-key', 'the signing key is no point of the curve', { where: hex });
}

/**
 * Refuses an X25519 public key that is not canonical or of small order: with it the shared secret would be all zeros
 * (RFC 7748, 6.1). @throws trust.weak-key
 */
export function checkBoxKey(hex: string): void {
  mustBeHex(hex, 'a box key');
  const u = littleEndian(hex);
  if (u >= P) throw fault('weak-key', 'the box key is not in its canonical form', { where: hex });
  // The map of RFC 7748, 4.1 from curve25519 to edwards25519; u = -1 has no image and is of small order itself.
  if (u === P - 1n || isSmallOrderY(mod((u - 1n) * invert(u + 1n)))) {
    throw fault('weak-key', 'the box key is a point of small order', { where: hex });
  }
}
