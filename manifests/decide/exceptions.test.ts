// Waivers, recalls and halts: tables by case, and what each does to the decision of a host.
import assert from 'node:assert/strict';
import { generateKeyPairSync, type KeyObject, sign } from 'node:crypto';
import { test } from 'node:test';
import { isFault } from '#manifests/errors';
import { encodeDocument, type SignedHalt, type SignedRecall, type SignedWaiver, type WaiverPolicy } from '#manifests/schema';
import { blockedIn, evaluate, explain, readStop } from './index.ts';
import { NO_MEMORY, sampleGroup, sampleInput, samplePatch } from './sample.ts';
import { hostWaivers, spanOf, verifyWaiver, waiverBytes, waiverNotices } from './waiver.ts';

const NOW = Date.parse('2026-03-01T12:00:00Z');
const DAY = 86_400_000;
const WHO = { agent: 'a'.repeat(32), labels: { role: 'web' } };

function approver(name: string): { name: string; publicKey: string; secret: KeyObject } {
  const { publicKey, privateKey } = generateKeyPairSync('ed25519');
  return {
    name,
    publicKey: publicKey.export({ type: 'spki', format: 'der' }).subarray(12).toString('hex'),
    secret: privateKey,
  };
}
const [ANN, BEN, EVE] = [approver('ann'), approver('ben'), approver('eve')];
const POLICY: WaiverPolicy = {
  approvers: [ANN, BEN].map(({ name, publicKey }) => ({ name, publicKey })),
  threshold: 2,
  maxDays: 90,
};

function waiver(more: Partial<SignedWaiver> = {}, signers = [ANN, BEN]): SignedWaiver {
  const plain: SignedWaiver = {
    schema: 'patchferry/waiver',
    schemaVersion: 1,
    name: 'till',
    scope: {},
    patches: ['a'],
    cves: [],
    from: '2026-02-01T00:00:00Z',
    until: '2026-03-15T00:00:00Z',
    response: 'mitigate',
    reason: 'till software breaks',
    control: null,
    requestedBy: null,
    approvals: [],
    ...more,
  };
  const approvals = signers.map(({ name, publicKey, secret }) => ({
    approver: name,
    publicKey,
    at: '2026-02-01T00:00:00Z',
    signature: sign(null, waiverBytes(plain), secret).toString('hex'),
  }));
  return { ...plain, approvals };
}

const GROUP = sampleGroup({ waivers: POLICY });
const A = samplePatch('a@1.1', { cves: ['CVE-2025-1111', 'CVE-2025-2222'] });
const decide = (waivers: SignedWaiver[], more: Parameters<typeof sampleInput>[2] = {}) => {
  const input = sampleInput([A, samplePatch('b@1.1')], ['a=1.0', 'b=1.0'], {
    group: GROUP,
    who: WHO,
    waivers,
    at: NOW,
    ...more,
  });
  return { input, evaluation: evaluate(input), a: evaluate(input).findings[0] };
};

test('waivers: m of n approvers over exactly these bytes; one key counts once; foreign and altered ones never', () => {
  const says = (one: SignedWaiver, policy: WaiverPolicy | undefined = POLICY) => {
    const verdict = verifyWaiver(one, policy);
    return verdict.ok ? verdict.approvers.join('+') : verdict.code;
  };
  const [first] = waiver().approvals;
  assert.ok(first);
  const rows: readonly (readonly [string, SignedWaiver, string])[] = [
    ['both', waiver(), 'ann+ben'],
    ['one', waiver({}, [ANN]), 'too-few-approvers'],
    ['the same twice', { ...waiver({}, [ANN]), approvals: [first, { ...first, approver: 'ben' }] }, 'too-few-approvers'],
    ['one of them foreign', waiver({}, [ANN, EVE]), 'too-few-approvers'],
    ['altered after signing', { ...waiver(), until: '2026-04-01T00:00:00Z' }, 'too-few-approvers'],
    ['longer than allowed', waiver({ until: '2026-06-01T00:00:00Z' }), 'too-long'],
    ['ends before it begins', waiver({ until: '2026-01-01T00:00:00Z' }), 'no-end'],
  ];
  for (const [what, one, expected] of rows) assert.equal(says(one), expected, what);
  const verdict = verifyWaiver(waiver(), undefined);
  assert.equal(verdict.ok ? '' : verdict.code, 'no-policy');
});

