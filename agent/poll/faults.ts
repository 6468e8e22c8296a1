// Error codes and bounds of polling.
import { defineFaults, EXIT } from '#manifests/errors';

export const fault = defineFaults('poll', {
  'no-relay': { exit: EXIT.usage, next: 'Name a relay in agent.yaml (`relays:`), or enrol with --relay.' },
  unreachable: {
    exit: EXIT.unreachable,
    next: 'Read the reason for each relay above; the host goes on with its last verified state.',
  },
  refused: {
    exit: EXIT.refused,
    next: 'Read the reason for each relay above; nothing of it was used, the last verified state stays.',
  },
  'document-missing': { exit: EXIT.unreachable, next: 'The next poll fetches it again.' },
});

export const POLL_LIMITS = {
  /** A relay that failed rests this long at first, milliseconds; doubled with each further failure. */
  firstRestMs: 60_000,
  longestRestMs: 3_600_000,
  /** Between two polls where the group does not say, minutes. */
  minutes: 60,
  /** The same while this host waits for approval. */
  waitingMinutes: 5,
} as const;
