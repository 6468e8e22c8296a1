// Windows by table, the clock changes of trap 8, and a minute-by-minute reference that shares no code with ours: it walks
// every minute of ten years in eight zones and asks Intl, not Temporal, what the wall clock says.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import * as fc from 'fast-check';
import { type MaintenanceWindow, maintenanceWindow, WEEKDAYS } from '#manifests/schema';
import { sampleWindow } from './sample.ts';
import { momentOf } from './text.ts';
import { windowState } from './window.ts';

const MINUTE = 60_000;
const DAILY = [...WEEKDAYS];

function at(windows: MaintenanceWindow | readonly MaintenanceWindow[], moment: string, hostZone = 'UTC') {
  const state = windowState(Array.isArray(windows) ? windows : [windows as MaintenanceWindow], Date.parse(moment), hostZone);
  return state.open
    ? {
        open: true,
        opensAt: momentOf(state.opensAt),
        closesAt: momentOf(state.closesAt),
        startsUntil: momentOf(state.startsUntil),
        mayStart: state.mayStart,
        name: state.name,
        notes: state.notes,
      }
    : { open: false, opensAt: state.opensAt === null ? null : momentOf(state.opensAt), name: state.name, notes: state.notes };
}

const opening = (window: MaintenanceWindow, moment: string, hostZone = 'UTC') => at(window, moment, hostZone).opensAt;

test('1.8 a weekly window opens and closes to the second; the cutoff ends new work before (15:00 + 3 h, cutoff 1 h: 17:00)', () => {
  const window = sampleWindow({ days: ['wed'], start: '15:00', durationMinutes: 180, cutoffMinutes: 60 });
  assert.deepEqual(at(window, '2026-01-07T14:59:59Z'), {
    open: false,
    opensAt: '2026-01-07T15:00:00Z',
    name: 'night',
    notes: [],
  });
  for (const [moment, mayStart] of [
    ['2026-01-07T15:00:00Z', true],
    ['2026-01-07T16:59:59Z', true],
    ['2026-01-07T17:00:00Z', false],
    ['2026-01-07T17:59:59Z', false],
  ] as const) {
    const expected = {
      open: true,
      opensAt: '2026-01-07T15:00:00Z',
      closesAt: '2026-01-07T18:00:00Z',
      startsUntil: '2026-01-07T17:00:00Z',
      mayStart,
      name: 'night',
      notes: [],
    };
    assert.deepEqual(at(window, moment), expected, moment);
  }
  assert.equal(opening(window, '2026-01-07T18:00:00Z'), '2026-01-14T15:00:00Z');
});

test('a window crosses midnight, the week, the year', () => {
  const night = sampleWindow({ days: ['sun'], start: '22:00', durationMinutes: 300 });
  assert.equal(at(night, '2026-01-05T02:59:59Z').open, true, 'Monday, from Sunday');
  assert.equal(at(night, '2026-01-05T03:00:00Z').open, false);
  const newYear = sampleWindow({ days: ['wed'], start: '23:00', durationMinutes: 120 });
  assert.equal(at(newYear, '2026-01-01T00:30:00Z').opensAt, '2025-12-31T23:00:00Z');
  const week = sampleWindow({ days: ['thu'], start: '00:00', durationMinutes: 10_080 });
  assert.equal(at(week, '2026-01-07T23:59:59Z').opensAt, '2026-01-01T00:00:00Z', 'a week long: always open');
});

test('trap 29: local and UTC are two things: the same 02:00 in three zones', () => {
  const utc = sampleWindow({ days: DAILY, zone: 'UTC' });
  const host = sampleWindow({ days: DAILY, zone: 'host' });
  const berlin = sampleWindow({ days: DAILY, zone: 'Europe/Berlin' });
  const noon = '2026-07-01T12:00:00Z';
  assert.equal(opening(utc, noon, 'Asia/Kathmandu'), '2026-07-02T02:00:00Z');
  assert.equal(opening(host, noon, 'Asia/Kathmandu'), '2026-07-01T20:15:00Z');
  assert.equal(opening(berlin, noon, 'Asia/Kathmandu'), '2026-07-02T00:00:00Z');
});

test('trap 8, spring: a start that does not exist opens at the first instant after the gap', () => {
  for (const [zone, start, from, expected] of [
    ['Europe/Berlin', '02:30', '2026-03-28T12:00:00Z', '2026-03-29T01:00:00Z'],
    ['Europe/Berlin', '02:00', '2026-03-28T12:00:00Z', '2026-03-29T01:00:00Z'],
    ['Europe/Berlin', '01:59', '2026-03-28T12:00:00Z', '2026-03-29T00:59:00Z'],
    ['Europe/Berlin', '03:00', '2026-03-28T12:00:00Z', '2026-03-29T01:00:00Z'],
    ['America/New_York', '02:30', '2026-03-07T22:00:00Z', '2026-03-08T07:00:00Z'],
    ['Australia/Lord_Howe', '02:15', '2026-10-03T03:00:00Z', '2026-10-03T15:30:00Z'],
    ['Antarctica/Troll', '01:30', '2026-03-28T12:00:00Z', '2026-03-29T01:00:00Z'],
    ['Africa/Cairo', '00:30', '2026-04-23T12:00:00Z', '2026-04-23T22:00:00Z'],
  ] as const) {
    const state = at(sampleWindow({ days: DAILY, start, zone }), from);
    assert.equal(state.opensAt, expected, `${zone} ${start}`);
  }
  assert.match(
    at(sampleWindow({ days: DAILY, start: '02:30', zone: 'Europe/Berlin' }), '2026-03-28T12:00:00Z').notes.join(),
    /does not exist/,
  );
});

