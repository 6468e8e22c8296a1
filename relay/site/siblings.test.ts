// Relays of a site that share what a fuse counts: the union counts once in any order; one that lies can stop and never hold.
import assert from 'node:assert/strict';
import * as fs from 'node:fs';
import * as os from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import * as fc from 'fast-check';
import { utcSeconds } from '#manifests/platform/clock';
import { silentLog } from '#manifests/platform/log';
import type { Fuse, RosterAgent, SignedDelegation } from '#manifests/schema';
import { type BoxKeyPair, generateBoxKey, generateSigningKey } from '#manifests/trust';
import { fusedGroup, runResult } from '../testing/fused.ts';
import { makeAgent, type TestAgent } from '../testing/repository.ts';
import { type CountedReport, compacted, fusesOf, laterOf, slotOf } from './counts.ts';
import { type FuseBox, openFuse } from './fuse.ts';
import { readFuseFile } from './fuse-file.ts';
import { SITE_LIMITS } from './limits.ts';
import { openSiblings, type SiblingsOptions } from './siblings.ts';
import { decodeRuns, encodeRuns, type RunsPage, readRunsPath, runsPath } from './site-runs.ts';

const root = fs.mkdtempSync(join(os.tmpdir(), 'pf-siblings-'));
after(() => fs.rmSync(root, { recursive: true, force: true }));
const SITE = 'ward-7';
const HOUR = 3_600_000;
const START = Date.parse('2026-03-01T12:00:00Z');
const collector = generateBoxKey();
const POLICY: Fuse = { withinHours: 24, minReports: 2, maxFailures: { hosts: 2 }, scope: 'group' };
const GROUP = fusedGroup(POLICY);

interface Ward {
  readonly agents: readonly TestAgent[];
  readonly keys: Readonly<Record<'a' | 'b', BoxKeyPair>>;
  readonly sealed: readonly string[];
  roster: Map<string, RosterAgent>;
  rosterSignedAt: string;
  now: number;
}

function ward(hosts: number): Ward {
  const agents = Array.from({ length: hosts }, () => makeAgent(collector));
  const keys = { a: generateBoxKey(), b: generateBoxKey() };
  const entry = ({ id, signKey }: TestAgent) =>
    [
      id,
      { id, title: id, signKey: signKey.publicKey, group: 'all', site: SITE, status: 'approved' } as unknown as RosterAgent,
    ] as const;
  return {
    agents,
    keys,
    sealed: [collector.publicKey, keys.a.publicKey, keys.b.publicKey],
    roster: new Map(agents.map(entry)),
    rosterSignedAt: utcSeconds(START),
    now: START,
  };
}

/** One relay's fuse, with what it has halted; its state outlives it. */
function relayOf(of: Ward, name: 'a' | 'b', { folder = fs.mkdtempSync(join(root, 'relay-')), fuse = POLICY } = {}) {
  const halts: string[] = [];
  const group = fusedGroup(fuse);
  const delegation = { may: ['halt'], until: utcSeconds(START + 400 * 24 * HOUR), relays: [{ signKey: name }], lifted: [] };
  const documents = {
    groups: () => [group],
    roster: () => of.roster,
    rosterSignedAt: () => of.rosterSignedAt,
    delegation: () => delegation as unknown as SignedDelegation,
  };
  const clock = { now: () => of.now, monotonic: () => of.now };
  const box = openFuse({
    file: join(folder, 'fuse.json'),
    kept: join(folder, 'fuse'),
    site: SITE,
    box: of.keys[name],
    signKey: name,
    documents,
    siblings: ['a', 'b', 'liar'],
    inForce: () => halts.map((halt) => ({ halt: { name: halt } })) as never,
    halt: (halt) => (halts.push(halt.name), halt.name),
    clock,
    log: silentLog,
  });
  /** @param tell what a sibling answers */
  const reader = (sibling: string, tell: SiblingsOptions['origins'][number]['fetchSmall']) =>
    openSiblings({
      origins: [{ name: sibling, fetchSmall: tell }],
      site: SITE,
      fuse: box,
      documents,
      onCounted: () => void box.look(),
      signal: new AbortController().signal,
      clock,
      random: () => 0,
      log: silentLog,
    });
  return { box, halts, folder, reader };
}

