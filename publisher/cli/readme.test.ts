import assert from 'node:assert/strict';
import * as fs from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { declaredFaults } from '#manifests/errors';
import { systemClock } from '#manifests/platform/clock';
import { publisherSettings } from '../home.ts';
import { publisherProgram } from './index.ts';

const README = fs.readFileSync(join(import.meta.dirname, '..', 'README.md'), 'utf8');
/** Modules whose codes are listed elsewhere; README.md says where. */
const ELSEWHERE = [
  'source',
  'catalog',
  'results',
  'report',
  'trust',
  'envelope',
  'transfer',
  'tls',
  'repository',
  'document',
  'settings',
  'files',
  'process',
  'lock',
  'decide',
  'versions',
  'bundle',
  'courier',
  'record',
];

test('README.md names every command, every setting and every error code of the publisher', () => {
  const { commands } = publisherProgram({ clock: systemClock, env: {} });
  for (const { name } of commands) assert.ok(README.includes(`| \`${name}`), `command ${name}`);
  for (const name of Object.keys(publisherSettings.parse({})))
    assert.match(README, new RegExp(`\\| \`${name}[.\`]`), `setting ${name}`);
  for (const { code } of declaredFaults()) {
    if (!ELSEWHERE.includes(code.split('.')[0] ?? '')) assert.ok(README.includes(`\`${code}\``), `error ${code}`);
  }
});

test('README.md names every report that a command prints', () => {
  for (const file of [
    'agent.ts',
    'bundle.ts',
    'change.ts',
    'explain.ts',
    'keys.ts',
    'patch.ts',
    'plan.ts',
    'policy.ts',
    'publish.ts',
    'site.ts',
    'source.ts',
    'stop.ts',
    'waiver.ts',
  ]) {
    const text = fs.readFileSync(join(import.meta.dirname, file), 'utf8');
    for (const [, schema] of text.matchAll(/schema: '(patchferry\/[a-z-]+)'/g))
      assert.ok(README.includes(`\`${schema ?? '?'}\``), `report ${schema}`);
  }
});
