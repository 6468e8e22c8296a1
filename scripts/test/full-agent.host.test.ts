// The full agent as a systemd service on a real Debian, from publisher to result: the distribution's own updater taken over and given
// back, prechecks that fail and are mended as policy says, own software with a service that is judged and taken back, an own check
// that stops a run; and at each step what a person sees in a terminal of 80 columns.
import assert from 'node:assert/strict';
import * as fs from 'node:fs';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import type { RunBody } from '#manifests/schema';
import { until } from '../fleet/index.ts';
import { isDebianRoot } from '../setup/debian.ts';
import { FullHost, shop } from './full-host.ts';

const skip = isDebianRoot() ? false : 'needs root on Debian';
const UPDATERS = ['apt-daily.timer', 'apt-daily-upgrade.timer', 'unattended-upgrades.service'];
const SERVICES = { services: ['shop.service'] };
const SCREEN = { columns: 80, rows: 24 } as const;
const GROUP = {
  otherUpdaters: 'take-over',
  fixes: ['configure-packages', 'clean-package-cache'],
  wayBack: 'required',
  health: [
    { name: 'shop-runs', unit: 'shop.service', timeoutSeconds: 20 },
    { name: 'shop-answers', connect: '127.0.0.1:8088', timeoutSeconds: 20 },
  ],
  prechecks: {
    scripts: [
      {
        name: 'no-stock-taking',
        timeoutSeconds: 10,
        script: '#!/bin/sh\n[ ! -e /run/stock-taking ] || { echo "the shop counts its stock"; exit 1; }\n',
      },
    ],
  },
};

