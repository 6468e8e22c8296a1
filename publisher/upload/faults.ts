// Bounds of uploading, with units, and its error codes.
import { defineFaults, EXIT } from '#manifests/errors';

export const UPLOAD_LIMITS = {
  /** Bytes of one object: what a store takes in one request. */
  objectBytes: 5 * 1024 ** 3,
  /** Objects sent at the same time. */
  parallel: 4,
  /** Tries of one request, and milliseconds before the second; doubled each time. */
  tries: 4,
  firstRetryMs: 500,
  /** Milliseconds for a connection and for an answer to begin. */
  connectMs: 20_000,
  answerMs: 120_000,
  /** Bytes of an answer that is read: a page of a listing, an error. */
  answerBytes: 8 * 1024 * 1024,
  /** Bytes of the file of credentials. */
  credentialsBytes: 64 * 1024,
  /** Times that another publisher may be faster at the timestamp. */
  races: 5,
  /** Objects of a listing. */
  listed: 5_000_000,
} as const;

export const fault = defineFaults('upload', {
  place: { exit: EXIT.usage, next: 'Name the place as s3://BUCKET or s3://BUCKET/PREFIX, and the server with --endpoint.' },
  credentials: {
    exit: EXIT.usage,
    next: 'Give a file that only its owner may read (chmod 600) with aws_access_key_id = … and aws_secret_access_key = ….',
  },
  empty: { exit: EXIT.usage, next: 'Run `publisher publish` first.' },
  refused: { exit: EXIT.usage, next: 'Look at bucket, region, key and rights at the store; its own words are above.' },
  unreachable: {
    exit: EXIT.unreachable,
    next: 'Check address and line, and run it again: what has arrived is not sent again.',
  },
  older: {
    exit: EXIT.refused,
    next: 'Another publication went there since: upload from the home that made it, or look how two came to be.',
  },
  raced: { exit: EXIT.deferred, next: 'Run it again when the other upload has ended; let one publisher at a time upload.' },
  other: { exit: EXIT.refused, next: 'The bucket holds the repository of another root: use another bucket or prefix.' },
  large: { exit: EXIT.usage, next: 'Objects of more than 5 GiB are not uploaded; serve these from a relay.' },
});
