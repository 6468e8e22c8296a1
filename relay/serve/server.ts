// The relay's HTTP server: the repository tree to read, the inbox to write to, bounded in every direction (S24).
import * as http from 'node:http';
import * as https from 'node:https';
import type { AddressInfo, Socket } from 'node:net';
import { type Clock, systemClock } from '#manifests/platform/clock';
import type { Log } from '#manifests/platform/log';
import { type Refusal, sendFile, sendJson, sendText } from './answer.ts';
import { fault } from './faults.ts';
import { SERVE_LIMITS, type ServeLimits } from './limits.ts';
import { addressOf, openRates, type ServeRates } from './rates.ts';
import { readTls, renew, strangerOf, type TlsFiles } from './tls.ts';
import { isServed, openTree } from './tree.ts';

/** Takes the whole body of a POST; gives the status and what is told. */
export interface PostHandler {
  /** Bytes of a body. */
  readonly limitBytes: number;
  /** Bytes of bodies that may be in memory at a time; further ones are told to come again. */
  readonly memoryBytes: number;
  handle(
    body: Uint8Array,
    address: string,
    headers: Readonly<http.IncomingHttpHeaders>,
  ): Promise<{ status: number; body: object; headers?: Record<string, string> }>;
}

/** A page that is made when it is asked for: GET and HEAD. */
export type PageHandler = () => {
  status: number;
  type: string;
  body: string | Uint8Array;
  headers?: Record<string, string>;
  /** Of the body, with quotes: who has it already is told so. */
  etag?: string;
};

/** What went over the wire since the start. */
export interface Traffic {
  readonly requests: number;
  readonly sentBytes: number;
  readonly receivedBytes: number;
  /** Now. */
  readonly connections: number;
}

export interface ServeOptions {
  /** `host:port`, `[::1]:port`; port 0 takes a free one. */
  readonly listen: string;
  /** The mirror's folder. */
  readonly mirror: string;
  /** By path, `/inbox/results`. */
  readonly posts: ReadonlyMap<string, PostHandler>;
  /** By path, `/metrics`. */
  readonly pages?: Pick<ReadonlyMap<string, PageHandler>, 'get'>;
  /** Told the path of each file of a repository that was asked for and is not here. */
  readonly onMissing?: ((path: string) => void) | undefined;
  /** Brings a payload here that was asked for and is not: by its path. */
  readonly onDemand?: ((path: string) => Promise<{ kind: 'here' | 'none' } | { kind: 'later'; seconds: number }>) | undefined;
  /** Told the path of each payload that is sent. */
  readonly onPayload?: ((path: string) => void) | undefined;
  /** What GET /healthz answers; `ok: false` is status 503. */
  health(): { ok: boolean } & Record<string, unknown>;
  readonly log: Log;
  readonly clock?: Clock;
  readonly limits?: Partial<ServeLimits>;
  readonly rates?: ServeRates | undefined;
  /** Serve https. Paths of PEM files; they are read anew when they change. */
  readonly tls?: TlsFiles | undefined;
}

export interface RunningServer {
  /** `http://host:port`, `https://host:port`. */
  readonly url: string;
  /** How many connections there are now. */
  connections(): Promise<number>;
  traffic(): Traffic;
  /** Stops taking connections, lets requests in progress end for a while, closes the rest. */
  close(): Promise<void>;
}

const REFUSALS = {
  path: { code: 'serve.path', message: 'no path of a repository', next: 'Ask for /metadata/…, /targets/… or /payloads/….' },
  missing: { code: 'serve.missing', message: 'not here', next: 'Ask another relay, or wait until this one has synced.' },
  method: { code: 'serve.method', message: 'this method is not for this path', next: 'Use GET or HEAD, or POST to the inbox.' },
  large: { code: 'serve.too-large', message: 'the body is larger than the limit', next: 'Send one envelope in a request.' },
  coming: {
    code: 'serve.coming',
    message: 'this payload is on its way here',
    next: 'Try again after the time in Retry-After.',
  },
  often: { code: 'serve.too-often', message: 'this client asks too often', next: 'Try again after the time in Retry-After.' },
  stranger: {
    code: 'serve.client-certificate',
    next: 'Show a certificate that a CA of this relay (tls: clientCa) has signed and that is not over.',
  },
  body: { code: 'serve.body', message: 'a request to read has no body', next: 'Send GET and HEAD without one.' },
  busy: { code: 'serve.busy', message: 'too many uploads at this moment', next: 'Try again after the time in Retry-After.' },
} as const satisfies Record<string, Omit<Refusal, 'message'> & { message?: string }>;

