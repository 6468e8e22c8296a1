// Every row of the baseline semantics (AWS SSM, field guide 1.1) as a table, and traps 2 and 3.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import * as fc from 'fast-check';
import { isFault } from '#manifests/errors';
import { COMPLIANCE_LEVELS, encodePlain, type Patch } from '#manifests/schema';
import { decideBaseline, resolveBaseline, UNKNOWN_MOMENT } from './baseline.ts';
import { sampleBaseline, sampleCatalog, samplePackage, samplePatch } from './sample.ts';

const NOW = Date.parse('2026-03-01T12:00:00Z');
type Spec = Parameters<typeof sampleBaseline>[0];

function decide(patches: Patch | readonly Patch[], spec: Spec, at: number | string = NOW) {
  const list = Array.isArray(patches) ? (patches as readonly Patch[]) : [patches as Patch];
  const moment = typeof at === 'string' ? Date.parse(at) : at;
  return decideBaseline(sampleBaseline(spec), sampleCatalog(list), moment);
}

const kindOf = (patch: Patch, spec: Spec, at?: number | string) => decide(patch, spec, at).get(patch.id)?.kind;
const rule = (more: object = {}) => ({ name: 'rule', filters: {}, approve: { afterDays: 0 }, ...more });

const PATCH = samplePatch('openssl@3.0.1-2', {
  severity: 'high',
  section: 'libs',
  priority: 'important',
  repository: 'security',
  cves: ['CVE-2025-1111', 'CVE-2025-2222'],
  advisories: ['DSA-5000-1'],
  packages: [samplePackage('openssl', '3.0.1-2'), samplePackage('libssl3', '3.0.1-2')],
});

test('1.1 filters: values of a key are ORed, keys are ANDed, * is everything', () => {
  for (const [filters, expected] of [
    [{}, true],
    [{ product: ['debian-12'] }, true],
    [{ product: ['debian-*'] }, true],
    [{ product: ['debian-13'] }, false],
    [{ classification: ['security'] }, true],
    [{ classification: ['bugfix'] }, false],
    [{ classification: ['bugfix', 'security'] }, true],
    [{ classification: ['*'] }, true],
    [{ severity: ['critical'] }, false],
    [{ severity: ['critical', 'high'] }, true],
    [{ severity: ['*'] }, true],
    [{ cve: ['CVE-2025-2222'] }, true],
    [{ cve: ['CVE-2025-22*'] }, true],
    [{ cve: ['cve-2025-1111'] }, true],
    [{ cve: ['CVE-2024-*'] }, false],
    [{ advisory: ['DSA-5000-1'] }, true],
    [{ advisory: ['DSA-5001-1'] }, false],
    [{ name: ['openssl'] }, true],
    [{ name: ['libssl3'] }, true],
    [{ name: ['libssl*'] }, true],
    [{ name: ['ssl'] }, false],
    [{ patch: ['openssl@3.0.1-2'] }, true],
    [{ patch: ['openssl@*'] }, true],
    [{ version: ['3.0.1-2'] }, true],
    [{ version: ['3.1*'] }, false],
    [{ section: ['libs'] }, true],
    [{ section: ['admin'] }, false],
    [{ priority: ['important', 'required'] }, true],
    [{ priority: ['optional'] }, false],
    [{ repository: ['security'] }, true],
    [{ repository: ['main'] }, false],
    [{ arch: ['amd64'] }, true],
    [{ arch: ['arm64'] }, false],
    [{ severity: ['high'], section: ['libs'], cve: ['*'] }, true],
    [{ severity: ['high'], section: ['admin'] }, false],
    [{ severity: [] }, false],
  ] as const) {
    assert.equal(
      kindOf(PATCH, { rules: [rule({ filters })] }),
      expected ? 'approved' : 'not-in-baseline',
      JSON.stringify(filters),
    );
  }
});

test('1.1 globalFilters are ANDed before every rule', () => {
  assert.equal(kindOf(PATCH, { globalFilters: { section: ['libs'] }, rules: [rule()] }), 'approved');
  assert.equal(kindOf(PATCH, { globalFilters: { section: ['admin'] }, rules: [rule()] }), 'not-in-baseline');
});

test('1.1 any rule that approves approves; no rule approves nothing', () => {
  assert.equal(kindOf(PATCH, { rules: [rule({ filters: { severity: ['low'] } }), rule({ name: 'second' })] }), 'approved');
  assert.equal(kindOf(PATCH, { rules: [] }), 'not-in-baseline');
});

