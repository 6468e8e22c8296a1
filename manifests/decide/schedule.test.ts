// Emergencies, deadlines, the owner's choice, missed windows, time that runs out, the override list; targeting; freshness.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { type Condition, type Group, type PatchGroup, patchGroup } from '#manifests/schema';
import { catchUp } from './catch-up.ts';
import { fitting, timeNeeded } from './estimate.ts';
import { evaluate } from './evaluate.ts';
import { freshnessDecision } from './freshness.ts';
import { sampleGroup, sampleInput, sampleInventory, samplePatch, sampleWindow } from './sample.ts';
import { checkTargeting, conditionHolds, groupOf, selects } from './targeting.ts';
import { momentOf } from './text.ts';

const NOW = Date.parse('2026-03-01T12:00:00Z'); // a Sunday
const HOUR = 3_600_000;
const WHO = { agent: 'a'.repeat(32), labels: {} };
const DAILY = ['mon', 'tue', 'wed', 'thu', 'fri', 'sat', 'sun'] as const;
const rule = (name: string, more: object = {}) => ({ name, filters: { name: [name] }, approve: { afterDays: 0 }, ...more });
const SHUT = sampleWindow({ name: 'later', days: ['mon'], start: '02:00' });

function decide(group: Partial<Group>, rules: object[], more: Parameters<typeof sampleInput>[2] = {}) {
  const patches = ['a', 'b'].map((name) => samplePatch(`${name}@1.1`, { firstSeen: '2026-02-20T00:00:00Z' }));
  return evaluate(
    sampleInput(patches, ['a=1', 'b=1'], { at: NOW, who: WHO, group: sampleGroup(group), spec: { rules }, ...more }),
  );
}
const CLOSED_RING = {
  name: 'r',
  id: 'r',
  canaries: 'same' as const,
  opened: [],
  halted: [],
  fuse: null,
  rings: [
    {
      name: 'all',
      groups: [],
      labels: {},
      afterHours: 900,
      stepped: false,
      gate: null,
      maxConcurrency: null,
      hosts: null,
      ramp: [{ afterHours: 0, percent: 100 }],
    },
  ],
};

test('an emergency skips delay and rings, never safety: windows, halts and rejections stay', () => {
  const urgent = rule('a', { urgency: 'emergency', approve: { afterDays: 90 } });
  const rolled = decide({ rollout: CLOSED_RING }, [urgent, rule('b')]);
  assert.deepEqual([rolled.install, rolled.urgent], [['a@1.1'], ['a@1.1']]);
  assert.deepEqual(
    rolled.held.map(({ patch, holds }) => [patch, holds[0]?.by]),
    [['b@1.1', 'rollout']],
  );
  const shut = decide({ windows: [SHUT] }, [urgent]);
  assert.deepEqual([shut.next.action, shut.next.at], ['wait', '2026-03-02T02:00:00Z']);
  const rejected = decide({}, [urgent], { spec: { rules: [urgent], rejected: ['a'] } });
  assert.deepEqual(rejected.install, []);
  const own = decide(
    {
      windows: [SHUT],
      emergencyWindows: [sampleWindow({ name: 'any', days: [...DAILY], start: '00:00', durationMinutes: 1_440 })],
    },
    [urgent, rule('b')],
  );
  assert.deepEqual(
    [own.next.action, own.install, own.window.name],
    ['install', ['a@1.1'], 'any'],
    'its own windows let in nothing else',
  );
});

