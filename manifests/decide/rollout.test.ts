// Rollouts: the bucket of the field guide by hand, ramps, rings, gates and halts by table, and the promises as properties.
import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { test } from 'node:test';
import * as fc from 'fast-check';
import { rollout as authoredRollout, type Rollout, type SignedRing, type SignedRollout } from '#manifests/schema';
import { fuseState } from './fuse.ts';
import {
  bucketOf,
  gateOpens,
  reachedAfter,
  ringOf,
  shareAt,
  signRollout,
  staggeredStart,
  staggerPlace,
  turnOf,
} from './rollout.ts';

const HOUR = 3_600_000;
const T0 = Date.parse('2026-03-01T00:00:00Z');
const agents = Array.from({ length: 2_000 }, (_, index) => createHash('md5').update(String(index)).digest('hex'));

const ringWith = (more: Partial<SignedRing> = {}): SignedRing => ({
  name: 'all',
  groups: [],
  labels: {},
  afterHours: 0,
  stepped: false,
  ramp: [{ afterHours: 0, percent: 100 }],
  gate: null,
  maxConcurrency: null,
  hosts: null,
  ...more,
});
const signed = (rings: SignedRing[], more: Partial<SignedRollout> = {}): SignedRollout => ({
  name: 'r',
  id: 'r',
  canaries: 'same',
  rings,
  opened: [],
  halted: [],
  fuse: null,
  ...more,
});
const authored = (spec: object): Rollout =>
  authoredRollout.parse({ apiVersion: 'patchferry/v1', kind: 'Rollout', metadata: { name: 'r' }, spec });

test('8.3 the bucket is uint64 of the first 8 bytes of sha256("rollout-v1" ‖ rolloutId ‖ agentId) over 2^64', () => {
  for (const agent of agents.slice(0, 100)) {
    const digest = createHash('sha256')
      .update(Buffer.concat([Buffer.from('rollout-v1'), Buffer.from('web'), Buffer.from(agent)]))
      .digest();
    const exact = Number(digest.readBigUInt64BE() >> 11n) / 2 ** 53;
    assert.equal(bucketOf('web', agent), exact);
    assert.ok(exact >= 0 && exact < 1);
  }
  assert.equal(bucketOf('web', '0'.repeat(32)).toFixed(12), '0.951180672309', 'a vector for other implementations');
});

test('ramps: linear between points, stepped at them, nobody before the first', () => {
  const ramp = [
    { afterHours: 6, percent: 10 },
    { afterHours: 16, percent: 60 },
    { afterHours: 26, percent: 100 },
  ];
  for (const [hours, linear, stepped] of [
    [5.9, 0, 0],
    [6, 0.1, 0.1],
    [11, 0.35, 0.1],
    [16, 0.6, 0.6],
    [21, 0.8, 0.6],
    [26, 1, 1],
    [900, 1, 1],
  ] as const) {
    assert.equal(shareAt({ ramp, stepped: false }, hours * HOUR).toFixed(9), linear.toFixed(9), `${hours} h`);
    assert.equal(shareAt({ ramp, stepped: true }, hours * HOUR), stepped, `${hours} h, stepped`);
  }
});

const anyRamp = fc
  .array(fc.tuple(fc.integer({ min: 0, max: 400 }), fc.integer({ min: 0, max: 100 })), { minLength: 1, maxLength: 6 })
  .map((points) => {
    const hours = [...new Set(points.map(([hour]) => hour))].toSorted((a, b) => a - b);
    const percents = points.map(([, percent]) => percent).toSorted((a, b) => a - b);
    return hours.map((afterHours, index) => ({ afterHours, percent: percents[index] ?? 100 }));
  });

test('property: a rollout never un-selects a host as the ramp grows, and says to the second when its turn is', () => {
  fc.assert(
    fc.property(
      anyRamp,
      fc.boolean(),
      fc.constantFrom(...agents),
      fc.array(fc.integer({ min: 0, max: 500 * 3_600 }), { maxLength: 20 }),
      (ramp, stepped, agent, seconds) => {
        const ring = ringWith({ ramp, stepped });
        const bucket = bucketOf('r', agent);
        const reached = reachedAfter(ring, bucket);
        let chosen = false;
        for (const second of seconds.toSorted((a, b) => a - b)) {
          const now = shareAt(ring, second * 1_000) > bucket;
          assert.ok(now || !chosen, 'chosen once, chosen for good');
          chosen = now;
          assert.equal(now, reached !== null && second * 1_000 >= reached);
        }
      },
    ),
    { numRuns: 1_000 },
  );
});

