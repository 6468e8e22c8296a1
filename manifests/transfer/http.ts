// An origin over HTTP(S): conditional requests, bounded bodies, ranges, time-outs and a minimum rate; no redirect elsewhere.
import type { SecureContext } from 'node:tls';
import { Agent, buildConnector, type Dispatcher, ProxyAgent } from 'undici';
import { pause } from '#manifests/platform/clock';
import { followed, isExcepted, parseBase } from './address.ts';
import { type Answer, collect, guarded, refuseOtherLength, withoutStranger } from './answer.ts';
import { named } from './causes.ts';
import { conditionOf, datedValidator, isRestOf, rangeHeaders, validatorOf } from './conditions.ts';
import { guard } from './guard.ts';
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

const basic = (user: string, password: string) => Buffer.from(`${user}:${password}`, 'utf8').toString('base64');
