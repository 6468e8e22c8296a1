// How fast trust is: refreshing repositories of growing size with tuf-js beside it, and verifying and opening envelopes.
import { hash } from 'node:crypto';
import * as fs from 'node:fs';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Updater } from 'tuf-js';
import {
  agentIdOf,
  buildRoot,
  buildSnapshot,
  buildTargets,
  buildTimestamp,
  type Fetcher,
  generateBoxKey,
  generateSigningKey,
  memorySigner,
  openEnvelope,
  openTrust,
  sealEnvelope,
  signMetadata,
  type TargetsInput,
  verifyEnvelope,
} from '#manifests/trust';

type Row = Record<string, string | number>;
export const name = 'trust';

const DAY_MS = 86_400_000;
/** tuf-js grows with the square of the number of targets: beyond this it takes from minutes to most of an hour. */
const TUF_JS_TARGETS = 10_000;
const ENVELOPES = 2_000;
const ROUNDS = 3;

interface Repository {
  readonly files: ReadonlyMap<string, Uint8Array>;
  readonly pinned: Uint8Array;
}

async function makeRepository(count: number, bits: number): Promise<Repository> {
  const signer = memorySigner(generateSigningKey());
  const role = { keys: [signer.key], threshold: 1 };
  const common = { version: 1, expires: Date.now() + DAY_MS, signedAt: Date.now() };
  const files = new Map<string, Uint8Array>();
  const list = Array.from({ length: count }, (_, at) => ({
    path: `catalogs/product-${at}.json.zst`,
    length: at,
    sha256: hash('sha256', `${at}`),
  }));
  const meta: Record<string, { version: number; length: number; sha256: string }> = {};
  const put = async (role: string, input: TargetsInput) => {
    const bytes = await signMetadata(buildTargets(input), [signer]);
    files.set(`metadata/1.${role}.json`, bytes);
    meta[role] = { version: 1, length: bytes.length, sha256: hash('sha256', bytes) };
  };
  if (bits === 0) await put('targets', { ...common, targets: list });
  else {
    await put('targets', { ...common, bins: { ...role, bits, prefix: 'bin' } });
    const bins = Array.from({ length: 2 ** bits }, (): typeof list => []);
    for (const target of list) bins[Number.parseInt(hash('sha256', target.path).slice(0, 8), 16) >>> (32 - bits)]?.push(target);
    const digits = (2 ** bits - 1).toString(16).length;
    for (const [at, targets] of bins.entries())
      await put(`bin-${at.toString(16).padStart(digits, '0')}`, { ...common, targets });
  }
  const snapshot = await signMetadata(buildSnapshot({ ...common, meta }), [signer]);
  const named = { version: 1, length: snapshot.length, sha256: hash('sha256', snapshot) };
  const pinned = await signMetadata(
    buildRoot({ ...common, roles: { root: role, targets: role, snapshot: role, timestamp: role } }),
    [signer],
  );
  files.set('metadata/1.snapshot.json', snapshot);
  files.set('metadata/1.root.json', pinned);
  files.set('metadata/timestamp.json', await signMetadata(buildTimestamp({ ...common, snapshot: named }), [signer]));
  return { files, pinned };
}

