// Error codes of the publisher's sneakernet.
import { defineFaults, EXIT } from '#manifests/errors';

export const fault = defineFaults('airgap', {
  'site-exists': {
    exit: EXIT.usage,
    next: 'Choose another name, or say --replace if the site was made anew and its keys changed.',
  },
  'unknown-site': {
    exit: EXIT.usage,
    next: '`publisher bundle site list` shows the sites; `bundle site add` makes one known.',
  },
  'site-state': { exit: EXIT.handsNeeded, next: 'Take the file back from a backup, or add the site again with --replace.' },
  'nothing-published': { exit: EXIT.usage, next: 'Run `publisher publish` first.' },
  'no-request': {
    exit: EXIT.usage,
    next: 'Bring the stick with REQUEST-SITE.txt from the closed side, or use `bundle export`.',
  },
  'other-site': { exit: EXIT.refused, next: 'Take the request of the right site; this one was not used.' },
  'old-request': { exit: EXIT.refused, next: 'A newer request of this site was seen here; take the stick with that one.' },
  chunks: { exit: EXIT.usage, next: 'Write them as the import names them, for example --chunks 7,12-14.' },
  packages: { exit: EXIT.usage, next: 'Give a text file with one package name in a line.' },
  'no-sites': { exit: EXIT.usage, next: '`publisher bundle site add CARD` makes one known; --site NAME chooses one.' },
  none: { exit: EXIT.usage, next: 'Look whether this is the right stick or folder.' },
});
