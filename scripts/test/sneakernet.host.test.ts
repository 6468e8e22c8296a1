// The sneakernet with nothing fake in it: a publisher side and a closed side, each with a relay and a real Debian host, in
// network namespaces without any route between them. One FAT32 stick goes to and fro until the closed host has the vendor's
// real security updates and the publisher's report shows it.
import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import * as fs from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { test } from 'node:test';
import { type Launched, launch, run, runOrThrow } from '#manifests/platform/process';
import { keptBinary } from '../build/kept.ts';
import { command, FleetPublisher, FleetRelay, HostAgent, PROJECT, until } from '../fleet/index.ts';
import { debianMirrors, Lab, Stick, type TestHost } from '../hosts/index.ts';
import { ensureDebianPackages, isDebianRoot } from '../setup/debian.ts';

const skip = isDebianRoot() ? false : 'needs root on Debian';
const COMMAND_MS = 60_000;
const PASSES = 5;

/** Whether something is mounted at a folder: it is then of another device than the folder it is in. */
const isMounted = (place: string) => fs.existsSync(place) && fs.statSync(place).dev !== fs.statSync(dirname(place)).dev;

/** A namespace that holds our end of a host's line: the relay of the closed side lives there, and it has no other line. */
class ClosedNetwork {
  readonly name = `pfc-${randomBytes(3).toString('hex')}`;

  async take(host: TestHost): Promise<void> {
    const ip = (...args: string[]) => runOrThrow('ip', args, { timeoutMs: COMMAND_MS });
    const { stdout } = await ip('-o', 'address', 'show', 'to', `${host.gateway}/32`);
    const link = /^\d+:\s+(\S+?)(?:@\S+)?\s/.exec(stdout)?.[1];
    assert.ok(link, `the line of ${host.name}`);
    await ip('netns', 'add', this.name);
    await ip('link', 'set', link, 'netns', this.name);
    await ip('-n', this.name, 'address', 'add', `${host.gateway}/30`, 'dev', link);
    await ip('-n', this.name, 'link', 'set', link, 'up');
    await ip('-n', this.name, 'link', 'set', 'lo', 'up');
  }

  inside(program: string, args: readonly string[], logFile: string): Promise<Launched> {
    return launch('ip', ['netns', 'exec', this.name, program, ...args], { logFile });
  }

  run(program: string, args: readonly string[]) {
    return run('ip', ['netns', 'exec', this.name, program, ...args], { timeoutMs: COMMAND_MS });
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await run('ip', ['netns', 'delete', this.name], { timeoutMs: COMMAND_MS });
  }
}

