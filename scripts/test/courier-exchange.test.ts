// One command at each end: `publisher bundle exchange` and `relay import` (or `agent import`), until hosts of a closed site are
// enrolled, patched and acknowledged; what the stick carries each way, and what is not carried twice.
import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import * as fs from 'node:fs';
import { join } from 'node:path';
import { after as afterAll, test } from 'node:test';
import { until } from '../fleet/index.ts';
import { type ClosedSite, closedSite, filesOf, handedIn } from './closed-site.ts';

const closing: (() => unknown)[] = [];
afterAll(async () => {
  for (const close of closing.toReversed()) await close();
});

async function open(): Promise<ClosedSite> {
  const world = await closedSite();
  closing.push(() => world.remove());
  await world.publish(0, 'publish', '--payloads', 'none');
  return world;
}

const bundlesOn = (stick: string) =>
  fs
    .readdirSync(stick)
    .filter((name) => name.endsWith('.pfb.json'))
    .toSorted();
const inviteFor = async (world: ClosedSite, ...more: string[]) =>
  String((await world.publisher.json('agent', 'invite', '--group', 'all', ...more))['code']);

test('a new host at a closed site: enrolment out, and approval with what it needs back, in one journey of one stick', async () => {
  const world = await open();
  const { stick } = world;
  const relay = await world.relay('ward-7');
  await world.publish(0, 'bundle', 'site', 'add', relay.card, '--asked-only');
  await world.publish(0, 'bundle', 'stick', stick, '--label', 'blue stick 3', '--site', 'ward-7');
  const first = await world.publish(0, 'bundle', 'exchange', stick);
  assert.match(first.out, /nothing came back/);
  assert.match(first.out, /number 1 for ward-7 \(full\)/);
  assert.match(first.out, /now take the stick "blue stick 3" to ward-7, and type there: patchferry-relay import/);
  assert.equal((await relay.run('import', stick)).exit, 0);
  const served = await relay.start();
  closing.push(() => served.stop());
  const visit = async (least: number) => {
    await handedIn(relay, least);
    const said = await relay.run('import', stick);
    assert.ok([0, 3].includes(said.exit), said.out + said.err);
    return said;
  };

  const code = await inviteFor(world, '--preapproved');
  await world.agent('a', 'enroll', '--code', code, '--relay', served.url, '--root', world.publisher.root);
  assert.match((await visit(1)).out, /1 enrolment/);
  const back = await world.publish(0, 'bundle', 'exchange', stick);
  assert.match(back.out, /approved by its code: [0-9a-f]{32} .* into all/);
  assert.match(back.out, /published: snapshot \d+, timestamp \d+, roster \d+/);
  assert.match(back.out, /fetched 1 payload/, 'reckoned from the inventory in the enrolment');
  assert.match((await visit(1)).out, /1 new payload/);
  const patched = await world.agent('a', 'once');
  assert.match(world.component('a') ?? '', /echo 1\.0\.0/, patched.out + patched.err);

  // Results home; and a patch that came meanwhile travels at once, as the publisher knows what the host has.
  await visit(2);
  await world.publisher.addRelease('1.1.0');
  await world.publish(0, 'source', 'sync');
  await world.publish(0, 'publish', '--payloads', 'none');
  const home = await world.publish(0, 'bundle', 'exchange', stick);
  assert.match(home.out, /stored \(.*1 run.*\)/);
  assert.match(home.out, /fetched 1 payload/);
  assert.match((await visit(1)).out, /the publisher has \d+ result/);
  await world.agent('a', 'once');
  assert.match(world.component('a') ?? '', /echo 1\.1\.0/);
  await visit(1);
  await world.publish(0, 'bundle', 'exchange', stick);
  assert.match((await world.publish(0, 'report')).out, /compliant/);
  await visit(0);
  const again = await world.publish(0, 'bundle', 'exchange', stick);
  assert.match(again.out, /nothing new since its number 4, which it has\nnothing to carry/);
  await world.publish(3, 'bundle', 'exchange', stick);
  assert.deepEqual(
    bundlesOn(stick).map((name) => name.replace(/\d+/, 'N').replace(/-\d+-/, '-N-')),
    ['ward-N-N-content.pfb.json', 'ward-N-N-return.pfb.json'],
    'older ones made room',
  );
  await served.stop();
});

test('a code that was not approved beforehand still waits for a person, and says so', async () => {
  const world = await open();
  const relay = await world.relay('ward-7');
  await world.publish(0, 'bundle', 'site', 'add', relay.card);
  await world.publish(0, 'bundle', 'stick', world.stick, '--label', 'blue');
  await world.publish(0, 'bundle', 'exchange', world.stick);
  assert.equal((await relay.run('import', world.stick)).exit, 0);
  const served = await relay.start();
  closing.push(() => served.stop());
  const enroll = async (name: string, code: string) =>
    world.agent(name, 'enroll', '--code', code, '--relay', served.url, '--root', world.publisher.root);
  await enroll('a', await inviteFor(world));
  const once = await inviteFor(world, '--preapproved');
  await enroll('b', once);
  await enroll('c', once);
  await until('envelopes to get their files', 10, () =>
    filesOf(relay.folders.inbox).filter((file) => /enrolments.*\.pfe$/.test(file)).length >= 3 ? true : undefined,
  );
  await relay.run('import', world.stick);
  const said = await world.publish(0, 'bundle', 'exchange', world.stick);
  assert.equal(said.out.match(/approved by its code/g)?.length, 1, 'the code was made for one host');
  assert.match(said.out, /2 hosts wait for approval: publisher agent list --pending/);
  await served.stop();
});

