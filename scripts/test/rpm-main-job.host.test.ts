// The whole main job on RPM hosts that are booted with systemd: the vendor's signed repository, publisher, relay, and the standalone
// agent as a service; dnf, rpm and the host's own boots are the judges. The distribution is the small one of scripts/hosts/rpm.
import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import * as fs from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import type { RunBody } from '#manifests/schema';
import { keptBinary } from '../build/kept.ts';
import { FleetPublisher, FleetRelay, HostAgent, type PolicyChoices, until } from '../fleet/index.ts';
import type { TestHost } from '../hosts/index.ts';
import { ADVISORIES, FerryLab } from '../hosts/rpm/index.ts';
import { isDebianRoot } from '../setup/debian.ts';

const skip = isDebianRoot() ? false : 'needs root on Debian';
const PRODUCT = 'ferrylinux-9';
const PORT = 8483;
/** What the vendor has as security updates that can be installed on every host (`reef` and `storm` cannot). */
const WITHOUT_KERNEL = ['libferry', 'ferry-tool', 'harbor'];
const NEW = ['ferry-tool 1.0-2.fl9', 'harbor 1.2-1.fl9', 'libferry 1.0-2.fl9'];

interface History {
  readonly runs: ReadonlyArray<{ readonly id: string; readonly outcome: string | null; readonly body: RunBody | null }>;
}

/** Everything that a run changes and a rollback must bring back: files with hash, mode, owner; packages; rpm's own audit. */
async function portrait(host: TestHost): Promise<Map<string, string>> {
  const list = await host.must(['find', '/usr', '/etc', '/boot', '/opt', '-xdev', '-printf', '%p\\t%y\\t%m %U:%G %l\\n']);
  const found = new Map<string, string>();
  for (const row of list.split('\n')) {
    const [path = '', type = '', rest = ''] = row.split('\t');
    if (path === '' || /^\/etc\/patchferry|\/patchferry-agent|^\/usr\/lib\/sysimage\/|\.pyc$|\/__pycache__(?:\/|$)/.test(path))
      continue;
    const bytes = type === 'f' ? fs.readFileSync(join(host.root, path)) : '';
    found.set(path, `${type} ${rest} ${createHash('sha256').update(bytes).digest('hex')}`);
  }
  found.set('packages', (await host.must(['rpm', '-qa'])).split('\n').toSorted().join('\n'));
  found.set('verified', (await host.exec(['rpm', '-Va'])).stdout);
  found.set('database', await host.must(['rpmdb', '--verifydb']));
  found.set('capabilities', await host.must(['getcap', '-r', '/usr']));
  const dnf = fs.existsSync(join(host.root, 'usr/bin/dnf5')) ? ['dnf5', '-C'] : ['dnf', '-C', '--disablerepo=*'];
  const reasons = await host.must([...dnf, 'repoquery', '--installed', '--qf', '%{name} %{reason}\\n']);
  found.set('reasons', reasons.replaceAll('\n\n', '\n'));
  return found;
}

function differences(before: ReadonlyMap<string, string>, now: ReadonlyMap<string, string>): string[] {
  return [...new Set([...before.keys(), ...now.keys()])]
    .filter((path) => before.get(path) !== now.get(path))
    .map((path) => `${path}: ${before.get(path) ?? 'absent'} -> ${now.get(path) ?? 'absent'}`);
}

