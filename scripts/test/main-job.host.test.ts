// The whole main job with nothing fake in it: the vendor's archive, publisher, relay, and the standalone agent as a systemd
// service on real Debian hosts that reach the relay and nothing else. apt and dpkg are the judges.
import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import * as fs from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { openCatalogStore } from '../../publisher/catalog/index.ts';
import { keptBinary } from '../build/kept.ts';
import { FleetPublisher, FleetRelay, HostAgent, until } from '../fleet/index.ts';
import { type DebianMirrors, debianMirrors, Lab, type TestHost } from '../hosts/index.ts';
import { isDebianRoot } from '../setup/debian.ts';

const skip = isDebianRoot() ? false : 'needs root on Debian';

interface Scan {
  readonly missing: ReadonlyArray<{ name: string; arch: string; from: string | null; to: string }>;
}
interface History {
  readonly runs: ReadonlyArray<{ outcome: string | null }>;
}

let binary = '';
let mirrors: DebianMirrors;
let folder = '';
/** Whatever a test started: nothing outlives this file, even where a test failed. */
const relays: FleetRelay[] = [];

/** One host with its publisher and relay; enrolled and approved, the window shut unless told. */
async function fleet(lab: Lab, name: string, settings: Record<string, unknown> = {}) {
  const own = join(folder, name);
  fs.mkdirSync(own);
  const host = await lab.host(name);
  await host.boot();
  await host.must(['mkdir', '-p', '/run/sshd']);
  const publisher = new FleetPublisher(own);
  await publisher.init();
  await publisher.addDebianSecurity(mirrors);
  publisher.writePolicy('debian-12', { windowOpen: false });
  await publisher.publish('none');
  const plan = { upstream: publisher.repository, upstreamRoot: publisher.root, inboxForward: publisher.inbox };
  const relay = new FleetRelay({ folder: join(own, 'relay'), host: host.gateway, ...plan }, 8480);
  relays.push(relay);
  await relay.sync();
  await relay.start();
  const agent = new HostAgent(host);
  agent.install(binary, publisher.root, [relay.url], settings);
  await agent.enroll(await publisher.invite(name), relay.url, name);
  await publisher.arrived();
  await publisher.approveAll();
  const spread = async (payloads: 'none' | 'wanted' = 'none') => {
    await publisher.publish(payloads);
    await relay.sync();
  };
  await spread();
  await agent.must(['once'], [0, 1, 3, 4]); // tells what it lacks
  await publisher.arrived();
  return { host, publisher, relay, agent, spread };
}

