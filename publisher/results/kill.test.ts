// S33: collect ended by SIGKILL between any two of its acts, and at system calls, then run again: nothing twice, nothing lost.
import assert from 'node:assert/strict';
import * as fs from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, describe, test } from 'node:test';
import { run as runProgram } from '#manifests/platform/process';
import { generateBoxKey } from '#manifests/trust';
import { type CollectStep, collect } from './collect.ts';
import { deliver, newAgent, optionsFor, rosterFor, type Sealed, sealChain, sealEnrolment } from './inbox-samples.ts';
import { openForReading } from './layout.ts';
import { readPending } from './pending.ts';
import { alert, finding, scan } from './samples.ts';
import { readAcks } from './store.ts';

const top = fs.mkdtempSync(join(tmpdir(), 'patchferry-kill-'));
after(() => fs.rmSync(top, { recursive: true, force: true }));
const publisher = generateBoxKey();
const agents = [newAgent(), newAgent()];
const newcomer = newAgent();
const roster = rosterFor(
  agents.map((agent) => ({ agent })),
  publisher.publicKey,
);
const chains = agents.map((agent) =>
  sealChain(agent, publisher.publicKey, [
    (from) => scan(from, [finding('x@1', 'MISSING')]),
    (from) => alert(from),
    (from) => scan(from, [finding('x@1', 'INSTALLED')]),
  ]),
);
const garbage: Sealed = { name: `results/${agents[0]?.id}/000000000009-bad.pfe`, bytes: Buffer.from('bad'), hash: '' };
const everything = [...chains.flat(), sealEnrolment(newcomer, publisher.publicKey), garbage];

/** The child collects, and kills itself when `step` comes for the n-th time. */
function childScript(folder: string, step: CollectStep | 'never', nth: number): string {
  const url = (name: string) => JSON.stringify(new URL(name, import.meta.url).href);
  return `import { collect } from ${url('./collect.ts')}; import { optionsFor } from ${url('./inbox-samples.ts')};
let seen = 0;
const recipient = { publicKey: ${JSON.stringify(publisher.publicKey)}, secretKey: Buffer.from('${Buffer.from(publisher.secretKey).toString('hex')}', 'hex') };
await collect(optionsFor(${JSON.stringify(folder)}, ${JSON.stringify(roster)}, recipient, { onStep: (step) => { if (step === '${step}' && ++seen === ${nth}) process.kill(process.pid, 'SIGKILL'); } }));`;
}

async function checkConverged(folder: string, label: string): Promise<void> {
  const options = optionsFor(folder, roster, publisher);
  await collect(options);
  const rest = fs.readdirSync(options.inboxFolder, { recursive: true, withFileTypes: true }).filter((entry) => entry.isFile());
  const outside = rest.filter(({ parentPath }) => !parentPath.endsWith('refused'));
  assert.deepEqual(
    outside.map(({ name }) => name),
    [],
    `${label}: inbox empty`,
  );
  const refused = fs
    .readdirSync(join(options.inboxFolder, 'refused'))
    .filter((name) => !name.endsWith('.txt') && !name.startsWith('.tmp-'));
  assert.equal(refused.length, 1, `${label}: the bad one is kept once`);
  const expected = agents.map((agent, index) => ({ agent: agent.id, sequence: 3, hash: chains[index]?.[2]?.hash }));
  assert.deepEqual(
    readAcks(options.storeFile),
    expected.toSorted((a, b) => (a.agent < b.agent ? -1 : 1)),
    `${label}: acks`,
  );
  const database = openForReading(options.storeFile);
  const count = (sql: string) => database.prepare(sql).get()?.['n'];
  assert.equal(count('SELECT count(*) AS n FROM results'), 6, `${label}: each result once`);
  assert.equal(count('SELECT count(*) AS n FROM envelopes'), 6);
  assert.equal(count('SELECT count(*) AS n FROM enrolments'), 1);
  assert.equal(database.prepare('PRAGMA integrity_check').get()?.['integrity_check'], 'ok');
  database.close();
  assert.equal(readPending(options.pendingFolder).get(newcomer.id)?.activation, 'valid', `${label}: enrolment pending`);
}

describe('kill -9', () => {
  const points: ReadonlyArray<readonly [CollectStep, number]> = [
    ['opened', 1],
    ['opened', 3],
    ['pending-written', 1],
    ['stored', 1],
    ['stored', 2],
    ['committed', 1],
    ['committed', 2],
    ['removed', 1],
    ['removed', 4],
    ['put-aside', 1],
  ];
  for (const [step, nth] of points) {
    test(`at ${step}, time ${nth}`, async () => {
      const folder = fs.mkdtempSync(join(top, 'step-'));
      deliver(join(folder, 'inbox'), everything);
      const child = await runProgram(process.execPath, ['--input-type=module', '-e', childScript(folder, step, nth)], {
        timeoutMs: 60_000,
      });
      assert.equal(child.signal, 'SIGKILL', child.stderr);
      await checkConverged(folder, `${step} ${nth}`);
    });
  }

  const strace = fs.existsSync('/usr/bin/strace') ? '/usr/bin/strace' : undefined;
  test('at writes, syncs, renames and removals of the kernel', {
    skip: strace === undefined ? 'strace is not installed' : false,
  }, async (context) => {
    assert.ok(strace);
    let killed = 0;
    for (const [call, times] of [
      ['pwrite64', [1, 4, 12]],
      ['fsync,fdatasync', [1, 2, 3, 5]],
      ['rename,renameat2', [1, 2]],
      ['unlink,unlinkat', [1, 3]],
    ] as const) {
      for (const nth of times) {
        const folder = fs.mkdtempSync(join(top, 'call-'));
        deliver(join(folder, 'inbox'), everything);
        const inject = `inject=${call}:signal=KILL:when=${nth}`;
        const args = [
          '-f',
          '-qq',
          '-e',
          `trace=${call}`,
          '-e',
          inject,
          '-o',
          '/dev/null',
          process.execPath,
          '--input-type=module',
          '-e',
          childScript(folder, 'never', 0),
        ];
        const child = await runProgram(strace, args, { timeoutMs: 60_000 });
        if (child.signal === 'SIGKILL' || child.code === 137) killed += 1;
        else if (/ptrace|Operation not permitted/.test(child.stderr)) return context.skip('strace may not trace here');
        await checkConverged(folder, `${call} ${nth}`);
      }
    }
    assert.ok(killed >= 8, `${killed} children were killed`);
  });
});
