// The states of field guide 1.2 and 1.3 as tables, what is done next, the traps that concern decisions by name, and the
// same bytes in every zone and locale.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { runOrThrow } from '#manifests/platform/process';
import { canonicalJson, PATCH_STATES, type PatchState, patchFinding, scanBody } from '#manifests/schema';
import { blockedIn, type DecideInput, evaluate, patchSetDigest } from './index.ts';
import { NO_MEMORY, sampleGroup, sampleInput, sampleInstalled, samplePackage, samplePatch, sampleWindow } from './sample.ts';

const NOW = Date.parse('2026-03-01T12:00:00Z');
const A = samplePatch('a@1.1');
const rules = (afterDays: number) => [{ name: 'all', filters: {}, approve: { afterDays } }];

test('1.3 states and whether they are compliant', () => {
  const lacks = ['a=1.0'];
  const has = ['a=1.1'];
  const newer = ['a=1.2'];
  const held = [sampleInstalled('a=1.0', { held: true })];
  const installedByUs = [{ patch: A.id, boot: 'boot-2' }];
  const failed = [{ patch: A.id, at: NOW - 60_000, code: 'run.install' }];
  type More = Parameters<typeof sampleInput>[2];
  const rows: readonly [string, Parameters<typeof sampleInput>[1], More, PatchState, boolean][] = [
    ['in the baseline and installed', has, {}, 'INSTALLED', true],
    ['in the baseline, installed newer', newer, {}, 'INSTALLED', true],
    ['installed by the tool, this boot', has, { memory: { ...NO_MEMORY, installedByUs } }, 'INSTALLED_PENDING_REBOOT', false],
    [
      'installed by the tool, an earlier boot',
      has,
      { memory: { ...NO_MEMORY, installedByUs: [{ patch: A.id, boot: 'boot-1' }] } },
      'INSTALLED',
      true,
    ],
    [
      'installed by the tool, no reboot needed (trap 5)',
      has,
      { memory: { ...NO_MEMORY, installedByUs: [{ patch: A.id, boot: 'boot-2', rebootNeeded: false }] } },
      'INSTALLED',
      true,
    ],
    [
      'installed outside the tool: never pending',
      has,
      { memory: { ...NO_MEMORY, installedByUs: [{ patch: 'b@1', boot: 'boot-2' }] } },
      'INSTALLED',
      true,
    ],
    ['installed, not approved', has, { spec: { rules: [] } }, 'INSTALLED_OTHER', true],
    ['installed, rejected without block', has, { spec: { rejected: ['a'] } }, 'INSTALLED_OTHER', true],
    [
      'installed, rejected with block',
      has,
      { spec: { rejected: ['a'], rejectedAction: 'block' } },
      'INSTALLED_REJECTED',
      false,
    ],
    [
      'installed newer, this one rejected with block',
      newer,
      { spec: { rejected: ['a'], rejectedAction: 'block' } },
      'INSTALLED_OTHER',
      true,
    ],
    ['approved, not installed', lacks, {}, 'MISSING', false],
    ['approved, tried and failed', lacks, { memory: { ...NO_MEMORY, failed } }, 'FAILED', false],
    ['tried and failed, installed since', has, { memory: { ...NO_MEMORY, failed } }, 'INSTALLED', true],
    ['approved, held by the administrator', held, {}, 'HELD', false],
    ['held and not approved', held, { spec: { rules: [] } }, 'AVAILABLE_SECURITY_UPDATE', true],
    ['delay runs', lacks, { spec: { rules: rules(300) } }, 'PENDING_APPROVAL', true],
    [
      'delay runs, open ones count',
      lacks,
      { spec: { rules: rules(300), availableSecurityUpdates: 'non-compliant' } },
      'PENDING_APPROVAL',
      false,
    ],
    ['not approved, security', lacks, { spec: { rules: [] } }, 'AVAILABLE_SECURITY_UPDATE', true],
    [
      'not approved, security, open ones count',
      lacks,
      { spec: { rules: [], availableSecurityUpdates: 'non-compliant' } },
      'AVAILABLE_SECURITY_UPDATE',
      false,
    ],
    ['rejected, not installed', lacks, { spec: { rejected: ['a'] } }, 'AVAILABLE_SECURITY_UPDATE', true],
    [
      'rejected with block, not installed',
      lacks,
      { spec: { rejected: ['a'], rejectedAction: 'block' } },
      'AVAILABLE_SECURITY_UPDATE',
      true,
    ],
    ['no patch group', lacks, { group: null }, 'AVAILABLE_SECURITY_UPDATE', false],
    [
      'group without a baseline for the product',
      lacks,
      { group: sampleGroup({ baselines: [] }) },
      'AVAILABLE_SECURITY_UPDATE',
      false,
    ],
    ['baseline named and not there', lacks, { baselines: [] }, 'AVAILABLE_SECURITY_UPDATE', false],
  ];
  for (const [says, installed, more, state, compliant] of rows) {
    const evaluation = evaluate(sampleInput([A], installed, more));
    const [finding] = evaluation.findings;
    assert.deepEqual([finding?.state, finding?.compliant, evaluation.compliant], [state, compliant, compliant], says);
    assert.equal(evaluation.counts[state], 1, says);
    assert.deepEqual(evaluation.install, state === 'MISSING' || state === 'FAILED' ? [A.id] : [], says);
    patchFinding.parse(finding);
  }
});

