// Hooks, service restarts and reboots over the fake host: who has a turn when, what an exit means there, what the result says.
import assert from 'node:assert/strict';
import * as fs from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { type Group, HOOK_POINTS } from '#manifests/schema';
import type { Ended } from './ending.ts';
import { beginRun, makeOwedReboot, type RunEnd, takeUp } from './engine.ts';
import { type FakeHost, makeFakeHost, START } from './testing/fake-host.ts';

let folder: string;
let count = 0;
before(() => {
  folder = fs.mkdtempSync(join(tmpdir(), 'patchferry-hooks-'));
});
after(() => fs.rmSync(folder, { recursive: true, force: true }));

const HOOKS = HOOK_POINTS.map((at) => ({ name: at, at, command: ['true'], timeoutSeconds: 5 }));

function host(group: Partial<Group> = {}): FakeHost {
  count += 1;
  return makeFakeHost(join(folder, `${count}.sqlite`), { hooks: HOOKS, ...group });
}

function request(fake: FakeHost) {
  return { evaluation: fake.evaluation(), inventory: fake.inventory(), group: fake.group, catalogs: [], trail: [] };
}

const begin = (fake: FakeHost): Promise<RunEnd> => beginRun(request(fake), fake.world);

function ended(end: RunEnd | undefined): Ended {
  assert.ok(end?.kind === 'ended', `it is ${end?.kind}`);
  return end;
}

const told = ({ body }: Ended) => (body.hooks ?? []).map(({ name, outcome }) => `${name} ${outcome}`);
const statesOf = ({ body }: Ended) => body.states.map(({ state }) => state).join(' ');
const isOld = (fake: FakeHost) => [...fake.packages.values()].every((version) => version === '1.0');
/** What was done, without what is of no interest here. */
const order = (fake: FakeHost) =>
  fake.acts.filter((act) => /^(?:hook|plan|take|install|restart|wall|reboot|restore)/.test(act));

describe('hooks', () => {
  test('each has its turn in the order of the run; without a reboot two are skipped, and say so (trap 20)', async () => {
    const fake = host();
    const end = ended(await begin(fake));
    assert.deepEqual(order(fake), [
      'hook pre-download pre-download',
      'plan deb',
      'hook pre-install pre-install',
      'take',
      'install deb',
      'hook post-install post-install',
      'hook on-exit on-exit committed',
    ]);
    assert.deepEqual(told(end), [
      'pre-download done',
      'pre-install done',
      'post-install done',
      'pre-reboot skipped',
      'post-reboot skipped',
      'on-exit done',
    ]);
  });

  test('with a reboot all six, the fifth before the host is judged', async () => {
    const fake = host({ reboot: 'always' });
    fake.allowReboot = true;
    assert.equal((await begin(fake)).kind, 'rebooting');
    assert.deepEqual(order(fake).slice(-3), [
      'hook pre-reboot pre-reboot',
      'wall patchferry reboots this host now: the group reboots after every installation',
      'reboot',
    ]);
    fake.boot = 2;
    const end = ended(await takeUp(fake.world));
    assert.ok(
      told(end).every((line) => line.endsWith(' done')),
      told(end).join(),
    );
    assert.equal(end.body.rebootNeeded.needed, false);
  });

  const rows: readonly {
    at: string;
    how: 'failed' | 'later';
    states: string;
    outcome: Ended['outcome'];
    code: string | null;
  }[] = [
    { at: 'pre-download', how: 'failed', states: 'Stage Failed', outcome: 'refused', code: 'run.hook' },
    { at: 'pre-download', how: 'later', states: 'Stage Failed', outcome: 'refused', code: 'run.hook-later' },
    { at: 'pre-install', how: 'failed', states: 'Stage Precheck Snapshot Failed', outcome: 'refused', code: 'run.hook' },
    { at: 'pre-install', how: 'later', states: 'Stage Precheck Snapshot Failed', outcome: 'refused', code: 'run.hook-later' },
    {
      at: 'post-install',
      how: 'failed',
      states: 'Stage Precheck Snapshot Install Rollback Failed',
      outcome: 'rolled-back',
      code: 'run.hook',
    },
    {
      at: 'post-install',
      how: 'later',
      states: 'Stage Precheck Snapshot Install Rollback Failed',
      outcome: 'rolled-back',
      code: 'run.hook',
    },
    { at: 'on-exit', how: 'failed', states: 'Stage Precheck Snapshot Install Verify Commit', outcome: 'committed', code: null },
  ];
  for (const { at, how, states, outcome, code } of rows) {
    test(`${at} ${how}: ${outcome}, told in the result, with a pause (trap 21)`, async () => {
      const fake = host();
      fake.faults.hooks = { [at]: how };
      const end = ended(await begin(fake));
      assert.equal(statesOf(end), states);
      assert.equal(end.outcome, outcome);
      assert.equal(end.body.error?.code ?? null, code);
      assert.ok(told(end).includes(`${at} ${how}`), told(end).join());
      const later = HOOK_POINTS.slice(HOOK_POINTS.indexOf(at as 'on-exit') + 1).filter((point) => point !== 'on-exit');
      for (const point of later) assert.ok(told(end).includes(`${point} skipped`), `${point} of ${told(end).join()}`);
      assert.ok(fake.acts.includes(`hook on-exit on-exit ${outcome}`), 'the last one runs however the run ends');
      assert.equal(isOld(fake), outcome !== 'committed');
      assert.equal(end.retryAt !== null && end.retryAt > fake.now, outcome !== 'committed');
      assert.equal(fake.world.journal.results.pending().length, 1);
    });
  }

  test('a pre-reboot hook that objects leaves the reboot owed; a post-reboot hook that fails takes the run back', async () => {
    const fake = host({ reboot: 'always' });
    fake.allowReboot = true;
    fake.faults.hooks = { 'pre-reboot': 'later' };
    const first = ended(await begin(fake));
    assert.equal(first.outcome, 'committed');
    assert.equal(first.body.rebootNeeded.needed, true);
    assert.ok(!fake.acts.includes('reboot'));
    fake.faults.hooks = { 'post-reboot': 'failed' };
    assert.equal((await makeOwedReboot(request(fake), fake.world)).kind, 'rebooting');
    fake.boot = 2;
    let end = await takeUp(fake.world);
    if (end?.kind === 'rebooting') {
      fake.boot = 3;
      end = await takeUp(fake.world);
    }
    assert.equal(ended(end).outcome, 'rolled-back');
    assert.equal(ended(end).body.error?.code, 'run.hook');
    assert.ok(isOld(fake));
    assert.equal(fake.world.journal.runs.memory().rolledBack.length, 1);
  });

  test('the words of sites mean the same places', async () => {
    const fake = host({
      hooks: [
        { name: 'drain', at: 'before', command: ['true'], timeoutSeconds: 5 },
        { name: 'fill', at: 'after', command: ['true'], timeoutSeconds: 5 },
      ],
    });
    await begin(fake);
    assert.deepEqual(order(fake), ['plan deb', 'hook pre-install drain', 'take', 'install deb', 'hook post-install fill']);
  });
});