/** Starts to serve. @throws serve.listen, serve.tls */
export async function startServer(options: ServeOptions): Promise<RunningServer> {
  const { log } = options;
  const limits: ServeLimits = { ...SERVE_LIMITS, ...options.limits };
  const clock = options.clock ?? systemClock;
  const tree = openTree(options.mirror, limits, () => clock.monotonic());
  const rates = openRates(options.rates ?? {}, () => clock.monotonic(), limits.clients);
  const inMemory = new Map<PostHandler, number>();

  let requests = 0;
  function answer(request: http.IncomingMessage, response: http.ServerResponse): void {
    requests += 1;
    const stranger = options.tls?.clientCa === undefined ? undefined : strangerOf(request.socket);
    if (stranger !== undefined) {
      refuseAndClose(request, response, 403, { ...REFUSALS.stranger, message: stranger });
      return;
    }
    const target = request.url ?? '';
    const path = target.length > limits.pathBytes ? '' : (target.split('?', 1)[0] ?? '');
    if (!rates.free && !rates.allowed(addressOf(request))) {
      refuseAndClose(request, response, 429, REFUSALS.often, { 'retry-after': '1' });
    } else if (request.method === 'GET' || request.method === 'HEAD') {
      const { 'content-length': length = '0', 'transfer-encoding': encoding } = request.headers;
      if (length !== '0' || encoding !== undefined) return refuseAndClose(request, response, 400, REFUSALS.body);
      request.resume();
      read(path, request, response);
    } else if (request.method === 'POST') {
      const handler = options.posts.get(path);
      if (handler === undefined) refuse(response, 404, REFUSALS.path);
      else void take(handler, request, response);
    } else refuse(response, 405, REFUSALS.method, { allow: 'GET, HEAD, POST' });
  }

  function read(path: string, request: http.IncomingMessage, response: http.ServerResponse): void {
    if (path === '/healthz') {
      const health = options.health();
      sendJson(response, health.ok ? 200 : 503, health);
      return;
    }
    const page = options.pages?.get(path);
    if (page !== undefined) return sendPage(page, request, response);
    if (options.posts.has(path)) return refuse(response, 405, REFUSALS.method, { allow: 'POST' });
    const relative = path.slice(1);
    if (!isServed(relative)) return refuse(response, 404, REFUSALS.path);
    const entry = tree.find(relative);
    if (entry !== undefined) {
      if (relative.startsWith('payloads/')) options.onPayload?.(relative);
      sendFile(request, response, entry, limits, rates);
    } else if (options.onDemand !== undefined && relative.startsWith('payloads/')) {
      void readOnDemand(options.onDemand, relative, request, response);
    } else notHere(relative, response);
  }

  function notHere(path: string, response: http.ServerResponse): void {
    options.onMissing?.(path);
    refuse(response, 404, REFUSALS.missing);
  }

  async function readOnDemand(
    ask: NonNullable<ServeOptions['onDemand']>,
    path: string,
    request: http.IncomingMessage,
    response: http.ServerResponse,
  ): Promise<void> {
    const told = await ask(path);
    if (response.destroyed) return;
    const entry = told.kind === 'here' ? tree.find(path) : undefined;
    if (entry !== undefined) sendFile(request, response, entry, limits, rates);
    else if (told.kind === 'later') refuse(response, 503, REFUSALS.coming, { 'retry-after': String(told.seconds) });
    else notHere(path, response);
  }

  function sendPage(page: PageHandler, request: http.IncomingMessage, response: http.ServerResponse): void {
    try {
      const { status, type, body, headers, etag } = page();
      if (etag !== undefined && request.headers['if-none-match'] === etag) response.writeHead(304, { etag }).end();
      else
        sendText(
          response,
          status,
          type,
          body,
          etag === undefined ? headers : { 'cache-control': 'no-cache', ...headers, etag },
        );
    } catch (error) {
      log.error({ error: (error as Error).message }, 'a page could not be made');
      refuse(response, 500, { code: 'bug', message: 'the relay could not do this', next: "Look at the relay's log." });
    }
  }

  async function take(handler: PostHandler, request: http.IncomingMessage, response: http.ServerResponse): Promise<void> {
    const stated = Number(request.headers['content-length'] ?? handler.limitBytes);
    if (!(stated <= handler.limitBytes)) return refuseAndClose(request, response, 413, REFUSALS.large);
    const used = inMemory.get(handler) ?? 0;
    if (used + stated > handler.memoryBytes)
      return refuseAndClose(request, response, 503, REFUSALS.busy, { 'retry-after': '5' });
    inMemory.set(handler, used + stated);
    const late = setTimeout(() => onLate(request.socket), timeFor(stated));
    try {
      const body = await readBody(request, handler.limitBytes);
      if (body === undefined) return refuseAndClose(request, response, 413, REFUSALS.large);
      clearTimeout(late);
      const told = await handler.handle(body, addressOf(request), request.headers);
      sendJson(response, told.status, told.body, told.headers);
    } catch (error) {
      if (response.destroyed || request.destroyed) return; // the client left in the middle of its body
      log.error({ error: (error as Error).message }, 'a request failed');
      refuse(response, 500, { code: 'bug', message: 'the relay could not do this', next: "Look at the relay's log." });
    } finally {
      clearTimeout(late);
      inMemory.set(handler, (inMemory.get(handler) ?? stated) - stated);
    }
  }

  /** Milliseconds in which a body of so many bytes must have come. */
  const timeFor = (bytes: number) => Math.ceil(limits.requestMs + (bytes / limits.uploadBytesPerSecond) * 1_000);
  const largest = Math.max(0, ...[...options.posts.values()].map(({ limitBytes }) => limitBytes));
  const settings: http.ServerOptions = {
    maxHeaderSize: limits.headerBytes,
    headersTimeout: limits.headersMs,
    requestTimeout: timeFor(largest), // each body has its own time, by its length
    keepAliveTimeout: limits.keepAliveMs,
    connectionsCheckingInterval: limits.checkEveryMs,
    noDelay: true,
  };
  const { tls } = options;
  const secured = tls && https.createServer({ ...settings, ...readTls(tls), handshakeTimeout: limits.handshakeMs }, answer);
  const server = secured ?? http.createServer(settings, answer);
  const renewal = secured && tls && renew(secured, tls, limits.renewalMs, log);
  server.maxHeadersCount = limits.headerLines;
  server.maxRequestsPerSocket = limits.requestsOfOne;
  server.maxConnections = limits.connections;
  server.timeout = limits.idleMs;
  server.on('clientError', onClientError);
  boundPerAddress(server, limits.connectionsOfOne);
  const wire = countWire(server);

  const { host, port } = parseListen(options.listen);
  await new Promise<void>((resolve, reject) => {
    server.once('error', (cause) =>
      reject(fault('listen', `cannot listen on ${options.listen}: ${cause.message}`, { where: options.listen, cause })),
    );
    server.listen(port, host, resolve);
  });
  server.on('error', (error) => log.error({ error: error.message }, 'server error'));
  const address = server.address() as AddressInfo;
  const url = `${tls === undefined ? 'http' : 'https'}://${address.family === 'IPv6' ? `[${address.address}]` : address.address}:${address.port}`;
  log.info({ url }, 'serving');

  return {
    url,
    connections: () =>
      new Promise((resolve, reject) => {
        server.getConnections((error, count) => (error === null ? resolve(count) : reject(error)));
      }),
    traffic: () => ({ requests, ...wire() }),
    close: () =>
      new Promise((resolve) => {
        clearInterval(renewal);
        const hard = setTimeout(() => server.closeAllConnections(), limits.graceMs);
        server.close(() => {
          clearTimeout(hard);
          resolve();
        });
        server.closeIdleConnections();
      }),
  };
}

