// The tables of AWS SSM Patch Manager's semantics (field guide 1.1 to 1.3, 1.5, 1.6), a test for every row that the other tests of
// this folder do not name: what is bounded, refused, counted, and where patchferry does something else on purpose.
import assert from 'node:assert/strict';
import * as fs from 'node:fs';
import { test } from 'node:test';
import { baseline, PATCH_STATES, type Patch, type PatchState, readAuthored } from '#manifests/schema';
import { decideBaseline, resolveBaseline } from './baseline.ts';
import { blockedIn, evaluate, explain } from './index.ts';
import {
  FRESH,
  NO_MEMORY,
  PRODUCT,
  sampleBaseline,
  sampleCatalog,
  sampleGroup,
  sampleInput,
  sampleInventory,
  samplePackage,
  samplePatch,
} from './sample.ts';

const NOW = Date.parse('2026-03-01T12:00:00Z');
const A = samplePatch('a@1.1');
const rule = (more: object = {}) => ({ name: 'rule', filters: {}, approve: { afterDays: 0 }, ...more });
const kindOf = (patch: Patch, spec: object) =>
  decideBaseline(sampleBaseline(spec), sampleCatalog([patch]), NOW).get(patch.id)?.kind;

/** What the schema says of a spec; undefined when it takes it. */
function refusal(spec: object): string | undefined {
  const found = baseline.safeParse({
    apiVersion: 'patchferry/v1',
    kind: 'Baseline',
    metadata: { name: 'base' },
    spec: { product: PRODUCT, ...spec },
  });
  return found.success ? undefined : JSON.stringify(found.error.issues);
}
const many = (count: number, prefix = 'p') => Array.from({ length: count }, (_, index) => `${prefix}${index}`);

test('1.1 Scope: one product a baseline, one baseline a product; a product without one is said, not guessed', () => {
  const other = sampleCatalog([samplePatch('b@1.1')], 'ubuntu-24.04');
  assert.throws(() => resolveBaseline(sampleBaseline(), other, NOW), /ubuntu-24\.04/);
  const two = [
    resolveBaseline(sampleBaseline({ rules: [rule()] }), sampleCatalog([A]), NOW),
    { ...resolveBaseline(sampleBaseline({ rules: [] }), sampleCatalog([A]), NOW), name: 'other' },
  ];
  const input = sampleInput([A], ['a=1.0'], { baselines: two });
  assert.deepEqual(evaluate(input).install, ['a@1.1'], 'the one that the group names counts, whatever else is there');
  const foreign = { ...input, inventory: sampleInventory(['a=1.0'], { product: 'debian-13' }) };
  assert.deepEqual(evaluate(foreign).install, []);
});

test('1.1 Rules: at most 10, at most 20 values a key, exactly one of days and date', () => {
  assert.equal(refusal({ rules: many(10).map((name) => rule({ name })) }), undefined);
  assert.match(refusal({ rules: many(11).map((name) => rule({ name })) }) ?? '', /rules/);
  assert.equal(refusal({ rules: [rule({ filters: { name: many(20) } })] }), undefined);
  assert.match(refusal({ rules: [rule({ filters: { name: many(21) } })] }) ?? '', /name/);
  for (const approve of [{}, { afterDays: 7, untilDate: '2026-01-01' }])
    assert.match(refusal({ rules: [rule({ approve })] }) ?? '', /exactly one of afterDays/);
  assert.match(refusal({ rules: [rule({ filters: { msrcSeverity: ['x'] } })] }) ?? '', /msrcSeverity/, 'an unknown key');
});

test('1.1 ApproveAfterDays: 0 to 360, whole days', () => {
  for (const afterDays of [0, 360]) assert.equal(refusal({ rules: [rule({ approve: { afterDays } })] }), undefined);
  for (const afterDays of [-1, 361, 0.5])
    assert.match(refusal({ rules: [rule({ approve: { afterDays } })] }) ?? '', /afterDays/);
});

test('1.1 ApproveUntilDate: a day that exists', () => {
  for (const untilDate of ['2026-02-29', '2026-1-1', '2026-01-01T00:00:00Z'])
    assert.match(refusal({ rules: [rule({ approve: { untilDate } })] }) ?? '', /untilDate/, untilDate);
});

