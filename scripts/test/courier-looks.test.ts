// Looking before taking: `show` prints exactly what is in a bundle of either direction, `publisher verify` checks it with public
// keys only, and a missing list that was changed on its way is refused or named.
import assert from 'node:assert/strict';
import * as fs from 'node:fs';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { verifyBundle } from '#manifests/bundle';
import { runCommandLine } from '#manifests/platform/cli';
import { systemClock } from '#manifests/platform/clock';
import { payloadPath } from '#manifests/repository';
import { publisherProgram } from '../../publisher/cli/index.ts';
import { namedPayloads } from '../../relay/courier/asked.ts';
import { until } from '../fleet/index.ts';
import { type ClosedRelay, type ClosedSite, closedSite, filesOf, knownSite } from './closed-site.ts';

let world: ClosedSite;
let relay: ClosedRelay;
/** The stick as it goes back: the content it brought, a return with an enrolment, a missing list, a receipt. */
let stick: string;
const closing: (() => unknown)[] = [];
after(async () => {
  for (const close of closing.toReversed()) await close();
});

before(async () => {
  const made = await closedSite();
  closing.push(() => made.remove());
  ({ world, relay } = await knownSite(made));
  ({ stick } = world);
  await world.publish(0, 'bundle', 'export', 'ward-7', stick, '--metadata');
  assert.equal((await relay.run('import', stick)).exit, 0);
  const served = await relay.start();
  closing.push(() => served.stop());
  const [payload] = namedPayloads(relay.folders.mirror).values();
  assert.equal((await fetch(`${served.url}/${payloadPath(payload?.sha256 ?? '')}`)).status, 404); // so that it is missing
  const code = String((await world.publisher.json('agent', 'invite', '--group', 'all'))['code']);
  await world.agent('a', 'enroll', '--code', code, '--relay', served.url, '--root', world.publisher.root);
  const waiting = () => filesOf(relay.folders.inbox).some((file) => /enrolments.*\.pfe$/.test(file));
  await until('the enrolment to get its file', 10, () => (waiting() ? true : undefined));
  await served.stop();
  await relay.run('import', stick);
});

/** `publisher verify` without any home: nothing but public keys. */
async function verify(place: string, ...more: string[]) {
  let out = '';
  const streams = { out: (text: string) => void (out += text), err: () => undefined, errIsTerminal: false };
  const words = ['verify', place, '--root', world.publisher.root, ...more];
  return {
    exit: await runCommandLine(publisherProgram({ clock: systemClock, env: { HOME: '/nowhere' } }), words, streams),
    out,
  };
}

const copied = (name: string) => {
  const place = join(world.folder, name);
  fs.rmSync(place, { recursive: true, force: true });
  fs.cpSync(stick, place, { recursive: true });
  return place;
};

test('publisher verify of a stick with public keys only: whose, whole, byte for byte; sealed contents stay sealed', async () => {
  const sound = await verify(stick, '--card', relay.card);
  assert.equal(sound.exit, 0, sound.out);
  assert.match(sound.out, /ok +MEDIUM\.json +"blue stick 3"/);
  assert.match(sound.out, /ok +ward-7-000001-content +content of ward-7, number 1, .*1 of 1 chunks right/);
  assert.match(sound.out, /ok +ward-7-000002-return +return of ward-7/);
  assert.match(sound.out, /ok +RECEIPT\.txt +of the site ward-7/);
  const stranger = await verify(stick);
  assert.equal(stranger.exit, 1);
  assert.match(stranger.out, /finding +ward-7-000002-return +nobody vouched for the key of the site ward-7/);

  const changed = copied('changed');
  const part = filesOf(changed).find((file) => /content.*\.pfp$/.test(file)) ?? '';
  const bytes = fs.readFileSync(part);
  fs.writeFileSync(part, bytes.fill((bytes[100] ?? 0) ^ 1, 100, 101));
  const bad = await verify(changed, '--card', relay.card);
  assert.equal(bad.exit, 5);
  assert.match(bad.out, /refused +ward-7-000001-content.*bundle\.file-changed/);
  assert.equal(
    (await verify(join(changed, 'ward-7-000002-return.pfb.json'), '--card', relay.card)).exit,
    0,
    'one bundle alone',
  );

  const cut = copied('cut');
  fs.rmSync(filesOf(cut).find((file) => /return.*\.pfp$/.test(file)) ?? '');
  assert.match((await verify(cut, '--card', relay.card)).out, /bundle\.file-removed|missing here: 0/);
  const other = await world.relay('ward-8');
  const wrong = await verify(stick, '--card', other.card.replace('ward-8', 'ward-7'));
  assert.equal(wrong.exit, 5);
  assert.match(wrong.out, /refused +ward-7-000002-return.*bundle\.unsigned/);
});

