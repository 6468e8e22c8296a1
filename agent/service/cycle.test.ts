// The whole agent, as a process, against a real signed repository: the main path, and everything that has to be refused.
import assert from 'node:assert/strict';
import * as fs from 'node:fs';
import { join } from 'node:path';
import { after, before, beforeEach, describe, test } from 'node:test';
import { sha256Of } from '#manifests/schema';
import { makeHost, type TestHost } from './testing/host.ts';
import { openAll } from './testing/publisher.ts';

const ONE = { version: '1.0.0', content: 'one' };
const TWO = { version: '2.0.0', content: 'two' };

/** What a refused delivery must leave as it was. */
function pictureOf(host: TestHost): string {
  return sha256Of(
    JSON.stringify({ tool: host.tool(), current: fs.readFileSync(join(host.stateDir, 'documents/current.json'), 'utf8') }),
  );
}

describe('the main path', () => {
  let host: TestHost;
  before(async () => {
    host = await makeHost();
  });
  after(() => host.remove());

  test('enrols, waits for approval, installs, reports; a second cycle finds nothing to do with one conditional request', async () => {
    await host.enrol();
    assert.equal(host.relay.enrolments.length, 1);
    const waiting = await host.agent(['once']);
    assert.equal(waiting.code, 4, waiting.out + waiting.err);
    assert.match(waiting.out, /waits for approval/);

    await host.publish({ releases: [ONE] });
    const first = await host.agent(['once']);
    assert.equal(first.code, 0, first.out + first.err);
    assert.equal(host.tool(), 'one');

    host.relay.requests.length = 0;
    const second = await host.agent(['once']);
    assert.equal(second.code, 3, second.out + second.err);
    assert.deepEqual(host.relay.requests, ['GET metadata/timestamp.json 304']);

    await host.publish({ releases: [ONE, TWO] });
    const third = await host.agent(['once', '--json']);
    assert.equal(third.code, 0, third.out + third.err);
    assert.equal(host.tool(), 'two');

    const arrived = openAll(host.relay.results, host.publisher);
    assert.deepEqual(
      arrived.map(({ result }) => result.sequence),
      arrived.map((_, index) => index + 1),
    );
    for (const [index, { result }] of arrived.entries()) {
      if (index > 0) assert.equal(result.previous, arrived[index - 1]?.hash);
    }
    const runs = arrived.flatMap(({ result }) => (result.kind === 'run' ? [result.body] : []));
    assert.deepEqual(
      runs.map(({ outcome, patches }) => [outcome, patches]),
      [
        ['committed', ['tool@1.0.0']],
        ['committed', ['tool@2.0.0']],
      ],
    );
    assert.deepEqual(
      runs[1]?.states.map(({ state }) => state),
      ['Sync', 'Evaluate', 'Wait', 'Stage', 'Precheck', 'Snapshot', 'Install', 'Verify', 'Commit'],
    );
    assert.deepEqual(runs[1]?.changes, [{ name: 'tool', arch: 'all', from: '1.0.0', to: '2.0.0' }]);
  });

  test('rollback by hand takes the last run back, and the same set is not installed again', async () => {
    const undone = await host.agent(['rollback']);
    assert.equal(undone.code, 0, undone.out + undone.err);
    assert.equal(host.tool(), 'one');
    const next = await host.agent(['once']);
    assert.equal(host.tool(), 'one');
    assert.equal(next.code, 1, next.out + next.err);
    assert.match(next.out, /taken back/);
    host.relay.requests.length = 0;
    const again = await host.agent(['apply', '--retry']);
    assert.equal(again.code, 0, again.out + again.err);
    assert.equal(host.tool(), 'two');
    assert.deepEqual(host.relay.requests, [], 'by hand, from what is here');
    await host.agent(['once']); // tells it
  });

  test('an ack covers results and frees their files; one ahead of the own number means a reverted machine', async () => {
    const arrived = openAll(host.relay.results, host.publisher);
    const last = arrived.at(-1);
    assert.ok(last);
    const agent = last.result.agent;
    await host.publish({ releases: [ONE, TWO], acks: [{ agent, sequence: last.result.sequence, hash: last.hash }] });
    await host.agent(['once']);
    const kept = fs.readdirSync(join(host.stateDir, 'outbox'));
    assert.ok(kept.length <= 1, kept.join());
    await host.publish({ releases: [ONE, TWO], acks: [{ agent, sequence: 500, hash: 'a'.repeat(64) }] });
    const ran = await host.agent(['once']);
    assert.match(ran.out, /put back to an older state/);
    const news = openAll(host.relay.results, host.publisher).filter(({ result }) => result.sequence > 500);
    assert.equal(news[0]?.result.sequence, 501);
    assert.equal(news[0]?.result.previous, 'a'.repeat(64));
    assert.ok(news.some(({ result }) => result.kind === 'alert' && result.body.code === 'outbox.reverted'));
    assert.ok(
      news.some(({ result }) => result.kind === 'scan' && result.body.inventory !== null),
      'it scans at once and in full',
    );
  });

  test('status, history, explain, plan, doctor and export answer from the own state', async () => {
    for (const args of [['status'], ['history'], ['explain', 'tool@2.0.0'], ['scan'], ['doctor']]) {
      const ran = await host.agent(args);
      assert.ok(ran.code === 0 || ran.code === 1, `${args.join(' ')}: ${ran.code} ${ran.out}${ran.err}`);
      assert.ok(ran.out.length > 0);
      const json = await host.agent([...args, '--json']);
      assert.match((JSON.parse(json.out) as { schema: string }).schema, /^patchferry\/agent-/);
    }
    const plan = await host.agent(['plan']);
    assert.equal(plan.code, 3, plan.out + plan.err);
    const folder = join(host.folder, 'stick');
    const exported = await host.agent(['export', folder]);
    assert.ok(exported.code === 0 || exported.code === 3, exported.err);
  });
});