function refuse(response: http.ServerResponse, status: number, refusal: Refusal, headers: Record<string, string> = {}): void {
  sendJson(response, status, refusal, headers);
}

/** Refuses without reading the rest of the body; the connection cannot be used again. */
function refuseAndClose(
  request: http.IncomingMessage,
  response: http.ServerResponse,
  status: number,
  refusal: Refusal,
  headers: Record<string, string> = {},
): void {
  refuse(response, status, refusal, { connection: 'close', ...headers });
  response.once('finish', () => request.destroy());
}

/** The body; undefined when it is larger than the limit. */
async function readBody(request: http.IncomingMessage, limitBytes: number): Promise<Uint8Array | undefined> {
  const chunks: Buffer[] = [];
  let length = 0;
  return new Promise((resolve, reject) => {
    request.on('data', (chunk: Buffer) => {
      length += chunk.length;
      if (length > limitBytes) {
        request.pause();
        resolve(undefined);
      } else chunks.push(chunk);
    });
    request.once('end', () => resolve(Buffer.concat(chunks, length)));
    request.once('error', reject);
    request.once('close', () => reject(new Error('closed by the client')));
  });
}

/** @throws serve.listen */
function parseListen(listen: string): { host: string; port: number } {
  const match = /^(?:\[([0-9a-fA-F:.%a-z]+)\]|([^:[\]]*)):(\d{1,5})$/.exec(listen);
  const port = Number(match?.[3]);
  if (match === null || port > 65_535) throw fault('listen', `${listen} is no host:port`, { where: listen });
  return { host: match[1] ?? (match[2] === '' || match[2] === undefined ? '0.0.0.0' : match[2]), port };
}

