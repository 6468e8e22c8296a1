// What the benchmark of the relay is made of: processes to measure, nginx beside it, envelopes in bulk, a line that counts and cuts.
import { createPrivateKey, hash, type KeyObject, sign } from 'node:crypto';
import * as fs from 'node:fs';
import * as net from 'node:net';
import { dirname, join, resolve } from 'node:path';
import { pause } from '#manifests/platform/clock';
import { run } from '#manifests/platform/process';
import { freePort } from '#manifests/platform/testing/free-port';
import { nginxConfig } from '../../../relay/serve/index.ts';
import type { TestAgent } from '../../../relay/testing/repository.ts';
import { type LoadReport, packRequests } from './load.ts';

const RELAY = resolve(import.meta.dirname, '../../../relay/main.ts');

export interface Started {
  readonly url: string;
  readonly pid: number;
  stop(): Promise<void>;
}

/** A program that runs until it is stopped; `said` sees what it prints. */
function started(
  command: string,
  args: readonly string[],
  said: (text: string) => void,
): { stop: () => Promise<void>; ended: Promise<unknown> } {
  const stopping = new AbortController();
  const ended = run(command, args, { timeoutMs: 1_200_000, signal: stopping.signal, onOutput: said });
  ended.catch(() => undefined);
  return {
    ended,
    async stop() {
      stopping.abort();
      await ended;
    },
  };
}

export async function startRelay(folder: string, upstream: string, root: string): Promise<Started> {
  const places = ['--state-dir', join(folder, 'state'), '--cache-dir', join(folder, 'cache')];
  const flags = ['--upstream', upstream, '--upstream-root', root, '--log-level', 'silent', ...places];
  const synced = await run(process.execPath, [RELAY, 'sync', ...flags], { timeoutMs: 120_000 });
  if (synced.code !== 0 && synced.code !== 3) throw new Error(synced.stderr);
  let text = '';
  let found: (url: string) => void = () => undefined;
  const url = new Promise<string>((resolved) => (found = resolved));
  const { stop, ended } = started(process.execPath, [RELAY, 'run', '--listen', '127.0.0.1:0', ...flags], (more) => {
    text += more;
    const match = /serving at (\S+)/.exec(text);
    if (match?.[1] !== undefined) found(match[1]);
  });
  const first = await Promise.race([url, ended.then(() => undefined)]);
  if (first === undefined) throw new Error(text);
  return { url: first, pid: holderOf(join(folder, 'state', 'run.lock')), stop };
}

/** The process that holds a lock, by the note beside it. */
function holderOf(lock: string): number {
  const note = fs.readdirSync(dirname(lock)).filter((each) => each.startsWith('run.lock'));
  for (const file of note) {
    const match = /\(process (\d+)\)/.exec(fs.readFileSync(join(dirname(lock), file), 'utf8'));
    if (match?.[1] !== undefined) return Number(match[1]);
  }
  return 0;
}

/** nginx, one worker, with the configuration that the relay prints; undefined where it is not installed. */
export async function startNginx(folder: string, mirror: string, relay: string): Promise<Started | undefined> {
  const version = await run('nginx', ['-v'], { timeoutMs: 10_000 }).catch(() => undefined);
  if (version?.code !== 0) return undefined;
  const port = await freePort();
  fs.mkdirSync(join(folder, 'tmp'), { recursive: true });
  fs.writeFileSync(join(folder, 'block.conf'), nginxConfig({ mirror, front: `127.0.0.1:${port}`, relay: new URL(relay).host }));
  const temporary = ['client_body', 'proxy', 'fastcgi', 'uwsgi', 'scgi'].map((name) => `${name}_temp_path tmp/${name};`);
  const user = process.getuid?.() === 0 ? 'user root;\n' : '';
  const head = `${user}worker_processes 1;\npid nginx.pid;\nerror_log stderr crit;\nevents { worker_connections 4096; }\n`;
  fs.writeFileSync(
    join(folder, 'nginx.conf'),
    `${head}http {\naccess_log off;\nkeepalive_requests 10000000;\n${temporary.join('\n')}\ninclude block.conf;\n}\n`,
  );
  let over = false;
  const { stop, ended } = started(
    'nginx',
    ['-p', folder, '-c', join(folder, 'nginx.conf'), '-g', 'daemon off;'],
    () => undefined,
  );
  void ended.finally(() => (over = true)).catch(() => undefined);
  // It answers before it writes its number and before it has a worker: all three are waited for.
  for (;;) {
    if (over) throw new Error('nginx ended');
    const worker = workerOf(join(folder, 'nginx.pid'));
    if (worker !== undefined && (await answers(port))) return { url: `http://127.0.0.1:${port}`, pid: worker, stop };
    await pause(20);
  }
}