test('property: signing anew never un-selects a host: rings stay open, the order stays', () => {
  const spec = authored({
    rings: [
      { name: 'canary', labels: { canary: 'yes' } },
      {
        name: 'rest',
        gate: { minHosts: 2 },
        ramp: [
          { afterHours: 0, percent: 20 },
          { afterHours: 10, percent: 100 },
        ],
      },
    ],
  });
  const step = fc.record({
    hours: fc.integer({ min: 0, max: 30 }),
    installed: fc.integer({ min: 0, max: 5 }),
    failed: fc.integer({ min: 0, max: 5 }),
  });
  fc.assert(
    fc.property(fc.array(step, { minLength: 1, maxLength: 8 }), (steps) => {
      let before: SignedRollout | undefined;
      let at = T0;
      const chosen = new Set<string>();
      for (const { hours, installed, failed } of steps) {
        at += hours * HOUR;
        before = signRollout(
          spec,
          before,
          { figures: [{ patch: 'a@2', ring: 'canary', installed, failed }], since: new Map([['a@2', T0]]) },
          at,
        );
        for (const agent of agents.slice(0, 50)) {
          const { now } = turnOf(before, { agent }, 'a@2', T0, at);
          assert.ok(now || !chosen.has(agent));
          if (now) chosen.add(agent);
        }
      }
    }),
    { numRuns: 200 },
  );
});

test('another id is another order; by-patch gives each patch its own canaries; the share is what was asked for', () => {
  const first = (id: string) => new Set(agents.filter((agent) => bucketOf(id, agent) < 0.1));
  const [one, other] = [first('march'), first('april')];
  const both = [...one].filter((agent) => other.has(agent)).length;
  assert.ok(one.size > 150 && one.size < 250 && both < 50, `${one.size} and ${both}`);
  const rollout = signed([ringWith({ ramp: [{ afterHours: 0, percent: 10 }] })], { canaries: 'by-patch' });
  const early = (patch: string) => agents.filter((agent) => turnOf(rollout, { agent }, patch, T0, T0).now).length;
  const together = agents.filter((agent) =>
    ['a@2', 'b@2'].every((patch) => turnOf(rollout, { agent }, patch, T0, T0).now),
  ).length;
  assert.ok(early('a@2') > 150 && together < 50);
});

test('rings by group and label: a host is in the first that takes it; one that none takes never gets a turn', () => {
  const rollout = signed([
    ringWith({ name: 'canary', labels: { ring: 'canary*' } }),
    ringWith({ name: 'servers', groups: ['servers'], afterHours: 24 }),
  ]);
  assert.equal(ringOf(rollout, { agent: 'x', group: 'servers', labels: { ring: 'canary-1' } })?.name, 'canary');
  assert.equal(ringOf(rollout, { agent: 'x', group: 'servers', labels: {} })?.name, 'servers');
  const none = turnOf(rollout, { agent: 'x', group: 'desks' }, 'a@2', T0, T0 + 900 * HOUR);
  assert.deepEqual([none.now, none.at], [false, null]);
  assert.match(none.says, /no ring of rollout r takes this host/);
  const later = turnOf(rollout, { agent: 'x', group: 'servers' }, 'a@2', T0, T0);
  assert.equal(later.at, T0 + 24 * HOUR);
});

test('Action1 gate: success rate, count and soak of the ring before; decided at signing', () => {
  const gate = { minSuccessPercent: 70, minHosts: 3, soakHours: 48 };
  const at = T0 + 10 * HOUR;
  const shown = (installed: number, failed: number) => ({ patch: 'a@2', ring: 'canary', installed, failed });
  for (const [says, figures, opened, now, expected] of [
    ['nothing reported', undefined, T0, at, null],
    ['too few', shown(2, 0), T0, at, null],
    ['too many failed', shown(6, 3), T0, at, null],
    ['exactly 70 %', shown(7, 3), T0, at, T0 + 48 * HOUR],
    ['soaked already', shown(7, 0), T0, T0 + 60 * HOUR, T0 + 60 * HOUR],
    ['the ring before is not open', shown(7, 0), null, at, null],
    ['the ring before opens later', shown(7, 0), at + HOUR, at, null],
  ] as const) {
    assert.equal(gateOpens(gate, figures, opened, now), expected, says);
  }
});