test('two sides without a route: real security updates by stick, in two passes, until both are compliant', {
  skip,
}, async (t) => {
  const lacking = await ensureDebianPackages(['hosts', 'media', 'build']);
  if (lacking !== undefined) return t.skip(lacking);
  const mirrors = await debianMirrors('bookworm');
  if (mirrors === undefined) return t.skip('apt has no sources for Debian 12');
  const folder = fs.mkdtempSync(join(tmpdir(), 'pf-sneakernet-'));
  t.after(() => fs.rmSync(folder, { recursive: true, force: true }));
  const binary = await keptBinary('agent');

  await using lab = await Lab.open();
  await using closed = new ClosedNetwork();
  lab.holdings.add('namespaces', closed.name);
  lab.holdings.add('folders', folder);
  const [hqHost, wardHost] = [await lab.host('hq-host'), await lab.host('ward-host')];
  await closed.take(wardHost);
  for (const host of [hqHost, wardHost]) {
    await host.boot();
    await host.must(['mkdir', '-p', '/run/sshd']);
  }

  // The publisher side, with a relay and a host of its own.
  const publisher = new FleetPublisher(folder);
  await publisher.init();
  await publisher.addDebianSecurity(mirrors);
  publisher.writePolicy('debian-12');
  await publisher.publish('none');
  const hq = new FleetRelay(
    {
      folder: join(folder, 'hq'),
      host: hqHost.gateway,
      upstream: publisher.repository,
      upstreamRoot: publisher.root,
      inboxForward: publisher.inbox,
    },
    8480,
  );
  t.after(() => hq.kill('SIGTERM'));
  await hq.sync();
  await hq.start();

  // The closed side: a relay with no upstream at all.
  const wardFolder = join(folder, 'ward');
  fs.mkdirSync(wardFolder);
  const config = join(wardFolder, 'relay.yaml');
  const settings = {
    listen: `${wardHost.gateway}:8480`,
    site: 'ward-7',
    upstreamRoot: publisher.root,
    stateDir: join(wardFolder, 'state'),
    cacheDir: join(wardFolder, 'cache'),
  };
  fs.writeFileSync(config, JSON.stringify(settings)); // JSON is YAML
  const ward = (...args: string[]) => command('relay', [...args, '--config', config], [0, 3]);
  const card = (await ward('courier', 'key')).stdout.trim();
  const served = await closed.inside(
    process.execPath,
    [join(PROJECT, 'relay/main.ts'), 'run', '--config', config],
    join(wardFolder, 'relay.log'),
  );
  t.after(() => served.kill('SIGTERM'));

  await t.test('there is no way from one side to the other', async () => {
    const port = `${hqHost.gateway}:8480`;
    assert.equal(
      (await hqHost.exec(['curl', '-sf', '-m', '5', `http://${port}/healthz`])).code,
      0,
      'the host of the publisher side reaches its relay',
    );
    assert.notEqual((await wardHost.exec(['curl', '-sf', '-m', '5', `http://${port}/healthz`])).code, 0);
    assert.notEqual((await closed.run('ip', ['route', 'get', hqHost.gateway])).code, 0, 'the closed relay has no route');
    assert.notEqual((await hqHost.exec(['curl', '-sf', '-m', '5', `http://${wardHost.gateway}:8480/healthz`])).code, 0);
    // Whatever else may answer on that address from here, it is not the closed relay.
    const answer = await fetch(`http://${wardHost.gateway}:8480/healthz`, { signal: AbortSignal.timeout(5_000) }).then(
      (response) => response.text(),
      () => '',
    );
    assert.doesNotMatch(answer, /"failuresInARow"/);
  });

  // The stick, in a folder with blanks and other letters, now here, now there.
  await using stick = await Stick.make(join(folder, 'stick.img'), 1_024);
  const here = join(folder, 'Stick hier – ü');
  const there = join(folder, 'stick dort');
  const atPublisher = async (...commands: string[][]) => {
    await stick.putInto(here);
    assert.ok(isMounted(here) && !isMounted(there), 'the FAT32 image is mounted here, and only here');
    for (const words of commands) await publisher.run(words, [0, 1, 3]);
    await stick.pull();
  };
  const atWard = async () => {
    await stick.putInto(there);
    assert.ok(isMounted(there) && !isMounted(here), '… and now there, and only there');
    const said = (await ward('import', there)).stdout;
    await stick.pull();
    return said;
  };
  await publisher.run(['bundle', 'site', 'add', card, '--product', 'debian-12', '--arch', 'amd64']);
  await atPublisher(
    ['bundle', 'stick', here, '--label', 'blue stick', '--site', 'ward-7'],
    ['bundle', 'export', 'ward-7', here, '--metadata'],
  );

  await t.test('an empty mount point is not an empty stick', async () => {
    const ended = await command('relay', ['import', there, '--config', config], [2]);
    assert.match(ended.stderr, /bundle\.no-medium|courier\.no-folder/);
  });
  assert.match(await atWard(), /imported: ward-7-000001-content/);
  await until('the closed relay to serve', 30, async () =>
    (await wardHost.exec(['curl', '-sf', `http://${wardHost.gateway}:8480/healthz`])).code === 0 ? true : undefined,
  );

  const agents = { hq: new HostAgent(hqHost), ward: new HostAgent(wardHost) };
  agents.hq.install(binary, publisher.root, [hq.url]);
  agents.ward.install(binary, publisher.root, [`http://${wardHost.gateway}:8480`]);
  await agents.hq.enroll(await publisher.invite('hq-host'), hq.url, 'hq-host');
  await agents.ward.enroll(await publisher.invite('ward-host'), `http://${wardHost.gateway}:8480`, 'ward-host');
  await new Promise((resolve) => setTimeout(resolve, 2_000)); // the spool gives envelopes their files when it is quiet
  assert.match(await atWard(), /1 enrolment/);
  await publisher.arrived();
  await atPublisher(
    ['collect', '--from', here],
    ['agent', 'approve', '--all-valid'],
    ['publish', '--payloads', 'none'],
    ['bundle', 'export', 'ward-7', here, '--metadata'],
  );
  await hq.sync();
  await atWard();

  const before = await agents.ward.packages();
  const compliant = async () => ((await agents.ward.run(['scan'])).code === 0 ? true : undefined);
  let passes = 0;
  while ((await compliant()) === undefined) {
    passes += 1;
    assert.ok(passes <= PASSES, `not compliant after ${PASSES} visits`);
    await agents.ward.must(['once', '--retry'], [0, 1, 3, 4]);
    await new Promise((resolve) => setTimeout(resolve, 2_000));
    const asked = await atWard();
    if ((await compliant()) !== undefined) break;
    assert.match(asked, /missing here: \d+ payload/);
    await atPublisher(['collect', '--from', here], ['bundle', 'fill', 'ward-7', here]);
    t.diagnostic(
      `visit ${passes}: ${(/missing here: [^;\n]*/.exec(asked) ?? [''])[0]}; ${(/imported: .*/.exec(await atWard()) ?? [''])[0]}`,
    );
    await agents.ward.must(['once', '--retry'], [0, 1, 3, 4]);
  }
  const after = await agents.ward.packages();
  const changed = [...after].filter(([name, version]) => before.get(name) !== version);
  t.diagnostic(
    `${changed.length} packages changed in ${passes} visits: ${changed
      .slice(0, 5)
      .map(([name, version]) => `${name} ${version}`)
      .join(', ')} …`,
  );
  assert.ok(changed.length > 0, 'real updates were installed');
  assert.equal((await wardHost.exec(['dpkg', '--audit'])).stdout, '');

  // The host of the publisher side takes the same updates over its line.
  await agents.hq.must(['once'], [0, 1, 3, 4]);
  await publisher.arrived();
  await publisher.publish('wanted');
  await hq.sync();
  await agents.hq.must(['once', '--retry'], [0]);
  await publisher.arrived();

  // Results home, acks back: the report knows, and the closed relay may forget.
  await new Promise((resolve) => setTimeout(resolve, 2_000));
  await atWard();
  await atPublisher(['bundle', 'exchange', here]);
  const table = (await publisher.run(['report'], [0, 1])).stdout;
  assert.match(table, /hq-host +compliant/);
  assert.match(table, /ward-host +compliant/);
  t.diagnostic(
    table
      .split('\n')
      .filter((row) => /host/.test(row))
      .join(' | '),
  );
  assert.match(await atWard(), /the publisher has \d+ result/);
  const status = await agents.ward.must(['once'], [0, 3]);
  assert.doesNotMatch(status, /not compliant/);
  const acked = await agents.ward.ask<{ outbox?: { acked: unknown } }>(['status']);
  assert.match(JSON.stringify(acked), /"acked":\{"sequence":\d+/);
});
