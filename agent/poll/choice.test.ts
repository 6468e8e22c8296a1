// Trap 28: the order of the list, what was measured, and damping. Simulated days of relays that come and go.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import * as fc from 'fast-check';
import {
  CHOICE_LIMITS,
  NO_MEMORY,
  noteFailed,
  noteGood,
  noteNoPosts,
  noteSpeed,
  orderRelays,
  type RelayMemory,
  readMemory,
  recordOf,
  tryOut,
} from './choice.ts';

const A = 'http://a';
const B = 'http://b';
const C = 'http://c';
const MINUTE = 60_000;
const START = Date.parse('2026-03-02T00:00:00Z');
const broken = { code: 'transfer.unreachable', says: 'no route' };

/** Polls every five minutes; `well` says which relays answer. Gives the relay used at each poll. */
function simulate(
  hours: number,
  listed: readonly string[],
  well: (relay: string, minute: number) => boolean,
  choice = 'measured' as const,
) {
  let memory: RelayMemory = NO_MEMORY;
  const used: (string | null)[] = [];
  const asked = new Map<string, number>();
  for (let minute = 0; minute < hours * 60; minute += 5) {
    const now = START + minute * MINUTE;
    // every poll is another process: memory goes through its text
    memory = readMemory(JSON.stringify(memory), listed);
    const order = orderRelays(memory, listed, choice, now);
    let by: string | null = null;
    for (const relay of order.awake) {
      asked.set(relay, (asked.get(relay) ?? 0) + 1);
      if (well(relay, minute)) {
        memory = noteGood(memory, relay, order.why, now);
        by = relay;
        break;
      }
      memory = noteFailed(memory, relay, broken, 'agent-1', now);
    }
    used.push(by);
  }
  const switches = used.filter((by, index) => index > 0 && by !== used[index - 1]).length;
  return { used, switches, asked, memory };
}

test('trap 28: a relay that fails at every second poll does not make a host swing between two', () => {
  const { switches, used } = simulate(24, [A, B], (relay, minute) => relay === B || (minute / 5) % 2 === 0);
  assert.ok(!used.includes(null), 'there always was one');
  assert.ok(switches <= 50, `${switches} changes in 288 polls`);
  const undamped = 287;
  assert.ok(switches < undamped / 5);
});

test('a relay that is back is used again soon, and once: its rest is over, the other is kept ten minutes', () => {
  const { used, switches } = simulate(24, [A, B], (relay, minute) => relay === B || minute < 60 || minute >= 75);
  assert.equal(switches, 2);
  assert.equal(used[12], B, 'at once to the next one');
  const back = used.indexOf(A, 12);
  assert.ok(back > 12 && back <= 12 + (75 + 60) / 5, `back after ${back * 5} minutes`);
  assert.ok(used.slice(back).every((by) => by === A));
});

test('a relay that is gone for good is asked less and less, never more often than once an hour in the end', () => {
  const { asked, used } = simulate(24 * 7, [A, B], (relay) => relay === B);
  assert.ok(used.every((by) => by === B));
  assert.ok((asked.get(A) ?? 0) <= 7 * 24 + 12, `${asked.get(A)}`);
});

test('a lucky answer forgives no failure: the next rest is longer than the one before', () => {
  let memory = noteFailed(NO_MEMORY, A, broken, 'x', START);
  const first = recordOf(memory, A).restsUntil - START;
  memory = noteGood(memory, A, '', START + 5 * MINUTE);
  memory = noteFailed(memory, A, broken, 'x', START + 6 * MINUTE);
  assert.ok(recordOf(memory, A).restsUntil - (START + 6 * MINUTE) > first);
  memory = noteGood(memory, A, '', START + 3 * CHOICE_LIMITS.forgiveMs);
  assert.equal(recordOf(memory, A).failures, 0, 'after some hours it is');
});

test('rests of many hosts end at different moments: nobody storms a relay that is back', () => {
  const ends = Array.from({ length: 500 }, (_, n) => recordOf(noteFailed(NO_MEMORY, A, broken, `agent-${n}`, 0), A).restsUntil);
  assert.ok(Math.min(...ends) >= CHOICE_LIMITS.firstRestMs && Math.max(...ends) <= CHOICE_LIMITS.firstRestMs * 1.5);
  const tenths = new Set(ends.map((end) => Math.floor(((end - CHOICE_LIMITS.firstRestMs) / CHOICE_LIMITS.firstRestMs) * 20)));
  assert.equal(tenths.size, 10);
  assert.deepEqual(
    recordOf(noteFailed(NO_MEMORY, A, broken, 'agent-7', 0), A),
    recordOf(noteFailed(NO_MEMORY, A, broken, 'agent-7', 0), A),
    'the same for one host always',
  );
});

