// Error codes of the relay's server.
import { defineFaults, EXIT } from '#manifests/errors';

export const fault = defineFaults('serve', {
  listen: { exit: EXIT.usage, next: 'Choose another address or port (listen), or stop who uses it.' },
  tls: { exit: EXIT.usage, next: 'Give PEM files that belong together under tls: cert, key and, for clients, clientCa.' },
});