test('1.3 a bugfix that is not approved is not held against a host', () => {
  const bugfix = samplePatch('a@1.1', { classification: 'bugfix' });
  const spec = { rules: [], availableSecurityUpdates: 'non-compliant' };
  const evaluation = evaluate(sampleInput([bugfix], ['a=1.0'], { spec }));
  assert.equal(evaluation.findings[0]?.state, 'NOT_APPLICABLE');
  assert.equal(evaluation.compliant, true);
});

test('1.3 a missing patch counts at the level of the rule that approved it', () => {
  const other = samplePatch('b@1.1', { classification: 'bugfix' });
  const spec = {
    rules: [
      { name: 'a', filters: { name: ['a'] }, approve: { afterDays: 0 }, complianceLevel: 'critical' },
      { name: 'b', filters: { name: ['b'] }, approve: { afterDays: 0 }, complianceLevel: 'low', nonSecurity: true },
      { name: 'c', filters: { name: ['c'] }, approve: { afterDays: 0 }, complianceLevel: 'high' },
    ],
  };
  const evaluation = evaluate(sampleInput([A, other, samplePatch('c@1.1')], ['a=1', 'b=1', 'c=1'], { spec }));
  assert.deepEqual(
    evaluation.findings.map(({ level }) => level),
    ['critical', 'low', 'high'],
  );
  assert.deepEqual(evaluation.nonCompliant, { critical: 1, security: 1, other: 1 });
});

test('1.2 BLOCK: the packages of a rejected patch may not come in by any plan; allow-as-dependency lets them', () => {
  const lib = samplePatch('lib@2', { packages: [samplePackage('lib', '2'), samplePackage('lib-data', '2', { arch: 'all' })] });
  const plan = [
    { name: 'a', arch: 'amd64', from: '1.0', to: '1.1' },
    { name: 'lib', arch: 'amd64', from: null, to: '2' },
    { name: 'lib-data', arch: 'all', from: '2', to: null },
  ];
  const blocking = evaluate(sampleInput([A, lib], ['a=1.0'], { spec: { rejected: ['lib'], rejectedAction: 'block' } }));
  assert.deepEqual(blocking.install, ['a@1.1'], 'what depends on it stays MISSING until the plan is refused');
  assert.deepEqual(blockedIn(plan, blocking.blocked), [
    { name: 'lib', arch: 'amd64', version: '2', patch: 'lib@2', baseline: 'base' },
  ]);
  const allowing = evaluate(sampleInput([A, lib], ['a=1.0'], { spec: { rejected: ['lib'] } }));
  assert.deepEqual(blockedIn(plan, allowing.blocked), []);
});

test('a pending patch is approved by itself once trusted time has reached its moment: one bundle is right for weeks', () => {
  const first = Date.parse('2026-01-05T00:00:00Z');
  const input = sampleInput([A], ['a=1.0'], { at: first, spec: { rules: rules(7) } });
  const approvesAt = Date.parse('2026-01-08T00:00:01Z');
  for (const [at, state, action] of [
    [first, 'PENDING_APPROVAL', 'nothing'],
    [approvesAt - 1, 'PENDING_APPROVAL', 'nothing'],
    [approvesAt, 'MISSING', 'install'],
    [approvesAt + 30 * 86_400_000, 'MISSING', 'install'],
  ] as const) {
    const evaluation = evaluate({ ...input, at });
    assert.deepEqual([evaluation.findings[0]?.state, evaluation.next.action], [state, action]);
    if (action === 'nothing') assert.equal(evaluation.next.at, '2026-01-08T00:00:01Z');
  }
  const early = evaluate(input).findings[0];
  assert.equal(early?.changesAt, '2026-01-08T00:00:01Z');
});

