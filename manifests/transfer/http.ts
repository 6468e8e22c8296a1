// An origin over HTTP(S): conditional requests, bounded bodies, ranges, time-outs and a minimum rate; no redirect elsewhere.
import type { SecureContext } from 'node:tls';
import { Agent, buildConnector, type Dispatcher, ProxyAgent } from 'undici';
import { PatchferryError } from '#manifests/errors';
import { pause } from '#manifests/platform/clock';
import { type Guard, guard } from './guard.ts';
import { type Addresses, turnedLookup } from './lookup.ts';
import { fault, looksLikePage, type Origin, TRANSFER_LIMITS, type TransferLimits } from './origin.ts';
import type { Rate } from './rate.ts';
import { type PartTag, receive, type Stream } from './receive.ts';
import { openTls, type TlsEnd } from './tls.ts';

export interface HttpOptions {
  /** Who is believed at the far end of https, and what this side shows there; the system's CAs otherwise. */
  readonly tls?: TlsEnd | undefined;
  /** A proxy between here and there. */
  readonly proxy?: ProxyOptions | undefined;
  /** How fast the line may be used; shared by all origins behind one line. */
  readonly rate?: Rate | undefined;
  /** Sent with every request (names a proxy wants, say). */
  readonly headers?: Readonly<Record<string, string>> | undefined;
  readonly limits?: Partial<TransferLimits> | undefined;
  /** In place of the system's resolver. */
  readonly addresses?: Addresses | undefined;
}

/** An HTTP proxy: plain requests are sent to it, https goes through it (CONNECT). */
export interface ProxyOptions {
  /** `http://host:port`. */
  readonly url: string;
  /** For `Proxy-Authorization: Basic`. */
  readonly user?: string | undefined;
  /** Asked when a connection is needed. */
  readonly password?: (() => string) | undefined;
  /** Hosts that are asked directly: names, `.domain`, `host:port`, `*`. */
  readonly except?: readonly string[] | undefined;
}

/** What is read of an answer nobody wants, so that its connection can be used again. */
const DROP_LIMITS = { bytes: 4_096, ms: 2_000 } as const;

let system: TlsEnd | undefined;
/** Made once: hundreds of CAs are read for it. */
const systemTls = () => (system ??= openTls({}));

interface Answer {
  readonly status: number;
  readonly header: (name: string) => string | undefined;
  readonly body: AsyncIterable<Uint8Array>;
  /** Lets go of the connection without reading what is left. */
  drop(): void;
}

