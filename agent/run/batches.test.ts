// Installation in batches over a fake host: one bad patch never stops the rest, nothing stays half done, the window is looked
// at before every batch, and a death anywhere comes to the same end.
import assert from 'node:assert/strict';
import * as fs from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { setDigest } from '#manifests/decide';
import type { Ended } from './ending.ts';
import { beginRun, type RunEnd, takeUp } from './engine.ts';
import { RUN_LIMITS } from './limits.ts';
import { setPause } from './memory.ts';
import { type FakeHost, makeFakeHost, START } from './testing/fake-host.ts';

const NAMES = Array.from({ length: 24 }, (_, at) => `p${String(at).padStart(2, '0')}`);

let folder: string;
let count = 0;
before(() => {
  folder = fs.mkdtempSync(join(tmpdir(), 'patchferry-batches-'));
});
after(() => fs.rmSync(folder, { recursive: true, force: true }));

function host(group: Parameters<typeof makeFakeHost>[1] = {}): FakeHost {
  count += 1;
  return makeFakeHost(join(folder, `${count}.sqlite`), group, NAMES);
}

function begin(fake: FakeHost, only?: readonly string[]): Promise<RunEnd> {
  const evaluation = fake.evaluation(['deb']);
  const packages = evaluation.packages.filter(({ patch, from, to }) => from !== to && (only?.includes(patch) ?? true));
  const install = [...new Set(packages.map(({ patch }) => patch))];
  return beginRun(
    {
      evaluation: { ...evaluation, install, packages, digest: setDigest({ install, packages }) },
      inventory: fake.inventory(),
      group: fake.group,
      catalogs: [],
      trail: [],
    },
    fake.world,
  );
}

function ended(end: RunEnd | undefined): Ended {
  assert.ok(end?.kind === 'ended');
  return end;
}

const batches = (fake: FakeHost) => fake.acts.filter((act) => act.startsWith('batch ')).map((act) => act.split(' ').slice(1));
const oldOnes = (fake: FakeHost) =>
  [...fake.packages].flatMap(([key, version]) => (version === '1.0' ? [key.slice(0, -':amd64'.length)] : [])).toSorted();

test('a set is installed in batches of patches; one call for each', async () => {
  const fake = host();
  const end = ended(await begin(fake));
  assert.equal(end.outcome, 'committed');
  assert.deepEqual(oldOnes(fake), []);
  assert.deepEqual(
    batches(fake).map(({ length }) => length),
    [10, 10, 5],
  );
  assert.equal(end.body.failedPatches, undefined);
});

describe('one bad patch never stops the rest', () => {
  for (const names of [true, false]) {
    test(names ? 'the package manager says which one' : 'it is found by halving', async () => {
      const fake = host();
      fake.bad.add('p13@2');
      fake.names = names;
      const end = ended(await begin(fake));
      assert.equal(end.outcome, 'committed');
      assert.deepEqual(oldOnes(fake), ['p13']);
      assert.deepEqual(await fake.world.hands.systems.deb.audit(fake.world.context('x', [], fake.world.signal)), []);
      assert.deepEqual(
        end.body.failedPatches?.map(({ patch, code }) => [patch, code]),
        [['p13@2', 'run.install']],
      );
      assert.match(end.body.failedPatches?.[0]?.message ?? '', /dpkg: p13 failed\nthe end of the output/);
      assert.match(end.body.states.find(({ state }) => state === 'Install')?.says ?? '', /could not be installed: p13@2/);
      const memory = fake.world.journal.runs.memory();
      assert.deepEqual(
        memory.failed.map(({ patch }) => patch),
        ['p13@2'],
      );
      assert.ok(!memory.installedByUs.some(({ patch }) => patch === 'p13@2'));
      assert.deepEqual(memory.rolledBack, []);
      const failures = batches(fake).filter((batch) => batch.includes('p13@2')).length;
      assert.ok(failures <= (names ? 2 : 5), `${failures} tries of it`);
    });
  }

  test('several, and one that needs a bad one: each stands alone, the rest is there', async () => {
    const fake = host();
    for (const patch of ['p02@2', 'p03@2', 'p21@2']) fake.bad.add(patch);
    fake.needs.set('p10', 'p02');
    const end = ended(await begin(fake));
    assert.equal(end.outcome, 'committed');
    assert.deepEqual(oldOnes(fake), ['p02', 'p03', 'p10', 'p21']);
    assert.match(
      end.body.failedPatches?.find(({ patch }) => patch === 'p10@2')?.message ?? '',
      /more than was planned: install p02/,
    );
  });

  test('trap 21: what failed waits for its stored pause, alone and among others; then it is tried first, alone', async () => {
    const fake = host();
    fake.bad.add('p13@2');
    await begin(fake);
    const left = fake.evaluation(['deb']).packages.filter(({ patch }) => patch === 'p13@2');
    const pause = fake.world.journal.backOff.get(setPause(setDigest({ install: ['p13@2'], packages: left })));
    assert.equal(pause?.until, START + RUN_LIMITS.retryFirstMs);
    assert.equal(ended(await begin(fake)).body.error?.code, 'run.kept-back');
    fake.packages.set('p01:amd64', '1.0');
    assert.equal(ended(await begin(fake)).outcome, 'committed');
    assert.deepEqual(oldOnes(fake), ['p13'], 'the other one of the set was installed');

    fake.now += RUN_LIMITS.retryFirstMs + 1;
    fake.bad.clear();
    fake.packages.set('p01:amd64', '1.0');
    fake.acts.length = 0;
    assert.equal(ended(await begin(fake)).outcome, 'committed');
    assert.deepEqual(batches(fake), [['p13@2'], ['p01@2']]);
    assert.deepEqual(fake.world.journal.runs.memory().failed, []);
    assert.deepEqual(fake.world.journal.backOff.list('patch:'), []);
  });

  test('where nothing of the set can be installed the run is taken back as a whole', async () => {
    const fake = host();
    for (const patch of ['p00@2', 'p01@2']) fake.bad.add(patch);
    const end = ended(await begin(fake, ['p00@2', 'p01@2']));
    assert.equal(end.outcome, 'rolled-back');
    assert.match(end.body.error?.message ?? '', /none of the patches can be installed/);
    assert.equal(oldOnes(fake).length, NAMES.length + 2);
  });

  test('without a way back a half changed host is not gone on with', async () => {
    const fake = host({ wayBack: 'preferred' });
    fake.faults.wayBack = 'none';
    fake.bad.add('p13@2');
    const end = ended(await begin(fake));
    assert.equal(end.outcome, 'rollback-failed');
    assert.match(end.body.error?.message ?? '', /no way back from which the rest could begin again/);
  });
});

