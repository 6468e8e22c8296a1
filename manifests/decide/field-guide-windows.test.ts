// AWS SSM's maintenance windows (field guide 1.8), a test for every row that the other tests of this folder do not name, and traps
// that concern decisions.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { maintenanceWindow, type SignedRing } from '#manifests/schema';
import { evaluate, fuseState, runWindow, scheduleOf, siteRules, staggeredStart, turnOf } from './index.ts';
import { sampleGroup, sampleInput, samplePatch, sampleWindow } from './sample.ts';
import { purposeState, windowState } from './window.ts';

const HOUR = 3_600_000;
const at = (text: string) => Date.parse(text);
const SUNDAY = at('2026-03-01T02:30:00Z');
const A = samplePatch('a@1.1');
const refused = (more: object) => !maintenanceWindow.safeParse(sampleWindow(more)).success;

test('1.8 Schedule: cron, weekdays and the nth weekday; rate(…) and at(…) are refused, for neither can be foreseen by a host', () => {
  const { days: _days, start: _start, ...rest } = sampleWindow();
  assert.ok(maintenanceWindow.safeParse({ ...rest, cron: '0 2 * * SUN' }).success);
  for (const cron of ['rate(7 days)', 'at(2026-03-01T02:00:00)', 'cron(0 2 ? * SUN *)', '@weekly'])
    assert.equal(maintenanceWindow.safeParse({ ...rest, cron }).success, false, cron);
});

test('1.8 ScheduleTimezone: UTC, an IANA name, or the host’s own, and always written', () => {
  const { zone: _zone, ...without } = sampleWindow();
  assert.equal(maintenanceWindow.safeParse(without).success, false, 'no silent UTC');
  for (const zone of ['UTC', 'Europe/Berlin', 'host']) assert.ok(!refused({ zone }), zone);
  for (const zone of ['CET+1', '+02:00', 'local']) assert.ok(refused({ zone }), zone);
});

test('1.8 StartDate and EndDate: moments with an offset, whatever the zone of the window', () => {
  const bounded = sampleWindow({
    days: ['sun'],
    zone: 'Pacific/Auckland',
    validFrom: '2026-03-01T00:00:00Z',
    validUntil: '2026-03-20T00:00:00Z',
  });
  assert.equal(windowState([bounded], at('2026-02-22T12:00:00Z'), 'UTC').opensAt, at('2026-03-07T13:00:00Z'));
  assert.equal(windowState([bounded], at('2026-03-21T00:00:00Z'), 'UTC').opensAt, null);
  assert.ok(refused({ validFrom: '2026-03-01T00:00:00' }), 'a moment without an offset is none (trap 29)');
});

test('1.8 Duration: a minute to a week; Cutoff: less than the duration, also none', () => {
  for (const durationMinutes of [1, 1_440, 10_080]) assert.ok(!refused({ durationMinutes, cutoffMinutes: 0 }));
  for (const durationMinutes of [0, 10_081, 1.5]) assert.ok(refused({ durationMinutes }));
  assert.ok(refused({ durationMinutes: 60, cutoffMinutes: 60 }));
  assert.ok(!refused({ durationMinutes: 60, cutoffMinutes: 59 }));
});

test('1.8 ScheduleOffset: days after the nth weekday, and days before it too; further than two weeks is refused', () => {
  const { days: _days, ...rest } = sampleWindow();
  const monthly = (offsetDays: number) => ({ ...rest, monthly: { nth: 3, weekday: 'tue', offsetDays } });
  const window = maintenanceWindow.parse(monthly(2));
  assert.equal(windowState([window], at('2026-03-01T00:00:00Z'), 'UTC').opensAt, at('2026-03-19T02:00:00Z'), 'TUE#3 + 2');
  for (const days of [15, -15]) assert.equal(maintenanceWindow.safeParse(monthly(days)).success, false);
});

test('1.8 CutoffBehavior: what runs goes on to the end of the window, nothing new begins (CONTINUE_TASK)', () => {
  const group = sampleGroup({ windows: [sampleWindow({ days: ['sun'], cutoffMinutes: 60 })] });
  const state = (moment: number) => {
    const input = sampleInput([A], ['a=1.0'], { group, at: moment });
    return runWindow(scheduleOf(input), 'window', 'install');
  };
  const before = state(at('2026-03-01T02:59:59Z'));
  const after = state(at('2026-03-01T03:00:00Z'));
  assert.deepEqual([before.open && before.mayStart, after.open && after.mayStart, after.open], [true, false, true]);
  assert.equal(state(at('2026-03-01T04:00:00Z')).open, false);
});

