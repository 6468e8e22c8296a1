// The relay's unit, by systemd's own judgement where it is at hand, and by what the settings make of it.
import assert from 'node:assert/strict';
import * as fs from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { runCommandLine } from '#manifests/platform/cli';
import { run } from '#manifests/platform/process';
import { program } from './cli/index.ts';

const NAME = 'patchferry-relay.service';

async function unitOf(yaml: string, ...more: string[]): Promise<string> {
  const folder = fs.mkdtempSync(join(tmpdir(), 'pf-unit-'));
  try {
    const config = join(folder, 'relay.yaml');
    fs.writeFileSync(config, yaml);
    let out = '';
    const exit = await runCommandLine(program, ['systemd-unit', '--config', config, ...more], {
      out: (text) => void (out += text),
      err: () => undefined,
      errIsTerminal: false,
    });
    assert.equal(exit, 0);
    return out;
  } finally {
    fs.rmSync(folder, { recursive: true, force: true });
  }
}

const lineOf = (text: string, name: string) => text.split('\n').find((line) => line.startsWith(`${name}=`));

test('it may write where the settings say and nowhere else; ports below 1024, home and temporary folders as the settings need them', async () => {
  const plain = await unitOf('upstream: [http://a.example]\ninboxForward: [http://a.example]\n');
  assert.equal(lineOf(plain, 'ReadWritePaths'), 'ReadWritePaths=/var/lib/patchferry/relay /var/cache/patchferry/relay');
  assert.deepEqual(
    ['ProtectSystem', 'CapabilityBoundingSet', 'AmbientCapabilities'].map((name) => lineOf(plain, name)),
    ['ProtectSystem=strict', 'CapabilityBoundingSet=', undefined],
  );
  assert.match(plain, /ExecStart=.* run --config \S+relay\.yaml\n/);
  const other = await unitOf(
    'listen: "[::]:443"\nstateDir: /srv/relay 7/state\ncacheDir: /srv/relay 7/cache\nupstream: [/home/hq/repository]\ninboxForward: [/mnt/50%/inbox, http://b.example]\ndropFolder: /mnt/drop\n',
  );
  assert.equal(
    lineOf(other, 'ReadWritePaths'),
    'ReadWritePaths="/srv/relay 7/state" "/srv/relay 7/cache" -/mnt/drop "-/mnt/50%%/inbox"',
  );
  assert.deepEqual(
    ['ProtectHome', 'AmbientCapabilities', 'CapabilityBoundingSet'].map((name) => lineOf(other, name)),
    ['ProtectHome=read-only', 'AmbientCapabilities=CAP_NET_BIND_SERVICE', 'CapabilityBoundingSet=CAP_NET_BIND_SERVICE'],
  );
  const given = await unitOf(
    '',
    '--state-dir',
    '/srv/s',
    '--upstream',
    'http://a.example',
    '--upstream',
    'hq/repository',
    '--site',
    'ward-7',
  );
  assert.ok(
    lineOf(given, 'ExecStart')?.endsWith(
      ` --state-dir /srv/s --upstream http://a.example --upstream ${process.cwd()}/hq/repository --site ward-7`,
    ),
    'what was given here is given to the service',
  );
  assert.equal(lineOf(given, 'ReadWritePaths'), 'ReadWritePaths=/srv/s /var/cache/patchferry/relay');
  assert.equal(lineOf(plain, 'MemoryDenyWriteExecute'), undefined, 'it would kill Node');
});

test('systemd-analyze verify finds nothing wrong', async (t) => {
  const folder = fs.mkdtempSync(join(tmpdir(), 'pf-unit-'));
  try {
    for (const yaml of ['upstream: [http://a.example]\n', 'listen: 0.0.0.0:80\ndropFolder: /mnt/drop\n']) {
      fs.writeFileSync(join(folder, NAME), await unitOf(yaml));
      const result = await run('systemd-analyze', ['verify', '--man=no', join(folder, NAME)], { timeoutMs: 30_000 }).catch(
        () => undefined,
      );
      if (result === undefined) return t.skip('systemd-analyze is not on this machine');
      assert.deepEqual(
        result.stderr.split('\n').filter((line) => line.includes(NAME)),
        [],
      );
    }
  } finally {
    fs.rmSync(folder, { recursive: true, force: true });
  }
});
