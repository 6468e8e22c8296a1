// Windows by the nth weekday of a month, days after it, and cron: against the real Patch Tuesdays of 2025 and a calendar by hand.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { type MaintenanceWindow, parseCron, readAuthored } from '#manifests/schema';
import { occurrencesFrom } from './occurrences.ts';
import { sampleWindow } from './sample.ts';
import { momentOf } from './text.ts';
import { purposeState, windowState } from './window.ts';

/** Microsoft's security updates of 2025 came out on these days. */
const PATCH_TUESDAYS = [
  '2025-01-14', '2025-02-11', '2025-03-11', '2025-04-08', '2025-05-13', '2025-06-10',
  '2025-07-08', '2025-08-12', '2025-09-09', '2025-10-14', '2025-11-11', '2025-12-09',
]; // biome-ignore format: a year in two rows

function windowOf(more: Partial<MaintenanceWindow>): MaintenanceWindow {
  const { days: _days, ...rest } = sampleWindow({ start: '02:00', durationMinutes: 120 });
  const made = { ...rest, ...more };
  if (made.cron !== undefined) delete made.start;
  return made;
}

function days(window: MaintenanceWindow, from: string, until: string, hostZone = 'UTC'): string[] {
  const found: string[] = [];
  for (const { opensAt } of occurrencesFrom(window, hostZone, Date.parse(from)) ?? []) {
    if (opensAt >= Date.parse(until)) break;
    found.push(momentOf(opensAt));
  }
  return found;
}

const YEAR = ['2025-01-01T00:00:00Z', '2026-01-01T00:00:00Z'] as const;
const plus = (date: string, count: number) => momentOf(Date.parse(`${date}T02:00:00Z`) + count * 86_400_000);

test('a year of real Patch Tuesdays, and so many days after each', () => {
  for (const offsetDays of [0, 1, 4, 6, 14, -1]) {
    assert.deepEqual(
      days(windowOf({ monthly: { nth: 2, weekday: 'tue', offsetDays } }), ...YEAR),
      PATCH_TUESDAYS.map((date) => plus(date, offsetDays)),
      `Patch Tuesday + ${offsetDays}`,
    );
  }
});

test('the same days by cron', () => {
  assert.deepEqual(
    days(windowOf({ cron: '0 2 * * TUE#2' }), ...YEAR),
    PATCH_TUESDAYS.map((date) => plus(date, 0)),
  );
});

test('9.3 nth weekday + 6 days runs into the next month; a fifth weekday that a month lacks is left out; last is last', () => {
  const late = days(
    windowOf({ monthly: { nth: 'last', weekday: 'tue', offsetDays: 6 } }),
    '2025-03-26T00:00:00Z',
    '2025-06-01T00:00:00Z',
  );
  assert.deepEqual(late, ['2025-03-31T02:00:00Z', '2025-05-05T02:00:00Z']);
  const fifth = days(windowOf({ monthly: { nth: 5, weekday: 'fri', offsetDays: 0 } }), ...YEAR);
  assert.deepEqual(
    fifth.map((one) => one.slice(5, 10)),
    ['01-31', '05-30', '08-29', '10-31'],
  );
});

test('cron: lists, ranges, steps, names, last days, the 29th of February', () => {
  for (const [cron, from, until, expected] of [
    ['30 1 1,15 * *', '2025-01-01T00:00:00Z', '2025-02-01T00:00:00Z', ['2025-01-01T01:30:00Z', '2025-01-15T01:30:00Z']],
    [
      '0 */8 3 1 *',
      '2025-01-01T00:00:00Z',
      '2025-02-01T00:00:00Z',
      ['2025-01-03T00:00:00Z', '2025-01-03T08:00:00Z', '2025-01-03T16:00:00Z'],
    ],
    ['0 2 L feb *', '2025-01-01T00:00:00Z', '2027-01-01T00:00:00Z', ['2025-02-28T02:00:00Z', '2026-02-28T02:00:00Z']],
    ['0 2 * 3 FRIL', '2025-01-01T00:00:00Z', '2026-01-01T00:00:00Z', ['2025-03-28T02:00:00Z']],
    ['0 2 29 2 *', '2025-01-01T00:00:00Z', '2029-01-01T00:00:00Z', ['2028-02-29T02:00:00Z']],
    ['0 2 * * sat-sat,0', '2025-01-03T00:00:00Z', '2025-01-08T00:00:00Z', ['2025-01-04T02:00:00Z', '2025-01-05T02:00:00Z']],
  ] as const) {
    assert.deepEqual(days(windowOf({ cron }), from, until), expected, cron);
  }
  for (const [cron, says] of [
    ['0 2 1 * MON', /write \* for one of them/],
    ['* * * * *', /opens 1440 times a day/],
    ['60 2 * * *', /no minute/],
    ['0 2 * * TUE#6', /no day of the week/],
    ['0 2 30-20 * *', /no day of a month/],
    ['0 2 * *', /five fields/],
  ] as const) {
    const fields = parseCron(cron);
    assert.match('wrong' in fields ? fields.wrong : '', says, cron);
  }
});