describe('refused: a named error, the host unchanged, the last good state kept', () => {
  let host: TestHost;
  before(async () => {
    host = await makeHost();
    await host.enrol();
    await host.publish({ releases: [ONE] });
    const ran = await host.agent(['once']);
    assert.equal(ran.code, 0, ran.out + ran.err);
  });
  beforeEach(() => {
    host.relay.tamper = (_path, bytes) => bytes;
  });
  after(() => host.remove());

  const flip = (bytes: Buffer) => {
    const changed = Buffer.from(bytes);
    const at = changed.length >> 1;
    changed[at] = (changed[at] ?? 0) ^ 1;
    return changed;
  };

  test('a tampered catalog: trust.target-hash', async () => {
    const picture = pictureOf(host);
    await host.publish({ releases: [ONE, TWO] });
    host.relay.tamper = (path, bytes) => (path.startsWith('targets/catalogs/') ? flip(bytes) : bytes);
    const ran = await host.agent(['once']);
    assert.equal(ran.code, 5, ran.out + ran.err);
    assert.match(ran.out, /trust\.target-hash/);
    assert.equal(pictureOf(host), picture);
  });

  test('a truncated catalog is refused', async () => {
    const picture = pictureOf(host);
    host.relay.tamper = (path, bytes) => (path.startsWith('targets/catalogs/') ? bytes.subarray(0, bytes.length - 7) : bytes);
    const ran = await host.agent(['once']);
    assert.equal(ran.code, 5, ran.out + ran.err);
    assert.match(ran.out, /trust\.target-hash/);
    assert.equal(pictureOf(host), picture);
  });

  test('a tampered payload: transfer.hash, told once, and asked again by hand only', async () => {
    host.relay.tamper = (path, bytes) => (path.startsWith('payloads/') ? flip(bytes) : bytes);
    const ran = await host.agent(['once']);
    assert.equal(ran.code, 5, ran.out + ran.err);
    assert.match(ran.out, /transfer\.hash/);
    assert.equal(host.tool(), 'one');
    const again = await host.agent(['once']);
    assert.equal(again.code, 5, again.out + again.err);
    assert.match(again.out, /asked again after/);
    const told = openAll(host.relay.results, host.publisher).filter(
      ({ result }) => result.kind === 'alert' && result.body.code === 'transfer.hash',
    );
    assert.equal(told.length, 1);
    assert.equal(host.tool(), 'one');
    host.relay.tamper = (path, bytes) => (path.startsWith('payloads/') ? undefined : bytes);
    const absent = await host.agent(['once']);
    assert.equal(absent.code, 4, absent.out + absent.err);
    assert.match(absent.out, /run\.payloads-missing/);
  });

  test('a tampered timestamp and an old one: refused by name', async () => {
    const old = fs.readFileSync(join(host.publisher.repository, 'metadata/timestamp.json'));
    await host.publish({ releases: [ONE] });
    await host.agent(['once']);
    const picture = pictureOf(host);
    host.relay.tamper = (path, bytes) => (path === 'metadata/timestamp.json' ? flip(bytes) : bytes);
    const forged = await host.agent(['once']);
    assert.equal(forged.code, 5, forged.out + forged.err);
    assert.match(forged.out, /trust\./);
    host.relay.tamper = (path, bytes) => (path === 'metadata/timestamp.json' ? old : bytes);
    const replayed = await host.agent(['once']);
    assert.equal(replayed.code, 5, replayed.out + replayed.err);
    assert.match(replayed.out, /trust\.rollback/);
    assert.equal(pictureOf(host), picture);
    host.relay.tamper = (_path, bytes) => bytes;
    const told = await host.agent(['once']);
    assert.notEqual(told.code, 5);
    const alerts = openAll(host.relay.results, host.publisher).flatMap(({ result }) =>
      result.kind === 'alert' ? [result.body.code] : [],
    );
    assert.ok(alerts.includes('trust.rollback'), alerts.join());
  });

  test('S5 a name that several relays stand behind, all an older state for now: a notice, no refusal, no rest, and nothing older', async () => {
    const old = fs.readFileSync(join(host.publisher.repository, 'metadata/timestamp.json'));
    await host.publish({ releases: [ONE] });
    await host.agent(['once']);
    const picture = pictureOf(host);
    {
      using journal = host.journal();
      const memory = JSON.parse(journal.meta('relays') ?? '') as { relays: Record<string, object> };
      const relays = Object.entries(memory.relays).map(
        ([name, record]) => [name, { ...record, severalAt: Date.now() }] as const,
      );
      journal.setMeta('relays', JSON.stringify({ ...memory, relays: Object.fromEntries(relays) }));
    }
    host.relay.tamper = (path, bytes) => (path === 'metadata/timestamp.json' ? old : bytes);
    for (let times = 0; times < 2; times += 1) {
      const lagging = await host.agent(['once']);
      assert.notEqual(lagging.code, 5, lagging.out + lagging.err);
      assert.match(lagging.out, /poll\.relay-behind: this relay is behind/);
    }
    assert.equal(pictureOf(host), picture);
    const { lastCycle, notices, relayUse } = JSON.parse((await host.agent(['status', '--json'])).out) as {
      lastCycle: { sync: string };
      notices: { code: string }[];
      relayUse: { relays: { restsUntil: string | null }[] };
    };
    assert.equal(lastCycle.sync, 'behind');
    assert.ok(notices.some(({ code }) => code === 'poll.relay-behind'));
    assert.ok(relayUse.relays.every(({ restsUntil }) => restsUntil === null));
    host.relay.tamper = (_path, bytes) => bytes;
    const gone = await host.agent(['once']);
    assert.doesNotMatch(gone.out, /relay-behind/);
  });

  test('a relay that serves another repository', async () => {
    const picture = pictureOf(host);
    const other = await makeHost();
    try {
      await other.publish({ releases: [TWO] });
      host.relay.tamper = (path) => {
        const file = join(other.publisher.repository, path);
        return fs.existsSync(file) ? fs.readFileSync(file) : undefined;
      };
      const ran = await host.agent(['once']);
      assert.equal(ran.code, 5, ran.out + ran.err);
      assert.match(ran.out, /trust\./);
      assert.equal(pictureOf(host), picture);
    } finally {
      await other.remove();
    }
  });

  test('a relay that is gone: exit 8, and the host still decides', async () => {
    host.relay.tamper = () => undefined;
    const before = host.tool();
    const ran = await host.agent(['once']);
    assert.ok([5, 8].includes(ran.code ?? -1), ran.out + ran.err);
    assert.equal(host.tool(), before);
    const scan = await host.agent(['scan']);
    assert.equal(scan.code, 0, scan.out + scan.err);
  });

  test('S7 freeze: expired metadata installs nothing, and says since when', async () => {
    await host.publish({ releases: [ONE, { version: '3.0.0', content: 'three' }], expires: Date.now() - 5_000 });
    const ran = await host.agent(['once']);
    assert.equal(ran.code, 5, ran.out + ran.err);
    assert.match(ran.out, /expired/);
    assert.equal(host.tool(), 'one');
  });
});

