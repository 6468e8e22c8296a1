// The table of the hard promise: for every state and every kind of mishap the chain of states, the host and the results.
// Over the fake host, so that all of it runs in a second; the same on real processes is killed.test.ts, on real hosts the chaos.
import assert from 'node:assert/strict';
import * as fs from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { defineFaults, EXIT } from '#manifests/errors';
import type { Group } from '#manifests/schema';
import type { Ended } from './ending.ts';
import { beginRun, type RunEnd, takeUp } from './engine.ts';
import { RUN_STATES } from './states.ts';
import { type FakeHost, makeFakeHost, START } from './testing/fake-host.ts';

const MISHAPS = ['kill -9', 'failing', 'hanging', 'disk full', 'network gone', 'clock jump'] as const;
type Mishap = (typeof MISHAPS)[number];
type State = (typeof RUN_STATES)[number];

let folder: string;
let count = 0;
before(() => {
  folder = fs.mkdtempSync(join(tmpdir(), 'patchferry-anywhere-'));
});
after(() => fs.rmSync(folder, { recursive: true, force: true }));

const transfer = defineFaults('transfer', { 'test-gone': { exit: EXIT.unreachable, next: 'Only a test says this.' } });

/** Stands for the end of the process: nothing after it is done. */
class Death extends Error {}

const ERRORS: Readonly<Record<'failing' | 'hanging' | 'disk full', () => Error>> = {
  failing: () => new Error('dpkg ended with 2'),
  hanging: () => new Error('dpkg did not end within 3600000 ms'),
  'disk full': () => Object.assign(new Error('ENOSPC: no space left on device'), { code: 'ENOSPC' }),
};

/** What it takes for a run to come into a state at all. */
function hostFor(state: State): FakeHost {
  count += 1;
  const back = state === 'Rollback' || state === 'RollbackReboot' || state === 'Failed';
  const reboots = state === 'Reboot' || state === 'RollbackReboot';
  const group: Partial<Group> = reboots ? { reboot: 'if-needed' } : {};
  const fake = makeFakeHost(join(folder, `${count}.sqlite`), group);
  if (back) fake.faults.health = 'fails';
  if (reboots) Object.assign(fake, { allowReboot: true, rebootEvidence: ['kernel k2 is installed'] });
  return fake;
}

/** Arranges the mishap. @returns whether it has happened */
function strike(fake: FakeHost, state: State, mishap: Mishap): () => boolean {
  let happened = false;
  const ending = state === 'Commit' || state === 'Failed';
  const place =
    mishap === 'kill -9' || mishap === 'clock jump' ? `${state}.entered` : ending ? 'result.before' : `${state}.done`;
  fake.failPoint = (name) => {
    if (name !== place) return;
    happened = true;
    fake.failPoint = () => undefined;
    if (mishap === 'clock jump') fake.now += 26 * 3_600_000;
    else if (mishap === 'kill -9') throw new Death();
    else if (mishap !== 'network gone') throw ERRORS[mishap]();
  };
  if (mishap !== 'network gone') return () => happened;
  // gone from this state on: what was fetched before is here
  let gone = false;
  fake.failPoint = (name) => {
    gone ||= name === `${state}.entered`;
    happened = gone;
  };
  Object.assign(fake.world, {
    fetchPayloads: async () => {
      if (gone) throw transfer('test-gone', 'no relay answers');
    },
  });
  return () => happened;
}

/** Starts the agent again and again, boots the host when it was told to reboot, until the run has ended. */
async function untilEnded(fake: FakeHost): Promise<{ ended: Ended; starts: number }> {
  const request = { evaluation: fake.evaluation(), inventory: fake.inventory(), group: fake.group, catalogs: [], trail: [] };
  let end: RunEnd | undefined;
  for (let starts = 1; starts < 10; starts += 1) {
    try {
      end = starts === 1 ? await beginRun(request, fake.world) : await takeUp(fake.world);
    } catch {
      continue; // the process is gone; the next one takes the run up
    }
    if (end?.kind === 'ended') return { ended: end, starts };
    if (end?.kind === 'rebooting') {
      fake.boot += 1;
      if (fake.boot > 2 || !fake.acts.includes('restore'))
        fake.rebootEvidence = fake.faults.health === 'ok' ? [] : fake.rebootEvidence;
    }
  }
  return assert.fail('the run never ends');
}

