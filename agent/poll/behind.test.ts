// Relays of different generations behind one name, and a relay that goes back: real ones, a real line between them and the host.
import assert from 'node:assert/strict';
import * as fs from 'node:fs';
import * as net from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { EXIT, PatchferryError } from '#manifests/errors';
import { httpOrigin } from '#manifests/transfer';
import { openTrust } from '#manifests/trust';
import { makePublisher, type TestPublisher } from '../service/testing/publisher.ts';
import { startRelay, type TestRelay } from '../service/testing/relay.ts';
import { BEHIND_LIMITS, judgeOlder, noteBehind, noteServed } from './behind.ts';
import { NO_MEMORY, recordOf } from './choice.ts';
import { openDocuments, openRelays, type SyncOutcome, syncOnce } from './index.ts';

const HOUR = 3_600_000;
const DAY = 24 * HOUR;
const rollbackOf = (where: string) =>
  new PatchferryError('trust.rollback', { exit: EXIT.refused, next: '' }, 'version 3 is older than 4', { where });
const older = rollbackOf('timestamp.json');

test('what an older state is called: a lag of one that never gave what is held, a rollback of one that did, or that stays so', () => {
  const held = { timestamp: 4, expired: false };
  const gave = (version: number, mixed = false) => noteServed(NO_MEMORY, 'r', version, mixed, 0);
  const judge = (memory = NO_MEMORY, now = HOUR, error = older, of = held) => judgeOlder(memory, 'r', error, of, now);
  assert.equal(judge(), 'refused', 'S5 a stranger, and nobody who gave it');
  assert.equal(judge(noteServed(NO_MEMORY, 'other', 4, false, 0)), 'behind', 'never heard before; another of the list gave it');
  assert.equal(judge(noteServed(NO_MEMORY, 'other', 3, false, 0)), 'refused');
  assert.equal(judge(gave(3)), 'behind', 'it gave less');
  assert.equal(judge(gave(4)), 'refused', 'it gave this very state');
  assert.equal(judge(gave(4, true)), 'behind', 'several stand behind the name');
  assert.equal(judge(gave(4, true), BEHIND_LIMITS.severalMs + 1), 'refused', 'that was long ago');
  assert.equal(
    judge(gave(3), HOUR, older, { ...held, expired: true }),
    'refused',
    'S7 an old state may hide that nothing new comes',
  );
  const since = noteBehind(gave(3, true), 'r', 'older', HOUR);
  assert.equal(judge(since, HOUR + BEHIND_LIMITS.alarmMs - 1), 'behind');
  assert.equal(judge(since, HOUR + BEHIND_LIMITS.alarmMs), 'refused', 'it stays so');
  assert.equal(
    judge(noteBehind(since, 'r', 'older', 20 * HOUR), 26 * HOUR),
    'refused',
    'since it began, not since it was last seen',
  );
  assert.equal(judge(noteServed(since, 'r', 4, true, 20 * HOUR), 26 * HOUR), 'behind', 'it was in step meanwhile');
  for (const where of ['snapshot.json as named by timestamp.json', 'targets.json as named by snapshot.json', 'snapshot.json']) {
    assert.equal(judge(gave(3, true), HOUR, rollbackOf(where)), 'refused', `S5 ${where}: no lag makes that`);
  }
  const missing = (where: string) => new PatchferryError('trust.missing', { exit: EXIT.refused, next: '' }, 'lacks', { where });
  assert.equal(judge(gave(4, true), HOUR, missing('metadata/9.snapshot.json')), 'behind', 'one of several lacks it');
  assert.equal(judge(gave(4), HOUR, missing('metadata/9.snapshot.json')), 'refused', 'one alone has to have it');
  assert.equal(judge(gave(4, true), HOUR, missing('metadata/timestamp.json')), 'refused', 'nothing is there at all');
  const record = recordOf({ ...NO_MEMORY, relays: { r: { failures: 0, served: undefined } as never } }, 'r');
  assert.equal(record.severalAt, null, 'a record of an earlier version');
});

/** One address, each new connection at the next of several servers: what a round robin name or a balancer does. */
async function balancer(targets: () => readonly string[]) {
  let turn = 0;
  const sockets = new Set<net.Socket>();
  const server = net.createServer((socket) => {
    const list = targets();
    const upstream = net.connect(Number(new URL(list[turn % list.length] ?? '').port), '127.0.0.1');
    turn += 1;
    for (const end of [socket, upstream]) {
      sockets.add(end);
      end.on('error', () => undefined).once('close', () => (socket.destroy(), upstream.destroy()));
    }
    socket.pipe(upstream).pipe(socket);
  });
  await new Promise<void>((done) => void server.listen(0, '127.0.0.1', done));
  return {
    url: `http://127.0.0.1:${(server.address() as net.AddressInfo).port}`,
    close: () => {
      for (const socket of sockets) socket.destroy();
      server.close();
    },
  };
}

