// The unit, by systemd's own judgement where it is at hand, and by what must never be in it.
import assert from 'node:assert/strict';
import * as fs from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { run } from '#manifests/platform/process';
import { UNIT_NAME, unitText } from './index.ts';

const text = unitText({
  command: [process.execPath],
  config: '/etc/patch ferry/50%.yaml',
  stateDir: '/var/lib/a',
  cacheDir: '/var/cache/a',
});

test('arguments are quoted for systemd; nothing that kills Node or breaks patching is set', () => {
  assert.match(
    text,
    /ExecStart=\S+ run --config "\/etc\/patch ferry\/50%%\.yaml" --state-dir \/var\/lib\/a --cache-dir \/var\/cache\/a\n/,
  );
  const set = text.split('\n').filter((line) => !line.startsWith('#'));
  for (const name of ['MemoryDenyWriteExecute', 'ProtectSystem', 'NoNewPrivileges', 'CapabilityBoundingSet', 'PrivateTmp']) {
    assert.ok(!set.some((line) => line.startsWith(`${name}=`)), name);
    assert.ok(text.includes(name), `${name}: its absence is explained`);
  }
});

test('systemd-analyze verify finds nothing wrong', async (t) => {
  const folder = fs.mkdtempSync(join(tmpdir(), 'patchferry-unit-'));
  try {
    fs.writeFileSync(join(folder, UNIT_NAME), text);
    const result = await run('systemd-analyze', ['verify', '--man=no', join(folder, UNIT_NAME)], { timeoutMs: 30_000 }).catch(
      () => undefined,
    );
    if (result === undefined) return t.skip('systemd-analyze is not on this machine');
    const said = result.stderr.split('\n').filter((line) => line.includes(UNIT_NAME));
    assert.deepEqual(said, []);
  } finally {
    fs.rmSync(folder, { recursive: true, force: true });
  }
});
