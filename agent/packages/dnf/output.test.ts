// The table of dnf 4 on recorded output, and forms of it that must not become a smaller plan.
import assert from 'node:assert/strict';
import * as fs from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { parseTransaction, problemsOf } from './output.ts';

const recorded = (name: string) => fs.readFileSync(join(import.meta.dirname, 'fixtures', name), 'utf8');
const failed = { code: 'packages.dnf-failed' };

test('upgrades, what they bring along, and what they replace', () => {
  const plan = parseTransaction(recorded('plan.txt')) ?? assert.fail();
  assert.deepEqual(
    plan.installs.map(({ name, arch, version, repository }) => `${name.slice(0, 20)} ${arch} ${version} ${repository}`),
    [
      'another-long-named-d noarch 1-1.fl9 ferry-9',
      'a-package-with-a-nam x86_64 2026.11.21.git0123456789abcdef-2.fl9 ferry-9',
      'harbor x86_64 1.2-1.fl9 ferry-9',
      'mast x86_64 1.0-2.fl9 ferry-9',
    ],
  );
  assert.deepEqual(plan.removals, [
    { name: 'reef', arch: 'x86_64', version: '1.0-1.fl9' },
    { name: 'old-mast', arch: 'noarch', version: '1.0-1.fl9' },
  ]);
  assert.deepEqual(plan.downgrades, []);
});

test('removals with what depends on them; sizes without a unit', () => {
  const plan = parseTransaction(recorded('removal.txt')) ?? assert.fail();
  assert.deepEqual(plan.installs, []);
  assert.deepEqual(
    plan.removals.map(({ name }) => name),
    ['libferry', 'ferry-tool'],
  );
});

test('a name too long for its column goes on in the next line', () => {
  const wrapped = recorded('removal.txt').replace(/^ libferry +/m, ' libferry\n                     ');
  assert.deepEqual(parseTransaction(wrapped), parseTransaction(recorded('removal.txt')));
});

test('an epoch in a version, and a downgrade', () => {
  const text = recorded('removal.txt')
    .replace('Removing dependent packages:', 'Downgrading:')
    .replace('1.0-2.fl9          @ferry-9           42', '1:1.0-2.fl9        ferry-9           4.2 k')
    .replace('Remove  2 Packages', 'Remove     1 Package\nDowngrade  1 Package');
  const plan = parseTransaction(text) ?? assert.fail();
  assert.deepEqual(
    plan.downgrades.map(({ name, version }) => `${name} ${version}`),
    ['ferry-tool 1:1.0-2.fl9'],
  );
});

test('a form that is not known is an error, never a smaller plan', () => {
  const text = recorded('plan.txt');
  for (const [what, changed] of [
    ['a row that is missing', text.replace(/^ harbor.*\n/m, '')],
    ['a summary that says more', text.replace('Upgrade  3 Packages', 'Upgrade  4 Packages')],
    ['a section that nobody knows', text.replace('Upgrading:', 'Enabling module streams:')],
    ['a row with a column less', text.replace(/^ harbor +x86_64/m, ' harbor')],
    ['a replaced package without a version', text.replace('replacing  reef.x86_64 1.0-1.fl9', 'replacing  reef.x86_64')],
  ] as const) {
    assert.throws(() => parseTransaction(changed), failed, what);
  }
});

test('no plan: nothing to do, or problems for a person', () => {
  assert.equal(parseTransaction('Dependencies resolved.\nNothing to do.\nComplete!\n'), undefined);
  const text = recorded('conflict.txt');
  assert.equal(parseTransaction(text), undefined);
  assert.equal(
    problemsOf('', text.slice(text.indexOf('Error:'))),
    'Problem: problem with installed package ferry-release-9-1.fl9.noarch - package storm-1.0-2.fl9.x86_64 conflicts with ' +
      'ferry-release provided by ferry-release-9-1.fl9.noarch - cannot install the best update candidate for package storm-1.0-1.fl9.x86_64',
  );
  assert.match(
    problemsOf('No match for argument: x-1-1.noarch\n', 'Error: No packages marked for upgrade.\n'),
    /^No match for argument: x/,
  );
});
