// The inbox with real envelopes: rows S25, S26, and what a kill leaves.
import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import * as fs from 'node:fs';
import * as os from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { silentLog } from '#manifests/platform/log';
import type { Roster } from '#manifests/schema';
import { envelopeHash, generateBoxKey } from '#manifests/trust';
import { makeAgent, type TestAgent } from '../testing/repository.ts';
import type { Delivery, Hop } from './hops.ts';
import { forwardAll, INBOX_LIMITS, openHop, openInbox, openLedger, openSpool, type Spool } from './index.ts';
import { type LedgerView, readLedger } from './ledger.ts';
import { waitingIn } from './spool.ts';

const root = fs.mkdtempSync(join(os.tmpdir(), 'pf-inbox-'));
after(() => fs.rmSync(root, { recursive: true, force: true }));
let counter = 0;
const fresh = () => join(root, String((counter += 1)));
const collector = generateBoxKey();

function rosterOf(agents: readonly TestAgent[], revoked: readonly TestAgent[] = []): Roster {
  const row = ({ id, signKey, boxKey }: TestAgent, status: 'approved' | 'revoked') => {
    const common = { id, title: id, group: 'all', labels: {}, since: '2026-01-01T00:00:00Z' };
    return { ...common, signKey: signKey.publicKey, boxKey: boxKey.publicKey, status };
  };
  return {
    schema: 'patchferry/roster',
    schemaVersion: 1,
    signedAt: '2026-01-01T00:00:00Z',
    agents: [...agents.map((agent) => row(agent, 'approved')), ...revoked.map((agent) => row(agent, 'revoked'))],
    recipients: [{ name: 'collector', boxKey: collector.publicKey }],
  };
}

function relay(roster: () => Roster | undefined) {
  const folder = fresh();
  const spool = openSpool(join(folder, 'inbox'));
  const ledger = openLedger(join(folder, 'forwarded'));
  return { folder, spool, ledger, inbox: openInbox(spool, ledger, roster, silentLog) };
}

const files = (folder: string) =>
  fs
    .readdirSync(folder, { recursive: true, encoding: 'utf8' })
    .filter((name) => name.endsWith('.pfe'))
    .toSorted();

test('S25 results: kept once, in the agreed layout, in any order; a replay is a duplicate, also after it went on', async () => {
  const agent = makeAgent(collector);
  const { spool, ledger, inbox } = relay(() => rosterOf([agent]));
  const envelopes = [3, 1, 2].map((sequence) => agent.result(sequence));
  for (const bytes of envelopes) assert.equal((await inbox.result(bytes)).status, 201);
  for (const bytes of envelopes) {
    assert.deepEqual(await inbox.result(bytes), { status: 200, body: { state: 'duplicate', hash: envelopeHash(bytes) } });
  }
  const name = (sequence: number, bytes: Uint8Array) =>
    `results/${agent.id}/${String(sequence).padStart(12, '0')}-${envelopeHash(bytes).slice(0, 16)}.pfe`;
  const [third, first, second] = envelopes as [Uint8Array, Uint8Array, Uint8Array];
  assert.deepEqual(
    spool.items('results').map(({ path }) => path),
    [name(1, first), name(2, second), name(3, third)],
  );

  const next = fresh();
  fs.mkdirSync(next);
  assert.equal((await forwardAll(spool, ledger, [openHop(next)], { log: silentLog })).delivered, 3);
  assert.deepEqual(files(next), [name(1, first), name(2, second), name(3, third)]);
  assert.deepEqual(spool.items('results'), []);
  assert.equal((await inbox.result(first)).status, 200);
  assert.deepEqual(spool.items('results'), [], 'not stored a second time');
});

test('S25 a fork: the same number with other bytes is kept beside the first', async () => {
  const agent = makeAgent(collector);
  const { spool, inbox } = relay(() => rosterOf([agent]));
  assert.equal((await inbox.result(agent.result(7))).status, 201);
  assert.equal((await inbox.result(agent.result(7))).status, 201);
  assert.equal(spool.items('results').length, 2);
});

