// Rows R1 to R4, N1 and N2 of the performance targets: a relay under load, with nginx on the same folder beside it.
import { randomBytes } from 'node:crypto';
import * as fs from 'node:fs';
import * as os from 'node:os';
import { join } from 'node:path';
import { pause, systemClock } from '#manifests/platform/clock';
import { silentLog } from '#manifests/platform/log';
import { run } from '#manifests/platform/process';
import { payloadPath } from '#manifests/repository';
import { httpOrigin } from '#manifests/transfer';
import { syncMirror } from '../../relay/mirror/index.ts';
import { foldersOf } from '../../relay/settings.ts';
import { makeAgent, makePublisher, sha256, type TestPublisher } from '../../relay/testing/repository.ts';
import {
  bulkResults,
  countingLine,
  loaded,
  privateMiB,
  processorTime,
  request,
  startNginx,
  startRelay,
} from './relay/parts.ts';

export const name = 'relay';

type Row = Record<string, string | number>;

const ROUNDS = 3;
/** Seconds of one round of conditional GETs. */
const SECONDS = 2;
const LARGE_BYTES = 256 * 1024 * 1024;
/** Of row R3: agents, scaled down from 10,000, each with one poll, one catalog and two uploads. */
const AGENTS = 1_000;
/** Of row R4: results of each of a hundred agents, in rounds. */
const RESULTS_OF_EACH = 300;

const median = (values: readonly number[]) => values.toSorted((a, b) => a - b)[Math.floor(values.length / 2)] ?? 0;
const round = (value: number) => Math.round(value * 100) / 100;

export async function bench(): Promise<{ name: string; rows: Row[] }> {
  const folder = fs.mkdtempSync(join(os.tmpdir(), 'pf-bench-relay-'));
  const stops: (() => unknown)[] = [() => fs.rmSync(folder, { recursive: true, force: true })];
  try {
    const publisher = await makePublisher(join(folder, 'publisher'));
    const agents = Array.from({ length: 100 }, () => makeAgent(publisher.collector));
    const large = { id: 'large@1', as: 'approved' as const, bytes: randomBytes(LARGE_BYTES) };
    await publisher.publish({ patches: [large], agents });
    const relay = await startRelay(join(folder, 'relay'), publisher.folder, publisher.root);
    stops.push(() => relay.stop());
    const { mirror } = foldersOf({ stateDir: join(folder, 'relay/state'), cacheDir: join(folder, 'relay/cache') });
    const nginx = await startNginx(join(folder, 'nginx'), mirror, relay.url);
    if (nginx !== undefined) stops.push(() => nginx.stop());

    const rows: Row[] = [];
    const peers = [
      ['ours', relay],
      ['nginx', nginx],
    ] as const;

    // R1: the same request of each, with the ETag each gives.
    const conditional: Record<string, number[]> = { ours: [], nginx: [] };
    const cost: Record<string, number[]> = { ours: [], nginx: [] };
    for (let each = 0; each < ROUNDS; each += 1) {
      for (const [who, server] of peers) {
        if (server === undefined) continue;
        const { url, pid } = server;
        const first = await fetch(`${url}/metadata/timestamp.json`);
        const etag = first.headers.get('etag') ?? '';
        await first.arrayBuffer();
        const ask = request(`GET /metadata/timestamp.json HTTP/1.1\nhost: x\nif-none-match: ${etag}\n\n`);
        const before = processorTime(pid);
        const report = await loaded(folder, url, [ask], 32, SECONDS);
        cost[who]?.push((processorTime(pid) - before) / report.count);
        if (report.statuses['304'] !== report.count) throw new Error(`${who}: ${JSON.stringify(report.statuses)}`);
        conditional[who]?.push(report.count / report.seconds);
      }
    }
    rows.push(compared('R1 conditional GETs a second', conditional, 'at least 0.5'));
    rows.push(processorRow('R1 processor time of each, µs', cost));

    // R2: warm (the file is in the page cache), 1 and 16 clients.
    const path = `/${payloadPath(sha256(large.bytes))}`;
    for (const clients of [1, 16]) {
      const speed: Record<string, number[]> = { ours: [], nginx: [] };
      for (let each = 0; each < ROUNDS; each += 1) {
        for (const [who, server] of peers) {
          if (server === undefined) continue;
          const report = await loaded(
            folder,
            server.url,
            Array.from({ length: clients }, () => request(`GET ${path} HTTP/1.1\nhost: x\n\n`)),
            clients,
          );
          if (report.bytes < LARGE_BYTES * clients) throw new Error(`${who}: ${report.bytes} bytes`);
          speed[who]?.push(report.bytes / report.seconds / 1024 / 1024);
        }
      }
      rows.push(compared(`R2 256 MiB, warm, ${clients} clients, MiB/s`, speed, 'at least 0.9'));
    }

    rows.push(...(await results(folder, relay, agents)), await fleet(folder, relay, publisher, agents));
    rows.push(await nextSync(folder, publisher, agents), await cuts(folder, publisher, large));
    return { name, rows };
  } finally {
    for (const stop of stops.toReversed()) await stop();
  }
}

