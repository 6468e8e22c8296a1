// Error codes of the relay's courier; those of bundles and of the loops as such are in manifests/bundle and manifests/courier.
import { defineFaults, EXIT } from '#manifests/errors';

export const fault = defineFaults('relay-courier', {
  'nothing-leaves': {
    exit: EXIT.usage,
    next: 'The settings say that nothing leaves this site (`returns: nothing`); the publisher fills bundles from its profile.',
  },
  state: {
    exit: EXIT.handsNeeded,
    next: 'Remove the file: everything that waits is then exported once more, which does no harm.',
  },
});
