// Several runs that can be taken back, through the real command line: which ones, in which order, until when, and that what was
// taken back stays away.
import assert from 'node:assert/strict';
import * as fs from 'node:fs';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { makeHost, type TestHost } from './testing/host.ts';
import { openAll, type Release } from './testing/publisher.ts';

interface Entry {
  readonly id: string;
  readonly outcome: string;
  readonly canBeTakenBack: boolean;
  readonly wayBack: {
    readonly kept: boolean;
    readonly until: string | null;
    readonly bytes: number | null;
    readonly why: string | null;
  } | null;
}

describe('runs that can be taken back', () => {
  let host: TestHost;
  before(async () => {
    host = await makeHost();
    await host.enrol();
  });
  after(() => host.remove());

  const history = async () => {
    const { out } = await host.agent(['history', '--json']);
    return (JSON.parse(out) as { runs: Entry[] }).runs;
  };
  const installs = async (...releases: Release[]) => {
    await host.publish({ releases });
    const ran = await host.agent(['once']);
    assert.equal(ran.code, 0, ran.out + ran.err);
  };
  const helper = () => fs.existsSync(join(host.archiveRoot, 'helper', 'current'));
  const tool1 = { version: '1.0.0', content: 'one' };
  const tool2 = { version: '2.0.0', content: 'two' };
  const aid = { name: 'helper', version: '1.0.0', content: 'aid' };

  test('trap 11: two runs taken back, the newest first; neither they nor both together are tried again until they change', async () => {
    await installs(tool1);
    await installs(tool1, aid);
    const [second, first] = await history();
    assert.deepEqual([second?.canBeTakenBack, first?.canBeTakenBack], [true, true]);
    assert.ok(typeof second?.wayBack?.bytes === 'number' && second.wayBack.until !== null);
    const unknown = await host.agent(['rollback', '--run', 'ffffffff']);
    assert.equal(unknown.code, 2, unknown.out + unknown.err);
    assert.match(unknown.err, /agent\.not-kept/);

    const back = await host.agent(['rollback', '--run', first?.id.slice(0, 8) ?? '']);
    assert.equal(back.code, 0, back.out + back.err);
    assert.deepEqual([host.tool(), helper()], [null, false]);
    assert.deepEqual(
      (await history()).map(({ outcome, wayBack }) => [outcome, wayBack?.why ?? null]),
      [
        ['rolled-back', null],
        ['rolled-back', null],
        ['committed', 'it was taken back'],
        ['committed', 'it was taken back'],
      ],
    );
    for (let poll = 0; poll < 2; poll += 1) {
      const again = await host.agent(['once']);
      assert.match(again.out, /ROLLED_BACK 2/, again.out + again.err);
      assert.deepEqual([host.tool(), helper()], [null, false]);
    }
    await installs(tool2, aid);
    assert.deepEqual([host.tool(), helper()], ['two', true], 'another set');
  });

  test('trap 25, asked before starting: whether it can be taken back, what that costs and what would not come back', async () => {
    await host.publish({ releases: [{ version: '2.5.0', content: 'two and a half' }, aid] });
    await host.agent(['once'], { PATCHFERRY_FAILPOINT: 'Stage.entered' }); // only the news, nothing installed
    const { out, err } = await host.agent(['plan', '--download', '--json']);
    const report = JSON.parse(out) as { waysBack: { format: string; kind: string | null; notCovered: string[] }[] };
    assert.deepEqual(
      report.waysBack.map(({ format, kind, notCovered }) => [format, kind, notCovered]),
      [['archive', 'archive', ['what the components themselves write']]],
      err,
    );
    const plain = await host.agent(['plan', '--download']);
    assert.match(plain.out, /archive: can be taken back by archive: .*\n.*would not come back: what the components/);
    const ran = await host.agent(['once']);
    assert.equal(ran.code, 0, ran.out + ran.err);
  });

  test('more runs than the owner keeps: the oldest is given up, its room given back, and history says why', async () => {
    await installs({ version: '4.0.0', content: 'four' });
    assert.equal((await history()).filter(({ canBeTakenBack }) => canBeTakenBack).length, 3);
    const versions = () => fs.readdirSync(join(host.archiveRoot, 'tool', 'versions')).toSorted();
    assert.deepEqual(versions(), ['2.0.0', '2.5.0', '4.0.0']);
    host.settings(['waysBack: { keep: 1 }']);
    await installs({ version: '5.0.0', content: 'five' });
    const kept = (await history()).map(({ wayBack }) => wayBack?.why ?? wayBack?.kept ?? null);
    const many = 'more than 1 runs that can be taken back';
    assert.deepEqual(kept.slice(0, 4), [true, many, many, many]);
    assert.deepEqual(versions(), ['4.0.0', '5.0.0']);
    const { out } = await host.agent(['history']);
    assert.match(out, /committed.*; can be taken back until \d{4}-/);
    assert.match(out, /; cannot be taken back: more than 1 runs/);
  });

  test('policy that wants no way back: plan, status, result and history say so; the older ones are given up', async () => {
    const group = { wayBack: 'none' as const };
    await host.publish({ releases: [{ version: '6.0.0', content: 'six' }, aid], group });
    await host.agent(['once'], { PATCHFERRY_FAILPOINT: 'Stage.entered' });
    const planned = await host.agent(['plan', '--download']);
    assert.match(planned.out, /cannot be taken back on this host: the group wants none \(wayBack: none\)/, planned.err);
    assert.match((await host.agent(['status'])).out, /way back +run .* can be taken back until .*; the next run has none/);
    const ran = await host.agent(['once']);
    assert.equal(ran.code, 0, ran.out + ran.err);
    assert.equal(host.tool(), 'six');
    assert.match(
      (await host.agent(['status'])).out,
      /way back +no run can be taken back: installed without a way back: the group/,
    );
    const [last, before] = await history();
    assert.deepEqual([last?.canBeTakenBack, before?.wayBack?.why], [false, 'a later run had no way back']);
    const run = openAll(host.relay.results, host.publisher).flatMap(({ result }) =>
      result.kind === 'run' ? [result.body] : [],
    );
    assert.deepEqual(run.at(-1)?.wayBack, {
      kind: 'none',
      id: '-',
      says: 'installed without a way back: the group wants none (wayBack: none)',
    });
    const back = await host.agent(['rollback']);
    assert.equal(back.code, 2, back.out + back.err);
    assert.match(back.err, /run\.no-rollback/);
  });
});