test('S25 forged, unknown, revoked, damaged, of the wrong kind, too early: each refused by its code, nothing stored', async () => {
  const agent = makeAgent(collector);
  const revoked = makeAgent(collector);
  const stranger = makeAgent(collector);
  let roster: Roster | undefined;
  const { spool, inbox } = relay(() => roster);
  const codeOf = async (bytes: Uint8Array, kind: 'result' | 'enrolment' = 'result') => {
    const { status, body } = await inbox[kind](bytes);
    return `${status} ${(body as { code?: string }).code}`;
  };
  assert.equal(await codeOf(agent.result(1)), '503 inbox.no-roster');
  roster = rosterOf([agent], [revoked]);
  assert.equal(await codeOf(stranger.result(1)), '403 inbox.unknown-agent');
  assert.equal(await codeOf(revoked.result(1)), '403 inbox.revoked-agent');
  // The stranger's envelope with the agent's name on it.
  const forged = Buffer.from(stranger.result(1));
  forged.set(Buffer.from(agent.id, 'hex'), forged.indexOf(Buffer.from(stranger.id, 'hex')));
  assert.equal(await codeOf(forged), '403 inbox.signature');
  const good = agent.result(1);
  for (const at of [5, 60, good.length >> 1, good.length - 70, good.length - 1]) {
    const bad = Buffer.from(good);
    bad[at] = (bad[at] ?? 0) ^ 1;
    assert.match(await codeOf(bad), /^40[03] inbox\.(?:signature|malformed|unknown-agent|kind)$/, `byte ${at}`);
  }
  for (const length of [0, 1, 10, good.length - 1]) assert.equal(await codeOf(good.subarray(0, length)), '400 inbox.malformed');
  assert.equal(await codeOf(Buffer.concat([good, Buffer.from('x')])), '400 inbox.malformed');
  assert.equal(await codeOf(agent.enrolment()), '400 inbox.kind');
  assert.equal(await codeOf(agent.result(1), 'enrolment'), '400 inbox.kind');
  assert.deepEqual(files(spool.folder), []);
  assert.equal((await inbox.result(good)).status, 201);
  const asked = agent.result(2, randomBytes(100), 'waiver-request');
  assert.equal((await inbox.result(asked)).status, 201, 'a waiver request travels among the results');
  assert.equal(await codeOf(asked, 'enrolment'), '400 inbox.kind');
});

test('S25 enrolments: self-signed, a bounded number of one agent, duplicates known, without a roster', async () => {
  const { spool, inbox } = relay(() => undefined);
  const agent = makeAgent(collector);
  const first = agent.enrolment();
  assert.equal((await inbox.enrolment(first)).status, 201);
  assert.equal((await inbox.enrolment(first)).status, 200);
  assert.deepEqual(
    spool.items('enrolments').map(({ path }) => path),
    [`enrolments/${agent.id}-${envelopeHash(first).slice(0, 16)}.pfe`],
  );
  for (let n = 1; n < INBOX_LIMITS.enrolmentsOfOne; n += 1)
    assert.equal((await inbox.enrolment(agent.enrolment())).status, 201);
  assert.equal((await inbox.enrolment(agent.enrolment())).status, 429);
  assert.equal((await inbox.enrolment(first)).status, 200, 'what is here already is still a duplicate');
  const forged = Buffer.from(makeAgent(collector).enrolment());
  forged.set(Buffer.from(agent.id, 'hex'), 6);
  assert.match(String((await inbox.enrolment(forged)).status), /^40[03]$/);
});

test('many at once: each is stored exactly once', async () => {
  const agents = Array.from({ length: 4 }, () => makeAgent(collector));
  const { spool, inbox } = relay(() => rosterOf(agents));
  const envelopes = agents.flatMap((agent) => [1, 2, 3, 4, 5].map((sequence) => agent.result(sequence)));
  const told = await Promise.all([...envelopes, ...envelopes].map((bytes) => inbox.result(bytes)));
  assert.ok(told.every(({ status }) => status === 200 || status === 201));
  assert.deepEqual(
    spool
      .items('results')
      .map((item) => envelopeHash(spool.read(item)))
      .toSorted(),
    envelopes.map(envelopeHash).toSorted(),
  );
  assert.deepEqual(fs.readdirSync(join(spool.folder, '.incoming')), []);
});

test('a full disk is told as such and leaves nothing half', async () => {
  const agent = makeAgent(collector);
  const { spool, inbox } = relay(() => rosterOf([agent]));
  fs.rmSync(join(spool.folder, '.journal'), { recursive: true });
  fs.writeFileSync(join(spool.folder, '.journal'), 'no folder: nothing can be written');
  const told = await inbox.result(agent.result(1));
  assert.equal(told.status, 507);
  assert.deepEqual(files(spool.folder), []);
});

