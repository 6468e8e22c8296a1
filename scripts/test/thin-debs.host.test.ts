// Real security updates of Debian over thin lines: publisher, relay and a real host, 256 kbit/s between each of them, the lines cut
// in mid-file and the relay killed. Every byte of every .deb and of the vendor's index comes once, and a chunk a cut; apt installs.
import assert from 'node:assert/strict';
import * as fs from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, type TestContext, test } from 'node:test';
import { keptBinary } from '../build/kept.ts';
import { FleetPublisher, HostAgent, until } from '../fleet/index.ts';
import { debianMirrors, Lab, Line, TestNetwork } from '../hosts/index.ts';
import { isDebianRoot } from '../setup/debian.ts';
import { PORT, SiteRelay, sizeOf, TestTime } from './testing/site-network.ts';

const skip = isDebianRoot() ? false : 'needs root on Debian';

/** 256 kbit/s. */
const THIN = { bits: 256_000, bytesPerSecond: 32_000 } as const;
const BAD = { bytesPerSecond: THIN.bytesPerSecond, delayMs: 40, lossEvery: 100 } as const;
/** What one cut may cost, as in network.host.test.ts. */
const CHUNK = 48 * 1024;
/** Questions, headers and signed documents beside the payloads and the catalog. */
const DOCUMENTS = 48 * 1024;
/** Source packages whose updates are small, and of which the stale host has an old version. */
const SMALL = ['expat', 'brotli'];

describe('real packages over thin lines', { skip }, () => {
  let folder = '';
  let lab: Lab;
  let network: TestNetwork;
  let publisher: FleetPublisher;
  let hq: SiteRelay;
  let branch: SiteRelay;
  let line: Line;
  let last: Line;
  let agent: HostAgent;
  const closing: (() => unknown)[] = [];

  const spread = async () => {
    await publisher.publish('wanted');
    const { code, stdout, stderr } = await hq.sync();
    assert.ok(code === 0 || code === 3, stdout + stderr);
  };
  /** Bytes of the newest catalog. A document that is cut comes whole again, so the cuts here are in payloads. */
  const catalogAt = (relay: SiteRelay) => {
    const folder = join(relay.folder, 'cache/mirror/current/targets/catalogs');
    const files = fs.readdirSync(folder).map((name) => fs.statSync(join(folder, name)));
    return files.toSorted((a, b) => b.mtimeMs - a.mtimeMs)[0]?.size ?? 0;
  };
  const payloadsAt = (relay: SiteRelay) => sizeOf(join(relay.folder, 'cache/mirror/payloads/sha256'));

  before(async () => {
    folder = fs.mkdtempSync(join(tmpdir(), 'patchferry-thin-debs-'));
    closing.push(() => fs.rmSync(folder, { recursive: true, force: true }));
    const mirrors = (await debianMirrors('bookworm')) ?? assert.fail('apt here has no sources for Debian 12');
    const binary = await keptBinary('agent');
    lab = await Lab.open();
    closing.push(() => lab.close());
    lab.holdings.add('folders', folder);
    network = await TestNetwork.open([{ name: 'hq' }, { name: 'branch', rate: THIN.bits }]);
    closing.push(() => network.close());
    const host = await lab.host('thin');
    const place = network.place('branch');
    await Promise.all([host.boot(), preparePublisher()]);
    async function preparePublisher() {
      publisher = new FleetPublisher(folder);
      await publisher.init();
      await publisher.addDebianSecurity(mirrors);
      publisher.writePolicy('debian-12', { only: SMALL });
      await publisher.publish('none');
    }
    const time = new TestTime(folder);
    const common = { upstreamRoot: publisher.root, payloads: 'approved' };
    hq = new SiteRelay(network.place('hq'), folder, time, {
      ...common,
      upstream: [publisher.repository],
      inboxForward: [publisher.inbox],
    });
    const between = { from: { host: place.middle, port: 0 }, to: { host: network.place('hq').address, port: PORT } };
    line = await Line.open({ ...between, ...BAD });
    branch = new SiteRelay(place, folder, time, { ...common, upstream: [line.url], inboxForward: [line.url] });
    // The host has a thin line of its own to the relay of its branch.
    last = await Line.open({ from: { host: host.gateway, port: 0 }, to: { host: place.address, port: PORT }, ...BAD });
    closing.push(
      () => line.close(),
      () => last.close(),
      () => hq.kill(),
      () => branch.kill(),
    );
    agent = new HostAgent(host);
    agent.install(binary, publisher.root, [last.url]);
    await hq.start();
    await branch.start();
    await agent.enroll(await publisher.invite('thin'), last.url, 'thin');
    await publisher.arrived();
    await publisher.approveAll();
    await publisher.publish('none');
    assert.equal((await hq.sync()).code, 0);
    await branch.syncWhole();
    await agent.must(['once'], [0, 1, 3, 4, 8]); // tells what it lacks; nothing of it is here yet
    await publisher.arrived();
  });
  after(async () => {
    for (const close of closing.toReversed()) await close();
  });

  function once(t: TestContext, what: string, took: number, payloads: number, losses: number): void {
    t.diagnostic(`${what}: ${took} bytes for ${payloads} of payloads, ${losses} cuts and kills`);
    assert.ok(payloads > 200_000, `real packages: ${payloads} bytes`);
    const most = payloads + catalogAt(branch) + DOCUMENTS + losses * CHUNK;
    assert.ok(took <= most, `${what}: ${took} bytes of at most ${most}`);
  }

  test('S23 the branch fetches .debs and index: cut four times, killed and torn once, each byte once and a chunk a cut', async (t) => {
    const here = payloadsAt(branch);
    await spread();
    const began = { down: line.down, cuts: line.cuts };
    await branch.kill();
    const before = catalogAt(hq);
    line.cutAfter(before + 110_000, 60_000, 50_000, 40_000);
    await branch.start(); // its first sync begins at once
    await until('a part of the packages', 120, () => (line.down - began.down > before + 70_000 ? true : undefined));
    await branch.kill(true);
    await branch.syncWhole();
    await branch.start();
    const cuts = line.cuts - began.cuts;
    assert.ok(cuts >= 3, `${cuts} cuts`);
    once(t, 'the line of the branch', line.down - began.down, payloadsAt(branch) - here, cuts + 1);
  });

  test('S23 the host installs them with its own apt over a line that is cut three times: each byte once, and a chunk a cut', async (t) => {
    const before = await agent.packages();
    const began = { down: last.down, cuts: last.cuts };
    last.cutAfter(catalogAt(branch) + 80_000, 80_000, 60_000);
    for (let tries = 0; tries < 8; tries += 1) {
      const { code, stdout, stderr } = await agent.run(['once']);
      if (code === 0) break;
      assert.ok(code === 8 || code === 4 || code === 1, `${code} ${stdout}${stderr}`);
    }
    const now = await agent.packages();
    const changed = [...now].filter(([name, version]) => before.get(name) !== version).map(([name]) => name);
    assert.deepEqual(changed.toSorted(), ['libbrotli1:amd64', 'libexpat1:amd64']);
    assert.equal(await agent.host.must(['dpkg', '--audit']), '');
    const cuts = last.cuts - began.cuts;
    assert.ok(cuts >= 2, `${cuts} cuts`);
    once(t, 'the line of the host', last.down - began.down, payloadsAt(branch), cuts);
    const quiet = last.down;
    await agent.must(['once'], [0, 3]);
    assert.ok(last.down - quiet < 64 * 1024, `a second poll: ${last.down - quiet} bytes`);
  });
});
