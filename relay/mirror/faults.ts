// Error codes of the mirror.
import { defineFaults, EXIT } from '#manifests/errors';

export const fault = defineFaults('mirror', {
  'bad-root': {
    exit: EXIT.usage,
    next: 'Give the very file that the publisher handed over (upstreamRoot), whole and unchanged.',
  },
  damaged: { exit: EXIT.refused, next: 'Run `verify`, then `sync`: damaged files are fetched again.' },
  moving: { exit: EXIT.unreachable, next: 'The upstream changed faster than it could be read; sync again.' },
  'no-root': { exit: EXIT.usage, next: 'Set upstreamRoot to the root.json that the publisher handed over.' },
  'no-upstream': { exit: EXIT.usage, next: 'Name at least one address or folder under upstream.' },
  empty: { exit: EXIT.findings, next: 'Run `sync` first.' },
});
