// An inbox without room: what goes first, what never goes, and what is said about it; with a real relay in front.
import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import * as fs from 'node:fs';
import * as os from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { silentLog } from '#manifests/platform/log';
import { decodePlain, type RelayGap } from '#manifests/schema';
import { openRecord, sealEnvelope } from '#manifests/trust';
import { startRelay } from '../run.ts';
import { relaySettings } from '../settings.ts';
import { makeAgent, makePublisher, type TestAgent } from '../testing/repository.ts';
import { INBOX_LIMITS, openHop, openRoom, openSpool } from './index.ts';

const root = fs.mkdtempSync(join(os.tmpdir(), 'pf-room-'));
const closing: (() => unknown)[] = [() => fs.rmSync(root, { recursive: true, force: true })];
after(async () => {
  for (const close of closing.toReversed()) await close();
});

async function scene() {
  const place = fs.mkdtempSync(join(root, 'scene-'));
  const publisher = await makePublisher(join(place, 'publisher'));
  const agents = [makeAgent(publisher.collector), makeAgent(publisher.collector)] as const;
  await publisher.publish({ patches: [], agents: [...agents] });
  const settings = relaySettings.parse({
    listen: '127.0.0.1:0',
    upstream: [publisher.folder],
    upstreamRoot: publisher.root,
    inboxForward: [join(place, 'home')],
    stateDir: join(place, 'state'),
    cacheDir: join(place, 'cache'),
    inboxMiB: 1,
  });
  const start = async () => {
    const relay = await startRelay(settings, { log: silentLog });
    await relay.sync();
    closing.push(() => relay.stop());
    return relay;
  };
  const inbox = join(place, 'state/inbox');
  const sequencesOf = ({ id }: TestAgent) =>
    fs.existsSync(join(inbox, 'results', id))
      ? fs
          .readdirSync(join(inbox, 'results', id))
          .map((name) => Number.parseInt(name, 10))
          .toSorted((a, b) => a - b)
      : [];
  const gaps = (): RelayGap[] =>
    fs.existsSync(join(inbox, 'records'))
      ? fs
          .readdirSync(join(inbox, 'records'))
          .map((name) => decodePlain('relay-gap', openRecord(fs.readFileSync(join(inbox, 'records', name))).body, name))
          .toSorted((a, b) => (a.signedAt < b.signedAt ? -1 : 1))
      : [];
  /** 100 KiB of noise: it takes up 128 KiB when it is sealed. */
  const sealed = ({ id, signKey }: TestAgent, sequence: number, detail: boolean) =>
    sealEnvelope({
      body: randomBytes(100 * 1024),
      kind: 'result',
      agent: id,
      sequence,
      signKey,
      recipients: [publisher.collector.publicKey],
      detail,
    });
  const post = async (url: string, path: string, body: Uint8Array) => {
    const response = await fetch(`${url}/inbox/${path}`, { method: 'POST', body: Uint8Array.from(body) });
    const { code = '', again } = (await response.json()) as { code?: string; again?: unknown };
    return [response.status, code, again] as const;
  };
  return { place, agents, start, sequencesOf, gaps, sealed, post, inbox };
}

