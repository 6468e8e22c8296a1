// Row A3 of the performance targets: a poll that finds nothing new, through the code an agent runs, against a running relay;
// beside it `apt-get update` with nothing new, from the machine's own sources into a folder of its own.
import * as fs from 'node:fs';
import * as http from 'node:http';
import * as net from 'node:net';
import * as os from 'node:os';
import { join, resolve } from 'node:path';
import { run } from '#manifests/platform/process';
import { httpOrigin } from '#manifests/transfer';
import { openTrust } from '#manifests/trust';
import { makePublisher } from '../../relay/testing/repository.ts';

export const name = 'poll';

type Row = Record<string, string | number>;

const ROUNDS = 5;
const POLLS_A_ROUND = 100;
const median = (values: readonly number[]) => values.toSorted((a, b) => a - b)[values.length >> 1] ?? Number.NaN;
const round = (value: number) => Math.round(value * 100) / 100;

/** Passes bytes on and counts them, both ways. */
async function countingProxy(port: number): Promise<{ port: number; up(): number; down(): number; close: () => void }> {
  let up = 0;
  let down = 0;
  const server = net.createServer((near) => {
    const far = net.connect(port, '127.0.0.1');
    near.on('data', (chunk: Buffer) => (up += chunk.length)).pipe(far);
    far.on('data', (chunk: Buffer) => (down += chunk.length)).pipe(near);
    for (const socket of [near, far]) socket.on('error', () => undefined);
  });
  server.listen(0, '127.0.0.1');
  await new Promise((done) => server.once('listening', done));
  return { port: (server.address() as net.AddressInfo).port, up: () => up, down: () => down, close: () => server.close() };
}

async function startRelay(
  folder: string,
  upstream: string,
  root: string,
): Promise<{ url: string; stop: () => Promise<unknown> }> {
  const main = resolve(import.meta.dirname, '../../relay/main.ts');
  const places = ['--state-dir', join(folder, 'state'), '--cache-dir', join(folder, 'cache')];
  const flags = ['--upstream', upstream, '--upstream-root', root, '--log-level', 'silent', ...places];
  const synced = await run(process.execPath, [main, 'sync', ...flags], { timeoutMs: 60_000 });
  if (synced.code !== 0) throw new Error(synced.stderr);
  const stopping = new AbortController();
  let ended: Promise<unknown> = Promise.resolve();
  const url = await new Promise<string>((found, failed) => {
    let text = '';
    const onOutput = (more: string) => {
      text += more;
      const match = /serving at (\S+)/.exec(text);
      if (match?.[1] !== undefined) found(match[1]);
    };
    const options = { timeoutMs: 600_000, signal: stopping.signal, onOutput };
    ended = run(process.execPath, [main, 'run', '--listen', '127.0.0.1:0', ...flags], options);
    ended.then(() => failed(new Error(text)), failed);
  });
  const stop = () => {
    stopping.abort();
    return ended;
  };
  return { url, stop };
}

async function ours(): Promise<Row> {
  const folder = fs.mkdtempSync(join(os.tmpdir(), 'pf-bench-poll-'));
  const stops: (() => unknown)[] = [() => fs.rmSync(folder, { recursive: true, force: true })];
  try {
    const publisher = await makePublisher(join(folder, 'publisher'));
    await publisher.publish({ patches: [] });
    const relay = await startRelay(folder, publisher.folder, publisher.root);
    stops.push(relay.stop);
    const trust = openTrust({ folder: join(folder, 'agent'), pinnedRoot: fs.readFileSync(publisher.root), now: Date.now });

    /** One poll on a connection of its own, as an agent's are that come an hour apart. */
    const poll = async (url: string) => {
      const origin = httpOrigin(url);
      const { changed } = await trust.refresh(origin);
      await origin.close();
      return changed;
    };
    if (!(await poll(relay.url))) throw new Error('the first poll must find something');

    const proxy = await countingProxy(Number(new URL(relay.url).port));
    stops.push(proxy.close);
    if (await poll(`http://127.0.0.1:${proxy.port}`)) throw new Error('the second poll must find nothing');

    const cpu: number[] = [];
    const wall: number[] = [];
    for (let each = 0; each < ROUNDS; each += 1) {
      const started = performance.now();
      const before = process.cpuUsage();
      for (let n = 0; n < POLLS_A_ROUND; n += 1) if (await poll(relay.url)) throw new Error('nothing is new');
      const used = process.cpuUsage(before);
      cpu.push((used.user + used.system) / 1000 / POLLS_A_ROUND);
      wall.push((performance.now() - started) / POLLS_A_ROUND);
    }
    return {
      what: 'patchferry, one poll',
      requests: 1,
      'bytes up': proxy.up(),
      'bytes down': proxy.down(),
      bytes: proxy.up() + proxy.down(),
      'CPU ms': round(median(cpu)),
      'wall ms': round(median(wall)),
      target: 'under 600 bytes, under 5 ms CPU',
    };
  } finally {
    for (const stop of stops.toReversed()) await stop();
  }
}

