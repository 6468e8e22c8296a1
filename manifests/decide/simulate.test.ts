// The fleet simulation: small cases by hand, against the decision of single hosts, and its counts.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { Group } from '#manifests/schema';
import { evaluate } from './evaluate.ts';
import { generatedFleet } from './generated-fleet.ts';
import { NO_SITE } from './overlay.ts';
import { PRODUCT, sampleGroup, sampleInput, samplePatch, sampleWindow } from './sample.ts';
import { simulateFleet } from './simulate.ts';
import type { SimHost } from './simulation.ts';
import { momentOf } from './text.ts';

const FROM = Date.parse('2026-03-01T00:00:00Z');
const DAY = 86_400_000;
const DAILY = ['mon', 'tue', 'wed', 'thu', 'fri', 'sat', 'sun'] as const;
const night = sampleWindow({ days: [...DAILY], start: '02:00', durationMinutes: 180, zone: 'host' });
const host = (index: number, more: Partial<SimHost> = {}): SimHost => ({
  agent: index.toString(16).padStart(32, '0'),
  group: 'servers',
  site: 'north',
  zone: 'UTC',
  product: PRODUCT,
  ...more,
});
const ring = { groups: [], labels: {}, afterHours: 0, stepped: false, gate: null, maxConcurrency: null, hosts: null };
const ROLLOUT: NonNullable<Group['rollout']> = {
  name: 'r',
  id: 'r',
  canaries: 'same',
  opened: [],
  halted: [],
  fuse: null,
  rings: [
    {
      ...ring,
      name: 'all',
      ramp: [
        { afterHours: 0, percent: 0 },
        { afterHours: 240, percent: 100 },
      ],
    },
  ],
};

test('a host installs in the first window after the approval, by its own clock', () => {
  const policy = {
    groups: new Map([['servers', sampleGroup({ windows: [night] })]]),
    releases: [{ patch: 'a@2', product: PRODUCT, approvedAt: FROM + 3 * 3_600_000 }],
  };
  const hosts = [host(1), host(2, { site: 'south', zone: 'Asia/Kathmandu' }), host(3, { group: 'nobody' })];
  const result = simulateFleet(policy, hosts, { from: FROM, days: 3 });
  assert.deepEqual([result.hosts, result.installs, result.neverInWindow], [3, 2, 1]);
  assert.equal(momentOf(result.patches[0]?.first ?? 0), '2026-03-01T03:00:00Z', 'the window of UTC is open then');
  assert.equal(momentOf(result.patches[0]?.last ?? 0), '2026-03-01T20:15:00Z', '02:00 in Kathmandu');
  assert.equal(result.patches[0]?.left, 1);
  assert.deepEqual(
    result.sites.map(({ site, hosts: count, peak }) => [site, count, momentOf(peak.at)]),
    [
      ['north', 2, '2026-03-01T03:00:00Z'],
      ['south', 1, '2026-03-01T20:15:00Z'],
    ],
  );
});

test('deadlines missed, collisions at a site, clock changes: all are told', () => {
  const window = sampleWindow({ days: ['sun'], start: '02:30', zone: 'host' });
  const policy = {
    groups: new Map([['servers', sampleGroup({ windows: [window] })]]),
    releases: [
      {
        patch: 'a@2',
        product: PRODUCT,
        approvedAt: Date.parse('2026-03-23T00:00:00Z'),
        deadline: Date.parse('2026-03-25T00:00:00Z'),
      },
    ],
  };
  const hosts = Array.from({ length: 12 }, (_, index) => host(index, { zone: 'Europe/Berlin' }));
  const result = simulateFleet(policy, hosts, { from: FROM, days: 40, siteLimit: 10 });
  assert.equal(result.patches[0]?.missedDeadline, 12);
  assert.deepEqual(
    result.collisions.map((one) => [one.kind, one.name, momentOf(one.from), one.hosts, one.limit]),
    [['site', 'north', '2026-03-29T01:00:00Z', 12, 10]],
  );
  assert.match(result.notes.join(), /2026-03-29T02:30 Europe\/Berlin does not exist/);
  const atOnce = { ...policy, groups: new Map([['servers', sampleGroup({ windows: [window], afterDeadline: 'at-once' })]]) };
  assert.equal(simulateFleet(atOnce, hosts, { from: FROM, days: 40 }).patches[0]?.missedDeadline, 0);
});

test('the simulation says of each host what the host itself decides', () => {
  const approvedAt = FROM;
  const group = sampleGroup({ windows: [night], rollout: ROLLOUT });
  const policy = { groups: new Map([['servers', group]]), releases: [{ patch: 'a@1.1', product: PRODUCT, approvedAt }] };
  for (let index = 0; index < 25; index += 1) {
    const one = host(index * 7_919, { zone: 'Australia/Lord_Howe' });
    const [figures] = simulateFleet(policy, [one], { from: FROM, days: 20 }).patches;
    const start = figures?.first ?? 0;
    const decide = (at: number) => {
      const input = sampleInput([samplePatch('a@1.1', { firstSeen: momentOf(approvedAt) })], ['a=1'], {
        at,
        group,
        who: { agent: one.agent },
        host: { zone: one.zone },
      });
      return evaluate(input).next.action;
    };
    assert.equal(decide(start), 'install', momentOf(start));
    assert.notEqual(decide(start - 60_000), 'install', momentOf(start));
  }
});

