// How the other side of a line is reached, as relays and hosts are told in their settings: through a proxy, and who is believed
// at the far end. Integrity never rests on either.
import { z } from 'zod';
import { line, list } from './common.ts';

const file = line(2_000).min(1);

/** A proxy on the way to other hosts. The password is in a file of its own. */
export const proxySettings = z.strictObject({
  url: line(2_000).regex(/^http:\/\//, 'give the proxy as http://host:port'),
  user: line(200).optional(),
  passwordFile: file.optional(),
  /** Hosts that are asked directly. */
  except: list(line(255).min(1), 100).default([]),
});
export type ProxySettings = z.infer<typeof proxySettings>;

/** PEM files: the only CAs that are accepted of the other side, and this side's own certificate with its key (mutual TLS). */
export const tlsFiles = z
  .strictObject({ ca: file.optional(), cert: file.optional(), key: file.optional() })
  .refine(({ cert, key }) => (cert === undefined) === (key === undefined), 'give cert and key together');
export type TlsFiles = z.infer<typeof tlsFiles>;
