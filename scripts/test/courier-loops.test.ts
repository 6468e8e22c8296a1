// The loops of the sneakernet in folders, with the real publisher, relay and agent: two passes by a missing list, full and
// incremental, one way, several sites on one stick, and what each side says when something is wrong.
import assert from 'node:assert/strict';
import * as fs from 'node:fs';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { silentLog } from '#manifests/platform/log';
import { payloadPath } from '#manifests/repository';
import { namedPayloads } from '../../relay/courier/asked.ts';
import { watchDropFolder } from '../../relay/courier/index.ts';
import { relaySettings } from '../../relay/settings.ts';
import { until } from '../fleet/index.ts';
import { type ClosedSite, closedSite, configWith, filesOf, handedIn, knownSite } from './closed-site.ts';

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
    await handedIn(relay, least);
    const out = await relay.run('import', stick);
    assert.ok([0, 3].includes(out.exit), out.out + out.err);
    await world.publish(0, 'collect', '--from', stick);
    return out;
  };
  assert.match((await visit(1)).out, /0 results, 1 enrolment/);
  await world.publish(0, 'agent', 'approve', '--all-valid');
  await world.publish(0, 'publish', '--payloads', 'none');
  await world.publish(0, 'bundle', 'export', 'ward-7', stick, '--metadata');
  assert.equal((await relay.run('import', stick)).exit, 0);

  const lacks = await world.agent('a', 'once');
  assert.equal(world.component('a'), null, lacks.out);
  const asks = await visit(1);
  assert.match(asks.out, /missing here: 1 payload/);
  const request = fs.readFileSync(join(stick, 'REQUEST-ward-7.txt'), 'utf8');
  assert.match(request, /^[0-9a-f]{64} \d+ tool\.tar\.gz$/m);
  const missing = await world.publish(0, 'bundle', 'missing', 'ward-7');
  assert.match(missing.out, /to fetch +own-tool/);
  const filled = await world.publish(0, 'bundle', 'fill', 'ward-7', stick);
  assert.match(filled.out, /fetched 1 payload/);
  const got = await relay.run('import', stick);
  assert.equal(got.exit, 0, got.out + got.err);
  assert.match(got.out, /1 new payload/);
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
  assert.match(acked.out, /the publisher has \d+ result/);
  await served.stop();
  assert.equal(waiting(), 0);
  assert.match((await world.publish(0, 'bundle', 'site', 'list')).out, /ward-7 +both ways/);
});

test('straight into a host without any relay: its own site, metadata, what it lacks, results and acks, all on one stick', async () => {
  const world = await open();
  const { stick } = world;
  await world.publish(0, 'publish', '--payloads', 'none');
  const key = await world.agent('pump', 'courier', 'key', '--site', 'pump-3');
  assert.equal(key.exit, 0, key.err);
  await world.publish(0, 'bundle', 'site', 'add', key.out.trim());
  await world.publish(0, 'bundle', 'stick', stick, '--label', 'red stick');
  await world.publish(0, 'bundle', 'export', 'pump-3', stick, '--metadata');
  const first = await world.agent('pump', 'import', stick);
  assert.equal(first.exit, 0, first.err + first.out);
  const repository = join(world.folder, 'agent pump', 'state', 'courier', 'repository');
  const code = String((await world.publisher.json('agent', 'invite', '--group', 'all'))['code']);
  await world.agent('pump', 'enroll', '--code', code, '--relay', repository, '--root', world.publisher.root);
  const out = await world.agent('pump', 'export', stick);
  assert.match(out.out, /0 results and the enrolment/, out.err);
  await world.publish(0, 'collect', '--from', stick);
  await world.publish(0, 'agent', 'approve', '--all-valid');
  await world.publish(0, 'publish', '--payloads', 'none');
  await world.publish(0, 'bundle', 'export', 'pump-3', stick, '--metadata');
  assert.equal((await world.agent('pump', 'import', stick)).exit, 0);
  await world.agent('pump', 'once');
  const asks = await world.agent('pump', 'export', stick);
  assert.match(asks.out, /this host lacks 1 payloads/, asks.err);
  await world.publish(0, 'collect', '--from', stick);
  await world.publish(0, 'bundle', 'fill', 'pump-3', stick);
  const brought = await world.agent('pump', 'import', stick);
  assert.match(brought.out, /1 new payload/, brought.err);
  await world.agent('pump', 'once', '--retry');
  assert.match(world.component('pump') ?? '', /echo 1\.0\.0/);
  assert.equal((await world.agent('pump', 'export', stick)).exit, 0);
  await world.publish(0, 'collect', '--from', stick);
  assert.match((await world.publish(0, 'report')).out, /compliant/);
});