test('after a deadline rings and owner wait no more; at-once needs no window, next-window does', () => {
  const late = rule('a', { deadline: { afterDays: 3 } });
  const choice = { window: null, deferUntil: NOW + 90 * 24 * HOUR };
  const ownerChoice = { windows: [], deferDays: 30 };
  const held = decide({ rollout: CLOSED_RING, ownerChoice }, [rule('a')], { choice });
  assert.deepEqual(
    held.held[0]?.holds.map(({ by }) => by),
    ['rollout', 'owner'],
  );
  const overdue = decide({ rollout: CLOSED_RING, ownerChoice }, [late], { choice });
  assert.deepEqual([overdue.install, overdue.overdue], [['a@1.1'], ['a@1.1']]);
  assert.match(overdue.findings[0]?.reasons.join() ?? '', /overdue since 2026-02-23/);
  assert.equal(decide({ windows: [SHUT] }, [late]).next.action, 'wait');
  const atOnce = decide({ windows: [SHUT], afterDeadline: 'at-once' }, [late, rule('b')]);
  assert.deepEqual([atOnce.next.action, atOnce.install], ['install', ['a@1.1']]);
});

test('the owner chooses among the windows the group offers, and defers no longer than it allows', () => {
  const windows = [sampleWindow({ name: 'noon', start: '11:00', durationMinutes: 300 }), SHUT];
  const ownerChoice = { windows: ['noon', 'later'], deferDays: 10 };
  const action = (window: string | null, more: Partial<Group> = {}) =>
    decide({ windows, ownerChoice, ...more }, [rule('a')], { choice: { window, deferUntil: null } });
  assert.equal(action(null).next.action, 'install');
  assert.equal(action('later').next.at, '2026-03-02T02:00:00Z');
  assert.equal(action('noon').next.action, 'install');
  const foreign = action('later', { ownerChoice: { windows: ['noon'], deferDays: 0 } });
  assert.equal(foreign.next.action, 'install');
  assert.match(foreign.notes.join(), /which group servers does not offer/);
  const deferred = (days: number) =>
    decide({ ownerChoice: { windows: [], deferDays: days } }, [rule('a')], {
      choice: { window: null, deferUntil: NOW + 900 * 24 * HOUR },
    });
  assert.equal(deferred(15).findings[0]?.changesAt, '2026-03-07T00:00:00Z');
  assert.deepEqual(deferred(5).install, ['a@1.1']);
});

test('1.5 override list: installed at once in every ring, compliance stays with the rules; `only` lets nothing else in', () => {
  const spec = (mode: string, patches: object[]) => ({
    spec: { rules: [rule('b')], overrides: { mode, until: '2026-03-10T00:00:00Z', patches } },
  });
  const also = decide({}, [], spec('also', [{ id: 'a' }]));
  assert.deepEqual(also.install, ['a@1.1', 'b@1.1']);
  assert.equal(also.findings[0]?.state, 'AVAILABLE_SECURITY_UPDATE', 'Scan ignores it');
  assert.deepEqual(decide({}, [], spec('only', [{ id: 'a.amd64', version: 'a.amd64:1.1' }])).install, ['a@1.1']);
  assert.deepEqual(decide({}, [], spec('only', [{ id: 'a.*', version: '1.2' }])).install, [], 'another version');
  assert.deepEqual(
    decide({}, [], { ...spec('only', [{ id: 'a' }]), at: Date.parse('2026-03-10T00:00:00Z') }).install,
    ['b@1.1'],
    'run out',
  );
  const rejected = { spec: { ...spec('also', [{ id: 'a' }]).spec, rejected: ['a'] } };
  assert.deepEqual(decide({}, [], rejected).install, ['b@1.1'], 'a rejection wins');
});

