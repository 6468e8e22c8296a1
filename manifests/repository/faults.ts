// Error codes of the repository's files.
import { defineFaults, EXIT } from '#manifests/errors';

export const fault = defineFaults('repository', {
  name: { exit: EXIT.refused, next: 'Whoever wrote this name must correct it; nothing was read or written under it.' },
  'payload-hash': { exit: EXIT.refused, next: 'The bytes are not what was named; fetch them again from another place.' },
  'payload-size': { exit: EXIT.refused, next: 'The bytes are not what was named; fetch them again from another place.' },
  unwritable: { exit: EXIT.usage, next: 'Check free space, permissions, and that the file system is writable.' },
});