test('one way: filled and fetched from the profile, nothing is ever written at the closed side', async () => {
  const { world, relay } = await withSite('--one-way', '--product', 'own-tool', '--arch', 'amd64');
  const { stick } = world;
  const out = await world.publish(0, 'bundle', 'export', 'ward-7', stick);
  assert.match(out.out, /fetched 1 payload/);
  assert.match(out.out, /\(full\)/);
  const before = filesOf(stick).toSorted();
  const closed = await world.relay('ward-7', '--config', configWith(world, { returns: 'nothing' }));
  const got = await closed.run('import', stick);
  assert.equal(got.exit, 0, got.err);
  assert.match(got.out, /1 new payload/);
  assert.deepEqual(filesOf(stick).toSorted(), before);
  assert.equal((await closed.run('export', stick)).exit, 2);
  assert.equal(relay.site, 'ward-7');
  const again = await world.publish(0, 'bundle', 'export', 'ward-7', stick);
  assert.match(again.out, /number 1 for ward-7 \(full\)/, 'the same contents are the same bundle');
});

test('a profile with a package list: what is not on it does not travel', async () => {
  const list = 'not-this-one\n';
  const world = await open();
  await world.publish(0, 'publish', '--payloads', 'all');
  const relay = await world.relay('ward-7');
  const file = join(world.folder, 'packages.txt');
  fs.writeFileSync(file, list);
  await world.publish(0, 'bundle', 'site', 'add', relay.card, '--one-way', '--packages', file);
  const dry = await world.publish(0, 'bundle', 'export', 'ward-7', join(world.folder, 'out'), '--folder', '--dry-run');
  assert.match(dry.out, /0 payloads/);
  assert.equal(fs.existsSync(join(world.folder, 'out')), false, 'a dry run writes nothing');
});

test('several sites on one stick: each takes its own, none can open the other, receipts of both are read', async () => {
  const { world, relay } = await withSite();
  const other = await world.relay('pump-3');
  await world.publish(0, 'bundle', 'site', 'add', other.card);
  for (const site of ['ward-7', 'pump-3']) await world.publish(0, 'bundle', 'export', site, world.stick);
  const first = await relay.run('import', world.stick);
  assert.match(first.out, /for other sites, not touched: 1 bundle/);
  const second = await other.run('import', world.stick);
  assert.equal(second.exit, 0, second.err);
  assert.match((await relay.run('show', world.stick)).out, /The contents are sealed: only the site can list them/);
  assert.match((await relay.run('show', world.stick)).out, /metadata\/timestamp\.json/);
  const collected = await world.publish(0, 'collect', '--from', world.stick);
  assert.match(collected.out, /ward-7 has bundle 1/);
  assert.match(collected.out, /pump-3 has bundle 1/);
  const next = await world.publish(0, 'bundle', 'export', 'ward-7', world.stick, '--dry-run');
  assert.match(next.out, /on top of 1: 0 documents, 0 payloads/);
});

test('a missing list of hashes, and one of salted hashes: the publisher still knows what is meant', async () => {
  const { world, relay } = await withSite();
  await world.publish(0, 'bundle', 'export', 'ward-7', world.stick, '--metadata');
  assert.equal((await relay.run('import', world.stick)).exit, 0);
  const served = await relay.start();
  closing.push(() => served.stop());
  const [payload] = namedPayloads(relay.folders.mirror).values();
  assert.ok(payload);
  const asked = await fetch(`${served.url}/${payloadPath(payload.sha256)}`);
  assert.equal(asked.status, 404);
  await fetch(`${served.url}/${payloadPath('0'.repeat(64))}`); // no catalog names it: it is not asked for
  const file = join(world.stick, 'REQUEST-ward-7.txt');
  for (const level of ['hashes', 'salted']) {
    assert.match((await relay.run('export', '--request-level', level, world.stick)).out, /missing here: 1 payload/);
    const text = fs.readFileSync(file, 'utf8');
    assert.equal(text.includes('tool.tar.gz'), false);
    assert.equal(text.includes(payload.sha256), level === 'hashes');
    assert.match((await world.publish(0, 'bundle', 'missing', 'ward-7', world.stick)).out, /1 payload, .* to fetch, 0 unknown/);
  }
  await world.publish(0, 'bundle', 'fill', 'ward-7', world.stick);
  assert.match((await relay.run('import', world.stick)).out, /1 new payload/);
  await served.stop();
});