test('trap 7: a set that does not fit into the rest of the window waits, or the most urgent part of it goes', () => {
  const timings = [
    { patch: 'a@1.1', seconds: 3_600, runs: 20 },
    { patch: 'b@1.1', seconds: 900, runs: 20 },
  ];
  const reserve = { floorMinutes: 5, rebootMinutes: 15, verifyMinutes: 10 };
  const window = (start: string, durationMinutes: number) => ({
    windows: [sampleWindow({ start, durationMinutes })],
    timings,
    reserve,
  });
  const both = [rule('a'), rule('b')];
  assert.equal(decide(window('11:00', 161), both).next.action, 'install');
  const short = decide(window('11:00', 159), both);
  assert.deepEqual([short.next.action, short.next.at], ['wait', '2026-03-08T11:00:00Z']);
  assert.match(
    short.next.says,
    /needs about 100 minutes with what is kept for checks and reboot; 99 minutes of window night are left/,
  );
  const never = decide(window('12:00', 45), both.toReversed());
  assert.deepEqual([never.next.action, never.next.at], ['wait', '2026-03-08T12:00:00Z'], 'not even the most urgent patch fits');
  const part = decide(window('12:00', 90), [rule('b', { urgency: 'emergency' }), rule('a')]);
  assert.deepEqual(part.install, ['b@1.1']);
  assert.match(part.notes.join(), /1 of 2 patches fit into the window/);
  assert.equal(
    decide(
      {
        ...window('11:00', 90),
        windows: [
          sampleWindow({ days: [...DAILY], start: '00:00', durationMinutes: 780 }),
          sampleWindow({ name: 'next', start: '13:00', durationMinutes: 600 }),
        ],
      },
      both,
    ).next.action,
    'install',
    'windows that touch are one',
  );
});

test('estimates: history where there is enough of it, never below the floor, with the reserve', () => {
  const group = { reboot: 'if-needed' as const, reserve: { floorMinutes: 5, rebootMinutes: 15, verifyMinutes: 10 } };
  const minutes = (patches: string[], timings: Group['timings']) => timeNeeded(patches, { ...group, timings }).ms / 60_000;
  assert.equal(minutes([], []), 0);
  assert.equal(minutes(['a'], []), 30);
  assert.equal(minutes(['a'], [{ patch: 'a', seconds: 1_200, runs: 3 }]), 45);
  assert.equal(minutes(['a'], [{ patch: 'a', seconds: 1_200, runs: 2 }]), 30, 'two runs are no history');
  assert.equal(minutes(['a'], [{ patch: 'a', seconds: 1, runs: 99 }]), 30, 'the floor');
  assert.equal(timeNeeded(['a'], { ...group, reboot: 'never' }).ms / 60_000, 15);
  assert.deepEqual(fitting(['a', 'b'], 29 * 60_000, group), []);
});

test('9.3 catch-up: after three missed windows one run; by next-window, hours of waking, before hand-over', () => {
  const nightly = (rule: 'next-window' | 'before-handover' | { withinHours: number }) =>
    sampleWindow({ days: [...DAILY], start: '02:00', durationMinutes: 60, catchUp: rule });
  const wake = { asleepSince: NOW - 72 * HOUR, wokeAt: NOW - HOUR, ranSince: false, handedOver: false };
  const state = (rule: Parameters<typeof nightly>[0], more: object = {}, at = NOW) =>
    catchUp([nightly(rule)], { ...wake, ...more }, at, 'UTC');
  assert.deepEqual(state('next-window'), { missed: 3, window: null });
  const made = state({ withinHours: 4 });
  assert.deepEqual([made.missed, made.window?.closesAt], [3, NOW + 3 * HOUR]);
  assert.equal(state({ withinHours: 4 }, { ranSince: true }).window, null, 'one run, not three');
  assert.equal(state({ withinHours: 4 }, {}, NOW + 3 * HOUR).window, null);
  assert.equal(state({ withinHours: 4 }, { asleepSince: NOW - 2 * HOUR }).missed, 0);
  assert.notEqual(state('before-handover').window, null);
  assert.equal(state('before-handover', { handedOver: true }).window, null);
  const evaluation = decide({ windows: [nightly({ withinHours: 4 })] }, [rule('a')], { wake });
  assert.deepEqual([evaluation.next.action, evaluation.window.name], ['install', 'night (made up for)']);
  assert.equal(decide({ windows: [nightly({ withinHours: 4 })] }, [rule('a')]).next.action, 'wait');
});