test('blackout dates: both days belong to it by the wall clock of the zone, an open window closes when it begins', () => {
  const blackouts = [{ from: '2025-12-24', until: '2025-12-26' }];
  const daily = (zone: string) =>
    windowOf({
      days: ['mon', 'tue', 'wed', 'thu', 'fri', 'sat', 'sun'],
      start: '22:00',
      durationMinutes: 240,
      zone,
      blackouts,
    });
  const berlin = daily('Europe/Berlin');
  assert.deepEqual(days(berlin, '2025-12-23T12:00:00Z', '2025-12-28T00:00:00Z'), [
    '2025-12-23T21:00:00Z',
    '2025-12-27T21:00:00Z',
  ]);
  const open = windowState([berlin], Date.parse('2025-12-23T22:30:00Z'), 'UTC');
  assert.equal(open.open && momentOf(open.closesAt), '2025-12-23T23:00:00Z', 'midnight in Berlin');
  assert.equal(windowState([berlin], Date.parse('2025-12-23T23:30:00Z'), 'UTC').open, false);
  const host = days(daily('host'), '2025-12-23T00:00:00Z', '2025-12-28T00:00:00Z', 'America/New_York');
  assert.deepEqual(host, ['2025-12-23T03:00:00Z', '2025-12-24T03:00:00Z', '2025-12-28T03:00:00Z'].slice(0, 2));
});

test('windows for one purpose: without any for downloads they may happen at any time, reboots follow installing', () => {
  const install = windowOf({ name: 'install', days: ['sun'], purposes: ['install'] });
  const fetch = windowOf({ name: 'fetch', days: ['sat'], purposes: ['download'] });
  const at = Date.parse('2025-01-04T02:30:00Z'); // a Saturday
  const state = (windows: MaintenanceWindow[], purpose: 'download' | 'install' | 'reboot') =>
    purposeState(windows, purpose, at, 'UTC');
  assert.equal(state([install], 'download').open, true);
  assert.equal(state([install, fetch], 'download').name, 'fetch');
  assert.equal(state([install, fetch], 'install').open, false);
  assert.equal(state([install, fetch], 'reboot').name, 'install');
  assert.equal(state([fetch], 'install').name, null, 'nothing is installed without a window for it');
  assert.equal(state([windowOf({ days: ['sat'] })], 'reboot').open, true, 'a window that names no purpose is for all three');
});

test('9.3 zero length, cutoff as long as the window, two kinds at once are refused where they are written', () => {
  const head = 'apiVersion: patchferry/v1\nkind: MaintenanceWindow\nmetadata: {name: w}\nspec:\n  zone: UTC\n';
  for (const [spec, says] of [
    ['  days: [mon]\n  start: "01:00"\n  durationMinutes: 0\n', /spec\.durationMinutes/],
    [
      '  days: [mon]\n  start: "01:00"\n  durationMinutes: 60\n  cutoffMinutes: 60\n',
      /6?.*spec\.cutoffMinutes must be less than durationMinutes/,
    ],
    ['  days: [mon]\n  cron: "0 1 * * *"\n  durationMinutes: 60\n', /exactly one of days, monthly, cron/],
    ['  monthly: {nth: 2, weekday: tue}\n  durationMinutes: 60\n', /spec\.start is missing/],
    ['  cron: "0 1 1 * MON"\n  durationMinutes: 60\n', /spec\.cron names days of the month and days of the week/],
    [
      '  days: [mon]\n  start: "01:00"\n  durationMinutes: 60\n  blackouts: [{from: "2025-02-30", until: "2025-03-01"}]\n',
      /does not exist/,
    ],
    [
      '  days: [mon]\n  start: "01:00"\n  durationMinutes: 60\n  catchUp: sometimes\n',
      /next-window, before-handover, or withinHours/,
    ],
  ] as const) {
    const { problems } = readAuthored(head + spec, 'w.yaml');
    assert.match(problems.map((one) => `${one.line} ${one.field} ${one.says}`).join('\n'), says, spec);
  }
});
