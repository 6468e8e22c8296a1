// For tests: a relay that lies. It serves a repository's folder, except for what an attack answers instead.
import { createHash } from 'node:crypto';
import * as fs from 'node:fs';
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { join, normalize } from 'node:path';

export interface Asked {
  /** Relative to the repository's root. */
  readonly path: string;
  readonly request: IncomingMessage;
  readonly response: ServerResponse;
  /** The true bytes; undefined when there are none. */
  readonly bytes: Buffer | undefined;
  /** Answers as an honest relay does, with these bytes. */
  readonly serve: (bytes: Buffer | undefined) => void;
}

/** Answers a request and says true, or leaves it to the honest part. */
export type Attack = (asked: Asked) => boolean;

export interface HostileRelay {
  readonly url: string;
  readonly requests: string[];
  readonly results: Buffer[];
  /** Bytes that went out over all connections. */
  sent(): number;
  close(): Promise<void>;
}

export async function hostileRelay(folder: string, attack: Attack): Promise<HostileRelay> {
  const requests: string[] = [];
  const results: Buffer[] = [];
  let ended = 0;
  const server = createServer({ keepAliveTimeout: 1_000 }, (request, response) => {
    const path = normalize(request.url ?? '/').slice(1);
    requests.push(`${request.method ?? ''} ${path}`);
    const file = join(folder, path);
    const bytes = fs.existsSync(file) && fs.statSync(file).isFile() ? fs.readFileSync(file) : undefined;
    const serve = (body: Buffer | undefined) => honest(request, response, body);
    response.on('error', () => undefined);
    const take = () => {
      if (attack({ path, request, response, bytes, serve })) return;
      if (request.method === 'POST') response.writeHead(201, { 'content-length': 2 }).end('{}');
      else serve(bytes);
    };
    if (request.method !== 'POST') return take();
    const chunks: Buffer[] = [];
    request.on('data', (chunk: Buffer) => chunks.push(chunk));
    request.on('end', () => {
      results.push(Buffer.concat(chunks));
      take();
    });
  });
  const sockets = new Set<import('node:net').Socket>();
  server.on('connection', (socket) => {
    sockets.add(socket);
    socket.on('error', () => undefined);
    socket.on('close', () => {
      sockets.delete(socket);
      ended += socket.bytesWritten;
    });
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  return {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    requests,
    results,
    sent: () => [...sockets].reduce((sum, socket) => sum + socket.bytesWritten, ended),
    close: () =>
      new Promise<void>((resolve) => {
        server.close(() => resolve());
        server.closeAllConnections();
      }),
  };
}

function honest(request: IncomingMessage, response: ServerResponse, bytes: Buffer | undefined): void {
  if (bytes === undefined) return void response.writeHead(404, { 'content-length': 0 }).end();
  const etag = `"${createHash('sha256').update(bytes).digest('hex')}"`;
  if (request.headers['if-none-match'] === etag) return void response.writeHead(304, { etag }).end();
  const start = Number(/^bytes=(\d+)-$/.exec(request.headers.range ?? '')?.[1] ?? 0);
  const rest = bytes.subarray(start);
  const range = start === 0 ? {} : { 'content-range': `bytes ${start}-${bytes.length - 1}/${bytes.length}` };
  return void response.writeHead(start === 0 ? 200 : 206, { etag, 'content-length': rest.length, ...range }).end(rest);
}

/** Sends zeros for ever, as fast as they are taken, until the other side lets go. */
export function endless(response: ServerResponse, headers: Record<string, string> = {}, head: Buffer = Buffer.alloc(0)): void {
  const block = Buffer.alloc(64 * 1024);
  response.writeHead(200, headers);
  response.write(head);
  const more = () => {
    while (!response.destroyed && response.write(block));
  };
  response.on('drain', more);
  more();
}

/** Sends one byte each `everyMs`, for ever. */
export function drip(response: ServerResponse, bytes: Buffer, everyMs: number): void {
  let at = 0;
  const timer = setInterval(() => {
    if (response.destroyed || at >= bytes.length) return clearInterval(timer);
    response.write(bytes.subarray(at, at + 1));
    at += 1;
  }, everyMs);
  response.on('close', () => clearInterval(timer));
}