describe('services that run replaced code (trap 5)', () => {
  test('are told, and are no reason to reboot, where the group does not ask for restarts', async () => {
    const fake = host({ hooks: [] });
    Object.assign(fake, { allowReboot: true, stale: ['web.service'] });
    const end = ended(await begin(fake));
    assert.equal(end.body.rebootNeeded.needed, false);
    assert.match(end.body.rebootNeeded.evidence.join(), /web\.service runs with .*libfoo/);
    assert.ok(!fake.acts.includes('restart web.service'));
  });

  test('are restarted in place of a reboot where that is enough', async () => {
    const fake = host({ hooks: [], restartServices: true });
    Object.assign(fake, { allowReboot: true, stale: ['web.service'] });
    const end = ended(await begin(fake));
    assert.deepEqual(end.body.restarted, ['web.service']);
    assert.deepEqual(end.body.rebootNeeded, { needed: false, evidence: [] });
    assert.ok(!fake.acts.includes('reboot'));
  });

  test('one that must not be restarted is a reason to reboot', async () => {
    const fake = host({ hooks: [], restartServices: true });
    Object.assign(fake, { allowReboot: true, stale: ['web.service', 'dbus.service'] });
    assert.equal((await begin(fake)).kind, 'rebooting');
    assert.ok(!fake.acts.includes('restart dbus.service'));
  });

  test('one that does not come up again takes the run back', async () => {
    const fake = host({ hooks: [], restartServices: true });
    fake.stale = ['web.service'];
    fake.faults.restart = 'fails';
    const end = ended(await begin(fake));
    assert.equal(end.outcome, 'rolled-back');
    assert.equal(end.body.error?.code, 'run.restart');
    assert.ok(isOld(fake));
  });
});

describe('people at work', () => {
  const group = { hooks: [], reboot: 'if-needed', rebootNotice: { minutes: 5, deferHours: 24 } } as const;
  test('hold a reboot up, to its deadline and no further', async () => {
    const fake = host(group as never);
    Object.assign(fake, { allowReboot: true, rebootEvidence: ['kernel k2 is installed'], users: ['ada'] });
    const first = ended(await begin(fake));
    assert.equal(first.outcome, 'committed');
    assert.equal(first.body.rebootNeeded.needed, true);
    assert.match(first.body.states.find(({ state }) => state === 'Reboot')?.says ?? '', /ada is logged in/);
    assert.equal(fake.world.journal.runs.memory().installedByUs[0]?.rebootNeeded, true);
    fake.now = START + 7 * 24 * 3_600_000; // the window of the week after, past the deadline
    assert.equal((await makeOwedReboot(request(fake), fake.world)).kind, 'rebooting');
    assert.ok(fake.acts.includes('wall patchferry reboots this host in 5 minutes: kernel k2 is installed'));
    Object.assign(fake, { boot: 2, rebootEvidence: [] });
    const end = ended(await takeUp(fake.world));
    assert.equal(statesOf(end), 'Reboot Verify Commit');
    assert.equal(end.outcome, 'committed');
    assert.deepEqual(end.body.changes, []);
    assert.ok(!isOld(fake));
  });

  test('trap 12: a host that is not well after an owed reboot gets the earlier run taken back', async () => {
    const fake = host(group as never);
    Object.assign(fake, { allowReboot: true, rebootEvidence: ['kernel k2 is installed'], users: ['ada'] });
    await begin(fake);
    fake.users = [];
    assert.equal((await makeOwedReboot(request(fake), fake.world)).kind, 'rebooting');
    fake.boot = 2;
    fake.faults.health = 'fails';
    assert.equal((await takeUp(fake.world))?.kind, 'rebooting', 'the rollback ends with a reboot too');
    Object.assign(fake, { boot: 3, rebootEvidence: [] });
    const end = ended(await takeUp(fake.world));
    assert.equal(statesOf(end), 'Reboot Verify Rollback RollbackReboot Failed');
    assert.equal(end.outcome, 'rolled-back');
    assert.ok(isOld(fake));
  });
});
