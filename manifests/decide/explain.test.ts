// What `explain` finds for a query and what it tells, word by word for one case.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { evaluate, explain } from './index.ts';
import { ALWAYS, sampleGroup, sampleInput, samplePackage, samplePatch } from './sample.ts';

test('explain: by patch, CVE in any case, source and package; and of what is unknown it says so', () => {
  const patch = samplePatch('openssl@3.0.1-2', { cves: ['CVE-2025-1111'], packages: [samplePackage('libssl3', '3.0.1-2')] });
  const input = sampleInput([patch, samplePatch('nginx@2')], ['libssl3=3.0.1-1', 'bash=5.2'], {
    group: sampleGroup({ windows: [{ ...ALWAYS, name: 'later', days: ['mon'], zone: 'Europe/Berlin' }] }),
  });
  const evaluation = evaluate(input);
  for (const [query, foundBy] of [
    ['openssl@3.0.1-2', 'patch'],
    ['cve-2025-1111', 'flaw'],
    ['openssl', 'source'],
    ['libssl3', 'package'],
  ] as const) {
    const explanation = explain(evaluation, input, query);
    assert.equal(explanation.foundBy, foundBy);
    assert.deepEqual(
      explanation.patches.map(({ patch }) => patch),
      ['openssl@3.0.1-2'],
    );
  }
  const [told] = explain(evaluation, input, 'openssl').patches;
  assert.deepEqual(told?.steps, [
    { step: 'applicability', says: 'concerns 1 package of this host: libssl3:amd64 3.0.1-1, fixed in 3.0.1-2' },
    {
      step: 'rule',
      says: 'approved by rule all-security of baseline base since 2026-01-01T00:00:00Z: at once (first seen 2026-01-01T00:00:00Z)',
    },
    { step: 'dates', says: 'first seen 2026-01-01T00:00:00Z, approved since 2026-01-01T00:00:00Z' },
    { step: 'state', says: 'MISSING (not compliant): approved and not installed: libssl3' },
    { step: 'window', says: 'window later opens 2026-03-01T23:00:00Z (2026-03-02 00:00 Europe/Berlin)' },
    { step: 'reboot', says: 'if it is needed, in window later from 2026-03-01T23:00:00Z (2026-03-02 00:00 Europe/Berlin)' },
    { step: 'next', says: '1 patch to install when window later opens at 2026-03-01T23:00:00Z' },
  ]);
  assert.equal(told.changesAt, '2026-03-01T23:00:00Z');
  assert.match(explain(evaluation, input, 'nginx').text, /none of its packages is on this host \(nginx\)/);
  assert.match(
    explain(evaluation, input, 'bash').text,
    /The package is installed \(bash:amd64 5\.2\), and no patch is known for it/,
  );
  assert.equal(explain(evaluation, input, 'nonsense').foundBy, 'nothing');
});

test('explain tells the newest patches first and how many it left out', () => {
  const patches = Array.from({ length: 25 }, (_, index) => samplePatch(`a@1.${index}`));
  const input = sampleInput(patches, ['a=1.0']);
  const explanation = explain(evaluate(input), input, 'a');
  assert.equal(explanation.patches[0]?.patch, 'a@1.24');
  assert.deepEqual([explanation.patches.length, explanation.left], [20, 5]);
  assert.match(explanation.text, /and 5 older patches/);
});
