// The whole root put back at the next boot, on real hosts whose root is a btrfs subvolume that is mounted from the device at each
// boot: by name and as default subvolume. The agent, the packages, the switch and the mount are real; what a boot loader does besides
// (reading its own menu and kernel) is not there, and the kernel command line that names a root is laid over the machine's own.
import assert from 'node:assert/strict';
import * as fs from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { pause } from '#manifests/platform/clock';
import { freePort } from '#manifests/platform/testing/free-port';
import type { RunBody } from '#manifests/schema';
import { keptBinary } from '../build/kept.ts';
import { FleetPublisher, FleetRelay, HostAgent } from '../fleet/index.ts';
import { debianMirrors, Lab, type TestHost } from '../hosts/index.ts';
import { isDebianRoot } from '../setup/debian.ts';

const skip = isDebianRoot() ? false : 'needs root on Debian';

interface Status {
  readonly openRun: { readonly state: string } | null;
  readonly handsNeeded: string | null;
  readonly outbox: { readonly lastSequence: number };
  readonly oldRoots: ReadonlyArray<{ readonly root: { readonly id: string } | null }>;
  readonly waysBack: { readonly kept: number };
}
interface History {
  readonly runs: ReadonlyArray<{ id: string; outcome: string | null; body: RunBody | null }>;
}