test('trap 8, autumn: of two equal wall times the first opens, once', () => {
  for (const [zone, start, from, first, next] of [
    ['Europe/Berlin', '02:30', '2026-10-24T12:00:00Z', '2026-10-25T00:30:00Z', '2026-10-26T01:30:00Z'],
    ['America/New_York', '01:30', '2026-10-31T12:00:00Z', '2026-11-01T05:30:00Z', '2026-11-02T06:30:00Z'],
    ['Australia/Lord_Howe', '01:45', '2026-04-04T03:00:00Z', '2026-04-04T14:45:00Z', '2026-04-05T15:15:00Z'],
  ] as const) {
    const window = sampleWindow({ days: DAILY, start, zone, durationMinutes: 10 });
    assert.equal(opening(window, from), first, zone);
    assert.match(at(window, from).notes.join(), /comes twice/);
    assert.equal(opening(window, momentOf(Date.parse(first) + 10 * MINUTE)), next, zone);
  }
});

test('trap 8: the length is elapsed time over both clock changes', () => {
  const window = sampleWindow({ days: DAILY, start: '01:00', durationMinutes: 240, zone: 'Europe/Berlin' });
  assert.equal(at(window, '2026-03-29T00:00:00Z').closesAt, '2026-03-29T04:00:00Z', '06:00 on the wall');
  assert.equal(at(window, '2026-10-25T00:00:00Z').closesAt, '2026-10-25T03:00:00Z', '04:00 on the wall');
});

test('validity: a window that began before validFrom does not open, validUntil closes an open one', () => {
  const window = sampleWindow({
    days: DAILY,
    validFrom: '2026-01-05T02:30:00Z',
    validUntil: '2026-01-08T03:00:00Z',
    cutoffMinutes: 30,
  });
  assert.equal(opening(window, '2026-01-05T02:45:00Z'), '2026-01-06T02:00:00Z');
  assert.equal(opening(window, '2025-01-01T00:00:00Z'), '2026-01-06T02:00:00Z', 'found a year ahead');
  const last = at(window, '2026-01-08T02:15:00Z');
  assert.equal(last.closesAt, '2026-01-08T03:00:00Z');
  assert.equal(last.startsUntil, '2026-01-08T02:30:00Z');
  assert.deepEqual(at(window, '2026-01-08T03:00:00Z'), { open: false, opensAt: null, name: null, notes: [] });
});

test('of several open windows the one in which work may begin counts, then the one open longest', () => {
  const short = sampleWindow({ name: 'short', days: DAILY, start: '02:00', durationMinutes: 60 });
  const long = sampleWindow({ name: 'long', days: DAILY, start: '01:00', durationMinutes: 180 });
  const cut = sampleWindow({ name: 'cut', days: DAILY, start: '01:00', durationMinutes: 240, cutoffMinutes: 230 });
  assert.equal(at([short, long, cut], '2026-01-01T02:30:00Z').name, 'long');
  assert.equal(at([cut, short], '2026-01-01T02:30:00Z').name, 'short');
  assert.equal(at([short, long], '2026-01-01T00:30:00Z').name, 'long');
});

test('no window, or one in a zone nobody knows: never open, and it says so', () => {
  assert.deepEqual(at([], '2026-01-01T00:00:00Z'), {
    open: false,
    opensAt: null,
    name: null,
    notes: ['no maintenance window: nothing is installed by itself'],
  });
  for (const zone of ['Mars/Olympus', 'host']) {
    const state = at(sampleWindow({ days: DAILY, zone }), '2026-01-01T02:30:00Z', 'not a zone');
    assert.equal(state.open, false);
    assert.match(state.notes.join(), /nobody here knows the time zone/);
  }
});

// ---- the reference ----

const ZONES = [
  'UTC',
  'Europe/Berlin',
  'America/New_York',
  'America/St_Johns',
  'Australia/Lord_Howe',
  'Antarctica/Troll',
  'Asia/Kathmandu',
  'Africa/Cairo',
];
const FROM = Date.parse('2026-01-01T00:00:00Z') / MINUTE;
const TO = Date.parse('2036-01-08T00:00:00Z') / MINUTE;
const LEAD = 20 * 1_440;
const STRIDE = 48; // blocks; no zone changes its offset twice in twelve hours
const BLOCK = 15; // minutes; no zone of today changes its offset in between