/** CPU time of children that have ended, ms (proc(5), /proc/PID/stat fields 16 and 17, in ticks of 10 ms). */
function childrenCpuMs(): number {
  const fields = fs.readFileSync('/proc/self/stat', 'latin1').split(') ')[1]?.split(' ') ?? [];
  return (Number(fields[13]) + Number(fields[14])) * 10;
}

/**
 * A proxy that fetches each file once and from then on answers as a good archive does: Last-Modified, and 304 to whoever has
 * it. (Some mirrors send everything anew each time, which would not be apt's own doing.) Bytes on its sockets are counted.
 */
async function cachingProxy(): Promise<{
  port: number;
  counts: { requests: number; up: number; down: number };
  close: () => void;
}> {
  const counts = { requests: 0, up: 0, down: 0 };
  const cache = new Map<string, Promise<{ status: number; body: Buffer }>>();
  const modified = new Date(Date.now() - 3_600_000).toUTCString();
  const fetchOnce = async (url: string) => {
    const answer = await fetch(url, { redirect: 'follow' });
    return { status: answer.status, body: Buffer.from(await answer.arrayBuffer()) };
  };
  const server = http.createServer((request, response) => {
    const url = request.url ?? '';
    counts.requests += 1;
    const known = cache.get(url) ?? fetchOnce(url);
    cache.set(url, known);
    known.then(
      ({ status, body }) => {
        if (status !== 200) response.writeHead(status, { 'content-length': 0 }).end();
        else if (request.headers['if-modified-since'] === modified) response.writeHead(304).end();
        else response.writeHead(200, { 'content-length': body.length, 'last-modified': modified }).end(body);
      },
      () => response.writeHead(502).end(),
    );
  });
  server.on('connection', (socket: net.Socket) => {
    socket.once('close', () => {
      counts.up += socket.bytesRead;
      counts.down += socket.bytesWritten;
    });
  });
  server.listen(0, '127.0.0.1');
  await new Promise((done) => server.once('listening', done));
  const close = () => {
    server.closeAllConnections();
    server.close();
  };
  return { port: (server.address() as net.AddressInfo).port, counts, close };
}

async function apt(): Promise<Row> {
  const what = 'apt-get update, nothing new';
  const skip = (reason: string): Row => ({ what, target: `skipped: ${reason}` });
  if (!fs.existsSync('/etc/debian_version')) return skip('this machine is no Debian');
  const folder = fs.mkdtempSync(join(os.tmpdir(), 'pf-bench-apt-'));
  const proxy = await cachingProxy();
  try {
    fs.mkdirSync(join(folder, 'lists/partial'), { recursive: true });
    fs.mkdirSync(join(folder, 'cache/archives/partial'), { recursive: true });
    const settings = [
      `Dir::State::Lists=${join(folder, 'lists')}`,
      `Dir::Cache=${join(folder, 'cache')}`,
      `Acquire::http::Proxy=http://127.0.0.1:${proxy.port}`,
      'APT::Sandbox::User=root',
      'APT::Update::Post-Invoke=',
      'Debug::NoLocking=true',
    ];
    const args = ['update', ...settings.flatMap((setting) => ['-o', setting])];
    const options = { timeoutMs: 300_000 };
    const first = await run('apt-get', args, options);
    if (first.code !== 0 || proxy.counts.requests === 0) return skip('its sources cannot be read through a proxy');
    const cpu: number[] = [];
    const wall: number[] = [];
    const per = { requests: 0, up: 0, down: 0 };
    for (let each = 0; each < ROUNDS; each += 1) {
      Object.assign(proxy.counts, { requests: 0, up: 0, down: 0 });
      const before = childrenCpuMs();
      const { durationMs, stdout, code } = await run('apt-get', args, options);
      if (code !== 0 || /^Get:/m.test(stdout)) return skip('its sources changed or failed while it was measured');
      cpu.push(childrenCpuMs() - before);
      wall.push(durationMs);
      Object.assign(per, proxy.counts);
    }
    return {
      what,
      requests: per.requests,
      'bytes up': per.up,
      'bytes down': per.down,
      bytes: per.up + per.down,
      'CPU ms': round(median(cpu)),
      'wall ms': round(median(wall)),
    };
  } finally {
    proxy.close();
    fs.rmSync(folder, { recursive: true, force: true });
  }
}

export async function bench(): Promise<{ name: string; rows: Row[] }> {
  const [us, peer] = [await ours(), await apt()];
  const ratio = (field: string) => {
    const [a, b] = [us[field], peer[field]];
    return typeof a === 'number' && typeof b === 'number' && b > 0 ? Math.round((a / b) * 10_000) / 10_000 : 'n/a';
  };
  return { name, rows: [us, peer, { what: 'ours / apt', bytes: ratio('bytes'), 'CPU ms': ratio('CPU ms') }] };
}