const asked = (path: string) => readRunsPath(`/${path}`) ?? assert.fail(path);
/** What an honest relay answers. */
const answers =
  (box: Pick<FuseBox, 'page'>): SiblingsOptions['origins'][number]['fetchSmall'] =>
  (path) => {
    const bytes = box.page(asked(path).log, asked(path).after);
    return Promise.resolve(bytes === undefined ? { kind: 'missing' } : { kind: 'found', bytes, etag: undefined });
  };
const says = (page: Omit<RunsPage, 'site'>) => encodeRuns({ site: SITE, ...page });
const factsIn = (folder: string, at: number) =>
  fusesOf([GROUP], readFuseFile(join(folder, 'fuse.json')).reports, () => Number.NEGATIVE_INFINITY, at)[0];

test('what is counted is a union: any order, any split over ways, any repetition gives the same', () => {
  const report = fc.record({
    agent: fc.constantFrom('h1', 'h2', 'h3', 'h4'),
    sequence: fc.integer({ min: 1, max: 4 }),
    group: fc.constantFrom('all', 'other'),
    at: fc.integer({ min: 0, max: 40 }).map((hours) => utcSeconds(START - hours * HOUR)),
    ok: fc.boolean(),
  });
  const view = (reports: readonly CountedReport[]) => fusesOf([GROUP], reports, () => START - 30 * HOUR, START)[0];
  fc.assert(
    fc.property(fc.array(report, { maxLength: 25 }), fc.infiniteStream(fc.nat()), (reports, choice) => {
      const own = reports.map((each): CountedReport => ({ ...each, from: 'here', hash: null, number: null }));
      const next = () => choice.next().value;
      const shuffled = [...reports, ...reports.slice(0, next() % 5)]
        .map((each) => ({ each, at: next() }))
        .toSorted((a, b) => a.at - b.at)
        .map(({ each }): CountedReport => ({ ...each, from: next() % 2 === 0 ? 'here' : 'sibling', hash: null, number: null }));
      let slots = new Map<string, CountedReport>();
      for (const each of shuffled) slots = compacted([...slots.values(), each]); // one by one, as they come
      // All that is known alone: what came here is judged by itself too, and may trip where the whole does not.
      const [one, two] = [own, [...slots.values()]].map((each) => view(each.map((one) => ({ ...one, from: 'sibling' }))));
      assert.deepEqual(
        [two?.state.reports, two?.state.failures, two?.failed],
        [one?.state.reports, one?.state.failures, one?.failed],
      );
    }),
    { numRuns: 400 },
  );
});

test('the later of two reports: the same whichever comes first', () => {
  const some = fc.record(
    { sequence: fc.integer({ min: 1, max: 3 }), ok: fc.boolean(), at: fc.constantFrom('a', 'b') },
    { noNullPrototype: true },
  );
  fc.assert(fc.property(some, some, (a, b) => assert.deepEqual(laterOf(a, b), laterOf(b, a))));
  assert.equal(slotOf({ from: 'here', agent: 'a', group: 'g' }), 'here a g');
});

