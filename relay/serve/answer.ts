// Answers of the relay: a file of the tree (conditional, ranges), or a short JSON document.
import * as fs from 'node:fs';
import type { IncomingMessage, ServerResponse } from 'node:http';
import type { ServeLimits } from './limits.ts';
import { matchesNone, parseRange, rangeAllowed } from './ranges.ts';
import { addressOf, type Rates } from './rates.ts';
import type { Entry } from './tree.ts';

/** What a refused request is told. */
export interface Refusal {
  readonly code: string;
  readonly message: string;
  readonly next: string;
}

export function sendJson(response: ServerResponse, status: number, value: object, headers: Record<string, string> = {}): void {
  const body = Buffer.from(`${JSON.stringify(value)}\n`);
  response.writeHead(status, {
    'content-type': 'application/json',
    'content-length': body.length,
    'cache-control': 'no-store',
    ...headers,
  });
  response.end(response.req.method === 'HEAD' ? undefined : body);
}

export function sendText(
  response: ServerResponse,
  status: number,
  type: string,
  text: string | Uint8Array,
  headers: Record<string, string> = {},
): void {
  const body = Buffer.from(text);
  response.writeHead(status, { 'content-type': type, 'content-length': body.length, 'cache-control': 'no-store', ...headers });
  response.end(response.req.method === 'HEAD' ? undefined : body);
}

const IMMUTABLE = 'public, max-age=31536000, immutable';

/** Answers GET and HEAD with a file. */
export function sendFile(
  request: IncomingMessage,
  response: ServerResponse,
  entry: Entry,
  limits: ServeLimits,
  rates: Rates,
): void {
  const { etag, size } = entry;
  const cache = entry.immutable ? IMMUTABLE : 'no-cache';
  const none = request.headers['if-none-match'];
  if (none !== undefined && matchesNone(none, etag)) {
    response.writeHead(304, { etag, 'cache-control': cache }).end();
    return;
  }
  const asked = request.method === 'GET' && rangeAllowed(request.headers['if-range'] as string | undefined, etag);
  const range = asked ? parseRange(request.headers.range, size) : ({ kind: 'whole' } as const);
  if (range.kind === 'unsatisfiable') {
    response.writeHead(416, { 'content-range': `bytes */${size}`, 'content-length': 0, etag }).end();
    return;
  }
  const [start, end] = range.kind === 'part' ? [range.start, range.end] : [0, size - 1];
  const headers: Record<string, string | number> = {
    'content-type': 'application/octet-stream',
    'content-length': end - start + 1,
    'accept-ranges': 'bytes',
    'cache-control': cache,
    etag,
  };
  if (range.kind === 'part') headers['content-range'] = `bytes ${start}-${end}/${size}`;
  const status = range.kind === 'part' ? 206 : 200;
  if (request.method === 'HEAD' || size === 0) response.writeHead(status, headers).end();
  else if (entry.body !== undefined) {
    // Never waits: what agents need to know goes first. It counts, so that payloads make room for it.
    if (!rates.free) rates.sent(addressOf(request), end - start + 1);
    response.writeHead(status, headers).end(entry.body.subarray(start, end + 1));
  } else sendLarge(response, status, headers, entry, start, end, limits, rates);
}

/** A large file in pieces of 1 MiB; a client that takes too long for one is let go. */
function sendLarge(
  response: ServerResponse,
  status: number,
  headers: Record<string, string | number>,
  entry: Entry,
  start: number,
  end: number,
  limits: ServeLimits,
  rates: Rates,
): void {
  fs.open(entry.file, 'r', (failed, handle) => {
    if (failed) {
      sendJson(response, 404, {
        code: 'serve.missing',
        message: 'the file is gone',
        next: 'Ask for the newest metadata and try again.',
      });
      return;
    }
    response.writeHead(status, headers);
    const buffer = Buffer.allocUnsafe(
      Math.min(limits.pieceBytes, rates.free ? limits.pieceBytes : rates.pieceBytes, end - start + 1),
    );
    const address = addressOf(response.req);
    let at = start;
    let timer: NodeJS.Timeout | undefined;
    let ended = false;
    const finish = () => {
      if (ended) return;
      ended = true;
      clearTimeout(timer);
      fs.close(handle, () => undefined);
    };
    // The buffer is used again, so the next read waits until the piece before has left it.
    const next = () => {
      clearTimeout(timer);
      if (ended) return;
      if (at > end) {
        response.end();
        finish();
        return;
      }
      fs.read(handle, buffer, 0, Math.min(buffer.length, end - at + 1), at, (error, count) => {
        if (ended) return;
        if (error !== null || count === 0) {
          response.destroy(); // shorter than it was: the client sees a cut, never a wrong end
          finish();
          return;
        }
        at += count;
        timer = setTimeout(() => response.destroy(), limits.pieceMs);
        response.write(buffer.subarray(0, count), (unsent) => {
          if (unsent) return finish();
          const wait = rates.free ? 0 : rates.sent(address, count);
          if (wait === 0) return next();
          clearTimeout(timer);
          timer = setTimeout(next, wait);
        });
      });
    };
    response.once('close', finish);
    next();
  });
}
