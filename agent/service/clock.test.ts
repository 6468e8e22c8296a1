// Clocks that are wrong: an agent in this process, with a clock of its own, on the state of a real host.
import assert from 'node:assert/strict';
import * as fs from 'node:fs';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import type { Clock } from '#manifests/platform/clock';
import { silentLog } from '#manifests/platform/log';
import { sha256Of } from '#manifests/schema';
import { openAgent } from './agent.ts';
import { runCycle } from './index.ts';
import { loadSettings } from './settings.ts';
import type { CycleReport } from './tally.ts';
import { makeHost, type TestHost } from './testing/host.ts';
import { openAll } from './testing/publisher.ts';

const ONE = { version: '1.0.0', content: 'one' };

describe('trap 14: a clock never starts an enrolment and never loses state', () => {
  let host: TestHost;
  before(async () => {
    host = await makeHost();
    await host.enrol();
    await host.publish({ releases: [ONE] });
    assert.equal((await host.agent(['once'])).code, 0);
  });
  after(() => host.remove());

  async function cycleAt(now: () => number): Promise<CycleReport> {
    const clock: Clock = { now, monotonic: () => performance.now() };
    const settings = loadSettings({ config: join(host.folder, 'agent.yaml') }, {});
    const agent = await openAgent(settings, { clock, log: silentLog });
    try {
      const signal = new AbortController().signal;
      return await runCycle(agent, { signal, eager: false, retry: false, say: () => undefined });
    } finally {
      await agent.close();
    }
  }
  /** What no clock may touch. */
  const identity = () => {
    const keys = join(host.stateDir, 'keys');
    const files = fs.readdirSync(keys).map((name) => join(keys, name));
    return sha256Of([...files, join(host.stateDir, 'enrolment.json')].map((file) => fs.readFileSync(file, 'hex')).join());
  };
  const alerts = () =>
    openAll(host.relay.results, host.publisher).flatMap(({ result }) => (result.kind === 'alert' ? [result.body.code] : []));
  const sequence = () => {
    using journal = host.journal();
    return journal.results.head().sequence;
  };
  const rows = [
    ['1970', () => 86_400_000, 'CLOCK_BEHIND'],
    ['a year ago', () => Date.now() - 365 * 86_400_000, 'CLOCK_BEHIND'],
    ['2099', () => Date.parse('2099-06-01T00:00:00Z'), 'CLOCK_SUSPECT'],
  ] as const;

  for (const [row, [name, now, alert]] of rows.entries()) {
    const bad = { version: `${row + 2}.0.0`, content: name, damaged: true };
    const good = { version: `${row + 2}.0.1`, content: `${name}, put right` };
    test(`8.2 the clock says ${name}: ${alert} is told, state and identity stay, and with the right clock all goes on`, async () => {
      const before = { identity: identity(), sequence: sequence(), enrolments: host.relay.enrolments.length };
      await host.publish({ releases: [ONE, bad] }); // an attempt that fails leaves a pause
      const tool = host.tool();
      const report = await cycleAt(now);
      assert.ok(report.says.length > 0);
      assert.equal(identity(), before.identity);
      assert.equal(host.relay.enrolments.length, before.enrolments, 'it has not enrolled anew');
      assert.equal(host.tool(), tool);
      assert.ok(sequence() >= before.sequence, 'the chain goes on');
      assert.ok(
        report.notices?.some(({ code }) => code === alert),
        JSON.stringify(report.says),
      );

      await host.publish({ releases: [ONE, good] });
      const right = await cycleAt(() => Date.now());
      assert.equal(right.exit, 0, JSON.stringify(right.says));
      assert.equal(host.tool(), good.content);
      assert.ok(alerts().includes(alert), 'and the alert has arrived');
      assert.ok(
        right.nextAt === null || right.nextAt < Date.now() + 2 * 86_400_000,
        'nothing waits for a moment of the wrong clock',
      );
    });
  }
});
