// A short slice of the chaos command, with a fixed seed: five power cuts of one real host.
import assert from 'node:assert/strict';
import * as fs from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { keptBinary } from '../build/kept.ts';
import { debianMirrors, Lab } from '../hosts/index.ts';
import { isDebianRoot } from '../setup/debian.ts';
import { chaos } from './chaos-hosts.ts';

const skip = isDebianRoot() ? false : 'needs root on Debian';

test('S34 five power cuts of a real host at random moments: as before or patched, no result lost or doubled', {
  skip,
}, async (t) => {
  const mirrors = (await debianMirrors('bookworm')) ?? assert.fail('apt here has no sources for Debian 12');
  const folder = fs.mkdtempSync(join(tmpdir(), 'patchferry-chaos-'));
  try {
    const binary = await keptBinary('agent');
    await using lab = await Lab.open();
    const say = (line: string) => t.diagnostic(line);
    const report = await chaos({ lab, folder, mirrors, binary, hosts: 1, cuts: 5, seed: 20_260_302, say });
    assert.deepEqual(report.inconsistent, []);
    assert.deepEqual(report.lostOrDoubled, []);
    assert.equal(
      Object.values(report.states).reduce((sum, count) => sum + count, 0),
      5,
    );
  } finally {
    fs.rmSync(folder, { recursive: true, force: true });
  }
});