const WAY = ['Stage', 'Precheck', 'Snapshot', 'Install', 'Verify', 'Commit'];
const BACK = ['Stage', 'Precheck', 'Snapshot', 'Install', 'Verify', 'Rollback', 'Failed'];
const cutAfter = (chain: readonly string[], state: string, ...then: string[]) => [
  ...chain.slice(0, chain.indexOf(state) + 1),
  ...then,
];
const REBOOT = ['Stage', 'Precheck', 'Snapshot', 'Install', 'Reboot', 'Verify', 'Commit'];
const REBOOT_BACK = ['Stage', 'Precheck', 'Snapshot', 'Install', 'Reboot', 'Verify', 'Rollback', 'RollbackReboot', 'Failed'];

interface Row {
  readonly chain: readonly string[];
  readonly outcome: Ended['outcome'];
  readonly code: string | null;
}

/** The table: what each state and mishap come to. */
function expected(state: State, mishap: Mishap): Row {
  const error = mishap === 'disk full' ? 'run.io' : 'run.unexpected';
  const fine = { chain: WAY, outcome: 'committed', code: null } as const;
  const back = { chain: BACK, outcome: 'rolled-back', code: 'run.health' } as const;
  const breaks = mishap === 'failing' || mishap === 'hanging' || mishap === 'disk full';
  switch (state) {
    case 'Stage':
    case 'Precheck':
    case 'Snapshot': {
      const failed = cutAfter(WAY, state, 'Failed');
      if (mishap === 'kill -9' && state !== 'Stage') return { ...fine, chain: cutAfter(WAY, state, ...WAY) };
      if (mishap === 'network gone' && state === 'Stage')
        return { chain: failed, outcome: 'failed', code: 'transfer.test-gone' };
      if (mishap === 'clock jump') {
        return { chain: cutAfter(WAY, 'Snapshot', 'Failed'), outcome: 'refused', code: 'run.window-closed' };
      }
      return breaks ? { chain: failed, outcome: 'failed', code: error } : fine;
    }
    case 'Install':
    case 'Verify':
      return breaks ? { chain: cutAfter(WAY, state, 'Rollback', 'Failed'), outcome: 'rolled-back', code: error } : fine;
    case 'Commit':
      return fine;
    case 'Reboot':
      return { ...fine, chain: REBOOT };
    case 'Rollback':
    case 'Failed':
      return back;
    case 'RollbackReboot':
      return { ...back, chain: REBOOT_BACK };
    default:
      return assert.fail(`no row for ${state}`);
  }
}

describe('every state, every mishap', () => {
  for (const state of RUN_STATES) {
    for (const mishap of MISHAPS) {
      const row = expected(state, mishap);
      test(`${mishap} in ${state}: ${row.outcome}`, async () => {
        const fake = hostFor(state);
        const happened = strike(fake, state, mishap);
        const { ended, starts } = await untilEnded(fake);
        assert.ok(happened(), 'the mishap was never reached');
        assert.deepEqual(
          ended.body.states.map((step) => step.state),
          row.chain,
        );
        assert.equal(ended.outcome, row.outcome);
        assert.equal(ended.body.error?.code ?? null, row.code);
        if (mishap === 'kill -9') assert.equal(starts > 1, true);
        // the host is one of two, and the result says which
        const versions = new Set(fake.packages.values());
        assert.deepEqual([...versions], [row.outcome === 'committed' ? '2.0' : '1.0']);
        assert.equal(ended.body.packagesAfterSha256 === ended.body.packagesBeforeSha256, row.outcome !== 'committed');
        // one result, no open run, and nothing more to take up
        const { journal } = fake.world;
        assert.equal(journal.results.pending().filter(({ kind }) => kind === 'run').length, 1);
        assert.equal(journal.runs.open(), undefined);
        assert.equal(await takeUp(fake.world), undefined);
        assert.ok(fake.now >= START);
      });
    }
  }
});