test('1.8 Priority: emergencies and what is overdue come first when not everything fits', () => {
  const group = sampleGroup({
    windows: [sampleWindow({ days: ['sun'] })],
    reserve: { floorMinutes: 0, rebootMinutes: 0, verifyMinutes: 0 },
    timings: ['a@1.1', 'b@1.1'].map((patch) => ({ patch, seconds: 3_000, runs: 9 })),
  });
  const rules = [
    { name: 'b', filters: { name: ['b'] }, approve: { afterDays: 0 }, urgency: 'emergency' },
    { name: 'a', filters: { name: ['a'] }, approve: { afterDays: 0 } },
  ];
  const input = sampleInput([A, samplePatch('b@1.1')], ['a=1.0', 'b=1.0'], { group, at: SUNDAY, spec: { rules } });
  assert.deepEqual(evaluate(input).install, ['b@1.1']);
});

test('1.8 MaxConcurrency: n or n % of a ring at once, by starts that are spread over the window', () => {
  const window = { opensAt: 0, startsUntil: 4 * HOUR };
  const starts = (limit: SignedRing['maxConcurrency'], hosts: number | null) =>
    new Set(
      Array.from({ length: 1_000 }, (_, index) =>
        staggeredStart({ maxConcurrency: limit, hosts }, index / 1_000, window, HOUR / 2),
      ),
    ).size;
  assert.equal(starts({ percent: 50 }, null), 2);
  assert.equal(starts({ percent: 25 }, null), 4);
  assert.equal(starts({ hosts: 250 }, 1_000), 4);
  assert.equal(starts(null, 1_000), 1);
  assert.equal(starts({ hosts: 1 }, 1_000), 8, 'never past the cutoff: then more run together');
});

for (const [row, nodes, limit, errors] of [
  ['fewer than 25 nodes', 24, { hosts: 1 }, 1],
  ['25 to 100 nodes', 100, { hosts: 5 }, 5],
  ['101 to 1000 nodes', 1_000, { hosts: 10 }, 10],
  ['a share', 200, { percent: 5 }, 10],
] as const) {
  test(`1.8 MaxErrors, ${row}: stops on the error after the last that is let pass`, () => {
    const fuse = { withinHours: 24, minReports: 1, maxFailures: limit, scope: 'group' as const };
    const reports = (failed: number) =>
      Array.from({ length: nodes }, (_, index) => ({ agent: `h${index}`, at: SUNDAY - HOUR, ok: index >= failed }));
    assert.equal(fuseState(fuse, reports(errors), SUNDAY).tripped, false);
    assert.equal(fuseState(fuse, reports(errors + 1), SUNDAY).tripped, true);
  });
}

test('1.8 Overlap: two windows that overlap are one time in which the host may change, never two runs', () => {
  const windows = [sampleWindow({ name: 'one', days: ['sun'] }), sampleWindow({ name: 'two', days: ['sun'], start: '03:00' })];
  const state = windowState(windows, at('2026-03-01T03:30:00Z'), 'UTC');
  assert.ok(state.open && state.name === 'two', 'the one that stays open longest');
  const group = sampleGroup({ windows, reserve: { floorMinutes: 100, rebootMinutes: 0, verifyMinutes: 0 } });
  const input = sampleInput([A], ['a=1.0'], { group, at: at('2026-03-01T03:00:00Z') });
  assert.equal(evaluate(input).next.action, 'install', 'what is left of both together is what counts');
});

test('1.8 Patch now: there is none beside policy; what presses is an emergency of a rule, in windows of its own', () => {
  const group = sampleGroup({
    windows: [sampleWindow({ days: ['wed'] })],
    emergencyWindows: [sampleWindow({ name: 'now', days: ['sun'] })],
  });
  const rules = (urgency: string) => [{ name: 'r', filters: {}, approve: { afterDays: 30 }, urgency }];
  const decide = (urgency: string) =>
    evaluate(sampleInput([A], ['a=1.0'], { group, at: SUNDAY, spec: { rules: rules(urgency) } }));
  assert.deepEqual([decide('emergency').lane, decide('emergency').next.action], ['emergency', 'install']);
  assert.notEqual(decide('normal').next.action, 'install');
});