/** Offset from UTC in minutes of every block of fifteen minutes, by Intl. */
function offsets(zone: string): Int16Array {
  const format = new Intl.DateTimeFormat('en-US', {
    timeZone: zone,
    hourCycle: 'h23',
    year: 'numeric',
    month: 'numeric',
    day: 'numeric',
    hour: 'numeric',
    minute: 'numeric',
  });
  const first = FROM - LEAD;
  const table = new Int16Array(Math.ceil((TO - first) / BLOCK));
  const look = (block: number): number => {
    const minute = first + block * BLOCK;
    const [month = 0, day = 0, year = 0, hour = 0, min = 0] = (format.format(minute * MINUTE).match(/\d+/g) ?? []).map(Number);
    return Date.UTC(year, month - 1, day, hour, min) / MINUTE - minute;
  };
  // Intl is asked twice a day, and block by block wherever the two answers differ
  for (let from = 0; from < table.length; from += STRIDE) {
    const until = Math.min(from + STRIDE, table.length);
    const before = look(from);
    const same = before === look(until);
    for (let block = from; block < until; block += 1) table[block] = same ? before : look(block);
  }
  return table;
}

/** For each minute: 0 closed, 1 open, 2 open and new work may start. Walks the minutes and nothing else. */
function reference(window: MaintenanceWindow, table: Int16Array): Uint8Array {
  const first = FROM - LEAD;
  const open = new Uint8Array(TO - first);
  const [hour = 0, minute = 0] = (window.start ?? '').split(':').map(Number);
  let day = Math.floor((first + (table[0] ?? 0)) / 1_440) + 1; // the next wall day whose start has not come yet
  for (let now = first; now < TO; now += 1) {
    const wall = now + (table[Math.floor((now - first) / BLOCK)] ?? 0);
    while (wall >= day * 1_440 + hour * 60 + minute) {
      const weekday = DAILY[(((day + 3) % 7) + 7) % 7]; // 1970-01-01 was a Thursday
      if (weekday !== undefined && window.days?.includes(weekday)) {
        for (let length = 0; length < window.durationMinutes && now + length < TO; length += 1) {
          const index = now - first + length;
          open[index] = Math.max(open[index] ?? 0, length < window.durationMinutes - window.cutoffMinutes ? 2 : 1);
        }
      }
      day += 1;
    }
  }
  return open;
}

const anyWindow = fc
  .record({
    days: fc.shuffledSubarray(DAILY, { minLength: 1 }),
    start: fc.oneof(
      fc.constantFrom('00:00', '00:30', '01:00', '01:30', '01:45', '02:00', '02:15', '02:30', '03:00', '23:30', '23:59'),
      fc
        .tuple(fc.nat({ max: 23 }), fc.nat({ max: 59 }))
        .map((parts) => parts.map((part) => String(part).padStart(2, '0')).join(':')),
    ),
    durationMinutes: fc.oneof(fc.integer({ min: 1, max: 600 }), fc.integer({ min: 1_000, max: 10_080 })),
    cut: fc.nat({ max: 99 }),
  })
  .map(({ cut, ...rest }) => sampleWindow({ ...rest, cutoffMinutes: Math.floor((rest.durationMinutes * cut) / 100) }));

for (const zone of ZONES) {
  test(`windows agree with the minute-by-minute reference over ten years in ${zone}`, () => {
    const table = offsets(zone);
    const changes = [...table.keys()].filter((block) => block > 0 && table[block] !== table[block - 1]);
    const windows = fc
      .sample(anyWindow, { seed: 11, numRuns: 12 })
      .map((window) => maintenanceWindow.parse({ ...window, zone }));
    for (const window of windows) {
      const expected = reference(window, table);
      const look = (minute: number) => expected[minute - (FROM - LEAD)] ?? 0;
      const shown = (minute: number) => `${JSON.stringify(window)} at ${momentOf(minute * MINUTE)}`;

      // every minute: each answer also says until when it holds, so following the answers covers the ten years
      let minute = FROM;
      while (minute < TO) {
        const state = windowState([window], minute * MINUTE, 'UTC');
        const until = (state.open ? state.closesAt : (state.opensAt ?? Number.POSITIVE_INFINITY)) / MINUTE;
        assert.ok(until > minute && Number.isInteger(until), shown(minute));
        for (let now = minute; now < Math.min(until, TO); now += 1) {
          if (look(now) > 0 !== state.open) assert.equal(state.open, look(now) > 0, shown(now));
        }
        minute = until;
      }
      // and asked directly: on a stride through everything, and at each minute around every clock change
      const minutes: number[] = [];
      for (let now = FROM; now < TO; now += 7_333) minutes.push(now);
      for (const block of changes) {
        const change = FROM - LEAD + block * BLOCK;
        for (let now = change - 30; now < change + 90; now += 3) if (now >= FROM && now < TO) minutes.push(now);
      }
      for (const now of minutes) {
        const state = windowState([window], now * MINUTE, 'UTC');
        const answer = state.open ? 1 + Number(state.mayStart) : 0;
        if (answer !== look(now)) assert.equal(answer, look(now), shown(now));
      }
    }
  });
}
