// When something that failed is tried again: soon at first, ever rarer, spread out, and never all at one moment.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import * as fc from 'fast-check';
import { RETRY_LIMITS, retryMs } from './retry.ts';
import { nextSyncAt } from './run.ts';

const HOUR = 3_600_000;

test('a retry waits between two seconds and a bound that doubles, and never longer than is said', () => {
  fc.assert(
    fc.property(
      fc.integer({ min: 1, max: 5_000 }),
      fc.integer({ min: 1, max: 24 * HOUR }),
      fc.double({ min: 0, max: 1, maxExcluded: true, noNaN: true }),
      (failures, longest, random) => {
        const wait = retryMs(failures, longest, random);
        assert.ok(wait <= longest && wait <= RETRY_LIMITS.firstMs * 2 ** (failures - 1));
        assert.ok(wait >= Math.min(RETRY_LIMITS.leastMs, longest));
      },
    ),
  );
  assert.deepEqual(
    [1, 2, 3, 9, 1_000].map((failures) => retryMs(failures, 900_000, 1)),
    [5_000, 10_000, 20_000, 900_000, 900_000],
  );
});

test('a thousand relays whose upstream comes back do not come at one moment, and none tries more than a few times a minute', () => {
  const moments = Array.from({ length: 1_000 }, (_, at) => retryMs(4, 900_000, at / 1_000));
  const seconds = Map.groupBy(moments, (moment) => Math.floor(moment / 1_000));
  assert.ok(Math.max(...[...seconds.values()].map(({ length }) => length)) <= 30, 'spread over forty seconds');
  let [at, tries] = [0, 0];
  for (; at < 60_000; tries += 1) at += retryMs(tries + 1, 900_000, 0.5);
  assert.ok(tries <= 5, `${tries} in the first minute`);
});

test('the next sync: jittered after a good one, within seconds after a first failure, never later than the setting', () => {
  assert.equal(nextSyncAt(0, 0, 15, 0), 900_000);
  assert.equal(nextSyncAt(0, 0, 15, 0.5), 990_000);
  assert.equal(nextSyncAt(0, 1, 15, 0), 2_000);
  assert.equal(nextSyncAt(0, 1, 15, 0.999), 4_997);
  assert.equal(nextSyncAt(0, 1_000, 15, 0.999_999), 899_999);
});
