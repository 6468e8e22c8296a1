// What a person writes wrongly into agent.yaml: each is told by the line, the setting and what it should be.
import assert from 'node:assert/strict';
import * as fs from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { isFault } from '#manifests/errors';
import { loadSettings } from './settings.ts';

const root = fs.mkdtempSync(join(tmpdir(), 'pf-agent-settings-'));
after(() => fs.rmSync(root, { recursive: true, force: true }));

const read = (text: string) => {
  const config = join(root, 'agent.yaml');
  fs.writeFileSync(config, `stateDir: ${join(root, 'state')}\n${text}\n`);
  return loadSettings({ config }, {});
};

test('a relay without its scheme, or with one that nobody speaks, is not taken for a folder', () => {
  for (const [text, says] of [
    [
      'relays: [relay-a.example:8480]',
      /:2:10: relays\.0: write http:\/\/ or https:\/\/ before an address, \.\/ before a folder/,
    ],
    ['relays: [http://a.example, "ftp://b.example/x"]', /relays\.1: must be an http:\/\/ or https:\/\/ address, or a folder/],
    ['relay: [http://a.example]', /relay: unknown field \(did you mean "relays"\?\)/],
  ] as const) {
    assert.throws(
      () => read(text),
      (error) => isFault(error, 'settings.invalid') && says.test(error.message),
      text,
    );
  }
  const fine = ['http://a.example', 'https://[2001:db8::1]:8480/base', '/srv/patches', './a:80', 'patches'];
  assert.deepEqual(read(JSON.stringify({ relays: fine }).slice(1, -1).replace('"relays":', 'relays: ')).relays, fine);
});