/** A next hop that does as it is told. */
function scriptedHop(script: (path: string) => Delivery | Error): Hop & { got: string[] } {
  const got: string[] = [];
  return {
    name: 'scripted',
    got,
    deliver: (item) => {
      const answer = script(item.path);
      if (answer instanceof Error) return Promise.reject(answer);
      if (answer.kind === 'delivered') got.push(item.path);
      return Promise.resolve(answer);
    },
    close: () => Promise.resolve(),
  };
}

test('forwarding: order is kept for each agent, the next hop down is passed over, nothing leaves before it has arrived', async () => {
  const [a, b] = [makeAgent(collector), makeAgent(collector)];
  const { spool, ledger, inbox } = relay(() => rosterOf([a, b]));
  for (const agent of [a, b]) for (const sequence of [1, 2, 3]) await inbox.result(agent.result(sequence));
  const gone = openHop(join(root, 'not-mounted'));
  const none = await forwardAll(spool, ledger, [gone], { log: silentLog });
  assert.deepEqual([none.delivered, none.waiting], [0, 6]);
  assert.match(none.reasons[0] ?? '', /^inbox\.no-folder: /);

  // The hop takes agent a's first and then nothing of a; b is not held up by it.
  const hop = scriptedHop((path) =>
    path.includes(a.id) && !path.includes('/000000000001') ? { kind: 'later', says: 'busy' } : { kind: 'delivered' },
  );
  const some = await forwardAll(spool, ledger, [gone, hop], { log: silentLog });
  assert.deepEqual([some.delivered, some.waiting, some.reasons], [4, 2, ['busy']]);
  assert.deepEqual(
    spool.items('results').map(({ path }) => path.slice(41, 53)),
    ['000000000002', '000000000003'],
  );

  // What the hop had and dropped stays here for later; it holds nothing behind it up.
  const dropping = scriptedHop((path) =>
    path.includes('/000000000002') ? { kind: 'later-alone', says: 'dropped before' } : { kind: 'delivered' },
  );
  const past = await forwardAll(spool, ledger, [dropping], { log: silentLog });
  assert.deepEqual([past.delivered, past.waiting, past.reasons], [1, 1, ['dropped before']]);
  await inbox.result(a.result(3));

  const refusing = scriptedHop(() => ({ kind: 'refused', says: 'not an envelope' }));
  assert.equal((await forwardAll(spool, ledger, [refusing], { log: silentLog })).refused, 2);
  assert.equal(files(join(spool.folder, 'refused')).length, 2);
  assert.equal(spool.counts().refused, 2);
});

test('forwarding killed between arrival and removal: it goes on once more, and the folder still has it once', async () => {
  const agent = makeAgent(collector);
  const { spool, ledger, inbox } = relay(() => rosterOf([agent]));
  await inbox.result(agent.result(1));
  const next = fresh();
  fs.mkdirSync(next);
  const hop = openHop(next);
  const [item] = spool.items('results');
  assert.ok(item);
  assert.deepEqual(await hop.deliver(item, spool.read(item)), { kind: 'delivered' }); // and here the process died
  assert.equal((await forwardAll(spool, ledger, [hop], { log: silentLog })).delivered, 1);
  assert.equal(files(next).length, 1);
  assert.deepEqual(fs.readdirSync(join(next, '.incoming')), []);
});

test('S26 a relay lost for good: what the agent still holds arrives by another one, and twice is once', async () => {
  const agent = makeAgent(collector);
  const held = [1, 2, 3].map((sequence) => agent.result(sequence));
  const lost = relay(() => rosterOf([agent]));
  const other = relay(() => rosterOf([agent]));
  const publisher = fresh();
  fs.mkdirSync(publisher);
  const [first] = held as [Uint8Array];
  await lost.inbox.result(first);
  await forwardAll(lost.spool, lost.ledger, [openHop(publisher)], { log: silentLog });
  for (const bytes of held) await lost.inbox.result(bytes);
  fs.rmSync(lost.folder, { recursive: true });
  for (const bytes of held) assert.equal((await other.inbox.result(bytes)).status, 201);
  const report = await forwardAll(other.spool, other.ledger, [openHop(publisher)], { log: silentLog });
  assert.equal(report.delivered, 3);
  assert.deepEqual(
    files(publisher).map((name) => envelopeHash(fs.readFileSync(join(publisher, name)))),
    held.map(envelopeHash),
  );
});