test('measured: one that is twice as fast goes first, with the reason; a little faster is not enough; the list alone when told so', () => {
  const speeds = (a: number, b: number) =>
    noteSpeed(noteSpeed(NO_MEMORY, A, a * 1_000_000, 1_000, START), B, b * 1_000_000, 1_000, START);
  const first = (memory: RelayMemory, choice: 'measured' | 'listed' = 'measured', at = START) =>
    orderRelays(memory, [A, B], choice, at);
  assert.equal(first(speeds(1, 1.9)).awake[0], A);
  assert.equal(first(speeds(1, 3)).awake[0], B);
  assert.match(first(speeds(1, 3)).why, /^measured 3\.0 times as fast as http:\/\/a$/);
  assert.equal(first(speeds(1, 3), 'listed').awake[0], A);
  assert.match(first(speeds(1, 3), 'listed').why, /first in the list/);
  assert.equal(first(speeds(1, 3), 'measured', START + CHOICE_LIMITS.measuredMs).awake[0], A, 'a measurement gets old');
  assert.deepEqual(noteSpeed(NO_MEMORY, A, 1_000, 1, START), NO_MEMORY, 'a short transfer says nothing');
  const kept = noteGood(speeds(1, 3), A, 'x', START);
  assert.equal(first(kept, 'measured', START + MINUTE).awake[0], A, 'damped: not straight after a change');
  assert.match(first(kept, 'measured', START + MINUTE).why, /^kept until .* then http:\/\/b is preferred again$/);
  assert.equal(first(kept, 'measured', START + CHOICE_LIMITS.stayMs).awake[0], B);
});

test('another relay is tried out only where the preferred one is known to be slow, with bytes that are needed anyway', () => {
  const slow = noteSpeed(NO_MEMORY, A, 100_000, 5_000, START);
  const fast = noteSpeed(NO_MEMORY, A, 9_000_000, 1_000, START);
  const tried = (memory: RelayMemory, size = 1_000_000, choice: 'measured' | 'listed' = 'measured') =>
    tryOut(memory, orderRelays(memory, [A, B], choice, START), choice, size, START);
  assert.equal(tried(slow), B);
  assert.equal(tried(slow, 10_000), undefined, 'too small to tell');
  assert.equal(tried(slow, 1_000_000, 'listed'), undefined);
  assert.equal(tried(fast), undefined, 'fast enough');
  assert.equal(tried(NO_MEMORY), undefined, 'nothing known yet');
  assert.equal(tried(noteSpeed(slow, B, 100_000, 1_000, START)), undefined, 'known already');
});

test('whatever happened, in any order and with any clock: every relay is awake or rests, none is lost, rests end', () => {
  const event = fc.record({
    kind: fc.constantFrom('good', 'failed', 'speed', 'posts'),
    relay: fc.constantFrom(A, B, C),
    step: fc.integer({ min: -40 * 24 * 3_600_000, max: 40 * 24 * 3_600_000 }),
    bytes: fc.integer({ min: 0, max: 10_000_000 }),
    ms: fc.integer({ min: 0, max: 100_000 }),
  });
  fc.assert(
    fc.property(
      fc.array(event, { maxLength: 40 }),
      fc.constantFrom('measured' as const, 'listed' as const),
      (events, choice) => {
        let memory: RelayMemory = NO_MEMORY;
        let now = START;
        for (const { kind, relay, step, bytes, ms } of events) {
          now += step;
          if (kind === 'good') memory = noteGood(memory, relay, 'x', now);
          else if (kind === 'failed') memory = noteFailed(memory, relay, broken, 'x', now);
          else if (kind === 'speed') memory = noteSpeed(memory, relay, bytes, ms, now);
          else memory = noteNoPosts(memory, relay, now);
          memory = readMemory(JSON.stringify(memory), [A, B, C]);
          const { awake, resting } = orderRelays(memory, [A, B, C], choice, now);
          assert.deepEqual([...awake, ...resting].toSorted(), [A, B, C]);
          for (const name of resting) {
            const ends = memory.relays[name]?.restsUntil ?? Number.POSITIVE_INFINITY;
            assert.ok(ends <= now + 2 * CHOICE_LIMITS.longestRestMs, 'no rest is endless');
            assert.ok(orderRelays(memory, [A, B, C], choice, ends).awake.includes(name), 'it is awake when its rest is over');
          }
        }
      },
    ),
  );
});

test('a memory that is torn, of another version or of other relays counts as far as it goes', () => {
  assert.deepEqual(readMemory('{"schema', [A]), NO_MEMORY);
  assert.deepEqual(readMemory('{"schemaVersion":2}', [A]), NO_MEMORY);
  const memory = noteGood(noteFailed(NO_MEMORY, B, broken, 'x', START), B, 'x', START);
  assert.equal(readMemory(JSON.stringify(memory), [A]).used, null);
  assert.deepEqual(Object.keys(readMemory(JSON.stringify(memory), [A, B]).relays), [B]);
});