test('hosts split over two relays, some told to both: each relay counts every host once, however it is read, over restarts', async () => {
  const of = ward(8);
  const sealed = of.agents.flatMap((agent, host) =>
    [1, 2].map((sequence) =>
      runResult(agent, sequence, (host + sequence) % 3 === 0 ? 'rolled-back' : 'committed', START, [...of.sealed]),
    ),
  );
  const wanted = (() => {
    const alone = relayOf(of, 'a');
    for (const envelope of sealed) alone.box.note(envelope);
    return factsIn(alone.folder, of.now);
  })();
  assert.ok(wanted !== undefined && wanted.state.failures > 2 && wanted.state.reports === 8);
  await fc.assert(
    fc.asyncProperty(fc.array(fc.nat(1_000), { minLength: 64, maxLength: 64 }), async (numbers) => {
      const folders = { a: fs.mkdtempSync(join(root, 'p-')), b: fs.mkdtempSync(join(root, 'p-')) };
      let relays = { a: relayOf(of, 'a', { folder: folders.a }), b: relayOf(of, 'b', { folder: folders.b }) };
      const read = async (name: 'a' | 'b') => {
        const other = name === 'a' ? 'b' : 'a';
        await relays[name].reader(other, answers(relays[other].box)).look(true);
      };
      let turn = 0;
      const next = () => numbers[(turn += 1) % numbers.length] ?? 0;
      const todo = sealed.map((envelope) => ({ envelope, at: next() })).toSorted((x, y) => x.at - y.at);
      for (const { envelope } of todo) {
        const to = next() % 3;
        if (to !== 1) relays.a.box.note(envelope);
        if (to !== 0) relays.b.box.note(envelope);
        if (next() % 4 === 0) await read(next() % 2 === 0 ? 'a' : 'b');
        if (next() % 11 === 0) relays = { a: relayOf(of, 'a', { folder: folders.a }), b: relays.b };
        if (next() % 23 === 0) {
          fs.rmSync(join(folders.b, 'fuse.json')); // torn away: it begins another log, and its hosts send again what no ack covers
          relays = { a: relays.a, b: relayOf(of, 'b', { folder: folders.b }) };
          for (const each of todo) relays.b.box.note(each.envelope);
        }
      }
      for (const each of todo) if (next() % 2 === 0) relays.b.box.note(each.envelope);
      for (const name of ['a', 'b', 'a'] as const) await read(name);
      for (const folder of Object.values(folders)) {
        const facts = factsIn(folder, of.now);
        assert.deepEqual(facts?.failed, wanted.failed);
        assert.deepEqual([facts?.state.failures, facts?.state.reports], [wanted.state.failures, 8]);
        assert.ok(fs.readdirSync(join(folder, 'fuse')).length <= 8, 'no more than one envelope of a host is kept');
      }
    }),
    { numRuns: 8 },
  );
});

test('9.8 fuse: with two failures allowed, one at each relay and a third at either, the third trips it, not the fourth or fifth', async () => {
  const of = ward(6);
  const [a, b] = [relayOf(of, 'a'), relayOf(of, 'b')];
  const readers = { a: a.reader('b', answers(b.box)), b: b.reader('a', answers(a.box)) };
  const tell = async (relay: typeof a, agent: TestAgent | undefined, outcome: 'committed' | 'rolled-back') => {
    assert.ok(agent !== undefined);
    relay.box.note(runResult(agent, 1, outcome, START, [...of.sealed]));
    relay.box.look();
    await readers.a.look(true);
    await readers.b.look(true);
  };
  for (const agent of of.agents.slice(0, 3)) await tell(a, agent, 'committed');
  await tell(a, of.agents[3], 'rolled-back');
  await tell(b, of.agents[4], 'rolled-back');
  assert.deepEqual([a.halts, b.halts], [[], []], 'two are allowed');
  await tell(b, of.agents[5], 'rolled-back');
  assert.deepEqual([a.halts, b.halts], [['fuse-all'], ['fuse-all']]);
});

test('S27 a sibling that hands on successes and hides failures cannot hold a fuse that would trip without it', async () => {
  const of = ward(12);
  const fuse: Fuse = { withinHours: 24, minReports: 3, maxFailures: { percent: 40 }, scope: 'group' };
  const a = relayOf(of, 'a', { fuse });
  const good = of.agents.slice(3).map((agent) => runResult(agent, 1, 'committed', START, [...of.sealed]));
  const items = good.map((envelope, index) => ({ number: index + 1, envelope }));
  // A later success of a host that failed here, too: its host said so, and here its failure still counts.
  items.push({ number: 99, envelope: runResult(of.agents[1] as TestAgent, 2, 'committed', START, [...of.sealed]) });
  const bytes = says({ log: '0'.repeat(16), more: false, items });
  await a.reader('liar', () => Promise.resolve({ kind: 'found', bytes, etag: undefined })).look(true);
  for (const [index, outcome] of (['committed', 'rolled-back', 'rolled-back'] as const).entries())
    a.box.note(runResult(of.agents[index] as TestAgent, 1, outcome, START, [...of.sealed]));
  a.box.look();
  assert.deepEqual(a.halts, ['fuse-all']);
});

