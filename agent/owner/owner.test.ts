// What an owner may say, and what is refused with its bound named; what became of what was asked for.
import assert from 'node:assert/strict';
import * as fs from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { isFault } from '#manifests/errors';
import type { Group, MaintenanceWindow, WaiverAnswer } from '#manifests/schema';
import { openJournal } from '../run/index.ts';
import { checkOffered, deferralUntil } from './choice.ts';
import { choiceOf, rememberChoice, rememberRequest, requestsOf } from './memory.ts';
import { type Asked, requestBody, requestStates } from './requests.ts';

const NOW = Date.parse('2026-03-01T12:00:00Z');
const window = (name: string): MaintenanceWindow => ({
  name,
  days: ['sun'],
  start: '02:00',
  durationMinutes: 60,
  cutoffMinutes: 0,
  zone: 'UTC',
  validFrom: null,
  validUntil: null,
});
const GROUP: Group = {
  schema: 'patchferry/group',
  schemaVersion: 1,
  name: 'tills',
  signedAt: '2026-01-01T00:00:00Z',
  baselines: [],
  windows: [window('sunday'), window('monday'), window('forced')],
  ownerChoice: { windows: ['sunday', 'monday', 'gone'], deferDays: 7 },
  waivers: { approvers: [{ name: 'ann', publicKey: 'a'.repeat(64) }], threshold: 1, maxDays: 30 },
  reboot: 'never',
  health: [],
  wayBack: 'required',
  pollMinutes: 60,
  freeBytes: 0,
  newDependencies: 'allow',
  removals: 'refuse',
};
const { ownerChoice: _none, waivers: _noWaivers, ...STRICT } = GROUP;
const STAMP = { boot: 'boot-1', trustedTime: '2026-03-01T12:00:00Z', wallTime: '2026-03-01T12:00:00Z' };

function refused(act: () => unknown, code: string, bound: RegExp): void {
  assert.throws(act, (error) => isFault(error, code) && bound.test(error.message), `${code} ${bound}`);
}

test('a window of the offer may be chosen, any other is refused, naming what is offered', () => {
  checkOffered(GROUP, 'sunday');
  refused(() => checkOffered(GROUP, 'forced'), 'owner.not-offered', /group tills offers sunday, monday$/);
  refused(() => checkOffered(GROUP, 'gone'), 'owner.not-offered', /group tills offers sunday, monday$/);
  refused(() => checkOffered(STRICT, 'sunday'), 'owner.not-offered', /leaves its owners no window to choose/);
  refused(() => checkOffered(null, 'sunday'), 'owner.no-group', /no patch group/);
});

test('trap 29: a deferral is a day by this host’s clock or a moment in UTC, and no longer than the group lets it be', () => {
  assert.equal(deferralUntil(GROUP, '2026-03-05', 'Pacific/Auckland', NOW), Date.parse('2026-03-05T11:00:00Z'));
  assert.equal(deferralUntil(GROUP, '2026-03-05T00:00:00Z', 'Pacific/Auckland', NOW), Date.parse('2026-03-05T00:00:00Z'));
  assert.equal(deferralUntil(GROUP, '2026-03-08T12:00:00Z', 'UTC', NOW), NOW + 7 * 86_400_000);
  refused(
    () => deferralUntil(GROUP, '2026-03-08T12:00:01Z', 'UTC', NOW),
    'owner.deferral',
    /at most 7 days .* 2026-03-08T12:00:00Z/,
  );
  refused(() => deferralUntil(STRICT, '2026-03-05', 'UTC', NOW), 'owner.deferral', /lets its owners put nothing off/);
  refused(() => deferralUntil(GROUP, '2026-03-01T11:00:00Z', 'UTC', NOW), 'owner.moment', /is over/);
  for (const text of ['soon', '2026-02-30', '2026-03-05T00:00', '2026-03-05T25:00:00Z', '05.03.2026'])
    refused(() => deferralUntil(GROUP, text, 'UTC', NOW), 'owner.moment', /no day and no moment/);
});

