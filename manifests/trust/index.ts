// What may be believed: keys, TUF metadata written and verified, trusted time, sealed envelopes. This is the way in.
export { openTrust, type TrustClient, type TrustedTarget, type TrustOptions, type Versions } from './client.ts';
export {
  envelopeHash,
  openEnvelope,
  type SealInput,
  sealEnvelope,
  verifyEnvelope,
  verifyEnvelopeBeside,
} from './envelope/envelope.ts';
export { ENVELOPE_LIMITS, type EnvelopeHeader, type EnvelopeKind, inspectEnvelope, isDetailHead } from './envelope/layout.ts';
export type { Freshness } from './freshness.ts';
export { KEY_FILE_LIMITS, readKeyFile, type StoredKey, writeKeyFile } from './keys/file.ts';
export {
  agentIdOf,
  type BoxKeyPair,
  generateBoxKey,
  generateSigningKey,
  type RandomBytes,
  type SigningKeyPair,
} from './keys/pairs.ts';
export { type CommandSignerOptions, commandSigner, fileSigner, memorySigner, type Signer } from './keys/signers.ts';
export { TRUST_LIMITS, type TrustLimits } from './limits.ts';
export { type OpenedRecord, openRecord, RECORD_LIMITS, signRecord } from './record.ts';
export type { Fetcher, RefreshOptions } from './refresh.ts';
export {
  parseRequestHeader,
  REQUEST_HEADER,
  type RequestHeader,
  type SignedRequest,
  signRequest,
  verifyRequest,
} from './request.ts';
export { keyIdOf, type TufKey, tufKeyOf, verifyOne } from './verify/keys.ts';
export { matchesPattern } from './verify/paths.ts';
export { checkBoxKey, checkSigningKey } from './verify/points.ts';
export { nextRoot, trustedRoot } from './verify/workflow.ts';
export {
  buildRoot,
  buildSnapshot,
  buildTargets,
  buildTimestamp,
  type CommonInput,
  type DelegationInput,
  type MetaInput,
  type RoleKeys,
  type RootInput,
  type Signed,
  type SnapshotInput,
  type TargetsInput,
  type TimestampInput,
} from './write/build.ts';
export { addSignature, holdingSignatures, readAny, signMetadata } from './write/sign.ts';