test('trap 4: a host decides by the frozen list alone: a patch the publisher had not seen is not approved by any rule', () => {
  const input = sampleInput([A], ['a=1.0', 'b=1.0']);
  const [catalog] = input.catalogs;
  assert.ok(catalog);
  const grown = { ...catalog, patches: [...catalog.patches, samplePatch('b@1.1')] };
  const evaluation = evaluate({ ...input, catalogs: [grown] });
  assert.deepEqual(evaluation.install, ['a@1.1']);
  assert.equal(evaluation.findings[1]?.state, 'AVAILABLE_SECURITY_UPDATE');
});

test('trap 1: an evaluation names the documents it was made from, so two baselines never overwrite each other', () => {
  const [named] = evaluate(sampleInput([A], ['a=1.0'])).baselines;
  assert.deepEqual(Object.keys(named ?? {}).toSorted(), ['baselineSha256', 'catalogSha256', 'evaluatedAt', 'name', 'product']);
  const other = evaluate(sampleInput([A], ['a=1.0'], { spec: { rules: [] } })).baselines[0];
  assert.notEqual(named?.baselineSha256, other?.baselineSha256);
});

test('trap 11: a set that was taken back is not tried again until it changes', () => {
  const input = sampleInput([A, samplePatch('b@1.1')], ['a=1.0', 'b=1.0']);
  const first = evaluate(input);
  assert.equal(first.next.action, 'install');
  for (const digest of [first.digest, patchSetDigest(['b@1.1', 'a@1.1'])]) {
    const memory = { ...NO_MEMORY, rolledBack: [{ patches: ['a@1.1', 'b@1.1'], digest, at: NOW - 3_600_000 }] };
    const again = evaluate({ ...input, memory });
    assert.deepEqual([again.install, again.packages, again.next.action], [[], [], 'nothing']);
    assert.match(again.next.says, /taken back at 2026-03-01T11:00:00Z: not tried again until it changes/);
    assert.deepEqual(
      again.findings.map(({ state, compliant }) => [state, compliant]),
      [
        ['ROLLED_BACK', false],
        ['ROLLED_BACK', false],
      ],
    );
    const grown = evaluate({
      ...sampleInput([A, samplePatch('b@1.1'), samplePatch('c@1.1')], ['a=1.0', 'b=1.0', 'c=1.0']),
      memory,
    });
    assert.deepEqual(grown.install, ['a@1.1', 'b@1.1', 'c@1.1']);
    const shrunk = evaluate({
      ...sampleInput([A, samplePatch('b@1.1')], ['a=1.0', sampleInstalled('b=1.0', { held: true })]),
      memory,
    });
    assert.deepEqual(shrunk.install, ['a@1.1']);
  }
  const memory = { ...NO_MEMORY, rolledBack: [{ patches: ['a@1.1', 'b@1.1'], digest: first.digest, at: NOW }] };
  const rebuilt = sampleInput(
    [A, samplePatch('b@1.1', { packages: [samplePackage('b', '1.1', { sha256: 'f'.repeat(64) })] })],
    ['a=1.0', 'b=1.0'],
  );
  assert.deepEqual(
    evaluate({ ...rebuilt, memory }).install,
    ['a@1.1', 'b@1.1'],
    'the same ids with other bytes are another set',
  );
});

test('trap 22 and 26: what is left out stays visible: held, rejected and unapproved patches are findings and are counted', () => {
  const patches = [A, samplePatch('b@1.1'), samplePatch('c@1.1')];
  const rulesOfC = [{ name: 'not-c', filters: { name: ['a', 'b'] }, approve: { afterDays: 0 } }];
  const input = sampleInput(patches, [sampleInstalled('a=1.0', { held: true }), 'b=1.0', 'c=1.0'], {
    spec: { rules: rulesOfC, rejected: ['b'] },
  });
  const evaluation = evaluate(input);
  assert.deepEqual(
    evaluation.findings.map(({ patch, state }) => `${patch} ${state}`),
    ['a@1.1 HELD', 'b@1.1 AVAILABLE_SECURITY_UPDATE', 'c@1.1 AVAILABLE_SECURITY_UPDATE'],
  );
  assert.equal(evaluation.counts.HELD, 1);
  assert.equal(evaluation.counts.AVAILABLE_SECURITY_UPDATE, 2);
});

