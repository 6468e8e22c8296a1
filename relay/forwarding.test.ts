// Rounds of forwarding: one at a time, and what came while one was under way is not left to the next tick.
import assert from 'node:assert/strict';
import * as fs from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { systemClock } from '#manifests/platform/clock';
import { silentLog } from '#manifests/platform/log';
import { envelopeHash, generateBoxKey } from '#manifests/trust';
import { openForwarding } from './forwarding.ts';
import { type Hop, openLedger, openSpool } from './inbox/index.ts';
import { makeAgent } from './testing/repository.ts';

test('what came after a round began goes on with the round that follows; rounds never overlap, and callers share them', async () => {
  const folder = fs.mkdtempSync(join(tmpdir(), 'pf-forwarding-'));
  const spool = openSpool(join(folder, 'inbox'));
  const agent = makeAgent(generateBoxKey());
  const keep = (sequence: number) => {
    const bytes = agent.result(sequence);
    return spool.keep('results', agent.id, sequence, envelopeHash(bytes), bytes);
  };
  const got: string[] = [];
  const gates: (() => void)[] = [];
  let inside = 0;
  const hop: Hop = {
    name: 'next',
    async deliver({ path }) {
      inside += 1;
      assert.equal(inside, 1, 'one round at a time');
      await new Promise<void>((open) => void gates.push(open));
      inside -= 1;
      got.push(path.slice(41, 53));
      return { kind: 'delivered' };
    },
    close: () => Promise.resolve(),
  };
  const passed: number[] = [];
  const forwarding = openForwarding({
    spool,
    ledger: openLedger(join(folder, 'forwarded')),
    hops: [hop],
    clock: systemClock,
    log: silentLog,
    signal: new AbortController().signal,
    random: () => 0,
    onPassedOn: (items) => void passed.push(items),
  });
  try {
    await keep(1);
    const first = forwarding.all();
    await keep(2);
    const [second, third] = [forwarding.all(), forwarding.all()];
    assert.equal(second, third);
    forwarding.ifDue(); // a tick in between begins nothing
    for (const wanted of [1, 2]) {
      while (gates.length === 0) await new Promise((done) => void setImmediate(done));
      gates.shift()?.();
      assert.equal((await (wanted === 1 ? first : second)).delivered, 1);
    }
    assert.deepEqual(got, ['000000000001', '000000000002']);
    assert.deepEqual(passed, [1, 1]);
    assert.deepEqual(spool.items('results'), []);
    await forwarding.idle();
  } finally {
    forwarding.cancel();
    await spool.close();
    fs.rmSync(folder, { recursive: true });
  }
});
