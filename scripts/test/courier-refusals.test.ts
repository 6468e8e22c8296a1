// What each side says when a bundle is not right: for another site, older, expired, unsigned, cut, with files added; keys that
// were rotated meanwhile; a site that lost its state. Each by its own message and exit code, and the relay goes on as before.
import assert from 'node:assert/strict';
import * as fs from 'node:fs';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { until } from '../fleet/index.ts';
import { type ClosedSite, closedSite, knownSite } from './closed-site.ts';

const closing: (() => unknown)[] = [];
after(async () => {
  for (const close of closing.toReversed()) await close();
});

async function open(): Promise<ClosedSite> {
  const site = await closedSite();
  closing.push(() => site.remove());
  return site;
}
const withSite = async (...flags: string[]) => knownSite(await open(), ...flags);

test('refused, each by its own message and exit code; the relay goes on; the bundle goes to rejected/ with a note', async () => {
  const { world, relay } = await withSite();
  const drop = join(world.folder, 'Eingang – für Bündel');
  const fill = async (...words: string[]) => {
    fs.rmSync(drop, { recursive: true, force: true });
    await world.publish(0, 'bundle', 'export', 'ward-7', drop, '--folder', '--full', ...words);
    return fs.readdirSync(drop).find((name) => name.endsWith('.pfb.json')) ?? '';
  };
  const refused = async (code: string, exit: number, moved = true) => {
    const out = await relay.run('import', '--folder', drop);
    assert.equal(out.exit, exit, `${code}: ${out.out}${out.err}`);
    assert.match(out.out + out.err, new RegExp(code.replace('.', '\\.')));
    const notes = fs.existsSync(join(drop, 'rejected'))
      ? fs.readdirSync(join(drop, 'rejected')).filter((name) => name.endsWith('.txt'))
      : [];
    assert.equal(notes.length, moved ? 1 : 0, code);
    if (moved) {
      assert.match(fs.readFileSync(join(drop, 'rejected', notes[0] ?? ''), 'utf8'), new RegExp(`code:   ${code}`));
      assert.deepEqual(
        fs.readdirSync(drop).filter((name) => name.endsWith('.pfb.json')),
        [],
      );
    }
  };
  const partOf = (name: string) => {
    const folder = join(drop, name.replace('.pfb.json', '.pfb'));
    return join(folder, fs.readdirSync(folder).find((one) => one.endsWith('.pfp')) ?? '');
  };

  assert.equal((await relay.run('import', join(world.folder, 'not there'))).exit, 2);
  fs.mkdirSync(join(world.folder, 'mount point'));
  const unmounted = await relay.run('import', join(world.folder, 'mount point'));
  assert.equal(unmounted.exit, 2);
  assert.match(unmounted.err, /bundle\.no-medium/);

  const first = await fill();
  fs.rmSync(join(drop, 'patchferry-roots'), { recursive: true });
  const elsewhere = await world.relay('pump-3');
  const wrong = await elsewhere.run('import', '--folder', drop);
  assert.equal(wrong.exit, 5);
  assert.match(wrong.out, /bundle\.other-site/);

  await fill();
  const unsigned = JSON.parse(fs.readFileSync(join(drop, first), 'utf8')) as { signature?: unknown };
  delete unsigned.signature;
  fs.writeFileSync(join(drop, first), JSON.stringify(unsigned));
  await refused('bundle.unsigned', 5);

  await fill();
  fs.writeFileSync(join(drop, first.replace('.pfb.json', '.pfb'), 'extra.bin'), 'x');
  await refused('bundle.file-added', 5);

  await fill();
  const text = fs.readFileSync(join(drop, first), 'utf8');
  fs.writeFileSync(join(drop, first), text.replace('"site":"ward-7"', '"site":"ward-8"'));
  await refused('bundle.signature', 5);

  await fill();
  fs.truncateSync(partOf(first), 100);
  await refused('bundle.truncated', 5, false); // the rest may still be on its way
  assert.equal((await relay.run('status')).exit, 1, 'nothing was mirrored');

  await fill();
  const whole = await relay.run('import', '--folder', drop);
  assert.equal(whole.exit, 0, whole.out + whole.err);
  assert.deepEqual(
    fs.readdirSync(drop).filter((name) => name.startsWith('ward-7')),
    [],
    'taken over whole',
  );

  const old = join(world.folder, 'old');
  await world.publisher.addRelease('1.1.0');
  await world.publish(0, 'source', 'sync');
  await world.publish(0, 'publish', '--payloads', 'all');
  await world.publish(0, 'bundle', 'export', 'ward-7', drop, '--folder', '--full');
  fs.cpSync(drop, old, { recursive: true });
  assert.equal((await relay.run('import', '--folder', drop)).exit, 0);
  await world.publisher.addRelease('1.2.0');
  await world.publish(0, 'source', 'sync');
  await world.publish(0, 'publish', '--payloads', 'all');
  await world.publish(0, 'bundle', 'export', 'ward-7', drop, '--folder', '--full');
  assert.equal((await relay.run('import', '--folder', drop)).exit, 0);
  fs.rmSync(drop, { recursive: true });
  fs.cpSync(old, drop, { recursive: true });
  await refused('bundle.older', 5);
});

