// Precheck in the machine: what blocks and what is only told, fixes by policy alone, journaled and reported.
import assert from 'node:assert/strict';
import * as fs from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, test } from 'node:test';
import type { Group } from '#manifests/schema';
import { FIXES, runBody } from '#manifests/schema';
import { beginRun, takeUp } from './engine.ts';
import { type FakeHost, makeFakeHost } from './testing/fake-host.ts';

describe('before an installation', () => {
  let folder: string;
  let fake: FakeHost;
  const make = (group: Partial<Group> = {}) => {
    fake = makeFakeHost(join(folder, 'journal.sqlite'), group);
    return fake;
  };
  beforeEach(() => {
    folder = fs.mkdtempSync(join(tmpdir(), 'patchferry-prechecks-'));
  });
  afterEach(() => {
    fake.world.journal.close();
    fs.rmSync(folder, { recursive: true, force: true });
  });
  async function go() {
    const request = { evaluation: fake.evaluation(), inventory: fake.inventory(), group: fake.group, catalogs: [], trail: [] };
    const end = await beginRun(request, fake.world);
    assert.ok(end.kind === 'ended');
    runBody.parse(end.body);
    return end;
  }

  test('what policy does not name is told and blocks nothing; every check is in the result', async () => {
    make().unwell.set('clock', { blocks: false, later: true });
    const { outcome, body } = await go();
    assert.equal(outcome, 'committed');
    assert.deepEqual(
      body.prechecks?.map(({ name, ok, blocks }) => [name, ok, blocks]),
      [
        ['room', true, true],
        ['clock', false, false],
        ['load', true, false],
      ],
    );
    assert.match(body.states.find(({ state }) => state === 'Precheck')?.says ?? '', /noted: clock: as told/);
    assert.equal(body.fixes, undefined);
  });

  for (const [later, code, minutes] of [
    [true, 'run.precheck-later', 1],
    [false, 'run.precheck', 15],
  ] as const) {
    test(`what blocks ends the attempt with a result and a pause; ${later ? 'what may pass by itself a short one' : 'else the usual one'}`, async () => {
      make().unwell.set('load', { blocks: true, later });
      const end = await go();
      assert.deepEqual([end.outcome, end.body.error?.code, end.body.error?.message], ['refused', code, 'load: as told']);
      assert.equal(end.retryAt, fake.now + minutes * 60_000);
      assert.equal(fake.packages.get('foo:amd64'), '1.0');
    });
  }

  test('a fix that policy does not name is never made, whatever fails', async () => {
    make({ fixes: FIXES.filter((name) => name !== 'start-time-service') });
    fake.unwell.set('clock', { blocks: true, later: true });
    fake.mends.set('start-time-service', 'clock');
    const { outcome, body } = await go();
    assert.equal(outcome, 'refused');
    assert.deepEqual(
      fake.acts.filter((act) => act.startsWith('fix')),
      [],
    );
    assert.equal(body.fixes, undefined);
  });

  test('a fix that policy names is made when its check fails, and only then; the run goes on and the result tells', async () => {
    make({ fixes: [...FIXES] });
    fake.unwell.set('clock', { blocks: true, later: true });
    fake.mends.set('start-time-service', 'clock');
    const { outcome, body } = await go();
    assert.equal(outcome, 'committed');
    assert.deepEqual(
      fake.acts.filter((act) => /^(?:fix|look)/.test(act)),
      ['look', 'fix start-time-service', 'look'],
    );
    assert.deepEqual(body.fixes, [{ name: 'start-time-service', outcome: 'done', says: 'clock is well' }]);
  });

  test('a fix that helps nothing leaves the check as it was', async () => {
    make({ fixes: ['start-time-service'] }).unwell.set('clock', { blocks: true, later: false });
    const { outcome, body } = await go();
    assert.equal(outcome, 'refused');
    assert.deepEqual(body.fixes, [{ name: 'start-time-service', outcome: 'nothing', says: 'not on this host' }]);
  });

  test('killed at a fix: it is in the journal as begun, and made again', async () => {
    make({ fixes: ['start-time-service'] });
    fake.unwell.set('clock', { blocks: true, later: false });
    fake.mends.set('start-time-service', 'clock');
    fake.failPoint = (name) => {
      if (name === 'Precheck.fix') throw new TypeError('killed');
    };
    // the engine takes an error of an act for a failed act: what a kill leaves is what the journal held at that moment
    const journal = join(folder, 'journal.sqlite');
    const copies: string[] = [];
    const { failPoint } = fake;
    fake.failPoint = (name) => {
      if (name === 'Precheck.fix')
        for (const suffix of ['', '-wal']) {
          fs.copyFileSync(journal + suffix, join(folder, `cut.sqlite${suffix}`));
          copies.push(suffix);
        }
      failPoint(name);
    };
    await go();
    assert.equal(copies.length, 2);
    fake.world.journal.close();
    fake = makeFakeHost(join(folder, 'cut.sqlite'), fake.group);
    assert.deepEqual(fake.world.journal.runs.open()?.data.fixes, [{ name: 'start-time-service', outcome: 'begun', says: '' }]);
    fake.unwell.set('clock', { blocks: true, later: false });
    fake.mends.set('start-time-service', 'clock');
    const end = await takeUp(fake.world);
    assert.ok(end?.kind === 'ended');
    assert.equal(end.outcome, 'committed');
    assert.deepEqual(
      end.body.fixes?.map(({ outcome }) => outcome),
      ['begun', 'done'],
    );
  });

  test('what a fix changed is not the run’s: a rollback goes back to the host as it was mended', async () => {
    make({ fixes: ['start-time-service'] });
    fake.unwell.set('clock', { blocks: true, later: false });
    const { hands } = fake.world;
    Object.assign(hands, {
      fixHost: async () => {
        fake.packages.set('old-kernel:amd64', '1');
        fake.unwell.delete('clock');
        return { outcome: 'done', says: 'changed a package' };
      },
    });
    fake.faults.health = 'fails';
    const { outcome, body } = await go();
    assert.equal(outcome, 'rolled-back');
    assert.equal(fake.packages.get('old-kernel:amd64'), '1');
    assert.deepEqual(body.changes, []);
  });
});