test('a waiver is asked for within what the group allows', () => {
  const asked: Asked = {
    subject: 'cve-2024-5535',
    until: '2026-03-20',
    reason: 'the till is certified',
    response: 'mitigate',
    control: null,
    requestedBy: 'otto',
  };
  const body = requestBody(asked, GROUP, 'Europe/Berlin', NOW);
  assert.deepEqual([body.patches, body.cves], [[], ['CVE-2024-5535']]);
  assert.deepEqual(body.until, { date: '2026-03-20', zone: 'host' });
  assert.equal(body.from, '2026-03-01T12:00:00Z');
  assert.deepEqual(requestBody({ ...asked, subject: 'nginx' }, GROUP, 'UTC', NOW).patches, ['nginx']);
  const bounds: readonly [Partial<Asked>, RegExp][] = [
    [{ until: '2026-04-02' }, /at most 30 days, so until 2026-03-31T12:00:00Z/],
    [{ until: '2026-02-28' }, /before it begins/],
    [{ from: '2026-03-10', until: '2026-03-09' }, /before it begins/],
    [{ from: '2026-03-10', until: '2026-04-09' }, /at most 30 days/],
  ];
  for (const [more, bound] of bounds)
    refused(() => requestBody({ ...asked, ...more }, GROUP, 'UTC', NOW), 'owner.waiver-bounds', bound);
  refused(() => requestBody(asked, STRICT, 'UTC', NOW), 'owner.waiver-bounds', /takes no waivers/);
});

test('choices and requests are remembered together with the result that tells them, or not at all', () => {
  const folder = fs.mkdtempSync(join(tmpdir(), 'patchferry-owner-'));
  try {
    using journal = openJournal(join(folder, 'journal.sqlite'), { now: NOW });
    assert.equal(choiceOf(journal), null);
    rememberChoice(journal, { window: 'sunday', deferUntil: '2026-03-05T00:00:00Z', chosenBy: 'otto' }, STAMP);
    assert.deepEqual(choiceOf(journal), { window: 'sunday', deferUntil: Date.parse('2026-03-05T00:00:00Z') });
    const failing = { ...journal, results: { ...journal.results, append: () => assert.fail('the disk is full') } };
    assert.throws(() => rememberChoice(failing, { window: 'monday', deferUntil: null, chosenBy: 'otto' }, STAMP));
    assert.equal(choiceOf(journal)?.window, 'sunday', 'what could not be told is not remembered');
    rememberChoice(journal, { window: null, deferUntil: null, chosenBy: 'otto' }, STAMP);
    assert.equal(choiceOf(journal), null);
    assert.equal(journal.results.pending().length, 2);

    const asked = {
      subject: 'a',
      until: '2026-03-20',
      reason: 'r',
      response: 'accept' as const,
      control: null,
      requestedBy: 'o',
    };
    const ids = ['x', 'y', 'z', 'w'].map((subject) => {
      const body = requestBody({ ...asked, subject }, GROUP, 'UTC', NOW);
      rememberRequest(journal, body, STAMP);
      return body.request;
    });
    const answer = (at: number, more: Partial<WaiverAnswer>): WaiverAnswer => ({
      request: ids[at] ?? '',
      agent: 'a'.repeat(32),
      decision: 'approved',
      waiver: 'x-1',
      reason: '',
      at: '2026-03-02T00:00:00Z',
      ...more,
    });
    const states = requestStates(requestsOf(journal), {
      answers: [answer(0, {}), answer(1, { decision: 'rejected', waiver: null, reason: 'certified since' })],
      waivers: [],
      pending: new Map([[ids[2] ?? '', { sent: true }]]),
    });
    assert.deepEqual(
      states.map(({ standing, says }) => [standing, /certified since|in force no more|on its way|has it/.exec(says)?.[0]]),
      [
        ['received', 'has it'],
        ['sent', 'on its way'],
        ['rejected', 'certified since'],
        ['approved', 'in force no more'],
      ],
    );
  } finally {
    fs.rmSync(folder, { recursive: true, force: true });
  }
});
