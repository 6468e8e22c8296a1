// nginx in front of a relay, or beside it: a server block that serves the mirror's folder as this server does. Pure.
import { INBOX_BYTES, SERVE_LIMITS } from './limits.ts';
import type { ServeRates } from './rates.ts';
import type { TlsFiles } from './tls.ts';

export interface NginxRequest {
  /** The mirror's folder, absolute. */
  readonly mirror: string;
  /** What nginx listens on, `0.0.0.0:8481`. */
  readonly front: string;
  /** What the relay listens on; the inbox, reboot leases and the pages of the relay are passed to it. */
  readonly relay: string;
  /** Certificate and key for nginx; with them the relay is asked by https too. */
  readonly tls?: TlsFiles | undefined;
  readonly rates?: ServeRates | undefined;
}

/** The text of a server block, for `conf.d` or `sites-enabled`. */
export function nginxConfig({ mirror, front, relay, tls, rates = {} }: NginxRequest): string {
  const behind = relay.replace(/^(?:0\.0\.0\.0|):/, '127.0.0.1:').replace(/^\[::\]:/, '[::1]:');
  const seconds = (ms: number) => `${Math.ceil(ms / 1_000)}s`;
  const secured =
    tls === undefined
      ? []
      : [
          `ssl_certificate ${quoted(tls.cert)};`,
          `ssl_certificate_key ${quoted(tls.key)};`,
          'ssl_protocols TLSv1.2 TLSv1.3;',
          ...(tls.clientCa === undefined ? [] : [`ssl_client_certificate ${quoted(tls.clientCa)};`, 'ssl_verify_client on;']),
        ];
  // A relay with mutual TLS knows this front by the relay's own certificate: see `strangerOf`.
  const shown =
    tls?.clientCa === undefined
      ? []
      : [`proxy_ssl_certificate ${quoted(tls.cert)};`, `proxy_ssl_certificate_key ${quoted(tls.key)};`];
  const pass = `        proxy_pass ${tls === undefined ? 'http' : 'https'}://${behind};`;
  const limited = rates.ofOne === undefined ? [] : [`limit_rate ${rates.ofOne};  # bytes a second of a connection`];
  const lines = [
    '# Made by `patchferry-relay nginx-config`: nginx serves the mirror, the relay takes results in.',
    'server {',
    `    listen ${front}${tls === undefined ? '' : ' ssl'};`,
    ...secured.map((line) => `    ${line}`),
    `    root ${quoted(`${mirror}/current`)};  # a link that the relay replaces; never name a generation here`,
    '',
    '    # Files go as they are: documents are compressed already, and what is signed is these very bytes.',
    '    gzip off;',
    '    types { }',
    '    default_type application/octet-stream;',
    '    etag on;',
    '    max_ranges 1;',
    '    sendfile on;',
    '    tcp_nopush on;',
    '    # A new generation is seen within these seconds.',
    '    open_file_cache max=20000 inactive=60s;',
    '    open_file_cache_valid 2s;',
    '',
    `    client_header_timeout ${seconds(SERVE_LIMITS.headersMs)};`,
    `    client_body_timeout ${seconds(SERVE_LIMITS.idleMs)};`,
    `    send_timeout ${seconds(SERVE_LIMITS.idleMs)};`,
    `    keepalive_timeout ${seconds(SERVE_LIMITS.keepAliveMs)};`,
    `    large_client_header_buffers 4 ${SERVE_LIMITS.headerBytes};`,
    ...limited.map((line) => `    ${line}`),
    '',
    '    # What is passed on: the relay counts each client for itself, and waits for nobody longer than it would without nginx.',
    '    proxy_http_version 1.1;',
    '    proxy_set_header Connection "";',
    '    proxy_set_header Host $host;',
    '    proxy_set_header X-Real-IP $remote_addr;',
    '    proxy_read_timeout 60s;',
    ...shown.map((line) => `    ${line}`),
    '',
    '    location ~ /\\. { return 404; }  # downloads in the making',
    '    location /metadata/ {',
    '        limit_except GET { deny all; }',
    '        add_header Cache-Control "no-cache";',
    '    }',
    '    location /targets/ {',
    '        limit_except GET { deny all; }',
    '        add_header Cache-Control "public, max-age=31536000, immutable";',
    '    }',
    '    location /payloads/ {',
    '        limit_except GET { deny all; }',
    '        add_header Cache-Control "public, max-age=31536000, immutable";',
    '        # What is not here (yet) the relay may fetch on demand.',
    '        error_page 404 = @relay;',
    '    }',
    '    location @relay {',
    pass,
    '    }',
    '    location /inbox/ {',
    `        client_max_body_size ${INBOX_BYTES};`,
    pass,
    '    }',
    '    # Reboot leases, halts of the site, what its relays count, and the pages for people and monitoring.',
    ...['/v1/', '/site-halts/', '/site-runs/', '/site', '= /metrics', '= /healthz', '= /readyz'].flatMap((path) => [
      `    location ${path} {`,
      pass,
      '    }',
    ]),
    '    location / { return 404; }',
    '}',
  ];
  return `${lines.join('\n')}\n`;
}

/** A parameter in quotes; nginx knows variables in it, so a dollar sign cannot be. */
function quoted(path: string): string {
  if (/["\\$\n]/.test(path)) throw new TypeError(`${JSON.stringify(path)} cannot be written into an nginx configuration`);
  return `"${path}"`;
}
