// A site that is halted by hand at one of its relays: real relays, two at the site and one above, a real agent, a real publisher.
import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { freePort } from '#manifests/platform/testing/free-port';
import type { RunningRelay } from '../../relay/run.ts';
import { type Branch, type BranchHost, type BranchRelay, openBranch } from './branch.ts';

describe('a site is halted by hand at its relay', () => {
  let branch: Branch;
  let host: BranchHost;
  let hq: BranchRelay;
  let ward: [BranchRelay, BranchRelay];
  const running: RunningRelay[] = [];
  const syncAll = async () => {
    for (const relay of running) await relay.sync();
  };
  /** Up to the publisher. */
  const bringUp = async () => {
    for (const relay of running.toReversed()) assert.deepEqual((await relay.forward()).reasons, []);
  };

  before(async () => {
    branch = await openBranch();
    const ports = [await freePort(), await freePort(), await freePort()];
    const [above, one, two] = ports.map((port) => `http://127.0.0.1:${port}`);
    const listen = (index: number) => `127.0.0.1:${ports[index] ?? 0}`;
    hq = branch.relay('hq', { listen: listen(0), upstream: [branch.publisher.repository], inboxForward: [branch.inbox] });
    const atSite = { site: 'ward-7', upstream: [above], inboxForward: [above] };
    ward = [
      branch.relay('ward-a', { ...atSite, listen: listen(1), siblings: [two] }),
      branch.relay('ward-b', { ...atSite, listen: listen(2), siblings: [one] }),
    ];
    const cards = [];
    for (const relay of ward) cards.push((await relay.run('courier', 'key')).out.trim());
    for (const relay of [hq, ...ward]) {
      running.push(await relay.start());
      await running.at(-1)?.sync();
    }
    host = branch.host('pump-3');
    const enrolled = await host.enrol(one ?? '', '--site', 'ward-7');
    assert.equal(enrolled.exit, 0, enrolled.out + enrolled.err);
    await bringUp();
    const noPower = await ward[0].run('halt', 'too-early', '--reason', 'nobody said it may');
    assert.equal(noPower.exit, 2);
    assert.match(noPower.err, /cannot halt its site: policy delegates nothing to site ward-7[^]*halt\.no-power/);
    const relays = cards.flatMap((card) => ['--relay', card]);
    await branch.must('site', 'add', 'ward-7', '--may', 'halt', ...relays);
    await branch.approve();
    await syncAll();
    const ran = await host.agent('once');
    assert.equal(ran.exit, 0, ran.out + ran.err);
    assert.match(host.tool() ?? '', /1\.0\.0/);
  });
  after(() => branch.close());

  test('what policy does not give, what has no end, no group, no name is refused; --dry-run signs nothing', async () => {
    const halt = (...words: string[]) => ward[0].run('halt', ...words);
    for (const [words, says] of [
      [['x', '--reason', 'r', '--group', 'nobody'], /no signed group is called nobody; there are all[^]*halt\.no-group/],
      [['x', '--reason', 'r', '--hours', '1', '--until', '2031-01-01T00:00:00Z'], /two ends[^]*halt\.end/],
      [['x', '--reason', 'r', '--until', '2020-01-01T00:00:00Z'], /ended before it began[^]*halt\.end/],
      [['x', '--reason', 'r', '--hours', 'many'], /halt\.end/],
      [['Not A Name', '--reason', 'r'], /halt\.words/],
      [['x'], /--reason/],
    ] as const) {
      const ended = await halt(...words);
      assert.equal(ended.exit, 2, `${words.join(' ')}: ${ended.out}`);
      assert.match(ended.err, says);
    }
    assert.match((await hq.run('halt', 'x', '--reason', 'r')).err, /this relay has no site/);
    const dry = await halt('operations', '--reason', 'theatre in use', '--hours', '3', '--dry-run');
    assert.equal(dry.exit, 0, dry.err);
    assert.match(dry.out, /^would stop: download, install of every host at site ward-7/);
    const listed = await ward[0].run('halt', 'list');
    assert.equal(listed.exit, 0);
    assert.match(listed.out, /no relay has halted its site/);
  });

  test('a halt by hand, beside a relay that runs: hosts start no run and say why; the other relay of the site tells it too', async () => {
    const halted = await ward[0].run('halt', 'operations', '--reason', 'theatre in use', '--hours', '3', '--json');
    assert.equal(halted.exit, 0, halted.err);
    const { told, halt, endsAt } = JSON.parse(halted.out) as {
      told: { relay: string; says: string }[];
      halt: { fuse: unknown; until: string };
      endsAt: string;
    };
    assert.deepEqual(told, [{ relay: running[2]?.url, says: '' }]);
    assert.deepEqual([halt.fuse, halt.until], [null, endsAt]);
    const again = await ward[0].run('halt', 'operations', '--reason', 'again');
    assert.equal(again.exit, 3, again.err);

    await branch.release('2.0.0');
    await syncAll();
    const ran = await host.agent('once');
    assert.equal(ran.exit, 4, ran.out + ran.err);
    assert.match(host.tool() ?? '', /1\.0\.0/, 'nothing was installed');
    const status = await host.agent('status');
    assert.match(
      status.out,
      /^.* is halted[\s\S]*Halt ward-7\/operations .*theatre in use.*signed by site ward-7, not by the publisher/,
    );
    assert.match(status.out, /last run .*committed/, 'no run was begun');
    host.settings({ relays: [running[2]?.url] });
    assert.equal((await host.agent('once')).exit, 4, 'at the other relay as well');

    for (const relay of ward) {
      const { exit, out } = await relay.run('status');
      assert.equal(exit, 1);
      assert.match(out, /site ward-7 is halted by hand \(operations\) until 2.* at the latest: theatre in use/);
      const listed = await relay.run('halt', 'list');
      assert.equal(listed.exit, 1);
      assert.match(listed.out, /^in force: ward-7\/operations \(by hand\) stops download, install of every host/);
      assert.match((await relay.run('doctor')).out, /look +fuse: site ward-7 is halted by hand/);
    }
    for (const { url } of running.slice(1)) {
      const page = await (await fetch(`${url}/site/`)).text();
      assert.match(page, /operations<span class="mild">ward-7, by hand, signed by/);
      assert.match(page, /theatre in use/);
      const metrics = await (await fetch(`${url}/metrics`)).text();
      assert.match(metrics, /patchferry_relay_site_halts\{site="ward-7",by="hand"\} 1/);
    }
  });

  test('it travels up to the publisher, who alone lifts it; then hosts go on', async () => {
    await bringUp();
    const collected = await branch.publisher.run('collect');
    assert.match(collected.out, /site ward-7 .*theatre in use.*publisher site lift ward-7 operations/);
    await branch.must('site', 'lift', 'ward-7', 'operations');
    await branch.must('publish', '--payloads', 'approved');
    await syncAll();
    const ran = await host.agent('once');
    assert.equal(ran.exit, 0, ran.out + ran.err);
    assert.match(host.tool() ?? '', /2\.0\.0/);
    for (const relay of ward) {
      const listed = await relay.run('halt', 'list');
      assert.equal(listed.exit, 0);
      assert.match(listed.out, /^lifted by the publisher: ward-7\/operations/);
    }
  });

  test('a halt that has ended by itself holds nobody', async () => {
    const short = await ward[1].run('halt', 'moment', '--reason', 'a moment', '--hours', '0.0003');
    assert.equal(short.exit, 0, short.err);
    const deadline = Date.now() + 20_000;
    while ((await ward[1].run('halt', 'list')).exit !== 0) assert.ok(Date.now() < deadline, 'it ends');
    await branch.release('3.0.0');
    await syncAll();
    const ran = await host.agent('once');
    assert.equal(ran.exit, 0, ran.out + ran.err);
    assert.match(host.tool() ?? '', /3\.0\.0/);
  });
});
