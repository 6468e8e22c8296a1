// The whole root put back, over two fake roots: a death at every point, by kill and by power cut; a root that is not well, a boot
// loader that does not follow, and what policy and owner may ask for.
import assert from 'node:assert/strict';
import * as fs from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import type { Ended } from './ending.ts';
import { beginRun, type RunEnd, takeUp, undoLast } from './engine.ts';
import { oldRoots } from './old-roots.ts';
import { type FakeRoots, makeFakeRoots } from './testing/fake-roots.ts';

let folder: string;
let count = 0;
before(() => {
  folder = fs.mkdtempSync(join(tmpdir(), 'patchferry-roots-'));
});
after(() => fs.rmSync(folder, { recursive: true, force: true }));

function host(group: Parameters<typeof makeFakeRoots>[1] = {}): FakeRoots {
  count += 1;
  return makeFakeRoots(join(folder, String(count)), group);
}

function install({ fake }: FakeRoots): Promise<RunEnd> {
  const evaluation = fake.evaluation(['deb']);
  return beginRun({ evaluation, inventory: fake.inventory(), group: fake.group, catalogs: [], trail: [] }, fake.world);
}

function ended(end: RunEnd | undefined): Ended {
  assert.ok(end?.kind === 'ended', JSON.stringify(end));
  return end;
}

const chain = ({ body }: Ended) => body.states.map(({ state }) => state).join(' ');
const version = ({ fake }: FakeRoots) => [...new Set(fake.packages.values())].join();
const WHOLE = 'Rollback RootSwitch RootVerify Failed';

async function installed(group: Parameters<typeof makeFakeRoots>[1] = {}): Promise<FakeRoots> {
  const roots = host(group);
  assert.equal(ended(await install(roots)).outcome, 'committed');
  assert.equal(version(roots), '2.0');
  return roots;
}

const POINTS = ['made', 'noted', 'carried', 'still', 'switched'].map((point) => `RootSwitch.${point}`);
const ALL = [
  'Rollback.entered',
  'Rollback.done',
  'RootSwitch.entered',
  ...POINTS,
  'RootSwitch.done',
  'RootVerify.entered',
  'RootVerify.done',
];

describe('S34 by hand, and a death at every point', () => {
  for (const point of ['nowhere', ...ALL, 'Failed.entered', 'result.before', 'result.after']) {
    for (const how of ['kill -9', 'power cut'] as const) {
      test(`${point}, ${how}: the whole root is as before, the agent is not, and one result says so`, async () => {
        const roots = await installed();
        const { fake } = roots;
        const sequence = fake.world.journal.results.head().sequence;
        roots.dieAt(point);
        const begin = () => undoLast(fake.world, { wholeRoot: true });
        const { end } = await roots.untilEnded(begin, how).catch(async (error: unknown) => {
          if (point !== 'result.after') throw error;
          return { end: undefined }; // the run had ended: nothing is left to take up
        });
        const { journal } = fake.world;
        const told = journal.results.pending().filter(({ kind }) => kind === 'run');
        assert.equal(told.length, 2, 'one result a run');
        if (end !== undefined) {
          assert.equal(ended(end).outcome, 'rolled-back');
          assert.equal(chain(ended(end)).replaceAll('RootSwitch RootSwitch', 'RootSwitch'), WHOLE);
          assert.match(ended(end).body.wayBack?.says ?? '', /the whole root is as before: \/@next/);
        }
        assert.deepEqual([roots.runs, roots.next, version(roots)], ['new', 'new', '1.0']);
        assert.equal(journal.results.head().sequence, sequence + 1);
        assert.equal(journal.runs.open(), undefined);
        assert.equal(await takeUp(fake.world), undefined);
        assert.deepEqual(
          oldRoots(journal).map(({ root }) => root?.id),
          ['old'],
        );
        assert.equal(journal.runs.memory().rolledBack.length, 1, 'trap 11: the set is remembered');
      });
    }
  }
});

test('switched and not booted yet: nothing is written, whoever tries, and the wait has no end of its own', async () => {
  const roots = await installed();
  const { fake } = roots;
  const first = await undoLast(fake.world, { wholeRoot: true });
  assert.ok(first.kind === 'rebooting');
  assert.match(
    first.says ?? '',
    /the next boot starts from \/@next \(new\); not rebooted by itself: this agent may not reboot/,
  );
  for (let again = 0; again < 12; again += 1) assert.equal((await takeUp(fake.world))?.kind, 'rebooting');
  assert.throws(() => fake.world.journal.setMeta('anything', 'x'), { errcode: 8 });
  assert.ok(!fake.acts.includes('reboot'));
  roots.boot();
  assert.equal(ended(await takeUp(fake.world)).outcome, 'rolled-back');
});

test('killed before the host went down: it is asked to reboot again, and the lease that was given is not noted anew', async () => {
  const roots = await installed({ reboot: 'if-needed' });
  const { fake } = roots;
  fake.allowReboot = true;
  Object.assign(fake.world, {
    rebootLease: async () => {
      fake.world.journal.setMeta('lease', 'given');
      return undefined;
    },
  });
  assert.equal((await undoLast(fake.world, { wholeRoot: true })).kind, 'rebooting');
  assert.equal((await takeUp(fake.world))?.kind, 'rebooting');
  assert.equal(fake.acts.filter((act) => act === 'reboot').length, 2);
});

