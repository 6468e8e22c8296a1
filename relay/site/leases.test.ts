// Reboot leases: the rules by themselves, on disk, and by the FleetLock protocol at a real relay that is restarted all the time.
import assert from 'node:assert/strict';
import * as fs from 'node:fs';
import * as os from 'node:os';
import { join } from 'node:path';
import { after, describe, test } from 'node:test';
import * as fc from 'fast-check';
import { silentLog } from '#manifests/platform/log';
import { REBOOT_LEASE, type RebootLease } from '#manifests/schema';
import { REQUEST_HEADER } from '#manifests/trust';
import { startRelay } from '../run.ts';
import { relaySettings } from '../settings.ts';
import { groupTarget, type LeaseRequest, leaseRequest } from '../testing/group.ts';
import { makeAgent, makePublisher, type TestAgent } from '../testing/repository.ts';
import { openLeases, readLeases } from './lease-store.ts';
import { acquire, liveLeases, NO_LEASES, release } from './leases.ts';

const root = fs.mkdtempSync(join(os.tmpdir(), 'pf-leases-'));
const closing: (() => unknown)[] = [() => fs.rmSync(root, { recursive: true, force: true })];
after(async () => {
  for (const close of closing.toReversed()) await close();
});
let counter = 0;
const fresh = (name: string) => join(root, `${name}-${(counter += 1)}`);
const MINUTE = 60_000;
const START = Date.parse('2026-03-02T12:00:00Z');

interface TestClock {
  wall: number;
  mono: number;
  now(): number;
  monotonic(): number;
}
const clockAt = (wall: number): TestClock => ({
  wall,
  mono: 1_000,
  now() {
    return this.wall;
  },
  monotonic() {
    return this.mono;
  },
});
const pass = (clock: TestClock, milliseconds: number) => {
  clock.wall += milliseconds;
  clock.mono += milliseconds;
};

describe('the rules', () => {
  const policy: RebootLease = { slots: 2, minGapMinutes: 5, ttlMinutes: 30 };
  const ask = (state: typeof NO_LEASES, id: string, now: number, over: Partial<RebootLease> = {}) =>
    acquire(state, { id, group: 'g', policy: { ...policy, ...over }, now, renewAfterMs: MINUTE });

  test('a slot is recursive, prolonged, counted, and free again when it is given back or ends', () => {
    const first = ask(NO_LEASES, 'a', START);
    assert.deepEqual(first.answer, { kind: 'held', until: START + 30 * MINUTE, changed: true });
    assert.deepEqual(ask(first.state, 'b', START + MINUTE).answer, { kind: 'gap', freeAt: START + 5 * MINUTE });
    assert.equal(ask(first.state, 'a', START + 1_000).state, first.state, 'asking again at once changes nothing');
    const again = ask(first.state, 'a', START + 10 * MINUTE);
    assert.deepEqual(again.answer, { kind: 'held', until: START + 40 * MINUTE, changed: true });
    const second = ask(again.state, 'b', START + 10 * MINUTE);
    assert.equal(second.answer.kind, 'held');
    assert.deepEqual(ask(second.state, 'c', START + 20 * MINUTE).answer, {
      kind: 'full',
      slots: 2,
      freeAt: START + 40 * MINUTE,
    });
    assert.equal(ask(release(second.state, 'a'), 'c', START + 20 * MINUTE).answer.kind, 'held');
    assert.equal(ask(second.state, 'c', START + 40 * MINUTE).answer.kind, 'held', 'a lease ends by itself');
    assert.equal(release(second.state, 'z'), second.state, 'nothing held is fine too');
  });

  test('groups do not share slots; fewer slots than before take none away and give none', () => {
    const one = ask(ask(NO_LEASES, 'a', START, { minGapMinutes: 0 }).state, 'b', START, { minGapMinutes: 0 }).state;
    const other = acquire(one, { id: 'c', group: 'h', policy, now: START, renewAfterMs: MINUTE });
    assert.equal(other.answer.kind, 'held');
    assert.equal(liveLeases(other.state, START).length, 3);
    const [, b] = one.leases;
    const narrowed = ask(one, 'd', START + 1_000, { slots: 1 });
    assert.deepEqual(narrowed.answer, { kind: 'full', slots: 1, freeAt: b?.until });
    assert.equal(ask(one, 'a', START + 1_000, { slots: 1 }).answer.kind, 'held');
  });
});

