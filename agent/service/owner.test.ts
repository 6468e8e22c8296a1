// What the owner says on the command line of a whole agent, told as signed results; and the gate before a host is handed over.
import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { utcSeconds } from '#manifests/platform/clock';
import type { WaiverAnswer } from '#manifests/schema';
import { makeHost, sleptFor, type TestHost } from './testing/host.ts';
import { approver, farWindow, waiverBy } from './testing/policy.ts';
import { openAll } from './testing/publisher.ts';

const ONE = { version: '1.0.0', content: 'one' };
const TWO = { version: '2.0.0', content: 'two' };
const DAY = 86_400_000;
const ALWAYS = { ...farWindow('always'), start: '00:00', durationMinutes: 2_880, validFrom: null };

describe('the owner of a host', () => {
  const ann = approver('ann');
  const group = {
    windows: [ALWAYS, farWindow('later')],
    ownerChoice: { windows: ['always', 'later'], deferDays: 5 },
    waivers: { approvers: [{ name: ann.name, publicKey: ann.publicKey }], threshold: 1, maxDays: 60 },
  };
  const day = (days: number) => utcSeconds(Date.now() + days * DAY);
  let host: TestHost;
  before(async () => {
    host = await makeHost();
    await host.enrol();
    await host.publish({ releases: [ONE], group });
    assert.equal((await host.agent(['once'])).code, 0);
    await host.publish({ releases: [ONE, TWO], group });
  });
  after(() => host.remove());
  const told = () => openAll(host.relay.results, host.publisher).map(({ result }) => result);

  test('lists windows in UTC and local time, chooses among those offered, and the host keeps to it', async () => {
    const list = await host.agent(['window', 'list']);
    assert.equal(list.code, 0, list.out + list.err);
    assert.match(list.out, /always +install, reboot; may be chosen/);
    const refused = await host.agent(['window', 'choose', 'never']);
    assert.equal(refused.code, 2);
    assert.match(refused.err, /group site offers always, later/);
    const chosen = await host.agent(['window', 'choose', 'later']);
    assert.equal(chosen.code, 0, chosen.out + chosen.err);
    const ran = await host.agent(['once']);
    assert.equal(ran.code, 4, ran.out + ran.err);
    assert.equal(host.tool(), 'one');
    const report = JSON.parse((await host.agent(['window', 'list', '--json'])).out) as {
      windows: { name: string; chosen: boolean; openings: unknown[] }[];
    };
    assert.deepEqual(
      report.windows.map(({ name, chosen: is, openings }) => [name, is, openings.length]),
      [
        ['always', false, 3],
        ['later', true, 3],
      ],
    );
  });

  test('defers within the bound alone; what it told is a signed result', async () => {
    assert.equal((await host.agent(['window', 'clear'])).code, 0);
    const long = await host.agent(['window', 'defer', '--until', day(9)]);
    assert.equal(long.code, 2);
    assert.match(long.err, /at most 5 days after a patch is approved/);
    assert.equal((await host.agent(['window', 'defer', '--until', day(3)])).code, 0);
    const ran = await host.agent(['once']);
    assert.equal(ran.code, 4, ran.out + ran.err);
    assert.match(ran.out, /put off by the owner of this host/);
    assert.deepEqual(
      told().flatMap((result) =>
        result.kind === 'owner-choice' ? [[result.body.window, result.body.deferUntil !== null]] : [],
      ),
      [
        ['later', false],
        [null, false],
        [null, true],
      ],
    );
  });

  test('asks for a waiver: sealed at once, answered by the publisher, listed', async () => {
    const long = await host.agent(['waiver', 'request', 'tool@2.0.0', '--until', day(90), '--reason', 'x']);
    assert.equal(long.code, 2);
    assert.match(long.err, /at most 60 days/);
    const unknown = await host.agent(['waiver', 'request', 'nosuch', '--until', day(9), '--reason', 'x']);
    assert.match(unknown.err, /no catalog known here has/);
    const until = day(20);
    const ran = await host.agent([
      'waiver',
      'request',
      'tool@2.0.0',
      '--until',
      until,
      '--reason',
      'the till is certified',
      '--control',
      'port closed',
      '--check',
      'true',
      '--json',
    ]);
    assert.equal(ran.code, 0, ran.out + ran.err);
    const { body, sealed } = JSON.parse(ran.out) as { body: { request: string }; sealed: boolean };
    assert.equal(sealed, true);
    assert.match((await host.agent(['waiver', 'list'])).out, /waits for the next poll/);
    await host.agent(['once']);
    assert.match((await host.agent(['waiver', 'list'])).out, /on its way to the publisher/);
    const [asked] = told().flatMap((result) => (result.kind === 'waiver-request' ? [result.body] : []));
    assert.deepEqual(asked?.control, { says: 'port closed', check: { command: ['true'], timeoutSeconds: 30 } });
    const [member] = host.members();
    const answer: WaiverAnswer = {
      request: body.request,
      agent: member?.id ?? '',
      decision: 'approved',
      waiver: 'till',
      reason: '',
      at: utcSeconds(Date.now()),
    };
    await host.publish({ releases: [ONE, TWO], group, waivers: [waiverBy([ann], { until })], answers: [answer] });
    const once = await host.agent(['once']);
    assert.match(once.out, /EXCEPTED 1/, once.err);
    const listed = await host.agent(['waiver', 'list']);
    assert.match(listed.out, /approved as waiver till/);
    assert.match(listed.out, /till +in-force/);
  });
});