test('the ledger survives a torn line, stays bounded, one write for those that go together, and its loss loses nothing', () => {
  const folder = fresh();
  const hashes = Array.from({ length: INBOX_LIMITS.ledgerEntries + 2_005 }, () => randomBytes(32).toString('hex'));
  const [first = '', last = ''] = [hashes[0], hashes.at(-1)];
  const ledger = openLedger(folder);
  for (let at = 0; at < hashes.length; at += 1_000) ledger.add(hashes.slice(at, at + 1_000));
  assert.deepEqual([ledger.has(last), ledger.has(first)], [true, false]);
  const logs = () => fs.readdirSync(folder).toSorted();
  assert.ok(logs().length <= INBOX_LIMITS.ledgerEntries / INBOX_LIMITS.ledgerSegment + 1, String(logs()));
  fs.appendFileSync(join(folder, logs().at(-1) ?? ''), first.slice(0, 20));
  const again = openLedger(folder);
  assert.deepEqual([again.has(last), again.has(first), logs().length], [true, false, 1]);
  again.add([first]);
  assert.ok(openLedger(folder).has(first));
  fs.rmSync(folder, { recursive: true });
  assert.ok(!openLedger(folder).has(last));
});

test('a ledger of version 1, a file for each agent, is read and brought together; what is too old goes; a look changes nothing', () => {
  const folder = fresh();
  const now = Date.now();
  const [young, old, torn] = [randomBytes(32), randomBytes(32), randomBytes(32)].map((bytes) => bytes.toString('hex'));
  const second = (ago: number) => Math.trunc((now - ago) / 1_000);
  fs.mkdirSync(folder);
  fs.writeFileSync(
    join(folder, 'ab'.repeat(16)),
    `${old} ${second(INBOX_LIMITS.ledgerMs + 60_000)}\n${young} ${second(60_000)}\n`,
  );
  fs.writeFileSync(join(folder, 'cd'.repeat(16)), `${torn} ${second(60_000)}`.slice(0, 50));
  const judge = (ledger: LedgerView) => [young, old, torn].map((hash) => ledger.has(hash ?? ''));
  assert.deepEqual(judge(readLedger(folder, now)), [true, false, false]);
  assert.equal(fs.readdirSync(folder).length, 2);
  assert.deepEqual(judge(openLedger(folder, () => now)), [true, false, false]);
  assert.deepEqual(fs.readdirSync(folder), ['000000000001.log']);
  assert.deepEqual(judge(readLedger(folder, now)), [true, false, false]);
});

test('S33 group commit: what was answered is in the journal before it has a file, and a journal left by a kill is taken up', async () => {
  const agent = makeAgent(collector);
  const folder = fresh();
  const inboxOf = (spool: Spool) => openInbox(spool, openLedger(join(folder, 'f')), () => rosterOf([agent]), silentLog);
  const spool = openSpool(join(folder, 'inbox'));
  const envelopes = Array.from({ length: 40 }, (_, index) => agent.result(index + 1));
  const told = await Promise.all(envelopes.map((bytes) => inboxOf(spool).result(bytes)));
  assert.ok(told.every(({ status }) => status === 201));
  assert.deepEqual(files(spool.folder), [], 'no file of its own yet');
  const segments = () => fs.readdirSync(join(spool.folder, '.journal'));
  assert.equal(segments().length, 1);

  // The process is gone here; its journal has every envelope, and a torn record at its end that nobody was promised.
  const copy = join(folder, 'copy');
  const second = join(folder, 'second');
  for (const to of [copy, second]) fs.cpSync(spool.folder, to, { recursive: true });
  const [segment = ''] = segments();
  const file = join(copy, '.journal', segment);
  const whole = fs.readFileSync(file);
  fs.writeFileSync(file, whole.subarray(0, whole.length - 7));
  const again = openSpool(copy);
  assert.equal(again.items('results').length, 39);
  const statuses: number[] = [];
  for (const bytes of envelopes) statuses.push((await inboxOf(again).result(bytes)).status);
  assert.equal(statuses.filter((status) => status === 201).length, 1, 'the torn one is taken anew, the others are known');
  await again.close();
  assert.deepEqual(fs.readdirSync(join(copy, '.journal')), []);
  assert.deepEqual(
    files(copy).map((name) => envelopeHash(fs.readFileSync(join(copy, name)))),
    envelopes.map(envelopeHash),
  );

  // What went on before the kill is not brought back by the journal.
  const wentOn = new Set(envelopes.slice(0, 10).map(envelopeHash));
  const third = openSpool(second, { wentOn: (bytes) => wentOn.has(envelopeHash(bytes)) });
  assert.equal(third.items('results').length, 30);
  await third.close();
  await spool.close();
});