describe('the whole root at the next boot', { skip }, () => {
  let folder = '';
  let lab: Lab;
  let publisher: FleetPublisher;
  let relay: FleetRelay;
  let binary = '';
  let port = 0;
  before(async () => {
    folder = fs.mkdtempSync(join(tmpdir(), 'patchferry-root-'));
    lab = await Lab.open();
    binary = await keptBinary('agent');
    publisher = new FleetPublisher(folder);
    await publisher.init();
    await publisher.addDebianSecurity(
      (await debianMirrors('bookworm')) ?? assert.fail('apt here has no sources for Debian 12'),
    );
    publisher.writePolicy('debian-12', { only: ['expat', 'brotli'] });
    await publisher.publish('none');
    port = await freePort('0.0.0.0'); // on all addresses: one that another test uses on its own would be in the way
    const upstream = { upstream: publisher.repository, upstreamRoot: publisher.root, inboxForward: publisher.inbox };
    relay = new FleetRelay({ folder: join(folder, 'relay'), host: '0.0.0.0', ...upstream }, port);
    await relay.sync();
    await relay.start();
  });
  after(async () => {
    await relay?.kill('SIGTERM');
    await lab?.close();
    fs.rmSync(folder, { recursive: true, force: true });
  });

  /** A host that has installed the updates, with data written since, and the agent on it. */
  async function patched(
    by: 'name' | 'default',
    settings = {},
  ): Promise<{ host: TestHost; agent: HostAgent; boot: () => Promise<void> }> {
    const host = await lab.mountedHost(by, by);
    const flags = by === 'name' ? `rootflags=subvol=@${by}` : 'quiet';
    fs.writeFileSync(join(host.root, 'etc/cmdline'), `root=/dev/played ro ${flags}\n`);
    const boot = async () => {
      await host.boot();
      await host.must(['mount', '--bind', '/etc/cmdline', '/proc/cmdline']);
      await host.must(['systemctl', 'mask', '--quiet', 'apt-daily.timer', 'apt-daily-upgrade.timer']);
    };
    await boot();
    const agent = new HostAgent(host);
    const url = `http://${host.gateway}:${port}`;
    agent.install(binary, publisher.root, [url], { testing: { failPoints: true }, ...settings });
    await agent.enroll(await publisher.invite(by), url, by);
    await publisher.arrived();
    await publisher.approveAll();
    publisher.writePolicy('debian-12', { windowOpen: false });
    await publisher.publish('none');
    await relay.sync();
    await agent.must(['once'], [0, 1, 3, 4, 8]);
    await publisher.arrived();
    publisher.writePolicy('debian-12', { only: ['expat', 'brotli'] });
    await publisher.publish('wanted');
    await relay.sync();
    return { host, agent, boot };
  }

  const rootId = async (host: TestHost) => (await host.must(['btrfs', 'inspect-internal', 'rootid', '/'])).trim();
  const failing = (host: TestHost, point: string, ...args: string[]) =>
    host.exec(['env', `PATCHFERRY_FAILPOINT=${point}`, '/usr/local/bin/patchferry-agent', ...args]);

  test('by name: cut off while state is carried over and before the boot; then everything is as it was, and the agent is not', async () => {
    const { host, agent, boot } = await patched('name');
    const old = await agent.packages();
    await agent.must(['once', '--retry'], [0, 1]);
    assert.notDeepEqual(await agent.packages(), old);
    const id = await rootId(host);
    await host.must(['sh', '-c', 'echo later >/srv/later; rm /usr/bin/curl; echo local >/usr/local/later']);
    // so that copying takes long enough to be cut off
    await host.must([
      'sh',
      '-c',
      'mkdir -p /var/lib/patchferry/agent/many; cd /var/lib/patchferry/agent/many; seq 20000 | split -a 5 -l 1',
    ]);
    const asked = await failing(host, 'RootSwitch.noted', 'rollback', '--whole-root');
    assert.equal(asked.signal ?? asked.code, asked.signal === null ? 137 : 'SIGKILL', asked.stdout + asked.stderr);
    await host.powerCut();
    await boot();
    assert.equal(await rootId(host), id, 'not switched yet');
    // again, and the plug is pulled while the state is copied
    const half = agent.run(['once']).catch(() => undefined);
    const many = (name: string) => join(lab.disk, name, 'var/lib/patchferry/agent/many');
    const copying = () =>
      fs.readdirSync(lab.disk).some((name) => name.startsWith('.patchferry-root-') && fs.existsSync(many(name)));
    const late = performance.now() + 60_000;
    while (!copying() && performance.now() < late) await pause(2);
    assert.ok(copying(), 'the copy has begun');
    await host.powerCut();
    await half;
    await boot();
    const sequence = (await agent.ask<Status>(['status'], [0, 1, 3, 4, 7])).outbox.lastSequence;
    const cut = await failing(host, 'RootSwitch.switched', 'once');
    assert.notEqual(cut.code, 0);
    const refused = await agent.run(['window', 'defer', '--until', '2099-01-01']);
    assert.match(refused.stderr, /root-switched|owner\./, refused.stdout + refused.stderr);
    const waiting = await agent.run(['once']);
    assert.equal(waiting.code, 4, waiting.stdout + waiting.stderr);
    assert.match(waiting.stdout, /the next boot starts from .*may not reboot/);
    await host.powerCut();
    await boot();
    assert.notEqual(await rootId(host), id, 'started from the other root');
    const done = await agent.run(['once']);
    const [last] = (await agent.ask<History>(['history'])).runs;
    assert.equal(last?.outcome, 'rolled-back', `${done.stdout}${done.stderr}${JSON.stringify(last?.body)}`);
    assert.deepEqual(await agent.packages(), old);
    await host.must(['test', '-x', '/usr/bin/curl']);
    for (const path of ['/srv/later', '/usr/local/later']) assert.equal((await host.exec(['test', '-e', path])).code, 1, path);
    assert.equal(await host.must(['dpkg', '--audit']), '');
    assert.match(await host.must(['getcap', '/usr/bin/ping']), /cap_net_raw=ep/);
    const states = last.body?.states.map(({ state }) => state).join(' ');
    assert.equal(states, 'Rollback RootSwitch RootVerify Failed');
    assert.match(last.body?.wayBack?.says ?? '', /the whole root is as before/);
    const status = await agent.ask<Status>(['status'], [0, 1, 3, 4, 7]);
    assert.equal(status.oldRoots[0]?.root?.id, id);
    assert.ok(status.outbox.lastSequence > sequence, 'numbers go on');
    const again = await agent.run(['once']);
    assert.match(again.stdout, /ROLLED_BACK/, 'the set is remembered');
    await publisher.arrived();
    const collected = await publisher.ask<{ chains: unknown[] }>(['collect'], [0, 1, 3]);
    assert.deepEqual(collected.chains, [], 'no gap and no fork in the chain of results');
    await host.close();
  });

  test('trap 12, as default subvolume: by policy a run that did harm goes back whole; a root that is not well is switched back', async () => {
    const { host, agent } = await patched('default', { allowReboot: true });
    const policy = async (check: readonly string[], touch: string) => {
      publisher.writePolicy('debian-12', {
        only: ['expat', 'brotli'],
        group: {
          rollback: 'whole-root',
          hooks: [{ name: 'data', at: 'post-install', command: ['touch', touch], timeoutSeconds: 20 }],
          health: [{ name: 'data', command: check, timeoutSeconds: 20 }],
          rebootNotice: { minutes: 0, deferHours: 0 },
        },
      });
      await publisher.publish('wanted');
      await relay.sync();
    };
    const old = await agent.packages();
    const first = await rootId(host);
    // what the run's hook wrote is data, which an in-place rollback would leave where it is
    await policy(['test', '!', '-e', '/srv/patched'], '/srv/patched');
    await agent.run(['once', '--retry']);
    await host.bootAgain(120_000);
    const second = await rootId(host);
    assert.notEqual(second, first);
    await agent.run(['once']);
    const [harmed] = (await agent.ask<History>(['history'])).runs;
    assert.equal(harmed?.outcome, 'rolled-back', JSON.stringify(harmed?.body));
    assert.equal(harmed.body?.error?.code, 'run.health');
    assert.deepEqual(harmed.body?.states.map(({ state }) => state).slice(-5), [
      'Verify',
      'Rollback',
      'RootSwitch',
      'RootVerify',
      'Failed',
    ]);
    assert.deepEqual(await agent.packages(), old);
    assert.equal((await host.exec(['test', '-e', '/srv/patched'])).code, 1);

    await policy(['test', '-e', '/srv/later'], '/srv/later');
    await agent.must(['once', '--retry'], [0, 1]);
    const patchedNow = await agent.packages();
    assert.notDeepEqual(patchedNow, old);
    await agent.run(['rollback', '--whole-root']);
    await host.bootAgain(120_000);
    assert.notEqual(await rootId(host), second);
    await agent.run(['once']);
    await host.bootAgain(120_000);
    assert.equal(await rootId(host), second, 'back on the root that was well');
    const stays = await agent.run(['once']);
    assert.equal(stays.code, 7, stays.stdout + stays.stderr);
    const [last] = (await agent.ask<History>(['history'], [0, 1, 3, 4, 7])).runs;
    assert.equal(last?.outcome, 'rollback-failed');
    assert.match(last.body?.wayBack?.says ?? '', /was not well \(data: .*the host is back on/);
    assert.deepEqual(await agent.packages(), patchedNow);
    const status = await agent.ask<Status>(['status'], [0, 1, 3, 4, 7]);
    assert.deepEqual([status.openRun, status.waysBack.kept], [null, 1], 'it can still be taken back in place');
    await host.close();
  });
});
