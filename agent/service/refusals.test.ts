// What a host does not do, whoever asks: hang with an installation, fetch the same again and again, go back to an older version
// that nobody signed as a rollback, or listen to other users of the machine.
import assert from 'node:assert/strict';
import * as fs from 'node:fs';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { run } from '#manifests/platform/process';
import { makeHost, type TestHost } from './testing/host.ts';
import { ROLL_BACK } from './testing/policy.ts';

const OBSERVED = join(import.meta.dirname, 'testing/observed.ts');
const HOUR = 3_600_000;
const ONE = { version: '1.0.0', content: 'one' };
const TWO = { version: '2.0.0', content: 'two' };
/** `nobody` of every Linux. */
const STRANGER = 65_534;

describe('refusals', () => {
  let host: TestHost;
  before(async () => {
    host = await makeHost();
    await host.enrol();
    await host.publish({ releases: [ONE] });
    assert.equal((await host.agent(['once'])).code, 0);
    await host.publish({ releases: [ONE, TWO] });
    assert.equal((await host.agent(['once'])).code, 0);
  });
  after(() => host.remove());

  const later = (hours: number) =>
    host.agent(['once'], { NODE_OPTIONS: `--import ${OBSERVED}`, PATCHFERRY_TEST_CLOCK_MS: String(hours * HOUR) });

  test('S41 an older version, signed and approved, is not installed over a newer one; signed as a rollback it is', async () => {
    await host.publish({ releases: [ONE] });
    const ran = await host.agent(['once']);
    assert.ok(ran.code === 0 || ran.code === 3, ran.out + ran.err);
    assert.equal(host.tool(), 'two');
    const byHand = await host.agent(['apply']);
    assert.ok(byHand.code === 0 || byHand.code === 3, byHand.out + byHand.err);
    assert.equal(host.tool(), 'two', 'not by hand either');
    await host.publish({ releases: [ONE, TWO], stops: [ROLL_BACK] });
    await host.agent(['once']);
    assert.equal(host.tool(), 'two', 'and not by the word of a role that may only stop');
    await host.publish({ releases: [ONE, TWO], recalls: [ROLL_BACK] });
    await host.agent(['once']);
    assert.equal(host.tool(), 'one');
  });

  test('S37 an installation that fails is tried once and fetched once, however often the host polls, until the set changes', async () => {
    const bad = { name: 'bad', version: '1.0.0', content: 'no archive at all', damaged: true };
    await host.publish({ releases: [ONE, bad] });
    host.relay.requests.length = 0;
    const fetched = () => host.relay.requests.filter((row) => row.startsWith('GET payloads/')).length;
    const polls = async (hours: readonly number[]) => {
      let tried = 0;
      for (const at of hours) tried += /Install/.test((await later(at)).err) ? 1 : 0;
      return tried;
    };
    assert.equal(await polls([0, 0.5, 7, 30, 31]), 1, 'no loop');
    assert.equal(fetched(), 1, `no download storm: ${host.relay.requests.join()}`);
    await host.publish({ releases: [ONE, { ...bad, version: '1.0.1', content: 'nor this' }] });
    assert.equal(await polls([32, 33, 60]), 1);
    assert.equal(fetched(), 2);
    assert.equal(host.tool(), 'one');
  });

  test('S37 a check that hangs is stopped with everything it started, and the run is taken back', async () => {
    const nap = `sleep ${3_000 + process.pid}.125`;
    const command = ['sh', '-c', `${nap} & ${nap} & wait`];
    await host.publish({
      releases: [ONE, TWO, { version: '4.0.0', content: 'four' }],
      group: { health: [{ name: 'hangs', command, timeoutSeconds: 2 }] },
    });
    const began = performance.now();
    const ran = await later(24 * 6);
    assert.equal(ran.code, 6, ran.out + ran.err);
    assert.ok(performance.now() - began < 50_000);
    assert.equal(host.tool(), 'one');
    const { stdout } = await run('pgrep', ['-f', `^${nap}`], { timeoutMs: 5_000 });
    assert.equal(stdout, '', 'nothing of its process group is left');
  });

  test('S43 a local user (not root) at state, cache, components, sockets and plan: reads no secret, changes nothing', {
    skip: process.getuid?.() === 0 ? false : 'needs root, to be another user',
  }, async () => {
    fs.chmodSync(host.folder, 0o755); // as /var/lib is
    const as = (...command: string[]) => {
      const user = ['--reuid', String(STRANGER), '--regid', String(STRANGER), '--clear-groups'];
      return run('setpriv', [...user, ...command], { timeoutMs: 20_000, cwd: '/' });
    };
    const find = async (...words: string[]) =>
      (await as('find', host.folder, ...words)).stdout.split('\n').filter((row) => row !== '');
    assert.deepEqual(
      await find('-path', `${host.folder}/publisher`, '-prune', '-o', '!', '-type', 'l', '-writable', '-print'),
      [],
      'nothing can be written',
    );
    const readable = await find('-type', 'f', '-readable');
    assert.ok(readable.length > 0, 'the stranger can look around');
    for (const path of readable) assert.ok(!path.startsWith(host.stateDir), `${path} of the state can be read`);
    const all = (await run('find', [host.folder, '-type', 's', '-o', '-type', 'p'], { timeoutMs: 20_000 })).stdout;
    assert.equal(all, '', 'there is no socket or pipe to talk to');
    for (const path of ['keys/sign.key', 'journal.sqlite', 'documents/current.json']) {
      assert.ok(fs.existsSync(join(host.stateDir, path)), path);
      assert.notEqual((await as('cat', join(host.stateDir, path))).code, 0, path);
      assert.notEqual((await as('truncate', '-s', '0', join(host.stateDir, path))).code, 0, path);
    }
    const journal = fs.readFileSync(join(host.stateDir, 'journal.sqlite'));
    for (const command of [['plan'], ['once'], ['rollback'], ['apply']]) {
      const ran = await as(
        process.execPath,
        join(import.meta.dirname, '../main.ts'),
        ...command,
        '--config',
        join(host.folder, 'agent.yaml'),
      );
      assert.ok(ran.code !== 0 && ran.code !== 70, `${command.join()}: ${ran.code} ${ran.stdout}${ran.stderr}`);
    }
    assert.deepEqual(fs.readFileSync(join(host.stateDir, 'journal.sqlite')), journal);
    assert.equal(host.tool(), 'one');
  });
});
