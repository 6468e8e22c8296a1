// Semantic and Windows versions against the lists of their specifications; the registry against the formats of a catalog.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import * as fc from 'fast-check';
import { PATCH_FORMATS } from '#manifests/schema';
import { comparatorFor, compareSemver, compareWindows, parseSemver, parseWindows } from './index.ts';

function ascending(compare: (a: string, b: string) => number, versions: readonly string[]) {
  for (const [i, a] of versions.entries()) {
    for (const [j, b] of versions.entries()) assert.equal(Math.sign(compare(a, b)), Math.sign(i - j), `${a} ${b}`);
  }
}

test('SemVer 2.0.0 clause 11: the order of the specification', () => {
  ascending(compareSemver, [
    '1.0.0-alpha',
    '1.0.0-alpha.1',
    '1.0.0-alpha.beta',
    '1.0.0-beta',
    '1.0.0-beta.2',
    '1.0.0-beta.11',
    '1.0.0-rc.1',
    '1.0.0',
    '1.0.1',
    '1.2.0',
    '1.10.0',
    '2.0.0',
    '99999999999999999999.0.0',
  ]);
  assert.equal(compareSemver('1.0.0+build.1', '1.0.0+build.2'), 0);
  assert.equal(compareSemver('v1.2.3', '1.2.3'), 0);
  assert.equal(compareSemver('1.2', '1.2.0'), 0);
  assert.ok(compareSemver('2024.4.1.9', '2024.4.1.10') < 0);
});

test('parseSemver is strict', () => {
  assert.deepEqual(parseSemver('1.2.3-rc.1+b'), { core: ['1', '2', '3'], prerelease: ['rc', '1'] });
  for (const bad of ['1.2', '01.2.3', '1.2.3-01', '1.2.3-', 'v1.2.3', '1.2.3+', `1.2.${'3'.repeat(300)}`]) {
    assert.equal(parseSemver(bad), null, bad);
  }
});

test('Windows: four numbers', () => {
  ascending(compareWindows, ['6.1.7601', '10.0.19041.1', '10.0.19041.4291', '10.0.19045', '10.0.22631.3447']);
  assert.equal(compareWindows('10.0', '10.0.0.0'), 0);
  assert.equal(compareWindows('10.0.19041.1 (WinBuild.160101.0800)', '10.0.19041.1'), 0);
  assert.deepEqual(parseWindows('10.0.19045'), [10, 0, 19_045, 0]);
  for (const bad of ['', '1.2.3.4.5', '1.a', '1..2', '-1']) assert.equal(parseWindows(bad), null, bad);
});

test('semantic and Windows orders are total, antisymmetric and transitive over any text', () => {
  const any = fc.oneof(
    fc.string({ maxLength: 12 }),
    fc.string({ unit: fc.constantFrom(...'0129.-+va'.split('')), maxLength: 9 }),
  );
  for (const compare of [compareSemver, compareWindows]) {
    fc.assert(
      fc.property(any, any, any, (a, b, c) => {
        assert.equal(Math.sign(compare(a, b)), -Math.sign(compare(b, a)) + 0);
        if (compare(a, b) <= 0 && compare(b, c) <= 0) assert.ok(compare(a, c) <= 0);
      }),
      { numRuns: 10_000, seed: 7 },
    );
  }
});

test('every format of a catalog has an order', () => {
  for (const format of PATCH_FORMATS) assert.ok(comparatorFor(format)('1.0.0', '1.0.1') < 0, format);
});
