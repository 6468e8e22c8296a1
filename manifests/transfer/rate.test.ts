// The token bucket: never faster than its rate over any stretch of time, never slower than it must be.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import * as fc from 'fast-check';
import { openRate, RATE_LIMITS } from './rate.ts';

test('over any time no more goes than the rate and one burst; whoever waits as told is not held back longer than that', () => {
  fc.assert(
    fc.property(
      fc.integer({ min: 100, max: 1_000_000 }),
      fc.array(fc.record({ bytes: fc.integer({ min: 1, max: 200_000 }), idle: fc.integer({ min: 0, max: 5_000 }) }), {
        minLength: 2,
        maxLength: 40,
      }),
      (rate, steps) => {
        let now = 0;
        let sent = 0;
        const bucket = openRate(
          () => rate,
          () => now,
        );
        const burst = Math.max(RATE_LIMITS.burstBytes, rate * (RATE_LIMITS.burstMs / 1_000));
        for (const { bytes, idle } of steps) {
          const wait = bucket.take(bytes);
          sent += bytes;
          now += wait;
          assert.ok(sent <= (rate * now) / 1_000 + burst + 1, `${sent} bytes in ${now} ms at ${rate}`);
          if (wait > 0) assert.ok(wait <= (sent / rate) * 1_000 + 1);
          now += idle;
        }
      },
    ),
  );
});

test('the rate may change at any moment, and may be none', () => {
  let now = 0;
  let rate: number | undefined = 1_000;
  const bucket = openRate(
    () => rate,
    () => now,
  );
  assert.equal(bucket.take(RATE_LIMITS.burstBytes), 0);
  assert.equal(bucket.take(2_000), 2_000);
  rate = undefined;
  assert.equal(bucket.take(1_000_000_000), 0);
  rate = 500;
  now += 1;
  assert.ok(bucket.take(500) > 900);
});
