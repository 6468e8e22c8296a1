// Batches over a thin line, a month without one, and two relays of which either may die for good.
import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import * as fs from 'node:fs';
import * as os from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import * as fc from 'fast-check';
import { silentLog } from '#manifests/platform/log';
import type { Roster } from '#manifests/schema';
import { envelopeHash, generateBoxKey } from '#manifests/trust';
import { startServer } from '../serve/index.ts';
import { makeAgent, type TestAgent } from '../testing/repository.ts';
import { BATCH_LIMITS, decodeBatch, encodeBatch } from './batch.ts';
import { forwardAll, type Inbox, openHop, openInbox, openLedger, openSpool } from './index.ts';

const root = fs.mkdtempSync(join(os.tmpdir(), 'pf-batch-'));
const closing: (() => unknown)[] = [() => fs.rmSync(root, { recursive: true, force: true })];
after(async () => {
  for (const close of closing.toReversed()) await close();
});
let counter = 0;
const fresh = () => join(root, String((counter += 1)));
const collector = generateBoxKey();
const HOUR = 3_600_000;

function rosterOf(agents: readonly TestAgent[]): Roster {
  const since = '2026-01-01T00:00:00Z';
  return {
    schema: 'patchferry/roster',
    schemaVersion: 1,
    signedAt: since,
    agents: agents.map(({ id, signKey, boxKey }) => {
      const keys = { signKey: signKey.publicKey, boxKey: boxKey.publicKey };
      return { id, title: id, group: 'all', labels: {}, since, ...keys, status: 'approved' as const };
    }),
    recipients: [{ name: 'collector', boxKey: collector.publicKey }],
  };
}

interface Relay {
  readonly folder: string;
  readonly inbox: Inbox;
  forward(hops: Parameters<typeof forwardAll>[2]): ReturnType<typeof forwardAll>;
  close(): Promise<void>;
}

/** A relay's inbox on a folder; opening the same folder again is a restart. */
function openRelay(folder: string, roster: () => Roster, now: () => number): Relay {
  const ledger = openLedger(join(folder, 'forwarded'), now);
  const spool = openSpool(join(folder, 'inbox'), { wentOn: (bytes) => ledger.has(envelopeHash(bytes)) });
  const inbox = openInbox(spool, ledger, roster, silentLog);
  return {
    folder,
    inbox,
    forward: (hops) => forwardAll(spool, ledger, hops, { log: silentLog }),
    close: () => spool.close(),
  };
}

/** The HTTP door of a relay; `cut` breaks the connection after the envelopes were taken, before the answer. */
async function serve(inbox: Inbox, options: { batches: boolean; cut?: () => boolean }) {
  const requests: string[] = [];
  const door = (path: string, handle: (bytes: Uint8Array) => Promise<{ status: number; body: object }>) =>
    [
      path,
      {
        limitBytes: BATCH_LIMITS.bytes,
        memoryBytes: BATCH_LIMITS.bytes * 16,
        async handle(bytes: Uint8Array) {
          requests.push(path);
          const told = await handle(bytes);
          return options.cut?.() === true ? { status: 502, body: {} } : told;
        },
      },
    ] as const;
  const server = await startServer({
    listen: '127.0.0.1:0',
    mirror: fresh(),
    posts: new Map([
      door('/inbox/results', (bytes) => inbox.result(bytes)),
      door('/inbox/enrolments', (bytes) => inbox.enrolment(bytes)),
      ...(options.batches ? [door('/inbox/batches', (bytes) => inbox.batch(bytes))] : []),
    ]),
    health: () => ({ ok: true }),
    log: silentLog,
  });
  closing.push(() => server.close());
  const hop = openHop(server.url);
  closing.push(() => hop.close());
  return { hop, requests };
}

const arrived = (folder: string) =>
  fs
    .readdirSync(folder, { recursive: true, encoding: 'utf8' })
    .filter((name) => name.endsWith('.pfe') && name.startsWith('results/'))
    .toSorted()
    .map((name) => envelopeHash(fs.readFileSync(join(folder, name))));

