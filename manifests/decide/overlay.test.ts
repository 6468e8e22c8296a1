// Site overlays: each bound by table, and over random policies: an overlay never lets anything happen that would not happen without.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import * as fc from 'fast-check';
import { type Group, SITE_POWERS, type SignedDelegation, type SignedOverlay, WEEKDAYS } from '#manifests/schema';
import { evaluate } from './evaluate.ts';
import { siteRules } from './overlay.ts';
import { sampleGroup, sampleInput, samplePatch, sampleWindow } from './sample.ts';

const NOW = Date.parse('2026-03-01T12:00:00Z');
const WHO = { agent: 'a'.repeat(32), site: 'ship', labels: { deck: 'two' } };
const HOOK = { name: 'horn', at: 'before' as const, command: ['/bin/horn'], timeoutSeconds: 5 };

const delegation = (more: Partial<SignedDelegation> = {}): SignedDelegation => ({
  schema: 'patchferry/site-delegation',
  schemaVersion: 1,
  site: 'ship',
  signedAt: '2026-01-01T00:00:00Z',
  keys: ['0'.repeat(64)],
  until: '2027-01-01T00:00:00Z',
  may: [...SITE_POWERS],
  maxDelayDays: 7,
  minRingPercent: 20,
  hooks: [HOOK],
  ...more,
});
const overlay = (more: Partial<SignedOverlay> = {}): SignedOverlay => ({
  schema: 'patchferry/site-overlay',
  schemaVersion: 1,
  site: 'ship',
  signedAt: '2026-02-01T00:00:00Z',
  reason: '',
  labels: {},
  windows: [],
  blackouts: [],
  reject: [],
  delayDays: 0,
  ringPercent: null,
  hooks: [],
  ...more,
});

test('8.10 what widens is refused, naming the bound; the rest of the overlay counts', () => {
  const everything = {
    windows: [sampleWindow()],
    reject: ['a'],
    delayDays: 3,
    ringPercent: 50,
    hooks: ['horn'],
  };
  const rows: readonly (readonly [string, Partial<SignedDelegation>, Partial<SignedOverlay>, readonly string[]])[] = [
    ['within bounds', {}, everything, []],
    ['a longer delay', {}, { delayDays: 8 }, ['maxDelayDays']],
    ['a smaller ring than must stay', {}, { ringPercent: 10 }, ['minRingPercent']],
    ['a hook of its own', {}, { hooks: ['rm'] }, ['hooks']],
    ['no power at all', { may: [] }, everything, ['may', 'may', 'may', 'may', 'may']],
    ['delegation ended', { until: '2026-03-01T12:00:00Z' }, everything, ['until']],
    ['delegation of another site', { site: 'port' }, everything, ['site']],
  ];
  for (const [what, bounds, does, refused] of rows) {
    const rules = siteRules({ delegation: delegation(bounds), overlay: overlay(does) }, WHO, NOW);
    assert.deepEqual(
      rules.refused.map(({ bound }) => bound),
      refused,
      what,
    );
    if (refused.length > 0 && what !== 'within bounds')
      assert.deepEqual([rules.delayMs, rules.limits, rules.hooks], [0, [], []], what);
  }
  const said = siteRules({ delegation: delegation(), overlay: overlay({ delayDays: 8, reject: ['a'] }) }, WHO, NOW);
  assert.match(said.refused[0]?.says ?? '', /site ship: a delay of 8 days is more than the 7 allowed/);
  assert.equal(said.rejects(samplePatch('a@1')), 'a', 'the rest counts');
});

test('an overlay is for the hosts of its site with its labels alone', () => {
  const input = { delegation: delegation(), overlay: overlay({ reject: ['*'], labels: { deck: 'two' } }) };
  assert.equal(siteRules(input, WHO, NOW).rejects(samplePatch('a@1')), '*');
  assert.equal(siteRules(input, { ...WHO, site: 'port' }, NOW).rejects(samplePatch('a@1')), null);
  assert.equal(siteRules(input, { ...WHO, labels: {} }, NOW).rejects(samplePatch('a@1')), null);
});

