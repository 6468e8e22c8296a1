// Reboots in turn: hosts over the real machine, a real relay that gives leases, and what a host does without an answer.
import assert from 'node:assert/strict';
import * as fs from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { silentLog } from '#manifests/platform/log';
import { type Origin, openOrigin } from '#manifests/transfer';
import { beginRun, makeOwedReboot, takeUp } from '../../agent/run/engine.ts';
import { type FakeHost, makeFakeHost } from '../../agent/run/testing/fake-host.ts';
import { askAgainAt, giveLeaseBack, withLeases } from '../../agent/service/lease.ts';
import { startRelay as startOther } from '../../agent/service/testing/relay.ts';
import { startRelay } from '../../relay/run.ts';
import { relaySettings } from '../../relay/settings.ts';
import { groupTarget } from '../../relay/testing/group.ts';
import { makeAgent, makePublisher, type TestAgent } from '../../relay/testing/repository.ts';

const root = fs.mkdtempSync(join(tmpdir(), 'patchferry-turns-'));
const closing: (() => unknown)[] = [() => fs.rmSync(root, { recursive: true, force: true })];
after(async () => {
  for (const close of closing.toReversed()) await close();
});
const never = new AbortController().signal;
const LEASE = { slots: 1, minGapMinutes: 0, ttlMinutes: 60 };

function hostOf(agent: TestAgent, origins: readonly Origin[], lease: typeof LEASE & { proceedAfterHours?: number } = LEASE) {
  const fake: FakeHost = makeFakeHost(join(root, `${agent.id}.sqlite`), { name: 'all', reboot: 'always', rebootLease: lease });
  fake.allowReboot = true;
  const clock = { now: () => Date.now(), monotonic: () => performance.now() };
  const keys = { id: agent.id, sign: agent.signKey, box: agent.boxKey };
  const asker = { relays: { origins }, keys, clock, journal: fake.world.journal, log: silentLog };
  const world = withLeases(fake.world, asker);
  const request = () => ({
    evaluation: fake.evaluation(),
    inventory: fake.inventory(),
    group: fake.group,
    catalogs: [],
    trail: [],
  });
  return { fake, world, asker, request };
}

/** Restarts the host until its run has ended. */
async function untilEnded({ fake, world }: ReturnType<typeof hostOf>): Promise<void> {
  for (let boots = 0; boots < 4; boots += 1) {
    fake.boot += 1;
    const end = await takeUp(world);
    if (end?.kind === 'ended') {
      assert.equal(end.outcome, 'committed');
      return;
    }
  }
  assert.fail('the run does not end');
}

test('two hosts of a group with one slot reboot one after the other; the second leaves it owed, asks again, and then may', async () => {
  const publisher = await makePublisher(join(root, 'publisher'));
  const agents = [makeAgent(publisher.collector), makeAgent(publisher.collector)] as const;
  await publisher.publish({ patches: [], agents, policy: groupTarget('all', LEASE) });
  const relay = await startRelay(
    relaySettings.parse({
      listen: '127.0.0.1:0',
      upstream: [publisher.folder],
      upstreamRoot: publisher.root,
      stateDir: join(root, 'state'),
      cacheDir: join(root, 'cache'),
    }),
    { log: silentLog },
  );
  closing.push(() => relay.stop());
  await relay.sync();
  // A relay that gives no leases, and one that is down, are gone around.
  const other = await startOther(root);
  closing.push(() => other.close());
  const origins = ['http://127.0.0.1:1', other.url, relay.url].map((url) => openOrigin(url));
  closing.push(() => Promise.all(origins.map((origin) => origin.close())));
  const [first, second] = [hostOf(agents[0], origins), hostOf(agents[1], origins)];

  assert.equal((await beginRun(first.request(), first.world)).kind, 'rebooting');
  const waits = await beginRun(second.request(), second.world);
  assert.ok(waits.kind === 'ended' && waits.outcome === 'committed' && waits.body.rebootNeeded.needed);
  assert.ok(!second.fake.acts.includes('reboot'));
  assert.match(waits.body.states.map(({ says }) => says).join('\n'), /wait for others: all 1 slots of all are taken/);
  assert.equal(askAgainAt(second.asker), second.fake.now + 5 * 60_000);

  await giveLeaseBack(first.asker, first.fake.group, never);
  assert.match((await second.world.rebootLease?.(second.fake.group)) ?? '', /semaphore_full/, 'its run is still open: kept');
  await untilEnded(first);
  await giveLeaseBack(first.asker, first.fake.group, never);
  assert.equal((await makeOwedReboot(second.request(), second.world)).kind, 'rebooting');
  assert.equal(askAgainAt(second.asker), null);
  await untilEnded(second);
});

test('without any answer a host waits, or reboots after the hours that its group says; where nobody takes turns nothing is asked', async () => {
  const recipient = { publicKey: '5'.repeat(64), secretKey: new Uint8Array(32) };
  const down = openOrigin('http://127.0.0.1:1');
  closing.push(() => down.close());
  const [patient, bounded, alone] = [
    hostOf(makeAgent(recipient), [down]),
    hostOf(makeAgent(recipient), [down], { ...LEASE, proceedAfterHours: 2 }),
    hostOf(makeAgent(recipient), [down]),
  ];
  assert.match((await patient.world.rebootLease?.(patient.fake.group)) ?? '', /^no relay answers/);
  const waits = await beginRun(bounded.request(), bounded.world);
  assert.ok(waits.kind === 'ended' && waits.outcome === 'committed');
  assert.match((await bounded.world.rebootLease?.(bounded.fake.group)) ?? '', /without one from 2026-03-02T12:0\d:\d\dZ on$/);
  for (const host of [patient, bounded]) host.fake.now += 3 * 3_600_000;
  assert.equal(await bounded.world.rebootLease?.(bounded.fake.group), undefined);
  assert.match((await patient.world.rebootLease?.(patient.fake.group)) ?? '', /^no relay answers/);
  const { rebootLease: _, ...group } = alone.fake.group;
  assert.equal(await alone.world.rebootLease?.(group), undefined);
});
