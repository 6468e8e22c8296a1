// Every bound of this folder, in one object with units. Nothing is read, kept or walked beyond these.

export interface TrustLimits {
  /** Bytes of one root file. */
  readonly rootBytes: number;
  /** Bytes of the timestamp file, which no signed length protects. */
  readonly timestampBytes: number;
  /** Bytes of the snapshot file when the timestamp states no length; never more even if it does. */
  readonly snapshotBytes: number;
  /** Bytes of one targets file (top or delegated) when the snapshot states no length; never more even if it does. */
  readonly targetsBytes: number;
  /** Bytes of one signed document read into memory with `readTarget`. */
  readonly targetBytes: number;
  /** New root versions followed in one refresh (TUF specification, 5.3.3). */
  readonly rootRotations: number;
  /** Roles visited in one search for a target (5.6.7.1). */
  readonly searchRoles: number;
  /** Levels of delegation under the top targets role. */
  readonly delegationDepth: number;
  /** Delegated roles loaded in one refresh; a repository with hash bins has one role per bin. */
  readonly loadedRoles: number;
  /** Milliseconds by which the wall clock may lag behind trusted time before it counts as behind. */
  readonly clockToleranceMs: number;
  /** Milliseconds by which the wall clock may lead trusted time before it counts as suspect. */
  readonly clockLeadMs: number;
  /** Milliseconds by which own results must raise trusted time before that is written to disk. */
  readonly noteStepMs: number;
  /** Metadata files fetched at the same time. */
  readonly parallelFetches: number;
}

const DAY_MS = 86_400_000;

export const TRUST_LIMITS: TrustLimits = {
  rootBytes: 512 * 1024,
  timestampBytes: 16 * 1024,
  snapshotBytes: 4 * 1024 * 1024,
  targetsBytes: 32 * 1024 * 1024,
  targetBytes: 256 * 1024 * 1024,
  rootRotations: 1_024,
  searchRoles: 64,
  delegationDepth: 8,
  loadedRoles: 16_400,
  clockToleranceMs: 5 * 60_000,
  clockLeadMs: 400 * DAY_MS,
  noteStepMs: 60_000,
  parallelFetches: 8,
};

/** Bounds on what one metadata file may hold, whatever its size; not for callers to change. */
export const FORM_LIMITS = {
  /** Levels of nesting in JSON. */
  jsonDepth: 32,
  /** Values (objects, lists, strings, numbers, …) in one JSON file. */
  jsonValues: 2_000_000,
  /** Keys in one file, and key ids in one role. */
  keys: 1_024,
  /** Signatures in one file. */
  signatures: 1_024,
  /** Delegated roles named by one file. */
  delegatedRoles: 4_096,
  /** Path patterns or hash prefixes of one delegation. */
  patterns: 4_096,
  /** Characters of one path pattern or target path. */
  pathCharacters: 1_024,
  /** Characters of a role name. */
  nameCharacters: 255,
  /** Characters of a public key as text (PEM of RSA 8192 has about 1,500). */
  publicKeyCharacters: 4_096,
  /** Hex digits of one signature (RSA 8192). */
  signatureDigits: 2_048,
  /** Bits of succinct hash bins (TAP 15 allows 32). */
  binBits: 32,
} as const;