test('a batch comes back as it was packed; whatever is no batch is refused, bounded', () => {
  const item = fc.record({
    kind: fc.constantFrom('results' as const, 'enrolments' as const),
    bytes: fc.uint8Array({ maxLength: 1_000 }).map((bytes) => Buffer.from(bytes)),
  });
  fc.assert(
    fc.property(fc.array(item, { maxLength: 20 }), (items) => {
      assert.deepEqual(
        decodeBatch(encodeBatch(items)),
        items.map(({ kind, bytes }) => ({ kind, bytes })),
      );
    }),
    { numRuns: 50 },
  );
  const code = { code: 'inbox.malformed' };
  const good = encodeBatch([{ kind: 'results', bytes: Buffer.from('abc') }]);
  fc.assert(
    fc.property(fc.integer({ min: 0, max: good.length - 1 }), (at) =>
      assert.throws(() => decodeBatch(good.subarray(0, at)), code),
    ),
  );
  const many = Array.from({ length: BATCH_LIMITS.items + 1 }, () => ({ kind: 'results' as const, bytes: Buffer.of(1) }));
  assert.throws(() => decodeBatch(encodeBatch(many)), code);
  const bomb = encodeBatch([{ kind: 'results', bytes: Buffer.alloc(BATCH_LIMITS.plainBytes * 4) }]);
  assert.ok(bomb.length < 2_000);
  assert.throws(() => decodeBatch(bomb), code);
});

test('S25 in a batch: forged, unknown and malformed ones are refused each for itself, the others are taken; of an agent in order', async () => {
  const [a, b, stranger] = [makeAgent(collector), makeAgent(collector), makeAgent(collector)];
  const relay = openRelay(fresh(), () => rosterOf([a, b]), Date.now);
  const forged = Buffer.from(b.result(1));
  forged[forged.length - 1] = (forged.at(-1) ?? 0) ^ 1;
  const items = [a.result(1), stranger.result(1), forged, b.result(2), Buffer.from('x'), stranger.result(2), a.result(2)];
  const seen: number[] = [];
  const packed = encodeBatch(items.map((bytes) => ({ kind: 'results', bytes })));
  const told = await relay.inbox.batch(packed, (_, status) => seen.push(status));
  assert.equal(told.status, 200);
  const statuses = (told.body as { items: { status: number; code?: string }[] }).items.map(({ status, code = '' }) =>
    `${status} ${code}`.trim(),
  );
  assert.deepEqual(statuses, [
    '201',
    '403 inbox.unknown-agent',
    '403 inbox.signature',
    '201',
    '400 inbox.malformed',
    '0', // behind one that may be taken later
    '201',
  ]);
  assert.equal(seen.length, 6);
  assert.deepEqual((await relay.inbox.batch(Buffer.from('nonsense'))).status, 400);
  await relay.close();
});

test('30 days without upstream, restarts and repeated uploads: then every result arrives exactly once, in order, in a few requests', async () => {
  const agents = Array.from({ length: 4 }, () => makeAgent(collector));
  const roster = rosterOf(agents);
  let now = Date.parse('2026-03-01T00:00:00Z');
  const folder = fresh();
  let relay = openRelay(
    folder,
    () => roster,
    () => now,
  );
  const down = openHop('http://127.0.0.1:1');
  closing.push(() => down.close());
  const made = new Map<string, Uint8Array[]>(agents.map(({ id }) => [id, []]));
  for (let day = 0; day < 30; day += 1) {
    for (let quarter = 0; quarter < 4; quarter += 1) {
      now += 6 * HOUR;
      for (const agent of agents) {
        const own = made.get(agent.id) ?? [];
        if (quarter % 2 === 0) own.push(agent.result(own.length + 1));
        for (const bytes of own.slice(-3)) assert.ok((await relay.inbox.result(bytes)).status < 202); // sent again: no ack comes
      }
    }
    if (day % 5 === 0) {
      const report = await relay.forward([down]);
      assert.equal(report.delivered, 0);
      assert.equal(report.waiting, (day * 2 + 2) * 4);
    }
    if (day % 7 === 3) {
      await relay.close();
      relay = openRelay(
        folder,
        () => roster,
        () => now,
      );
    }
  }
  const all = agents.flatMap(({ id }) => made.get(id) ?? []);
  assert.equal(all.length, 240);

  const publisher = fresh();
  fs.mkdirSync(publisher);
  const next = openRelay(
    fresh(),
    () => roster,
    () => now,
  );
  const order: string[] = [];
  const watched: Inbox = {
    ...next.inbox,
    batch: (bytes) => {
      for (const item of decodeBatch(bytes)) order.push(envelopeHash(item.bytes));
      return next.inbox.batch(bytes);
    },
  };
  let cuts = 1; // the first answer is lost: the batch was taken and comes again
  const { hop, requests } = await serve(watched, { batches: true, cut: () => (cuts -= 1) >= 0 });
  const broken = await relay.forward([hop]);
  assert.ok(broken.waiting > 0);
  const report = await relay.forward([hop]);
  assert.deepEqual([broken.delivered + report.delivered, report.waiting], [240, 0]);
  assert.ok(requests.length <= 8, `${requests.length} requests for 240 results`);
  for (const agent of agents) {
    const own = (made.get(agent.id) ?? []).map(envelopeHash);
    const firsts = [...new Set(order)].filter((hash) => own.includes(hash));
    assert.deepEqual(firsts, own, 'in order');
  }
  await next.forward([openHop(publisher)]);
  assert.deepEqual(arrived(publisher).toSorted(), all.map(envelopeHash).toSorted());
  await relay.close();
  await next.close();
});

