// Two rows of the kill table on a real booted host: the network goes away in the middle of a download and of an upload (the line's
// veth is taken down), and the clock jumps in the middle of a run. The wall clock has no namespace, so the jump is what libfaketime
// shows to the agent and all its children while they run; kernel, systemd and file times keep the real one.
import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import * as fs from 'node:fs';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { readBoots } from '../../agent/service/alive.ts';
import { until } from '../fleet/index.ts';
import { isDebianRoot } from '../setup/debian.ts';
import { FullHost, shop } from './full-host.ts';

const skip = isDebianRoot() ? false : 'needs root on Debian';
const SERVICES = { services: ['shop.service'] };
const KIB = 1024;
/** Beside a payload: documents, questions, answers, headers of packets. */
const BESIDE = 160 * KIB;
const CHUNK = 64 * KIB;
/** What the jumping clock shows is in this file; it is read at every question for the time. */
const CLOCK = '/run/patchferry-clock';
const FAKED = [
  'env',
  'LD_PRELOAD=/usr/lib/x86_64-linux-gnu/faketime/libfaketimeMT.so.1',
  `FAKETIME_TIMESTAMP_FILE=${CLOCK}`,
  'FAKETIME_NO_CACHE=1',
  'FAKETIME_DONT_FAKE_MONOTONIC=1',
  'NO_FAKE_STAT=1',
];

