// Relays of a site on bad lines, killed and torn: a sync that is cut, results that were answered, and the fuse that halts the site
// without a line. Real programs in namespaces of their own, a publisher, two tiers, two relays at the site, agents on both.
import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import * as fs from 'node:fs';
import { join } from 'node:path';
import { after, before, describe, type TestContext, test } from 'node:test';
import { generateSigningKey } from '#manifests/trust';
import { type TryOut, tryOut } from '../../publisher/cli/try-out.ts';
import { until } from '../fleet/index.ts';
import { Line, type Place, TestNetwork } from '../hosts/index.ts';
import { ensureDebianPackages } from '../setup/debian.ts';
import { each, PORT, SiteHost, SiteRelay, sizeOf, TestTime } from './testing/site-network.ts';

const AGENTS = 6;
/** 256 kbit/s. */
const THIN = { bits: 256_000, bytesPerSecond: 32_000 } as const;
const BAD = { bytesPerSecond: THIN.bytesPerSecond, delayMs: 40, lossEvery: 50 } as const;
/** What one cut may cost: a second that was not flushed, a piece in the air, and what its end had not read yet. */
const CHUNK = 48 * 1024;
/** Questions, headers and signed documents of one sync beside the payloads. */
const DOCUMENTS = 64 * 1024;
const PAYLOAD = 200_000;
const SITE = 'ward-7';

const skip = (await ensureDebianPackages(['hosts'])) ?? false;

/** One group whose rollout has a fuse; `health` is what its hosts are judged by after a change. */
const policyWith = (health: readonly string[]) => `apiVersion: patchferry/v1
kind: Baseline
metadata: {name: own-software}
spec: {product: own-tool, rules: [{name: all, approve: {afterDays: 0}}]}
---
apiVersion: patchferry/v1
kind: MaintenanceWindow
metadata: {name: always}
spec: {days: daily, start: "00:00", durationMinutes: 1440, zone: UTC}
---
apiVersion: patchferry/v1
kind: Rollout
metadata: {name: at-once}
spec: {rings: [{name: all}], fuse: {withinHours: 24, minReports: 3, maxFailures: {hosts: 2}, scope: group}}
---
apiVersion: patchferry/v1
kind: PatchGroup
metadata: {name: all}
spec:
  baselines: [own-software]
  windows: [always]
  rollout: at-once
  health: ${JSON.stringify(health.length === 0 ? [] : [{ name: 'well', command: health, timeoutSeconds: 5 }])}
`;

interface Collected {
  readonly stored: number;
  readonly enrolments: readonly unknown[];
  readonly chains: readonly { readonly gaps: readonly unknown[]; readonly forks: readonly unknown[] }[];
  readonly siteHalts: readonly { readonly name: string; readonly state: string }[];
  readonly dropped: readonly { readonly results: number; readonly why: string }[];
}