test('1.1 ApproveAfterDays: approved after the seventh day, to the second', () => {
  const patch = samplePatch('a@1', { firstSeen: '2025-11-09T18:00:00Z' });
  const spec = { rules: [rule({ approve: { afterDays: 7 } })] };
  for (const [at, kind] of [
    ['2025-11-09T18:00:00Z', 'pending'],
    ['2025-11-16T17:59:59Z', 'pending'],
    ['2025-11-16T18:00:00Z', 'pending'],
    ['2025-11-16T18:00:01Z', 'approved'],
  ] as const) {
    const decision = decide(patch, spec, at).get('a@1');
    assert.ok(decision?.kind === 'pending' || decision?.kind === 'approved');
    assert.equal(decision.kind, kind, at);
    assert.equal(decision.at, Date.parse('2025-11-16T18:00:01Z'));
  }
});

test('1.1 ApproveAfterDays 0 has no delay: approved in the very second it is seen', () => {
  const patch = samplePatch('a@1', { firstSeen: '2025-11-09T18:00:00Z' });
  assert.equal(kindOf(patch, { rules: [rule()] }, '2025-11-09T18:00:00Z'), 'approved');
});

test('1.1 days of a delay are 86,400 seconds, whatever a calendar says', () => {
  const patch = samplePatch('a@1', { firstSeen: '2024-02-28T12:00:00Z' }); // a leap year
  const decision = decide(patch, { rules: [rule({ approve: { afterDays: 360 } })] }, '2024-03-01T00:00:00Z').get('a@1');
  assert.equal(decision?.kind === 'pending' ? decision.at : 0, Date.parse('2024-02-28T12:00:01Z') + 360 * 86_400_000);
});

test('1.1 ApproveUntilDate: to 23:59:59Z of the day, by the later of the vendor dates, else by when it was first seen', () => {
  const spec = { rules: [rule({ approve: { untilDate: '2025-12-31' } })] };
  for (const [dates, kind] of [
    [{ released: '2025-12-31T23:59:59Z' }, 'approved'],
    [{ released: '2026-01-01T00:00:00Z' }, 'not-in-baseline'],
    [{ released: '2025-12-01T00:00:00Z', updated: '2026-01-01T00:00:00Z' }, 'not-in-baseline'],
    [{ updated: '2025-12-31T00:00:00Z', firstSeen: '2026-02-01T00:00:00Z' }, 'approved'],
    [{ firstSeen: '2025-12-31T23:59:59Z' }, 'approved'],
    [{ firstSeen: '2026-01-01T00:00:00Z' }, 'not-in-baseline'],
  ] as const) {
    assert.equal(kindOf(samplePatch('a@1', dates), spec), kind, JSON.stringify(dates));
  }
});

test('1.1 a patch without any date: now is no delay (SSM), never waits until one is known', () => {
  const patch = samplePatch('a@1', { firstSeen: UNKNOWN_MOMENT });
  for (const approve of [{ afterDays: 30 }, { untilDate: '2025-01-01' }]) {
    assert.equal(kindOf(patch, { rules: [rule({ approve })] }), 'approved');
    assert.equal(kindOf(patch, { rules: [rule({ approve })], undated: 'now' }), 'approved');
    assert.equal(kindOf(patch, { rules: [rule({ approve })], undated: 'never' }), 'not-in-baseline');
  }
  const dated = samplePatch('a@1', { firstSeen: UNKNOWN_MOMENT, released: '2026-02-28T00:00:00Z' });
  assert.equal(kindOf(dated, { rules: [rule({ approve: { afterDays: 30 } })], undated: 'never' }), 'pending');
});

test('1.1 EnableNonSecurity: without it a rule is for security patches alone', () => {
  const patch = samplePatch('a@1', { classification: 'bugfix' });
  assert.equal(kindOf(patch, { rules: [rule()] }), 'not-in-baseline');
  assert.equal(kindOf(patch, { rules: [rule({ nonSecurity: true })] }), 'approved');
});

test('1.1 approved list: no rule, no delay, its own level and non-security flag', () => {
  const spec = { rules: [], approved: ['openssl'], approvedComplianceLevel: 'critical' };
  const decision = decide(PATCH, spec).get(PATCH.id);
  assert.deepEqual(decision, {
    kind: 'approved',
    explicit: true,
    level: 'critical',
    at: NOW,
    rule: 'approved list',
    reason: '"openssl" is on the approved list',
  });
  const bugfix = samplePatch('openssl@4', { classification: 'bugfix' });
  assert.equal(kindOf(bugfix, spec), 'not-in-baseline');
  assert.equal(kindOf(bugfix, { ...spec, approvedNonSecurity: true }), 'approved');
  assert.equal(kindOf(bugfix, { ...spec, rules: [rule({ nonSecurity: true })] }), 'approved', 'a rule may still approve it');
});

