// Error codes of the catalog store.
import { defineFaults, EXIT } from '#manifests/errors';

export const fault = defineFaults('catalog', {
  newer: { exit: EXIT.refused, next: 'A newer patchferry wrote this store: update this one, or use that one.' },
  damaged: {
    exit: EXIT.handsNeeded,
    next: 'Put the file back from a copy. Without one, remove it and sync: first-seen dates then start anew.',
  },
  'no-product': { exit: EXIT.usage, next: 'Sync a source of this product first; `source list` shows the products there are.' },
});