test('keys rotated while nobody visited: the roots on the stick lead the site to the new ones', async () => {
  const { world, relay } = await withSite();
  await world.publish(0, 'bundle', 'export', 'ward-7', world.stick);
  assert.equal((await relay.run('import', world.stick)).exit, 0);
  await world.publish(0, 'key', 'rotate', 'timestamp');
  await world.publish(0, 'publish');
  await world.publish(0, 'key', 'rotate', 'timestamp');
  await world.publish(0, 'publish');
  await world.publish(0, 'bundle', 'export', 'ward-7', world.stick);
  const got = await relay.run('import', world.stick);
  assert.equal(got.exit, 0, got.out + got.err);
  assert.match(got.out, /imported: ward-7-000002-content/);
});

test('expired on the way: refused, by its own code; nothing was mirrored', async () => {
  const world = await open();
  const settings = join(world.publisher.home, 'publisher.yaml');
  fs.appendFileSync(settings, '\nexpiresDays: {timestamp: 0.00006}\nsoftExpiresDays: 0.00001\n');
  await world.publish(0, 'publish', '--payloads', 'all');
  const published = Date.now();
  const relay = await world.relay('ward-7');
  await world.publish(0, 'bundle', 'site', 'add', relay.card);
  const out = join(world.folder, 'out');
  await world.publish(0, 'bundle', 'export', 'ward-7', out, '--folder');
  await until('the bundle to expire', 30, () => (Date.now() - published > 6_500 ? true : undefined));
  const late = await relay.run('import', '--folder', out);
  assert.equal(late.exit, 5);
  assert.match(late.out, /bundle\.expired/);
  assert.equal(fs.existsSync(join(relay.folders.mirror, 'current')), false);
});

test('one file instead of a folder of parts; a site that lost its state', async () => {
  const { world, relay } = await withSite();
  const file = join(world.folder, 'as one file');
  await world.publish(0, 'bundle', 'export', 'ward-7', file, '--folder', '--container', 'tar');
  assert.ok(fs.readdirSync(file).some((name) => name.endsWith('.tar')));
  assert.match((await world.publish(0, 'bundle', 'show', file)).out, /kind +content, into the site/);
  const got = await relay.run('import', '--folder', file);
  assert.equal(got.exit, 0, got.out + got.err);

  // The publisher hears that the site has it, and the site then loses everything but its keys.
  await relay.run('export', world.stick);
  await world.publish(0, 'collect', '--from', world.stick);
  await world.publisher.addRelease('1.1.0');
  await world.publish(0, 'source', 'sync');
  await world.publish(0, 'publish', '--payloads', 'all');
  await world.publish(0, 'bundle', 'export', 'ward-7', world.stick);
  fs.rmSync(relay.folders.mirror, { recursive: true });
  fs.rmSync(relay.folders.trust, { recursive: true });
  for (const name of ['channels.json', 'returns.json']) fs.rmSync(join(relay.folders.courier, name), { force: true });
  const gap = await relay.run('import', '--no-return', world.stick);
  assert.equal(gap.exit, 5);
  assert.match(gap.out, /courier\.gap/);
  assert.match(gap.out, /--full/);
  await world.publish(0, 'bundle', 'export', 'ward-7', world.stick, '--full');
  const full = await relay.run('import', '--no-return', world.stick);
  assert.match(full.out, /imported: ward-7-000003-content/, full.err);
});