describe('several relays behind one name, one of them a generation behind', () => {
  let folder: string;
  let publisher: TestPublisher;
  let ahead: TestRelay;
  let lagging: TestRelay;
  before(async () => {
    folder = fs.mkdtempSync(join(tmpdir(), 'patchferry-behind-'));
    publisher = await makePublisher(join(folder, 'publisher'));
    await publisher.publish({ releases: [], members: [] });
    ahead = await startRelay(publisher.repository);
    lagging = await startRelay(join(folder, 'lagging'));
    catchUp();
  });
  after(async () => {
    await ahead.close();
    await lagging.close();
    fs.rmSync(folder, { recursive: true, force: true });
  });
  function catchUp(): void {
    fs.rmSync(join(folder, 'lagging'), { recursive: true, force: true });
    fs.cpSync(publisher.repository, join(folder, 'lagging'), { recursive: true });
  }

  /** A host with a state of its own; each poll is another process. */
  function hostAt(place: string, ...addresses: string[]) {
    const notes = new Map<string, string>();
    const clock = { at: Date.now(), now: () => clock.at, monotonic: () => clock.at };
    const pinnedRoot = fs.readFileSync(publisher.rootFile);
    const poll = async (): Promise<{ outcome: SyncOutcome; version: number; rests: (string | null)[] }> => {
      const origins = addresses.map((url) => httpOrigin(url));
      const trust = openTrust({ folder: join(folder, place, 'trust'), pinnedRoot, now: () => Date.now() });
      const relays = openRelays({
        origins,
        notes: { meta: (key) => notes.get(key), setMeta: (key, value) => void notes.set(key, value ?? '') },
        agent: 'host',
        clock,
        choice: 'listed',
      });
      const documents = openDocuments(join(folder, place, 'documents'));
      try {
        const outcome = await syncOnce({ relays, trust, documents, agent: null, eager: false, keep: [] });
        const rests = relays.report().relays.map(({ restsUntil }) => restsUntil);
        return { outcome, version: trust.versions()?.timestamp ?? 0, rests };
      } finally {
        for (const origin of origins) await origin.close();
      }
    };
    return { poll, clock };
  }

  test('each poll ends with the newest, whichever relay it meets first: no refusal, no rest', async () => {
    const name = await balancer(() => [ahead.url, lagging.url]);
    try {
      const { poll } = hostAt('one-name', name.url);
      await poll();
      for (let round = 0; round < 3; round += 1) {
        await publisher.publish({ releases: [], members: [] });
        const versions: number[] = [];
        for (let times = 0; times < 5; times += 1) {
          const { outcome, version, rests } = await poll();
          assert.equal(outcome.kind, 'synced', JSON.stringify(outcome));
          assert.deepEqual(rests, [null]);
          versions.push(version);
        }
        assert.deepEqual(
          versions,
          versions.toSorted((a, b) => a - b),
          'never back',
        );
        assert.ok(versions.slice(1).every((version) => version === versions[1]));
        if (round === 1) catchUp();
      }
    } finally {
      name.close();
    }
  });

  test('only the one behind is left: the host goes on with what it holds and says so; after a day it is a rollback by name', async () => {
    let left = [ahead.url, lagging.url];
    const name = await balancer(() => left);
    try {
      const { poll, clock } = hostAt('left', name.url);
      await poll();
      await publisher.publish({ releases: [], members: [] });
      let held = 0;
      for (let times = 0; times < 4; times += 1) held = (await poll()).version;
      left = [lagging.url];
      for (let times = 0; times < 3; times += 1) {
        const { outcome, version, rests } = await poll();
        assert.equal(outcome.kind, 'behind');
        assert.equal(outcome.kind === 'behind' && outcome.attempts[0]?.code, 'poll.relay-behind');
        assert.deepEqual([version, rests], [held, [null]], 'S5 nothing older is used, and it does not rest');
      }
      clock.at += DAY + 1;
      const alarmed = await poll();
      assert.equal(alarmed.outcome.kind, 'refused');
      assert.equal(alarmed.outcome.kind === 'refused' && alarmed.outcome.attempts[0]?.code, 'trust.rollback');
      assert.deepEqual([alarmed.version, alarmed.rests.every((rest) => rest !== null)], [held, true]);
      catchUp();
      clock.at += DAY;
      assert.equal((await poll()).outcome.kind, 'synced');
    } finally {
      name.close();
    }
  });

  test('two relays in the list, the first one behind: the second is used, the first is no attacker and keeps its place', async () => {
    const { poll, clock } = hostAt('two', lagging.url, ahead.url);
    await poll();
    await publisher.publish({ releases: [], members: [] });
    lagging.tamper = () => undefined; // away: the host gets the new state at the other one
    const first = await poll();
    assert.equal(first.outcome.kind === 'synced' && first.outcome.origin.name, ahead.url);
    lagging.tamper = (_path, bytes) => bytes;
    clock.at += 2 * HOUR;
    const { outcome, rests } = await poll();
    assert.equal(outcome.kind === 'synced' && outcome.origin.name, ahead.url);
    assert.deepEqual(outcome.kind === 'synced' && outcome.attempts.map(({ code }) => code), ['poll.relay-behind']);
    assert.deepEqual(rests, [null, null]);
    catchUp();
    const again = await poll();
    assert.equal(again.outcome.kind === 'synced' && again.outcome.attempts.length, 0);
  });

  test('S5 one relay alone that gave this state and then an older one, on every connection: a rollback by name, at the first poll', async () => {
    await publisher.publish({ releases: [], members: [] });
    const old = fs.readFileSync(join(folder, 'lagging/metadata/timestamp.json'));
    const { poll } = hostAt('alone', ahead.url);
    const { version } = await poll();
    ahead.tamper = (path, bytes) => (path === 'metadata/timestamp.json' ? old : bytes);
    ahead.requests.length = 0;
    const { outcome, ...rest } = await poll();
    assert.equal(outcome.kind, 'refused');
    assert.equal(outcome.kind === 'refused' && outcome.attempts[0]?.code, 'trust.rollback');
    assert.equal(rest.version, version);
    assert.ok(ahead.requests.length <= BEHIND_LIMITS.tries * 2, 'bounded');
    ahead.tamper = (_path, bytes) => bytes;
  });
});