test('a next hop of an older version takes no batches: they go one by one', async () => {
  const agent = makeAgent(collector);
  const roster = rosterOf([agent]);
  const [near, far] = [openRelay(fresh(), () => roster, Date.now), openRelay(fresh(), () => roster, Date.now)];
  const { hop, requests } = await serve(near.inbox, { batches: false });
  for (const sequence of [1, 2, 3]) await far.inbox.result(agent.result(sequence));
  assert.equal((await far.forward([hop])).delivered, 3);
  assert.deepEqual(requests, ['/inbox/results', '/inbox/results', '/inbox/results']);
  await Promise.all([near.close(), far.close()]);
});

test('S26 two relays at a site, either may die for good at any moment: what agents hold until it is acked arrives, each once', async () => {
  const agents = Array.from({ length: 3 }, () => makeAgent(collector));
  const roster = rosterOf(agents);
  const held = agents.map((agent) => Array.from({ length: 12 }, (_, n) => agent.result(n + 1)));
  const step = fc.oneof(
    fc.record({ do: fc.constant('send' as const), agent: fc.nat(2), first: fc.nat(1) }),
    fc.record({ do: fc.constant('forward' as const), relay: fc.nat(1) }),
    fc.record({ do: fc.constant('die' as const), relay: fc.nat(1) }),
    fc.record({ do: fc.constant('restart' as const), relay: fc.nat(1) }),
  );
  await fc.assert(
    fc.asyncProperty(fc.array(step, { minLength: 5, maxLength: 40 }), async (steps) => {
      let now = Date.parse('2026-03-01T00:00:00Z');
      const publisher = fresh();
      fs.mkdirSync(publisher);
      const hop = openHop(publisher);
      const fleet = held.map((all) => ({ all, sentAt: new Map<number, number>(), made: 0 }));
      const open = (folder: string) =>
        openRelay(
          folder,
          () => roster,
          () => now,
        );
      const relays = [open(fresh()), open(fresh())];
      const relayAt = (index: number) => relays[index % 2] as Relay;
      const acked = () => new Set(arrived(publisher));
      const send = async (index: number, first: number) => {
        const agent = fleet[index];
        if (agent === undefined) return;
        agent.made = Math.min(agent.all.length, agent.made + 2);
        const done = acked();
        for (const [n, bytes] of agent.all.slice(0, agent.made).entries()) {
          if (done.has(envelopeHash(bytes)) || now - (agent.sentAt.get(n) ?? 0) < 6 * HOUR) continue;
          assert.ok((await relayAt(first).inbox.result(bytes)).status < 202);
          agent.sentAt.set(n, now);
        }
      };
      for (const each of steps) {
        now += HOUR;
        if (each.do === 'send') await send(each.agent, each.first);
        else if (each.do === 'forward') await relayAt(each.relay).forward([hop]);
        else {
          const old = relayAt(each.relay);
          await old.close();
          if (each.do === 'die') fs.rmSync(old.folder, { recursive: true });
          relays[each.relay] = open(each.do === 'die' ? fresh() : old.folder);
        }
      }
      for (let round = 0; round < 8; round += 1) {
        now += 7 * HOUR;
        for (const index of [0, 1, 2]) await send(index, round);
        for (const relay of relays) await relay.forward([hop]);
      }
      assert.deepEqual(arrived(publisher).toSorted(), held.flat().map(envelopeHash).toSorted());
      for (const relay of relays) await relay.close();
    }),
    { numRuns: 15 },
  );
});

test('random bytes as a batch never do more than be refused', async () => {
  const relay = openRelay(fresh(), () => rosterOf([]), Date.now);
  for (let n = 0; n < 50; n += 1) assert.equal((await relay.inbox.batch(randomBytes(n * 7))).status, 400);
  await relay.close();
});