test('a dry run says what would be taken and sent, and changes nothing at either end; --json is one document', async () => {
  const world = await open();
  const relay = await world.relay('ward-7');
  await world.publish(0, 'bundle', 'site', 'add', relay.card);
  await world.publish(0, 'bundle', 'stick', world.stick, '--label', 'blue');
  await world.publish(0, 'bundle', 'exchange', world.stick);
  await relay.run('import', world.stick);
  const state = () =>
    [world.stick, world.publisher.home].flatMap((folder) =>
      filesOf(folder).map((file) => `${file} ${fs.statSync(file).mtimeMs}`),
    );
  const before = state().filter((row) => !/\/drafts\/|\.lock|sqlite-shm/.test(row));
  const dry = await world.publish(0, 'bundle', 'exchange', world.stick, '--dry-run');
  assert.match(dry.out, /dry run: ward-7-000001-return: would be taken/);
  assert.match(dry.out, /ward-7 has bundle 1/);
  assert.match(dry.out, /nothing new since its number 1, which it has/, 'reckoned with the receipt on the stick');
  assert.match(dry.out, /dry run, .*nothing was taken, fetched, signed or written/);
  assert.deepEqual(
    state().filter((row) => !/\/drafts\/|\.lock|sqlite-shm/.test(row)),
    before,
  );
  const inside = await relay.run('import', '--dry-run', world.stick);
  assert.ok([0, 3].includes(inside.exit), inside.err);
  const report = await world.publisher.json('bundle', 'exchange', world.stick);
  assert.equal(report['schema'], 'patchferry/bundle-exchange');
  assert.deepEqual(
    (report['sites'] as { site: string }[]).map(({ site }) => site),
    ['ward-7'],
  );
});

test('several sites on one stick are all served by one command; a stick for nobody known is told', async () => {
  const world = await open();
  const nobody = await world.publisher.run('bundle', 'exchange', world.stick);
  assert.equal(nobody.exit, 2);
  await world.publish(0, 'bundle', 'stick', world.stick, '--label', 'round trip');
  assert.match((await world.publisher.run('bundle', 'exchange', world.stick)).err, /airgap\.no-sites/);
  const relays = [await world.relay('ward-7'), await world.relay('pump-3')];
  for (const { card } of relays) await world.publish(0, 'bundle', 'site', 'add', card);
  const out = await world.publish(0, 'bundle', 'exchange', world.stick);
  assert.match(out.out, /to pump-3, ward-7, and type there/);
  for (const relay of relays) assert.equal((await relay.run('import', world.stick)).exit, 0);
  const back = await world.publish(0, 'bundle', 'exchange', world.stick);
  assert.match(back.out, /ward-7 has bundle 1/);
  assert.match(back.out, /pump-3 has bundle 1/);
  await world.publish(0, 'publish', '--refresh', '--payloads', 'none');
  const one = await world.publish(0, 'bundle', 'exchange', world.stick, '--site', 'ward-7');
  assert.match(one.out, /to ward-7, and type there/);
  assert.doesNotMatch(one.out, /for pump-3/);
  const wrong = await world.publisher.run('bundle', 'exchange', world.stick, '--site', 'ward-8');
  assert.match(wrong.err, /airgap\.unknown-site/);
});

test('free space is looked at first, in plain words, before anything is read', async () => {
  const world = await open();
  await world.publisher.addRelease('1.1.0', randomBytes(3 * 1024 * 1024));
  await world.publish(0, 'source', 'sync');
  await world.publish(0, 'publish', '--payloads', 'all');
  const relay = await world.relay('ward-7');
  await world.publish(0, 'bundle', 'site', 'add', relay.card);
  await world.publish(0, 'bundle', 'stick', world.stick, '--label', 'tiny');
  const real = fs.statfsSync;
  const { default: mutable } = await import('node:fs');
  const { syncBuiltinESMExports } = await import('node:module');
  const tiny = (path: fs.PathLike) => (path === world.stick ? { bavail: 1, bsize: 4096 } : real(path));
  Object.assign(mutable, { statfsSync: tiny });
  syncBuiltinESMExports();
  try {
    const full = await world.publisher.run('bundle', 'exchange', world.stick);
    assert.equal(full.exit, 2);
    assert.match(full.err, /has room for .*(B|KiB) of it, 3\.\d MiB are needed/);
    assert.match(full.err, /bundle\.no-space/);
    assert.deepEqual(bundlesOn(world.stick), []);
    assert.equal(
      fs.existsSync(join(world.publisher.home, 'courier', 'drafts', 'ward-7-000001-content')),
      false,
      'nothing was read',
    );
  } finally {
    Object.assign(mutable, { statfsSync: real });
    syncBuiltinESMExports();
  }
  assert.equal((await world.publisher.run('bundle', 'exchange', world.stick)).exit, 0);
});
