// The machine over a fake host (package system, way back, boot: fake; journal, table, acts: real): every fault in every
// state ends where the table says, with one result; every death in every state is taken up.
import assert from 'node:assert/strict';
import * as fs from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { type Ended, HANDS_NEEDED, LAST_COMMITTED } from './ending.ts';
import { beginRun, type RunEnd, takeUp, undoLast } from './engine.ts';
import { RUN_LIMITS } from './limits.ts';
import { setPause } from './memory.ts';
import { RUN_STATES, STATES, TRANSITIONS } from './states.ts';
import { type FakeHost, makeFakeHost, START } from './testing/fake-host.ts';

let folder: string;
let count = 0;
before(() => {
  folder = fs.mkdtempSync(join(tmpdir(), 'patchferry-machine-'));
});
after(() => fs.rmSync(folder, { recursive: true, force: true }));

function host(group: Parameters<typeof makeFakeHost>[1] = {}): FakeHost {
  count += 1;
  return makeFakeHost(join(folder, `${count}.sqlite`), group);
}

function begin(fake: FakeHost, formats: Parameters<FakeHost['evaluation']>[0] = ['deb']): Promise<RunEnd> {
  const request = {
    evaluation: fake.evaluation(formats),
    inventory: fake.inventory(),
    group: fake.group,
    catalogs: [],
    trail: [],
  };
  return beginRun(request, fake.world);
}

function ended(end: RunEnd | undefined): Ended {
  assert.ok(end?.kind === 'ended');
  return end;
}

const statesOf = ({ body }: Ended) => body.states.map(({ state }) => state).join(' ');

/** Exactly one result for this many runs, and none open. */
function settled(fake: FakeHost, results: number): void {
  assert.equal(fake.world.journal.runs.open(), undefined);
  assert.equal(fake.world.journal.results.pending().filter(({ kind }) => kind === 'run').length, results);
}

const WAY_THERE = 'Stage Precheck Snapshot Install';
const isOld = (fake: FakeHost) => [...fake.packages.values()].every((version) => version === '1.0');