test('S25 S27 a sibling that forges, tampers, replays, or tells of another site: nothing counts that no host of this site said', async () => {
  const of = ward(6);
  const stranger = makeAgent(collector);
  const elsewhere = makeAgent(collector);
  of.roster.set(elsewhere.id, {
    ...(of.roster.get(of.agents[0]?.id ?? '') as RosterAgent),
    id: elsewhere.id,
    signKey: elsewhere.signKey.publicKey,
    site: 'ward-8',
  });
  const [host, other] = of.agents as [TestAgent, TestAgent];
  of.roster.set(of.agents[5]?.id ?? '', { ...(of.roster.get(of.agents[5]?.id ?? '') as RosterAgent), status: 'revoked' });
  const a = relayOf(of, 'a');
  const run = (agent: TestAgent, sequence = 1, to: readonly string[] = of.sealed) =>
    runResult(agent, sequence, 'rolled-back', START, [...to]);
  const tampered = Buffer.from(run(host));
  tampered[tampered.length - 100] = (tampered[tampered.length - 100] ?? 0) ^ 1;
  const lies: [string, Uint8Array][] = [
    ['tampered', tampered],
    ['by a key that is not in the roster', run(stranger)],
    ["in a host's name by another key", run({ ...host, signKey: generateSigningKey() })],
    ['of a host of another site', run(elsewhere)],
    ['of a host that was revoked', run(of.agents[5] as TestAgent)],
    ['sealed to the publisher alone', run(other, 1, [collector.publicKey])],
    ['an enrolment', other.enrolment()],
    ['no envelope', Buffer.from('<html>please sign in</html>')],
  ];
  const log = 'f'.repeat(16);
  for (const [index, [what, envelope]] of lies.entries()) {
    const bytes = says({ log, more: false, items: [{ number: index + 1, envelope }] });
    await a.reader('liar', () => Promise.resolve({ kind: 'found', bytes, etag: undefined })).look(true);
    assert.equal(factsIn(a.folder, of.now)?.state.reports, 0, what);
  }
  const replay = says({ log, more: false, items: [1, 2, 3].map((number) => ({ number: 10 + number, envelope: run(host) })) });
  await a.reader('liar', () => Promise.resolve({ kind: 'found', bytes: replay, etag: undefined })).look(true);
  assert.equal(factsIn(a.folder, of.now)?.state.failures, 1, 'three times one result is one');
  assert.deepEqual(a.halts, []);
});

test('S12 a sibling that never ends, or answers with anything else: bounded, told, left alone for a while, and read again when it is well', async () => {
  const of = ward(4);
  const a = relayOf(of, 'a');
  const [host] = of.agents as [TestAgent];
  let asks = 0;
  const endless: SiblingsOptions['origins'][number]['fetchSmall'] = (path) => {
    asks += 1;
    const number = asked(path).after + 1;
    const envelope = runResult(host, number, 'committed', START, [...of.sealed]);
    return Promise.resolve({
      kind: 'found',
      bytes: says({ log: 'e'.repeat(16), more: true, items: [{ number, envelope }] }),
      etag: undefined,
    });
  };
  await a.reader('liar', endless).look(true);
  assert.equal(asks, SITE_LIMITS.pagesAtOnce);
  const bad: Uint8Array[] = [
    Buffer.from('<html>'),
    Buffer.from('{}\n'),
    Buffer.from(says({ log: 'e'.repeat(16), more: true, items: [] })),
    Buffer.concat([says({ log: 'e'.repeat(16), more: false, items: [] }), Buffer.from('x')]),
    encodeRuns({ site: 'ward-8', log: 'e'.repeat(16), more: false, items: [] }),
    says({ log: 'd'.repeat(16), more: false, items: [2, 1].map((number) => ({ number, envelope: Buffer.from('x') })) }),
    says({ log: a.box.log, more: false, items: [] }),
  ];
  for (const bytes of bad) {
    let times = 0;
    const reader = a.reader('liar', () => ((times += 1), Promise.resolve({ kind: 'found', bytes, etag: undefined })));
    await reader.look(true);
    assert.notEqual(a.box.cursor('liar')?.failing ?? null, null, Buffer.from(bytes).toString('latin1').slice(0, 60));
    await reader.look(true);
    assert.equal(times, 1, 'it rests');
    of.now += SITE_LIMITS.siblingRestMs;
    await reader.look(true);
    assert.equal(times, 2);
    await a.reader('liar', answers(relayOf(of, 'b').box)).look(true);
    assert.equal(a.box.cursor('liar')?.failing ?? null, null, 'well again');
  }
  const forged = Array.from({ length: 100 }, (_, index) => ({ number: index + 1, envelope: Buffer.from(`forged ${index}`) }));
  await a
    .reader('liar', () =>
      Promise.resolve({ kind: 'found', bytes: says({ log: '9'.repeat(16), more: true, items: forged }), etag: undefined }),
    )
    .look(true);
  assert.match(a.box.cursor('liar')?.failing?.says ?? '', /not genuine/);
});