test('trap 6: the window of a run is asked by the right it went in: emergency, deadline, or the ordinary windows', () => {
  const group = sampleGroup({
    windows: [sampleWindow({ days: ['wed'] })],
    emergencyWindows: [sampleWindow({ name: 'now', days: ['sun'] })],
  });
  const ask = (lane: 'window' | 'emergency' | 'deadline', purpose: 'install' | 'reboot', moment = SUNDAY) =>
    runWindow(scheduleOf(sampleInput([A], ['a=1.0'], { group, at: moment })), lane, purpose).open;
  assert.deepEqual([ask('window', 'install'), ask('emergency', 'install'), ask('deadline', 'install')], [false, true, true]);
  assert.deepEqual([ask('window', 'reboot'), ask('emergency', 'reboot'), ask('deadline', 'reboot')], [false, true, false]);
  assert.equal(ask('emergency', 'install', at('2026-03-01T04:00:00Z')), false, 'and over when that is over');
});

test('trap 6: a choice of the owner and a site’s windows bound a run that has begun as they bound its beginning', () => {
  const windows = [sampleWindow({ name: 'sun', days: ['sun'] }), sampleWindow({ name: 'wed', days: ['wed'] })];
  const group = sampleGroup({ windows, ownerChoice: { windows: ['sun', 'wed'], deferDays: 0 } });
  const input = sampleInput([A], ['a=1.0'], { group, at: SUNDAY });
  const open = (more: object) => runWindow({ ...scheduleOf(input), ...more }, 'window', 'install').open;
  assert.equal(open({}), true);
  assert.equal(open({ choice: { window: 'wed', deferUntil: null } }), false);
  const none = siteRules(null, { agent: '' }, SUNDAY);
  assert.equal(open({ site: { ...none, limits: [sampleWindow({ days: ['mon'] })] } }), false);
});

test('trap 30: no wake storm: hosts of a ring start at moments that their ids give, the same every time', () => {
  const ring = { maxConcurrency: { percent: 10 }, hosts: null };
  const window = { opensAt: 0, startsUntil: 12 * HOUR };
  const counts = new Map<number, number>();
  for (let index = 0; index < 5_000; index += 1) {
    const start = staggeredStart(ring, (index * 0.618_033_988_75) % 1, window, HOUR);
    counts.set(start, (counts.get(start) ?? 0) + 1);
  }
  assert.equal(counts.size, 10);
  for (const count of counts.values()) assert.ok(count > 450 && count < 550, String(count));
});

test('8.3 a ring by group takes the hosts of that group when starts are spread too', () => {
  const ring: SignedRing = {
    name: 'first',
    groups: ['servers'],
    labels: {},
    afterHours: 0,
    ramp: [{ afterHours: 0, percent: 100 }],
    stepped: true,
    gate: null,
    maxConcurrency: { hosts: 1 },
    hosts: 1_000_000_000,
  };
  const rollout = { name: 'r', id: 'r', canaries: 'same' as const, rings: [ring], opened: [], halted: [], fuse: null };
  const group = sampleGroup({
    windows: [sampleWindow({ days: ['sun'] })],
    rollout,
    reserve: { floorMinutes: 1, rebootMinutes: 0, verifyMinutes: 0 },
  });
  const who = { agent: 'a'.repeat(32) };
  assert.equal(turnOf(rollout, { ...who, group: 'servers' }, 'a@1.1', 0, SUNDAY).now, true);
  const { next } = evaluate(sampleInput([A], ['a=1.0'], { group, who, at: at('2026-03-01T02:00:00Z') }));
  assert.deepEqual([next.action, /ring first does not start at once/.test(next.says)], ['wait', true]);
});

test('downloads wait for a window only where one names them; an emergency fetches what it needs', () => {
  const named = [sampleWindow({ days: ['sun'] }), sampleWindow({ name: 'fetch', days: ['mon'], purposes: ['download'] })];
  assert.equal(purposeState([sampleWindow({ days: ['wed'] })], 'download', SUNDAY, 'UTC').open, true);
  assert.equal(purposeState(named, 'download', SUNDAY, 'UTC').open, false);
  const rules = (urgency: string) => [{ name: 'r', filters: {}, approve: { afterDays: 0 }, urgency }];
  const may = (urgency: string) => {
    const group = sampleGroup({
      windows: [...named.slice(1), sampleWindow({ name: 'wed', days: ['wed'] })],
      emergencyWindows: [sampleWindow({ name: 'now', days: ['sun'] })],
    });
    return evaluate(sampleInput([A], ['a=1.0'], { group, at: SUNDAY, spec: { rules: rules(urgency) } })).mayDownload;
  };
  assert.deepEqual([may('normal'), may('emergency')], [false, true]);
});