test('1.1 Filter keys: every key of the API that a Linux host knows has a place', () => {
  const patch = samplePatch('ssl@1:3.0-2', {
    cves: ['CVE-2025-1111'],
    advisories: ['DSA-1'],
    packages: [samplePackage('libssl3', '1:3.0-2')],
  });
  const keys: Readonly<Record<string, object>> = {
    ARCH: { arch: ['amd64'] },
    ADVISORY_ID: { advisory: ['DSA-1'] },
    BUGZILLA_ID: { advisory: ['DSA-*'] },
    PRODUCT: { product: [PRODUCT] },
    PRODUCT_FAMILY: { family: ['debian'] },
    CLASSIFICATION: { classification: ['security'] },
    CVE_ID: { cve: ['CVE-2025-1111'] },
    EPOCH: { version: ['1:*'] },
    NAME: { name: ['libssl3'] },
    PATCH_ID: { patch: ['ssl@1:3.0-2'] },
    SECTION: { section: ['libs'] },
    PRIORITY: { priority: ['optional'] },
    REPOSITORY: { repository: ['security'] },
    RELEASE: { version: ['*-2'] },
    SEVERITY: { severity: ['high'] },
    MSRC_SEVERITY: { severity: ['high', 'critical'] },
    SECURITY: { classification: ['security'] },
    VERSION: { version: ['1:3.0-2'] },
  };
  for (const [key, filters] of Object.entries(keys)) {
    assert.equal(kindOf(patch, { rules: [rule({ filters })] }), 'approved', key);
    const [name, values] = Object.entries(filters)[0] as [string, string[]];
    const none = name === 'severity' ? ['low'] : name === 'classification' ? ['bugfix'] : ['none-of-it'];
    assert.equal(kindOf(patch, { rules: [rule({ filters: { [name]: none } })] }), 'not-in-baseline', `${key} ${values.join()}`);
  }
});

test('1.1 Name formats of the rejected list: the same as of the approved one, one wildcard or several', () => {
  const patch = samplePatch('ssl@3', {
    cves: ['CVE-2025-1111'],
    advisories: ['DSA-1'],
    packages: [samplePackage('libssl3', '3')],
  });
  for (const entry of ['ssl', 'ssl@3', 'ssl@*', 'libssl3', 'lib*3', '*', 'CVE-2025-1111', 'cve-2025-1111', 'DSA-1'])
    assert.equal(kindOf(patch, { rules: [rule()], rejected: [entry] }), 'rejected', entry);
  for (const entry of ['openssl', 'ssl@3.1', 'SSL', 'CVE-2025-111'])
    assert.equal(kindOf(patch, { rules: [rule()], rejected: [entry] }), 'approved', entry);
});

test('1.1 ApprovedPatches and RejectedPatches: at most 50 entries each', () => {
  for (const list of ['approved', 'rejected']) {
    assert.equal(refusal({ [list]: many(50) }), undefined);
    assert.match(refusal({ [list]: many(51) }) ?? '', new RegExp(list));
  }
});

test('1.1 Sources: which repository a patch may come from is a filter; no baseline adds a repository to a host', () => {
  const filters = { repository: ['security'] };
  const updates = samplePatch('b@1.1', { repository: 'updates' });
  const input = sampleInput([A, updates], ['a=1.0', 'b=1.0'], { spec: { rules: [rule({ filters })] } });
  assert.deepEqual(
    evaluate(input).packages.map(({ repository }) => repository),
    ['security'],
  );
  assert.match(refusal({ sources: [] }) ?? '', /sources/);
});

test('1.1 Predefined baselines: the examples are whole baselines that approve what they say', () => {
  const text = fs.readFileSync(new URL('../examples/baselines.yaml', import.meta.url), 'utf8');
  const { documents } = readAuthored(text, 'baselines.yaml');
  const found = documents.flatMap((one) => (one.kind === 'Baseline' ? [one] : []));
  assert.ok(found.length >= 2);
  for (const one of found) assert.ok(one.spec.rules.length > 0 || one.spec.approved.length > 0, one.metadata.name);
});