test('sticks mounted in the watched place: taken and answered with nothing typed; an empty mount point changes nothing', async () => {
  const { world, relay } = await withSite();
  await world.publish(0, 'bundle', 'export', 'ward-7', world.stick);
  const mount = join(world.folder, 'mount');
  fs.mkdirSync(mount);
  const { stateDir, cacheDir } = {
    stateDir: join(world.folder, 'ward-7', 'state'),
    cacheDir: join(world.folder, 'ward-7', 'cache'),
  };
  const fixed = { stateDir, cacheDir, site: 'ward-7', upstreamRoot: world.publisher.root };
  const settings = relaySettings.parse({ ...fixed, dropFolder: mount, dropMedium: 'stick' });
  const watcher = watchDropFolder(settings, { log: silentLog, signal: new AbortController().signal });
  await watcher.look();
  assert.deepEqual(fs.readdirSync(mount), []);
  fs.cpSync(world.stick, mount, { recursive: true });
  await watcher.look();
  assert.match(fs.readFileSync(join(mount, 'RECEIPT.txt'), 'utf8'), /IMPORTED: ward-7-000001-content/);
  assert.ok(fs.existsSync(join(mount, 'ward-7-000001-content.pfb.json')), 'nothing on a stick is removed');
  assert.ok(fs.existsSync(join(mount, 'ward-7-000001-return.pfb.json')));
  assert.match((await world.publish(0, 'collect', '--from', mount)).out, /ward-7 has bundle 1/);
  assert.equal((await relay.run('status')).exit, 0);
});

test('a watched drop folder: whole bundles are taken, one that is still being copied is awaited, a damaged one put away', async () => {
  const { world, relay } = await withSite();
  const drop = join(world.folder, 'drop folder');
  fs.mkdirSync(drop);
  const served = await relay.start({ dropFolder: drop });
  closing.push(() => served.stop());
  const from = join(world.folder, 'from');
  await world.publish(0, 'bundle', 'export', 'ward-7', from, '--folder');
  const [index = ''] = fs.readdirSync(from).filter((name) => name.endsWith('.pfb.json'));
  const parts = index.replace('.pfb.json', '.pfb');
  const generation = async () =>
    ((await fetch(`${served.url}/healthz`)).json() as Promise<{ generation: number | null }>).then((said) => said.generation);

  // A careless copy: the index comes first, the parts one after the other.
  fs.cpSync(join(from, index), join(drop, index));
  await new Promise((resolve) => setTimeout(resolve, 4_000));
  assert.equal(await generation(), null);
  fs.cpSync(join(from, parts), join(drop, parts), { recursive: true });
  await until('the bundle to be taken', 30, async () => ((await generation()) === 1 ? true : undefined));
  await until('the folder to be empty', 10, () => (fs.readdirSync(drop).length === 0 ? true : undefined));

  await world.publisher.addRelease('1.1.0');
  await world.publish(0, 'source', 'sync');
  await world.publish(0, 'publish', '--payloads', 'all');
  await world.publish(0, 'bundle', 'export', 'ward-7', drop, '--folder', '--full');
  await until('the second', 30, async () => ((await generation()) === 2 ? true : undefined));
  await world.publish(0, 'publish', '--refresh', '--payloads', 'all');
  const damaged = join(world.folder, 'damaged');
  await world.publish(0, 'bundle', 'export', 'ward-7', damaged, '--folder', '--full');
  const [part = ''] = filesOf(damaged).filter((file) => file.endsWith('.pfp'));
  fs.writeFileSync(part, fs.readFileSync(part).fill(7, 10, 20));
  await served.stop();
  fs.cpSync(damaged, drop, { recursive: true });
  const { stateDir, cacheDir } = {
    stateDir: join(world.folder, 'ward-7', 'state'),
    cacheDir: join(world.folder, 'ward-7', 'cache'),
  };
  const settings = relaySettings.parse({
    stateDir,
    cacheDir,
    site: 'ward-7',
    upstreamRoot: world.publisher.root,
    dropFolder: drop,
  });
  const watcher = watchDropFolder(settings, { log: silentLog, signal: new AbortController().signal, settleMs: 0 });
  await watcher.look();
  assert.equal(fs.existsSync(join(drop, 'rejected')), false, 'it may still be on its way');
  await watcher.look();
  assert.match(fs.readFileSync(join(drop, 'rejected', 'ward-7-000003-content.txt'), 'utf8'), /code: {3}bundle\.file-changed/);
  const again = await relay.start();
  closing.push(() => again.stop());
  const health = (await (await fetch(`${again.url}/healthz`)).json()) as { generation: number };
  assert.equal(health.generation, 2, 'the relay goes on as before');
  await again.stop();
});
