// The table of the hard promise: for every state and every mishap, striking in the middle of it, the chain of states, the host
// (packages, files, capabilities, database) and the results. Over the fake host, so that all of it runs in a second; the same on
// real processes is service/killed.test.ts, on disks that are really full service/full-disk.host.test.ts, and on real hosts at random
// moments the chaos (scripts/test).
import assert from 'node:assert/strict';
import * as fs from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import type { Ended } from './ending.ts';
import { takeUp, undoLast } from './engine.ts';
import { RUN_STATES } from './states.ts';
import { START } from './testing/fake-host.ts';
import { FILES, type FragileHost, MISHAPS, type Mishap, makeFragileHost, type RunState } from './testing/mishaps.ts';

let folder: string;
let count = 0;
before(() => {
  folder = fs.mkdtempSync(join(tmpdir(), 'patchferry-anywhere-'));
});
after(() => fs.rmSync(folder, { recursive: true, force: true }));

/** What it takes for a run to come into a state at all: a host that is not well after the change, one that needs a reboot. */
function hostFor(state: RunState): FragileHost {
  count += 1;
  const back = state === 'Rollback' || state === 'RollbackReboot' || state === 'Failed';
  const reboots = state === 'Reboot' || state === 'RollbackReboot';
  const host = makeFragileHost(join(folder, `${count}.sqlite`), reboots ? { reboot: 'if-needed' } : {});
  if (back) host.fake.faults.health = 'fails';
  if (reboots) Object.assign(host.fake, { allowReboot: true, rebootEvidence: ['kernel k2 is installed'] });
  return host;
}

/** Chains of states. `>` as in the design; a state that is entered again without another between is not named twice. */
const WAY = 'Stage Precheck Snapshot Install Verify Commit';
const REBOOT = 'Stage Precheck Snapshot Install Reboot Verify Commit';
const BACK = 'Stage Precheck Snapshot Install Verify Rollback Failed';
const REBOOT_BACK = 'Stage Precheck Snapshot Install Reboot Verify Rollback RollbackReboot Failed';

type Row = readonly [outcome: Ended['outcome'], chain: string, code?: string];
const DONE: Row = ['committed', WAY];
const SICK: Row = ['rolled-back', BACK, 'run.health'];
const stays = (chain: string, code: string): Row => ['failed', chain, code];
const FAILS = 'process.test-failed';
const LATE: Row = ['refused', 'Stage Precheck Snapshot Failed', 'run.window-closed'];

/** One row a state: what a death comes to, a command that fails or hangs, a full disk, no network, a clock set forward. */
const TABLE: Readonly<Record<RunState, { death: Row; command: Row; disk: Row; network: Row; forward: Row }>> = {
  Stage: {
    death: DONE,
    command: stays('Stage Failed', FAILS),
    disk: stays('Stage Failed', 'run.io'),
    network: stays('Stage Failed', 'transfer.test-gone'),
    forward: LATE,
  },
  Precheck: {
    death: ['committed', `Stage Precheck ${WAY}`],
    command: stays('Stage Precheck Failed', FAILS),
    disk: stays('Stage Precheck Failed', 'run.io'),
    network: DONE,
    forward: LATE,
  },
  Snapshot: {
    death: ['committed', `Stage Precheck Snapshot ${WAY}`],
    command: stays('Stage Precheck Snapshot Failed', FAILS),
    disk: stays('Stage Precheck Snapshot Failed', 'run.io'),
    network: DONE,
    forward: LATE,
  },
  Install: {
    death: DONE,
    command: ['rolled-back', 'Stage Precheck Snapshot Install Rollback Failed', FAILS],
    disk: ['rolled-back', 'Stage Precheck Snapshot Install Rollback Failed', 'run.io'],
    network: DONE,
    forward: DONE, // what has begun is brought to its end
  },
  Reboot: {
    death: ['committed', REBOOT],
    command: ['committed', REBOOT], // the host would not reboot: judged as it runs, the need is told
    disk: ['committed', REBOOT],
    network: ['committed', REBOOT],
    forward: ['committed', REBOOT],
  },
  Verify: {
    death: DONE,
    command: ['rolled-back', BACK, FAILS],
    disk: ['rolled-back', BACK, 'run.io'],
    network: DONE,
    forward: DONE,
  },
  Commit: { death: DONE, command: DONE, disk: DONE, network: DONE, forward: DONE },
  Rollback: {
    death: SICK,
    command: ['rollback-failed', BACK, 'run.health'], // loud, and undone by hand below
    disk: ['rollback-failed', BACK, 'run.health'],
    network: SICK,
    forward: SICK,
  },
  RollbackReboot: {
    death: ['rolled-back', REBOOT_BACK, 'run.health'],
    command: ['rolled-back', REBOOT_BACK, 'run.health'],
    disk: ['rolled-back', REBOOT_BACK, 'run.health'],
    network: ['rolled-back', REBOOT_BACK, 'run.health'],
    forward: ['rolled-back', REBOOT_BACK, 'run.health'],
  },
  Failed: { death: SICK, command: SICK, disk: SICK, network: SICK, forward: SICK },
};