test('1.1 CVEs of a finding come with explain; states and levels of all levels that SSM has', () => {
  for (const complianceLevel of ['critical', 'high', 'medium', 'low', 'informational', 'unspecified']) {
    const input = sampleInput([A], ['a=1.0'], { spec: { rules: [rule({ complianceLevel })] } });
    assert.equal(evaluate(input).findings[0]?.level, complianceLevel);
  }
  assert.match(refusal({ rules: [rule({ complianceLevel: 'urgent' })] }) ?? '', /complianceLevel/);
  const withFlaw = sampleInput([samplePatch('a@1.1', { cves: ['CVE-2025-1111'] })], ['a=1.0']);
  assert.deepEqual(explain(evaluate(withFlaw), withFlaw, 'a@1.1').patches[0]?.cves, ['CVE-2025-1111']);
});

/** A plan of the package manager that brings `lib` 2 besides. */
const PLAN = [
  { name: 'a', arch: 'amd64', from: '1.0', to: '1.1' },
  { name: 'lib', arch: 'amd64', from: '1', to: '2' },
];
for (const [action, row, here, expected] of [
  [
    'allow-as-dependency',
    'not installed yet',
    'lib=1',
    { state: 'AVAILABLE_SECURITY_UPDATE', compliant: true, dependency: true },
  ],
  ['allow-as-dependency', 'installed already', 'lib=2', { state: 'INSTALLED_OTHER', compliant: true, dependency: true }],
  ['block', 'not installed yet', 'lib=1', { state: 'AVAILABLE_SECURITY_UPDATE', compliant: true, dependency: false }],
  ['block', 'installed already', 'lib=2', { state: 'INSTALLED_REJECTED', compliant: false, dependency: false }],
] as const) {
  test(`1.2 ${action}, ${row}: ${expected.state}, ${expected.compliant ? 'compliant' : 'not compliant'}, ${expected.dependency ? 'may' : 'may not'} come as a dependency`, () => {
    const spec = { rules: [rule()], rejected: ['lib'], rejectedAction: action };
    const evaluation = evaluate(sampleInput([A, samplePatch('lib@2')], ['a=1.1', here], { spec }));
    const lib = evaluation.findings.find(({ patch }) => patch === 'lib@2');
    assert.deepEqual([lib?.state, lib?.compliant], [expected.state, expected.compliant]);
    assert.deepEqual(evaluation.install, [], 'never on its own');
    assert.equal(blockedIn(PLAN, evaluation.blocked).length === 0, expected.dependency);
    assert.equal(evaluation.counts.INSTALLED_REJECTED, expected.state === 'INSTALLED_REJECTED' ? 1 : 0);
    assert.equal(evaluation.counts[expected.state], 1);
  });
}

test('1.3 counters: one a state, none is cut short, and they add up to the catalogs (trap 19)', () => {
  const patches = Array.from({ length: 3_000 }, (_, index) => samplePatch(`p${index}@1.1`));
  const installed = patches.map(({ source }, index) => `${source}=${index % 3 === 0 ? '1.1' : '1.0'}`);
  const evaluation = evaluate(sampleInput(patches, installed.slice(0, 2_000)));
  assert.deepEqual(Object.keys(evaluation.counts).toSorted(), [...PATCH_STATES].toSorted());
  assert.equal(
    Object.values(evaluation.counts).reduce((sum, count) => sum + count, 0),
    3_000,
  );
  assert.deepEqual(
    [evaluation.counts.INSTALLED, evaluation.counts.MISSING, evaluation.counts.NOT_APPLICABLE],
    [667, 1_333, 1_000],
  );
  assert.equal(evaluation.nonCompliant.security, 1_333);
  assert.equal(evaluation.findings.length, 2_000);
});

test('1.3 the states beyond SSM: PENDING_APPROVAL with its date, HELD, ROLLED_BACK, EXCEPTED, RECALLED_INSTALLED are states of their own', () => {
  for (const state of ['PENDING_APPROVAL', 'HELD', 'ROLLED_BACK', 'EXCEPTED', 'RECALLED_INSTALLED'] satisfies PatchState[])
    assert.ok(PATCH_STATES.includes(state));
  const pending = evaluate(sampleInput([A], ['a=1.0'], { spec: { rules: [rule({ approve: { afterDays: 90 } })] } }));
  assert.equal(pending.findings[0]?.changesAt, '2026-04-01T00:00:01Z');
});

