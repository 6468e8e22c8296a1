// How the other side of a line is reached, as relays and hosts are told in their settings: through a proxy, and who is believed
// at the far end. Integrity never rests on either.
import { z } from 'zod';
import { line, list } from './common.ts';

const file = line(2_000).min(1);

/** An address without its scheme, which would be read as the name of a folder: `relay.example:8480`, `[2001:db8::1]:8480/x`. */
const BARE_ADDRESS = /^(?:[\w.-]+|\[[\da-f:.]+\]):\d{1,5}(?:\/|$)/i;
const OTHER_SCHEME = /^(?!https?:|file:)[a-z][a-z\d+.-]*:\/\//i;

/** A repository or an inbox: an address, or a folder. */
export const reachablePlace = line(2_000)
  .min(1)
  .refine((place) => !BARE_ADDRESS.test(place), 'write http:// or https:// before an address, ./ before a folder')
  .refine((place) => !OTHER_SCHEME.test(place), 'must be an http:// or https:// address, or a folder');

/** Another relay, which takes and answers requests. */
export const relayAddress = line(2_000).regex(/^https?:\/\//i, 'must be an http:// or https:// address');

/** A proxy on the way to other hosts. The password is in a file of its own. */
export const proxySettings = z.strictObject({
  url: line(2_000)
    .regex(/^http:\/\//, 'give the proxy as http://host:port')
    .refine((url) => !/^http:\/\/[^/]*@/.test(url), 'give user and passwordFile beside it: an address holds no password'),
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