describe('8.20 the gate', () => {
  let host: TestHost;
  before(async () => {
    host = await makeHost();
    await host.enrol();
    await host.publish({ releases: [ONE] });
  });
  after(() => host.remove());

  test('looks and installs nothing; with --wait it brings the host up; then it is open, and says so in JSON', async () => {
    const shut = await host.agent(['gate']);
    assert.equal(shut.code, 4, shut.out + shut.err);
    assert.match(shut.out, /not ready\ntool@1\.0\.0 is MISSING/);
    assert.equal(host.tool(), null, 'it only looked');
    const open = await host.agent(['gate', '--wait', '2', '--json']);
    assert.equal(open.code, 0, open.out + open.err);
    assert.equal((JSON.parse(open.out) as { ready: boolean }).ready, true);
    assert.equal(host.tool(), 'one');
    assert.equal((await host.agent(['gate'])).code, 0);
  });

  test('a host that slept is brought up before it is handed over, outside its windows, once; then the window counts again', async () => {
    const group = { windows: [{ ...farWindow('night'), validFrom: null, catchUp: 'before-handover' as const }] };
    // neither now nor within the hour
    const hour = (new Date().getUTCHours() + 12) % 24;
    group.windows = [{ ...group.windows[0]!, start: `${String(hour).padStart(2, '0')}:00` }];
    await host.publish({ releases: [ONE, TWO], group });
    {
      using journal = host.journal();
      sleptFor(journal, 3 * DAY);
    }
    const open = await host.agent(['gate', '--wait', '2']);
    assert.equal(open.code, 0, open.out + open.err);
    assert.equal(host.tool(), 'two');
    await host.publish({ releases: [ONE, { version: '3.0.0', content: 'three' }], group });
    assert.equal((await host.agent(['once'])).code, 4, 'handed over: the next window is waited for');
    assert.equal(host.tool(), 'two');
  });

  test('once from a timer: a long sleep is noticed, told, and made up for as the window says; a day between two is no sleep', async () => {
    const hour = (new Date().getUTCHours() + 12) % 24;
    const night = { ...farWindow('night'), validFrom: null, start: `${String(hour).padStart(2, '0')}:00` };
    const releases = [ONE, TWO, { version: '3.0.0', content: 'three' }];
    const cycle = async (windows: object[], asleep: number, awake = 0) => {
      await host.publish({ releases, group: { windows: windows as (typeof night)[] } });
      {
        using journal = host.journal();
        sleptFor(journal, asleep);
        const life = JSON.parse(journal.meta('alive') ?? '') as { awake: number };
        journal.setMeta('alive', JSON.stringify({ ...life, awake: life.awake - awake }));
      }
      return host.agent(['once']);
    };
    const daily = await cycle([{ ...night, catchUp: { withinHours: 6 } }], DAY, DAY);
    assert.equal(daily.code, 4, daily.out + daily.err);
    assert.doesNotMatch(daily.out, /asleep/, 'it was awake all day: the window was not slept through');
    assert.equal(host.tool(), 'two');
    const waits = await cycle([night], 3 * DAY);
    assert.equal(waits.code, 4, waits.out + waits.err);
    assert.match(waits.out, /off or asleep from .*: 3 windows were missed; the next one is waited for/);
    assert.equal(host.tool(), 'two');
    const makesUp = await cycle([{ ...night, catchUp: { withinHours: 6 } }], 3 * DAY);
    assert.equal(makesUp.code, 0, makesUp.out + makesUp.err);
    assert.match(makesUp.out, /3 windows were missed; made up for until/);
    assert.equal(host.tool(), 'three');
    const alerts = openAll(host.relay.results, host.publisher).flatMap(({ result }) =>
      result.kind === 'alert' ? [result.body] : [],
    );
    assert.ok(
      alerts.some(({ code }) => code === 'agent.slept'),
      'told to the publisher',
    );
  });

  test('without a relay nobody knows what is required: shut, but with --offline by what was verified last', async () => {
    await host.publish({ releases: [ONE, TWO] });
    assert.equal((await host.agent(['once'])).code, 0);
    await host.relay.close();
    const shut = await host.agent(['gate']);
    assert.equal(shut.code, 8, shut.out + shut.err);
    const open = await host.agent(['gate', '--offline']);
    assert.equal(open.code, 0, open.out + open.err);
    assert.match(open.out, /ready, by what was verified last/);
  });
});