function workerOf(pidFile: string): number | undefined {
  const master = fs.existsSync(pidFile) ? fs.readFileSync(pidFile, 'utf8').trim() : '';
  if (master === '') return undefined;
  const [worker = ''] = fs.readFileSync(`/proc/${master}/task/${master}/children`, 'latin1').split(' ');
  return worker === '' ? undefined : Number(worker);
}

function answers(port: number): Promise<boolean> {
  return new Promise((answer) => {
    const socket = net.connect(port, '127.0.0.1', () => answer(true));
    socket.once('error', () => answer(false));
    socket.end();
  });
}

/** Runs the load generator as a process of its own. @param seconds undefined sends each request once */
export async function loaded(
  folder: string,
  url: string,
  requests: readonly Uint8Array[],
  connections: number,
  seconds?: number,
): Promise<LoadReport> {
  const file = join(folder, 'requests');
  fs.writeFileSync(file, packRequests(requests));
  const program = resolve(import.meta.dirname, 'load.ts');
  const args = [program, url, file, String(connections), seconds === undefined ? 'once' : String(seconds)];
  const { code, stdout, stderr } = await run(process.execPath, args, { timeoutMs: 600_000 });
  if (code !== 0) throw new Error(stderr);
  return JSON.parse(stdout) as LoadReport;
}

export const request = (text: string, body: Uint8Array = new Uint8Array()) =>
  Buffer.concat([Buffer.from(text.replaceAll('\n', '\r\n')), body]);

const OUTER = Buffer.from('patchferry envelope 1 outer\n', 'latin1');
const PKCS8_ED25519 = Buffer.from('302e020100300506032b657004220420', 'hex');

/**
 * Envelopes whose outer signature holds, made in bulk: one sealed envelope an agent, renumbered and signed anew. A relay cannot
 * tell them from others; only a collector, who opens them, could.
 */
export function bulkResults(agents: readonly TestAgent[], ofEach: number): Buffer[] {
  const templates = agents.map((agent) => {
    const key: KeyObject = createPrivateKey({
      key: Buffer.concat([PKCS8_ED25519, agent.signKey.secretKey.subarray(0, 32)]),
      format: 'der',
      type: 'pkcs8',
    });
    return { key, bytes: Buffer.from(agent.result(1)) };
  });
  return Array.from({ length: ofEach }, (_, round) =>
    templates.map(({ key, bytes }) => {
      const copy = Buffer.from(bytes);
      copy.writeBigUInt64BE(BigInt(round + 1), 24);
      const signed = copy.subarray(0, copy.length - 64);
      sign(null, Buffer.concat([OUTER, hash('sha256', signed, 'buffer')]), key).copy(copy, copy.length - 64);
      return copy;
    }),
  ).flat();
}

/** Passes bytes on and counts those that come down; may cut each connection after a number of them. */
export async function countingLine(
  to: string,
  cutAfter?: () => number,
): Promise<{ url: string; up(): number; down(): number; close(): void }> {
  const { hostname, port } = new URL(to);
  let up = 0;
  let down = 0;
  const server = net.createServer((near) => {
    const far = net.connect(Number(port), hostname);
    let left = cutAfter?.() ?? Number.POSITIVE_INFINITY;
    near.on('data', (chunk: Buffer) => {
      up += chunk.length;
      far.write(chunk);
    });
    far.on('data', (chunk: Buffer) => {
      const part = chunk.subarray(0, left);
      down += part.length;
      left -= part.length;
      near.write(part);
      if (left > 0) return;
      near.end();
      far.destroy();
    });
    for (const [one, other] of [
      [near, far],
      [far, near],
    ] as const) {
      one.on('error', () => other.destroy());
      one.on('end', () => other.end());
    }
  });
  server.listen(0, '127.0.0.1');
  await new Promise((done) => server.once('listening', done));
  const { port: here } = server.address() as net.AddressInfo;
  return { url: `http://127.0.0.1:${here}`, up: () => up, down: () => down, close: () => server.close() };
}

/** Microseconds of processor time a process has used (user and system), to 10 ms; proc(5). */
export function processorTime(pid: number): number {
  const fields = fs.readFileSync(`/proc/${pid}/stat`, 'latin1').split(') ')[1]?.split(' ') ?? [];
  return (Number(fields[11]) + Number(fields[12])) * 10_000; // USER_HZ is 100 on every Linux that Node runs on
}

/** Private memory of a process, MiB. */
export function privateMiB(pid: number): number {
  const match = /RssAnon:\s+(\d+) kB/.exec(fs.readFileSync(`/proc/${pid}/status`, 'utf8'));
  return Math.round(Number(match?.[1] ?? 0) / 1024);
}