test('a payload that the vendor does not give: listed, the rest travels, and the next fill tries it again', async () => {
  const { world, relay } = await withSite('--one-way');
  const file = join(world.publisher.vendor, '1.0.0', 'tool.tar.gz');
  fs.renameSync(file, `${file}.away`);
  const lacks = await world.publisher.run('bundle', 'export', 'ward-7', world.stick);
  assert.equal(lacks.exit, 8, lacks.err);
  assert.match(lacks.out, /FAILED {2}own-tool@1\.0\.0: /);
  assert.match(lacks.out, /not in it: 1 payload/);
  assert.match((await relay.run('import', '--no-return', world.stick)).out, /0 new payloads/);
  fs.renameSync(`${file}.away`, file);
  assert.match((await world.publish(0, 'bundle', 'export', 'ward-7', world.stick)).out, /fetched 1 payload/);
  assert.match((await relay.run('import', '--no-return', world.stick)).out, /1 new payload/);
});

test('a host without a relay refuses as a relay does: each by its own code, with a note on the stick; it goes on as before', async () => {
  const world = await open();
  const { stick } = world;
  await world.publish(0, 'publish', '--payloads', 'all');
  const card = async (name: string, site: string) => (await world.agent(name, 'courier', 'key', '--site', site)).out.trim();
  for (const [name, site] of [
    ['pump', 'pump-3'],
    ['crane', 'crane-1'],
  ] as const)
    await world.publish(0, 'bundle', 'site', 'add', await card(name, site));
  const empty = join(world.folder, 'mount point');
  fs.mkdirSync(empty);
  const unmounted = await world.agent('pump', 'import', empty);
  assert.equal(unmounted.exit, 2);
  assert.match(unmounted.err, /bundle\.no-medium/);
  await world.publish(0, 'bundle', 'stick', stick, '--label', 'red');
  await world.publish(0, 'bundle', 'exchange', stick, '--site', 'pump-3');
  const wrong = await world.agent('crane', 'import', stick);
  assert.equal(wrong.exit, 5);
  assert.match(wrong.err, /bundle\.other-site/);

  const index = join(stick, 'pump-3-000001-content.pfb.json');
  const signed = fs.readFileSync(index, 'utf8');
  const refused = async (code: string) => {
    const said = await world.agent('pump', 'import', stick);
    assert.equal(said.exit, 5, said.out + said.err);
    assert.match(said.out, new RegExp(`REFUSED[\\s\\S]*${code.replace('.', '\\.')}`));
    assert.match(fs.readFileSync(join(stick, 'rejected', 'pump-3-000001-content.txt'), 'utf8'), new RegExp(`code: {3}${code}`));
    assert.match(fs.readFileSync(join(stick, 'RECEIPT.txt'), 'utf8'), /REFUSED: pump-3-000001-content/);
    assert.equal(
      fs.existsSync(join(world.folder, 'agent pump', 'state', 'courier', 'repository')),
      false,
      'nothing is visible',
    );
  };
  const { signature: _signature, ...bare } = JSON.parse(signed) as { signature: unknown };
  fs.writeFileSync(index, JSON.stringify(bare));
  await refused('bundle.unsigned');
  fs.writeFileSync(index, signed);
  const added = join(stick, 'pump-3-000001-content.pfb', 'more.bin');
  fs.writeFileSync(added, 'x');
  await refused('bundle.file-added');
  fs.rmSync(added);
  const whole = await world.agent('pump', 'import', stick);
  assert.equal(whole.exit, 0, whole.out + whole.err);
});

test('a bundle of which a part is awaited does not hold up a later one that does not build on it', async () => {
  const { world, relay } = await withSite();
  const drop = join(world.folder, 'drop');
  await world.publish(0, 'bundle', 'export', 'ward-7', drop, '--folder');
  const parts = join(drop, 'ward-7-000001-content.pfb');
  for (const name of fs.readdirSync(parts).filter((one) => one.endsWith('.pfp'))) fs.truncateSync(join(parts, name), 50);
  await world.publish(0, 'publish', '--refresh', '--payloads', 'none');
  await world.publish(0, 'bundle', 'export', 'ward-7', drop, '--folder', '--full');
  const got = await relay.run('import', '--folder', drop);
  assert.match(got.out, /NOT COMPLETE: ward-7-000001-content/);
  assert.match(got.out, /imported: ward-7-000002-content: now at generation 1/);
  assert.equal((await relay.run('status')).exit, 0);
});