function compared(what: string, speed: Readonly<Record<string, readonly number[]>>, target: string): Row {
  const [ours, nginx] = [median(speed['ours'] ?? []), median(speed['nginx'] ?? [])];
  const ratio = nginx === 0 ? 'nginx is not installed' : round(ours / nginx);
  return { what, ours: Math.round(ours), peer: Math.round(nginx), ratio, target };
}

/** What a busy machine changes less than the rate. */
function processorRow(what: string, cost: Readonly<Record<string, readonly number[]>>): Row {
  const [ours, nginx] = [median(cost['ours'] ?? []), median(cost['nginx'] ?? [])];
  return { what, ours: round(ours), peer: round(nginx), ...(nginx === 0 ? {} : { ratio: `${round(ours / nginx)} times` }) };
}

const upload = (bytes: Uint8Array) =>
  request(`POST /inbox/results HTTP/1.1\nhost: x\ncontent-length: ${bytes.length}\n\n`, bytes);

/** R4: results with a good signature, each flushed before its answer. The load generator runs on the same cores. */
async function results(
  folder: string,
  relay: { url: string; pid: number },
  agents: Parameters<typeof bulkResults>[0],
): Promise<Row[]> {
  const envelopes = bulkResults(agents, RESULTS_OF_EACH).map(upload);
  const part = Math.ceil(envelopes.length / ROUNDS);
  const speeds: number[] = [];
  const cost: number[] = [];
  const slowest: number[] = [];
  for (let each = 0; each < ROUNDS; each += 1) {
    const before = processorTime(relay.pid);
    const report = await loaded(folder, relay.url, envelopes.slice(each * part, (each + 1) * part), 64);
    cost.push((processorTime(relay.pid) - before) / report.count);
    if (report.statuses['201'] !== report.count) throw new Error(JSON.stringify(report.statuses));
    speeds.push(report.count / report.seconds);
    slowest.push(report.p99);
  }
  // Afterwards each gets a file of its own, in quiet moments: that is paid, too.
  const began = processorTime(relay.pid);
  const inbox = join(folder, 'relay/state/inbox');
  await waitFor(async () => fs.readdirSync(join(inbox, '.journal')).length === 0, 600_000);
  const afterwards = (processorTime(relay.pid) - began) / envelopes.length;
  return [
    {
      what: `R4 results a second, signature checked, flushed; ${envelopes.length} of them, 64 connections`,
      ours: Math.round(median(speeds)),
      target: '5,000 on 2 cores',
    },
    {
      what: 'R4 processor time of each, µs',
      ours: Math.round(median(cost)),
      ratio: `and ${Math.round(afterwards)} afterwards, p99 ${Math.round(median(slowest))} ms`,
    },
  ];
}

/** R3, scaled down: the requests of a fleet's poll, by many connections. */
async function fleet(
  folder: string,
  relay: { url: string; pid: number },
  publisher: TestPublisher,
  agents: Parameters<typeof bulkResults>[0],
): Promise<Row> {
  const names = ['timestamp.json', '1.snapshot.json', '1.targets.json', '1.catalog.json', '1.policy.json', '1.roster.json'];
  const gets = names.map((file) => request(`GET /metadata/${file} HTTP/1.1\nhost: x\n\n`));
  const perAgent = Math.ceil((AGENTS * 2) / agents.length);
  const fresh = agents.map(() => makeAgent(publisher.collector));
  await publisher.publish({ patches: [], agents: [...agents, ...fresh] });
  await waitFor(async () => ((await (await fetch(`${relay.url}/healthz`)).json()) as { timestamp: number }).timestamp >= 1);
  const uploads = bulkResults(agents, RESULTS_OF_EACH + perAgent)
    .slice(RESULTS_OF_EACH * agents.length)
    .map(upload);
  const all = Array.from({ length: AGENTS }, (_, n) => [...gets, ...uploads.slice(n * 2, n * 2 + 2)]).flat();
  const report = await loaded(folder, relay.url, all, 128);
  const bad = Object.entries(report.statuses).filter(([status]) => status !== '200' && status !== '201');
  return {
    what: `R3 ${AGENTS} agents (of 10,000), ${all.length} requests, 128 connections`,
    ours: `p99 ${report.p99} ms, ${privateMiB(relay.pid)} MiB private, ${bad.length} kinds of error`,
    target: 'no error, p99 under 100 ms, under 250 MiB',
  };
}

