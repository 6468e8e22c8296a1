// A load generator of its own process: sends prepared HTTP requests over keep-alive connections, as plain as can be, so that it
// costs less than what it measures. Started as a program: load.ts URL FILE CONNECTIONS SECONDS|once; prints one line of JSON.
import * as fs from 'node:fs';
import * as net from 'node:net';

export interface LoadReport {
  readonly count: number;
  readonly seconds: number;
  /** How many answers of each status; 0 are connections that broke. */
  readonly statuses: Readonly<Record<string, number>>;
  readonly bytes: number;
  /** Milliseconds. */
  readonly p50: number;
  readonly p99: number;
}

/** Requests one behind the other, each with its length in four bytes before it. */
export function packRequests(requests: readonly Uint8Array[]): Buffer {
  return Buffer.concat(
    requests.flatMap((request) => {
      const length = Buffer.alloc(4);
      length.writeUInt32BE(request.length);
      return [length, request];
    }),
  );
}

function unpackRequests(packed: Buffer): Buffer[] {
  const requests: Buffer[] = [];
  for (let at = 0; at < packed.length; ) {
    const length = packed.readUInt32BE(at);
    requests.push(packed.subarray(at + 4, at + 4 + length));
    at += 4 + length;
  }
  return requests;
}

/** @param seconds how long the requests are repeated; undefined sends each once */
export async function load(
  url: string,
  requests: readonly Buffer[],
  connections: number,
  seconds?: number,
): Promise<LoadReport> {
  const { hostname, port } = new URL(url);
  const statuses: Record<string, number> = {};
  const times: number[] = [];
  let bytes = 0;
  let next = 0;
  const started = performance.now();
  const until = seconds === undefined ? Number.POSITIVE_INFINITY : started + seconds * 1_000;

  const one = () =>
    new Promise<void>((resolve) => {
      const socket = net.connect({ host: hostname, port: Number(port), noDelay: true });
      let sentAt = 0;
      let head: Buffer = Buffer.alloc(0);
      let left = -1;
      const send = () => {
        const request = requests[seconds === undefined ? next : next % requests.length];
        next += 1;
        if (request === undefined || performance.now() > until) {
          socket.destroy();
          resolve();
          return;
        }
        sentAt = performance.now();
        socket.write(request);
      };
      const done = () => {
        left = -1;
        times.push(performance.now() - sentAt);
        send();
      };
      socket.once('connect', send);
      socket.on('data', (chunk: Buffer) => {
        bytes += chunk.length;
        if (left >= 0) {
          left -= chunk.length;
          if (left <= 0) done();
          return;
        }
        head = head.length === 0 ? chunk : Buffer.concat([head, chunk]);
        const end = head.indexOf('\r\n\r\n');
        if (end < 0) return;
        const status = head.toString('latin1', 9, 12);
        statuses[status] = (statuses[status] ?? 0) + 1;
        const length =
          status === '304' ? 0 : Number(/\r\ncontent-length: (\d+)/i.exec(head.toString('latin1', 0, end))?.[1] ?? 0);
        left = length - (head.length - end - 4);
        head = Buffer.alloc(0);
        if (left <= 0) done();
      });
      const broken = () => {
        statuses['0'] = (statuses['0'] ?? 0) + 1;
        resolve();
      };
      socket.once('error', broken);
      socket.once('end', broken);
    });
  await Promise.all(Array.from({ length: connections }, one));
  const took = (performance.now() - started) / 1_000;
  times.sort((a, b) => a - b);
  const at = (share: number) => Number((times[Math.floor(times.length * share)] ?? 0).toFixed(2));
  return { count: times.length, seconds: Number(took.toFixed(3)), statuses, bytes, p50: at(0.5), p99: at(0.99) };
}

if (import.meta.main) {
  const [url = '', file = '', connections = '1', seconds = 'once'] = process.argv.slice(2);
  const requests = unpackRequests(fs.readFileSync(file));
  const report = await load(url, requests, Number(connections), seconds === 'once' ? undefined : Number(seconds));
  process.stdout.write(`${JSON.stringify(report)}\n`);
}
