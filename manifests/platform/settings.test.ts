// Settings: precedence, places of errors, suggestions.
import assert from 'node:assert/strict';
import * as fs from 'node:fs';
import * as os from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { z } from 'zod';
import { isFault } from '#manifests/errors';
import { readSettings } from './settings.ts';

const folder = fs.mkdtempSync(join(os.tmpdir(), 'pf-settings-'));
after(() => fs.rmSync(folder, { recursive: true, force: true }));

const schema = z.strictObject({
  listen: z.string().default('127.0.0.1:1'),
  syncEvery: z.int().min(1).default(60),
  upstream: z.array(z.string()).default([]),
  quiet: z.boolean().optional(),
  labels: z.record(z.string(), z.string()).default({}),
  limits: z
    .strictObject({ connections: z.int().default(5), seconds: z.int().default(3) })
    .default({ connections: 5, seconds: 3 }),
});

function write(name: string, text: string): string {
  const path = join(folder, name);
  fs.writeFileSync(path, text);
  return path;
}

test('flags beat the environment, the environment beats files, later files beat earlier ones', () => {
  const a = write('a.yaml', 'listen: a\nsyncEvery: 1\nupstream: [x]\nlimits: {connections: 9}\n');
  const b = write('b.yaml', 'syncEvery: 2\nlimits: {seconds: 8}\n');
  const settings = readSettings({
    schema,
    files: [a, { path: join(folder, 'absent.yaml'), optional: true }, b],
    env: { P_UPSTREAM: 'u1, u2', P_SYNC_EVERY: '3', P_QUIET: 'true', P_LABELS: '{role: db}', P_OTHER: 'x' },
    envPrefix: 'P_',
    flags: { syncEvery: '4', json: true, listen: undefined },
  });
  assert.deepEqual(settings, {
    listen: 'a',
    syncEvery: 4,
    upstream: ['u1', 'u2'],
    quiet: true,
    labels: { role: 'db' },
    limits: { connections: 9, seconds: 8 },
  });
});

test('a folder stands for its yaml files in order of name', () => {
  const parts = join(folder, 'parts');
  fs.mkdirSync(parts);
  fs.writeFileSync(join(parts, '20-b.yaml'), 'listen: b\n');
  fs.writeFileSync(join(parts, '10-a.yaml'), 'listen: a\nsyncEvery: 7\n');
  fs.writeFileSync(join(parts, 'note.txt'), 'listen: c\n');
  const settings = readSettings({ schema, files: [parts], env: {}, envPrefix: 'P_', flags: {} });
  assert.equal(settings.listen, 'b');
  assert.equal(settings.syncEvery, 7);
});

test('problems name file, line and column, variable or flag, all at once', () => {
  const file = write('bad.yaml', '# note\nlisten: 7\nlimits:\n  conections: 3\n');
  assert.throws(
    () => readSettings({ schema, files: [file], env: { P_QUIET: 'maybe' }, envPrefix: 'P_', flags: { syncEvery: 'often' } }),
    (error) => {
      assert.ok(isFault(error, 'settings.invalid'));
      assert.match(error.message, /bad\.yaml:2:1: listen: /);
      assert.match(error.message, /bad\.yaml:4:3: limits\.conections: unknown field \(did you mean "connections"\?\)/);
      assert.match(error.message, /P_QUIET: quiet: /);
      assert.match(error.message, /--sync-every: syncEvery: /);
      return true;
    },
  );
});

test('an absent file, a broken one, aliases and a list are refused', () => {
  const ask = (file: string) => () => readSettings({ schema, files: [file], env: {}, envPrefix: 'P_', flags: {} });
  assert.throws(ask(join(folder, 'none.yaml')), { code: 'settings.missing' });
  assert.throws(ask(write('torn.yaml', 'listen: "a\n')), { code: 'settings.invalid' });
  assert.throws(ask(write('alias.yaml', 'listen: &a x\nupstream: [*a]\n')), { code: 'settings.invalid' });
  assert.throws(ask(write('list.yaml', '- listen\n')), /must be a mapping/);
  assert.throws(ask(write('twice.yaml', 'listen: a\nlisten: b\n')), /twice\.yaml:2:1/);
});

test('a hostile key does not reach the prototype', () => {
  const file = write('proto.yaml', '__proto__: {polluted: 1}\n');
  assert.throws(() => readSettings({ schema, files: [file], env: {}, envPrefix: 'P_', flags: {} }), {
    code: 'settings.invalid',
  });
  assert.equal(({} as Record<string, unknown>)['polluted'], undefined);
});
