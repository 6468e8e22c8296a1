// The matcher against a regular expression made the same way, and against input that makes backtracking ones explode.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import * as fc from 'fast-check';
import { anyOf, matches } from './pattern.ts';

test('`*` is any run of characters; everything else is itself', () => {
  for (const [pattern, text, expected] of [
    ['openssl', 'openssl', true],
    ['openssl', 'openssl-dev', false],
    ['*', '', true],
    ['linux-*', 'linux-', true],
    ['linux-*', 'my-linux-x', false],
    ['*-dev', 'libc6-dev', true],
    ['lib*-dev', 'libdev', false],
    ['a*a', 'a', false],
    ['a*b*c', 'a-b-b-c', true],
    ['a*bc*c', 'abc', false],
    ['**', 'x', true],
    ['lib.*', 'libx1', false],
    ['[a-z]', 'b', false],
    ['c++*', 'c++11', true],
  ] as const) {
    assert.equal(matches(pattern, text), expected, `${pattern} ${text}`);
  }
});

test('equals a regular expression on any pattern and text', () => {
  const few = (limit: number) => fc.string({ unit: fc.constantFrom('a', 'b', '*', '.', '+'), maxLength: limit });
  fc.assert(
    fc.property(few(8), few(12), (pattern, text) => {
      const parts = pattern.split('*').map((part) => part.replaceAll(/[.+]/g, String.raw`\$&`));
      const expected = new RegExp(`^${parts.join('[^]*')}$`).test(text);
      assert.equal(matches(pattern, text), expected);
      assert.equal(anyOf(['zzz', pattern])(text), expected);
    }),
    { numRuns: 20_000, seed: 3 },
  );
});

test('a pattern full of stars ends at once on a long text that almost fits', () => {
  assert.equal(matches(`${'a*'.repeat(99)}b`, 'a'.repeat(300)), false);
  assert.equal(matches(`${'*a'.repeat(100)}*b*`, 'a'.repeat(100_000)), false);
});

test('no patterns match nothing', () => {
  assert.equal(anyOf([])(''), false);
});