test('1.1 name formats of the lists: id, source, binary package, CVE, advisory, a wildcard', () => {
  for (const [entry, expected] of [
    ['openssl@3.0.1-2', true],
    ['openssl', true],
    ['libssl3', true],
    ['CVE-2025-2222', true],
    ['cve-2025-2222', true],
    ['DSA-5000-1', true],
    ['DSA-5000*', true],
    ['libss*', true],
    ['OpenSSL', false],
    ['openss', false],
    ['CVE-2025-222', false],
  ] as const) {
    assert.equal(
      kindOf(PATCH, { rules: [], approved: [entry] }),
      expected ? 'approved' : 'not-in-baseline',
      `approved ${entry}`,
    );
    assert.equal(
      kindOf(PATCH, { rules: [rule()], rejected: [entry] }),
      expected ? 'rejected' : 'approved',
      `rejected ${entry}`,
    );
  }
});

test('1.1 rejected wins over the approved list and over every rule', () => {
  const spec = { rules: [rule()], approved: ['openssl'], rejected: ['libssl3'] };
  assert.deepEqual(decide(PATCH, spec).get(PATCH.id), {
    kind: 'rejected',
    rule: 'rejected list',
    reason: '"libssl3" is on the rejected list',
  });
});

test('1.1 the highest level among the approving rules; the order of rules is irrelevant', () => {
  const rules = COMPLIANCE_LEVELS.map((level) => rule({ name: level, complianceLevel: level }));
  fc.assert(
    fc.property(fc.shuffledSubarray(rules, { minLength: 1 }), (some) => {
      const decision = decide(PATCH, { rules: some }).get(PATCH.id);
      const expected = COMPLIANCE_LEVELS.find((level) => some.some(({ name }) => name === level));
      assert.equal(decision?.kind === 'approved' ? decision.level : '', expected);
      assert.equal(decision?.kind === 'approved' ? decision.rule : '', expected);
    }),
    { seed: 5, numRuns: 200 },
  );
});

test('1.1 APPROVED beats PENDING, whatever the levels and the order', () => {
  const soon = rule({ name: 'soon', complianceLevel: 'low' });
  const late = rule({ name: 'late', complianceLevel: 'critical', approve: { afterDays: 300 } });
  for (const rules of [
    [soon, late],
    [late, soon],
  ]) {
    const decision = decide(PATCH, { rules }).get(PATCH.id);
    assert.ok(decision?.kind === 'approved' && decision.level === 'low' && decision.rule === 'soon');
  }
});

test('1.1 of several delays the one that ends first is pending', () => {
  const rules = [rule({ name: 'late', approve: { afterDays: 300 } }), rule({ name: 'soon', approve: { afterDays: 100 } })];
  const decision = decide(PATCH, { rules }).get(PATCH.id);
  assert.ok(decision?.kind === 'pending' && decision.rule === 'soon');
});

test('trap 3: the delay counts from when this publisher first saw it, not from the date of the notice', () => {
  const patch = samplePatch('a@1', {
    released: '2025-07-07T00:00:00Z',
    updated: '2025-07-07T00:00:00Z',
    firstSeen: '2025-07-13T00:00:00Z',
  });
  const spec = { rules: [rule({ approve: { afterDays: 7 } })] };
  assert.equal(kindOf(patch, spec, '2025-07-14T12:00:00Z'), 'pending');
  assert.equal(kindOf(patch, spec, '2025-07-20T00:00:01Z'), 'approved');
});

test('trap 2: a patch replaced each month still comes under a delay longer than a month', () => {
  const months = ['01', '02', '03', '04', '05', '06'];
  const patches = months.map((month, index) => samplePatch(`tool@1.${index}`, { firstSeen: `2026-${month}-01T00:00:00Z` }));
  const spec = { rules: [rule({ approve: { afterDays: 45 } })] };
  const at = (moment: string) =>
    decide(
      patches.filter(({ firstSeen }) => firstSeen <= moment),
      spec,
      moment,
    );
  assert.equal(at('2026-02-10T00:00:00Z').get('tool@1.1')?.kind, 'pending');
  const carried = at('2026-02-15T00:00:01Z').get('tool@1.1');
  assert.equal(carried?.kind, 'approved', '45 days after 1.0, which it replaced while that was waiting');
  assert.match(carried.reason, /tool@1\.0, which it replaces/);
  // 1.2 came after the approval of 1.1: it waits for itself
  const own = at('2026-03-05T00:00:00Z').get('tool@1.2');
  assert.equal(own?.kind === 'pending' ? own.at : 0, Date.parse('2026-03-01T00:00:01Z') + 45 * 86_400_000);
  // and is carried over in turn
  assert.equal(at('2026-04-15T00:00:01Z').get('tool@1.3')?.kind, 'approved');
});