const over = (patches: object[], more: object = {}) => ({
  spec: { rules: [], overrides: { mode: 'only', until: '2026-03-10T00:00:00Z', patches }, ...more },
});
for (const [row, entry, taken] of [
  ['the name of a package', { id: 'libssl3' }, true],
  ['name.arch', { id: 'libssl3.amd64' }, true],
  ['name.arch of another architecture', { id: 'libssl3.arm64' }, false],
  ['a wildcard', { id: 'libssl*' }, true],
  ['apt: {name}.{arch}:{version}', { id: 'libssl3.amd64', version: 'libssl3.amd64:3.0' }, true],
  ['a version of its own', { id: 'libssl3', version: '3.0' }, true],
  ['another version', { id: 'libssl3', version: '3.1' }, false],
  ['a version with a wildcard', { id: 'libssl3', version: '3.*' }, true],
  ['a patch id', { id: 'ssl@3.0' }, true],
] as const) {
  test(`1.5 an entry of the override list by ${row} ${taken ? 'takes' : 'leaves'} the patch`, () => {
    const patch = samplePatch('ssl@3.0', { packages: [samplePackage('libssl3', '3.0')] });
    assert.deepEqual(evaluate(sampleInput([patch], ['libssl3=2.9'], over([entry]))).install, taken ? ['ssl@3.0'] : []);
  });
}

test('1.5 unknown fields of an entry are refused where they are written: SSM passes over them, and over a slip of the pen with them', () => {
  const until = '2026-03-10T00:00:00Z';
  const spec = (entry: object) => ({ overrides: { mode: 'only', until, patches: [entry] } });
  assert.equal(refusal(spec({ id: 'a' })), undefined);
  assert.match(refusal(spec({ id: 'a', titel: 'a' })) ?? '', /titel/);
  assert.match(refusal(spec({ version: '1' })) ?? '', /id/);
});

test('1.5 Install only: compliance is against the baseline, with the list and without', () => {
  const without = evaluate(sampleInput([A], ['a=1.0'], { spec: { rules: [] } }));
  const listed = evaluate(sampleInput([A], ['a=1.0'], over([{ id: 'a' }])));
  assert.deepEqual(listed.install, ['a@1.1']);
  assert.deepEqual([listed.compliant, listed.counts], [without.compliant, without.counts]);
});

test('1.5 what a listed patch needs and a baseline blocks stays out: the plan is refused, the patch is not half there', () => {
  const spec = over([{ id: 'a' }], { rejected: ['lib'], rejectedAction: 'block' });
  const evaluation = evaluate(sampleInput([A, samplePatch('lib@2')], ['a=1.0', 'lib=1'], spec));
  assert.deepEqual(evaluation.install, ['a@1.1']);
  assert.equal(blockedIn(PLAN, evaluation.blocked)[0]?.name, 'lib');
});

test('1.6 NoReboot: installed patches are pending and not compliant until the next boot and the scan after it', () => {
  const memory = { ...NO_MEMORY, installedByUs: [{ patch: A.id, boot: 'boot-2', rebootNeeded: true }] };
  const group = sampleGroup({ reboot: 'never' });
  const before = evaluate(sampleInput([A], ['a=1.1'], { memory, group }));
  assert.deepEqual([before.findings[0]?.state, before.compliant], ['INSTALLED_PENDING_REBOOT', false]);
  const after = evaluate(sampleInput([A], ['a=1.1'], { memory, group, host: { bootId: 'boot-3' } }));
  assert.deepEqual([after.findings[0]?.state, after.compliant], ['INSTALLED', true]);
  const input = sampleInput([A], ['a=1.0'], { group });
  assert.match(explain(evaluate(input), input, 'a').text, /reboot +group servers never reboots/);
});

test('1.6 RebootIfNeeded: by evidence, not because something was installed (trap 5)', () => {
  const memory = (rebootNeeded: boolean) => ({
    ...NO_MEMORY,
    installedByUs: [{ patch: A.id, boot: 'boot-2', rebootNeeded }],
  });
  const stateOf = (needed: boolean) => evaluate(sampleInput([A], ['a=1.1'], { memory: memory(needed) })).findings[0]?.state;
  assert.deepEqual([stateOf(true), stateOf(false)], ['INSTALLED_PENDING_REBOOT', 'INSTALLED']);
});

test('1.6 what the host forgot is not pending: a lost state file makes no reboot owed and no patch uninstalled', () => {
  const evaluation = evaluate(sampleInput([A], ['a=1.1'], { memory: NO_MEMORY, freshness: FRESH }));
  assert.deepEqual([evaluation.findings[0]?.state, evaluation.compliant], ['INSTALLED', true]);
});
