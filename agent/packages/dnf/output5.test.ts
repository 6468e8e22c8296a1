// The table of dnf 5 on recorded output, and forms of it that must not become a smaller plan.
import assert from 'node:assert/strict';
import * as fs from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { parseTransaction5, problemsOf5 } from './output5.ts';

const recorded = (name: string) => fs.readFileSync(join(import.meta.dirname, 'fixtures', name), 'utf8');
const failed = { code: 'packages.dnf-failed' };

test('upgrades, what they bring along, what they replace and what goes with them; an epoch of 0 is none', () => {
  const plan = parseTransaction5(recorded('plan5.txt')) ?? assert.fail();
  assert.deepEqual(
    plan.installs
      .map(({ name, arch, version, repository }) => `${name.slice(0, 20)} ${arch} ${version} ${repository}`)
      .toSorted(),
    [
      'a-package-with-a-nam x86_64 1.0.20261010.gitdeadbeefcafe-2.module_el9+100000+abcdef12 ferry-9',
      'keel x86_64 1:2.0-2.fl9 ferry-9',
      'keel-data noarch 2.0-2.fl9 ferry-9',
      'kernel-core x86_64 6.1.0-2.fl9 ferry-9',
      'mast x86_64 1.0-2.fl9 ferry-9',
    ],
  );
  assert.deepEqual(plan.removals, [
    { name: 'deck', arch: 'x86_64', version: '1-1.fl9' },
    { name: 'old-mast', arch: 'noarch', version: '1.0-1.fl9' },
  ]);
  assert.deepEqual(plan.downgrades, []);
});

test('removals with what depends on them, downgrades, and a note of why a package is there', () => {
  assert.deepEqual(
    parseTransaction5(recorded('removal5.txt'))?.removals.map(({ name }) => name),
    ['libferry', 'ferry-tool'],
  );
  const down = parseTransaction5(recorded('downgrade5.txt')) ?? assert.fail();
  assert.deepEqual(
    [down.downgrades.map(({ name, version }) => `${name} ${version}`).toSorted(), down.removals, down.installs],
    [['ferry-tool 1.0-1.fl9', 'libferry 1.0-1.fl9'], [], []],
  );
  assert.deepEqual(parseTransaction5(recorded('reason5.txt')), { installs: [], removals: [], downgrades: [], enabling: [] });
});

test('no transaction: the problem without the advice', () => {
  assert.equal(parseTransaction5(''), undefined);
  assert.equal(parseTransaction5('Nothing to do.\n'), undefined);
  const says = problemsOf5(recorded('conflict5.txt'));
  assert.match(says, /^Problem: .*storm-1\.0-2\.fl9\.x86_64 from ferry-9 conflicts with ferry-release/);
  assert.doesNotMatch(says, /no-best|Repositories|Failed/);
});

for (const [what, change] of [
  ['a section that is not known', (text: string) => text.replace('Installing dependencies:', 'Switching module streams:')],
  ['a summary of more', (text: string) => text.replace('Upgrading:          3', 'Upgrading:          4')],
  ['no summary', (text: string) => text.slice(0, text.indexOf('Transaction Summary'))],
  ['a row that is cut off', (text: string) => text.replace(/^( keel-data.*) +\S+ +B$/m, '$1')],
  ['a row that is missing', (text: string) => text.replace(/^ keel-data.*\n/m, '')],
  ['a version without a release', (text: string) => text.replace('1:2.0-2.fl9', '1:2.0')],
  ['a line before any section', (text: string) => text.replace(/^Removing dependent packages:$/m, ' ')],
] as const) {
  test(`refused: ${what}`, () => {
    const text = recorded('plan5.txt');
    assert.notEqual(change(text), text);
    assert.throws(() => parseTransaction5(change(text)), failed);
  });
}