test('a file that is no envelope is neither sent nor counted as waiting, and what a killed write left goes at the next start', async () => {
  const folder = join(fresh(), 'inbox');
  const agent = makeAgent(collector);
  const spool = openSpool(folder);
  await spool.keep('results', agent.id, 1, envelopeHash(agent.result(1)), agent.result(1));
  await spool.close();
  const left = [
    `results/${agent.id}/.tmp-0123456789ab-x.pfe`,
    'enrolments/.tmp-0123456789ab-x.pfe',
    'records/.tmp-0123456789ab-x.pfr',
  ];
  const stray = [`results/${agent.id}/notes.txt`, 'results/readme.pfe', `results/${agent.id}/.hidden.pfe`];
  fs.mkdirSync(join(folder, 'records'));
  for (const name of [...left, ...stray]) fs.writeFileSync(join(folder, name), 'PF');
  assert.deepEqual(waitingIn(folder), { results: 1, enrolments: 0, refused: 0 });
  const again = openSpool(folder);
  assert.deepEqual(again.counts(), { results: 1, enrolments: 0, refused: 0 });
  assert.equal(again.items('results').length, 1);
  for (const name of left) assert.equal(fs.existsSync(join(folder, name)), false, name);
  for (const name of stray) assert.ok(fs.existsSync(join(folder, name)), `${name} is somebody’s`);
  await again.close();
});

const segmentsOf = (spool: Spool) => fs.readdirSync(join(spool.folder, '.journal'));
const hashes = (spool: Spool) => spool.items('results').map((item) => envelopeHash(spool.read(item)));

test('what the next hop takes at once never gets a file of its own, and leaves the journal', async () => {
  const agents = [makeAgent(collector), makeAgent(collector)];
  const { spool, ledger, inbox } = relay(() => rosterOf(agents));
  const envelopes = agents.flatMap((agent) => [1, 2, 3].map((sequence) => agent.result(sequence)));
  await Promise.all(envelopes.map((bytes) => inbox.result(bytes)));
  assert.deepEqual(spool.counts(), { results: 6, enrolments: 0, refused: 0 });
  assert.equal(spool.unplaced().length, 6);
  assert.equal(
    spool.unplacedBytes(),
    envelopes.reduce((sum, { length }) => sum + length, 0),
  );
  assert.deepEqual(hashes(spool).toSorted(), envelopes.map(envelopeHash).toSorted());
  assert.equal((await inbox.result(envelopes[0] ?? Buffer.alloc(0))).status, 200, 'known by its bytes in the journal');

  const [refused = '', ...rest] = spool.items('results').map(({ path }) => path);
  const hop = scriptedHop((path) => (path === refused ? { kind: 'refused', says: 'no' } : { kind: 'delivered' }));
  const report = await forwardAll(spool, ledger, [hop], { log: silentLog });
  assert.deepEqual([report.delivered, report.refused], [5, 1]);
  assert.deepEqual(hop.got, rest);
  assert.deepEqual(files(spool.folder), [`refused/${refused}`]);
  assert.deepEqual(spool.counts(), { results: 0, enrolments: 0, refused: 1 });
  assert.equal(segmentsOf(spool).length, 1);
  await spool.settle();
  assert.deepEqual(segmentsOf(spool), []);
  await spool.close();
});