describe('time', () => {
  test('trap 6: the window is looked at again before every batch; what is left waits', async () => {
    const fake = host();
    fake.failPoint = (name) => {
      if (name === 'Install.batch') fake.now += 29.5 * 60_000;
    };
    const end = ended(await begin(fake));
    assert.equal(end.outcome, 'committed');
    assert.deepEqual(
      batches(fake).map(({ length }) => length),
      [10, 10],
    );
    assert.equal(oldOnes(fake).length, 5);
    assert.match(end.body.states.find(({ state }) => state === 'Install')?.says ?? '', /no time was left for: p/);
    const { installedByUs, failed } = fake.world.journal.runs.memory();
    assert.equal(installedByUs.length, 20);
    assert.deepEqual(failed, []);
  });

  test('trap 7: what the group keeps free for reboot and checks is free after every batch', async () => {
    const reserve = { floorMinutes: 5, rebootMinutes: 20, verifyMinutes: 10 };
    const fake = host({ reserve });
    fake.failPoint = (name) => {
      if (name === 'Install.batch') fake.now += 15 * 60_000;
    };
    assert.equal(ended(await begin(fake)).outcome, 'committed');
    // 60 minutes are left, then 45, then 30: the third batch and the reserve of 35 do not fit
    assert.deepEqual(
      batches(fake).map(({ length }) => length),
      [10, 10],
    );
    const late = host({ reserve });
    late.now = START + 30 * 60_000;
    const end = ended(await begin(late));
    assert.equal(end.body.error?.code, 'run.window-closed');
    assert.deepEqual(batches(late), []);
  });
});

describe('a death in the middle of the batches', () => {
  class Death extends Error {}
  for (const place of ['Install.batch', 'Install.restoring', 'Install.middle'])
    for (const nth of [1, 2, 3]) {
      test(`at ${place}, time ${nth}`, async () => {
        const fake = host();
        for (const patch of ['p05@2', 'p13@2', 'p22@2']) fake.bad.add(patch);
        let seen = 0;
        let died = false;
        const { runs } = fake.world.journal;
        const enter = runs.enter.bind(runs);
        fake.failPoint = (name) => {
          if (name === place) seen += 1;
          if (name !== place || seen !== nth || died) return;
          died = true;
          // the engine must not get to write anything after a kill
          fake.world.journal.runs.enter = () => {
            throw new Death();
          };
          throw new Death();
        };
        if (place === 'Install.middle' && nth > 1) return; // there is one plan
        await assert.rejects(begin(fake), Death);
        fake.world.journal.runs.enter = enter;
        const end = ended(await takeUp(fake.world));
        assert.equal(end.outcome, 'committed');
        assert.equal(end.body.resumed, 1);
        assert.deepEqual(oldOnes(fake), ['p05', 'p13', 'p22']);
        assert.deepEqual(end.body.failedPatches?.map(({ patch }) => patch).toSorted(), ['p05@2', 'p13@2', 'p22@2']);
        assert.equal(fake.world.journal.results.pending().length, 1);
      });
    }
});