/** Both clients get their files over HTTP from the same server in this process. */
async function withServer<T>({ files }: Repository, use: (address: string) => Promise<T>): Promise<T> {
  const server = createServer((request, response) => {
    const bytes = files.get((request.url ?? '').slice(1));
    const etag = bytes === undefined ? '' : `"${hash('sha256', bytes)}"`;
    const same = bytes !== undefined && request.headers['if-none-match'] === etag;
    response.writeHead(bytes === undefined ? 404 : same ? 304 : 200, { etag });
    response.end(same ? undefined : bytes);
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  try {
    return await use(`http://127.0.0.1:${(server.address() as AddressInfo).port}`);
  } finally {
    server.closeAllConnections();
    server.close();
  }
}

function fetcherOf(address: string): Fetcher {
  return {
    fetchSmall: async (path, { etag }) => {
      const response = await fetch(`${address}/${path}`, { headers: etag === undefined ? {} : { 'if-none-match': etag } });
      if (response.status === 304) return { kind: 'unchanged' };
      if (response.status === 404) return { kind: 'missing' };
      return {
        kind: 'found',
        bytes: new Uint8Array(await response.arrayBuffer()),
        etag: response.headers.get('etag') ?? undefined,
      };
    },
  };
}

async function milliseconds(work: () => Promise<unknown>): Promise<number> {
  const started = performance.now();
  await work();
  return performance.now() - started;
}
const rounded = (ms: number) => Math.round(ms * 10) / 10;

async function refreshRow(count: number, bits: number): Promise<Row> {
  const repository = await makeRepository(count, bits);
  return withServer(repository, async (address) => {
    const fetcher = fetcherOf(address);
    const times = { cold: [] as number[], unchanged: [] as number[], restart: [] as number[], one: [] as number[] };
    const path = 'catalogs/product-7.json.zst';
    for (let round = 0; round < ROUNDS; round++) {
      const folder = fs.mkdtempSync(join(tmpdir(), 'patchferry-bench-'));
      try {
        const open = (state: string) =>
          openTrust({ folder: join(folder, state), pinnedRoot: repository.pinned, now: () => Date.now() });
        const client = open('all');
        times.cold.push(await milliseconds(() => client.refresh(fetcher)));
        times.unchanged.push(await milliseconds(() => client.refresh(fetcher)));
        times.restart.push(await milliseconds(async () => open('all').refresh(fetcher)));
        times.one.push(await milliseconds(() => open('one').refresh(fetcher, undefined, { onlyFor: [path] })));
      } finally {
        fs.rmSync(folder, { recursive: true, force: true });
      }
    }
    const least = (list: number[]) => rounded(Math.min(...list));
    const judged =
      bits > 0 || count <= TUF_JS_TARGETS ? rounded(await milliseconds(() => tufJs(address, repository, path))) : 'not run';
    return {
      what: 'refresh',
      targets: count,
      bins: bits === 0 ? 0 : 2 ** bits,
      'cold ms': least(times.cold),
      'unchanged ms': least(times.unchanged),
      'restart ms': least(times.restart),
      'for one target ms': least(times.one),
      'tuf-js, one target, ms': judged,
    };
  });
}

async function tufJs(address: string, { pinned }: Repository, path: string): Promise<void> {
  const folder = fs.mkdtempSync(join(tmpdir(), 'patchferry-bench-'));
  try {
    fs.writeFileSync(join(folder, 'root.json'), pinned);
    const config = { targetsMaxLength: 64 * 1024 * 1024 };
    const updater = new Updater({
      metadataDir: folder,
      metadataBaseUrl: `${address}/metadata`,
      targetDir: folder,
      targetBaseUrl: address,
      config,
    });
    await updater.refresh();
    if ((await updater.getTargetInfo(path)) === undefined) throw new Error('tuf-js did not find the target');
  } finally {
    fs.rmSync(folder, { recursive: true, force: true });
  }
}

/** 2 KiB of JSON as a result has it: it compresses, but not to nothing. */
function resultBody(at: number): Uint8Array {
  const packages = Array.from({ length: 24 }, (_, index) => ({
    name: `package-${index}`,
    version: hash('sha256', `${at} ${index}`).slice(0, 40),
  }));
  return Buffer.from(JSON.stringify({ at, packages }).padEnd(2_048).slice(0, 2_048));
}

function envelopeRows(): Row[] {
  const recipient = generateBoxKey();
  const agents = Array.from({ length: 50 }, () => generateSigningKey());
  const rows: Row[] = [];
  const timed = (what: string, count: number, work: (at: number) => unknown) => {
    for (let at = 0; at < count / 10; at++) work(at); // warm
    const started = process.cpuUsage(); // processor time, so that what else runs on the machine does not count
    for (let at = 0; at < count; at++) work(at);
    const used = process.cpuUsage(started);
    rows.push({ what, 'a second of one core': Math.round((count * 1_000_000) / (used.user + used.system)) });
  };
  const seal = (at: number) => {
    const signKey = agents[at % agents.length] as (typeof agents)[number];
    return sealEnvelope({
      body: resultBody(at),
      kind: 'result',
      agent: agentIdOf(signKey.publicKey),
      sequence: at,
      signKey,
      recipients: [recipient.publicKey],
    });
  };
  timed('seal 2 KiB (tweetnacl signs twice)', 100, seal);
  const sealed = Array.from({ length: 500 }, (_, at) => ({
    bytes: seal(at),
    signKey: (agents[at % agents.length] as (typeof agents)[number]).publicKey,
  }));
  const nth = (at: number) => sealed[at % sealed.length] as (typeof sealed)[number];
  timed('verify (relay: outer signature)', ENVELOPES, (at) => verifyEnvelope(nth(at).bytes, nth(at).signKey));
  timed('open (inner signature, agreement, decrypt, decompress)', ENVELOPES, (at) =>
    openEnvelope(nth(at).bytes, { recipient, signKey: nth(at).signKey }),
  );
  timed('verify and open (collector)', ENVELOPES, (at) => {
    verifyEnvelope(nth(at).bytes, nth(at).signKey);
    return openEnvelope(nth(at).bytes, { recipient, signKey: nth(at).signKey });
  });
  return rows;
}

/** Refresh cold and unchanged at growing sizes, with bins, and with tuf-js beside it; envelopes a second on one core. */
export async function bench(): Promise<{ name: string; rows: Row[] }> {
  const rows: Row[] = [];
  for (const count of [100, 1_000, 10_000, 50_000]) rows.push(await refreshRow(count, 0));
  rows.push(await refreshRow(50_000, 8));
  rows.push(...envelopeRows());
  return { name, rows };
}
