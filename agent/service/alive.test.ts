// Signs of life: what lies between two of them, in one boot and across several; what older versions kept; real answers of journalctl.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { type BootSpan, lifeNow, longestGap, readBoots, readLife, type SignOfLife, upMs, writeLife } from './alive.ts';

const HOUR = 3_600_000;
const START = Date.parse('2026-03-02T00:00:00Z');

/** `hours` after the start, having been awake for so many of them. */
const life = (hours: number, awake: number, boot = 'a', wallOff = 0): SignOfLife => ({
  at: START + hours * HOUR,
  wall: START + (hours + wallOff) * HOUR,
  boot,
  awake: awake * HOUR,
});
const spans = (...hours: [number, number][]): BootSpan[] =>
  hours.map(([first, last]) => ({ first: START + first * HOUR, last: START + last * HOUR }));

const cases: {
  what: string;
  before: SignOfLife;
  now: SignOfLife;
  started?: number;
  boots?: BootSpan[];
  gap: [number, number];
}[] = [
  { what: 'a timer that fires once a day on a host that never sleeps', before: life(0, 5), now: life(24, 29), gap: [24, 24] },
  { what: 'suspended for the night', before: life(0, 5), now: life(24, 21), gap: [16, 24] },
  { what: 'suspended for three days', before: life(0, 5), now: life(72, 5.1), gap: [0.1, 72] },
  {
    what: 'a clock that was set forward by a day, trusted time with it',
    before: life(0, 5, 'a', 0),
    now: life(24, 29),
    gap: [24, 24],
  },
  {
    what: 'trusted time that moved on because of newer signatures',
    before: life(0, 5),
    now: life(24, 6, 'a', -23),
    gap: [24, 24],
  },
  { what: 'a clock that was set back', before: life(0, 5), now: life(1, 6, 'a', -30), gap: [1, 1] },
  { what: 'off, and the journal knows nothing', before: life(0, 5), now: life(24, 1, 'b'), started: 23, gap: [0, 23] },
  {
    what: 'restarted within a minute',
    before: life(0, 5),
    now: life(24, 4, 'b'),
    started: 20,
    boots: spans([-5, 19.98]),
    gap: [19.98, 20],
  },
  {
    what: 'off twice, and the longer one counts',
    before: life(0, 5),
    now: life(50, 1, 'c'),
    started: 49,
    boots: spans([-30, -20], [-5, 2], [20, 30]),
    gap: [30, 49],
  },
  {
    what: 'a moment alone, as versions before kept it',
    before: { ...life(0, 0), boot: null, awake: null },
    now: life(24, 29),
    gap: [0, 24],
  },
];

for (const { what, before, now, started, boots, gap } of cases) {
  test(`the longest time off or asleep: ${what}`, () => {
    const found = longestGap(before, now, START + (started ?? 0) * HOUR, boots ?? []);
    assert.deepEqual(
      [found.asleepSince, found.wokeAt].map((at) => Number(((at - START) / HOUR).toFixed(2))),
      gap,
    );
  });
}

test('what is kept is read back; a version before kept the moment alone; nothing is nothing', () => {
  const now = lifeNow(START, START + 5);
  assert.deepEqual(readLife(writeLife(now), '17'), now);
  assert.deepEqual(readLife(undefined, '17'), { at: 17, wall: 17, boot: null, awake: null });
  assert.deepEqual(readLife('{"version":2}', '17'), { at: 17, wall: 17, boot: null, awake: null });
  assert.equal(readLife(undefined, undefined), undefined);
});

test('the awake clock of this process does not begin with it, and the system has been up for longer than nothing', () => {
  if (process.platform !== 'linux') return;
  assert.ok((lifeNow(0, 0).awake ?? 0) > 0);
  assert.ok(upMs() > 0 && upMs() < Date.now());
});

test('what journalctl says of boots: the past ones, oldest first; what is no such list says nothing', () => {
  const said = `[{"index":-1,"boot_id":"b","first_entry":3000000,"last_entry":4000000},
    {"index":-2,"boot_id":"a","first_entry":1000000,"last_entry":2000000},
    {"index":0,"boot_id":"c","first_entry":5000000,"last_entry":6000000}]`;
  assert.deepEqual(readBoots(said), [
    { first: 1000, last: 2000 },
    { first: 3000, last: 4000 },
  ]);
  for (const none of ['', '-1 6c1 Mon 2026-03-02—Tue', '{}', '[{"index":-1}]']) assert.deepEqual(readBoots(none), []);
});