test('the same fleet gives the same counts; every wanted patch is installed or left', () => {
  const policy = {
    groups: new Map([['servers', sampleGroup({ windows: [night], rollout: ROLLOUT })]]),
    releases: [0, 3, 9].map((day) => ({
      patch: `a@${day}`,
      product: PRODUCT,
      approvedAt: FROM + day * DAY,
      emergency: day === 3,
    })),
  };
  const run = () =>
    simulateFleet(policy, generatedFleet(500, { sites: 7, groups: ['servers'], product: PRODUCT }), { from: FROM, days: 14 });
  const result = run();
  assert.deepEqual(result, run());
  for (const one of result.patches) assert.equal(one.installed + one.left, one.hosts);
  assert.equal(
    result.sites.reduce((sum, site) => sum + site.installs, 0),
    result.installs,
  );
  assert.ok((result.patches[1]?.ninety ?? 0) < FROM + 4.5 * DAY, 'an emergency is in everywhere within the next night');
  assert.ok((result.patches[2]?.left ?? 0) > 0, 'a ramp of ten days is not over after five');
});

test('what a single host may differ in: emergency windows, its owner’s choice, sleep, halts, its site, its own lists', () => {
  const HOUR = 3_600_000;
  const weekly = sampleWindow({ name: 'sunday', days: ['sun'], start: '02:00', durationMinutes: 180, zone: 'UTC' });
  const wednesday = sampleWindow({ name: 'wednesday', days: ['wed'], start: '02:00', durationMinutes: 180, zone: 'UTC' });
  const nightly = sampleWindow({ name: 'nightly', days: [...DAILY], start: '22:00', durationMinutes: 60, zone: 'UTC' });
  const from = Date.parse('2026-03-02T00:00:00Z'); // a Monday
  const choose = { ownerChoice: { windows: ['sunday', 'wednesday'], deferDays: 10 } };
  const patch = samplePatch('a@1.1');
  const startOf = (
    one: Partial<SimHost>,
    over: { group?: Partial<Group>; emergency?: boolean; halts?: 'day' | 'good'; reject?: boolean } = {},
  ) => {
    const group = sampleGroup({ windows: [wednesday, weekly], ...over.group });
    const halt = {
      schema: 'patchferry/halt' as const,
      schemaVersion: 1 as const,
      name: 'h',
      signedAt: momentOf(from),
      scope: {},
      patches: ['a'],
      stops: ['install' as const],
      reason: 'x',
      until: over.halts === 'day' ? momentOf(from + 3 * DAY) : null,
    };
    const rules = { ...NO_SITE, site: 'north', rejects: () => 'a' };
    const policy = {
      groups: new Map([['servers', group]]),
      releases: [{ patch: 'a@1.1', product: PRODUCT, approvedAt: from, emergency: over.emergency === true, about: patch }],
      ...(over.halts === undefined ? {} : { halts: [halt] }),
      ...(over.reject === true ? { sites: new Map([['north', rules]]) } : {}),
    };
    let told: number | null | undefined;
    const [figures] = simulateFleet(policy, [host(1, one)], {
      from,
      days: 14,
      visit: (_host, _release, start) => void (told = start),
    }).patches;
    assert.equal(told ?? null, figures?.first ?? null);
    return told === null || told === undefined ? null : momentOf(told);
  };
  const WEDNESDAY = '2026-03-04T02:00:00Z';
  const SUNDAY = '2026-03-08T02:00:00Z';
  assert.equal(startOf({}), WEDNESDAY);
  assert.equal(startOf({}, { emergency: true, group: { emergencyWindows: [nightly] } }), '2026-03-02T22:00:00Z');
  assert.equal(startOf({}, { group: { emergencyWindows: [nightly] } }), WEDNESDAY, 'it opens for emergencies alone');
  assert.equal(startOf({ choice: { window: 'sunday', deferUntil: null } }, { group: choose }), SUNDAY);
  assert.equal(
    startOf({ choice: { window: 'sunday', deferUntil: null } }),
    WEDNESDAY,
    'a choice nobody offers changes nothing',
  );
  assert.equal(startOf({ choice: { window: null, deferUntil: from + 4 * DAY } }, { group: choose }), SUNDAY);
  const asleep = { since: from, wokeAt: from + 3 * DAY + 5 * HOUR };
  assert.equal(startOf({ asleep }), SUNDAY, 'it slept through Wednesday');
  const makesUp = { windows: [{ ...wednesday, catchUp: { withinHours: 6 } }, weekly] };
  assert.equal(startOf({ asleep }, { group: makesUp }), '2026-03-05T05:00:00Z', 'and makes up for it as it wakes');
  assert.equal(startOf({}, { halts: 'day' }), SUNDAY);
  assert.equal(startOf({}, { halts: 'good' }), null);
  assert.equal(startOf({}, { reject: true }), null);
  assert.equal(startOf({ lists: ['other'] }), null, 'a release of another list is not about it');
});