describe('relays of a site, killed and torn', { skip }, () => {
  let network: TestNetwork;
  let publisher: TryOut;
  let time: TestTime;
  let folder: string;
  let hq: SiteRelay;
  let relays: [SiteRelay, SiteRelay];
  let lines: [Line, Line];
  let road: [Line, Line];
  let hosts: SiteHost[] = [];
  let traveller: SiteHost;
  let release = Buffer.alloc(0);
  let stored = 0;
  const closing: (() => unknown)[] = [];

  const must = async (...words: string[]) => {
    const ended = await publisher.run(...words);
    assert.ok(ended.exit === 0 || ended.exit === 3, `${words.join(' ')}: ${ended.exit} ${ended.out}${ended.err}`);
  };
  const policy = (...health: string[]) => fs.writeFileSync(join(publisher.home, 'policy/policy.yaml'), policyWith(health));
  /** A new release, at the relay beside the publisher. */
  const publish = async (version: string, bytes = PAYLOAD) => {
    release = Buffer.from(`${version} ${randomBytes(bytes).toString('latin1')}`, 'latin1');
    await publisher.addRelease(version, release);
    await must('source', 'sync');
    await must('publish', '--payloads', 'approved');
    const synced = await hq.sync();
    assert.equal(synced.code, 0, synced.stdout + synced.stderr);
  };
  const collect = async () => {
    const report = (await publisher.json('collect')) as unknown as Collected;
    stored += report.stored;
    return report;
  };
  const all = () => [...hosts, traveller];
  /** How many results these hosts have made; none of them is unsent. */
  const toldBy = async (some: readonly SiteHost[]) => {
    let results = 0;
    await each(some, async (host) => {
      const { lastSequence, unsent } = await host.outbox();
      assert.equal(unsent, 0, `${host.place.name}: ${host.waits}; ${host.said}`);
      results += lastSequence;
    });
    return results;
  };
  const closeLines = (closed: boolean) => {
    for (const line of [...lines, ...road]) line.closed = closed;
  };

  before(async () => {
    const clock = { now: () => Date.now() + (time?.ms ?? 0), monotonic: () => performance.now() };
    publisher = tryOut({ clock });
    closing.push(() => publisher.remove());
    folder = join(publisher.folder, 'network');
    fs.mkdirSync(folder);
    time = new TestTime(folder);
    network = await TestNetwork.open([
      { name: 'hq' },
      { name: 'r1', site: 'site', rate: THIN.bits },
      { name: 'r2', site: 'site', rate: THIN.bits },
      { name: 'road', rate: THIN.bits },
      ...Array.from({ length: AGENTS }, (_, number) => ({ name: `a${number}`, site: 'site', rate: false as const })),
    ]);
    network.holdings.add('folders', publisher.folder);
    closing.push(() => network.close());
    const place = (name: string) => network.place(name);
    const line = async (from: Place) => {
      const to = { host: place('hq').address, port: PORT };
      const made = await Line.open({ from: { host: from.middle, port: 0 }, to, ...BAD });
      closing.push(() => made.close());
      return made;
    };
    lines = [await line(place('r1')), await line(place('r2'))];
    road = [await line(place('road')), await line(place('road'))];
    await publisher.prepare();
    policy();
    await must('publish', '--payloads', 'none');
    const common = { upstreamRoot: publisher.root, payloads: 'approved' };
    const inbox = join(publisher.home, 'inbox');
    hq = new SiteRelay(place('hq'), folder, time, { ...common, upstream: [publisher.repository], inboxForward: [inbox] });
    const behind = (name: string, { url }: Line, sibling: string) =>
      new SiteRelay(place(name), folder, time, {
        ...common,
        upstream: [url],
        inboxForward: [url],
        inboxMiB: 1,
        site: SITE,
        siblings: [`http://${place(sibling).inner}:${PORT}`],
      });
    relays = [behind('r1', lines[0], 'r2'), behind('r2', lines[1], 'r1')];
    for (const relay of [hq, ...relays]) closing.push(() => relay.kill());
    await hq.start();
    await Promise.all(relays.map((relay) => relay.start()));
    const [one = '', two = ''] = relays.map(({ url }) => url);
    hosts = Array.from({ length: AGENTS }, (_, number) => {
      const order = number % 2 === 0 ? [one, two] : [two, one];
      return new SiteHost(place(`a${number}`), folder, time, order, publisher.root);
    });
    const urls = road.map(({ url }) => url);
    traveller = new SiteHost(place('road'), folder, time, urls, publisher.root);
    for (const host of all()) closing.push(() => host.stop());
  });
  after(async () => {
    for (const close of closing.toReversed()) await close();
  });

  test('enrolments travel over two tiers and a thin line', async () => {
    const codes: string[] = [];
    for (const host of all()) {
      const site = host === traveller ? [] : ['--site', SITE];
      const invited = await publisher.json('agent', 'invite', '--group', 'all', '--title', host.place.name, ...site);
      codes.push((invited as { code: string }).code);
    }
    await each(all(), async (host, index) => {
      const [code = '', relay = ''] = [codes[index], host.relays[0]];
      const ended = await host.run('enroll', '--code', code, '--relay', relay, '--root', publisher.root);
      assert.equal(ended.code, 0, ended.stdout + ended.stderr);
    });
    let enrolled = 0;
    await until('enrolments to arrive', 120, async () => {
      enrolled += (await collect()).enrolments.length;
      return enrolled >= all().length ? true : undefined;
    });
    await must('agent', 'approve', '--all-valid');
    const cards = [];
    for (const relay of relays) cards.push('--relay', (await relay.command(['courier', 'key'])).stdout.trim());
    const key = generateSigningKey().publicKey;
    await must('site', 'add', SITE, '--key', key, '--may', 'halt', ...cards);
  });

  test('S21 S23 a sync over a line that is cut, its relay killed in the middle and torn: every byte once, and a chunk a cut', async (t) => {
    await publish('2.0.0');
    await relays[0].kill();
    const began = lines.map(({ down, cuts }) => ({ down, cuts }));
    lines[0].cutAfter(50_000, 60_000);
    lines[1].cutAfter(70_000, 30_000);
    await relays[0].start(); // its first sync begins at once
    await until('a part of the payload', 90, () => (lines[0].down - (began[0]?.down ?? 0) > 80_000 ? true : undefined));
    await relays[0].kill(true);
    await Promise.all(relays.map((relay) => relay.syncWhole()));
    await relays[0].start();
    onceAndAChunkACut(t, began, lines, [1, 0]);
  });

  function onceAndAChunkACut(
    t: TestContext,
    began: readonly { down: number; cuts: number }[],
    over: readonly Line[],
    kills: readonly number[],
  ) {
    for (const [index, line] of over.entries()) {
      const cuts = line.cuts - (began[index]?.cuts ?? 0);
      const most = release.length + DOCUMENTS + (cuts + (kills[index] ?? 0)) * CHUNK;
      const took = line.down - (began[index]?.down ?? 0);
      t.diagnostic(`line ${index}: ${took} bytes for a payload of ${release.length}, ${cuts} cuts`);
      assert.ok(cuts >= 1, `${cuts} cuts`);
      assert.ok(took >= release.length && took <= most, `line ${index}: ${took} bytes of at most ${most}`);
    }
  }

  test('agents install; a relay is killed while they hand their results in, its journal torn: what was answered is there', async () => {
    const before = lines.map(({ down }) => down);
    const spool = join(relays[0].folder, 'state/inbox');
    const seen = sizeOf(spool);
    lines[0].closed = true; // what is handed in stays at the relay
    const cycles = each(hosts, (host) => host.once(0, 3));
    await until('results at the first relay', 120, () => (sizeOf(spool) > seen + 20_000 ? true : undefined));
    await relays[0].kill(true);
    await cycles;
    lines[0].closed = false;
    for (const host of hosts) assert.ok(host.tool()?.equals(release), `${host.place.name} has the release`);
    for (const [index, line] of lines.entries())
      assert.ok(line.down - (before[index] ?? 0) < DOCUMENTS, 'no payload came over the line again');
    await relays[0].start();
    const wanted = await toldBy(hosts); // no host sends again what was answered before some hours have gone
    await until('what the relays had answered', 120, async () => {
      await collect();
      return stored >= wanted ? true : undefined;
    });
    assert.equal(stored, wanted);
  });

  test('the fuse: hosts fail, their relay halts the site without a line, further ones stop before they install; lifted, all go on', async () => {
    time.set(1); // a day later every relay has rested, so that each host asks its own one first: a fuse counts what its relay got
    policy('false');
    await publish('2.1.0', 2_000);
    await Promise.all(relays.map((relay) => relay.syncWhole()));
    closeLines(true);
    const failing = [0, 2, 4].map((number) => hosts[number] as SiteHost);
    const further = [1, 3, 5].map((number) => hosts[number] as SiteHost);
    const before = hosts.map((host) => host.tool());
    await each(failing, (host) => host.once(6));
    const told = join(relays[1].folder, 'state/records/halts');
    await until('the halt at the other relay', 90, () => (sizeOf(told) > 0 ? true : undefined));
    await each(further, async (host) => {
      const said = await host.once(4);
      assert.match(said, /halt ward-7\/fuse-all .*3 of \d+ hosts failed.*not by the publisher/);
      assert.doesNotMatch((await host.run('history')).stdout, /2\.1\.0/, 'not begun');
    });
    assert.deepEqual(
      hosts.map((host) => host.tool()),
      before,
      'every host is as it was',
    );
    await relays[0].kill(true); // it survives its relay
    await relays[0].start();
    closeLines(false);
    await until('the halt at the publisher', 120, async () =>
      (await collect()).siteHalts.some(({ name, state }) => name === 'fuse-all' && state === 'in-force') ? true : undefined,
    );
    await each(further.slice(1), (host) => host.once(4));

    await must('site', 'lift', SITE, 'fuse-all');
    policy();
    await publish('2.1.1', 2_000);
    await Promise.all(relays.map((relay) => relay.syncWhole()));
    await each([...failing, ...further], async (host) => {
      await host.once(0);
      assert.ok(host.tool()?.equals(release), `${host.place.name} has what came after the lift`);
    });
  });
});