test('8.11 a waived patch is EXCEPTED: not installed, compliant, in its own column, with its end', () => {
  const { evaluation, a, input } = decide([waiver()]);
  assert.deepEqual([a?.state, a?.compliant, a?.changesAt], ['EXCEPTED', true, '2026-03-15T00:00:00Z']);
  assert.deepEqual(evaluation.install, ['b@1.1']);
  assert.equal(evaluation.counts.EXCEPTED, 1, 'trap 26: what is excepted stays visible');
  assert.match(
    a?.reasons.join() ?? '',
    /waiver till \(mitigate: till software breaks\) until 2026-03-15T00:00:00Z, approved by ann, ben/,
  );
  assert.match(explain(evaluation, input, 'a').text, /waiver +waiver till/);
});

test('waivers by time, scope and control: what does not count leaves the patch MISSING and says why', () => {
  const control = { says: 'port closed', check: { command: ['/bin/check'], timeoutSeconds: 5 } };
  const passed = (ok: boolean, at = NOW - 60_000) => ({ controls: [{ waiver: 'till', passed: ok, at }] });
  for (const [what, one, more, state, says] of [
    ['to come', waiver({ from: '2026-03-10T00:00:00Z' }), {}, 'MISSING', /begins at 2026-03-10/],
    ['ended', waiver({ until: '2026-03-01T12:00:00Z' }), {}, 'MISSING', /ended at 2026-03-01T12:00:00Z/],
    ['the last second', waiver({ until: '2026-03-01T12:00:01Z' }), {}, 'EXCEPTED', /./],
    ['unsigned', waiver({}, []), {}, 'MISSING', /0 of 2 approvers/],
    ['another group', waiver({ scope: { groups: ['desks'] } }), {}, 'MISSING', /./],
    ['by label', waiver({ scope: { labels: { role: 'w*' } } }), {}, 'EXCEPTED', /./],
    ['control not checked', waiver({ control }), {}, 'MISSING', /not been checked/],
    ['control checked', waiver({ control }), passed(true), 'EXCEPTED', /./],
    ['control failed', waiver({ control }), passed(false), 'MISSING', /check of its control failed/],
    ['control checked days ago', waiver({ control }), passed(true, NOW - 2 * DAY), 'MISSING', /not been checked/],
    ['one of two flaws', waiver({ patches: [], cves: ['CVE-2025-1111'] }), {}, 'MISSING', /CVE-2025-2222 stays open/],
    ['both flaws', waiver({ patches: [], cves: ['CVE-2025-1111', 'CVE-2025-2222'] }), {}, 'EXCEPTED', /./],
  ] as const) {
    const { a } = decide([one], more);
    assert.equal(a?.state, state, what);
    assert.match(a.reasons.join('; '), says, what);
  }
});

test('9.11 a waiver ends at midnight local or UTC: the declared type decides', () => {
  const day = (zone: string) => waiver({ until: { date: '2026-03-14', zone } });
  const until = (one: SignedWaiver, hostZone: string) => new Date(spanOf(one, hostZone).until).toISOString();
  assert.equal(until(day('UTC'), 'Asia/Tokyo'), '2026-03-15T00:00:00.000Z');
  assert.equal(until(day('host'), 'Asia/Tokyo'), '2026-03-14T15:00:00.000Z');
  assert.equal(until(day('host'), 'America/New_York'), '2026-03-15T04:00:00.000Z');
  assert.equal(until(day('Europe/Berlin'), 'Asia/Tokyo'), '2026-03-14T23:00:00.000Z');
});

test('notices at T-14, T-1, T+0, and for as long as what was covered is missing after the end', () => {
  const end = Date.parse('2026-03-15T00:00:00Z');
  const at = (moment: number, missing: boolean) =>
    waiverNotices(hostWaivers([waiver()], POLICY, { ...WHO }, [], moment, 'UTC'), () => missing, moment).map(
      ({ kind }) => kind,
    );
  assert.deepEqual(at(end - 14 * DAY - 1, false), []);
  assert.deepEqual(at(end - 14 * DAY, false), ['ends-in-14-days']);
  assert.deepEqual(at(end - DAY, false), ['ends-tomorrow']);
  assert.deepEqual(at(end, false), ['ended']);
  assert.deepEqual(at(end + DAY, false), []);
  assert.deepEqual(at(end + 300 * DAY, true), ['ended-still-missing']);
  assert.equal(decide([waiver({ until: '2026-03-01T00:00:00Z' })]).evaluation.notices[0]?.kind, 'ended-still-missing');
});