describe('network gone and clock jump on a real host', { skip }, () => {
  let full: FullHost;
  before(async () => {
    full = await FullHost.open();
    await full.approve();
    await full.decree({});
    await full.agent.must(['once']);
  });
  after(() => full?.close());

  const page = () => fs.readFileSync(join(full.host.root, 'opt/patchferry/components/shop/current/shop.py'), 'utf8');
  const once = () => full.agent.run(['once', '--retry']);
  const outbox = async () =>
    (
      await full.agent.ask<{ outbox: { lastSequence: number; unsent: number; acked: { sequence: number } | null } }>(
        ['status'],
        [0, 4, 7],
      )
    ).outbox;
  /** Every result so far is at the publisher: its ack covers them all, the chain has no gap and no fork, nothing was refused. */
  const allArrived = async () => {
    const { lastSequence } = await outbox();
    await until('the ack of every result', 120, async () => {
      const report = await full.publisher.ask<{ chains: unknown[]; refusedCount: number }>(['collect'], [0, 1, 3]);
      assert.deepEqual([report.chains, report.refusedCount], [[], 0]);
      await full.spread();
      await once();
      return ((await outbox()).acked?.sequence ?? 0) >= lastSequence ? true : undefined;
    });
  };

  test('kill table: network gone in the middle of a download: nothing installed, and with the line back no byte comes twice', async () => {
    const { agent, host, publisher } = full;
    const load = randomBytes(750_000).toString('hex');
    await publisher.addRelease('shop', '2.0.0', { 'shop.py': shop('2.0.0'), load }, SERVICES);
    await full.decree({});
    await host.thin(1_000);
    const began = host.traffic().down;
    const going = once();
    await until('half of the payload', 60, () => (host.traffic().down - began > 300 * KIB ? true : undefined));
    await host.line('down');
    const cut = await going;
    assert.equal(cut.code, 8, cut.stdout + cut.stderr);
    assert.match(cut.stdout, /transfer\.(?:cut|slow|unreachable)/);
    assert.ok(!page().includes('2.0.0'));
    assert.match(await agent.must(['status'], [0]), /^full (?:waits for payloads, until|installs at the next cycle)/);
    await host.line('up');
    await host.thin(null);
    const whole = await once();
    assert.equal(whole.code, 0, whole.stdout + whole.stderr);
    assert.ok(page().includes('2.0.0'));
    const size = fs.statSync(join(full.folder, 'shop/2.0.0/shop.tar.gz')).size;
    const took = host.traffic().down - began;
    assert.ok(took >= size && took <= size * 1.08 + CHUNK + BESIDE, `${took} bytes for ${size}`);
    await allArrived();
  });

  test('kill table: network gone in the middle of an upload: results are kept, and arrive exactly once', async () => {
    const { host, publisher } = full;
    await publisher.addRelease('shop', '3.0.0', { 'shop.py': shop('3.0.0') }, SERVICES);
    const hooks = [{ name: 'time-to-thin-the-line', at: 'on-exit', command: ['sleep', '5'], timeoutSeconds: 20 }];
    await full.decree({ hooks });
    const going = once();
    await until('the run to be nearly done', 90, () => (page().includes('3.0.0') ? true : undefined));
    await host.thin(16);
    const began = host.traffic().up;
    await until('a result on its way', 60, () => (host.traffic().up - began > 2 * KIB ? true : undefined));
    await host.line('down');
    const cut = await going;
    assert.ok([0, 1, 8].includes(cut.code ?? -1), cut.stdout + cut.stderr);
    assert.match(cut.stdout, /results? waits?: /);
    assert.ok((await outbox()).unsent > 0);
    await host.line('up');
    await host.thin(null);
    await once();
    await allArrived();
  });

  for (const [number, [how, hook, jump]] of (
    [
      ['forward by 26 hours', 'pre-install', '+26h'],
      ['back by 26 hours', 'post-install', '-26h'],
    ] as const
  ).entries()) {
    test(`kill table: the clock jumps ${how} in the middle of a run: the run ends, and with the right clock all goes on`, async () => {
      const { agent, host, publisher } = full;
      const [first, second] = [`${4 + 2 * number}.0.0`, `${5 + 2 * number}.0.0`];
      const clock = (offset: string) => host.must(['sh', '-c', `echo '${offset}' >${CLOCK}.new; mv ${CLOCK}.new ${CLOCK}`]);
      await publisher.addRelease('shop', first, { 'shop.py': shop(first) }, SERVICES);
      const command = ['sh', '-c', `echo '${jump}' >${CLOCK}.new; mv ${CLOCK}.new ${CLOCK}`];
      await full.decree({ hooks: [{ name: 'the-clock-jumps', at: hook, command, timeoutSeconds: 10 }] });
      await clock('+0');
      const identity = await agent.ask<{ agent: string }>(['status']);
      const before = (await full.runs()).length;
      const jumped = await host.exec([...FAKED, 'patchferry-agent', 'once', '--retry'], { timeoutMs: 300_000 });
      assert.equal(jumped.code, 0, jumped.stdout + jumped.stderr);
      const runs = await full.runs();
      assert.equal(runs.length, before + 1, 'one run');
      assert.equal(runs[0]?.outcome, 'committed');
      const states = runs[0]?.body?.states.map(({ state }) => state).slice(3);
      assert.deepEqual(states, ['Stage', 'Precheck', 'Snapshot', 'Install', 'Verify', 'Commit']);
      assert.ok(page().includes(first));
      assert.equal(await host.must(['dpkg', '--audit']), '');
      // the clock is set right, and the next release comes as any other
      await publisher.addRelease('shop', second, { 'shop.py': shop(second) }, SERVICES);
      await full.decree({});
      const right = await once();
      assert.equal(right.code, 0, right.stdout + right.stderr);
      assert.ok(page().includes(second));
      assert.equal((await agent.ask<{ agent: string }>(['status'])).agent, identity.agent, 'the same identity');
      await allArrived();
    });
  }

  test('signs of life: after a power cut the system journal says until when the boot before was awake', async () => {
    const { host } = full;
    const began = Date.now();
    await host.powerCut();
    await host.boot();
    const said = await host.must(['journalctl', '--list-boots', '--no-pager', '-o', 'json']);
    const [past] = readBoots(said).slice(-1);
    assert.ok(past !== undefined, said);
    assert.ok(past.first < past.last && past.last <= began + 1_000, said);
    assert.ok(began - past.last < 10 * 60_000, 'it was awake until a moment ago');
  });
});