test('trap 2: a rejected or unmatched predecessor hands nothing on', () => {
  const patches = [
    samplePatch('tool@1.0', { firstSeen: '2026-01-01T00:00:00Z' }),
    samplePatch('tool@1.1', { firstSeen: '2026-01-05T00:00:00Z' }),
  ];
  const spec = { rules: [rule({ approve: { afterDays: 7 } })] };
  assert.equal(decide(patches, spec, '2026-01-09T00:00:00Z').get('tool@1.1')?.kind, 'approved');
  assert.equal(decide(patches, { ...spec, rejected: ['tool@1.0'] }, '2026-01-09T00:00:00Z').get('tool@1.1')?.kind, 'pending');
});

test('the resolved document: sorted, disjoint, valid, the same whatever the order of the catalog', () => {
  const patches = ['z@1', 'a@2', 'm@3', 'b@1', 'Z@1'].map((id, index) =>
    samplePatch(id, { firstSeen: index === 0 ? '2026-02-01T00:00:00Z' : `2026-02-2${index}T00:00:00Z` }),
  );
  const authored = sampleBaseline({ rules: [rule({ approve: { afterDays: 10 } })], rejected: ['m'], approved: ['b'] });
  const resolved = resolveBaseline(authored, sampleCatalog(patches), NOW, 'a'.repeat(64));
  assert.deepEqual(
    [resolved.approved, resolved.pending, resolved.rejected].map((list) => list.map(({ patch }) => patch)),
    [['b@1', 'z@1'], ['Z@1', 'a@2'], ['m@3']],
  );
  assert.equal(resolved.pending[1]?.approvesAt, '2026-03-03T00:00:01Z');
  const bytes = encodePlain('resolved-baseline', resolved);
  const turned = resolveBaseline(authored, sampleCatalog(patches.toReversed()), NOW, 'a'.repeat(64));
  assert.deepEqual(encodePlain('resolved-baseline', turned), bytes);
});

test('a baseline is not resolved against the catalog of another product', () => {
  assert.throws(
    () => resolveBaseline(sampleBaseline(), sampleCatalog([], 'debian-13'), NOW),
    (error) => isFault(error, 'decide.other-product'),
  );
});

test('1.1 family is the product without its version', () => {
  for (const [family, expected] of [
    [['debian'], 'approved'],
    [['deb*'], 'approved'],
    [['debian-12'], 'not-in-baseline'],
    [['rhel'], 'not-in-baseline'],
  ] as const) {
    assert.equal(kindOf(PATCH, { rules: [rule({ filters: { family } })] }), expected, family.join());
  }
});

test('trap 2: carryDelay off lets every patch wait for itself, as SSM does', () => {
  const patches = [
    samplePatch('tool@1.0', { firstSeen: '2026-01-01T00:00:00Z' }),
    samplePatch('tool@1.1', { firstSeen: '2026-01-05T00:00:00Z' }),
  ];
  const spec = { rules: [rule({ approve: { afterDays: 7 } })] };
  const at = '2026-01-09T00:00:00Z';
  assert.equal(decide(patches, spec, at).get('tool@1.1')?.kind, 'approved');
  assert.equal(decide(patches, { ...spec, carryDelay: false }, at).get('tool@1.1')?.kind, 'pending');
});

test('an emergency rule knows no delay; of several rules the emergency and the first deadline count', () => {
  const patch = samplePatch('a@1', { firstSeen: '2026-02-27T00:00:00Z' });
  const rules = [
    rule({ name: 'slow', approve: { afterDays: 1 }, complianceLevel: 'high', deadline: { afterDays: 30 } }),
    rule({ name: 'now', approve: { afterDays: 90 }, urgency: 'emergency', deadline: { afterDays: 2 } }),
  ];
  const resolved = resolveBaseline(sampleBaseline({ rules }), sampleCatalog([patch]), NOW, 'a'.repeat(64));
  assert.deepEqual(
    resolved.approved.map(({ level, urgency, deadline, approvedAt }) => [level, urgency, deadline, approvedAt]),
    [['high', 'emergency', '2026-03-01T00:00:00Z', '2026-02-27T00:00:00Z']],
  );
});
