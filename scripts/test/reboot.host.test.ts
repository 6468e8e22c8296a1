// Hooks, restarts and a reboot on a real host: real updates replace libraries that services have loaded, the services are
// restarted, the bus cannot be, so the host reboots, and the run ends after the reboot with one result.
import assert from 'node:assert/strict';
import * as fs from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import type { RunBody } from '#manifests/schema';
import { keptBinary } from '../build/kept.ts';
import { FleetPublisher, FleetRelay, HostAgent, until } from '../fleet/index.ts';
import { debianMirrors, Lab } from '../hosts/index.ts';
import { isDebianRoot } from '../setup/debian.ts';

const skip = isDebianRoot() ? false : 'needs root on Debian';
const POINTS = ['pre-download', 'pre-install', 'post-install', 'pre-reboot', 'post-reboot', 'on-exit'];

interface History {
  readonly runs: ReadonlyArray<{ id: string; outcome: string | null; body: RunBody | null }>;
}

describe('a reboot by evidence on a real host (traps 5, 12, 20)', { skip }, () => {
  let folder = '';
  let lab: Lab;
  before(async () => {
    folder = fs.mkdtempSync(join(tmpdir(), 'patchferry-reboot-'));
    lab = await Lab.open();
  });
  after(async () => {
    await lab?.close();
    fs.rmSync(folder, { recursive: true, force: true });
  });

  test('hooks in their order, services restarted, the host reboots, the run goes on and reports', async () => {
    const binary = await keptBinary('agent');
    const mirrors = (await debianMirrors('bookworm')) ?? assert.fail('apt here has no sources for Debian 12');
    const host = await lab.host('reboots');
    await host.boot();
    await host.must(['mkdir', '-p', '/run/sshd']);
    await host.must(['systemctl', 'start', 'dbus.service', 'nginx.service']);
    const publisher = new FleetPublisher(folder);
    await publisher.init();
    await publisher.addDebianSecurity(mirrors);
    const hooks = POINTS.map((at) => ({
      name: `note-${at}`,
      at,
      command: ['sh', '-c', 'echo "$PATCHFERRY_HOOK $PATCHFERRY_OUTCOME" >>/var/log/hooks'],
      timeoutSeconds: 20,
    }));
    publisher.writePolicy('debian-12', { windowOpen: false });
    await publisher.publish('none');
    const upstream = { upstream: publisher.repository, upstreamRoot: publisher.root, inboxForward: publisher.inbox };
    const relay = new FleetRelay({ folder: join(folder, 'relay'), host: host.gateway, ...upstream }, 8482);
    await relay.sync();
    await relay.start();
    try {
      const agent = new HostAgent(host);
      agent.install(binary, publisher.root, [relay.url], { allowReboot: true });
      await agent.enroll(await publisher.invite('reboots'), relay.url, 'reboots');
      await publisher.arrived();
      await publisher.approveAll();
      await publisher.publish('none');
      await relay.sync();
      await agent.must(['once'], [0, 1, 3, 4, 8]);
      await publisher.arrived();
      const health = [{ name: 'bus', unit: 'dbus.service' }];
      const more = [
        { name: 'web', connect: '127.0.0.1:80' },
        { name: 'page', url: 'http://127.0.0.1/', status: 200 },
      ];
      const all = [...health, ...more].map((check) => ({ ...check, timeoutSeconds: 30 }));
      publisher.writePolicy('debian-12', {
        only: ['expat', 'openssl'],
        group: { hooks, restartServices: true, rebootNotice: { minutes: 0, deferHours: 0 }, health: all },
      });
      await publisher.publish('wanted');
      await relay.sync();
      const boot = (await host.must(['cat', '/proc/sys/kernel/random/boot_id'])).trim();
      await agent.must(['service', 'install']);
      await host.bootAgain(240_000);
      const run = await until('the run to end after the reboot', 120, async () => {
        const [last] = (await agent.ask<History>(['history'])).runs;
        return last?.outcome ? last : undefined;
      });
      assert.equal(run.outcome, 'committed', JSON.stringify(run.body));
      const body = run.body ?? assert.fail('no result');
      const states = body.states.map(({ state }) => state).filter((state) => !['Sync', 'Evaluate', 'Wait'].includes(state));
      assert.deepEqual(states, ['Stage', 'Precheck', 'Snapshot', 'Install', 'Reboot', 'Verify', 'Commit']);
      assert.match(body.states.find(({ state }) => state === 'Install')?.says ?? '', /reboot needed: dbus\.service runs with/);
      assert.ok(body.restarted?.includes('nginx.service'), `restarted: ${body.restarted?.join()}`);
      assert.deepEqual(body.rebootNeeded, { needed: false, evidence: [] });
      assert.deepEqual(
        body.hooks?.map(({ at, outcome }) => `${at} ${outcome}`),
        POINTS.map((at) => `${at} done`),
      );
      const log = (await host.must(['cat', '/var/log/hooks'])).trim().split('\n');
      assert.deepEqual(
        log.map((row) => row.trim()),
        [...POINTS.slice(0, 5), 'on-exit committed'],
      );
      assert.deepEqual(
        body.health.map(({ name, healthy }) => `${name} ${healthy}`),
        ['bus true', 'web true', 'page true'],
      );
      assert.equal(body.resumed, 0);
      assert.match(boot, /^[0-9a-f-]{36}$/);
      await publisher.arrived();
      const report = await publisher.ask<{ hosts: Array<{ lastRun: { outcome: string } | null }> }>(['report'], [0, 1]);
      assert.equal(report.hosts[0]?.lastRun?.outcome, 'committed');
    } finally {
      await relay.kill('SIGTERM');
      await host.close();
    }
  });
});