describe('the full agent on a real host', { skip }, () => {
  let full: FullHost;
  before(async () => {
    full = await FullHost.open({ allowReboot: false });
  });
  after(() => full?.close());

  /** What a command shows on a terminal: no line beyond it, and one screen where that is promised. */
  const see = async (words: string, options: { accept?: readonly number[]; color?: boolean; oneScreen?: boolean } = {}) => {
    const look = `stty cols ${SCREEN.columns} rows ${SCREEN.rows}; patchferry-agent ${words}`;
    const env = ['env', 'TERM=xterm', ...(options.color === true ? [] : ['NO_COLOR=1'])];
    const { code, stdout } = await full.host.exec([...env, 'script', '-qefc', look, '/dev/null'], { timeoutMs: 300_000 });
    assert.ok((options.accept ?? [0]).includes(code ?? -1), `${words} ended with ${code}: ${stdout}`);
    const text = stdout.replaceAll('\r\n', '\n');
    if (options.color === true) return text;
    assert.ok(!text.includes('\u001b[3'), `${words} has no colours`);
    const lines = text.trimEnd().split('\n');
    if (options.oneScreen === true) {
      assert.ok(lines.length <= SCREEN.rows, `${words} is one screen: ${lines.length} lines\n${text}`);
      const long = lines.filter((line) => line.length > SCREEN.columns && line.trim().includes(' '));
      assert.deepEqual(long, [], `${words} fits the terminal`);
    }
    return text;
  };
  const status = (options: { accept?: readonly number[]; color?: boolean } = {}) =>
    see('status', { oneScreen: true, ...options });
  const units = () => full.host.must(['systemctl', 'show', '--property=Id,UnitFileState,ActiveState', ...UPDATERS]);
  const web = () =>
    full.host.must(['curl', '-s', '--retry', '10', '--retry-delay', '1', '--retry-connrefused', 'http://127.0.0.1:8088/']);
  const pid = async () => (await full.host.must(['systemctl', 'show', '--property=MainPID', '--value', 'shop.service'])).trim();
  const lastRun = async (): Promise<RunBody> => (await full.runs())[0]?.body ?? assert.fail('no run has ended');
  let before24 = '';

  test('before it is approved, and while its window is shut, status says what it waits for and until when', async () => {
    const { agent, host } = full;
    const waits = await status({ accept: [4] });
    assert.match(waits, /^full waits for approval\n/);
    assert.match(waits.replaceAll(/\s+/g, ' '), /-> at the publisher, .* publisher agent approve [0-9a-f]{32}/);
    const wrong = await see('doctor', { accept: [1] });
    assert.match(wrong, /WRONG {2}enrolment .*waits for approval\n[\s\S]*-> At the publisher/);
    assert.match(wrong, /to put right: enrolment\n/);
    await full.approve();
    const shut = await status();
    assert.match(shut, /^full waits for its window, until \d{4}-\d\d-\d\dT00:00:00Z \(in \d days? [\d h]*\)\n/);
    assert.match(shut, /-> patchferry-agent plan/);
    assert.match(await status({ color: true }), /^\u001b\[33mfull waits for its window/);
    assert.match(await agent.must(['apply'], [4]), /to install when window now opens at/);
    before24 = await units();
    assert.match(before24, /Id=unattended-upgrades\.service\nActiveState=active\nUnitFileState=enabled/);
    assert.match(await see('doctor'), /unattended-upgrades\.service may\s+install by itself/);
    assert.equal(await host.must(['systemctl', 'list-units', '--failed', '--no-legend', '--plain']), '');
  });

  test('trap 24, and a half-configured package, a cache that fills the disk, a stale lock file: taken over, mended as policy says, told', async () => {
    const { agent, host } = full;
    await interruptDpkg();
    await fillCache();
    const lock = join(host.root, 'var/lib/dpkg/lock-frontend');
    fs.writeFileSync(lock, '4711\n'); // nobody holds it: what is in it says nothing
    await full.decree({ otherUpdaters: GROUP.otherUpdaters, fixes: GROUP.fixes });
    await agent.must(['service', 'install']);
    const { id, outcome, body } = await full.runAfter(0);
    assert.equal(outcome, 'committed', JSON.stringify(body?.error));
    assert.deepEqual(
      body?.fixes?.map(({ name, outcome: came }) => `${name} ${came}`),
      ['configure-packages done', 'clean-package-cache done'],
    );
    assert.ok(
      body?.prechecks?.every(({ ok, blocks }) => ok || !blocks),
      'everything was looked at again',
    );
    assert.equal(await host.must(['dpkg', '--audit']), '');
    assert.ok(!fs.existsSync(join(host.root, 'srv/small/archives/old_1_amd64.deb')));
    assert.ok(fs.existsSync(lock), 'no lock file is ever deleted');
    assert.match(await units(), /Id=apt-daily-upgrade\.timer\nActiveState=inactive\nUnitFileState=masked/);
    assert.equal((await units()).match(/UnitFileState=masked/g)?.length, 3, 'all three are off');
    assert.equal(await host.must(['systemctl', 'list-units', '--failed', '--no-legend', '--plain']), '', 'off is not failed');
    const all = await see(`history --run ${id.slice(0, 6)}`);
    assert.match(all, /fix {5}configure-packages: done/);
    assert.match(all, /libexpat1:amd64 +\S+ -> \S+/);
    const calm = await status();
    assert.match(calm, /^full is compliant and waits for nothing\n/);
    assert.match(calm, /switched off +apt-daily\.timer, apt-daily-upgrade\.timer/);
  });

  test('an own check that is signed with the policy stops a run with its reason; a halt says who lifts it', async () => {
    const { agent, host, publisher, relay } = full;
    await host.must(['systemctl', 'stop', 'patchferry-agent.service']); // from here on a person is at work
    await host.must(['systemctl', 'start', 'shop.service']);
    assert.equal(await web(), 'shop 1.0.0');
    await publisher.addRelease('shop', '2.0.0', { 'shop.py': shop('2.0.0') }, SERVICES);
    await host.must(['touch', '/run/stock-taking']);
    await full.decree(GROUP);
    const said = await agent.must(['once'], [4]);
    assert.match(said, /refused .*run\.precheck: script no-stock-taking: ended with 1: the shop counts its stock/);
    assert.equal((await lastRun()).error?.code, 'run.precheck');
    assert.equal(await web(), 'shop 1.0.0');
    const failed = await status();
    assert.match(failed, /^full waits after a failure, until \S+ \(in 1\d min/);
    assert.match(failed.replaceAll(/\s+/g, ' '), /the shop counts its stock\. -> patchferry-agent history --run [0-9a-f]{8}/);
    assert.match(failed, /once --retry/);
    await publisher.run(['halt', 'freeze', '--reason', 'cranes are moving', '--hours', '12']);
    await relay.sync();
    await agent.must(['once'], [4]);
    const halted = await status();
    assert.match(halted, /^full is halted, until \S+ \(in 1\d h/);
    assert.match(halted, /cranes are moving[\s\S]*-> .*publisher halt lift freeze/);
    await publisher.run(['halt', 'lift', 'freeze']);
    await relay.sync();
    await host.must(['rm', '/run/stock-taking']);
  });

  test('own software with a service: restarted, judged by unit and connection, taken back by hand and by itself', async () => {
    const { agent, host, publisher } = full;
    const first = await pid();
    await agent.must(['once', '--retry'], [0]);
    assert.equal(await web(), 'shop 2.0.0');
    assert.notEqual(await pid(), first, 'its service was restarted');
    const { health } = await lastRun();
    assert.deepEqual(
      health.map(({ name, healthy }) => `${name} ${healthy}`),
      ['shop-runs true', 'shop-answers true'],
    );
    assert.match(await see('history'), /committed .*can be taken back until[\s\S]*-> patchferry-agent rollback takes run/);
    assert.match(await see('rollback'), /taken back: 1 package is as before/);
    assert.equal(await web(), 'shop 1.0.0');
    assert.match(await status(), /^full was taken back to what it was\n[\s\S]*--retry tries the same set again/);

    await publisher.addRelease('shop', '3.0.0', { 'shop.py': 'import time\ntime.sleep(600)\n' }, SERVICES);
    await full.decree(GROUP);
    const bad = await agent.must(['once'], [6]);
    assert.match(bad, /rolled-back .*run\.health: shop-answers: .*ECONNREFUSED/);
    assert.equal(await web(), 'shop 1.0.0', 'and its service runs with the version of before');
    assert.match(await see('history'), /rolled-back .*run\.health/);
    assert.equal(await host.must(['systemctl', 'is-active', 'shop.service']), 'active\n');
  });

  test('a reboot that is owed says what for and who makes it; the publisher has every result; uninstall gives the host back', async () => {
    const { agent, host, publisher } = full;
    await host.must(['touch', '/run/reboot-required']);
    await publisher.addRelease('shop', '4.0.0', { 'shop.py': shop('4.0.0') }, SERVICES);
    await full.decree({ ...GROUP, reboot: 'if-needed' });
    assert.match(await agent.must(['once'], [0, 1]), /a reboot is needed: \/run\/reboot-required is there/);
    assert.match(await status(), /^full waits for a reboot by hand\n[\s\S]*reboot-required is there[\s\S]*-> reboot it/);
    await until('the last result to arrive', 60, async () => {
      const collected = await publisher.ask<{ chains: unknown[]; refusedCount: number }>(['collect'], [0, 1, 3]);
      assert.deepEqual([collected.chains, collected.refusedCount], [[], 0]);
      const report = await publisher.ask<{ hosts: Array<{ lastRun: { outcome: string } | null }> }>(['report'], [0, 1]);
      return report.hosts[0]?.lastRun?.outcome === 'committed' ? true : undefined;
    });
    assert.match(await agent.must(['service', 'uninstall']), /apt-daily\.timer is given back: enabled, active/);
    assert.equal(await units(), before24, 'as its distribution made it');
    assert.equal(await web(), 'shop 4.0.0', 'what was installed stays');
  });

  /** A package that is unpacked and not configured, as a power cut leaves it. */
  async function interruptDpkg(): Promise<void> {
    const { host } = full;
    const control = 'Package: half\nVersion: 1\nArchitecture: all\nMaintainer: A <a@example.org>\nDescription: half\n';
    fs.mkdirSync(join(host.root, 'root/half/DEBIAN'), { recursive: true });
    fs.writeFileSync(join(host.root, 'root/half/DEBIAN/control'), control);
    await host.must(['dpkg-deb', '--build', '/root/half', '/root/half.deb']);
    await host.must(['dpkg', '--unpack', '/root/half.deb']);
    assert.match(await host.must(['dpkg', '--audit']), /half/);
  }

  /** A small file system that apt's cache shares with a folder which installations need, and old packages that fill it. */
  async function fillCache(): Promise<void> {
    const { host } = full;
    await host.must(['mkdir', '-p', '/srv/small']);
    await host.must(['mount', '-t', 'tmpfs', '-o', 'size=48m', 'tmpfs', '/srv/small']);
    for (const [from, to] of [
      ['archives', '/var/cache/apt/archives'],
      ['tmp', '/var/tmp'],
    ] as const) {
      await host.must(['mkdir', '-p', '-m', '1777', `/srv/small/${from}`]);
      await host.must(['mount', '--bind', `/srv/small/${from}`, to]);
    }
    await host.must(['dd', 'if=/dev/zero', 'of=/var/cache/apt/archives/old_1_amd64.deb', 'bs=1M', 'count=40', 'status=none']);
  }
});