/** @param url address of the repository's root; a path is kept. @throws transfer.address */
export function httpOrigin(url: string, options: HttpOptions = {}): Origin {
  const base = parseBase(url);
  const limits: TransferLimits = { ...TRANSFER_LIMITS, ...options.limits };
  const { proxy, rate } = options;
  /** The proxy that is asked, if any. */
  const through = proxy === undefined || isExcepted(base, proxy.except ?? []) ? undefined : proxy.url;
  const shared = {
    connections: limits.connections,
    pipelining: 1,
    maxHeaderSize: limits.headerBytes,
    headersTimeout: limits.headersMs,
    bodyTimeout: limits.windowMs * 2, // the guard's window ends it sooner
    keepAliveTimeout: limits.keepAliveMs,
    keepAliveMaxTimeout: limits.keepAliveMs,
  };
  /** What the other side said against this side in TLS: it comes after the handshake, and the library only tells of a closed line. */
  const alerts = { count: 0, last: undefined as Error | undefined };
  /** Renewals until now: each begins with the next address of the name. */
  let turns = 0;
  const lookup = turnedLookup(() => turns, options.addresses);
  const open = (secureContext: SecureContext | undefined): Dispatcher => {
    const secured = {
      timeout: limits.connectMs,
      allowH2: false,
      lookup,
      ...(secureContext === undefined ? {} : { secureContext }),
    };
    if (proxy === undefined || through === undefined) {
      const connector = buildConnector(secured);
      const connect: typeof connector = (to, told) =>
        connector(to, (...outcome) => {
          outcome[1]?.on('error', (error: NodeJS.ErrnoException) => {
            if (error.code?.startsWith('ERR_SSL') === true) Object.assign(alerts, { count: alerts.count + 1, last: error });
          });
          told(...outcome);
        });
      return new Agent({ ...shared, connect });
    }
    return new ProxyAgent({
      ...shared,
      uri: proxy.url,
      requestTls: secured,
      allowH2: false,
      proxyTls: { timeout: limits.connectMs },
      // Plain http is sent to the proxy as it is; only https needs a way through.
      proxyTunnel: secureContext !== undefined,
      ...(proxy.user === undefined ? {} : { token: `Basic ${basic(proxy.user, proxy.password?.() ?? '')}` }),
    });
  };
  const opened = new Map<string, { readonly context: SecureContext | undefined; readonly dispatcher: Dispatcher }>();
  const leaving = new Set<Promise<void>>();
  const leave = (dispatcher: Dispatcher) => {
    const left = dispatcher.close();
    leaving.add(left);
    void left.finally(() => leaving.delete(left));
  };
  /** The connections of a protocol; new ones when the certificates have changed, the old ones end what they are at. */
  const dispatcherOf = (protocol: string): Dispatcher => {
    const context = protocol === 'https:' ? (options.tls ?? systemTls()).context() : undefined;
    const known = opened.get(protocol);
    if (known !== undefined && known.context === context) return known.dispatcher;
    const dispatcher = open(context);
    opened.set(protocol, { context, dispatcher });
    if (known !== undefined) leave(known.dispatcher);
    return dispatcher;
  };

  async function request(
    method: 'GET' | 'POST',
    path: string,
    headers: Record<string, string>,
    signal: AbortSignal | undefined,
    body?: Uint8Array,
  ): Promise<Answer> {
    let target = new URL(base.href + path);
    const seen = new Set<string>();
    for (;;) {
      if (seen.has(target.href)) throw fault('redirect', `${target.href} redirects in a loop`, { where: target.href });
      seen.add(target.href);
      const answer = await withoutStranger(await once(method, target, headers, signal, body), target);
      if (answer.status < 300 || answer.status > 399 || answer.status === 304) return answer;
      answer.drop();
      target = followed(target, answer, method, seen.size > limits.redirects);
    }
  }

  async function once(
    method: 'GET' | 'POST',
    target: URL,
    headers: Record<string, string>,
    signal: AbortSignal | undefined,
    body: Uint8Array | undefined,
  ): Promise<Answer> {
    const where = target.href;
    const waited = rate === undefined || body === undefined ? 0 : rate.take(body.length);
    if (waited > 0) await pause(waited, signal);
    const dispatcher = dispatcherOf(target.protocol);
    const alertsBefore = alerts.count;
    const watch = guard(where, limits, signal);
    try {
      const response: Dispatcher.ResponseData = await dispatcher.request({
        origin: target.origin,
        path: target.pathname,
        method,
        headers: { 'accept-encoding': 'identity', ...options.headers, ...headers },
        signal: watch.signal,
        ...(body === undefined ? {} : { body }),
      });
      watch.gotHeaders();
      response.body.on('error', () => undefined); // its reader is told through the iterator; a dropped body has none
      const header = (name: string) => {
        const value = response.headers[name];
        return Array.isArray(value) ? value[0] : value;
      };
      return {
        status: response.statusCode,
        header,
        body: guarded(response.body, where, watch, rate),
        drop: () => {
          watch.end();
          response.body.dump({ limit: DROP_LIMITS.bytes, signal: AbortSignal.timeout(DROP_LIMITS.ms) }).catch(() => undefined);
        },
      };
    } catch (cause) {
      watch.end();
      throw named(alerts.count > alertsBefore ? alerts.last : cause, where, watch.signal, through);
    }
  }

  /** Faults common to every answer that should carry a file. */
  async function refuseOthers(answer: Answer, where: string): Promise<void> {
    if (answer.status !== 200 && answer.status !== 206) {
      answer.drop();
      throw fault('status', `${where} answers with status ${answer.status}`, { where });
    }
    const encoding = answer.header('content-encoding');
    if (encoding !== undefined && encoding !== 'identity') {
      answer.drop();
      throw fault('encoding', `${where} sends ${encoding.slice(0, 40)} although only the plain file was asked for`, { where });
    }
  }

  return {
    name: base.href.replace(/\/$/, ''),

    async fetchSmall(path, { limitBytes, etag, signal }) {
      const where = base.href + path;
      const answer = await request('GET', path, conditionOf(etag), signal);
      if (answer.status === 304 && etag !== undefined) {
        answer.drop();
        return { kind: 'unchanged' };
      }
      if (answer.status === 404 || answer.status === 410) {
        answer.drop();
        return { kind: 'missing' };
      }
      await refuseOthers(answer, where);
      const bytes = await collect(answer, limitBytes, where);
      if (looksLikePage(bytes)) throw fault('portal', `${where} answers with a web page instead of the file`, { where });
      return { kind: 'found', bytes, etag: answer.header('etag') ?? datedValidator(answer, Date.now()) };
    },

    async download(path, want, destination, downloadOptions = {}) {
      const ask = async (offset: number, tag: PartTag | undefined): Promise<Stream> => {
        const where = base.href + path;
        const range = offset === 0 ? {} : rangeHeaders(path, offset, tag, base.href, want.sha256);
        let answer = await request('GET', path, range, downloadOptions.signal);
        if (answer.status === 416 || (answer.status === 206 && !isRestOf(answer, offset, want.size))) {
          answer.drop(); // a range of something else: the whole is asked for, never a splice (S23)
          answer = await request('GET', path, {}, downloadOptions.signal);
          if (answer.status === 206) {
            answer.drop();
            throw fault('range', `${where} answers with a part although the whole was asked for`, { where });
          }
        }
        if (answer.status === 404 || answer.status === 410) {
          answer.drop();
          throw fault('missing', `${where} is not there`, { where });
        }
        await refuseOthers(answer, where);
        const start = answer.status === 206 ? offset : 0;
        await refuseOtherLength(answer, want.size - start, where);
        return { start, validator: validatorOf(answer), chunks: answer.body };
      };
      await receive(base.href, path, want, destination, ask, downloadOptions);
    },

    async post(path, body, { signal, headers, answers = [] } = {}) {
      const where = base.href + path;
      const answer = await request('POST', path, { 'content-type': 'application/octet-stream', ...headers }, signal, body);
      const unusable = answer.status >= 500 || answer.status === 408 || answer.status === 429;
      if (unusable && !answers.includes(answer.status)) {
        answer.drop();
        throw fault('status', `${where} answers with status ${answer.status}`, { where });
      }
      return { status: answer.status, body: await collect(answer, limits.answerBytes, where) };
    },

    renew() {
      turns += 1;
      for (const { dispatcher } of opened.values()) leave(dispatcher);
      opened.clear();
    },

    close: async () => {
      await Promise.all([...leaving, ...[...opened.values()].map(({ dispatcher }) => dispatcher.close())]);
    },
  };
}