const step = fc.oneof(
  { weight: 6, arbitrary: fc.record({ kind: fc.constant('ask' as const), host: fc.nat(19) }) },
  { weight: 4, arbitrary: fc.record({ kind: fc.constant('done' as const), host: fc.nat(19) }) },
  { weight: 3, arbitrary: fc.record({ kind: fc.constant('time' as const), minutes: fc.integer({ min: 0, max: 20 }) }) },
  { weight: 1, arbitrary: fc.record({ kind: fc.constant('clock' as const), hours: fc.integer({ min: -48, max: 48 }) }) },
  { weight: 2, arbitrary: fc.record({ kind: fc.constant('restart' as const), setBack: fc.integer({ min: -48, max: 48 }) }) },
);

test('property: whatever hosts, clocks and restarts do, never more than the group size at a time, and never two within the gap', () => {
  fc.assert(
    fc.property(
      fc.record({
        slots: fc.integer({ min: 1, max: 4 }),
        minGapMinutes: fc.nat(10),
        ttlMinutes: fc.integer({ min: 1, max: 60 }),
      }),
      fc.array(step, { maxLength: 80 }),
      (policy, steps) => {
        const file = fresh('property.json');
        const clock = clockAt(START);
        let store = openLeases(file, clock);
        /** True time, which no clock of the relay shows; when each host's permission ends by it. */
        let time = 0;
        const permitted = new Map<number, number>();
        let last = Number.NEGATIVE_INFINITY;
        for (const each of steps) {
          if (each.kind === 'ask') {
            const before = permitted.get(each.host) ?? 0;
            // After a restart a lease counts longer than it lasted: its own host prolongs it, and is no second one within the gap.
            const prolongs = store.held().some(({ id }) => id === `host-${each.host}`);
            if (store.acquire(`host-${each.host}`, 'g', policy).kind !== 'held') {
              assert.ok(before <= time, 'who holds one is not told that it is taken');
              continue;
            }
            if (!prolongs) {
              assert.ok(time - last >= policy.minGapMinutes, 'gap');
              last = time;
            }
            // Prolonged only when a minute of it has gone: at least this much is left.
            permitted.set(
              each.host,
              before <= time ? time + policy.ttlMinutes : Math.max(before, time + policy.ttlMinutes - 1),
            );
          } else if (each.kind === 'done') {
            store.release(`host-${each.host}`);
            permitted.delete(each.host);
          } else if (each.kind === 'time') {
            time += each.minutes;
            pass(clock, each.minutes * MINUTE);
          } else if (each.kind === 'clock') clock.wall += each.hours * 60 * MINUTE;
          else {
            // A restart with the clock right, behind (a dead battery) or ahead.
            clock.wall = START + time * MINUTE - each.setBack * 60 * MINUTE;
            clock.mono = 5;
            store = openLeases(file, clock);
          }
          assert.ok([...permitted.values()].filter((until) => until > time).length <= policy.slots, 'slots');
        }
        fs.rmSync(file, { force: true });
      },
    ),
    { numRuns: 150 },
  );
});

test('a lease ends by itself also when the relay is restarted all the time, and a host clock that is set ends none early', () => {
  const file = fresh('restarts.json');
  const clock = clockAt(START);
  openLeases(file, clock).acquire('a', 'g', REBOOT_LEASE);
  const ask = (store: ReturnType<typeof openLeases>) => store.acquire('b', 'g', REBOOT_LEASE).kind;
  clock.wall += 400 * 24 * 60 * MINUTE;
  let store = openLeases(file, clock);
  assert.equal(ask(store), 'full');
  assert.deepEqual(store.held(), [{ id: 'a', group: 'g', since: clock.wall, until: clock.wall + 60 * MINUTE }]);
  for (let minute = 1; minute < 60; minute += 1) {
    pass(clock, MINUTE);
    store.tick();
    clock.mono = 7;
    store = openLeases(file, clock);
    assert.equal(ask(store), 'full', String(minute));
  }
  pass(clock, MINUTE);
  assert.equal(ask(store), 'held');
});