describe('a fault in each state', () => {
  const rows: readonly {
    name: string;
    set: (fake: FakeHost) => void;
    group?: Parameters<typeof makeFakeHost>[1];
    states: string;
    outcome: Ended['outcome'];
    code: string | null;
    host: 'old' | 'new' | 'changed';
    remembered?: 'failed' | 'rolledBack' | 'nothing';
  }[] = [
    { name: 'none', set: () => undefined, states: `${WAY_THERE} Verify Commit`, outcome: 'committed', code: null, host: 'new' },
    {
      name: 'plan refused',
      set: (f) => (f.faults.plan = 'refused'),
      states: 'Stage Failed',
      outcome: 'refused',
      code: 'packages.removals',
      host: 'old',
      remembered: 'nothing',
    },
    {
      name: 'S35 disk full while planning',
      set: (f) => (f.faults.plan = 'throws'),
      states: 'Stage Failed',
      outcome: 'failed',
      code: 'run.io',
      host: 'old',
      remembered: 'failed',
    },
    {
      name: 'trap 21 precheck refuses',
      set: (f) => (f.faults.precheck = 'fails'),
      states: 'Stage Precheck Failed',
      outcome: 'refused',
      code: 'run.precheck',
      host: 'old',
      remembered: 'nothing',
    },
    {
      name: 'S38 no way back where one is required',
      set: (f) => (f.faults.wayBack = 'none'),
      states: 'Stage Precheck Snapshot Failed',
      outcome: 'refused',
      code: 'run.no-way-back',
      host: 'old',
    },
    {
      name: 'no way back where one is preferred',
      set: (f) => (f.faults.wayBack = 'none'),
      group: { wayBack: 'preferred' },
      states: `${WAY_THERE} Verify Commit`,
      outcome: 'committed',
      code: null,
      host: 'new',
    },
    {
      name: 'a way back could be taken and none is wanted',
      set: () => undefined,
      group: { wayBack: 'none' },
      states: `${WAY_THERE} Verify Commit`,
      outcome: 'committed',
      code: null,
      host: 'new',
    },
    {
      name: 'harm where no way back was wanted: loud, and nothing is taken back',
      set: (f) => (f.faults.health = 'fails'),
      group: { wayBack: 'none' },
      states: `${WAY_THERE} Verify Rollback Failed`,
      outcome: 'rollback-failed',
      code: 'run.health',
      host: 'new',
      remembered: 'failed',
    },
    {
      name: 'S38 the way back fails',
      set: (f) => (f.faults.wayBack = 'throws'),
      states: 'Stage Precheck Snapshot Failed',
      outcome: 'failed',
      code: 'run.io',
      host: 'old',
    },
    {
      name: 'trap 6 the window closed meanwhile',
      set: (f) => (f.now = START + 61 * 60_000),
      states: 'Stage Precheck Snapshot Failed',
      outcome: 'refused',
      code: 'run.window-closed',
      host: 'old',
    },
    {
      name: 'trap 7 too little of the window is left',
      set: (f) => (f.now = START + 59.5 * 60_000),
      states: 'Stage Precheck Snapshot Failed',
      outcome: 'refused',
      code: 'run.window-closed',
      host: 'old',
    },
    {
      name: 'the cutoff of the window has passed meanwhile',
      set: (f) => (f.now = START + 35 * 60_000),
      group: {
        windows: [
          {
            name: 'mon',
            days: ['mon'],
            start: '09:00',
            durationMinutes: 120,
            cutoffMinutes: 30,
            zone: 'UTC',
            validFrom: null,
            validUntil: null,
          },
        ],
      },
      states: 'Stage Precheck Snapshot Failed',
      outcome: 'refused',
      code: 'run.window-closed',
      host: 'old',
    },
    {
      name: 'S38 the installation fails',
      set: (f) => (f.faults.install = 'fails'),
      states: `${WAY_THERE} Rollback Failed`,
      outcome: 'rolled-back',
      code: 'run.install',
      host: 'old',
      remembered: 'rolledBack',
    },
    {
      name: 'the installation stops half-way',
      set: (f) => (f.faults.install = 'half'),
      states: `${WAY_THERE} Rollback Failed`,
      outcome: 'rolled-back',
      code: 'run.install',
      host: 'old',
      remembered: 'rolledBack',
    },
    {
      name: 'the installation says it succeeded and did not',
      set: (f) => (f.faults.install = 'lies'),
      states: `${WAY_THERE} Verify Rollback Failed`,
      outcome: 'rolled-back',
      code: 'run.still-missing',
      host: 'old',
      remembered: 'rolledBack',
    },
    {
      name: 'the package database is not healthy afterwards',
      set: (f) => (f.faults.audit = 'broken'),
      states: `${WAY_THERE} Verify Rollback Failed`,
      outcome: 'rolled-back',
      code: 'run.audit',
      host: 'old',
      remembered: 'rolledBack',
    },
    {
      name: 'the health check fails',
      set: (f) => (f.faults.health = 'fails'),
      states: `${WAY_THERE} Verify Rollback Failed`,
      outcome: 'rolled-back',
      code: 'run.health',
      host: 'old',
      remembered: 'rolledBack',
    },
    {
      name: 'S38 the rollback fails too',
      set: (f) => Object.assign(f.faults, { health: 'fails', restore: 'fails' }),
      states: `${WAY_THERE} Verify Rollback Failed`,
      outcome: 'rollback-failed',
      code: 'run.health',
      host: 'new',
      remembered: 'failed',
    },
    {
      name: 'the rollback says it succeeded and did not',
      set: (f) => Object.assign(f.faults, { health: 'fails', restore: 'lies' }),
      states: `${WAY_THERE} Verify Rollback Failed`,
      outcome: 'rollback-failed',
      code: 'run.health',
      host: 'new',
      remembered: 'failed',
    },
    {
      name: 'a reboot that is needed and not allowed is reported',
      set: (f) => (f.rebootEvidence = ['kernel k2 is installed']),
      states: `${WAY_THERE} Verify Commit`,
      outcome: 'committed',
      code: null,
      host: 'new',
    },
  ];
  for (const row of rows) {
    test(row.name, async () => {
      const fake = host(row.group);
      row.set(fake);
      const end = ended(await begin(fake));
      assert.equal(statesOf(end), row.states);
      assert.equal(end.outcome, row.outcome);
      assert.equal(end.body.error?.code ?? null, row.code);
      if (row.host === 'old') {
        assert.ok(isOld(fake));
        assert.equal(end.body.packagesAfterSha256, end.body.packagesBeforeSha256);
      } else assert.ok([...fake.packages.values()].every((version) => version === '2.0'));
      settled(fake, 1);
      if (row.group?.wayBack === 'none') {
        assert.ok(!fake.acts.includes('take'), 'nothing is kept');
        assert.equal(end.body.wayBack?.kind, 'none');
        assert.match(end.body.wayBack.says, /the group wants none/);
      }
      const { journal } = fake.world;
      const memory = journal.runs.memory();
      if (row.remembered !== undefined) {
        assert.equal(memory.failed.length > 0, row.remembered === 'failed');
        assert.equal(memory.rolledBack.length > 0, row.remembered === 'rolledBack');
      }
      const pause = journal.backOff.get(setPause(fake.evaluation().digest));
      if (row.outcome === 'committed') assert.equal(pause, undefined);
      else assert.equal(pause?.until, fake.now + RUN_LIMITS.retryFirstMs);
      assert.equal(journal.meta(HANDS_NEEDED) !== undefined, row.outcome === 'rollback-failed');
      assert.equal(end.body.rebootNeeded.needed, fake.rebootEvidence.length > 0);
    });
  }

  test('pauses double, and end', async () => {
    const fake = host();
    fake.faults.precheck = 'fails';
    const pauses: number[] = [];
    for (let n = 0; n < 9; n += 1) pauses.push((ended(await begin(fake)).retryAt ?? 0) - fake.now);
    assert.deepEqual(
      pauses.slice(0, 3),
      [1, 2, 4].map((factor) => factor * RUN_LIMITS.retryFirstMs),
    );
    assert.equal(pauses.at(-1), RUN_LIMITS.retryMostMs);
  });

  test('trap 6: the window is looked at again before each package system; what is left waits', async () => {
    const fake = host();
    fake.failPoint = (name) => {
      if (name === 'Install.middle') fake.now = START + 61 * 60_000;
    };
    const end = ended(await begin(fake, ['deb', 'archive']));
    assert.equal(end.outcome, 'committed');
    assert.equal(fake.components.get('tool'), '1.0.0');
    assert.deepEqual(
      fake.world.journal.runs.memory().installedByUs.map(({ patch }) => patch),
      ['deb-patch@2'],
    );
  });
});