test('trap 12: a root that is not well after the boot is switched back, loudly, with the journal of the new one', async () => {
  const roots = await installed();
  const { fake } = roots;
  fake.faults.audit = 'broken';
  const { end } = await roots.untilEnded(() => undoLast(fake.world, { wholeRoot: true }), 'power cut');
  assert.equal(chain(ended(end)), 'Rollback RootSwitch RootVerify RootSwitch RootVerify Failed');
  assert.equal(ended(end).outcome, 'rollback-failed');
  assert.match(
    ended(end).body.wayBack?.says ?? '',
    /was not well \(its package database is not healthy.*the host is back on \/@ \(old\)/,
  );
  assert.deepEqual([roots.runs, roots.next, version(roots)], ['old', 'old', '2.0']);
  assert.deepEqual(roots.gone, ['new']);
  assert.deepEqual(oldRoots(fake.world.journal), []);
  assert.equal(fake.world.journal.ways.kept().length, 1, 'it can still be taken back');
  fake.faults.audit = 'ok';
  const inPlace = ended(await undoLast(fake.world));
  assert.equal(chain(inPlace), 'Rollback Failed');
  assert.deepEqual([inPlace.outcome, roots.runs, version(roots)], ['rolled-back', 'old', '1.0']);
  assert.equal(fake.world.journal.ways.kept().length, 0);
});

test('S34 deaths while it is switched back', async () => {
  for (const point of POINTS.slice(1)) {
    const roots = await installed();
    const { fake } = roots;
    fake.faults.audit = 'broken';
    let seen = 0;
    const begin = async () => {
      roots.dieAt(point);
      const die = fake.failPoint;
      fake.failPoint = (name) => {
        if (name === point) seen += 1;
        if (seen > 1) die(name); // the first time it is on its way there
      };
      return undoLast(fake.world, { wholeRoot: true });
    };
    const { end, starts } = await roots.untilEnded(begin, 'power cut');
    assert.ok(starts >= 3, point);
    assert.equal(ended(end).outcome, 'rollback-failed', point);
    assert.deepEqual([roots.runs, roots.next, version(roots)], ['old', 'old', '2.0'], point);
  }
});

test('a boot loader that does not follow: the old root stays, and the run is taken back in place', async () => {
  const roots = await installed();
  const { fake } = roots;
  roots.deaf = true;
  const { end } = await roots.untilEnded(() => undoLast(fake.world, { wholeRoot: true }), 'power cut');
  assert.equal(chain(ended(end)), 'Rollback RootSwitch Rollback Failed');
  assert.equal(ended(end).outcome, 'rolled-back');
  assert.match(ended(end).body.wayBack?.says ?? '', /in place, not the whole root: the host was started and old is its root/);
  assert.deepEqual([roots.next, version(roots), roots.gone], ['old', '1.0', ['unfinished']]);
});

test('what cannot be done is refused before anything is begun, with the reason', async () => {
  const roots = await installed();
  roots.obstacle = 'the root is not on btrfs';
  await assert.rejects(undoLast(roots.fake.world, { wholeRoot: true }), { code: 'run.whole-root', message: /not on btrfs/ });
  assert.equal(roots.fake.world.journal.runs.open(), undefined);
  assert.equal(version(roots), '2.0');
});

describe('by policy', () => {
  const group = { rollback: 'whole-root', reboot: 'if-needed' } as const;
  const WAY = 'Stage Precheck Snapshot Install Verify Rollback';

  test('a run that did harm: the host reboots into the root from before', async () => {
    const roots = host(group);
    roots.fake.allowReboot = true;
    roots.fake.faults.health = 'fails';
    const { end } = await roots.untilEnded(() => install(roots), 'power cut');
    assert.equal(chain(ended(end)), `${WAY} RootSwitch RootVerify Failed`);
    assert.equal(ended(end).outcome, 'rolled-back');
    assert.ok(roots.fake.acts.includes('reboot'));
    assert.deepEqual([roots.runs, version(roots)], ['new', '1.0']);
  });

  test('by hand its owner says what he wants: without --whole-root it is in place', async () => {
    const roots = await installed(group);
    roots.fake.allowReboot = true;
    assert.equal(chain(ended(await undoLast(roots.fake.world))), 'Rollback Failed');
    assert.deepEqual([roots.runs, version(roots)], ['old', '1.0']);
  });

  for (const [what, allowReboot, obstacle, says] of [
    ['may not reboot', false, null, /in place, not the whole root: this agent may not reboot the host/],
    ['cannot', true, 'the root is not on btrfs', /in place, not the whole root: the root is not on btrfs/],
  ] as const) {
    test(`a host that ${what} takes it back in place, and says so`, async () => {
      const roots = host(group);
      roots.fake.allowReboot = allowReboot;
      roots.obstacle = obstacle;
      roots.fake.faults.health = 'fails';
      const { end } = await roots.untilEnded(() => install(roots), 'power cut');
      assert.equal(chain(ended(end)), `${WAY} Failed`);
      assert.equal(ended(end).outcome, 'rolled-back');
      assert.match(ended(end).body.wayBack?.says ?? '', says);
      assert.deepEqual([roots.runs, version(roots)], ['old', '1.0']);
    });
  }
});