function parseBase(url: string): URL {
  let base: URL;
  try {
    base = new URL(url.endsWith('/') ? url : `${url}/`);
  } catch (cause) {
    throw fault('address', `${url} is no address`, { where: url, cause });
  }
  const plain = base.username === '' && base.password === '' && base.search === '' && base.hash === '';
  if (!plain || (base.protocol !== 'http:' && base.protocol !== 'https:')) {
    throw fault('address', `${url} is no plain http:// or https:// address`, { where: url });
  }
  return base;
}

const basic = (user: string, password: string) => Buffer.from(`${user}:${password}`, 'utf8').toString('base64');

/** Whether a host is asked without the proxy: `example.org` also means what lies below it, as `no_proxy` is read by others. */
export function isExcepted(url: URL, except: readonly string[]): boolean {
  const host = url.hostname.replace(/^\[|\]$/g, '').toLowerCase();
  const port = url.port === '' ? (url.protocol === 'https:' ? '443' : '80') : url.port;
  return except.some((entry) => {
    const match = /^(?:\*?\.)?(\*|\[[^\]]+\]|[^:]+)(?::(\d+))?$/.exec(entry.trim().toLowerCase());
    const name = (match?.[1] ?? entry.trim().toLowerCase()).replace(/^\[|\]$/g, '');
    if (name === '*') return true;
    if (match?.[2] !== undefined && match[2] !== port) return false;
    return host === name || host.endsWith(`.${name}`);
  });
}

