// What goes out and back beside updates: requests for waivers, owners' choices, inventories and alerts to the publisher; halts,
// recalls and signed waivers to the site. All by stick, one command at each end.
import assert from 'node:assert/strict';
import * as fs from 'node:fs';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { closedSite, filesOf, handedIn } from './closed-site.ts';

const DAY = 86_400_000;
const closing: (() => unknown)[] = [];
after(async () => {
  for (const close of closing.toReversed()) await close();
});

test('results of every kind go out; halts, recalls and signed waivers come in, also with no payload at all', async () => {
  const world = await closedSite();
  closing.push(() => world.remove());
  const { stick, publisher } = world;
  const anna = String((await publisher.json('key', 'make', 'anna', '--unattended'))['publicKey']);
  const policy = join(publisher.home, 'policy', 'policy.yaml');
  const rights = `ownerChoice: {windows: [always], deferDays: 7}, waivers: {threshold: 1, maxDays: 30, approvers: [{name: anna, publicKey: "${anna}"}]}`;
  fs.writeFileSync(policy, fs.readFileSync(policy, 'utf8').replace('windows: [always]}', `windows: [always], ${rights}}`));
  await world.publish(0, 'publish', '--payloads', 'none');
  await world.publish(0, 'halt', 'freeze', '--reason', 'the ship is loading');
  const relay = await world.relay('ward-7');
  await world.publish(0, 'bundle', 'site', 'add', relay.card, '--asked-only');
  await world.publish(0, 'bundle', 'stick', stick, '--label', 'blue', '--site', 'ward-7');
  await world.publish(0, 'bundle', 'exchange', stick);
  assert.equal((await relay.run('import', stick)).exit, 0);
  const served = await relay.start();
  closing.push(() => served.stop());
  const journey = async (least: number) => {
    await handedIn(relay, least);
    await relay.run('import', stick);
    const said = (await publisher.run('bundle', 'exchange', stick)).out;
    const back = await relay.run('import', stick);
    assert.ok([0, 3].includes(back.exit), back.out + back.err);
    return said;
  };

  const code = String((await publisher.json('agent', 'invite', '--group', 'all', '--preapproved'))['code']);
  await world.agent('a', 'enroll', '--code', code, '--relay', served.url, '--root', publisher.root);
  await journey(1);
  await world.agent('a', 'once');
  assert.equal(world.component('a'), null, 'the halt came with the stick');

  const asked = await world.agent(
    'a',
    'waiver',
    'request',
    'own-tool',
    '--until',
    new Date(Date.now() + 10 * DAY).toISOString().slice(0, 10),
    '--reason',
    'certified until then',
  );
  assert.equal(asked.exit, 0, asked.err);
  const chosen = await world.agent('a', 'window', 'choose', 'always');
  assert.equal(chosen.exit, 0, chosen.err);
  await world.agent('a', 'once');
  const said = await journey(4);
  assert.match(said, /stored \(.*\d scans?.*\)/);
  assert.match(said, /1 request for a waiver/);
  assert.match(said, /1 owner's choice/);
  assert.match(said, /1 alert/);
  assert.match(said, /alert of [0-9a-f]{32}: policy\.halt: halt freeze/);

  const open = await publisher.run('waiver', 'list', '--open');
  const [request = ''] = /requested +(\S+)/.exec(open.out)?.slice(1) ?? [];
  assert.equal((await publisher.run('waiver', 'approve', request, '--as', 'anna')).exit, 0, open.out);
  await world.publish(0, 'publish', '--payloads', 'none');
  await world.publish(0, 'halt', 'lift', 'freeze');
  await journey(0);
  await world.agent('a', 'once');
  const known = await world.agent('a', 'waiver', 'list');
  assert.match(known.out, /active|in force|granted|approved/i, known.out + known.err);
  assert.equal(world.component('a'), null, 'excepted: not installed');

  await world.publish(0, 'recall', 'own-tool@1.0.0', '--name', 'bad', '--reason', 'breaks the till');
  await journey(0);
  const there = filesOf(relay.folders.mirror);
  assert.ok(
    there.some((file) => /halts\/[0-9a-f]{64}\.bad\.json\.zst$/.test(file)),
    'the recall came with the stick',
  );
  await served.stop();
});
