// A bundle that no single stick holds: two small FAT32 sticks, filled one after the other, imported in either order.
import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import * as fs from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { Stick } from '../hosts/index.ts';
import { ensureDebianPackages, isDebianRoot } from '../setup/debian.ts';
import { closedSite } from './closed-site.ts';

const MIB = 1024 * 1024;
const skip = isDebianRoot() ? false : 'needs root on Debian';

test('two small sticks: the first is filled, the second takes the rest; the site says what it still waits for', {
  skip,
}, async (t) => {
  const lacking = await ensureDebianPackages(['media']);
  if (lacking !== undefined) return t.skip(lacking);
  const world = await closedSite();
  t.after(() => world.remove());
  // Random bytes do not shrink: about 76 MiB of payload for sticks of 72 MiB, of which some is kept free.
  const place = join(world.publisher.vendor, '1.0.0');
  await world.publisher.addRelease('1.0.0', randomBytes(76 * MIB));
  assert.ok(fs.statSync(join(place, 'tool.tar.gz')).size > 72 * MIB);
  await world.publish(0, 'source', 'sync');
  await world.publish(0, 'publish', '--payloads', 'all');

  await using one = await Stick.make(join(world.folder, 'one.img'), 72);
  await using two = await Stick.make(join(world.folder, 'two.img'), 72);
  const here = world.stick;
  const there = `${here} 2`;
  await one.putInto(here);
  const relay = await world.relay('ward-7');
  await world.publish(0, 'bundle', 'site', 'add', relay.card);
  await world.publish(0, 'bundle', 'stick', here, '--label', 'first');
  const tooSmall = await world.publisher.run('bundle', 'export', 'ward-7', here);
  assert.equal(tooSmall.exit, 2);
  assert.match(tooSmall.err, /bundle\.no-space/);
  const first = await world.publish(0, 'bundle', 'export', 'ward-7', here, '--span');
  assert.match(first.out, /this medium is full: \d+.* of \d+ chunks are left/);
  await two.putInto(there);
  await world.publish(0, 'bundle', 'stick', there, '--label', 'second');
  const second = await world.publish(0, 'bundle', 'export', 'ward-7', there, '--span');
  assert.doesNotMatch(second.out, /chunks are left/);

  const half = await relay.run('import', '--no-return', there);
  assert.equal(half.exit, 4, half.out + half.err);
  assert.match(half.out, /NOT COMPLETE: ward-7-000001-content: have \d+ of \d+ chunks, missing: 0/);
  assert.match(fs.readFileSync(join(there, 'RECEIPT.txt'), 'utf8'), /still awaited/);
  assert.equal(fs.existsSync(join(relay.folders.mirror, 'current')), false);
  const whole = await relay.run('import', '--no-return', here);
  assert.equal(whole.exit, 0, whole.out + whole.err);
  assert.match(whole.out, /1 new payload/);
});