test('S33 killed with some placed, one of them torn, some gone on and some in the journal only: each is there once', async () => {
  const agent = makeAgent(collector);
  const folder = fresh();
  const ledger = openLedger(join(folder, 'forwarded'));
  const wentOn = (bytes: Uint8Array) => ledger.has(envelopeHash(bytes));
  // Beyond two of them each that comes places two; no timer does anything meanwhile.
  const limits = { backlog: 2, placeAfterMs: 600_000, settleAfterMs: 600_000 };
  const spool = openSpool(join(folder, 'inbox'), { wentOn, limits });
  const inbox = openInbox(spool, ledger, () => rosterOf([agent]), silentLog);
  const envelopes = Array.from({ length: 9 }, (_, index) => agent.result(index + 1));
  for (const bytes of envelopes) assert.equal((await inbox.result(bytes)).status, 201);
  const placed = files(spool.folder);
  assert.deepEqual([placed.length, spool.unplaced().length], [8, 1]);
  assert.deepEqual(hashes(spool), envelopes.map(envelopeHash), 'in order, wherever they lie');
  const [first] = spool.items('results');
  assert.ok(first);
  ledger.add([envelopeHash(spool.read(first))]);
  spool.remove(first);

  const copy = join(folder, 'copy');
  fs.cpSync(spool.folder, copy, { recursive: true });
  fs.writeFileSync(join(copy, placed[1] ?? ''), (envelopes[1] ?? Buffer.alloc(0)).subarray(0, 100));
  fs.writeFileSync(join(copy, placed[2] ?? ''), '');
  const again = openSpool(copy, { wentOn, limits });
  assert.equal(again.unplaced().length, 3);
  assert.deepEqual(hashes(again), envelopes.slice(1).map(envelopeHash));
  assert.deepEqual(again.counts(), { results: 8, enrolments: 0, refused: 0 });
  await again.close();
  assert.deepEqual(segmentsOf(again), []);
  assert.deepEqual(
    files(copy).map((name) => envelopeHash(fs.readFileSync(join(copy, name)))),
    envelopes.slice(1).map(envelopeHash),
  );
  await spool.close();
});

test('a segment of the journal stays as long as one of its envelopes has neither a file nor gone on', async () => {
  const agent = makeAgent(collector);
  const folder = fresh();
  const limits = { placeAfterMs: 600_000, settleAfterMs: 1, settleAtLatestMs: 0 };
  const spool = openSpool(join(folder, 'inbox'), { limits });
  const inbox = openInbox(spool, openLedger(join(folder, 'f')), () => rosterOf([agent]), silentLog);
  const until = async (done: () => boolean) => {
    while (!done()) await new Promise((next) => setTimeout(next, 1));
  };
  await inbox.result(agent.result(1));
  const [one = ''] = segmentsOf(spool);
  await inbox.result(agent.result(2));
  const [first, second] = spool.items('results');
  assert.ok(first && second);
  spool.remove(first);
  // Until the journal has gone on to another segment.
  for (let next = 3; segmentsOf(spool).length < 2 && segmentsOf(spool).includes(one); next += 1)
    await inbox.result(agent.result(next));
  assert.ok(segmentsOf(spool).includes(one), 'the second envelope is nowhere else');
  spool.remove(second);
  for (const item of spool.items('results')) spool.remove(item);
  await until(() => segmentsOf(spool).length === 0);
  await spool.close();
});

test('the same envelope twice at once: the second is answered only when the first is safe, and fails with it', async () => {
  const agent = makeAgent(collector);
  const { spool, inbox } = relay(() => rosterOf([agent]));
  const bytes = agent.result(1);
  fs.rmSync(join(spool.folder, '.journal'), { recursive: true });
  const failed = await Promise.all([inbox.result(bytes), inbox.result(bytes)]);
  assert.deepEqual(
    failed.map(({ status }) => status),
    [507, 507],
  );
  fs.mkdirSync(join(spool.folder, '.journal'));
  assert.deepEqual(
    (await Promise.all([inbox.result(bytes), inbox.result(bytes)])).map(({ status }) => status).toSorted((a, b) => a - b),
    [200, 201],
  );
});

test('S26 the next hop is lost for good with what it had: the agent sends again, and it goes on again', async () => {
  const agent = makeAgent(collector);
  const folder = fresh();
  let now = Date.parse('2026-01-01T00:00:00Z');
  const spool = openSpool(join(folder, 'inbox'));
  const ledger = openLedger(join(folder, 'forwarded'), () => now);
  const inbox = openInbox(spool, ledger, () => rosterOf([agent]), silentLog);
  const bytes = agent.result(1);
  await inbox.result(bytes);
  const lost = scriptedHop(() => ({ kind: 'delivered' }));
  assert.equal((await forwardAll(spool, ledger, [lost], { log: silentLog })).delivered, 1);
  now += 60_000;
  assert.equal((await inbox.result(bytes)).status, 200);
  now += INBOX_LIMITS.ledgerMs;
  assert.equal((await inbox.result(bytes)).status, 201, 'no ack for hours: the hop may not have brought it on');
  const other = scriptedHop(() => ({ kind: 'delivered' }));
  assert.equal((await forwardAll(spool, ledger, [other], { log: silentLog })).delivered, 1);
  assert.ok(openLedger(join(folder, 'forwarded'), () => now).has(envelopeHash(bytes)), 'the newest time counts');
});
