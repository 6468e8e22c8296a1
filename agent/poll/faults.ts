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
  'relay-behind': {
    exit: EXIT.unreachable,
    next: 'Nothing need be done: it catches up with its next sync. If it does not within a day, look at its upstream.',
  },
  'line-closed': { exit: EXIT.deferred, next: '`agent status` says when payloads may come over this line again.' },
  'document-missing': { exit: EXIT.unreachable, next: 'The next poll fetches it again.' },
});

export const POLL_LIMITS = {
  /** Between two polls where the group does not say, minutes. */
  minutes: 60,
  /** The same while this host waits for approval. */
  waitingMinutes: 5,
} as const;
