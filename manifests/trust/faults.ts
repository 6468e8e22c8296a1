// The closed set of errors of this folder. Each code names the attack or the mistake; all refuse, none is a warning.
import { defineFaults, EXIT } from '#manifests/errors';

const AT_SOURCE = 'Nothing was changed here; try another relay, and tell the publisher if it stays so.';
const PUBLISHER = 'The publisher must sign it anew; nothing of it was used.';

export const fault = defineFaults('trust', {
  malformed: { exit: EXIT.refused, next: PUBLISHER },
  expires: { exit: EXIT.refused, next: PUBLISHER },
  expired: { exit: EXIT.refused, next: 'Fetch newer metadata, or set the clock right; until then nothing new is installed.' },
  threshold: { exit: EXIT.refused, next: AT_SOURCE },
  'key-id': { exit: EXIT.refused, next: PUBLISHER },
  'weak-key': { exit: EXIT.refused, next: 'Make a new key pair; this one gives no protection.' },
  'weak-hash': { exit: EXIT.refused, next: PUBLISHER },
  rollback: { exit: EXIT.refused, next: AT_SOURCE },
  'mix-and-match': { exit: EXIT.refused, next: AT_SOURCE },
  'wrong-role': { exit: EXIT.refused, next: AT_SOURCE },
  'root-chain': { exit: EXIT.refused, next: AT_SOURCE },
  'endless-data': { exit: EXIT.refused, next: AT_SOURCE },
  delegation: { exit: EXIT.refused, next: PUBLISHER },
  missing: { exit: EXIT.refused, next: 'The repository lacks a file that its own signed metadata names; try another relay.' },
  'target-missing': { exit: EXIT.refused, next: 'The signed metadata does not offer this path; check the name, or refresh.' },
  'target-path': { exit: EXIT.refused, next: PUBLISHER },
  'target-hash': { exit: EXIT.refused, next: AT_SOURCE },
  state: {
    exit: EXIT.usage,
    next: 'Check free space, permissions, and that the file system is writable; the old state stays.',
  },
  'no-root': { exit: EXIT.refused, next: 'Hand over the pinned root again, from a source you trust.' },
  'other-root': { exit: EXIT.refused, next: 'This folder trusts another repository; use a fresh folder for the new one.' },
  'not-refreshed': { exit: EXIT.refused, next: 'Refresh first: nothing has been verified here yet.' },
  'key-file': {
    exit: EXIT.refused,
    next: 'Check path and permissions (0600); restore the key from its copy if it is damaged.',
  },
  passphrase: { exit: EXIT.refused, next: 'Type the passphrase again; if it is right, the key file is damaged.' },
  signer: { exit: EXIT.refused, next: 'Look at the external signer; what it gave is not a signature of its own key.' },
});
