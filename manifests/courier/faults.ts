// The closed set of errors of the courier's loops: what a site says about its keys, its sticks and the order of bundles.
import { defineFaults, EXIT } from '#manifests/errors';

export const fault = defineFaults('courier', {
  card: { exit: EXIT.usage, next: 'Copy the whole line that `relay courier key` (or `agent courier key`) prints at the site.' },
  'no-site': { exit: EXIT.usage, next: 'Give this side a name once: `site: NAME` in the settings, as the publisher knows it.' },
  'other-name': { exit: EXIT.usage, next: 'Set the name back; a site keeps the name its keys were made with.' },
  'no-root': { exit: EXIT.usage, next: 'Set the root.json that the publisher handed over; bundles are checked against it.' },
  'no-folder': { exit: EXIT.usage, next: 'Put the stick in and mount it, or correct the path. Nothing was changed.' },
  nothing: { exit: EXIT.usage, next: 'Look whether this is the right stick; an export that was interrupted is run again.' },
  gap: {
    exit: EXIT.refused,
    next: 'Import the bundle it builds on first, or ask the publisher for `bundle export SITE STICK --full`.',
  },
  contents: {
    exit: EXIT.refused,
    next: 'Nothing of it was used. Ask the sender for a new one, and tell them what this one is.',
  },
  state: {
    exit: EXIT.handsNeeded,
    next: 'Take the file back from a backup, or remove it: the next bundle must then be a full one.',
  },
});
