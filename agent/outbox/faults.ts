// Error codes and bounds of the outbox.
import { defineFaults, EXIT } from '#manifests/errors';

export const fault = defineFaults('outbox', {
  'not-enrolled': { exit: EXIT.usage, next: 'Enrol this host: `agent enroll --code CODE --relay URL --root root.json`.' },
  code: { exit: EXIT.usage, next: 'Type the activation code as the publisher printed it: groups of four letters and digits.' },
  'other-identity': {
    exit: EXIT.usage,
    next: 'This state folder belongs to a host that is enrolled already; use another --state-dir.',
  },
  reverted: {
    exit: EXIT.findings,
    next: 'Nothing is to be done: the host has scanned anew and its results go on after the ack.',
  },
  fork: { exit: EXIT.findings, next: 'Two machines hold one identity: enrol one of them anew in a fresh state folder.' },
});

export const OUTBOX_LIMITS = {
  /** A result that no ack has covered is sent again after this long, then after twice as long each time, milliseconds. */
  againMs: 6 * 3_600_000,
  /** The same, when the relay that took it is not the one in use any more; and when a relay says it has room again for it. */
  againElsewhereMs: 3_600_000,
  /** But at least this often: a publisher may sign acks once a week, and thin lines shall not carry the same results daily. */
  againAtMostMs: 7 * 24 * 3_600_000,
  /** Bytes of a relay's answer that are read. */
  answerBytes: 16 * 1024,
  /** Sent in one go; the rest follows with the next poll. */
  perUpload: 500,
  /** Above this many bytes waiting, `status` and `doctor` warn. Nothing is dropped. */
  warnBytes: 64 * 1024 * 1024,
  /** A scan that found nothing new is told at least this often, milliseconds. */
  scanEveryMs: 24 * 3_600_000,
  /** The same alert is not told again within this time, milliseconds. */
  alertEveryMs: 24 * 3_600_000,
} as const;
