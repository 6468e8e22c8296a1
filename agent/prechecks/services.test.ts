// What the host's services say, from recorded output; check scripts for real.
import assert from 'node:assert/strict';
import * as fs from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, test } from 'node:test';
import type { RunResult } from '#manifests/platform/process';
import type { CheckScript } from '#manifests/schema';
import type { HostLook } from './check.ts';
import { checkByScript } from './script.ts';
import { type Ask, checkClock, checkLine, startTimeService, vacuumJournal } from './services.ts';

const look: HostLook = {
  policy: { meteredLine: 'refuse', clock: 'refuse' },
  inventory: { kernels: { running: '6', installed: [] }, product: null },
  clock: 'ok',
  line: { metered: false, says: 'NetworkManager says no' },
  rebootEvidence: [],
  workFolder: '/nonexistent',
  environment: {},
};

/** A host that answers these command lines; others are programs that it lacks. */
function answering(answers: Readonly<Record<string, Partial<RunResult>>>): { ask: Ask; asked: string[] } {
  const asked: string[] = [];
  const none = { code: 0, signal: null, stdout: '', stderr: '', timedOut: false, droppedBytes: 0, durationMs: 1 };
  return {
    asked,
    async ask(command, args) {
      const line = [command, ...args].join(' ');
      const key = Object.keys(answers).find((start) => line.includes(start));
      asked.push(line);
      return key === undefined ? undefined : { ...none, ...answers[key] };
    },
  };
}

describe('services', () => {
  test('a metered line is told, or waited for', () => {
    const line = { metered: true, says: 'by the settings' };
    const metered = checkLine({ ...look, line });
    assert.deepEqual([metered.ok, metered.blocks, metered.says], [false, true, 'it is metered (by the settings)']);
    assert.equal(checkLine({ ...look, line, policy: {} }).blocks, false);
    assert.equal(checkLine(look).ok, true);
  });

  test('the clock is judged by signed times; a time service is only told of', async () => {
    const kept = answering({ NTPSynchronized: { stdout: 'yes\n' } }).ask;
    assert.equal((await checkClock(look, kept)).says, 'agrees with signed times, kept by a time service');
    const off = await checkClock({ ...look, clock: 'behind' }, answering({}).ask);
    assert.deepEqual([off.ok, off.blocks, off.says], [false, true, 'is behind of signed times, no time service keeps it']);
  });

  test('the time service that is installed is started, and no other; a masked one is its owner’s word', async () => {
    const host = answering({
      'list-unit-files --no-legend --no-pager chrony.service': { stdout: 'chrony.service masked enabled\n' },
      'list-unit-files --no-legend --no-pager ntpsec.service': { stdout: 'ntpsec.service disabled enabled\n' },
      'list-unit-files': { stdout: '' },
      start: {},
      'is-active': { stdout: 'active\n' },
    });
    assert.deepEqual(await startTimeService(host.ask), { outcome: 'done', says: 'ntpsec.service runs' });
    assert.deepEqual(
      host.asked.filter((line) => line.startsWith('systemctl start')),
      ['systemctl start ntpsec.service'],
    );
    assert.equal((await startTimeService(answering({ 'list-unit-files': {} }).ask)).outcome, 'nothing');
    const failing = answering({
      'list-unit-files': { stdout: 'x disabled -\n' },
      start: { code: 1, stderr: 'no' },
      'is-active': {},
    });
    assert.equal((await startTimeService(failing.ask)).outcome, 'failed');
  });

  test('the journal is shortened to what always stays', async () => {
    const freed =
      'Vacuuming done, freed 24.0M of archived journals from /var/log/journal/1.\nVacuuming done, freed 0B of archived journals from /run/log/journal.\n';
    assert.deepEqual(await vacuumJournal(answering({ '--vacuum-size=64M': { stderr: freed } }).ask), {
      outcome: 'done',
      says: 'freed 24.0M of the journal',
    });
    const nothing = answering({
      journalctl: { stderr: 'Vacuuming done, freed 0B of archived journals from /run/log/journal.\n' },
    });
    assert.equal((await vacuumJournal(nothing.ask)).outcome, 'nothing');
    assert.equal((await vacuumJournal(answering({}).ask)).outcome, 'nothing');
    assert.equal((await vacuumJournal(answering({ journalctl: { code: 1, stderr: 'no' } }).ask)).outcome, 'failed');
  });

  test('check scripts: 0 is well, 21 is later, all else is not; output is kept, the time-out ends all, nothing stays', async () => {
    const workFolder = fs.mkdtempSync(join(tmpdir(), 'patchferry-script-'));
    try {
      const check = (script: string, timeoutSeconds = 30) => {
        const spec: CheckScript = { name: 'raid', script, timeoutSeconds };
        const here = { ...look, workFolder, environment: { PATCHFERRY_RUN: 'r1' } };
        return checkByScript(spec, here, new AbortController().signal);
      };
      const well = await check('#!/bin/sh\necho "run $PATCHFERRY_RUN"\n');
      assert.deepEqual(well, { name: 'script raid', ok: true, blocks: true, says: 'passed: run r1', retryLater: false });
      const later = await check('#!/bin/sh\nexit 21\n');
      assert.deepEqual([later.ok, later.retryLater], [false, true]);
      const failed = await check('#!/bin/sh\necho degraded >&2\nexit 1\n');
      assert.deepEqual([failed.ok, failed.retryLater, failed.says], [false, false, 'ended with 1: degraded']);
      const hanging = await check('#!/bin/sh\nsleep 600 &\nwait\n', 1);
      assert.deepEqual([hanging.ok, hanging.retryLater], [false, false]);
      assert.match(hanging.says, /no answer within 1 s/);
      assert.equal((await check('#!/no/such/program\n')).ok, false);
      assert.deepEqual(fs.readdirSync(workFolder), []);
    } finally {
      fs.rmSync(workFolder, { recursive: true });
    }
  });
});
