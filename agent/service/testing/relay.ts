// For tests: the smallest relay there can be, on loopback: serves a folder, keeps what is posted. Counts requests.
import { createHash } from 'node:crypto';
import * as fs from 'node:fs';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { join, normalize } from 'node:path';

export interface TestRelay {
  readonly url: string;
  /** `METHOD path status` of every request. */
  readonly requests: string[];
  readonly results: Uint8Array[];
  readonly enrolments: Uint8Array[];
  /** Changes what is served under a path; undefined serves the file. */
  tamper: (path: string, bytes: Buffer) => Buffer | undefined;
  /** When false, posts are answered with 503. */
  takesResults: boolean;
  close(): Promise<void>;
}

export async function startRelay(folder: string): Promise<TestRelay> {
  const requests: string[] = [];
  const relay = {
    requests,
    results: [] as Uint8Array[],
    enrolments: [] as Uint8Array[],
    takesResults: true,
    tamper: (_path: string, bytes: Buffer) => bytes as Buffer | undefined,
  };
  const server = createServer((request, response) => {
    const path = normalize(request.url ?? '/').slice(1);
    const answer = (status: number, body: Buffer | string = '', headers: Record<string, string> = {}) => {
      requests.push(`${request.method ?? ''} ${path} ${status}`);
      response.writeHead(status, { 'content-length': String(Buffer.byteLength(body)), ...headers }).end(body);
    };
    if (request.method === 'POST') {
      const chunks: Buffer[] = [];
      request.on('data', (chunk: Buffer) => chunks.push(chunk));
      request.on('end', () => {
        if (!relay.takesResults) return answer(503, '{}');
        (path === 'inbox/results' ? relay.results : relay.enrolments).push(Buffer.concat(chunks));
        return answer(201, '{}');
      });
      return;
    }
    const file = join(folder, path);
    if (!fs.existsSync(file) || !fs.statSync(file).isFile()) return answer(404);
    const bytes = relay.tamper(path, fs.readFileSync(file));
    if (bytes === undefined) return answer(404);
    const etag = `"${createHash('sha256').update(bytes).digest('hex')}"`;
    if (request.headers['if-none-match'] === etag) return answer(304, '', { etag });
    const from = Number(/^bytes=(\d+)-$/.exec(request.headers.range ?? '')?.[1] ?? 0);
    const condition = request.headers['if-range'];
    if (from === 0 || from >= bytes.length || (condition !== undefined && condition !== etag))
      return answer(200, bytes, { etag, 'content-type': 'application/octet-stream' });
    return answer(206, bytes.subarray(from), { etag, 'content-range': `bytes ${from}-${bytes.length - 1}/${bytes.length}` });
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const { port } = server.address() as AddressInfo;
  return Object.assign(relay, {
    url: `http://127.0.0.1:${port}`,
    close: () =>
      new Promise<void>((resolve) => {
        server.close(() => resolve());
        server.closeAllConnections();
      }),
  });
}
