// The loops of the sneakernet in folders, with the real publisher, relay and agent: two passes by a missing list, full and
// incremental, one way, several sites on one stick, and what each side says when something is wrong.
import assert from 'node:assert/strict';
import * as fs from 'node:fs';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { until } from '../fleet/index.ts';
import { type ClosedRelay, type ClosedSite, closedSite } from './closed-site.ts';

const closing: (() => unknown)[] = [];
after(async () => {
  for (const close of closing.toReversed()) await close();
});

async function open(): Promise<ClosedSite> {
  const site = await closedSite();
  closing.push(() => site.remove());
  return site;
}

/** Publisher with one known two-way site and a prepared stick. */
async function withSite(...flags: string[]): Promise<{ world: ClosedSite; relay: ClosedRelay }> {
  const world = await open();
  await world.publish(0, 'publish', '--payloads', 'none');
  const relay = await world.relay('ward-7');
  await world.publish(0, 'bundle', 'site', 'add', relay.card, ...flags);
  await world.publish(0, 'bundle', 'stick', world.stick, '--label', 'blue stick 3');
  return { world, relay };
}

const filesOf = (folder: string) =>
  fs
    .readdirSync(folder, { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile())
    .map((entry) => join(entry.parentPath, entry.name));

test('two passes: metadata in, missing list out, exactly that in, results out, acks in; the report shows it', async () => {
  const { world, relay } = await withSite();
  const { stick } = world;
  await world.publish(0, 'bundle', 'export', 'ward-7', stick, '--metadata');
  const first = await relay.run('import', stick);
  assert.equal(first.exit, 0, first.err + first.out);
  assert.match(first.out, /imported: ward-7-000001-content: now at generation 1/);
  assert.match(fs.readFileSync(join(stick, 'RECEIPT.txt'), 'utf8'), /IMPORTED: ward-7-000001-content/);

  const served = await relay.start();
  closing.push(() => served.stop());
  const code = String((await world.publisher.json('agent', 'invite', '--group', 'all'))['code']);
  const enrolled = await world.agent('a', 'enroll', '--code', code, '--relay', served.url, '--root', world.publisher.root);
  assert.equal(enrolled.exit, 0, enrolled.err);

  const waiting = () => filesOf(relay.folders.inbox).filter((file) => /(results|enrolments).*\.pfe$/.test(file)).length;
  const visit = async (least: number) => {
    await until('envelopes to get their files', 10, () => (waiting() >= least ? true : undefined));
    const out = await relay.run('import', stick);
    assert.ok([0, 3].includes(out.exit), out.out + out.err);
    await world.publish(0, 'collect', '--from', stick);
    return out;
  };
  assert.match((await visit(1)).out, /0 results, 1 enrolments/);
  await world.publish(0, 'agent', 'approve', '--all-valid');
  await world.publish(0, 'publish', '--payloads', 'none');
  await world.publish(0, 'bundle', 'export', 'ward-7', stick, '--metadata');
  assert.equal((await relay.run('import', stick)).exit, 0);

  const lacks = await world.agent('a', 'once');
  assert.equal(world.component('a'), null, lacks.out);
  const asks = await visit(1);
  assert.match(asks.out, /missing here: 1 payloads/);
  const request = fs.readFileSync(join(stick, 'REQUEST-ward-7.txt'), 'utf8');
  assert.match(request, /^[0-9a-f]{64} \d+ tool\.tar\.gz$/m);
  const missing = await world.publish(0, 'bundle', 'missing', 'ward-7');
  assert.match(missing.out, /to fetch +own-tool/);
  const filled = await world.publish(0, 'bundle', 'fill', 'ward-7', stick);
  assert.match(filled.out, /fetched 1 payload/);
  const got = await relay.run('import', stick);
  assert.equal(got.exit, 0, got.out + got.err);
  assert.match(got.out, /1 new payloads/);
  assert.equal(fs.existsSync(join(stick, 'REQUEST-ward-7.txt')), false, 'nothing is missing any more');

  const patched = await world.agent('a', 'once', '--retry');
  assert.match(world.component('a') ?? '', /echo 1\.0\.0/, patched.out + patched.err);
  await visit(1);
  const report = await world.publish(0, 'report');
  assert.match(report.out, /compliant/i);

  assert.ok(waiting() > 0, 'kept until the publisher says that it has them');
  await world.publish(0, 'publish');
  await world.publish(0, 'bundle', 'export', 'ward-7', stick);
  const acked = await relay.run('import', '--no-return', stick);
  assert.match(acked.out, /the publisher has \d+ results/);
  await served.stop();
  assert.equal(waiting(), 0);
  assert.match((await world.publish(0, 'bundle', 'site', 'list')).out, /ward-7 +both ways/);
});
