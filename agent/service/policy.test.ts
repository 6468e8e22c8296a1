// Policy on a host: waivers with controls, recalls that take runs back, sites, windows by purpose, rollouts. The whole agent, as a
// process, against a real signed repository.
import assert from 'node:assert/strict';
import * as fs from 'node:fs';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { utcSeconds } from '#manifests/platform/clock';
import type { SignedDelegation, SignedOverlay, SignedRollout } from '#manifests/schema';
import { makeHost, type TestHost } from './testing/host.ts';
import { approver, farWindow, ROLL_BACK, waiverBy } from './testing/policy.ts';
import { openAll } from './testing/publisher.ts';

const ONE = { version: '1.0.0', content: 'one' };
const TWO = { version: '2.0.0', content: 'two' };
const DAY = 86_400_000;

async function hostWith(as = {}): Promise<TestHost> {
  const host = await makeHost();
  await host.enrol(as);
  await host.publish({ releases: [ONE] });
  const ran = await host.agent(['once']);
  assert.equal(ran.code, 0, ran.out + ran.err);
  return host;
}
const alertsOf = (host: TestHost) =>
  openAll(host.relay.results, host.publisher).flatMap(({ result }) => (result.kind === 'alert' ? [result.body] : []));

describe('waivers', () => {
  const [ann, ben] = [approver('ann'), approver('ben')];
  const group = {
    waivers: { approvers: [ann, ben].map(({ name, publicKey }) => ({ name, publicKey })), threshold: 2, maxDays: 90 },
  };
  let host: TestHost;
  let proof: string;
  before(async () => {
    host = await hostWith();
    proof = join(host.folder, 'firewall-is-up');
  });
  after(() => host.remove());
  const control = () => ({
    says: 'the firewall keeps it away',
    check: { command: ['test', '-e', proof], timeoutSeconds: 5 },
  });

  test('8.11 a waiver whose control passes excepts the patch, and its end is told', async () => {
    fs.writeFileSync(proof, '');
    const soon = utcSeconds(Date.now() + 10 * DAY);
    const waiver = waiverBy([ann, ben], { control: control(), until: soon });
    await host.publish({ releases: [ONE, TWO], group, waivers: [waiver] });
    const ran = await host.agent(['once']);
    assert.equal(host.tool(), 'one', ran.out + ran.err);
    assert.match(ran.out, /EXCEPTED 1/);
    assert.match(ran.out, /waiver till ends at .*, within 14 days/);
    assert.match((await host.agent(['status'])).out, /notices.*waiver till/);
    assert.match((await host.agent(['explain', 'tool@2.0.0'])).out, /waiver +waiver till .*approved by ann, ben/);
    const told = alertsOf(host).filter(({ code }) => code === 'waiver.ends-in-14-days');
    assert.equal(told.length, 1);
    await host.agent(['once']);
    assert.equal(alertsOf(host).filter(({ code }) => code === 'waiver.ends-in-14-days').length, 1, 'once a day');
  });

  test('8.11 a control that does not pass: the waiver does not count, the patch is missing and comes', async () => {
    fs.rmSync(proof);
    const waiver = waiverBy([ann, ben], { control: { ...control(), says: 'another firewall' } });
    await host.publish({
      releases: [ONE, TWO],
      group: { ...group, windows: [farWindow()] },
      waivers: [waiver],
    });
    {
      using journal = host.journal();
      journal.setMeta('waiver.controls', null);
    }
    const ran = await host.agent(['once']);
    assert.equal(ran.code, 4, ran.out + ran.err);
    assert.match(ran.out, /the check of the control of waiver till fails/);
    assert.match(ran.out, /MISSING 1/);
    assert.match((await host.agent(['explain', 'tool@2.0.0'])).out, /does not count: the check of its control failed/);
  });

  test('a waiver that too few have signed counts nothing, and its program is never run', async () => {
    const mark = join(host.folder, 'was-run');
    const check = { command: ['touch', mark], timeoutSeconds: 5 };
    const waiver = waiverBy([ann], { name: 'forged', control: { says: 'x', check } });
    await host.publish({ releases: [ONE, TWO], group: { ...group, windows: [farWindow()] }, waivers: [waiver] });
    const ran = await host.agent(['once']);
    assert.match(ran.out, /MISSING 1/, ran.out + ran.err);
    assert.equal(fs.existsSync(mark), false);
    assert.match((await host.agent(['explain', 'tool@2.0.0'])).out, /1 of 2 approvers have signed it/);
  });
});