async function waitFor(ready: () => Promise<boolean>, ms = 60_000): Promise<void> {
  for (const until = Date.now() + ms; Date.now() < until; await pause(20)) if (await ready()) return;
  throw new Error(`waited ${ms / 1_000} s in vain`);
}

/** N1: what the next sync costs after one patch changed, beside rsync of the same tree. */
async function nextSync(folder: string, publisher: TestPublisher, agents: Parameters<typeof bulkResults>[0]): Promise<Row> {
  const patches = Array.from({ length: 500 }, (_, n) => ({
    id: `p${n}@1`,
    as: 'approved' as const,
    bytes: randomBytes(2_000),
  }));
  await publisher.publish({ patches, agents });
  const server = await startRelay(join(folder, 'near'), publisher.folder, publisher.root);
  const line = await countingLine(server.url);
  const origin = httpOrigin(line.url);
  const far = foldersOf({ stateDir: join(folder, 'far/state'), cacheDir: join(folder, 'far/cache') });
  const sync = () =>
    syncMirror({
      ...far,
      origins: [origin],
      pinnedRoot: publisher.root,
      payloads: 'approved',
      clock: systemClock,
      log: silentLog,
    });
  try {
    await sync();
    const copy = join(folder, 'rsynced');
    const rsync = () =>
      run('rsync', ['-a', '--delete', '--no-whole-file', '--stats', `${publisher.folder}/`, copy], { timeoutMs: 120_000 });
    const hasRsync = (await rsync().catch(() => undefined))?.code === 0;
    patches[0] = { id: 'p0@2', as: 'approved', bytes: randomBytes(2_000) };
    await publisher.publish({ patches, agents });
    await server.stop();
    const again = await startRelay(join(folder, 'near'), publisher.folder, publisher.root);
    const second = await countingLine(again.url);
    const to = httpOrigin(second.url);
    try {
      const { changed } = await syncMirror({
        ...far,
        origins: [to],
        pinnedRoot: publisher.root,
        payloads: 'approved',
        clock: systemClock,
        log: silentLog,
      });
      if (!changed) throw new Error('the second sync must find something');
    } finally {
      await to.close();
      second.close();
      await again.stop();
    }
    const ours = second.up() + second.down();
    const stats = hasRsync ? (await rsync()).stdout : '';
    const peer = [...stats.matchAll(/Total bytes (?:sent|received): ([\d,]+)/g)].reduce(
      (sum, [, text = '0']) => sum + Number(text.replaceAll(',', '')),
      0,
    );
    return {
      what: 'N1 bytes of the next sync, one of 500 patches changed',
      ours,
      peer: hasRsync ? peer : 'rsync is not installed',
      ratio: hasRsync ? round(ours / peer) : '',
      target: 'no more than rsync',
    };
  } finally {
    await origin.close();
    line.close();
    await server.stop();
  }
}

/** N2: a download over a line that is cut fifty times. */
async function cuts(folder: string, publisher: TestPublisher, large: { bytes: Uint8Array }): Promise<Row> {
  const bytes = large.bytes.subarray(0, 32 * 1024 * 1024);
  const patch = { id: 'cut@1', as: 'approved' as const, bytes };
  await publisher.publish({ patches: [patch] });
  const server = await startRelay(join(folder, 'cut'), publisher.folder, publisher.root);
  const each = Math.floor(bytes.length / 50.5);
  const line = await countingLine(server.url, () => each);
  const origin = httpOrigin(line.url);
  const want = { sha256: sha256(bytes), size: bytes.length };
  let tries = 0;
  try {
    for (let done = false; !done && tries < 200; tries += 1) {
      done = await origin.download(payloadPath(want.sha256), want, join(folder, 'cut-file')).then(
        () => true,
        () => false,
      );
    }
    const over = line.down() - bytes.length;
    return {
      what: `N2 32 MiB cut ${tries - 1} times: bytes beyond the file`,
      ours: over,
      ratio: `${Math.round(over / tries)} a cut, headers included`,
      target: 'every byte once, plus one chunk a cut',
    };
  } finally {
    await origin.close();
    line.close();
    await server.stop();
  }
}