describe('reboots (traps 5 and 12)', () => {
  test('by evidence, inside the window, judged only afterwards', async () => {
    const fake = host();
    Object.assign(fake, { allowReboot: true, rebootEvidence: ['kernel k2 is installed'] });
    assert.equal((await begin(fake)).kind, 'rebooting');
    assert.equal(fake.world.journal.runs.memory().installedByUs.length, 0, 'nothing is committed before the reboot');
    Object.assign(fake, { boot: 2, rebootEvidence: [] });
    const end = ended(await takeUp(fake.world));
    assert.equal(statesOf(end), `${WAY_THERE} Reboot Verify Commit`);
    assert.equal(end.body.resumed, 0, 'a reboot that was asked for is no interruption');
    settled(fake, 1);
  });

  test('what breaks only at boot is taken back, and the host boots once more', async () => {
    const fake = host();
    Object.assign(fake, { allowReboot: true, rebootEvidence: ['kernel k2 is installed'] });
    assert.equal((await begin(fake)).kind, 'rebooting');
    fake.boot = 2;
    fake.faults.health = 'fails';
    assert.equal((await takeUp(fake.world))?.kind, 'rebooting');
    Object.assign(fake, { boot: 3, rebootEvidence: [] });
    const end = ended(await takeUp(fake.world));
    assert.equal(statesOf(end), `${WAY_THERE} Reboot Verify Rollback RollbackReboot Failed`);
    assert.equal(end.outcome, 'rolled-back');
    assert.ok(isOld(fake));
    settled(fake, 1);
  });

  test('S37 a host that does not go down is asked again, but not for ever', async () => {
    const fake = host();
    Object.assign(fake, { allowReboot: true, rebootEvidence: ['kernel k2 is installed'] });
    let end: RunEnd | undefined = await begin(fake);
    for (let n = 0; n < RUN_LIMITS.deaths; n += 1) {
      assert.equal(end?.kind, 'rebooting');
      end = await takeUp(fake.world);
    }
    assert.equal(end?.kind, 'rebooting');
    const last = ended(await takeUp(fake.world));
    assert.equal(last.outcome, 'committed');
    assert.equal(last.body.rebootNeeded.needed, true);
    assert.equal(fake.acts.filter((act) => act === 'reboot').length, RUN_LIMITS.deaths + 1);
  });

  test('never outside the window', async () => {
    const fake = host();
    Object.assign(fake, { allowReboot: true, rebootEvidence: ['kernel k2 is installed'] });
    fake.failPoint = (name) => {
      if (name === 'Install.done') fake.now = START + 61 * 60_000;
    };
    const end = ended(await begin(fake));
    assert.equal(statesOf(end), `${WAY_THERE} Reboot Verify Commit`);
    assert.ok(!fake.acts.includes('reboot'));
  });

  test('never where the group says never', async () => {
    const fake = host({ reboot: 'never' });
    Object.assign(fake, { allowReboot: true, rebootEvidence: ['kernel k2 is installed'] });
    assert.equal(statesOf(ended(await begin(fake))), `${WAY_THERE} Verify Commit`);
  });
});

