// The judge of our RPM order is rpm itself: its own Lua function `rpm.vercmp`, many pairs in one process.
import assert from 'node:assert/strict';
import { existsSync } from 'node:fs';
import { test } from 'node:test';
import * as fc from 'fast-check';
import { runOrThrow } from '#manifests/platform/process';
import { compareRpm, parseRpm, rpmvercmp } from './rpm.ts';

const PAIRS = 20_000;
const PAIRS_A_PROCESS = 2_000;
const SEED = 20_261_121;
const noRpm = existsSync('/usr/bin/rpm') ? false : 'no rpm here: our RPM order is not judged against it';

const fragment = fc.oneof(
  { weight: 5, arbitrary: fc.nat({ max: 99 }).map(String) },
  { weight: 2, arbitrary: fc.constantFrom('0', '00', '007', '99999999999999999999') },
  { weight: 5, arbitrary: fc.constantFrom('.', '_', '+', '~', '^', '^git1', '~rc1', '.el9', '.fc40', '..', '~~', '^^') },
  { weight: 3, arbitrary: fc.constantFrom('a', 'b', 'B', 'rc', 'beta') },
);
const part = fc.array(fragment, { minLength: 1, maxLength: 6 }).map((parts) => parts.join(''));
const evr = fc
  .tuple(fc.constantFrom('', '', '0:', '1:', '2:', '01:'), part, fc.option(part, { nil: undefined }))
  .map(([epoch, version, release]) => `${epoch}${version}${release === undefined ? '' : `-${release}`}`);
const pair = fc.oneof(
  fc.tuple(evr, evr),
  fc.tuple(evr, fragment).map(([text, tail]): [string, string] => [text, text + tail]),
  fc.tuple(evr, fc.nat(), fragment).map(([text, at, put]): [string, string] => {
    const cut = at % text.length;
    return [text, text.slice(0, cut) + put + text.slice(cut + 1)];
  }),
);

test(`compareRpm equals rpm.vercmp of rpm on ${PAIRS} generated pairs`, { skip: noRpm }, async () => {
  const pairs = fc.sample(pair, { seed: SEED, numRuns: PAIRS });
  for (let from = 0; from < pairs.length; from += PAIRS_A_PROCESS) {
    const slice = pairs.slice(from, from + PAIRS_A_PROCESS);
    const calls = slice.map(([a, b]) => `{'${a}','${b}'}`).join(',');
    const { stdout } = await runOrThrow(
      'rpm',
      ['--eval', `%{lua: for _, p in ipairs({${calls}}) do print(rpm.vercmp(p[1], p[2]) .. '\\n') end}`],
      { timeoutMs: 60_000 },
    );
    const answers = stdout.split('\n').filter((line) => line !== '');
    assert.equal(answers.length, slice.length);
    for (const [index, [a, b]] of slice.entries()) {
      assert.equal(Math.sign(compareRpm(a, b)), Number(answers[index]), `${a} ${b}`);
    }
  }
});

test('rpmvercmp, cases of the rpm test suite (tests/rpmvercmp.at)', () => {
  for (const [a, b, order] of [
    ['1.0', '1.0', 0],
    ['1.0', '2.0', -1],
    ['2.0.1', '2.0.1a', -1],
    ['5.5p1', '5.5p10', -1],
    ['10xyz', '10.1xyz', -1],
    ['xyz.4', '8', -1],
    ['5.5p2', '5.6p1', -1],
    ['6.0.rc1', '6.0', 1],
    ['10b2', '10a1', 1],
    ['1.0aa', '1.0a', 1],
    ['10.0001', '10.1', 0],
    ['4.999.9', '5.0', -1],
    ['20101121', '20101122', -1],
    ['2_0', '2.0', 0],
    ['a+', 'a_', 0],
    ['+_', '_+', 0],
    ['1.0~rc1', '1.0', -1],
    ['1.0~rc1~git123', '1.0~rc1', -1],
    ['1.0^', '1.0', 1],
    ['1.0^git1', '1.0^git2', -1],
    ['1.0^git1', '1.01', -1],
    ['1.0~rc1^git1', '1.0~rc1', 1],
    ['1.0^git1~pre', '1.0^git1', -1],
  ] as const) {
    assert.equal(rpmvercmp(a, b), order, `${a} ${b}`);
    assert.equal(rpmvercmp(b, a), 0 - order, `${b} ${a}`);
  }
});

test('parseRpm takes an EVR apart', () => {
  assert.deepEqual(parseRpm('1:2.3-4.el9'), { epoch: '1', version: '2.3', release: '4.el9' });
  assert.deepEqual(parseRpm('2.3'), { epoch: null, version: '2.3', release: null });
  assert.deepEqual(parseRpm(':2-1'), { epoch: '0', version: '2', release: '1' });
});

test('compareRpm is antisymmetric and total over any text', () => {
  const any = fc.oneof(evr, fc.string({ maxLength: 10 }));
  fc.assert(
    fc.property(any, any, (a, b) => {
      assert.equal(Math.sign(compareRpm(a, b)), -Math.sign(compareRpm(b, a)) + 0);
      assert.equal(compareRpm(a, a), 0);
    }),
    { numRuns: 20_000, seed: SEED },
  );
});

test('compareRpm is transitive over versions as they are written', () => {
  const written = fc
    .tuple(
      fc.constantFrom('', '1:'),
      fc.array(fc.nat({ max: 20 }), { minLength: 1, maxLength: 3 }),
      fc.constantFrom('', '~rc1', '^git2', 'a'),
    )
    .map(([epoch, numbers, tail]) => `${epoch}${numbers.join('.')}${tail}-1.el9`);
  fc.assert(
    fc.property(written, written, written, (a, b, c) => {
      if (compareRpm(a, b) <= 0 && compareRpm(b, c) <= 0) assert.ok(compareRpm(a, c) <= 0);
    }),
    { numRuns: 20_000, seed: SEED },
  );
});