test('S33 S36 a file of leases that is damaged: nothing new until every old lease has surely ended, also over a restart', () => {
  const file = fresh('leases.json');
  const clock = clockAt(START);
  assert.equal(openLeases(file, clock).acquire('a', 'g', REBOOT_LEASE).kind, 'held');
  fs.writeFileSync(file, Buffer.alloc(200));
  let store = openLeases(file, clock);
  assert.equal(readLeases(file), undefined);
  assert.deepEqual(store.acquire('b', 'g', REBOOT_LEASE), { kind: 'lost', freeAt: START + 60 * MINUTE });
  store.release('a');
  store = openLeases(file, clock);
  pass(clock, 59 * MINUTE);
  assert.equal(store.acquire('b', 'g', REBOOT_LEASE).kind, 'lost');
  assert.equal(store.acquire('c', 'h', { ...REBOOT_LEASE, ttlMinutes: 30 }).kind, 'held');
  pass(clock, MINUTE);
  assert.equal(store.acquire('b', 'g', REBOOT_LEASE).kind, 'held');
});

const ACQUIRE = '/v1/pre-reboot';
const RELEASE = '/v1/steady-state';

async function post(url: string, path: string, { body, headers }: LeaseRequest): Promise<{ status: number; kind: string }> {
  const response = await fetch(`${url}${path}`, { method: 'POST', body: Uint8Array.from(body), headers });
  const told = (await response.json()) as { kind: string; value: string };
  assert.equal(typeof told.value, 'string');
  return { status: response.status, kind: told.kind };
}

/** A relay with these agents in group `all`; `restart` stops it and starts it on the same state. */
async function relayOf(agents: readonly TestAgent[], lease: RebootLease | undefined, over: object = {}) {
  const publisher = await makePublisher(fresh('publisher'));
  const revoked = [makeAgent(publisher.collector)];
  await publisher.publish({ patches: [], agents, revoked, policy: groupTarget('all', lease) });
  const settings = relaySettings.parse({
    listen: '127.0.0.1:0',
    upstream: [publisher.folder],
    upstreamRoot: publisher.root,
    stateDir: fresh('state'),
    cacheDir: fresh('cache'),
    ...over,
  });
  let relay = await startRelay(settings, { log: silentLog });
  closing.push(() => relay.stop());
  await relay.sync();
  return {
    revoked,
    url: () => relay.url,
    settings,
    publisher,
    async restart() {
      await relay.stop();
      // The upstream is away: what was mirrored is enough.
      relay = await startRelay({ ...settings, upstream: [] }, { log: silentLog });
    },
  };
}

const recipient = { publicKey: '5'.repeat(64), secretKey: new Uint8Array(32) };
const agentsOf = (count: number) => Array.from({ length: count }, () => makeAgent(recipient));

test('field guide 9.9: 20 agents, group size 2, never more than 2 at a time with a relay that is restarted, and all get their turn', async () => {
  const agents = agentsOf(20);
  const site = await relayOf(agents, { slots: 2, minGapMinutes: 0, ttlMinutes: 60 });
  const rebooting = new Set<string>();
  const waiting = new Set(agents);
  let at = Date.now();
  let refused = 0;
  for (let round = 0; waiting.size > 0 || rebooting.size > 0; round += 1) {
    assert.ok(round < 30, `all get their turn, ${waiting.size} wait still`);
    if (round % 3 === 2) await site.restart();
    // All ask at once; who holds one asks again, as after its own restart.
    const answers = await Promise.all(
      [...waiting, ...agents.filter(({ id }) => rebooting.has(id))].map(async (agent) => {
        at += 1;
        return { agent, ...(await post(site.url(), ACQUIRE, leaseRequest(agent, ACQUIRE, at))) };
      }),
    );
    for (const { agent, status, kind } of answers) {
      if (status === 200) {
        rebooting.add(agent.id);
        waiting.delete(agent);
      } else {
        refused += 1;
        assert.deepEqual([status, kind], [409, 'failed_lock_semaphore_full']);
        assert.ok(!rebooting.has(agent.id));
      }
    }
    assert.equal(rebooting.size, Math.min(2, rebooting.size + waiting.size));
    const [done] = agents.filter(({ id }) => rebooting.has(id));
    if (done === undefined) continue;
    for (const time of [1, 2]) {
      at += time;
      assert.equal((await post(site.url(), RELEASE, leaseRequest(done, RELEASE, at))).status, 200, 'and again: idempotent');
    }
    rebooting.delete(done.id);
  }
  assert.ok(refused > 100);
});