const decide = (does: Partial<SignedOverlay>, more: Parameters<typeof sampleInput>[2] = {}) =>
  evaluate(
    sampleInput([samplePatch('a@1.1', { firstSeen: '2026-02-27T00:00:00Z' })], ['a=1.0'], {
      at: NOW,
      who: WHO,
      site: { delegation: delegation(), overlay: overlay(does) },
      ...more,
    }),
  );

test('what a site holds back stays MISSING and counted; delays end at deadlines and never touch emergencies', () => {
  const rejected = decide({ reject: ['a'] });
  assert.deepEqual([rejected.install, rejected.findings[0]?.state, rejected.compliant], [[], 'MISSING', false]);
  assert.match(rejected.findings[0]?.reasons.join() ?? '', /site ship keeps it off its hosts/);
  const rule = (extra: object) => ({ spec: { rules: [{ name: 'r', filters: {}, approve: { afterDays: 0 }, ...extra }] } });
  assert.equal(decide({ delayDays: 7 }).findings[0]?.changesAt, '2026-03-06T00:00:00Z');
  assert.deepEqual(decide({ delayDays: 7 }).install, []);
  assert.deepEqual(decide({ delayDays: 7 }, rule({ urgency: 'emergency' })).install, ['a@1.1']);
  assert.equal(decide({ delayDays: 7 }, rule({ deadline: { afterDays: 4 } })).findings[0]?.changesAt, '2026-03-03T00:00:00Z');
  assert.deepEqual(decide({ delayDays: 7 }, rule({ deadline: { afterDays: 1 } })).install, ['a@1.1'], 'overdue');
});

test('windows of a site narrow those of the group: both must be open', () => {
  const group = sampleGroup({ windows: [sampleWindow({ days: ['sun'], start: '10:00', durationMinutes: 360 })] });
  const at = (does: Partial<SignedOverlay>) => decide(does, { group }).window;
  assert.equal(at({}).open, true);
  const narrowed = at({ windows: [sampleWindow({ name: 'dock', days: ['sun'], start: '13:00', durationMinutes: 600 })] });
  assert.equal(narrowed.open, false);
  assert.equal(narrowed.open ? 0 : narrowed.opensAt, Date.parse('2026-03-01T13:00:00Z'));
  const never = at({ windows: [sampleWindow({ name: 'dock', days: ['mon'], start: '13:00' })] });
  assert.equal(never.open ? 0 : never.opensAt, null, 'two that never meet');
  const dark = at({ blackouts: [{ from: '2026-03-01', until: '2026-03-01' }] });
  assert.equal(dark.open ? 0 : dark.opensAt, Date.parse('2026-03-08T10:00:00Z'));
  assert.deepEqual(decide({ hooks: ['horn'] }, { group }).hooks, [HOOK]);
});

const anyWindow = fc
  .record({
    days: fc.shuffledSubarray([...WEEKDAYS], { minLength: 1 }),
    hour: fc.integer({ min: 0, max: 23 }),
    durationMinutes: fc.integer({ min: 40, max: 2_000 }),
    zone: fc.constantFrom('UTC', 'host', 'Australia/Lord_Howe'),
  })
  .map(({ hour, ...rest }) => sampleWindow({ ...rest, start: `${String(hour).padStart(2, '0')}:30` }));
