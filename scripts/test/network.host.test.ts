// A fleet on a bad network: relays are killed, torn, filled up and lost for good, one halts its site, and for thirty days there
// is no line. Every result arrives exactly once; bytes are fetched once, and a chunk a cut.
import assert from 'node:assert/strict';
import * as fs from 'node:fs';
import { join } from 'node:path';
import { after, before, describe, type TestContext, test } from 'node:test';
import { run } from '#manifests/platform/process';
import { generateSigningKey } from '#manifests/trust';
import { until } from '../fleet/index.ts';
import type { Line } from '../hosts/index.ts';
import { ensureDebianPackages } from '../setup/debian.ts';
import { AGENTS, type BadNetwork, openBadNetwork, SITE, toldBy } from './testing/bad-network.ts';
import { each, fillUp, type SiteHost, sizeOf } from './testing/site-network.ts';

/** What one cut may cost: a second that was not flushed, a piece in the air, and what its end had not read yet. */
const CHUNK = 48 * 1024;
/** Questions, headers and signed documents of one sync beside the payloads. */
const DOCUMENTS = 64 * 1024;

const skip = (await ensureDebianPackages(['hosts'])) ?? false;

describe('a fleet on a bad network', { skip }, () => {
  let net: BadNetwork;
  before(async () => {
    net = await openBadNetwork();
  });
  after(() => net?.close());

  const collected = async (wanted: number, seconds = 120) => {
    await until('what the relays had answered', seconds, async () => {
      await net.collect();
      return net.now.stored >= wanted ? true : undefined;
    });
    assert.equal(net.now.stored, wanted);
  };
  const hasTool = (host: SiteHost) => host.tool()?.equals(net.now.release) ?? false;
  const some = (...numbers: number[]) => numbers.map((number) => net.hosts[number] as SiteHost);

  test('enrolments travel over two tiers and a thin line', async () => {
    const { all, traveller, publisher, relays } = net;
    const codes: string[] = [];
    for (const host of all) {
      const site = host === traveller ? [] : ['--site', SITE];
      const invited = await publisher.json('agent', 'invite', '--group', 'all', '--title', host.place.name, ...site);
      codes.push((invited as { code: string }).code);
    }
    await each(all, async (host, index) => {
      const [code = '', relay = ''] = [codes[index], host.relays[0]];
      const ended = await host.run('enroll', '--code', code, '--relay', relay, '--root', publisher.root);
      assert.equal(ended.code, 0, ended.stdout + ended.stderr);
    });
    let enrolled = 0;
    await until('enrolments to arrive', 120, async () => {
      enrolled += (await net.collect()).enrolments.length;
      return enrolled >= all.length ? true : undefined;
    });
    await net.must('agent', 'approve', '--all-valid');
    const cards = [];
    for (const relay of relays) cards.push('--relay', (await relay.command(['courier', 'key'])).stdout.trim());
    const key = generateSigningKey().publicKey;
    await net.must('site', 'add', SITE, '--key', key, '--may', 'halt', ...cards);
  });

  test('S21 S23 a sync over a line that is cut, its relay killed in the middle and torn: every byte once, and a chunk a cut', async (t) => {
    const { lines, relays } = net;
    await net.publish('2.0.0');
    await relays[0].kill();
    const began = lines.map(({ down, cuts }) => ({ down, cuts }));
    lines[0].cutAfter(90_000, 50_000);
    lines[1].cutAfter(70_000, 30_000);
    await relays[0].start(); // its first sync begins at once
    await until('a part of the payload', 90, () => (lines[0].down - (began[0]?.down ?? 0) > 60_000 ? true : undefined));
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
    const { length } = net.now.release;
    for (const [index, line] of over.entries()) {
      const cuts = line.cuts - (began[index]?.cuts ?? 0);
      const most = length + DOCUMENTS + (cuts + (kills[index] ?? 0)) * CHUNK;
      const took = line.down - (began[index]?.down ?? 0);
      t.diagnostic(`line ${index}: ${took} bytes for a payload of ${length}, ${cuts} cuts`);
      assert.ok(cuts >= 1, `${cuts} cuts`);
      assert.ok(took >= length && took <= most, `line ${index}: ${took} bytes of at most ${most}`);
    }
  }

  test('a dozen agents install; a relay is killed while they hand their results in, its journal torn: what was answered is there', async () => {
    const { lines, relays, hosts } = net;
    const before = lines.map(({ down }) => down);
    const spool = join(relays[0].folder, 'state/inbox');
    const seen = sizeOf(spool);
    lines[0].closed = true; // what is handed in stays at the relay
    const cycles = each(hosts, (host) => host.once(0, 3));
    await until('results at the first relay', 120, () => (sizeOf(spool) > seen + 20_000 ? true : undefined));
    await relays[0].kill(true);
    await cycles;
    lines[0].closed = false;
    for (const host of hosts) assert.ok(hasTool(host), `${host.place.name} has the release`);
    for (const [index, line] of lines.entries())
      assert.ok(line.down - (before[index] ?? 0) < DOCUMENTS, 'no payload came over the line again');
    await relays[0].start();
    await collected(await toldBy(hosts)); // no host sends again what was answered before some hours have gone
  });

  test('S23 on the road: a payload cut in mid-file goes on at the other relay, and no byte of it comes twice', async (t) => {
    const { road, traveller, now } = net;
    const began = road.map(({ down, cuts }) => ({ down, cuts }));
    road[0].cutAfter(90_000);
    const first = traveller.run('once');
    await until('the cut', 90, () => (road[0].cuts > (began[0]?.cuts ?? 0) ? true : undefined));
    road[0].closed = true;
    const ended = await first;
    if (ended.code !== 0) await traveller.once(0);
    assert.ok(hasTool(traveller));
    assert.ok(road[1].down - (began[1]?.down ?? 0) > 50_000, 'the rest came by the other relay');
    const took = road.reduce((sum, { down }, index) => sum + down - (began[index]?.down ?? 0), 0);
    t.diagnostic(`${took} bytes for a payload of ${now.release.length}`);
    assert.ok(took <= now.release.length + DOCUMENTS + CHUNK, `${took} bytes`);
    assert.match((await traveller.run('status')).stdout, /transfer\.(?:cut|unreachable)/);
    road[0].closed = false;
  });

  test('S35 a relay whose disk is full takes nothing and loses nothing; the other one takes it', async () => {
    const { relays, network, hosts, time } = net;
    const state = join(relays[1].folder, 'state');
    await relays[1].kill();
    const kept = `${state}.kept`;
    fs.renameSync(state, kept);
    fs.mkdirSync(state);
    network.holdings.add('mounts', state);
    const mounted = await run('mount', ['-t', 'tmpfs', '-o', 'size=3m', 'none', state], { timeoutMs: 10_000 });
    assert.equal(mounted.code, 0, mounted.stderr);
    try {
      fs.cpSync(kept, state, { recursive: true });
      await relays[1].start();
      fillUp(join(state, 'ballast'));
      time.set(1); // a day later there is something to tell
      await each(hosts.slice(0, 4), async (host) => {
        await host.once(0, 3);
        assert.equal((await host.outbox()).unsent, 0, 'the other relay took it');
      });
      await relays[1].kill();
      fs.rmSync(join(state, 'ballast'));
      fs.rmSync(kept, { recursive: true });
      fs.cpSync(state, kept, { recursive: true });
    } finally {
      await run('umount', [state], { timeoutMs: 10_000 });
      network.holdings.drop('mounts', state);
      fs.rmSync(state, { recursive: true });
      fs.renameSync(kept, state);
    }
    await relays[1].start();
  });

  test('the fuse: hosts fail, their relay halts the site without a line, further ones stop before they install; lifted, all go on', async () => {
    const { relays, hosts, time } = net;
    time.set(2); // every relay has rested, so that each host asks its own one first: a fuse counts what its relay got
    net.judgedBy('false');
    await net.publish('2.1.0', 2_000);
    await Promise.all(relays.map((relay) => relay.syncWhole()));
    net.closeLines(true);
    const failing = some(0, 2, 4);
    const further = some(1, 3, 5);
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
    await relays[0].kill(true); // the halt survives its relay
    await relays[0].start();
    net.closeLines(false);
    await until('the halt at the publisher', 120, async () =>
      (await net.collect()).siteHalts.some(({ name, state }) => name === 'fuse-all' && state === 'in-force') ? true : undefined,
    );
    await each(further.slice(1), (host) => host.once(4));

    await net.must('site', 'lift', SITE, 'fuse-all');
    net.judgedBy();
    await net.publish('2.1.1', 2_000);
    await Promise.all(relays.map((relay) => relay.syncWhole()));
    await each([...failing, ...further], async (host) => {
      await host.once(0);
      assert.ok(hasTool(host), `${host.place.name} has what came after the lift`);
    });
  });

  test('S26 thirty days without a line, results every day, an inbox that is full, one of two relays lost for good: every result arrives exactly once', async (t) => {
    const { relays, hosts, all, hq, time, now } = net;
    /** One cycle of every host; each ends in one of these ways. */
    const cycles = (site: readonly number[], road: readonly number[]) =>
      each(all, (host) => host.once(...(host === net.traveller ? road : site)));
    net.closeLines(true);
    const from = time.days;
    for (let day = 1; day <= 30; day += 1) {
      time.set(from + day);
      if (day === 16) {
        await relays[1].kill();
        fs.rmSync(relays[1].folder, { recursive: true }); // with whatever it had
      } else if (day % 5 === 2) {
        const relay = relays[day < 16 && day % 10 === 7 ? 1 : 0];
        await relay.kill(true);
        await relay.start();
      }
      // Disks are replaced: what is lost is installed again from the site's own relays.
      if (day === 10) for (const host of some(0, 1, 2)) fs.rmSync(join(host.folder, 'components'), { recursive: true });
      await cycles([0, 3, 5], [8]); // after two weeks what is signed has expired
      if (day === 10) for (const host of some(0, 1, 2)) assert.ok(hasTool(host), `${host.place.name} has it again`);
    }
    t.diagnostic(`the inbox of the last relay: ${sizeOf(join(relays[0].folder, 'state/inbox/results'))} bytes`);

    net.closeLines(false);
    await relays[0].kill(true); // the power came back with the line; a relay that runs would try again within ten minutes
    await relays[0].start();
    // What was given to the lost relay, or dropped, goes again, some days later at the latest; what is acknowledged does not.
    let report = await net.collect();
    let wanted = 0;
    for (let day = 31; day <= 45 && (wanted === 0 || now.stored < wanted); day += 1) {
      time.set(from + day);
      await net.publishWord();
      await relays[0].syncWhole();
      await cycles([0], [0]);
      await until('the inboxes to empty', 240, async () =>
        (await relays[0].waiting()) + (await hq.waiting()) === 0 ? true : undefined,
      );
      report = await net.collect();
      wanted = await sentBy(all);
      t.diagnostic(`day ${day}: ${now.stored} of ${wanted}`);
    }
    assert.equal(wanted, await toldBy(all));
    assert.ok(wanted > AGENTS * 30, `${wanted} results: each host told something each day`);
    assert.equal(now.stored, wanted, 'each is stored once');
    const dropped = report.dropped.reduce((sum, { results }) => sum + results, 0);
    assert.ok(dropped > 0, 'the inbox was full');
    t.diagnostic(`${wanted} results; ${dropped} times one was dropped for want of room and told again`);
    for (const { gaps, forks } of report.chains) assert.deepEqual([gaps, forks], [[], []]);

    // The acknowledgement finds its way down, and the hosts let go of what they kept.
    await net.publishWord();
    await relays[0].syncWhole();
    time.set(time.days + 1);
    await each(hosts, async (host) => {
      await host.once(0, 3);
      assert.ok((await host.outbox()).waiting <= 3, 'acknowledged results are gone');
    });
    await collected((await toldBy(hosts)) + (await sentBy([net.traveller])));
  });
});

/** How many results these hosts have made so far. */
async function sentBy(hosts: readonly SiteHost[]): Promise<number> {
  let made = 0;
  for (const host of hosts) made += (await host.outbox()).lastSequence;
  return made;
}
