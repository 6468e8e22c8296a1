// The chain's verdict: whole, gap, fork (field guide, trap 13), machines put back, results sealed twice.
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import * as fc from 'fast-check';
import { type ChainLink, judgeChain } from './chain.ts';

const at = (minute: number): string =>
  `2026-03-02T${String(Math.floor(minute / 60)).padStart(2, '0')}:${String(minute % 60).padStart(2, '0')}:00Z`;
const link = (sequence: number, name: string, previous: string | null, minute: number): ChainLink => ({
  sequence,
  hash: name,
  previous,
  contentSha256: `body of ${name}`,
  at: at(minute),
});
/** a1 <- a2 <- … with one minute between two. */
const line = (name: string, from: number, to: number, previous: string | null, minute: number): ChainLink[] =>
  Array.from({ length: to - from + 1 }, (_, index) =>
    link(from + index, `${name}${from + index}`, index === 0 ? previous : `${name}${from + index - 1}`, minute + index),
  );

describe('judgeChain', () => {
  test('nothing', () => {
    assert.deepEqual(judgeChain([], []), { watermark: null, gaps: [], forks: [] });
  });

  test('a whole chain is covered to its end, from number 0 or 1 or from the enrolment it names', () => {
    assert.deepEqual(judgeChain(line('a', 1, 5, null, 0), []), { watermark: { sequence: 5, hash: 'a5' }, gaps: [], forks: [] });
    assert.equal(judgeChain(line('a', 0, 3, null, 0), []).watermark?.sequence, 3);
    assert.equal(judgeChain(line('a', 3, 5, 'enrolment', 0), [{ sequence: 2, hash: 'enrolment' }]).watermark?.sequence, 5);
    assert.deepEqual(judgeChain(line('a', 3, 5, 'elsewhere', 0), []), {
      watermark: null,
      gaps: [{ from: 1, to: 2 }],
      forks: [],
    });
  });

  test('an ack never covers past a gap', () => {
    const all = line('a', 1, 9, null, 0);
    const verdict = judgeChain(
      all.filter(({ sequence }) => ![4, 7, 8].includes(sequence)),
      [],
    );
    assert.deepEqual(verdict, {
      watermark: { sequence: 3, hash: 'a3' },
      gaps: [
        { from: 4, to: 4 },
        { from: 7, to: 8 },
      ],
      forks: [],
    });
  });

  test('two machines that go on at the same time are a clone; the ack stays before the fork', () => {
    const verdict = judgeChain([...line('a', 1, 8, null, 0), ...line('b', 6, 9, 'a5', 6)], []);
    assert.deepEqual(verdict.forks, [{ sequence: 6, kind: 'clone', hashes: ['a6', 'b6'] }]);
    assert.deepEqual(verdict.watermark, { sequence: 5, hash: 'a5' });
  });

  test('a machine put back to an older image goes on later: the ack follows the living side', () => {
    const verdict = judgeChain([...line('a', 1, 8, null, 0), ...line('b', 6, 7, 'a5', 60)], []);
    assert.deepEqual(verdict.forks, [{ sequence: 6, kind: 'reverted', hashes: ['a6', 'b6'] }]);
    assert.deepEqual(verdict.watermark, { sequence: 7, hash: 'b7' });
  });

  test('a machine put back may jump over the numbers that are used', () => {
    const verdict = judgeChain([...line('a', 1, 8, null, 0), ...line('b', 9, 10, 'a5', 60)], []);
    assert.deepEqual(verdict.forks, [{ sequence: 9, kind: 'reverted', hashes: ['a6', 'b9'] }]);
    assert.deepEqual(verdict.watermark, { sequence: 10, hash: 'b10' });
    assert.deepEqual(verdict.gaps, []);
  });

  test('a previous that is not the one before it is a fork, though the other side never arrived', () => {
    const verdict = judgeChain([...line('a', 1, 5, null, 0), link(6, 'x6', 'unseen', 20)], []);
    assert.deepEqual(verdict.forks, [{ sequence: 6, kind: 'reverted', hashes: ['a5', 'x6'] }]);
    assert.deepEqual(verdict.watermark, { sequence: 5, hash: 'a5' });
  });

  test('a machine that lost its state and starts again is a fork at its first number', () => {
    const verdict = judgeChain([...line('a', 1, 5, null, 0), ...line('b', 1, 2, null, 100)], []);
    assert.deepEqual(verdict.forks, [{ sequence: 1, kind: 'reverted', hashes: ['a1', 'b1'] }]);
    assert.deepEqual(verdict.watermark, { sequence: 2, hash: 'b2' });
  });

  test('one result sealed twice is no clone; the ack waits until the next one says which of the two is held', () => {
    const twice = [link(2, 'a2', 'a1', 1), { ...link(2, 'a2-again', 'a1', 1), contentSha256: 'body of a2' }];
    const first = line('a', 1, 1, null, 0);
    assert.deepEqual(judgeChain([...first, ...twice], []), { watermark: { sequence: 1, hash: 'a1' }, gaps: [], forks: [] });
    const next = judgeChain([...first, ...twice, link(3, 'a3', 'a2-again', 2)], []);
    assert.deepEqual(next, { watermark: { sequence: 3, hash: 'a3' }, gaps: [], forks: [] });
  });

  test('results that were sealed again behind a lost envelope are no clone', () => {
    const first = line('a', 1, 3, null, 0);
    const again = line('r', 2, 3, 'a1', 1).map((item) => ({ ...item, contentSha256: `body of a${item.sequence}` }));
    assert.deepEqual(judgeChain([...first, ...again], []), { watermark: { sequence: 1, hash: 'a1' }, gaps: [], forks: [] });
    const next = judgeChain([...first, ...again, link(4, 'r4', 'r3', 3)], []);
    assert.deepEqual(next, { watermark: { sequence: 4, hash: 'r4' }, gaps: [], forks: [] });
  });

  test('time that runs backwards inside a chain hides nothing', () => {
    const verdict = judgeChain([link(1, 'a1', null, 50), link(2, 'a2', 'a1', 10), link(3, 'a3', 'a2', 5)], []);
    assert.deepEqual(verdict, { watermark: { sequence: 3, hash: 'a3' }, gaps: [], forks: [] });
  });

  test('huge numbers and links to oneself or forward end at once', () => {
    const verdict = judgeChain([link(1, 'a1', 'a1', 0), link(2 ** 52, 'z', 'a1', 1), link(5, 'y', 'z', 2)], []);
    assert.equal(verdict.watermark?.sequence, 1);
  });

  test('the order of arrival means nothing, and the ack names a stored result with everything before it present', () => {
    const scenario = fc.record({
      length: fc.integer({ min: 1, max: 12 }),
      forkAt: fc.option(fc.integer({ min: 1, max: 12 })),
      forkMinute: fc.integer({ min: 0, max: 40 }),
      lost: fc.uniqueArray(fc.integer({ min: 0, max: 20 }), { maxLength: 4 }),
      order: fc.infiniteStream(fc.double({ noNaN: true })),
    });
    fc.assert(
      fc.property(scenario, ({ length, forkAt, forkMinute, lost, order }) => {
        const main = line('a', 1, length, null, 0);
        const side = forkAt === null || forkAt >= length ? [] : line('b', forkAt + 1, forkAt + 3, `a${forkAt}`, forkMinute);
        const arrived = [...main, ...side].filter((_, index) => !lost.includes(index));
        const keyed = arrived.map((item) => ({ item, key: order.next().value }));
        const shuffled = keyed.toSorted((x, y) => x.key - y.key).map(({ item }) => item);
        const verdict = judgeChain(shuffled, []);
        assert.deepEqual(verdict, judgeChain(arrived, []));
        if (verdict.watermark === null) return;
        const { sequence, hash } = verdict.watermark;
        assert.ok(arrived.some((item) => item.sequence === sequence && item.hash === hash));
        for (let number = 1; number <= sequence; number += 1) assert.ok(arrived.some((item) => item.sequence === number));
        if (side.length === 0 && lost.length === 0) assert.equal(sequence, length);
      }),
      { numRuns: 500 },
    );
  });
});
