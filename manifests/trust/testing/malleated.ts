// A signature that says the same in other bytes: S + L, which RFC 8032 (5.1.7) wants refused and tweetnacl takes.
const L = 2n ** 252n + 27742317777372353535851937790883648493n;

export function malleated(signature: Uint8Array): Uint8Array {
  const s = BigInt(`0x${Buffer.from(Buffer.from(signature.subarray(32)).toReversed()).toString('hex')}`) + L;
  return Buffer.concat([signature.subarray(0, 32), Buffer.from(s.toString(16).padStart(64, '0'), 'hex').toReversed()]);
}