test('show: exactly what is in a bundle, of either direction, file by file', async () => {
  type Shown = { bundles: { index: { kind: string }; entries: { path: string; size: number; sha256: string }[] | null }[] };
  const inside = JSON.parse((await relay.run('show', '--json', stick)).out) as Shown;
  const outside = (await world.publisher.json('bundle', 'show', stick)) as unknown as Shown;
  const of = (shown: Shown, kind: string) => shown.bundles.find(({ index }) => index.kind === kind)?.entries ?? null;
  // Into the site: only the site can list it, and what it lists is what the publisher published.
  assert.equal(of(outside, 'content'), null, 'sealed to the site');
  const content = of(inside, 'content') ?? [];
  const { repository } = world.publisher;
  for (const { path, size } of content.filter((entry) => !entry.path.startsWith('courier/')))
    assert.equal(fs.statSync(join(repository, path)).size, size, path);
  assert.ok(content.some(({ path }) => path === 'metadata/timestamp.json'));
  assert.deepEqual(content.filter(({ path }) => path.startsWith('payloads/')).length, 0, 'metadata only');
  // Out of the site: the sealed envelopes and one small report of this side, nothing else.
  const spooled = filesOf(relay.folders.inbox)
    .filter((file) => file.endsWith('.pfe'))
    .map((file) => file.slice(relay.folders.inbox.length + 1));
  const back = of(outside, 'return') ?? [];
  assert.deepEqual(back.map(({ path }) => path).toSorted(), ['courier/site.json', ...spooled].toSorted());
  assert.deepEqual(of(inside, 'return'), back);
  const text = (await world.publisher.run('bundle', 'show', stick)).out;
  for (const { path, sha256 } of back) assert.match(text, new RegExp(`${sha256} +\\d+ +${path}`));
  const index = join(stick, 'ward-7-000002-return.pfb.json');
  const { have, total } = await verifyBundle({ index, keys: 'any' });
  assert.equal(have, total);
});

test('trap 17 a missing list changed on its way: rows struck out are fine; added, altered, of another site or older are not', async () => {
  const file = join(stick, 'REQUEST-ward-7.txt');
  const text = fs.readFileSync(file, 'utf8');
  const row = /^[0-9a-f]{64} \d+ tool\.tar\.gz$/m.exec(text)?.[0] ?? '';
  assert.notEqual(row, '');
  const missing = async (changed: string) => {
    const place = copied('reviewed');
    fs.writeFileSync(join(place, 'REQUEST-ward-7.txt'), changed);
    return world.publisher.run('bundle', 'missing', 'ward-7', place);
  };
  const struck = await missing(text.replace(`${row}\n`, ''));
  assert.equal(struck.exit, 0, struck.err);
  assert.match(struck.out, /1 row of it was struck out/);
  const added = await missing(text.replace(row, `${row}\n${'c'.repeat(64)} 5 more.tar.gz`));
  assert.equal(added.exit, 5);
  assert.match(added.err, /2 rows, and it was made with 1[\s\S]*bundle\.request/);
  const edited = await missing(text.replace(/ \d+ tool/, ' 7 tool'));
  assert.equal(edited.exit, 1);
  assert.match(edited.out, /altered +[0-9a-f]{64}: has not the 7 bytes/);
  const elsewhere = await missing(text.replace('site ward-7', 'site pump-3'));
  assert.equal(elsewhere.exit, 5);
  assert.match(elsewhere.err, /airgap\.other-site/);
  const unknown = await missing(text.replace(row, `${'c'.repeat(64)} 5 more.tar.gz`));
  assert.equal(unknown.exit, 1);
  assert.match(unknown.out, /unknown +c{64} more\.tar\.gz/);

  // Nothing of the altered one travels; the exchange goes on with all the rest and says so.
  const place = copied('altered');
  fs.writeFileSync(join(place, 'REQUEST-ward-7.txt'), text.replace(/ \d+ tool/, ' 7 tool'));
  const out = await world.publisher.run('bundle', 'exchange', place);
  assert.match(out.out, /1 row of the request was altered on the way/);
  assert.match(out.out, /0 payloads/);
  fs.writeFileSync(join(place, 'REQUEST-ward-7.txt'), text.replace('number 1', 'number 0'));
  assert.match((await world.publisher.run('bundle', 'exchange', place)).out, /airgap\.old-request/);
});

test('the receipt says what came in and what goes back, in words a courier reads', () => {
  const text = fs.readFileSync(join(stick, 'RECEIPT.txt'), 'utf8');
  assert.match(text, /IMPORTED: ward-7-000001-content \(number 1\)/);
  assert.match(
    text,
    /PUT ON THIS STICK: ward-7-000002-return \(number 2\)\r\n {2}0 results, 1 enrolment; only the publisher can read them/,
  );
});
