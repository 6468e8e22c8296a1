// Which ways back are given up: by number, age and room, and never against a recall.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import * as fc from 'fast-check';
import { type KeepingFacts, type KeepingRules, toGiveUp } from './keeping.ts';
import type { KeptWay } from './ways.ts';

const DAY = 86_400_000;
const NOW = 1_000 * DAY;
const RULES: KeepingRules = { keep: 3, days: 30, maxPercent: 10, freePercent: 5 };
const FACTS: KeepingFacts = { at: NOW, totalBytes: 1_000, freeBytes: 500, protected: new Map() };
const way = (run: string, daysAgo: number, bytes: number | null = 10): KeptWay => ({
  run,
  takenAt: NOW - daysAgo * DAY,
  bytes,
  patches: [],
});
const runs = (kept: readonly KeptWay[], rules: Partial<KeepingRules> = {}, facts: Partial<KeepingFacts> = {}) =>
  toGiveUp(kept, { ...RULES, ...rules }, { ...FACTS, ...facts }).map(({ run }) => run);

test('the oldest goes when there are too many, when it is too old, when all take too much, when the disk gets full', () => {
  const three = [way('a', 9), way('b', 5), way('c', 1)];
  assert.deepEqual(runs(three), []);
  assert.deepEqual(runs(three, { keep: 1 }), ['a', 'b']);
  assert.deepEqual(runs(three, { days: 4 }), ['a', 'b']);
  assert.deepEqual(runs(three, { days: 0 }), ['a', 'b', 'c'], 'the last one expires too');
  assert.deepEqual(runs(three, { maxPercent: 2 }), ['a']);
  assert.deepEqual(runs(three, { maxPercent: 0 }), ['a', 'b'], 'room alone never takes the newest');
  assert.deepEqual(runs(three, {}, { freeBytes: 45 }), ['a']);
  assert.deepEqual(
    runs([way('a', 9, null), way('b', 5), way('c', 1)], {}, { freeBytes: 0 }),
    ['a'],
    'not measured: one, then look',
  );
});

test('what a recall may still want stays, and with it everything newer, which it stands under', () => {
  const three = [way('a', 90), way('b', 60), way('c', 50)];
  assert.deepEqual(runs(three), ['a', 'b', 'c']);
  assert.deepEqual(runs(three, {}, { protected: new Map([['b', 'recalled']]) }), ['a']);
  assert.deepEqual(runs(three, {}, { protected: new Map([['a', 'recalled']]) }), []);
});

test('property: always the oldest ones, never a protected one, and afterwards the rules hold as far as they can', () => {
  const ways = fc.array(fc.tuple(fc.nat(60), fc.option(fc.nat(300))), { maxLength: 8 });
  fc.assert(
    fc.property(ways, fc.nat(9), fc.integer({ min: 1, max: 5 }), fc.nat(1_000), (rows, guarded, keep, freeBytes) => {
      const kept = rows.toSorted(([a], [b]) => b - a).map(([age, bytes], index) => way(String(index), age, bytes));
      const facts = { freeBytes, protected: new Map([[String(guarded), 'recalled']]) };
      const gone = runs(kept, { keep }, facts);
      assert.deepEqual(
        gone,
        kept.slice(0, gone.length).map(({ run }) => run),
      );
      assert.ok(!gone.includes(String(guarded)));
      const left = kept.slice(gone.length);
      const stuck = left[0]?.run === String(guarded);
      assert.ok(stuck || left.length <= keep);
      assert.ok(stuck || left.every(({ takenAt }) => NOW - takenAt <= 30 * DAY));
    }),
  );
});