test('one held package of a patch holds the whole patch, so that its packages do not part', () => {
  const patch = samplePatch('s@2', { packages: [samplePackage('a', '2'), samplePackage('b', '2')] });
  const evaluation = evaluate(sampleInput([patch], ['a=1', sampleInstalled('b=1', { held: true })]));
  assert.equal(evaluation.findings[0]?.state, 'HELD');
  assert.deepEqual(evaluation.packages, []);
});

test('trap 9: after the hard expiry nothing new is installed and the host goes on looking; after the soft one it installs', () => {
  const hard = evaluate(sampleInput([A], ['a=1.0'], { freshness: { softExpired: true, hardExpired: true } }));
  assert.deepEqual([hard.install, hard.packages], [[], []]);
  assert.equal(hard.findings[0]?.state, 'MISSING');
  assert.equal(hard.next.action, 'wait');
  assert.match(hard.next.says, /expired/);
  const soft = evaluate(sampleInput([A], ['a=1.0'], { freshness: { softExpired: true, hardExpired: false } }));
  assert.equal(soft.next.action, 'install');
});

test('what is done next, and when', () => {
  const night = sampleWindow({ days: ['sun'], start: '11:00', durationMinutes: 120, cutoffMinutes: 60 }); // NOW is Sunday noon
  const once = { ...night, validUntil: '2026-03-02T00:00:00Z' };
  for (const [says, more, expected] of [
    ['nothing missing', { group: sampleGroup(), spec: { rules: [] } }, ['nothing', null]],
    ['window open', {}, ['install', '2026-03-01T12:00:00Z']],
    ['window to come', { group: sampleGroup({ windows: [{ ...night, start: '13:00' }] }) }, ['wait', '2026-03-01T13:00:00Z']],
    ['open, past its cutoff', { group: sampleGroup({ windows: [night] }) }, ['wait', '2026-03-08T11:00:00Z']],
    ['open, past its cutoff, the last one', { group: sampleGroup({ windows: [once] }) }, ['nothing', null]],
    ['no window', { group: sampleGroup({ windows: [] }) }, ['nothing', null]],
    ['no group', { group: null }, ['nothing', null]],
  ] as const) {
    const { next, install, group } = evaluate(sampleInput([A], ['a=1.0'], more));
    assert.deepEqual([next.action, next.at], expected, says);
    assert.equal(install.length, group === null || says === 'nothing missing' ? 0 : 1, says);
    scanBody.shape.next.parse(next);
  }
});

test('counts have every state and cover every patch of the catalogs', () => {
  const evaluation = evaluate(sampleInput([A, samplePatch('b@1'), samplePatch('c@1')], ['a=1.0']));
  assert.deepEqual(Object.keys(evaluation.counts), [...PATCH_STATES]);
  assert.equal(
    Object.values(evaluation.counts).reduce((sum, count) => sum + count, 0),
    3,
  );
  scanBody.shape.counts.parse(evaluation.counts);
});

test('elements of `packages` carry what an installation needs', () => {
  assert.deepEqual(
    evaluate(sampleInput([A], ['a=1.0'])).packages,
    [
      {
        ...samplePackage('a', '1.1'),
        version: undefined,
        from: '1.0',
        to: '1.1',
        repository: 'security',
        patch: 'a@1.1',
        format: 'deb',
      },
    ].map(({ version: _version, ...rest }) => rest),
  );
});

test('a damaged resolved baseline that both approves and rejects a patch rejects it', () => {
  const input = sampleInput([A], ['a=1.0']);
  const [resolved] = input.baselines;
  assert.ok(resolved);
  const damaged = { ...resolved, rejected: [{ patch: A.id, rule: 'rejected list', reason: 'x' }] };
  assert.deepEqual(evaluate({ ...input, baselines: [damaged] }).install, []);
});

// ---- the same bytes everywhere (field guide 9.1) ----

const ZONES = ['UTC', 'America/New_York', 'Asia/Kathmandu', 'Australia/Lord_Howe', 'Pacific/Apia'];
const LOCALES = ['C.UTF-8', 'tr_TR.UTF-8'];