test('trap 9 and 14: whatever clock and expiry say, a host scans, reports, applies recalls, and never enrols or forgets', () => {
  for (const softExpired of [false, true]) {
    for (const hardExpired of [false, true]) {
      for (const clock of ['ok', 'behind', 'suspect'] as const) {
        const decision = freshnessDecision({ softExpired, hardExpired, clock }, NOW);
        assert.deepEqual(Object.keys(decision).toSorted(), [
          'alerts',
          'applyRecalls',
          'install',
          'report',
          'rollBack',
          'says',
          'scan',
        ]);
        assert.deepEqual([decision.scan, decision.report, decision.applyRecalls, decision.rollBack], [true, true, true, true]);
        assert.equal(decision.install, !hardExpired);
        assert.equal(decision.alerts.includes('CLOCK_BEHIND'), clock === 'behind');
        assert.equal(decision.alerts.includes('CLOCK_SUSPECT'), clock === 'suspect');
      }
    }
  }
});

// ---- targeting ----

const grouped = (name: string, spec: object): PatchGroup =>
  patchGroup.parse({
    apiVersion: 'patchferry/v1',
    kind: 'PatchGroup',
    metadata: { name },
    spec: { baselines: ['base'], ...spec },
  });

test('conditions on facts, labels, components and packages', () => {
  const host = sampleInventory(['nginx=1.24'], { facts: { memoryMiB: 4_096, virtual: true }, components: { tool: '2.1' } });
  for (const [condition, expected] of [
    [{ fact: 'memoryMiB', atLeast: 4_096 }, true],
    [{ fact: 'memoryMiB', atMost: 4_095 }, false],
    [{ fact: 'virtual', is: ['true'] }, true],
    [{ fact: 'nothing', is: ['*'] }, false],
    [{ fact: 'nothing', isNot: ['x'] }, true],
    [{ fact: 'nothing', exists: false }, true],
    [{ fact: 'constructor', exists: true }, false],
    [{ label: 'role', is: ['web*', 'db'] }, true],
    [{ label: 'rank', atLeast: 3 }, true],
    [{ host: 'product', is: ['debian-*'] }, true],
    [{ host: 'kernel', is: ['6.1.*'] }, true],
    [{ package: 'nginx', exists: true }, true],
    [{ package: 'apache2', exists: true }, false],
    [{ component: 'tool', is: ['2.*'] }, true],
  ] as const) {
    const one = JSON.parse(JSON.stringify(condition)) as Condition;
    assert.equal(conditionHolds(one, host, { role: 'web-1', rank: '3' }), expected, JSON.stringify(condition));
  }
});

test('a host has the group it was given, else the one it matches; conflicts are found when policy is checked', () => {
  const groups = [
    grouped('web', { match: { hosts: { labels: { role: 'web' } } } }),
    grouped('big', { match: { when: [{ fact: 'memoryMiB', atLeast: 8_000 }], priority: 5 } }),
    grouped('also-web', { match: { hosts: { labels: { role: 'w*' } } } }),
    grouped('by-hand', { baselines: ['base', 'other', 'own'] }),
  ];
  const host = (labels: Record<string, string>, memoryMiB: number, assigned: string | null = null) => ({
    who: { agent: 'host', labels },
    assigned,
    facts: sampleInventory([], { facts: { memoryMiB } }),
  });
  assert.deepEqual(groupOf(groups, host({ role: 'web' }, 1, 'by-hand')), { kind: 'group', group: 'by-hand', by: 'roster' });
  assert.deepEqual(groupOf(groups, host({ role: 'web' }, 9_000)), { kind: 'group', group: 'big', by: 'match' });
  assert.deepEqual(groupOf(groups, host({ role: 'web' }, 1)), { kind: 'conflict', groups: ['also-web', 'web'] });
  assert.deepEqual(groupOf(groups, host({}, 1)), { kind: 'none' });
  assert.deepEqual(groupOf(groups, { ...host({}, 9_000), facts: null }), { kind: 'none' }, 'never reported');
  const productOf = (name: string) => (name === 'own' ? 'own-tool' : 'debian-12');
  const problems = checkTargeting(groups, productOf, [host({ role: 'web' }, 1), host({}, 1), host({}, 1, 'gone')]);
  assert.deepEqual(
    problems.map(({ code, subject }) => `${code} ${subject}`),
    ['two-baselines by-hand', 'two-groups host', 'no-group host', 'unknown-group host'],
  );
});

