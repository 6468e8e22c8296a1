// A host that starts from another root at its next boot: in this one the agent shows and writes nothing, whichever command is given.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { readBootId } from '../inventory/index.ts';
import { makeHost } from './testing/host.ts';

test('until the boot is over: status says so, what would write is refused, and afterwards everything goes on', async () => {
  const host = await makeHost();
  try {
    await host.enrol();
    await host.publish({ releases: [{ version: '1.0.0', content: 'one' }] });
    const sequence = () => {
      using journal = host.journal();
      return journal.results.head().sequence;
    };
    const before = sequence();
    {
      using journal = host.journal();
      journal.standStill(readBootId());
    }
    const status = await host.agent(['status']);
    assert.match(status.out, /root +another one from the next boot on/, status.out + status.err);
    const history = await host.agent(['history']);
    assert.equal(history.code, 0, history.err);
    for (const command of [['once'], ['apply'], ['once', '--retry']]) {
      const refused = await host.agent(command);
      assert.equal(refused.code, 4, `${command.join(' ')}: ${refused.out}${refused.err}`);
      assert.match(refused.err, /agent\.root-switched/);
    }
    assert.equal(host.tool(), null);
    assert.equal(sequence(), before);
    {
      using journal = host.journal();
      journal.standStill('an earlier boot');
    }
    const ran = await host.agent(['once']);
    assert.equal(ran.code, 0, ran.out + ran.err);
    assert.equal(host.tool(), 'one');
  } finally {
    host.remove();
  }
});