test('a host that this roster does not know yet: read again from there when another roster is here', async () => {
  const of = ward(3);
  const whole = of.roster;
  const b = relayOf(of, 'b');
  for (const agent of of.agents) b.box.note(runResult(agent, 1, 'rolled-back', START, [...of.sealed]));
  of.roster = new Map([...whole].slice(0, 1));
  const a = relayOf(of, 'a');
  let asks = 0;
  const reader = a.reader('b', (path, options) => ((asks += 1), answers(b.box)(path, options)));
  await reader.look(true);
  await reader.look(true);
  assert.equal(asks, 2);
  assert.equal(factsIn(a.folder, of.now)?.state.failures, 1);
  assert.equal(a.box.cursor('b')?.after, 3, 'it does not stop at what it cannot judge');
  of.roster = whole;
  of.rosterSignedAt = utcSeconds(START + HOUR);
  await reader.look(true);
  assert.equal(factsIn(a.folder, of.now)?.state.failures, 3);
  assert.deepEqual(a.halts, ['fuse-all']);
});

test('the file of version 1 is read: what was counted still counts, of each host its last run', () => {
  const folder = fs.mkdtempSync(join(root, 'old-'));
  const old = (agent: string, sequence: number, ok: boolean) => ({ agent, sequence, group: 'all', at: utcSeconds(START), ok });
  const reports = [old('h1', 1, false), old('h1', 2, true), old('h2', 7, false)];
  fs.writeFileSync(join(folder, 'fuse.json'), JSON.stringify({ schema: 'patchferry/relay-fuse', schemaVersion: 1, reports }));
  assert.deepEqual(factsIn(folder, START)?.failed, ['h2']);
  assert.equal(factsIn(folder, START)?.state.reports, 2);
  assert.match(readFuseFile(join(folder, 'fuse.json')).log.id, /^[0-9a-f]{16}$/);
});

test('pages: what goes in comes out, by path and number, and nothing else is read', () => {
  fc.assert(
    fc.property(fc.array(fc.uint8Array({ minLength: 1, maxLength: 300 }), { maxLength: 20 }), fc.boolean(), (parts, more) => {
      const items = parts.map((envelope, index) => ({ number: (index + 1) * 3, envelope }));
      const page = { site: SITE, log: 'a'.repeat(16), more: more && items.length > 0, items };
      const back = decodeRuns(encodeRuns(page), { site: SITE, log: undefined, after: 0 });
      assert.ok(typeof back !== 'string');
      assert.deepEqual(
        back.items.map(({ envelope }) => Buffer.from(envelope)),
        parts.map((each) => Buffer.from(each)),
      );
    }),
  );
  assert.deepEqual(readRunsPath(`/${runsPath(SITE, undefined, 0)}`), { site: SITE, log: '-', after: 0 });
  for (const path of [
    '/site-runs/../x/0',
    '/site-runs/ward-7/zz/0',
    '/site-runs/ward-7/-/-1',
    '/site-runs/ward-7/-/1/',
    '/site-runs/W/-/1',
  ])
    assert.equal(readRunsPath(path), undefined, path);
});
