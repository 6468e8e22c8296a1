// What went wrong on a line, by our codes: the library's, the system's and OpenSSL's errors, told apart.
import { PatchferryError } from '#manifests/errors';
import { fault } from './origin.ts';

const UNREACHABLE = new Set([
  'ECONNREFUSED',
  'ENOTFOUND',
  'EAI_AGAIN',
  'EHOSTUNREACH',
  'ENETUNREACH',
  'EADDRNOTAVAIL',
  'ENETDOWN',
]);

/** The library's and the system's errors by our codes (with a proxy, who cannot be reached is the proxy); what the caller aborted stays what it is. */
export function named(cause: unknown, where: string, signal: AbortSignal, proxy?: string): Error {
  if (cause instanceof PatchferryError) return cause;
  if (signal.aborted) return signal.reason as Error;
  const error = cause as Error & { code?: string };
  const code = error.code ?? '';
  const text = `${where}: ${error.message === '' ? code : error.message}`;
  if (/^Proxy (?:Authentication|response)/.test(error.message)) return fault('proxy', text, { where, cause });
  if (proxy !== undefined && (UNREACHABLE.has(code) || code === 'UND_ERR_CONNECT_TIMEOUT'))
    return fault('proxy', `the proxy ${proxy} cannot be reached: ${error.message} (on the way to ${where})`, { where, cause });
  if (UNREACHABLE.has(code)) return fault('unreachable', text, { where, cause });
  if (code === 'UND_ERR_CONNECT_TIMEOUT' || code === 'ETIMEDOUT') return fault('timeout', text, { where, cause });
  if (code === 'UND_ERR_HEADERS_TIMEOUT' || code === 'UND_ERR_BODY_TIMEOUT') return fault('slow', text, { where, cause });
  if (code === 'UND_ERR_HEADERS_OVERFLOW') return fault('too-large', `${where}: its headers are too large`, { where, cause });
  const kind = TLS_KINDS.find(([pattern]) => pattern.test(code));
  if (kind !== undefined) return fault(kind[1], `${where}: ${kind[2]} (${error.message || code})`, { where, cause });
  return fault('cut', text, { where, cause });
}

/** Which code of OpenSSL and Node means what, the first that fits; what an alert says is the other side's view of this one. */
const TLS_KINDS = [
  [
    /^CERT_(?:HAS_EXPIRED|NOT_YET_VALID)$/,
    'tls-expired',
    'its certificate is over, or not valid yet, by the clock of this host',
  ],
  [/^ERR_TLS_CERT_ALTNAME|^HOSTNAME/, 'tls-name', 'its certificate is for another name'],
  [
    /^ERR_SSL_.*ALERT_(?:CERTIFICATE|BAD_CERTIFICATE|UNSUPPORTED_CERTIFICATE|UNKNOWN_CA|ACCESS_DENIED|HANDSHAKE_FAILURE)/,
    'tls-client',
    'it does not accept the certificate of this side, or wants one',
  ],
  [
    /^(?:DEPTH_ZERO|SELF_SIGNED|UNABLE_TO|CERT_UNTRUSTED|CERT_SIGNATURE|INVALID_CA|INVALID_PURPOSE|CERT_)/,
    'tls-authority',
    'no CA that is accepted here has signed its certificate',
  ],
  [/^ERR_(?:TLS|SSL)/, 'tls', 'it cannot be talked to by TLS'],
] as const;
