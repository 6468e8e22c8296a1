// The relay as a service of a booted Debian: the unit that it prints there, with what its top says is to be done once, and no more.
import assert from 'node:assert/strict';
import * as fs from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { keptBinary } from '../build/kept.ts';
import { FleetPublisher, until } from '../fleet/index.ts';
import { Lab } from '../hosts/index.ts';
import { isDebianRoot } from '../setup/debian.ts';

const skip = isDebianRoot() ? false : 'needs root on Debian';
const UNIT = 'patchferry-relay.service';

describe('the relay as a service', { skip }, () => {
  let folder = '';
  let lab: Lab;
  before(async () => {
    folder = fs.mkdtempSync(join(tmpdir(), 'patchferry-unit-'));
    lab = await Lab.open();
  });
  after(async () => {
    await lab?.close();
    fs.rmSync(folder, { recursive: true, force: true });
  });

  test('it starts at a port below 1024 without a capability more, writes where it may, and stops in good order', async () => {
    const binary = await keptBinary('relay');
    const host = await lab.host('cupboard');
    const booting = host.boot();
    const publisher = new FleetPublisher(folder);
    await publisher.init();
    await publisher.addRelease('own-tool', '1.0.0', { 'own-tool': '1.0.0' });
    publisher.writePolicy('own-tool');
    await publisher.publish('approved');
    await booting;

    const at = (path: string) => join(host.root, path);
    for (const path of ['etc/patchferry', 'srv/inbox', 'usr/local/bin']) fs.mkdirSync(at(path), { recursive: true });
    fs.copyFileSync(binary, at('usr/local/bin/patchferry-relay'));
    fs.chmodSync(at('usr/local/bin/patchferry-relay'), 0o755);
    fs.cpSync(publisher.repository, at('srv/repository'), { recursive: true });
    fs.copyFileSync(publisher.root, at('etc/patchferry/root.json'));
    fs.writeFileSync(
      at('etc/patchferry/relay.yaml'),
      'listen: 0.0.0.0:443\nupstream: [/srv/repository]\nupstreamRoot: /etc/patchferry/root.json\ninboxForward: [/srv/inbox]\n',
    );
    const unit = await host.must(['/usr/local/bin/patchferry-relay', 'systemd-unit', '--config', '/etc/patchferry/relay.yaml']);
    fs.writeFileSync(at(`etc/systemd/system/${UNIT}`), unit);
    const steps = unit.split('\n').filter((line) => /^# {3}(?:useradd|install|systemctl) /.test(line));
    assert.equal(steps.length, 5);
    for (const step of steps) await host.must(['sh', '-c', step.slice(4)]);

    await until('the service to serve', 60, async () => {
      const answer = await fetch(`http://${host.address}:443/readyz`).catch(() => undefined);
      return answer?.ok ? true : undefined;
    });
    const pid = (await host.must(['systemctl', 'show', '-p', 'MainPID', '--value', UNIT])).trim();
    const facts = await host.must(['cat', `/proc/${pid}/status`]);
    assert.match(facts, /^CapBnd:\s*0000000000000400$/m, 'CAP_NET_BIND_SERVICE and nothing else');
    assert.match(facts, /^NoNewPrivs:\s*1$/m);
    const mounts = await host.must(['cat', `/proc/${pid}/mountinfo`]);
    const writable = mounts.split('\n').flatMap((line) => {
      const [, , , , place = '', flags = ''] = line.split(' ');
      return /^(?:\/$|\/(?:etc|usr|srv|var|home|root|boot)\b)/.test(place) && flags.split(',').includes('rw') ? [place] : [];
    });
    assert.deepEqual([...new Set(writable)].filter((place) => !/^\/var\/tmp\b/.test(place)).toSorted(), [
      '/srv/inbox',
      '/var/cache/patchferry/relay',
      '/var/lib/patchferry/relay',
    ]);

    const as = (...words: string[]) =>
      host.exec(['runuser', '-u', 'patchferry-relay', '--', '/usr/local/bin/patchferry-relay', ...words]);
    const sync = await as('sync');
    assert.equal(sync.code, 3, sync.stdout + sync.stderr);
    const doctor = await as('doctor');
    assert.equal(doctor.code, 0, doctor.stdout + doctor.stderr);
    await host.must(['systemctl', 'stop', UNIT]);
    assert.match(
      await host.must(['systemctl', 'show', '-p', 'Result', '-p', 'ExecMainStatus', UNIT]),
      /Result=success\nExecMainStatus=0/,
    );
  });
});
