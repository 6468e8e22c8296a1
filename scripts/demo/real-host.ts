// The demo on Debian as root: a real stale host with systemd in a network of its own takes today's real security updates.
import * as fs from 'node:fs';
import { join } from 'node:path';
import { buildBinaries } from '../build/binaries.ts';
import { FleetPublisher, FleetRelay, HostAgent, PROJECT, until } from '../fleet/index.ts';
import { debianMirrors, Lab } from '../hosts/index.ts';
import type { Stage } from './stage.ts';

export const REAL_STEPS = 9;

/** Runs the whole main job and leaves `report.html` in `stage.keep`. */
export async function demoOnRealHost(stage: Stage): Promise<void> {
  const mirrors = await debianMirrors('bookworm');
  if (mirrors === undefined) throw new Error('apt on this machine has no sources for Debian 12 and its security updates');

  stage.step('Build the standalone agent (the host has no Node)');
  const [binary = ''] = await buildBinaries(['agent'], join(PROJECT, 'dist'), () => undefined);
  stage.say(`${binary}, ${(fs.statSync(binary).size / 1e6).toFixed(0)} MB`);

  stage.step('Make a real Debian 12 host that lacks its security updates, and boot it');
  await using lab = await Lab.open({ say: stage.say });
  const host = await lab.host('stale-host');
  await host.boot();
  stage.say(`booted with systemd; it reaches ${host.gateway} (the relay) and nothing else`);
  stage.say(
    `kernel ${(await host.must(['uname', '-r'])).trim()}, root on ${(await host.must(['findmnt', '-no', 'FSTYPE', '/'])).trim()}`,
  );

  stage.step("Publisher: import Debian's security updates, its signature checked; sign and publish");
  const publisher = new FleetPublisher(stage.folder);
  await publisher.init();
  stage.say(await publisher.addDebianSecurity(mirrors));
  publisher.writePolicy('debian-12', { health: [{ name: 'ssh-is-set-up', command: ['/usr/sbin/sshd', '-t'] }] });
  stage.say((await publisher.publish('none')).stdout);

  stage.step('Relay: mirror the repository and serve it');
  const relay = new FleetRelay(
    {
      folder: join(stage.folder, 'relay'),
      host: host.gateway,
      upstream: publisher.repository,
      upstreamRoot: publisher.root,
      inboxForward: publisher.inbox,
    },
    8480,
  );
  try {
    stage.say((await relay.sync()).stdout);
    await relay.start();
    stage.say(`serving on ${relay.url}`);

    stage.step('Agent: enrol the host with an activation code, start the service');
    const agent = new HostAgent(host);
    agent.install(binary, publisher.root, [relay.url]);
    await host.must(['mkdir', '-p', '/run/sshd']);
    stage.say(await agent.enroll(await publisher.invite('stale-host'), relay.url, 'stale-host'));
    await publisher.arrived();
    stage.say((await publisher.approveAll()).stdout);
    await publisher.publish('none');
    await relay.sync();
    stage.say(await agent.must(['service', 'install']));

    stage.step('The host says what it misses; the publisher fetches just that');
    const before = await agent.packages();
    await publisher.arrived();
    stage.say((await publisher.run(['report'], [0, 1])).stdout);
    stage.say((await publisher.publish('wanted')).stdout);
    stage.say((await relay.sync()).stdout);

    stage.step('The agent installs inside its window: snapshot, vendor signature again, health checks, commit');
    await host.must(['systemctl', 'restart', 'patchferry-agent.service']);
    await until('the run to end', 240, async () => {
      const history = await agent.ask<{ runs: Array<{ outcome: string | null }> }>(['history']);
      return history.runs.some(({ outcome }) => outcome !== null) ? true : undefined;
    });
    stage.say(await agent.must(['history'], [0, 1, 3]));
    stage.say(await agent.must(['status'], [0, 1, 3, 4]));

    stage.step("Before and after, by the host's own dpkg");
    const after = await agent.packages();
    const changed = [...after].filter(([name, version]) => before.get(name) !== version);
    for (const [name, version] of changed)
      stage.say(`${name.padEnd(34)} ${(before.get(name) ?? '(new)').padEnd(26)} -> ${version}`);
    stage.say(`${changed.length} packages changed`);
    if (changed.length === 0) throw new Error('nothing was installed');

    stage.step('Results come home, sealed and signed; the report');
    await publisher.arrived();
    await publisher.publish('wanted');
    await relay.sync();
    const page = join(stage.keep, 'report.html');
    stage.say((await publisher.run(['report', '--format', 'html', '--output', page], [0, 1])).stdout);
  } catch (error) {
    const tail = fs.existsSync(relay.log) ? fs.readFileSync(relay.log, 'utf8').split('\n').slice(-15).join('\n') : '';
    const journal = await host.exec(['journalctl', '-u', 'patchferry-agent', '-n', '20', '--no-pager']).catch(() => undefined);
    process.stderr.write(`\nrelay said:\n${tail}\nagent said:\n${journal?.stdout ?? ''}\n`);
    throw error;
  } finally {
    await relay.kill('SIGTERM');
  }
}
