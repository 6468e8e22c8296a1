// Error codes of bundles straight into a host; those of bundles and loops as such are in manifests/bundle and manifests/courier.
import { defineFaults, EXIT } from '#manifests/errors';

export const fault = defineFaults('agent-courier', {
  'no-site': {
    exit: EXIT.usage,
    next: 'Run `agent courier key --site NAME` once, and give the publisher the line that it prints.',
  },
  older: { exit: EXIT.refused, next: 'This host has seen newer signed documents; bring the newest bundle.' },
  state: {
    exit: EXIT.handsNeeded,
    next: 'Remove the file: everything that waits is then exported once more, which does no harm.',
  },
});