/** Bad requests get a status and lose their connection; nothing of them is logged but a count by the status. */
function onClientError(error: NodeJS.ErrnoException, socket: Socket): void {
  if (!socket.writable || error.code === 'ECONNRESET') {
    socket.destroy();
    return;
  }
  const status =
    error.code === 'HPE_HEADER_OVERFLOW'
      ? '431 Request Header Fields Too Large'
      : error.code === 'ERR_HTTP_REQUEST_TIMEOUT'
        ? '408 Request Timeout'
        : '400 Bad Request';
  socket.end(`HTTP/1.1 ${status}\r\nConnection: close\r\nContent-Length: 0\r\n\r\n`, () => socket.destroy());
}

/** A body that takes longer than its length explains. */
function onLate(socket: Socket): void {
  if (socket.writable) socket.end('HTTP/1.1 408 Request Timeout\r\nConnection: close\r\nContent-Length: 0\r\n\r\n');
  socket.destroySoon();
}

/** No single address can take all connections. */
function boundPerAddress(server: http.Server | https.Server, limit: number): void {
  const counts = new Map<string, number>();
  server.on('connection', (socket: Socket) => {
    const address = socket.remoteAddress ?? '';
    const count = (counts.get(address) ?? 0) + 1;
    counts.set(address, count);
    socket.once('close', () => {
      const left = (counts.get(address) ?? 1) - 1;
      if (left === 0) counts.delete(address);
      else counts.set(address, left);
    });
    if (count > limit) socket.destroy();
  });
}

/** Counts bytes by connection, which costs the single request nothing. */
function countWire(server: http.Server): () => { sentBytes: number; receivedBytes: number; connections: number } {
  const open = new Set<Socket>();
  let sent = 0;
  let received = 0;
  server.on('connection', (socket: Socket) => {
    open.add(socket);
    socket.once('close', () => {
      open.delete(socket);
      sent += socket.bytesWritten;
      received += socket.bytesRead;
    });
  });
  return () => {
    let [sentBytes, receivedBytes] = [sent, received];
    for (const { bytesWritten, bytesRead } of open) {
      sentBytes += bytesWritten;
      receivedBytes += bytesRead;
    }
    return { sentBytes, receivedBytes, connections: open.size };
  };
}