/** Stands for a kill: nothing after it is done by this "process". */
class Death extends Error {}

/** Dies at a fail point: the error escapes the engine because entering a state is outside of its acts. */
function dieAt(fake: FakeHost, place: string): void {
  fake.failPoint = (name) => {
    if (name !== place) return;
    fake.failPoint = () => undefined;
    throw new Death(name);
  };
}

describe('S34 a death at the entry of each state', () => {
  const rows: readonly {
    state: string;
    late: boolean;
    set?: (fake: FakeHost) => void;
    outcome: Ended['outcome'];
    code: string | null;
  }[] = [
    ...['Stage', 'Precheck', 'Snapshot', 'Install', 'Verify', 'Commit'].map((state) => ({
      state,
      late: false,
      outcome: 'committed' as const,
      code: null,
    })),
    ...['Stage', 'Precheck', 'Snapshot'].map((state) => ({
      state,
      late: true,
      outcome: 'refused' as const,
      code: 'run.window-closed',
    })),
    { state: 'Install', late: true, outcome: 'rolled-back', code: 'run.window-closed' },
    ...['Verify', 'Commit'].map((state) => ({ state, late: true, outcome: 'committed' as const, code: null })),
    ...['Rollback', 'Failed'].flatMap((state) =>
      [false, true].map((late) => ({
        state,
        late,
        set: (fake: FakeHost) => {
          fake.faults.health = 'fails';
        },
        outcome: 'rolled-back' as const,
        code: 'run.health',
      })),
    ),
  ];
  for (const { state, late, set, outcome, code } of rows) {
    test(`${state}${late ? ', coming back after the window' : ''}: ${outcome}`, async () => {
      const fake = host();
      set?.(fake);
      dieAt(fake, `${state}.entered`);
      await assert.rejects(begin(fake), Death);
      assert.equal(fake.world.journal.runs.open()?.state, state);
      if (late) fake.now = START + 3 * 3_600_000;
      const end = ended(await takeUp(fake.world));
      assert.equal(end.outcome, outcome);
      assert.equal(end.body.error?.code ?? null, code);
      assert.equal(end.body.resumed, 1);
      if (outcome === 'committed') assert.ok(!isOld(fake));
      else assert.ok(isOld(fake));
      // an interruption says nothing about the set
      if (code === 'run.window-closed') assert.equal(fake.world.journal.runs.memory().rolledBack.length, 0);
      settled(fake, 1);
      assert.equal(await takeUp(fake.world), undefined);
    });
  }
});

test('by hand: the last committed run is taken back and remembered', async () => {
  const fake = host();
  const first = ended(await begin(fake));
  assert.equal(fake.world.journal.meta(LAST_COMMITTED), first.run);
  const end = ended(await undoLast(fake.world));
  assert.equal(statesOf(end), 'Rollback Failed');
  assert.equal(end.outcome, 'rolled-back');
  assert.ok(isOld(fake));
  assert.equal(fake.world.journal.runs.memory().rolledBack[0]?.digest, fake.evaluation().digest);
  await assert.rejects(undoLast(fake.world), { code: 'run.no-rollback' });
  settled(fake, 2);
});

test('the table is whole: every state is reached, every way a run can die is answered', () => {
  for (const state of STATES.filter((one) => one !== 'Idle'))
    assert.ok(
      TRANSITIONS.some(({ to }) => to === state),
      state,
    );
  for (const state of RUN_STATES) {
    for (const event of ['killed', 'late', 'often'] as const) {
      const found = TRANSITIONS.filter(({ from, on }) => from === state && [on].flat().includes(event));
      assert.equal(found.length, 1, `${state} ${event}`);
    }
  }
  const pairs = TRANSITIONS.flatMap(({ from, on }) => [on].flat().map((event) => `${from} ${event}`));
  assert.equal(new Set(pairs).size, pairs.length, 'one answer for each event');
  // from Install on, no transition leaves the run without Verify or Rollback
  for (const { from, to } of TRANSITIONS.filter((one) => one.from === 'Install'))
    assert.ok(['Install', 'Verify', 'Reboot', 'Rollback'].includes(to), from);
});