describe('8.12 recalls that take a run back', () => {
  let host: TestHost;
  before(async () => {
    host = await hostWith();
    await host.publish({ releases: [ONE, TWO] });
    const ran = await host.agent(['once']);
    assert.equal(ran.code, 0, ran.out + ran.err);
    assert.equal(host.tool(), 'two');
  });
  after(() => host.remove());

  test('outside the windows it waits and says until when; a halt stops it too', async () => {
    await host.publish({ releases: [ONE, TWO], group: { windows: [farWindow()] }, recalls: [ROLL_BACK] });
    const ran = await host.agent(['once']);
    assert.equal(ran.code, 4, ran.out + ran.err);
    assert.match(ran.out, /is taken back; it waits for the window that opens at /);
    assert.equal(host.tool(), 'two');
    assert.match((await host.agent(['plan'])).out, /is taken back; it waits/);
    const halt = {
      schema: 'patchferry/halt' as const,
      schemaVersion: 1 as const,
      name: 'freeze',
      signedAt: ROLL_BACK.signedAt,
      scope: {},
      patches: [],
      stops: ['install' as const],
      reason: 'the cranes are moving',
      until: null,
    };
    await host.publish({ releases: [ONE, TWO], recalls: [ROLL_BACK], stops: [halt] });
    const halted = await host.agent(['once']);
    assert.equal(host.tool(), 'two', halted.out);
    assert.match(halted.out, /the cranes are moving/);
  });

  test('in a window the run is taken back through the journal, told, and not made again', async () => {
    await host.publish({ releases: [ONE, TWO], recalls: [ROLL_BACK] });
    const ran = await host.agent(['once']);
    assert.equal(ran.code, 6, ran.out + ran.err);
    assert.equal(host.tool(), 'one');
    const runs = openAll(host.relay.results, host.publisher).flatMap(({ result }) =>
      result.kind === 'run' ? [result.body] : [],
    );
    const last = runs.at(-1);
    assert.equal(last?.outcome, 'rolled-back');
    assert.equal(last.error?.code, 'run.recalled');
    assert.match(last.error.message, /it eats data|tool-two/);
    assert.ok(last.states.some(({ state }) => state === 'Rollback'));
    const again = await host.agent(['once']);
    assert.equal(host.tool(), 'one', again.out);
    assert.equal(again.code, 3, again.out + again.err);
  });

  test('without a way back the host says so and stays as it is', async () => {
    await host.publish({ releases: [ONE, { version: '3.0.0', content: 'three' }] });
    assert.equal((await host.agent(['once'])).code, 0);
    assert.equal(host.tool(), 'three');
    {
      using journal = host.journal();
      for (const { run } of journal.ways.kept()) journal.ways.giveUp(run, 'it is older than its owner keeps them');
    }
    const recall = { ...ROLL_BACK, patches: ['tool@3.0.0'] };
    await host.publish({ releases: [ONE, { version: '3.0.0', content: 'three' }], recalls: [recall] });
    const ran = await host.agent(['once']);
    assert.equal(ran.code, 1, ran.out + ran.err);
    assert.match(ran.out, /no way back of it is kept on this host/);
    assert.equal(host.tool(), 'three');
    assert.ok(alertsOf(host).some(({ code }) => code === 'policy.recall'));
  });
});