/** Where a redirect leads, when it may be followed: same host and port, or the same host's https (S22). */
function followed(from: URL, answer: Answer, method: string, tooMany: boolean): URL {
  const where = from.href;
  const location = answer.header('location');
  if (location === undefined || !URL.canParse(location, from.href)) {
    throw fault('redirect', `${where} redirects to nowhere`, { where });
  }
  const to = new URL(location, from.href);
  to.hash = '';
  const shown = to.href.slice(0, 300);
  if (tooMany) throw fault('redirect', `${where} redirects too often, now to ${shown}`, { where });
  if (from.protocol === 'https:' && to.protocol !== 'https:') {
    throw fault('redirect', `${where} redirects from https to ${shown}`, { where });
  }
  const upgrade = from.protocol === 'http:' && to.protocol === 'https:' && from.hostname === to.hostname;
  if (from.origin !== to.origin && !upgrade) throw fault('redirect', `${where} redirects to another host: ${shown}`, { where });
  if (to.search !== '' || to.username !== '' || to.password !== '') {
    throw fault('redirect', `${where} redirects to an address with a query or a user: ${shown}`, { where });
  }
  if (method !== 'GET' && answer.status !== 307 && answer.status !== 308) {
    throw fault('redirect', `${where} redirects a ${method} with status ${answer.status}`, { where });
  }
  return to;
}

/**
 * Range and If-Range: this origin's own validator; else the content's hash, which is the ETag a relay of ours gives. A path
 * that is named by the hash can only be this content (or is refused by its hash in the end): there a server with validators
 * of its own, nginx or an object store, may go on where another one stopped, and no condition is set.
 */
function rangeHeaders(
  path: string,
  offset: number,
  tag: PartTag | undefined,
  from: string,
  sha256: string,
): Record<string, string> {
  const range = { range: `bytes=${offset}-` };
  if (tag?.from === from && tag.validator !== '') return { ...range, 'if-range': tag.validator };
  return path.endsWith(`/${sha256}`) || path.includes(`/${sha256}.`) ? range : { ...range, 'if-range': `"${sha256}"` };
}

/** Whether a 206 is exactly what is missing of a file of `size` bytes (RFC 9110, 14.4). */
function isRestOf(answer: Answer, offset: number, size: number): boolean {
  const match = /^bytes (\d{1,16})-(\d{1,16})\/(\d{1,16}|\*)$/.exec(answer.header('content-range') ?? '');
  if (match === null || offset === 0) return false;
  return Number(match[1]) === offset && Number(match[2]) === size - 1 && (match[3] === '*' || Number(match[3]) === size);
}

/** A strong validator fit for If-Range (RFC 9110, 13.1.5), or an empty text. */
function validatorOf(answer: Answer): string {
  const etag = answer.header('etag');
  if (etag !== undefined) return /^"[\x21\x23-\x7e]{1,200}"$/.test(etag) ? etag : '';
  const date = answer.header('last-modified');
  return date !== undefined && /^[A-Za-z0-9 ,:]{20,40}$/.test(date) ? date : '';
}

const DATED = 'last-modified:';

/** The condition under which a validator from `fetchSmall` is asked again (RFC 9110, 13.1.2 and 13.1.3). */
function conditionOf(validator: string | undefined): Record<string, string> {
  if (validator === undefined) return {};
  return validator.startsWith(DATED) ? { 'if-modified-since': validator.slice(DATED.length) } : { 'if-none-match': validator };
}

