// When hosts poll, and which relay is asked: spread, order, rests on disk.
import assert from 'node:assert/strict';
import * as fs from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { systemClock } from '#manifests/platform/clock';
import { httpOrigin } from '#manifests/transfer';
import { openTrust } from '#manifests/trust';
import { openJournal } from '../run/index.ts';
import { makePublisher, type TestPublisher } from '../service/testing/publisher.ts';
import { startRelay } from '../service/testing/relay.ts';
import { nextSlotAt, openDocuments, openRelays, slotOf, spread, syncOnce } from './index.ts';

test('trap 30: a thousand agents poll spread over their interval, each always at the same offset', () => {
  const agents = Array.from({ length: 1_000 }, (_, index) => `agent-${index}`);
  const buckets = Array.from({ length: 10 }, () => 0);
  for (const agent of agents) {
    const bucket = Math.floor(spread(agent) * 10);
    buckets[bucket] = (buckets[bucket] ?? 0) + 1;
  }
  for (const count of buckets) assert.ok(count > 60 && count < 140, buckets.join());
  const now = Date.parse('2026-03-02T10:00:00Z');
  for (const agent of agents.slice(0, 50)) {
    const next = nextSlotAt(agent, 60, now);
    assert.ok(next > now && next <= now + 3_600_000);
    assert.equal(slotOf(agent, 60, next), slotOf(agent, 60, now) + 1);
    assert.equal(slotOf(agent, 60, next - 1), slotOf(agent, 60, now));
    assert.equal(nextSlotAt(agent, 60, next), next + 3_600_000);
  }
});

let folder: string;
let publisher: TestPublisher;
before(async () => {
  folder = fs.mkdtempSync(join(tmpdir(), 'patchferry-poll-'));
  publisher = await makePublisher(join(folder, 'publisher'));
  await publisher.publish({ releases: [], members: [] });
});
after(() => fs.rmSync(folder, { recursive: true, force: true }));

test('S20 a relay that lies rests, also after a restart, and the next one is used; by hand it is asked all the same', async () => {
  const [bad, good] = [await startRelay(publisher.repository), await startRelay(publisher.repository)];
  bad.tamper = (path, bytes) => (path.endsWith('timestamp.json') ? Buffer.from('<html>please log in</html>') : bytes);
  const origins = [httpOrigin(bad.url), httpOrigin(good.url)];
  const journalFile = join(folder, 'journal.sqlite');
  const trust = openTrust({
    folder: join(folder, 'trust'),
    pinnedRoot: fs.readFileSync(publisher.rootFile),
    now: () => Date.now(),
  });
  const poll = async (eager: boolean, now: number) => {
    using journal = openJournal(journalFile, { now }); // opened anew each time: rests are on disk
    const documents = openDocuments(join(folder, 'documents'));
    const clock = { now: () => now, monotonic: () => now };
    const relays = openRelays({ origins, notes: journal, agent: 'a', clock, choice: 'measured' });
    const outcome = await syncOnce({ relays, trust, documents, agent: null, eager, keep: [] });
    return { outcome, rest: relays.report().relays.find(({ relay }) => relay === origins[0]?.name)?.restsUntil };
  };
  try {
    const now = Date.now();
    const first = await poll(false, now);
    assert.equal(first.outcome.kind, 'synced');
    assert.equal(first.outcome.kind === 'synced' && first.outcome.origin.name, origins[1]?.name);
    assert.equal(first.outcome.attempts[0]?.relay, origins[0]?.name);
    assert.ok(Date.parse(first.rest ?? '') > now);
    bad.requests.length = 0;
    assert.equal((await poll(false, now + 1_000)).outcome.kind, 'synced');
    assert.deepEqual(bad.requests, [], 'it rests');
    assert.equal((await poll(true, now + 2_000)).outcome.kind, 'synced');
    bad.tamper = (_path, bytes) => bytes;
    const well = await poll(false, now + 3_600_000 * 2);
    assert.equal(well.outcome.kind === 'synced' && well.outcome.origin.name, origins[0]?.name);
    assert.equal(well.rest, null);
  } finally {
    for (const origin of origins) await origin.close();
    await bad.close();
    await good.close();
  }
});

test('a document that is torn on disk is fetched again', async () => {
  const relay = await startRelay(publisher.repository);
  const origin = httpOrigin(relay.url);
  const place = join(folder, 'torn');
  try {
    using journal = openJournal(join(place, 'journal.sqlite'), { now: 0 });
    const trust = openTrust({
      folder: join(place, 'trust'),
      pinnedRoot: fs.readFileSync(publisher.rootFile),
      now: () => Date.now(),
    });
    const sync = () => {
      const documents = openDocuments(join(place, 'documents'));
      return syncOnce({
        relays: openRelays({ origins: [origin], notes: journal, agent: '', clock: systemClock, choice: 'listed' }),
        trust,
        documents,
        agent: null,
        eager: true,
        keep: [],
      });
    };
    await sync();
    const file =
      openDocuments(join(place, 'documents'))
        .current()
        .find(({ path }) => path.includes('roster.json'))?.sha256 ?? '';
    fs.writeFileSync(join(place, 'documents', file), 'torn');
    assert.match(openDocuments(join(place, 'documents')).view(null).damaged ?? '', /not on this host any more/);
    relay.requests.length = 0;
    assert.equal((await sync()).kind, 'synced');
    assert.ok(relay.requests.length > 1, 'it was missed and fetched');
    assert.notEqual(fs.readFileSync(join(place, 'documents', file), 'latin1'), 'torn');
  } finally {
    await origin.close();
    await relay.close();
  }
});