// ---- recalls ----

const recall = (more: Partial<SignedRecall> = {}): SignedRecall => ({
  schema: 'patchferry/recall',
  schemaVersion: 1,
  name: 'bad-a',
  signedAt: '2026-03-01T00:00:00Z',
  patches: ['a@1.1'],
  action: 'never-install',
  scope: {},
  reason: 'eats data',
  replaceWith: null,
  withinDays: null,
  ...more,
});
const EXPIRED = { freshness: { softExpired: true, hardExpired: true } };

test('8.12 recalls by action, on a host that lacks the patch and on one that has it', () => {
  const fixed = samplePatch('a@1.2', { firstSeen: '2026-02-28T00:00:00Z' });
  const spec = { rules: [{ name: 'slow', filters: {}, approve: { afterDays: 30 } }] };
  const waysBack = [{ run: 'run-7', patches: ['a@1.1'], takenAt: NOW - 2 * DAY }];
  for (const [what, one, installed, more, state, install, back] of [
    ['never-install, lacking', recall(), '1.0', {}, 'AVAILABLE_SECURITY_UPDATE', [], null],
    ['never-install, installed', recall(), '1.1', {}, 'RECALLED_INSTALLED', [], null],
    ['warn, lacking', recall({ action: 'warn' }), '1.0', {}, 'MISSING', ['a@1.1'], null],
    ['warn, installed', recall({ action: 'warn' }), '1.1', {}, 'INSTALLED', [], null],
    [
      'replace, installed',
      recall({ action: 'replace', replaceWith: 'a@1.2' }),
      '1.1',
      {},
      'RECALLED_INSTALLED',
      ['a@1.2'],
      null,
    ],
    [
      'replace, past hard expiry',
      recall({ action: 'replace', replaceWith: 'a@1.2' }),
      '1.1',
      EXPIRED,
      'RECALLED_INSTALLED',
      ['a@1.2'],
      null,
    ],
    ['rollback, way back at hand', recall({ action: 'rollback' }), '1.1', { waysBack }, 'RECALLED_INSTALLED', [], 'run-7'],
    [
      'rollback, past hard expiry',
      recall({ action: 'rollback' }),
      '1.1',
      { waysBack, ...EXPIRED },
      'RECALLED_INSTALLED',
      [],
      'run-7',
    ],
    ['rollback, none at hand', recall({ action: 'rollback' }), '1.1', {}, 'RECALLED_INSTALLED', [], null],
    ['rollback, too old', recall({ action: 'rollback', withinDays: 1 }), '1.1', { waysBack }, 'RECALLED_INSTALLED', [], null],
    [
      'rollback, later runs on top',
      recall({ action: 'rollback' }),
      '1.1',
      { waysBack: [...waysBack, { run: 'run-8', patches: ['b@2'], takenAt: NOW }] },
      'RECALLED_INSTALLED',
      [],
      'run-7',
    ],
    ['another host', recall({ scope: { labels: { role: 'db' } } }), '1.0', {}, 'MISSING', ['a@1.1'], null],
  ] as const) {
    const patches = one.action === 'replace' ? [samplePatch('a@1.1', { firstSeen: '2026-01-01T00:00:00Z' }), fixed] : [A];
    const input = sampleInput(patches, [`a=${installed}`], {
      who: WHO,
      recalls: [one],
      at: NOW,
      ...(one.action === 'replace' ? { spec } : {}),
      ...more,
    });
    const evaluation = evaluate(input);
    assert.equal(evaluation.findings.find(({ patch }) => patch === 'a@1.1')?.state, state, what);
    assert.deepEqual(evaluation.install, install, what);
    assert.equal(evaluation.rollback?.run ?? null, back, what);
    const plan = [{ name: 'a', arch: 'amd64', from: null, to: '1.1' }];
    const isBlocked = one.action !== 'warn' && one.scope.labels === undefined;
    assert.equal(blockedIn(plan, evaluation.blocked).length, isBlocked ? 1 : 0, what);
    assert.match(
      explain(evaluation, input, 'a@1.1').text,
      one.scope.labels === undefined ? /recall +recalled \(bad-a\)/ : /a@1\.1/,
      what,
    );
  }
  assert.match(
    evaluate(sampleInput([A], ['a=1.1'], { who: WHO, recalls: [recall({ action: 'warn' })] })).warnings.join(),
    /eats data/,
  );
});

