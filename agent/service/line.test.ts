// A host's own line: its profile at the edges, metered lines by settings and by NetworkManager's own word, and a real cycle.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { systemClock } from '#manifests/platform/clock';
import { payloadsFrom } from '#manifests/schema';
import { decideLine, meteredOf, openLine } from './line.ts';
import type { AgentSettings } from './settings.ts';
import { makeHost } from './testing/host.ts';

const plain: AgentSettings['line'] = { zone: 'UTC', profile: [], metered: 'auto', onMetered: 'window' };
const monday = Date.parse('2026-06-01T10:00:00Z');
const row = { days: ['mon' as const], from: '08:00', to: '17:00', metadataOnly: true };

test('what NetworkManager says, in busctl’s words; whatever else it says is unknown', () => {
  assert.deepEqual(['u 0\n', 'u 1\n', 'u 2\n', 'u 3\n', 'u 4\n', 'u 5', 's "yes"', ''].map(meteredOf), [
    'unknown',
    'yes',
    'no',
    'guess-yes',
    'guess-no',
    'unknown',
    'unknown',
    'unknown',
  ]);
});

test('the profile comes first, then whether the line is metered, and what the settings make of that', () => {
  const yes = { metered: true, says: 'x' };
  const decide = (line: Partial<AgentSettings['line']>, windowOpen: boolean, metered = yes) =>
    decideLine({ ...plain, ...line }, metered, windowOpen, monday).payloads;
  assert.equal(decide({}, false), false);
  assert.equal(decide({}, true), true);
  assert.equal(decide({}, false, { metered: false, says: 'x' }), true);
  assert.equal(decide({ onMetered: 'wait' }, true), false);
  assert.equal(decide({ onMetered: 'as-usual' }, false), true);
  assert.equal(decide({ onMetered: 'as-usual', profile: [row] }, true), false);
  const held = decideLine({ ...plain, profile: [row] }, { metered: false, says: '' }, true, monday);
  assert.equal(held.until, Date.parse('2026-06-01T17:00:00Z'));
  assert.match(held.says, /wait until 2026-06-01T17:00:00Z/);
});

test('when payloads may come again: across midnight, a clock change, rows that follow each other, and never', () => {
  const from = (profile: object[], at: string, zone = 'UTC') => {
    const moment = payloadsFrom({ zone, profile: profile as AgentSettings['line']['profile'] }, Date.parse(at));
    return moment === null ? null : new Date(moment).toISOString();
  };
  const always = { days: ['mon', 'tue', 'wed', 'thu', 'fri', 'sat', 'sun'], metadataOnly: true };
  assert.equal(from([{ ...always, from: '22:00', to: '06:00' }], '2026-06-01T23:30:00Z'), '2026-06-02T06:00:00.000Z');
  assert.equal(
    from(
      [
        { ...always, from: '00:00', to: '12:00' },
        { ...always, from: '12:00', to: '24:00', days: ['mon'] },
      ],
      '2026-06-01T10:00:00Z',
    ),
    '2026-06-02T12:00:00.000Z',
  );
  assert.equal(
    from([{ ...always, from: '01:00', to: '04:00' }], '2026-03-29T00:30:00Z', 'Europe/Berlin'),
    '2026-03-29T02:00:00.000Z',
  );
  assert.equal(from([{ ...always, from: '00:00', to: '24:00' }], '2026-06-01T10:00:00Z'), null);
  assert.equal(from([], '2026-06-01T10:00:00Z'), '2026-06-01T10:00:00.000Z');
});

test('settings speak for themselves; where no NetworkManager answers, a line is not held to be metered', async () => {
  const ask = () => Promise.reject(new Error('not asked'));
  assert.equal((await openLine({ ...plain, metered: 'yes' }, systemClock, ask).now(false)).payloads, false);
  assert.equal((await openLine({ ...plain, metered: 'no' }, systemClock, ask).now(false)).payloads, true);
  const real = await openLine(plain, systemClock).now(true); // the real command, where there is one
  assert.equal(real.payloads, true);
  assert.equal(openLine({ ...plain, kibPerSecond: 3 }, systemClock).rate(), 3 * 1024);
});

test('a real agent on a metered line: nothing is fetched ahead of the window, and status says why; told otherwise it installs', async () => {
  const host = await makeHost();
  try {
    await host.enrol();
    host.settings(['line: { metered: "yes", onMetered: wait }']);
    await host.publish({ releases: [{ version: '1.0.0', content: 'one' }] });
    const held = await host.agent(['once']);
    assert.equal(held.code, 4, held.out + held.err);
    assert.match(held.out, /the line is metered \(by the settings\): payloads wait until the line is another one/);
    assert.equal(host.relay.requests.filter((row) => row.includes('payloads/')).length, 0);
    assert.match((await host.agent(['status'])).out, /line .*metered/);

    const today = new Date();
    const day = ['sun', 'mon', 'tue', 'wed', 'thu', 'fri', 'sat'];
    const around = [-1, 0, 1].map((step) => day[(today.getUTCDay() + 7 + step) % 7]);
    host.settings([`line: { profile: [{ days: [${around.join(', ')}], metadataOnly: true }] }`]);
    const later = await host.agent(['once']);
    assert.match(later.out, /by the profile of the line payloads wait until \d{4}-/, later.err);
    assert.equal(host.tool(), null);

    host.settings(['line: { kibPerSecond: 64, metered: "yes", onMetered: window }']);
    const ran = await host.agent(['once']); // its window is open
    assert.equal(ran.code, 0, ran.out + ran.err);
    assert.equal(host.tool(), 'one');
    const report = JSON.parse((await host.agent(['status', '--json'])).out) as {
      relayUse: { why: string; used: string; relays: { relay: string; first: boolean }[] };
    };
    assert.equal(report.relayUse.used, host.relay.url);
    assert.match(report.relayUse.why, /only one/);
    const said = await host.agent(['doctor']);
    assert.match(said.out, /relay +http:\S+ answers; asked first: the only one in the list/);
  } finally {
    await host.remove();
  }
});