describe('8.12 a recall of a run that others stand on', () => {
  let host: TestHost;
  before(async () => {
    host = await hostWith();
  });
  after(() => host.remove());

  test('trap 11: all are taken back, the newest first; the later ones come back, the recalled one does not', async () => {
    const helper = { name: 'helper', version: '1.0.0', content: 'aid' };
    const other = { name: 'other', version: '1.0.0', content: 'other' };
    for (const releases of [
      [ONE, TWO],
      [ONE, TWO, helper],
      [ONE, TWO, helper, other],
    ]) {
      await host.publish({ releases });
      const ran = await host.agent(['once']);
      assert.equal(ran.code, 0, ran.out + ran.err);
    }
    const releases = [ONE, TWO, helper, other];
    await host.publish({ releases, recalls: [ROLL_BACK], group: { windows: [farWindow()] } });
    assert.match((await host.agent(['once'])).out, /after the 2 runs made since, the newest first.*it waits for the window/);
    await host.publish({ releases, recalls: [ROLL_BACK] });
    // killed between the first and the second: the next cycle goes on with the order as it is then
    await host.agent(['once'], { PATCHFERRY_FAILPOINT: 'result.after' });
    const parts = (name: string) => fs.existsSync(join(host.archiveRoot, name, 'current'));
    assert.deepEqual([host.tool(), parts('helper'), parts('other')], ['two', true, false]);
    const ran = await host.agent(['once']);
    assert.equal(host.tool(), 'one', ran.out + ran.err);
    const runs = openAll(host.relay.results, host.publisher).flatMap(({ result }) =>
      result.kind === 'run' ? [result.body] : [],
    );
    assert.deepEqual(
      runs.slice(-4).map(({ outcome, error, patches }) => [outcome, error?.code ?? null, patches.toSorted()]),
      [
        ['rolled-back', 'run.recalled-below', ['other@1.0.0']],
        ['rolled-back', 'run.recalled-below', ['helper@1.0.0']],
        ['rolled-back', 'run.recalled', ['tool@2.0.0']],
        ['committed', null, ['helper@1.0.0', 'other@1.0.0']],
      ],
    );
    assert.deepEqual([parts('helper'), parts('other')], [true, true]);
    const again = await host.agent(['once']);
    assert.deepEqual([host.tool(), again.code], ['one', 3], again.out + again.err);
    using journal = host.journal();
    assert.deepEqual(
      journal.runs.memory().rolledBack.map(({ patches }) => patches),
      [['tool@2.0.0']],
    );
  });
});

describe('8.10 sites', () => {
  const at = utcSeconds(Date.now() - 1_000);
  const delegation: SignedDelegation = {
    schema: 'patchferry/site-delegation',
    schemaVersion: 1,
    site: 'yard',
    may: ['reject', 'delay'],
    maxDelayDays: 3,
    minRingPercent: 0,
    hooks: [],
    signedAt: at,
    keys: ['a'.repeat(64)],
    until: utcSeconds(Date.now() + 30 * DAY),
  };
  const overlay: SignedOverlay = {
    schema: 'patchferry/site-overlay',
    schemaVersion: 1,
    site: 'yard',
    labels: {},
    windows: [],
    blackouts: [],
    reject: [],
    delayDays: 0,
    ringPercent: null,
    hooks: [],
    signedAt: at,
    reason: 'loading',
  };
  let host: TestHost;
  before(async () => {
    host = await hostWith({ site: 'yard' });
  });
  after(() => host.remove());

  test('what a site keeps off is not installed and stays missing; what widens is refused, naming the bound', async () => {
    const site = { delegation, overlay: { ...overlay, reject: ['tool'], delayDays: 20 } };
    await host.publish({ releases: [ONE, TWO], site });
    const ran = await host.agent(['once']);
    assert.equal(host.tool(), 'one', ran.out + ran.err);
    assert.equal(ran.code, 4);
    assert.match(ran.out, /MISSING 1/);
    assert.match(ran.out, /a delay of 20 days is more than the 3 allowed: this part of the overlay does not count/);
    assert.ok(alertsOf(host).some(({ code }) => code === 'site.maxDelayDays'));
  });

  test('a host of another site knows nothing of it', async () => {
    const other = await hostWith({ site: 'dock' });
    try {
      await other.publish({ releases: [ONE, TWO], site: { delegation, overlay: { ...overlay, reject: ['tool'] } } });
      const ran = await other.agent(['once']);
      assert.equal(ran.code, 0, ran.out + ran.err);
      assert.equal(other.tool(), 'two');
    } finally {
      await other.remove();
    }
  });
});