test('8.12 runs that stand on the recalled one go first, the newest before the others; one that is too old stays under them', () => {
  const waysBack = [
    { run: 'run-7', patches: ['a@1.1'], takenAt: NOW - 5 * DAY },
    { run: 'run-8', patches: ['b@2'], takenAt: NOW - 2 * DAY },
    { run: 'run-9', patches: ['c@2'], takenAt: NOW - DAY },
  ];
  const order = (ways: typeof waysBack, withinDays: number | null = null) => {
    const recalls = [recall({ action: 'rollback', withinDays })];
    return evaluate(sampleInput([A], ['a=1.1'], { who: WHO, recalls, at: NOW, waysBack: ways }));
  };
  for (const [count, next, says] of [
    [3, 'run-9', /run run-7 of .* is taken back, after the 2 runs made since, the newest first: now run run-9/],
    [2, 'run-8', /run run-7 of .* is taken back, after the run made since, the newest first: now run run-8/],
    [1, 'run-7', /run run-7 of \S+ is taken back$/],
  ] as const) {
    const { rollback, next: then } = order(waysBack.slice(0, count));
    assert.deepEqual([rollback?.run, rollback?.next], ['run-7', next]);
    assert.match(rollback?.says ?? '', says);
    assert.equal(then.action, 'wait');
  }
  const old = order(waysBack, 4);
  assert.equal(old.rollback, null);
  assert.match(old.warnings.join(), /the way back of .* is older than 4 days/);
});

test('a halts key cannot sign a recall that changes hosts', () => {
  const read = (one: SignedRecall) => readStop(encodeDocument('recall', one), 'halts/bad-a.json.zst');
  assert.equal(read(recall()).kind, 'recall');
  assert.equal(read(recall({ action: 'warn' })).kind, 'recall');
  for (const one of [recall({ action: 'rollback' }), recall({ action: 'replace', replaceWith: 'a@1.2' })]) {
    assert.throws(
      () => read(one),
      (error) => isFault(error, 'recall.beyond-halts'),
    );
  }
});

// ---- halts ----

const halt = (more: Partial<SignedHalt> = {}): SignedHalt => ({
  schema: 'patchferry/halt',
  schemaVersion: 1,
  name: 'stop',
  signedAt: '2026-03-01T00:00:00Z',
  scope: {},
  patches: [],
  stops: ['download', 'install', 'reboot'],
  reason: 'incident',
  until: null,
  ...more,
});

test('a halt can stop and nothing else: by scope, patch, purpose and time', () => {
  for (const [what, one, install, mayReboot, mayDownload] of [
    ['everything', halt(), [], false, false],
    ['one patch', halt({ patches: ['a@*'] }), ['b@1.1'], true, true],
    ['reboots alone', halt({ stops: ['reboot'] }), ['a@1.1', 'b@1.1'], false, true],
    ['another group', halt({ scope: { groups: ['desks'] } }), ['a@1.1', 'b@1.1'], true, true],
    ['run out', halt({ until: '2026-03-01T12:00:00Z' }), ['a@1.1', 'b@1.1'], true, true],
    ['not run out', halt({ until: '2026-03-01T12:00:01Z' }), [], false, false],
  ] as const) {
    const { evaluation } = decide([], { halts: [one] });
    assert.deepEqual(
      [evaluation.install, evaluation.mayReboot, evaluation.mayDownload],
      [install, mayReboot, mayDownload],
      what,
    );
    assert.equal(evaluation.counts.MISSING, 2, `${what}: still counted as missing`);
  }
  const { evaluation, input } = decide([], { halts: [halt()] });
  assert.equal(evaluation.next.action, 'wait');
  assert.match(evaluation.next.says, /halt stop stops it until it is withdrawn: incident/);
  assert.match(explain(evaluation, input, 'a').text, /held back +halt stop/);
  const installed = evaluate(sampleInput([A], ['a=1.1'], { halts: [halt()], memory: NO_MEMORY }));
  assert.equal(installed.findings[0]?.state, 'INSTALLED', 'nothing is taken off by a halt');
});