test('trap 19: a full inbox drops the oldest detail first, never counts, runs, alerts or enrolments, and signs which', async () => {
  const { place, agents, start, sequencesOf, gaps, sealed, post, inbox } = await scene();
  const [a, b] = agents;
  const relay = await start();
  // 1 MiB holds seven of these. Of A the first is no detail; B has one, and it is its newest.
  const first = sealed(a, 2, true);
  assert.equal((await post(relay.url, 'results', sealed(a, 1, false)))[0], 201);
  assert.equal((await post(relay.url, 'results', first))[0], 201);
  for (const sequence of [3, 4]) assert.equal((await post(relay.url, 'results', sealed(a, sequence, true)))[0], 201);
  assert.equal((await post(relay.url, 'results', sealed(b, 1, true)))[0], 201);
  for (const sequence of [5, 6]) assert.equal((await post(relay.url, 'results', sealed(a, sequence, true)))[0], 201);
  assert.equal((await post(relay.url, 'enrolments', makeAgent(a.boxKey).enrolment()))[0], 201);
  assert.deepEqual(gaps(), []);
  assert.equal((await post(relay.url, 'results', sealed(b, 2, false)))[0], 201, 'room was made for it');
  assert.deepEqual(sequencesOf(a), [1, 3, 4, 5, 6]);
  assert.deepEqual(
    gaps().map(({ agent, dropped, results, why }) => [agent, dropped, results, why]),
    [[a.id, [{ from: 2, to: 2 }], 1, 'quota']],
  );
  assert.deepEqual(
    await post(relay.url, 'results', first),
    [507, 'inbox.dropped', undefined],
    'what was dropped does not push others out',
  );
  const hop = openHop(relay.url);
  closing.push(() => hop.close());
  const item = { kind: 'results', agent: a.id, path: 'results/one' } as const;
  assert.equal((await hop.deliver(item, first)).kind, 'later-alone', 'a relay that brings it holds back nothing else');
  const key = openRecord(fs.readFileSync(join(inbox, 'records', fs.readdirSync(join(inbox, 'records'))[0] ?? ''))).key;
  assert.match(key, /^[0-9a-f]{64}$/);

  // More comes than there is detail: the rest is refused, and its agents keep it.
  const answers: number[] = [];
  for (let sequence = 3; sequence <= 12; sequence += 1)
    answers.push((await post(relay.url, 'results', sealed(b, sequence, false)))[0]);
  assert.deepEqual(new Set(answers), new Set([201, 507]));
  assert.ok(answers.indexOf(507) > 0 && !answers.slice(answers.indexOf(507)).includes(201), 'in order');
  await assert.rejects(
    hop.deliver(item, sealed(b, 13, false)),
    { code: 'inbox.full' },
    'a relay that brings it asks the next one',
  );
  assert.deepEqual(sequencesOf(a), [1, 6], 'the newest of an agent stays, whatever it is');
  assert.equal(sequencesOf(b).includes(1), false, 'once it was not the newest any more');
  const lost = gaps().flatMap(({ agent, dropped }) =>
    dropped.flatMap(({ from, to }) => Array.from({ length: to - from + 1 }, (_, index) => `${agent} ${from + index}`)),
  );
  assert.deepEqual(
    lost.toSorted(),
    [`${b.id} 1`, ...[2, 3, 4, 5].map((sequence) => `${a.id} ${sequence}`)].toSorted(),
    'each once',
  );
  assert.equal(fs.readdirSync(join(inbox, 'enrolments')).length, 1, 'an enrolment never goes');
  const page = await (await fetch(`${relay.url}/site/`)).text();
  assert.match(page, /the quota was reached/);

  // It is known after a restart, and travels up with what is left; then there is room again, also for what was dropped.
  await relay.stop();
  const again = await start();
  assert.equal((await post(again.url, 'results', first))[0], 507);
  fs.mkdirSync(join(place, 'home'));
  while (sequencesOf(a).length + gaps().length > 0) await again.forward();
  assert.equal(fs.readdirSync(join(place, 'home/records')).length >= 2, true);
  assert.deepEqual(
    fs
      .readdirSync(join(place, 'home/results', a.id))
      .map((name) => Number.parseInt(name, 10))
      .toSorted((x, y) => x - y),
    [1, 6],
  );
  // An agent that tells something now hears which of its results may come again; what has come is not asked for any more.
  const heard: unknown[] = [];
  for (let sequence = 7; heard.at(-1) === undefined; sequence += 1) {
    heard.push((await post(again.url, 'results', sealed(a, sequence, false)))[2]);
    await again.forward();
    await new Promise((done) => void setTimeout(done, 50)); // how full it is is looked at once in two seconds
  }
  assert.deepEqual(heard.at(-1), [[2, 5]]);
  assert.equal((await post(again.url, 'results', first))[0], 201);
  assert.deepEqual((await post(again.url, 'results', sealed(a, 99, false)))[2], [[3, 5]]);
  assert.deepEqual((await post(again.url, 'results', sealed(b, 99, false)))[2], [[1, 1]], 'each agent hears of its own');
});

test('S35 a disk that is as good as full counts as no room; what a collector took makes room again', () => {
  const folder = fs.mkdtempSync(join(root, 'disk-'));
  const spool = openSpool(folder);
  closing.push(() => spool.close());
  let free: number = INBOX_LIMITS.reserveBytes + 1_000;
  let now = 0;
  const room = openRoom({
    spool,
    quotaBytes: undefined,
    say: () => assert.fail('nothing can be dropped'),
    droppedOf: () => new Set(),
    log: silentLog,
    monotonic: () => now,
    freeBytes: () => free,
  });
  const incoming = { agent: 'a'.repeat(32), sequence: 1, bytes: 600, detail: true, known: () => false };
  assert.equal(room.take(incoming), undefined);
  assert.match(room.take(incoming)?.says ?? '', /full \(disk\)/, 'the second has no room, without asking the disk again');
  assert.equal(room.take({ ...incoming, known: () => true }), undefined, 'what is here already needs none');
  free += 10_000;
  now += INBOX_LIMITS.diskLookMs + 1;
  assert.equal(room.take(incoming), undefined);
});
