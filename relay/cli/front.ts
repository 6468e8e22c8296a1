// `nginx-config`: another web server in front of the mirror's folder.
import { resolve } from 'node:path';
import { EXIT } from '#manifests/errors';
import type { CommandSpec } from '#manifests/platform/cli';
import { nginxConfig } from '../serve/index.ts';
import { foldersOf, serveRatesOf, settingsOf } from '../settings.ts';

export const nginxConfigCommand: CommandSpec = {
  name: 'nginx-config',
  summary: 'print an nginx server block that serves the mirror and passes the inbox to this relay',
  options: [{ flags: '--front <host:port>', says: 'what nginx listens on (default 0.0.0.0:8481)' }],
  examples: [
    { line: 'patchferry-relay nginx-config > /etc/nginx/conf.d/patchferry.conf', says: 'then `nginx -t`, and reload nginx' },
  ],
  run(context) {
    const settings = settingsOf(context);
    const front = typeof context.options['front'] === 'string' ? context.options['front'] : '0.0.0.0:8481';
    const text = nginxConfig({
      mirror: resolve(foldersOf(settings).mirror),
      front,
      relay: settings.listen,
      tls: settings.tls,
      rates: serveRatesOf(settings),
    });
    return Promise.resolve({
      exit: EXIT.done,
      text: text.trimEnd(),
      report: { schema: 'patchferry/relay-nginx-config', schemaVersion: 1, front, text },
    });
  },
};