/** What apt itself would upgrade or install on the host from the vendor's security suite, by its own command. */
async function aptWould(host: TestHost, publisher: FleetPublisher): Promise<string[]> {
  const judge = join(host.root, 'judge');
  fs.rmSync(judge, { recursive: true, force: true });
  using store = openCatalogStore(join(publisher.home, 'catalog'));
  const { repositories } = store.catalogOf('debian-12', Date.now());
  for (const { path, sha256 } of repositories.flatMap(({ indexes }) => indexes)) {
    fs.mkdirSync(join(judge, 'repo', path, '..'), { recursive: true });
    fs.copyFileSync(join(publisher.repository, 'payloads/sha256', sha256.slice(0, 2), sha256), join(judge, 'repo', path));
  }
  const line = `deb [signed-by=${mirrors.keyring}] file:/judge/repo bookworm-security main\n`;
  fs.writeFileSync(join(judge, 'sources.list'), line);
  for (const name of ['lists/partial', 'archives/partial']) fs.mkdirSync(join(judge, name), { recursive: true });
  const options = ['Acquire::Languages=none', 'Dir::Etc::SourceList=/judge/sources.list', 'Dir::Etc::SourceParts=/dev/null'];
  options.push('Dir::State::Lists=/judge/lists', 'Dir::Cache::Archives=/judge/archives', 'APT::Sandbox::User=root');
  const flags = options.flatMap((option) => ['-o', option]);
  await host.must(['apt-get', ...flags, 'update']);
  const said = await host.must(['apt-get', ...flags, '-s', 'dist-upgrade']);
  fs.rmSync(judge, { recursive: true, force: true });
  return said
    .split('\n')
    .flatMap((row) => {
      const found = /^Inst (\S+) (?:\[\S+\] )?\((\S+) /.exec(row);
      return found === null ? [] : [`${found[1]} ${found[2]}`];
    })
    .toSorted();
}

async function agentSays(agent: HostAgent): Promise<string[]> {
  const { missing } = await agent.ask<Scan>(['scan']);
  return missing.map(({ name, to }) => `${name} ${to}`).toSorted();
}

/** Everything that a rollback must bring back: files with hash, mode, owner, capabilities; package versions; dpkg's audit. */
async function portrait(host: TestHost): Promise<Map<string, string>> {
  const roots = ['/usr', '/etc', '/boot', '/bin', '/sbin', '/lib', '/opt', '/var/lib/dpkg'];
  const list = await host.must(['find', ...roots, '-xdev', '-printf', '%p\\t%y\\t%m\\t%U:%G\\t%l\\n'], { timeoutMs: 120_000 });
  const found = new Map<string, string>();
  for (const row of list.split('\n')) {
    const [path = '', type = '', ...rest] = row.split('\t');
    if (path === '' || /^\/etc\/patchferry|^\/usr\/local\/bin\/patchferry|\.pyc$|\/__pycache__(?:\/|$)/.test(path)) continue;
    if (/^\/var\/lib\/dpkg\/(?:lock|triggers\/Lock)|^\/var\/lib\/dpkg\/.*-old$/.test(path)) continue;
    const hash =
      type === 'f'
        ? createHash('sha256')
            .update(fs.readFileSync(join(host.root, path)))
            .digest('hex')
        : '';
    found.set(path, [type, ...rest, hash].join(' '));
  }
  found.set('capabilities', await host.must(['getcap', '-r', '/usr', '/bin']));
  found.set('audit', await host.must(['dpkg', '--audit']));
  found.set('packages', await host.must(['dpkg-query', '-W', '-f', '${Package}:${Architecture} ${Version} ${Status}\n']));
  return found;
}

function differences(before: Map<string, string>, now: Map<string, string>): string[] {
  const paths = [...new Set([...before.keys(), ...now.keys()])];
  return paths
    .filter((path) => before.get(path) !== now.get(path))
    .map((path) => `${path}: ${before.get(path)} -> ${now.get(path)}`);
}

describe('the main job on real hosts', { skip }, () => {
  before(async () => {
    folder = fs.mkdtempSync(join(tmpdir(), 'patchferry-main-job-'));
    mirrors = (await debianMirrors('bookworm')) ?? assert.fail('apt here has no sources for Debian 12');
    binary = await keptBinary('agent');
  });
  after(async () => {
    for (const relay of relays) await relay.kill();
    fs.rmSync(folder, { recursive: true, force: true });
  });

  describe('on btrfs', () => {
    let lab: Lab;
    before(async () => {
      lab = await Lab.open({ fileSystem: 'btrfs' });
    });
    after(() => lab?.close());

    test("the missing list is apt's own, before and after the run, and no network but the relay's was there", async () => {
      const { host, publisher, relay, agent, spread } = await fleet(lab, 'whole');
      const routes = (await host.must(['ip', '-4', 'route'])).trim().split('\n');
      assert.equal(routes.length, 1, 'the host has one route, to the relay');
      assert.match(routes[0] ?? '', /dev line0 .*scope link/);
      const wanted = await aptWould(host, publisher);
      assert.ok(wanted.length >= 20, `only ${wanted.length} updates are missing`);
      assert.deepEqual(await agentSays(agent), wanted);

      publisher.writePolicy('debian-12', { health: [{ name: 'sshd', command: ['/usr/sbin/sshd', '-t'] }] });
      await spread('wanted');
      await agent.must(['service', 'install']);
      await until('the run to end', 300, async () => {
        const { runs } = await agent.ask<History>(['history']);
        return runs[0]?.outcome === undefined || runs[0].outcome === null ? undefined : true;
      });
      assert.equal((await agent.ask<History>(['history'])).runs[0]?.outcome, 'committed');
      assert.deepEqual(await aptWould(host, publisher), []);
      assert.deepEqual(await agentSays(agent), []);
      assert.equal(await host.must(['dpkg', '--audit']), '');
      assert.match(await host.must(['systemctl', 'is-active', 'patchferry-agent.service']), /^active/);

      // results come one by one: each collection acks what it has, until none is left
      await until('the acks to cover everything', 180, async () => {
        await publisher.ask(['collect'], [0, 1, 3]);
        await spread();
        await host.must(['systemctl', 'restart', 'patchferry-agent.service']);
        return until('the outbox to be empty', 15, async () => {
          const said = await agent.must(['status'], [0, 1, 3, 4]);
          return /outbox\s+0 results/.test(said) ? true : undefined;
        }).catch(() => undefined);
      });
      const report = await publisher.ask<{ hosts: Array<{ verdict: string }> }>(['report'], [0, 1]);
      assert.deepEqual(
        report.hosts.map(({ verdict }) => verdict),
        ['compliant'],
      );
      await relay.kill('SIGTERM');
      await host.close();
    });

    test('what a relay tampers with is refused by name, the host is unchanged, and the next honest relay works', async () => {
      const { host, publisher, relay, agent, spread } = await fleet(lab, 'tampered');
      const served = (): string => {
        const tree = fs.mkdtempSync(join(folder, 'served-'));
        fs.cpSync(fs.realpathSync(join(relay.folder, 'cache/mirror/current')), tree, { recursive: true });
        return tree;
      };
      const old = served();
      publisher.writePolicy('debian-12', { only: ['expat', 'brotli'] });
      await spread('wanted');
      await relay.kill();
      const packages = await agent.packages();
      const payloads = join(relay.folder, 'cache/mirror/payloads');
      const stranger = new FleetPublisher(join(folder, 'stranger'));
      await stranger.init();
      await stranger.addDebianSecurity(mirrors);
      stranger.writePolicy('debian-12');
      await stranger.publish('none');
      const edit = (path: string, change: (text: string) => string) => {
        const text = fs.readFileSync(path, 'latin1');
        fs.rmSync(path);
        fs.writeFileSync(path, change(text), 'latin1');
      };
      const under = (tree: string, pattern: RegExp) =>
        fs
          .readdirSync(tree, { recursive: true, encoding: 'utf8' })
          .filter((name) => pattern.test(name) && fs.statSync(join(tree, name)).isFile())
          .map((name) => join(tree, name));
      const timestamp = (tree: string) => join(tree, 'metadata/timestamp.json');
      const flipped = (text: string) => `${text.slice(0, -1)}${String.fromCharCode(text.charCodeAt(text.length - 1) ^ 1)}`;
      const cases: Array<{ name: string; code: RegExp; tree: () => string; payloads?: string }> = [
        {
          name: 'timestamp changed',
          code: /trust\.threshold/,
          tree: () => {
            const tree = served();
            edit(timestamp(tree), (text) => text.replace(/"expires":"20/, '"expires":"21'));
            return tree;
          },
        },
        {
          name: 'timestamp truncated',
          code: /trust\.malformed/,
          tree: () => {
            const tree = served();
            edit(timestamp(tree), (text) => text.slice(0, 100));
            return tree;
          },
        },
        { name: 'an old timestamp', code: /trust\.rollback/, tree: () => old },
        { name: 'another repository', code: /trust\.threshold/, tree: () => stranger.repository },
        {
          name: 'payload changed',
          code: /transfer\.hash/,
          tree: served,
          payloads: (() => {
            const tree = join(folder, 'payloads');
            fs.cpSync(payloads, tree, { recursive: true });
            for (const path of under(tree, /sha256\/../)) if (fs.statSync(path).size < 300_000) edit(path, flipped);
            return tree;
          })(),
        },
      ];
      // Documents that it does not have yet, changed on the way.
      const changed = served();
      for (const path of under(changed, /^targets\//)) edit(path, flipped);
      assert.match(await withTree(host, changed, join(folder, 'no-payloads'), agent), /trust\.target-hash/);
      assert.deepEqual(await agent.packages(), packages);
      // What is older than what the agent has seen is only old once it has seen the newer.
      await withTree(host, served(), join(folder, 'no-payloads'), agent);
      for (const { name, code, tree, payloads: own } of cases) {
        assert.match(await withTree(host, tree(), own ?? join(folder, 'no-payloads'), agent), code, name);
        assert.deepEqual(await agent.packages(), packages, name);
      }
      assert.match(await withTree(host, served(), payloads, agent, ['--retry']), /committed/);
      assert.notDeepEqual(await agent.packages(), packages);
      await host.close();
    });

    test('kill -9 at ten places of the journal: patched or as before, one result each, none lost', async () => {
      const { host, publisher, relay, agent, spread } = await fleet(lab, 'killed', { testing: { failPoints: true } });
      publisher.writePolicy('debian-12', { only: ['expat', 'brotli'] });
      await spread('wanted');
      const places = ['Stage.entered', 'Stage.done', 'Precheck.done', 'Snapshot.entered', 'Snapshot.done', 'Install.entered'];
      places.push('Install.done', 'Verify.entered', 'result.before', 'result.after');
      const stale = await agent.packages();
      let runs = 0;
      for (const place of places) {
        const killed = await host.exec(
          ['env', `PATCHFERRY_FAILPOINT=${place}`, '/usr/local/bin/patchferry-agent', 'once', '--retry'],
          { timeoutMs: 300_000 },
        );
        assert.notEqual(killed.code, 0, `${place} was not reached: ${killed.stdout}${killed.stderr}`);
        await agent.must(['once'], [0, 1, 3, 4]);
        runs += 1;
        const { runs: known } = await agent.ask<History>(['history']);
        assert.equal(known.length, runs, `${place}: ${JSON.stringify(known)}`);
        assert.equal(known[0]?.outcome, 'committed', place);
        assert.equal(await host.must(['dpkg', '--audit']), '', place);
        assert.notDeepEqual(await agent.packages(), stale);
        await agent.must(['rollback'], [0, 6]);
        runs = (await agent.ask<History>(['history'])).runs.length;
        assert.deepEqual(await agent.packages(), stale, `${place}: as before after the rollback`);
      }
      await relay.kill(); // and the relay, with results that it may not have forwarded
      await relay.start();
      await agent.must(['once'], [0, 1, 3, 4, 6]);
      const collected = await publisher.ask<{ chains: unknown[]; refusedCount: number }>(['collect'], [0, 1, 3]);
      assert.deepEqual(collected.chains, [], 'no gap and no fork');
      assert.equal(collected.refusedCount, 0);
      await relay.kill('SIGTERM');
      await host.close();
    });
  });

  for (const fileSystem of ['btrfs', 'ext4'] as const) {
    test(`a failed health check takes everything back, on ${fileSystem}`, async () => {
      await using lab = await Lab.open({ fileSystem });
      const { host, publisher, relay, agent, spread } = await fleet(lab, `back-${fileSystem}`);
      publisher.writePolicy('debian-12', { health: [{ name: 'never-well', command: ['/bin/false'] }] });
      await spread('wanted');
      const before = await portrait(host);
      assert.match(before.get('capabilities') ?? '', /ping cap_net_raw=ep/);
      const said = await agent.must(['once'], [6]);
      assert.match(said, /rolled-back/);
      assert.deepEqual(differences(before, await portrait(host)), []);
      assert.match(await host.must(['ping', '-c', '1', '-W', '5', '127.0.0.1']), /1 received/);
      const again = await agent.must(['once'], [0, 1, 3, 4]);
      assert.doesNotMatch(again, /rolled-back \(/, 'trap 11: the set is not tried again');
      await publisher.arrived();
      const report = await publisher.ask<{ hosts: Array<{ lastRun: { outcome: string } | null }> }>(['report'], [0, 1]);
      assert.equal(report.hosts[0]?.lastRun?.outcome, 'rolled-back');
      await relay.kill('SIGTERM');
      await host.close();
    });
  }
});

/** Serves a changed tree on the relay's address and lets the agent have one cycle with it; what it said. */
async function withTree(host: TestHost, tree: string, payloads: string, agent: HostAgent, flags: readonly string[] = []) {
  const { createServer } = await import('node:http');
  const server = createServer((request, response) => {
    const path = decodeURIComponent((request.url ?? '/').slice(1));
    const file = path.startsWith('payloads/') ? join(payloads, path.slice('payloads/'.length)) : join(tree, path);
    if (!fs.existsSync(file)) return response.writeHead(404).end();
    return response.writeHead(200).end(fs.readFileSync(file));
  });
  await new Promise<void>((resolve) => server.listen(8480, host.gateway, resolve));
  try {
    const result = await agent.run(['once', ...flags]);
    return `${result.code}\n${result.stdout}${result.stderr}`;
  } finally {
    server.closeAllConnections();
    await new Promise((resolve) => server.close(resolve));
  }
}