const anyGroup = fc
  .record({
    windows: fc.array(anyWindow, { maxLength: 3 }),
    percent: fc.integer({ min: 0, max: 100 }),
    at: fc.constantFrom('next-window' as const, 'at-once' as const),
  })
  .map(({ windows, percent, at }): Group => {
    const ring = {
      name: 'all',
      groups: [],
      labels: {},
      afterHours: 0,
      stepped: false,
      gate: null,
      maxConcurrency: null,
      hosts: null,
    };
    const ramp = [
      { afterHours: 0, percent: 0 },
      { afterHours: 200, percent },
    ];
    const rollout = {
      name: 'r',
      id: 'r',
      canaries: 'same' as const,
      opened: [],
      halted: [],
      fuse: null,
      rings: [{ ...ring, ramp }],
    };
    return sampleGroup({ windows, rollout, afterDeadline: at });
  });
const anyOverlay = fc
  .record({
    windows: fc.array(anyWindow, { maxLength: 2 }),
    blackouts: fc.subarray([{ from: '2026-03-02', until: '2026-03-04' }]),
    reject: fc.shuffledSubarray(['a', 'b@1.1', '*', 'CVE-2025-1']),
    delayDays: fc.integer({ min: 0, max: 30 }),
    ringPercent: fc.option(fc.integer({ min: 0, max: 100 })),
    hooks: fc.subarray(['horn', 'rm']),
  })
  .map((does): SignedOverlay => ({ ...overlay(), ...does, labels: {} }));
const anyDelegation = fc
  .record({
    may: fc.subarray([...SITE_POWERS]),
    maxDelayDays: fc.integer({ min: 0, max: 30 }),
    minRingPercent: fc.integer({ min: 0, max: 100 }),
    until: fc.constantFrom('2026-03-03T00:00:00Z', '2027-01-01T00:00:00Z'),
  })
  .map(delegation);

test('property: an overlay never widens: what is installed with it is installed without it, at every moment', () => {
  const patches = [
    samplePatch('a@1.1', { firstSeen: '2026-02-20T00:00:00Z', cves: ['CVE-2025-1'] }),
    samplePatch('b@1.1', { firstSeen: '2026-02-25T00:00:00Z', severity: 'critical' }),
    samplePatch('c@1.1', { firstSeen: '2026-02-26T00:00:00Z', severity: 'low' }),
  ];
  const rules = [
    { name: 'urgent', filters: { severity: ['critical'] }, approve: { afterDays: 30 }, urgency: 'emergency' },
    { name: 'late', filters: { severity: ['low'] }, approve: { afterDays: 0 }, deadline: { afterDays: 5 } },
    { name: 'rest', filters: {}, approve: { afterDays: 3 } },
  ];
  const base = sampleInput(patches, ['a=1', 'b=1', 'c=1'], { spec: { rules }, at: NOW });
  const agent = fc.integer({ min: 0, max: 1_000_000 }).map((value) => value.toString(16).padStart(32, '0'));
  fc.assert(
    fc.property(
      anyGroup,
      anyDelegation,
      anyOverlay,
      agent,
      fc.integer({ min: 0, max: 12 * 24 * 60 }),
      (group, bounds, does, id, minute) => {
        const at = NOW - 2 * 86_400_000 + minute * 60_000;
        const input = { ...base, group, at, who: { ...WHO, agent: id } };
        const without = evaluate(input);
        const withIt = evaluate({ ...input, site: { delegation: bounds, overlay: does } });
        const may = (one: typeof without) => (one.next.action === 'install' ? one.install : []);
        for (const patch of may(withIt)) assert.ok(may(without).includes(patch), `${patch} only with the overlay`);
        assert.ok(!withIt.mayReboot || without.mayReboot, 'reboot');
        assert.ok(!withIt.mayDownload || without.mayDownload, 'download');
        assert.equal(withIt.compliant, without.compliant, 'compliance is not the site’s');
        for (const hook of withIt.hooks) assert.equal(hook.name, 'horn');
        // after a deadline no window is needed, with or without the site
        if (withIt.window.open && without.window.open && withIt.window.name !== 'deadline has passed')
          assert.ok(withIt.window.closesAt <= without.window.closesAt);
      },
    ),
    { numRuns: 400 },
  );
});