test('S39 two agents at once: one works, the other says who holds it', async () => {
  const host = await makeHost();
  try {
    await host.enrol();
    await host.publish({ releases: [ONE] });
    const both = await Promise.all([host.agent(['once']), host.agent(['once'])]);
    assert.equal(host.tool(), 'one');
    const held = both.filter(({ code }) => code === 4);
    for (const { err } of held) assert.match(err, /lock\.held/);
    assert.ok(both.some(({ code }) => code === 0));
    await host.agent(['once']);
    const runs = openAll(host.relay.results, host.publisher).filter(({ result }) => result.kind === 'run');
    assert.equal(runs.length, 1);
  } finally {
    await host.remove();
  }
});

test('S36 a journal that is torn and a document that is gone: the agent goes on, its chain after the ack', async () => {
  const host = await makeHost();
  try {
    await host.enrol();
    await host.publish({ releases: [ONE] });
    await host.agent(['once']);
    const last = openAll(host.relay.results, host.publisher).at(-1);
    assert.ok(last);
    const ack = { agent: last.result.agent, sequence: last.result.sequence, hash: last.hash };
    for (const suffix of ['-wal', '-shm']) fs.rmSync(join(host.stateDir, `journal.sqlite${suffix}`), { force: true });
    fs.writeFileSync(join(host.stateDir, 'journal.sqlite'), Buffer.alloc(16_384, 7));
    const documents = join(host.stateDir, 'documents');
    for (const name of fs.readdirSync(documents)) if (name.length === 64) fs.writeFileSync(join(documents, name), 'torn');
    await host.publish({ releases: [ONE, TWO], acks: [ack] });
    const ran = await host.agent(['once']);
    assert.equal(ran.code, 0, ran.out + ran.err);
    assert.equal(host.tool(), 'two');
    const news = openAll(host.relay.results, host.publisher).filter(({ result }) => result.sequence > ack.sequence);
    assert.equal(news[0]?.result.previous, ack.hash);
    assert.ok(news.some(({ result }) => result.kind === 'run' && result.body.outcome === 'committed'));
    assert.ok(fs.readdirSync(host.stateDir).some((name) => name.startsWith('journal.sqlite.damaged-')));
  } finally {
    await host.remove();
  }
});

test('the service goes on with an interrupted run when it starts, and ends on SIGTERM', async () => {
  const host = await makeHost();
  try {
    await host.enrol();
    await host.publish({ releases: [ONE] });
    const killed = await host.agent(['once'], { PATCHFERRY_FAILPOINT: 'Install.entered' });
    assert.equal(killed.signal, 'SIGKILL');
    const stop = new AbortController();
    const service = host.agent(['run'], {}, stop.signal);
    const runs = () =>
      openAll(host.relay.results, host.publisher).flatMap(({ result }) => (result.kind === 'run' ? [result.body] : []));
    while (runs().length === 0) await new Promise((resolve) => setTimeout(resolve, 50)); // the scan before it comes first
    stop.abort();
    const ended = await service;
    assert.equal(ended.code, 0, ended.out + ended.err);
    assert.equal(host.tool(), 'one');
    const [body] = runs();
    assert.equal(body?.outcome, 'committed');
    assert.equal(body?.resumed, 1);
  } finally {
    await host.remove();
  }
});