/** Runs in a child with another zone and locale: decides a large input and prints it. */
const CHILD = `
import { canonicalJson } from '#manifests/schema';
import { evaluate, explain, generatedFleet, resolveBaseline, simulateFleet } from '#manifests/decide';
import { sampleBaseline, sampleFleetCase, sampleInput, sampleGroup, sampleInstalled, samplePatch, sampleWindow } from '${new URL('sample.ts', import.meta.url).href}';
const { catalog, inventory } = sampleFleetCase(300, 3, 200, 42);
const at = Date.parse('2026-03-28T12:00:00Z');
// In Turkish I and i are two letters, elsewhere one: an order by locale would show.
catalog.patches.push(...['Ix@2', 'ia@2', 'IA@2'].map((id) => samplePatch(id, { severity: 'critical' })));
inventory.packages.push(...['Ix=1', 'ia=1', 'IA=1'].map((text) => sampleInstalled(text)));
const windows = [sampleWindow({ zone: 'host', start: '02:30' }), sampleWindow({ name: 'ist', zone: 'Asia/Kathmandu', days: ['mon'] })];
const spec = { rules: [{ name: 'critical-iii', filters: { severity: ['critical'] }, approve: { afterDays: 9 } }], rejected: ['source-1*'], rejectedAction: 'block' };
const ring = { name: 'all', groups: [], labels: {}, afterHours: 5, stepped: false, gate: null, maxConcurrency: { percent: 7 }, hosts: null, ramp: [{ afterHours: 0, percent: 3 }, { afterHours: 1000, percent: 100 }] };
const rollout = { name: 'I', id: 'ıI', canaries: 'by-patch', rings: [ring], opened: [], halted: [{ patch: 'ia@2', at: '2026-03-01T00:00:00Z', reason: 'x' }], fuse: null };
const monthly = { ...sampleWindow({ name: 'monthly', zone: 'host' }), days: undefined, monthly: { nth: 2, weekday: 'tue', offsetDays: 3 }, blackouts: [{ from: '2026-04-01', until: '2026-04-20' }] };
const group = sampleGroup({ windows: [...windows, monthly], rollout });
const input = sampleInput(catalog.patches, inventory.packages, { at, spec, group, who: { agent: 'e'.repeat(32), labels: { I: 'ı' } } });
const releases = [{ patch: 'a@2', product: 'p', approvedAt: at }];
const plan = simulateFleet({ groups: new Map([['servers', group]]), releases }, generatedFleet(200, { sites: 9, groups: ['servers'], product: 'p' }), { from: at, days: 60, siteLimit: 3 });
const evaluation = evaluate(input);
const { text } = explain(evaluation, input, 'source-2');
const { locale, timeZone } = Intl.DateTimeFormat().resolvedOptions();
process.stderr.write(locale + ' ' + timeZone + '\\n');
process.stdout.write(canonicalJson({ plan, baseline: input.baselines, evaluation, text, baseline2: resolveBaseline(sampleBaseline(), catalog, at) }));
`;

test('same input, same bytes: five zones, two locales', async () => {
  const outputs = new Set<string>();
  const seen = new Set<string>();
  for (const TZ of ZONES) {
    for (const locale of LOCALES) {
      const env = { PATH: process.env.PATH ?? '', TZ, LC_ALL: locale, LANG: locale };
      const { stdout, stderr } = await runOrThrow(process.execPath, ['--input-type=module', '-e', CHILD], {
        timeoutMs: 60_000,
        env,
        cwd: new URL('../..', import.meta.url).pathname,
      });
      assert.ok(stdout.length > 10_000);
      outputs.add(stdout);
      seen.add(stderr.trim());
    }
  }
  assert.equal(outputs.size, 1);
  assert.equal(seen.size, ZONES.length * LOCALES.length, 'every child did live in its own zone and locale');
});

test('the order of what comes in does not matter: catalogs, patches, packages, memory', () => {
  const patches = ['a@1.1', 'a@1.2', 'b@1.1', 'Ä@1', 'z@1', 'Z@1'].map((id) => samplePatch(id));
  const installed = ['a=1.0', 'b=1.0', 'z=0', 'Z=0'];
  const input = sampleInput(patches, installed);
  const turned: DecideInput = {
    ...input,
    catalogs: input.catalogs.map((catalog) => ({ ...catalog, patches: catalog.patches.toReversed() })),
    inventory: { ...input.inventory, packages: input.inventory.packages.toReversed() },
    baselines: input.baselines.map((one) => ({ ...one, approved: one.approved.toReversed() })),
  };
  assert.equal(canonicalJson(evaluate(turned)), canonicalJson(evaluate(input)));
});
