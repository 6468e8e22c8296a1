// Row A5: the same real security updates installed by the agent (poll, download, way back, checks, result included) and by plain
// apt from a local mirror, in turn, on equal hosts on btrfs. Both sides have to end with the same packages.
import * as fs from 'node:fs';
import { createServer, type Server } from 'node:http';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { isDeepStrictEqual } from 'node:util';
import { fetchUpdates, type RealUpdates } from '../../agent/packages/real-updates.ts';
import { buildBinaries } from '../build/binaries.ts';
import { FleetPublisher, FleetRelay, HostAgent } from '../fleet/index.ts';
import { debianMirrors, Lab, type TestHost } from '../hosts/index.ts';
import { ensureDebianPackages } from '../setup/debian.ts';

export const name = 'install';

const ROUNDS = 3;
const PORT = { relay: 8491, mirror: 8492 } as const;
const COMMAND_MS = 600_000;
/** How much longer than apt by itself the agent may take. */
const TARGET_RATIO = 1.15;

type Row = Record<string, string | number>;

export async function bench(): Promise<{ name: string; rows: Row[] }> {
  const lacking = await ensureDebianPackages(['hosts']);
  const mirrors = await debianMirrors('bookworm');
  if (lacking !== undefined || mirrors === undefined)
    return { name, rows: [{ skipped: lacking ?? 'apt has no sources for Debian 12' }] };
  const folder = fs.mkdtempSync(join(tmpdir(), 'patchferry-bench-install-'));
  let mirror: Server | undefined;
  let relay: FleetRelay | undefined;
  try {
    const [binary = ''] = await buildBinaries(['agent'], folder, () => undefined);
    await using lab = await Lab.open();
    const publisher = new FleetPublisher(folder);
    await publisher.init();
    await publisher.addDebianSecurity(mirrors);
    publisher.writePolicy('debian-12');
    await publisher.publish('none');
    const upstream = { upstream: publisher.repository, upstreamRoot: publisher.root, inboxForward: publisher.inbox };
    relay = new FleetRelay({ folder: join(folder, 'relay'), host: '0.0.0.0', ...upstream }, PORT.relay);
    await relay.sync();
    await relay.start();

    const ours: { host: TestHost; agent: HostAgent }[] = [];
    for (let round = 1; round <= ROUNDS; round += 1) {
      const host = await quietHost(lab, `agent${round}`);
      const agent = new HostAgent(host);
      const url = `http://${host.gateway}:${PORT.relay}`;
      agent.install(binary, publisher.root, [url], { logLevel: 'silent' });
      await agent.enroll(await publisher.invite(host.name), url, host.name);
      ours.push({ host, agent });
    }
    await publisher.arrived(ROUNDS);
    await publisher.approveAll();
    await publisher.publish('none');
    await relay.sync();
    // what is missing is told, so that the relay has every payload before the clock runs
    for (const { agent } of ours) await agent.must(['once'], [0, 1, 3, 4, 8]);
    await publisher.arrived(ROUNDS);
    await publisher.publish('wanted');
    await relay.sync();
    mirror = serveMirror(await fetchUpdates(mirrors.security, 'bookworm'), join(publisher.repository, 'payloads'));

    const rows: Row[] = [];
    const ratios: number[] = [];
    for (const [index, { host, agent }] of ours.entries()) {
      const peer = await quietHost(lab, `apt${index + 1}`);
      const before = await agent.packages();
      const byApt = () => timed(() => plainApt(peer));
      const byUs = () => timed(() => agent.must(['once'], [0, 1]));
      // in turn, so that neither side always meets the warmer disk
      const [apt, own] = index % 2 === 0 ? [await byApt(), await byUs()] : (await both(byUs, byApt)).toReversed();
      const after = await agent.packages();
      const theirs = await new HostAgent(peer).packages();
      if (!isDeepStrictEqual(after, theirs)) throw new Error(`round ${index + 1}: the two hosts differ`);
      const changed = [...after].filter(([key, version]) => before.get(key) !== version).length;
      const ratio = (own ?? 0) / (apt ?? 1);
      ratios.push(ratio);
      rows.push({
        round: index + 1,
        packages: changed,
        'apt s': seconds(apt),
        'agent s': seconds(own),
        ratio: Number(ratio.toFixed(2)),
      });
      await peer.powerCut();
      await host.powerCut();
    }
    const median = ratios.toSorted((a, b) => a - b)[ratios.length >> 1] ?? Number.NaN;
    rows.push({ round: 'median', ratio: Number(median.toFixed(2)), target: TARGET_RATIO });
    return { name, rows };
  } finally {
    mirror?.close();
    await relay?.kill('SIGTERM');
    fs.rmSync(folder, { recursive: true, force: true });
  }
}

/** A booted host on which nothing else looks for updates meanwhile. */
async function quietHost(lab: Lab, hostName: string): Promise<TestHost> {
  const host = await lab.host(hostName);
  await host.boot();
  await host.must(['systemctl', 'mask', '--quiet', '--now', 'apt-daily.timer', 'apt-daily-upgrade.timer']);
  return host;
}

/** What an administrator would do: the vendor's signed index and all its updates, from a mirror on the same line. */
async function plainApt(host: TestHost): Promise<void> {
  const keyring = '/usr/share/keyrings/debian-archive-keyring.gpg';
  fs.writeFileSync(
    join(host.root, 'etc/apt/sources.list'),
    `deb [signed-by=${keyring}] http://${host.gateway}:${PORT.mirror} bookworm-security main\n`,
  );
  fs.rmSync(join(host.root, 'etc/apt/sources.list.d'), { recursive: true, force: true });
  const apt = ['env', 'DEBIAN_FRONTEND=noninteractive', 'apt-get', '-q', '-o', 'Acquire::Languages=none'];
  await host.must([...apt, 'update'], { timeoutMs: COMMAND_MS });
  await host.must([...apt, '-y', '-o', 'Dpkg::Options::=--force-confold', 'dist-upgrade'], { timeoutMs: COMMAND_MS });
}

/** The vendor's archive over HTTP: its index as it is, its packages out of the payload store. */
function serveMirror({ catalog, payloads, index }: RealUpdates, store: string): Server {
  const files = new Map<string, string>();
  for (const { path, sha256 } of catalog.repositories[0]?.indexes ?? []) {
    files.set(path, join(payloads, sha256));
    files.set(path.replace(/[^/]+$/, `by-hash/SHA256/${sha256}`), join(payloads, sha256));
  }
  for (const { Filename = '', SHA256 = '' } of index) files.set(Filename, join(store, 'sha256', SHA256.slice(0, 2), SHA256));
  const server = createServer((request, response) => {
    const file = files.get(decodeURIComponent((request.url ?? '').replace(/^\/+/, '')));
    const stat = file === undefined ? undefined : fs.statSync(file, { throwIfNoEntry: false });
    if (file === undefined || stat === undefined) {
      response.writeHead(404).end();
      return;
    }
    response.writeHead(200, { 'content-length': stat.size });
    fs.createReadStream(file).pipe(response);
  });
  return server.listen(PORT.mirror, '0.0.0.0');
}

async function timed(act: () => Promise<unknown>): Promise<number> {
  const started = performance.now();
  await act();
  return performance.now() - started;
}

async function both(first: () => Promise<number>, second: () => Promise<number>): Promise<[number, number]> {
  return [await first(), await second()];
}

function seconds(ms: number | undefined): number {
  return Number(((ms ?? 0) / 1000).toFixed(2));
}