describe('windows and rollouts', () => {
  let host: TestHost;
  before(async () => {
    host = await hostWith();
  });
  after(() => host.remove());

  test('a window for downloads that is closed: nothing is fetched, nothing is installed, and it says until when', async () => {
    const always = { ...farWindow('always'), start: '00:00', durationMinutes: 1_440, validFrom: null };
    await host.publish({
      releases: [ONE, TWO],
      group: {
        windows: [
          { ...always, purposes: ['install'] },
          { ...farWindow('night'), purposes: ['download'] },
        ],
      },
    });
    host.relay.requests.length = 0;
    const ran = await host.agent(['once']);
    assert.equal(ran.code, 4, ran.out + ran.err);
    assert.match(ran.out, /payloads are fetched when window night opens at /);
    assert.equal(host.relay.requests.filter((line) => line.includes('payloads/')).length, 0);
    assert.equal(host.tool(), 'one');
  });

  test('the window of a run is that of its set: an emergency goes in while only the window for emergencies is open (trap 6)', async () => {
    const always = { ...farWindow('emergencies'), start: '00:00', durationMinutes: 2_880, validFrom: null };
    const group = { windows: [farWindow()], emergencyWindows: [always] };
    await host.publish({ releases: [ONE, TWO], group });
    assert.equal((await host.agent(['once'])).code, 4);
    assert.equal(host.tool(), 'one');
    await host.publish({ releases: [ONE, { ...TWO, urgency: 'emergency' }], group });
    const ran = await host.agent(['once']);
    assert.equal(ran.code, 0, ran.out + ran.err);
    assert.equal(host.tool(), 'two');
  });

  test('a deadline that has passed needs no window where the group says at-once', async () => {
    const three = { version: '3.0.0', content: 'three', deadline: utcSeconds(Date.now() - DAY) };
    await host.publish({ releases: [ONE, TWO, three], group: { windows: [farWindow()] } });
    const waits = await host.agent(['once']);
    assert.equal(waits.code, 4, waits.out + waits.err);
    await host.publish({ releases: [ONE, TWO, three], group: { windows: [farWindow()], afterDeadline: 'at-once' } });
    const ran = await host.agent(['once']);
    assert.equal(ran.code, 0, ran.out + ran.err);
    assert.equal(host.tool(), 'three');
  });

  test('hosts of a ring by group start one after another where it says how many at once', async () => {
    const midnight = Math.floor(Date.now() / DAY) * DAY;
    const rollout: SignedRollout = {
      name: 'wave',
      id: 'wave',
      canaries: 'same',
      rings: [
        {
          name: 'all',
          groups: ['site'],
          labels: {},
          afterHours: 0,
          ramp: [{ afterHours: 0, percent: 100 }],
          stepped: true,
          gate: null,
          maxConcurrency: { hosts: 1 },
          hosts: 100_000_000,
        },
      ],
      opened: [],
      halted: [],
      fuse: null,
    };
    // a window that has just opened: of so many turns one that has passed already is next to impossible
    const window = {
      ...farWindow('now'),
      start: new Date(Date.now() - 60_000).toISOString().slice(11, 16),
      durationMinutes: 1_440,
      validFrom: utcSeconds(midnight - DAY),
    };
    const four = { version: '4.0.0', content: 'four' };
    await host.publish({ releases: [ONE, four], group: { windows: [window], rollout } });
    const ran = await host.agent(['once']);
    assert.equal(ran.code, 4, ran.out + ran.err);
    assert.match(ran.out, /starts at .*, so that ring all does not start at once/);
    const plan = await host.agent(['plan']);
    assert.match(plan.out, /about \d+ minutes with what is kept/, plan.err);
    assert.match(plan.out, /window for download: at any time\nwindow for install: now, open until .*\nwindow for reboot: now/);
    const explained = await host.agent(['explain', 'tool']);
    for (const step of ['applicability', 'rule', 'dates', 'ring', 'state', 'window', 'reboot', 'next'])
      assert.match(explained.out, new RegExp(`^  ${step} `, 'm'), step);
    assert.match(explained.out, /place \d+\.\d+ of 100/);
    assert.equal(host.tool(), 'three');
  });
});
