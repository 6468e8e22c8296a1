// kill -9 of the agent at every fail point, then a start: the host ends patched or as it was, with exactly one result.
import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { FAIL_POINTS } from '../run/index.ts';
import { makeHost, type TestHost } from './testing/host.ts';
import { openAll, type Release } from './testing/publisher.ts';

/** A host without root and with own software only never gets to these; ../run/machine.test.ts and ../run/root.test.ts have them. */
const REBOOTS = FAIL_POINTS.filter((name) => /^(?:Reboot|RollbackReboot|RootSwitch|RootVerify)\./.test(name));
const UNDOING = FAIL_POINTS.filter((name) => /^(?:Rollback|Failed)\./.test(name));
/** Commit and Failed end in their own act, so that nothing comes after it. */
const NEVER = ['Commit.done', 'Failed.done'];
/** Only reached where a batch of several patches fails half-way, or where a host mends itself; these have tests of their own. */
const RESTORING = 'Install.restoring';
const RARE = [RESTORING, 'Precheck.fix'];
const FORWARD = FAIL_POINTS.filter(
  (name) => !REBOOTS.includes(name) && !UNDOING.includes(name) && !NEVER.includes(name) && !RARE.includes(name),
);

describe('S34 killed at each place of the journal', () => {
  let host: TestHost;
  let number = 0;
  const releases: Release[] = [];
  before(async () => {
    host = await makeHost();
    await host.enrol();
    await host.publish({});
    await host.agent(['once']);
  });
  after(() => host.remove());

  const nextRelease = (): Release => {
    number += 1;
    const release = { version: `${number}.0.0`, content: `content ${number}` };
    releases.push(release);
    return release;
  };
  /** The newest two: old ones would be NOT_APPLICABLE anyway. */
  const offered = () => releases.slice(-2);
  const resultsOf = (patch: string) =>
    openAll(host.relay.results, host.publisher).flatMap(({ result }) =>
      result.kind === 'run' && result.body.patches.includes(patch) ? [result.body] : [],
    );
  const chainIsWhole = () => {
    const all = openAll(host.relay.results, host.publisher);
    assert.deepEqual(
      all.map(({ result }) => result.sequence),
      all.map((_, index) => index + 1),
    );
    for (const [index, { result }] of all.entries()) if (index > 0) assert.equal(result.previous, all[index - 1]?.hash);
  };

  for (const place of FORWARD) {
    test(`${place}: ends patched, one result`, async () => {
      const release = nextRelease();
      await host.publish({ releases: offered() });
      const killed = await host.agent(['once'], { PATCHFERRY_FAILPOINT: place });
      assert.equal(killed.signal, 'SIGKILL', `${place} was not reached: ${killed.code} ${killed.out}${killed.err}`);
      const ran = await host.agent(['once']);
      assert.ok([0, 3].includes(ran.code ?? -1), `${ran.code} ${ran.out}${ran.err}`);
      assert.equal(host.tool(), release.content);
      const results = resultsOf(`tool@${release.version}`);
      assert.deepEqual(
        results.map(({ outcome }) => outcome),
        ['committed'],
      );
      chainIsWhole();
    });
  }

  test(`${RESTORING}: a batch that failed half-way is put back, the good patch installed, the bad one named once`, async () => {
    const release = nextRelease();
    const bad = { name: 'unpackable-not', version: `${number}.0.0`, content: 'no archive', damaged: true };
    await host.publish({ releases: [...offered(), bad] });
    const killed = await host.agent(['once'], { PATCHFERRY_FAILPOINT: RESTORING });
    assert.equal(killed.signal, 'SIGKILL', `${killed.code} ${killed.out}${killed.err}`);
    assert.equal(host.tool(), release.content, 'half of the batch was in place when the power went');
    const ran = await host.agent(['once']);
    assert.equal(ran.code, 4, `the bad one is left alone for a while: ${ran.out}${ran.err}`);
    assert.equal(host.tool(), release.content);
    const [body, ...more] = resultsOf(`tool@${release.version}`);
    assert.equal(more.length, 0);
    assert.equal(body?.outcome, 'committed');
    assert.equal(body?.resumed, 1);
    assert.deepEqual(
      body?.failedPatches?.map(({ patch, code }) => [patch, code]),
      [[`unpackable-not@${number}.0.0`, 'run.install']],
    );
    assert.deepEqual(
      body?.changes.map(({ name, to }) => [name, to]),
      [['tool', release.version]],
    );
    chainIsWhole();
  });

  for (const place of UNDOING.filter((name) => !NEVER.includes(name))) {
    test(`${place}: ends as before, one result`, async () => {
      const before = host.tool();
      const release = nextRelease();
      await host.publish({
        releases: offered(),
        group: { health: [{ name: 'never-well', command: ['false'], timeoutSeconds: 5 }] },
      });
      const killed = await host.agent(['once'], { PATCHFERRY_FAILPOINT: place });
      assert.equal(killed.signal, 'SIGKILL', `${place} was not reached: ${killed.code} ${killed.out}${killed.err}`);
      const ran = await host.agent(['once']);
      assert.equal(ran.code, 6, ran.out + ran.err);
      assert.equal(host.tool(), before);
      const [body, ...more] = resultsOf(`tool@${release.version}`);
      assert.equal(more.length, 0);
      assert.equal(body?.outcome, 'rolled-back');
      assert.equal(body?.error?.code, 'run.health');
      assert.equal(body?.packagesAfterSha256, body?.packagesBeforeSha256);
      assert.deepEqual(body?.changes, []);
      // trap 11: not tried again until it changes
      await host.agent(['once']);
      assert.equal(resultsOf(`tool@${release.version}`).length, 1);
      chainIsWhole();
      releases.pop(); // the next set is another one
    });
  }

  test('S37 killed again and again in Install it is given up and taken back', async () => {
    const before = host.tool();
    const release = nextRelease();
    await host.publish({ releases: offered() });
    for (let death = 0; death < 6; death += 1) {
      const killed = await host.agent(['once'], { PATCHFERRY_FAILPOINT: 'Install.done' });
      assert.equal(killed.signal, 'SIGKILL', `death ${death}: ${killed.code} ${killed.out}${killed.err}`);
    }
    const ran = await host.agent(['once']);
    assert.equal(ran.code, 6, ran.out + ran.err);
    assert.equal(host.tool(), before);
    const [body, ...more] = resultsOf(`tool@${release.version}`);
    assert.equal(more.length, 0);
    assert.equal(body?.error?.code, 'run.killed-often');
    releases.pop();
  });

  test('a disk that is full in Install is no harm of the set: taken back, and tried again after a pause', async () => {
    const before = host.tool();
    const release = nextRelease();
    await host.publish({ releases: offered() });
    const ran = await host.agent(['once'], { PATCHFERRY_FAILPOINT: 'Install.done:enospc' });
    assert.equal(ran.code, 6, ran.out + ran.err);
    assert.equal(host.tool(), before);
    assert.equal(resultsOf(`tool@${release.version}`)[0]?.error?.code, 'run.io');
    const waiting = await host.agent(['once']);
    assert.equal(waiting.code, 4, waiting.out + waiting.err);
    const retried = await host.agent(['once', '--retry']);
    assert.equal(retried.code, 0, retried.out + retried.err);
    assert.equal(host.tool(), release.content);
  });
});