describe('the main job on booted RPM hosts', { skip }, () => {
  const labs: FerryLab[] = [];
  let folder = '';
  let binary = '';
  const relays: FleetRelay[] = [];
  before(async () => {
    folder = fs.mkdtempSync(join(tmpdir(), 'patchferry-rpm-job-'));
    binary = await keptBinary('agent');
  });
  after(async () => {
    for (const relay of relays) await relay.kill();
    for (const lab of labs) await lab.close();
    fs.rmSync(folder, { recursive: true, force: true });
  });

  /** A booted host, enrolled and approved, with a publisher and a relay of its own; it has told what it lacks. */
  async function fleet(dnf: 4 | 5, name: string, choices: PolicyChoices, settings: Readonly<Record<string, unknown>> = {}) {
    const own = join(folder, name);
    fs.mkdirSync(own);
    const ferry = await FerryLab.open(dnf);
    labs.push(ferry);
    const repository = join(ferry.lab.folder, 'repository');
    await ferry.vendor.index(repository, { advisories: ADVISORIES });
    const host = await ferry.lab.host(name);
    await host.boot();
    await host.must(['systemctl', 'enable', '--now', 'harbor.service']);
    const publisher = new FleetPublisher(own);
    await publisher.init();
    const synced = await publisher.addRpm(repository, ferry.vendor.publicKey, PRODUCT);
    assert.match(synced, /6 advisories, signed by/);
    publisher.writePolicy(PRODUCT, { ...choices, windowOpen: false });
    await publisher.publish('none');
    const plan = { upstream: publisher.repository, upstreamRoot: publisher.root, inboxForward: publisher.inbox };
    const relay = new FleetRelay({ folder: join(own, 'relay'), host: host.gateway, ...plan }, PORT);
    relays.push(relay);
    await relay.sync();
    await relay.start();
    const agent = new HostAgent(host);
    agent.install(binary, publisher.root, [relay.url], settings);
    await agent.enroll(await publisher.invite(name), relay.url, name);
    await publisher.arrived();
    await publisher.approveAll();
    const spread = async (more: PolicyChoices, payloads: 'none' | 'wanted' = 'wanted') => {
      publisher.writePolicy(PRODUCT, { ...choices, ...more });
      await publisher.publish(payloads);
      await relay.sync();
    };
    await spread({ windowOpen: false }, 'none');
    await agent.must(['once'], [0, 1, 3, 4]);
    await publisher.arrived();
    return { host, repository, publisher, relay, agent, spread };
  }

  /** What dnf itself would update on the host from the vendor's repository (of these packages), by its own command. */
  async function dnfWould(host: TestHost, repository: string, names: readonly string[] = []): Promise<string[]> {
    fs.cpSync(repository, join(host.root, 'judge'), { recursive: true });
    const options = [
      '--repofrompath=judge,file:///judge',
      '--disablerepo=*',
      '--enablerepo=judge',
      '--setopt=cachedir=/judge/cache',
    ];
    const said = await host.exec(['dnf', '-q', ...options, 'check-update', ...names]);
    assert.ok([0, 100].includes(said.code ?? -1), said.stderr);
    fs.rmSync(join(host.root, 'judge'), { recursive: true, force: true });
    const rows = (said.stdout.split('Obsoleting Packages')[0] ?? '').split('\n').map((row) => row.split(/\s+/));
    return rows.flatMap(([name = '', version]) => (version ? [`${name.replace(/\.\w+$/, '')} ${version}`] : [])).toSorted();
  }

  const missing = async (agent: HostAgent) => {
    const scan = await agent.ask<{ missing: ReadonlyArray<{ name: string; to: string }> }>(['scan']);
    return scan.missing.map(({ name, to }) => `${name} ${to}`).toSorted();
  };
  const lastRun = async (agent: HostAgent) => (await agent.ask<History>(['history'])).runs[0] ?? assert.fail('no run');
  const verdicts = async (publisher: FleetPublisher) => {
    const report = await publisher.ask<{ hosts: ReadonlyArray<{ verdict: string }> }>(['report'], [0, 1]);
    return report.hosts.map(({ verdict }) => verdict);
  };

  test('the service installs, reboots for the kernel, reports compliant; taken back, all is as before; installed again, though killed', async () => {
    const names = [...WITHOUT_KERNEL, 'kernel-core'];
    const policy = { only: names, health: [{ name: 'harbor', command: ['systemctl', 'is-active', 'harbor.service'] }] };
    const group = { reboot: 'if-needed', rebootNotice: { minutes: 0, deferHours: 0 } };
    const settings = { allowReboot: true, testing: { failPoints: true } };
    const { host, repository, publisher, relay, agent, spread } = await fleet(4, 'whole', { ...policy, group }, settings);
    const wanted = await dnfWould(host, repository);
    assert.deepEqual(await dnfWould(host, repository, names), [...NEW, 'kernel-core 6.1.0-2.fl9'].toSorted());
    assert.deepEqual(await missing(agent), wanted);
    const plan = await agent.must(['plan', '--download'], [0, 1, 3, 4]);
    assert.match(plan, /libferry/);
    const before = await portrait(host);
    const boot = await host.must(['cat', '/proc/sys/kernel/random/boot_id']);

    await spread({});
    await agent.must(['service', 'install']);
    await host.bootAgain(120_000);
    const run = await until('the run to end after the reboot', 120, async () => {
      const last = await lastRun(agent);
      return last.outcome === null ? undefined : last;
    });
    assert.equal(run.outcome, 'committed', JSON.stringify(run.body));
    const reasons = run.body?.states.find(({ state }) => state === 'Install')?.says ?? '';
    assert.match(reasons, /the vendor suggests a reboot after .*FLSA-2026:0002/);
    assert.ok(run.body?.states.some(({ state }) => state === 'Reboot'));
    assert.deepEqual(
      run.body?.health,
      run.body?.health.map((check) => ({ ...check, healthy: true })),
    );
    assert.deepEqual(await dnfWould(host, repository, names), []);
    assert.deepEqual(await missing(agent), await dnfWould(host, repository));
    assert.match(await host.must(['dnf', 'history', 'info', 'last']), /Comment\s*: patchferry/);
    await publisher.arrived();
    await until('the report to say compliant', 60, async () => {
      await publisher.collect();
      return (await verdicts(publisher)).join() === 'compliant' ? true : undefined;
    });
    assert.notEqual(boot, '');

    await host.must(['systemctl', 'stop', 'patchferry-agent.service']);
    const patched = await portrait(host);
    await agent.must(['rollback'], [0, 1, 3, 4]);
    assert.deepEqual(differences(before, await portrait(host)), []);
    assert.deepEqual(await missing(agent), wanted);
    await agent.must(['once'], [1, 4]);
    assert.deepEqual(
      differences(before, await portrait(host)),
      [],
      'trap 11: what was taken back is not tried again by itself',
    );
    await spread({ group: { reboot: 'never' } });
    await agent.killedAt('Install.middle');
    await agent.must(['once'], [0, 1, 3, 4]);
    assert.equal((await lastRun(agent)).outcome, 'committed');
    assert.deepEqual(differences(patched, await portrait(host)), []);
    await relay.kill('SIGTERM');
    await host.close();
  });

  test('killed at places of the journal, cut off from power within rpm, or not well afterwards: as before, or patched', async () => {
    const settings = { testing: { failPoints: true } };
    const { host, publisher, relay, agent, spread } = await fleet(4, 'killed', { only: WITHOUT_KERNEL }, settings);
    await spread({});
    const before = await portrait(host);
    await agent.must(['once'], [0, 3]);
    assert.equal((await lastRun(agent)).outcome, 'committed');
    const patched = await portrait(host);
    assert.ok(differences(before, patched).length > 5);
    const back = async () => {
      await agent.must(['rollback'], [0, 1, 3, 4]);
      assert.deepEqual(differences(before, await portrait(host)), []);
    };

    for (const place of ['Install.entered', 'Install.middle', 'Commit.entered']) {
      await back();
      await agent.killedAt(place);
      await agent.must(['once'], [0, 3]);
      assert.equal((await lastRun(agent)).outcome, 'committed', place);
      assert.deepEqual(differences(patched, await portrait(host)), [], place);
    }

    // The scriptlet of harbor has run: rpm is in the middle of its transaction.
    await back();
    const mark = join(host.root, 'var/lib/harbor-post-2');
    fs.rmSync(mark);
    const ran = agent.run(['once', '--retry']).catch(() => undefined);
    await until('rpm to run a scriptlet', 60, () => (fs.existsSync(mark) ? true : undefined));
    await host.powerCut();
    await ran;
    await host.boot();
    await agent.must(['once'], [0, 1, 3, 4, 6]);
    const cut = await lastRun(agent);
    assert.equal(cut.outcome, 'committed', JSON.stringify(cut.body, null, 1));
    assert.deepEqual(differences(patched, await portrait(host)), []);

    await back();
    await spread({ health: [{ name: 'old-version', command: ['grep', '-q', '1.0-1', '/usr/share/libferry/version'] }] });
    await agent.must(['once', '--retry'], [6]);
    const failed = await lastRun(agent);
    assert.deepEqual([failed.outcome, failed.body?.error?.code], ['rolled-back', 'run.health']);
    assert.deepEqual(differences(before, await portrait(host)), []);
    await agent.killedAt('Rollback.middle');
    await agent.must(['once'], [6]);
    assert.deepEqual(differences(before, await portrait(host)), [], 'killed while it takes back');

    await publisher.arrived();
    assert.notDeepEqual(await verdicts(publisher), ['compliant']);
    await relay.kill('SIGTERM');
    await host.close();
  });
});