test('a gated ring stays shut until it is signed open, and a halt stops every host that has not had it yet', () => {
  const spec = authored({
    rings: [
      { name: 'canary', labels: { c: 'y' } },
      { name: 'rest', gate: { minHosts: 1 } },
    ],
  });
  const since = new Map([['a@2', T0]]);
  const first = signRollout(spec, undefined, { figures: [], since }, T0);
  const host = { agent: agents[0] ?? '' };
  assert.match(
    turnOf(first, host, 'a@2', T0, T0 + 99 * HOUR).says,
    /opens once ring canary has shown it on 1 hosts, 70 % of the tries/,
  );
  const figures = [{ patch: 'a@2', ring: 'canary', installed: 3, failed: 0 }];
  const second = signRollout(spec, first, { figures, since }, T0 + 5 * HOUR);
  assert.deepEqual(second.opened, [{ ring: 'rest', patch: 'a@2', at: '2026-03-01T05:00:00Z' }]);
  assert.equal(turnOf(second, host, 'a@2', T0, T0 + 5 * HOUR).now, true);
  const stop = { ...spec, spec: { ...spec.spec, halt: [{ patch: 'a@2', reason: 'breaks printing' }] } };
  const third = signRollout(stop, second, { figures, since }, T0 + 6 * HOUR);
  const fourth = signRollout(stop, third, { figures, since }, T0 + 7 * HOUR);
  assert.equal(fourth.halted[0]?.at, '2026-03-01T06:00:00Z', 'since when it is halted stays');
  const halted = turnOf(fourth, host, 'a@2', T0, T0 + 8 * HOUR);
  assert.deepEqual([halted.now, halted.at], [false, null]);
  assert.match(halted.says, /halted for it since 2026-03-01T06:00:00Z: breaks printing/);
  const resumed = signRollout(spec, fourth, { figures, since }, T0 + 9 * HOUR);
  assert.equal(turnOf(resumed, host, 'a@2', T0, T0 + 9 * HOUR).now, true);
});

test('a smaller ring at a site: of what the ramp gives, a part', () => {
  const rollout = signed([ringWith({ ramp: [{ afterHours: 0, percent: 50 }] })]);
  const count = (percent: number) => agents.filter((agent) => turnOf(rollout, { agent }, 'a@2', T0, T0, percent).now).length;
  assert.ok(Math.abs(count(100) - 1_000) < 100 && Math.abs(count(20) - 200) < 60);
});

test('maximum concurrency staggers the starts of a ring over the window, and never past its cutoff', () => {
  const window = { opensAt: T0, startsUntil: T0 + 4 * HOUR };
  const ring = ringWith({ maxConcurrency: { hosts: 100 }, hosts: 800 });
  const turns = new Map<number, number>();
  for (const agent of agents.slice(0, 800)) {
    const start = staggeredStart(ring, staggerPlace(ring, agent), window, HOUR / 2);
    assert.ok(start >= window.opensAt && start < window.startsUntil);
    turns.set(start, (turns.get(start) ?? 0) + 1);
  }
  assert.equal(turns.size, 8);
  for (const count of turns.values()) assert.ok(count > 60 && count < 150, String(count));
  assert.equal(staggeredStart(ringWith(), 0.9, window, HOUR), T0, 'no limit: at once');
});

test('9.8 fuse: two failures of ten with a limit of one trip it; with two they do not, nor too few reports', () => {
  const reports = agents.slice(0, 10).map((agent, index) => ({ agent, at: T0 + index * 60_000, ok: index > 1 }));
  const fuse = { withinHours: 24, minReports: 5, maxFailures: { hosts: 1 }, scope: 'site' as const };
  assert.equal(fuseState(fuse, reports, T0 + HOUR).tripped, true);
  assert.equal(fuseState({ ...fuse, maxFailures: { hosts: 2 } }, reports, T0 + HOUR).tripped, false);
  assert.equal(fuseState({ ...fuse, minReports: 11 }, reports, T0 + HOUR).tripped, false);
  assert.equal(fuseState({ ...fuse, maxFailures: { percent: 20 } }, reports, T0 + HOUR).tripped, false, 'exactly so many');
  assert.equal(fuseState(fuse, reports, T0 + 48 * HOUR).tripped, false, 'long ago');
  const mended = [...reports, ...reports.slice(0, 2).map((one) => ({ ...one, at: T0 + HOUR, ok: true }))];
  assert.equal(fuseState(fuse, mended, T0 + HOUR).tripped, false, 'the last report of a host counts');
});