test('selectors: keys are all required, values are alternatives, no key means everybody', () => {
  const who = { agent: 'b'.repeat(32), group: 'web', site: 'ship', product: 'debian-12', labels: { role: 'till-7' } };
  for (const [selector, expected] of [
    [{}, true],
    [{ groups: ['desk', 'web'] }, true],
    [{ groups: ['web'], sites: ['port'] }, false],
    [{ agents: ['b'.repeat(32)] }, true],
    [{ labels: { role: 'till-*' } }, true],
    [{ labels: { role: 'till-*', rank: '*' } }, false],
    [{ products: ['debian-13'] }, false],
  ] as const) {
    assert.equal(selects(JSON.parse(JSON.stringify(selector)) as object, who), expected, JSON.stringify(selector));
  }
  assert.equal(selects({ sites: ['ship'] }, { agent: 'x' }), false, 'a host without a site is at none');
});

test('the baseline of a product is chosen on the host by what it is, before the one the group names', () => {
  const input = sampleInput([samplePatch('a@1.1')], ['a=1'], { at: NOW, who: WHO });
  const [base] = input.baselines;
  assert.ok(base);
  const empty = { ...base, name: 'empty', approved: [] };
  const group = sampleGroup({
    choose: [{ product: 'debian-12', baseline: 'empty', when: [{ fact: 'frozen', is: ['true'] }] }],
  });
  const chosen = (frozen: boolean) =>
    evaluate({ ...input, group, baselines: [base, empty], inventory: { ...input.inventory, facts: { frozen } } });
  assert.deepEqual([chosen(true).install, chosen(true).baselines.map(({ name }) => name)], [[], ['empty']]);
  assert.deepEqual([chosen(false).install, chosen(false).baselines.map(({ name }) => name)], [['a@1.1'], ['base']]);
  assert.equal(momentOf(NOW), chosen(true).at);
});

test('trap 6: asked again before each package, the window says no as soon as its cutoff or its end has come', () => {
  const window = sampleWindow({ days: ['sun'], start: '11:00', durationMinutes: 240, cutoffMinutes: 60 });
  const at = (moment: string) => decide({ windows: [window] }, [rule('a')], { at: Date.parse(moment) }).next.action;
  assert.deepEqual(
    [
      '2026-03-01T10:59:59Z',
      '2026-03-01T11:00:00Z',
      '2026-03-01T13:59:59Z',
      '2026-03-01T14:00:00Z',
      '2026-03-01T15:00:00Z',
    ].map(at),
    ['wait', 'install', 'install', 'wait', 'wait'],
  );
});

test('reboots have windows of their own: what is installed in one may wait for another', () => {
  const windows = [
    sampleWindow({ name: 'work', days: ['sun'], start: '11:00', durationMinutes: 240, purposes: ['download', 'install'] }),
    sampleWindow({ name: 'boot', days: ['mon'], start: '03:00', purposes: ['reboot'] }),
  ];
  const evaluation = decide({ windows }, [rule('a')]);
  assert.deepEqual([evaluation.next.action, evaluation.mayReboot, evaluation.mayDownload], ['install', false, true]);
  const { reboot } = evaluation.windows;
  assert.equal(reboot.open ? null : reboot.opensAt, Date.parse('2026-03-02T03:00:00Z'));
});
