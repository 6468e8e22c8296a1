// Long sleep: what counts as one, what is told of it and how often, and what the decision gets.
import assert from 'node:assert/strict';
import * as fs from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import type { MaintenanceWindow } from '#manifests/schema';
import { openJournal } from '../run/index.ts';
import { missedBySleep, noteRun, noteSleep, wakeOf } from './wake.ts';

const HOUR = 3_600_000;
const MONDAY = Date.parse('2026-03-02T00:00:00Z');
const daily: MaintenanceWindow = {
  name: 'night',
  days: ['mon', 'tue', 'wed', 'thu', 'fri', 'sat', 'sun'],
  start: '02:00',
  durationMinutes: 120,
  cutoffMinutes: 0,
  zone: 'UTC',
  validFrom: null,
  validUntil: null,
};
let folder: string;
before(() => {
  folder = fs.mkdtempSync(join(tmpdir(), 'patchferry-wake-'));
});
after(() => fs.rmSync(folder, { recursive: true, force: true }));

test('a slow line or a reboot is no sleep; three days are, and are told once', () => {
  using journal = openJournal(join(folder, 'one.sqlite'), { now: MONDAY });
  assert.equal(noteSleep(journal, MONDAY, MONDAY + HOUR / 2, 60_000), false);
  assert.equal(noteSleep(journal, MONDAY, MONDAY + 20 * HOUR, 8 * HOUR), false, 'two polls of a host that polls seldom');
  assert.equal(wakeOf(journal), null);
  assert.equal(noteSleep(journal, MONDAY, MONDAY + 72 * HOUR, HOUR), true);
  assert.match(missedBySleep(journal, [daily], 'UTC') ?? '', /3 windows were missed; the next one is waited for/);
  assert.equal(missedBySleep(journal, [daily], 'UTC'), undefined);
});

test('a window that is made up for is made up for once', () => {
  using journal = openJournal(join(folder, 'two.sqlite'), { now: MONDAY });
  noteSleep(journal, MONDAY, MONDAY + 30 * HOUR, HOUR);
  const window: MaintenanceWindow = { ...daily, catchUp: { withinHours: 6 } };
  assert.match(missedBySleep(journal, [window], 'UTC') ?? '', /made up for until 2026-03-03T12:00:00Z/);
  assert.equal(wakeOf(journal)?.ranSince, false);
  noteRun(journal);
  assert.equal(wakeOf(journal)?.ranSince, true);
});

test('a sleep between two windows costs nothing and is not told', () => {
  using journal = openJournal(join(folder, 'three.sqlite'), { now: MONDAY });
  noteSleep(journal, MONDAY + 5 * HOUR, MONDAY + 20 * HOUR, HOUR);
  assert.equal(missedBySleep(journal, [daily], 'UTC'), undefined);
});