/** The row of the table of threats that a mishap is. */
const ROW: Readonly<Partial<Record<Mishap, string>>> = {
  'kill -9': 'S34 ',
  'power cut': 'S34 ',
  'failing command': 'S37 ',
  'hanging command': 'S37 ',
  'disk full': 'S35 ',
  'state folder full': 'S35 ',
  'clock forward': 'S18 ',
  'clock back': 'S18 ',
};

function expected(state: RunState, mishap: Mishap): Row {
  const { death, command, disk, network, forward } = TABLE[state];
  const rows: Readonly<Record<Mishap, Row>> = {
    'kill -9': death,
    'power cut': death,
    'state folder full': death, // nothing can be noted, so it is as if the process had died there
    'failing command': command,
    'hanging command': command, // every command has a time-out, after which it has failed
    'disk full': disk,
    'network gone': network,
    'clock forward': forward,
    'clock back': hasEndedWell(state) ? DONE : withoutMishap(state), // trusted time only moves forward
  };
  return rows[mishap];
}

function hasEndedWell(state: RunState): boolean {
  return !['Reboot', 'Rollback', 'RollbackReboot', 'Failed'].includes(state);
}

function withoutMishap(state: RunState): Row {
  if (state === 'Reboot') return ['committed', REBOOT];
  return state === 'RollbackReboot' ? ['rolled-back', REBOOT_BACK, 'run.health'] : SICK;
}

describe('every state, every mishap', () => {
  for (const state of RUN_STATES.filter((one): one is RunState => !one.startsWith('Root'))) {
    for (const mishap of MISHAPS) {
      const [outcome, chain, code = null] = expected(state, mishap);
      test(`${ROW[mishap] ?? ''}${mishap} in ${state}: ${outcome}`, async () => {
        const host = hostFor(state);
        const { fake, files } = host;
        const { journal } = fake.world;
        const happened = host.strike(state, mishap);
        const { ended, starts } = await host.untilEnded();
        assert.ok(happened(), 'the mishap was never reached');
        assert.equal(ended.body.states.map((step) => step.state).join(' '), chain);
        assert.equal(ended.outcome, outcome);
        assert.equal(ended.body.error?.code ?? null, code);
        const dies = mishap === 'kill -9' || mishap === 'power cut' || mishap === 'state folder full';
        if (dies && state !== 'Reboot' && state !== 'RollbackReboot') assert.ok(starts > 1, 'the process died');

        // one result, no open run, nothing more to take up; time in it never goes back
        const told = journal.results.pending().filter(({ kind }) => kind === 'run');
        assert.equal(told.length, 1);
        assert.equal(journal.runs.open(), undefined);
        assert.equal(await takeUp(fake.world), undefined);
        assert.ok(Date.parse(told[0]?.trusted_time ?? '') >= START);

        // the host is one of two in every respect, and the result says which
        const isPatched = outcome === 'committed';
        if (outcome === 'rollback-failed') {
          assert.notDeepEqual(files, FILES.before, 'half way, and it says so');
          const undone = await undoLast(fake.world);
          assert.ok(undone.kind === 'ended' && undone.outcome === 'rolled-back', 'by hand it is brought to its end');
        } else assert.equal(ended.body.packagesAfterSha256 === ended.body.packagesBeforeSha256, !isPatched);
        assert.deepEqual([...new Set(fake.packages.values())], [isPatched ? '2.0' : '1.0']);
        assert.deepEqual(files, isPatched ? FILES.patched : FILES.before);
        assert.deepEqual(await fake.world.hands.systems.deb.audit(fake.world.context('x', [], fake.world.signal)), []);
        assert.equal(host.halfTaken.size, 0, 'no half-taken way back is left');
        assert.deepEqual(
          journal.ways.kept().map(({ run }) => run),
          isPatched ? [ended.run] : [],
        );

        // whoever did no harm may come again after a pause; a set that did harm is remembered (trap 11)
        const denied = journal.runs.memory().rolledBack.some(({ digest }) => digest === fake.evaluation().digest);
        assert.equal(denied, code === 'run.health' && outcome === 'rolled-back' ? true : outcome === 'rollback-failed');
      });
    }
  }
});