test('who may ask: an agent of the roster, for itself and its own group, in time, once; nobody else and nothing malformed', async () => {
  const [agent, other] = agentsOf(2) as [TestAgent, TestAgent];
  const site = await relayOf([agent, other], undefined);
  const [revoked] = site.revoked as [TestAgent];
  const now = Date.now();
  const stranger = makeAgent(recipient);
  const ask = (request: LeaseRequest, path = ACQUIRE) => post(site.url(), path, request);
  const good = leaseRequest(agent, ACQUIRE, now);
  const plain = { ...good, headers: { 'fleet-lock-protocol': 'true' } };
  assert.deepEqual(await ask(plain), { status: 401, kind: 'unsigned' });
  assert.deepEqual(await ask({ ...good, headers: { [REQUEST_HEADER]: good.headers[REQUEST_HEADER] ?? '' } }), {
    status: 400,
    kind: 'bad_request',
  });
  assert.deepEqual(await ask({ ...good, body: Buffer.from('{"client_params": 1}') }), { status: 400, kind: 'bad_request' });
  assert.deepEqual(await ask({ ...good, body: Buffer.concat([good.body, Buffer.from(' ')]) }), {
    status: 403,
    kind: 'bad_signature',
  });
  assert.deepEqual(await ask(good, RELEASE), { status: 403, kind: 'bad_signature' }, 'signed for another path');
  assert.deepEqual(await ask(leaseRequest(stranger, ACQUIRE, now)), { status: 403, kind: 'unknown_client' });
  assert.deepEqual(await ask(leaseRequest(other, ACQUIRE, now, 'all', agent.id)), { status: 403, kind: 'unknown_client' });
  assert.deepEqual(await ask(leaseRequest(revoked, ACQUIRE, now)), { status: 403, kind: 'revoked_client' });
  assert.deepEqual(await ask(leaseRequest(agent, ACQUIRE, now, 'others')), { status: 403, kind: 'wrong_group' });
  for (const skew of [-11, 11])
    assert.deepEqual(await ask(leaseRequest(agent, ACQUIRE, now + skew * MINUTE)), { status: 403, kind: 'wrong_time' });
  assert.deepEqual(await ask(good), { status: 200, kind: 'held' });
  assert.deepEqual(await ask(good), { status: 409, kind: 'replayed' });
  assert.deepEqual(
    await ask(leaseRequest(other, ACQUIRE, now)),
    { status: 409, kind: 'failed_lock_semaphore_full' },
    'one slot',
  );
  const back = leaseRequest(agent, RELEASE, now + 1);
  assert.deepEqual(await ask(back, RELEASE), { status: 200, kind: 'released' });
  assert.deepEqual(await ask(leaseRequest(agent, ACQUIRE, now + 2)), { status: 200, kind: 'held' });
  await site.restart();
  assert.deepEqual(
    await ask(back, RELEASE),
    { status: 409, kind: 'replayed' },
    'nobody gives back what another holds, by replay',
  );
  assert.equal((await fetch(`${site.url()}${ACQUIRE}`)).status, 405);
});

test('plain FleetLock clients only by setting, and never in the name of an agent; off answers nothing', async () => {
  const [agent] = agentsOf(1) as [TestAgent];
  const plain = (id: string, group = 'all'): LeaseRequest => ({
    body: Buffer.from(JSON.stringify({ client_params: { id, group } })),
    headers: { 'fleet-lock-protocol': 'true' },
  });
  const site = await relayOf([agent], { slots: 1, minGapMinutes: 10, ttlMinutes: 5 }, { rebootLeases: 'plain' });
  assert.deepEqual(await post(site.url(), ACQUIRE, plain(agent.id)), { status: 401, kind: 'unsigned' });
  assert.deepEqual(await post(site.url(), ACQUIRE, plain('c988d2509fdf5cdcbed39037c56406fb', 'default')), {
    status: 404,
    kind: 'unknown_group',
  });
  const client = plain('c988d2509fdf5cdcbed39037c56406fb');
  assert.deepEqual(await post(site.url(), ACQUIRE, client), { status: 200, kind: 'held' });
  assert.deepEqual(await post(site.url(), ACQUIRE, client), { status: 200, kind: 'held' });
  assert.deepEqual(await post(site.url(), RELEASE, client), { status: 200, kind: 'released' });
  assert.deepEqual(await post(site.url(), ACQUIRE, leaseRequest(agent, ACQUIRE, Date.now())), {
    status: 409,
    kind: 'failed_lock_minimum_gap',
  });
  const none = await relayOf([agent], undefined, { rebootLeases: 'off' });
  assert.equal((await fetch(`${none.url()}${ACQUIRE}`, { method: 'POST', body: '{}' })).status, 404);
});
