// The closed set of errors of bundles. A courier meets these: each says in plain words what to do with the stick.
import { defineFaults, EXIT } from '#manifests/errors';

const FROM_STICK = 'Nothing of it was used. Copy it onto the stick again, or take another copy.';
const FROM_SENDER = 'Nothing of it was used. Ask the sender for a new one, and tell them what this one is.';

export const fault = defineFaults('bundle', {
  'no-medium': {
    exit: EXIT.usage,
    next: 'Put the stick in and mount it; a new one is prepared once, so that it carries MEDIUM.json. Nothing was changed.',
  },
  medium: { exit: EXIT.refused, next: 'This stick was prepared for another site, direction or publisher; take the right one.' },
  'no-bundle': { exit: EXIT.usage, next: 'Look whether this is the right stick; an export that was interrupted is run again.' },
  unsigned: { exit: EXIT.refused, next: FROM_SENDER },
  signature: { exit: EXIT.refused, next: FROM_SENDER },
  malformed: { exit: EXIT.refused, next: FROM_SENDER },
  'unknown-version': { exit: EXIT.refused, next: 'It was made by a newer patchferry; bring this side up to date first.' },
  'other-kind': {
    exit: EXIT.refused,
    next: 'This side takes bundles of the other direction; look whether sticks were mixed up.',
  },
  'other-site': { exit: EXIT.refused, next: 'Take it to the site it names; nothing was used here.' },
  older: { exit: EXIT.refused, next: 'A newer one was imported here before; take the newest, and put this one away.' },
  current: { exit: EXIT.current, next: 'Nothing to do: this very bundle was imported before.' },
  expired: { exit: EXIT.refused, next: 'Ask the sender for a new one. If it is new, set the clock here right.' },
  'other-request': {
    exit: EXIT.refused,
    next: 'It answers another request than the last one; make a new request and bring its answer.',
  },
  'file-added': {
    exit: EXIT.refused,
    next: 'Somebody put a file into the bundle, or an export onto this stick was interrupted: run the export again. Nothing was used.',
  },
  'file-removed': { exit: EXIT.refused, next: FROM_STICK },
  'file-changed': { exit: EXIT.refused, next: FROM_STICK },
  truncated: { exit: EXIT.refused, next: FROM_STICK },
  'hostile-entry': { exit: EXIT.refused, next: FROM_SENDER },
  'other-format': { exit: EXIT.refused, next: FROM_SENDER },
  'too-large': { exit: EXIT.refused, next: FROM_SENDER },
  sealed: { exit: EXIT.refused, next: 'It is sealed for somebody else; bring it to the site it names.' },
  incomplete: { exit: EXIT.deferred, next: 'Import the other sticks too; what has arrived is kept.' },
  'no-space': { exit: EXIT.usage, next: 'Make room, or use a larger medium or several; what has been copied is kept.' },
  'medium-gone': {
    exit: EXIT.unreachable,
    next: 'Put the stick back in and run the same command again; it goes on where it stopped.',
  },
  unwritable: { exit: EXIT.usage, next: 'Check that the medium is not write-protected and that this user may write there.' },
  'source-changed': {
    exit: EXIT.refused,
    next: 'A file changed while it was being packed, or is damaged: check it, then export again.',
  },
  name: { exit: EXIT.usage, next: 'Use plain names: letters, digits, dots, dashes.' },
  'no-7zip': {
    exit: EXIT.usage,
    next: 'Put the file 7zz of the build beside the program, or install 7-Zip (7zz or 7z on PATH); or use a folder or a tar file instead.',
  },
  request: { exit: EXIT.refused, next: 'Make the request anew on the closed side; nothing of this one was used.' },
  receipt: { exit: EXIT.refused, next: 'Read it as a note only: it is no proof. Ask the closed side for a new one.' },
});
