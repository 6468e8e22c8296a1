// Every error of the sources, and their limits, in one place.
import { defineFaults, EXIT } from '#manifests/errors';

export const fault = defineFaults('source', {
  settings: { exit: EXIT.usage, next: 'Correct the named setting of this source; README.md of the sources lists them all.' },
  keyring: {
    exit: EXIT.usage,
    next: 'Point `keyring` at a readable file of OpenPGP public keys, as /usr/share/keyrings/debian-archive-keyring.gpg.',
  },
  state: {
    exit: EXIT.handsNeeded,
    next: 'The record of what was accepted last is damaged. Remove the named file to accept what the vendor serves now.',
  },
  unsigned: { exit: EXIT.refused, next: 'Nothing was believed. Look at what the URL serves; it is not what the vendor signs.' },
  signature: {
    exit: EXIT.refused,
    next: 'Nothing was believed. Check that the keyring is the vendor’s current one, then the mirror and the line to it.',
  },
  malformed: { exit: EXIT.refused, next: 'Nothing was believed. The vendor’s file breaks its own format; tell the vendor.' },
  'weak-hash': { exit: EXIT.refused, next: 'Only SHA-256 is accepted; the vendor must list it.' },
  expired: {
    exit: EXIT.refused,
    next: 'The mirror is stale or frozen, or this clock is wrong. Use another mirror, or check the clock.',
  },
  future: { exit: EXIT.refused, next: 'Check this machine’s clock; if it is right, the vendor’s is not.' },
  rollback: {
    exit: EXIT.refused,
    next: 'The mirror serves an older state than was accepted before. Use another mirror; what was accepted stays.',
  },
  'wrong-suite': { exit: EXIT.refused, next: 'Correct `suite`, or the URL: the repository says it is another one.' },
  'missing-index': { exit: EXIT.usage, next: 'Correct `components` or `architectures` to what the repository has.' },
  missing: { exit: EXIT.unreachable, next: 'Correct `url` and `suite`, or use another mirror.' },
  'index-hash': {
    exit: EXIT.refused,
    next: 'Nothing was believed. Sync again; if it stays, the mirror is inconsistent or tampered with: use another one.',
  },
  'too-large': { exit: EXIT.refused, next: 'It is larger than signed or than its kind may be; nothing of it was used.' },
  payload: { exit: EXIT.refused, next: 'The payload is not what its name says; nothing of it was used.' },
  feed: {
    exit: EXIT.refused,
    next: 'Nothing was believed; point it at known_exploited_vulnerabilities.json as CISA writes it.',
  },
  description: { exit: EXIT.usage, next: 'Correct the named patch.yaml; README.md of the sources shows a complete one.' },
});

export const SOURCE_LIMITS = {
  /** Bytes of a signed InRelease. Debian's largest has 0.2 MB. */
  inReleaseBytes: 8 * 1024 * 1024,
  /** Bytes of a repomd.xml and of its signature. The largest seen have 20 KB. */
  repomdBytes: 4 * 1024 * 1024,
  signatureBytes: 256 * 1024,
  /** Metadata files that a repomd.xml may list. */
  metadataFiles: 200,
  /** Bytes of a keyring file. */
  keyringBytes: 8 * 1024 * 1024,
  /** Files an InRelease may list. */
  releaseFiles: 200_000,
  /** Bytes of a Packages index as it travels, and unpacked (signed sizes beyond are refused unread). */
  indexBytes: 256 * 1024 * 1024,
  indexPlainBytes: 2 * 1024 * 1024 * 1024,
  /** Characters of one stanza of a Packages index. */
  stanzaChars: 1024 * 1024,
  /** Packages in all indexes of one source. */
  packages: 1_000_000,
  /** Bytes of one payload. */
  payloadBytes: 64 * 1024 * 1024 * 1024,
  /** Bytes of a feed; CISA's catalogue has 1.3 MB. */
  feedBytes: 64 * 1024 * 1024,
  /** How far ahead of this clock a vendor's `Date` may be, in milliseconds. */
  futureMs: 60 * 60 * 1000,
  /** Bytes of the source's own record. */
  stateBytes: 64 * 1024,
  /** Payloads fetched at one time. */
  parallelFetches: 4,
  /** Own software: bytes of one patch.yaml, and how many of them a folder may hold. */
  descriptionBytes: 1024 * 1024,
  descriptions: 10_000,
} as const;
