// What dnf 4 and dnf 5 record of enabled streams; that they really write it so is seen in agent/packages/dnf/modules.host.test.ts.
import assert from 'node:assert/strict';
import * as fs from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { parseModules4, parseModules5, readEnabledModules } from './modules.ts';

const FOUR = '[nodejs]\nname=nodejs\nstream=18\nprofiles=common\nstate=enabled\n';
const FIVE = `version = "1.0"

[modules]
[modules.oar]
enabled_stream = "1"
installed_profiles = []
state = "Enabled"
[modules."perl-App.x"]
enabled_stream = "rhel8"
installed_profiles = ["common"]
state = "Enabled"
[modules.old]
enabled_stream = ""
installed_profiles = []
state = "Disabled"
`;

test('enabled streams as dnf 4 and dnf 5 record them; disabled and reset ones are not', () => {
  assert.deepEqual(parseModules4(FOUR), ['nodejs:18']);
  assert.deepEqual(parseModules4(FOUR.replace('enabled', 'disabled')), []);
  assert.deepEqual(parseModules4('[perl]\nname=perl\nstream=\nprofiles=\nstate=\n'), []);
  assert.deepEqual(parseModules5(FIVE), ['oar:1', 'perl-App.x:rhel8']);
  assert.deepEqual(parseModules5('version = "1.0"\n\n[modules]\n'), []);
  assert.deepEqual(parseModules4('[a b]\nname=../x\nstream=1\nstate=enabled\n'), []);
});

test("dnf 5's record counts where it has anything, else dnf 4's", () => {
  const root = fs.mkdtempSync(join(tmpdir(), 'modules-'));
  const put = (path: string, text: string) => {
    fs.mkdirSync(join(root, path, '..'), { recursive: true });
    fs.writeFileSync(join(root, path), text);
  };
  try {
    assert.deepEqual(readEnabledModules(root), []);
    put('etc/dnf/modules.d/nodejs.module', FOUR);
    put('etc/dnf/modules.d/README', FOUR.replaceAll('nodejs', 'readme'));
    assert.deepEqual(readEnabledModules(root), ['nodejs:18']);
    put('usr/lib/sysimage/libdnf5/modules.toml', 'version = "1.0"\n\n[modules]\n');
    assert.deepEqual(readEnabledModules(root), ['nodejs:18']);
    put('usr/lib/sysimage/libdnf5/modules.toml', FIVE);
    assert.deepEqual(readEnabledModules(root), ['oar:1', 'perl-App.x:rhel8']);
  } finally {
    fs.rmSync(root, { recursive: true });
  }
});