/**
 * Of a server without ETags its date, marked as such, is the validator: only when the file was older than a minute by the
 * server's own clock, so that a change within the same second is not missed (RFC 9110, 8.8.2.2).
 */
function datedValidator(answer: Answer, now: number): string | undefined {
  const date = answer.header('last-modified');
  if (date === undefined || !/^[A-Za-z0-9 ,:]{20,40}$/.test(date)) return undefined;
  const server = Date.parse(answer.header('date') ?? '');
  const age = (Number.isNaN(server) ? now : server) - Date.parse(date);
  return age >= 60_000 ? `${DATED}${date}` : undefined;
}

/** How relays (403) and web servers (400, 495, 496 of nginx) say over TLS that they do not accept this side's certificate. */
const STRANGER = {
  statuses: [400, 403, 495, 496] as readonly number[],
  says: /serve\.client-certificate|SSL certificate/i,
  bytes: 64 * 1024,
} as const;

/** Tells such an answer from others with these statuses, whose bodies stay as they are. @throws transfer.tls-client */
async function withoutStranger(answer: Answer, target: URL): Promise<Answer> {
  if (target.protocol !== 'https:' || !STRANGER.statuses.includes(answer.status)) return answer;
  const where = target.href;
  const text = Buffer.from(await collect(answer, STRANGER.bytes, where)).toString('utf8');
  if (!STRANGER.says.test(text)) return { ...answer, body: onlyOnce(Buffer.from(text, 'utf8')), drop: () => undefined };
  const said = /"message":"([^"\\]{1,300})"/.exec(text)?.[1] ?? `status ${answer.status}`;
  throw fault('tls-client', `${where}: it does not accept the certificate of this side: ${said}`, { where });
}

async function* onlyOnce(bytes: Uint8Array): AsyncGenerator<Uint8Array> {
  yield bytes;
}

async function refuseOtherLength(answer: Answer, expected: number, where: string): Promise<void> {
  const stated = answer.header('content-length');
  if (stated === undefined || Number(stated) === expected) return;
  const start = await firstBytes(answer);
  if (looksLikePage(start)) throw fault('portal', `${where} answers with a web page instead of the file`, { where });
  throw fault('size', `${where} offers ${stated.slice(0, 20)} bytes, signed are ${expected}`, { where });
}

async function firstBytes(answer: Answer): Promise<Uint8Array> {
  for await (const chunk of answer.body) return chunk;
  return new Uint8Array();
}

async function collect(answer: Answer, limitBytes: number, where: string): Promise<Uint8Array> {
  const tooLarge = () => fault('too-large', `${where} offers more than the limit of ${limitBytes} bytes`, { where });
  const stated = answer.header('content-length');
  if (stated !== undefined && Number(stated) > limitBytes) {
    answer.drop();
    throw tooLarge();
  }
  const chunks: Uint8Array[] = [];
  let length = 0;
  for await (const chunk of answer.body) {
    length += chunk.length;
    if (length > limitBytes) throw tooLarge(); // ends the loop, which closes the connection
    chunks.push(chunk);
  }
  return chunks.length === 1 && chunks[0] !== undefined ? chunks[0] : Buffer.concat(chunks, length);
}

async function* guarded(
  body: AsyncIterable<Uint8Array>,
  where: string,
  watch: Guard,
  rate: Rate | undefined,
): AsyncGenerator<Uint8Array> {
  try {
    for await (const chunk of body) {
      watch.gotBytes(chunk.length);
      yield chunk;
      const wait = rate?.take(chunk.length) ?? 0;
      if (wait === 0) continue;
      watch.hold(true); // waiting of our own making is not the other side's slowness
      await pause(wait, watch.signal);
      watch.hold(false);
    }
  } catch (cause) {
    throw named(cause, where, watch.signal);
  } finally {
    watch.end();
  }
}

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
function named(cause: unknown, where: string, signal: AbortSignal, proxy?: string): Error {
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
