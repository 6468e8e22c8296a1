// The fuse and halts of a site: real relays, a real signed repository, sealed results; without upstream.
import assert from 'node:assert/strict';
import * as fs from 'node:fs';
import * as os from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { runCommandLine } from '#manifests/platform/cli';
import { systemClock, utcSeconds } from '#manifests/platform/clock';
import { silentLog } from '#manifests/platform/log';
import { decodePlain, encodePlain, type SignedDelegation, type SiteHalt } from '#manifests/schema';
import { generateSigningKey, openRecord, signRecord } from '#manifests/trust';
import { program } from '../cli/index.ts';
import { type RunningRelay, startRelay } from '../run.ts';
import { foldersOf, relaySettings } from '../settings.ts';
import { fusedPolicy, runResult } from '../testing/fused.ts';
import { makeAgent, makePublisher, type TestAgent } from '../testing/repository.ts';
import { relayKeys } from './index.ts';

const root = fs.mkdtempSync(join(os.tmpdir(), 'pf-fuse-'));
const closing: (() => unknown)[] = [() => fs.rmSync(root, { recursive: true, force: true })];
after(async () => {
  for (const close of closing.toReversed()) await close();
});
const SITE = 'ward-7';
const HOUR = 3_600_000;
const START = Date.parse('2026-03-01T12:00:00Z');

async function until<T>(what: () => Promise<T | undefined> | T | undefined): Promise<T> {
  for (let tries = 0; ; tries += 1) {
    const found = await what();
    if (found !== undefined) return found;
    assert.ok(tries < 1_000, 'it never came');
    await new Promise((done) => void setTimeout(done, 10));
  }
}

/** A relay that was started again has closed the connection that was kept to it. */
const ask = (url: string, init?: RequestInit) => fetch(url, init).catch(() => fetch(url, init));

/** A publisher with ten hosts at one site, and two relays there that know each other and have lost their upstream. */
async function scene() {
  const place = fs.mkdtempSync(join(root, 'scene-'));
  let now = START;
  const clock = { now: () => now, monotonic: () => systemClock.monotonic() };
  const publisher = await makePublisher(join(place, 'publisher'), () => now);
  const agents = Array.from({ length: 10 }, () => makeAgent(publisher.collector));
  const ports = new Map<string, string>();
  const settingsOf = (name: string, other: string) =>
    relaySettings.parse({
      listen: ports.get(name) ?? '127.0.0.1:0',
      upstream: [publisher.folder],
      upstreamRoot: publisher.root,
      inboxForward: [join(place, 'home')],
      stateDir: join(place, name, 'state'),
      cacheDir: join(place, name, 'cache'),
      site: SITE,
      ...(ports.has(other) ? { siblings: [`http://${ports.get(other)}`] } : {}),
    });
  const [keysA, keysB] = [
    await relayKeys(foldersOf(settingsOf('a', 'b')), SITE),
    await relayKeys(foldersOf(settingsOf('b', 'a')), SITE),
  ];
  const publish = async (changes: Partial<SignedDelegation> = {}) => {
    const relays = [keysA, keysB].map(({ sign, box }) => ({ signKey: sign.publicKey, boxKey: box?.publicKey ?? '' }));
    await publisher.publish({
      patches: [],
      agents,
      sites: Object.fromEntries(agents.map(({ id }) => [id, SITE])),
      policy: fusedPolicy({ site: SITE, relays, at: now }, changes),
    });
  };
  await publish();
  const start = async (name: 'a' | 'b', upstream: boolean): Promise<RunningRelay> => {
    const settings = settingsOf(name, name === 'a' ? 'b' : 'a');
    const relay = await startRelay({ ...settings, upstream: upstream ? settings.upstream : [] }, { log: silentLog, clock });
    ports.set(name, relay.url.replace('http://', ''));
    return relay;
  };
  for (const name of ['a', 'b'] as const) {
    const relay = await start(name, true);
    await relay.sync();
    await relay.stop();
  }
  const running = new Map<string, RunningRelay>();
  for (const name of ['a', 'b'] as const) running.set(name, await start(name, false));
  closing.push(async () => {
    for (const relay of running.values()) await relay.stop();
  });
  const relay = (name: 'a' | 'b') => running.get(name) as RunningRelay;
  const recipients = [publisher.collector.publicKey, keysA.box?.publicKey ?? '', keysB.box?.publicKey ?? ''];
  return {
    place,
    publisher,
    agents,
    relay,
    keysA,
    publish,
    settings: (name: 'a' | 'b') => settingsOf(name, name === 'a' ? 'b' : 'a'),
    pass: (ms: number) => {
      now += ms;
    },
    restart: async (name: 'a' | 'b', upstream = false) => {
      await relay(name).stop();
      running.set(name, await start(name, upstream));
      if (upstream) await relay(name).sync();
    },
    /** Posts how a run ended. */
    tell: async (
      name: 'a' | 'b',
      agent: TestAgent | undefined,
      sequence: number,
      outcome: 'committed' | 'rolled-back' | 'refused',
      to = recipients,
    ) => {
      assert.ok(agent !== undefined);
      const response = await ask(`${relay(name).url}/inbox/results`, {
        method: 'POST',
        body: Uint8Array.from(runResult(agent, sequence, outcome, now, to)),
      });
      return response.status;
    },
    halts: async (name: 'a' | 'b'): Promise<SiteHalt[] | undefined> => {
      const response = await ask(`${relay(name).url}/site-halts/${SITE}.json`);
      if (response.status === 404) return undefined;
      const { records } = (await response.json()) as { records: string[] };
      return records.map((record) => decodePlain('site-halt', openRecord(Buffer.from(record)).body, 'a halt'));
    },
  };
}

test('9.8 fuse: two of ten hosts fail with one allowed; the site is halted without upstream, at both its relays, and stays so', async () => {
  const { relay, agents, tell, halts, restart, pass, place, publisher, settings } = await scene();
  for (const agent of agents.slice(0, 6)) assert.equal(await tell('a', agent, 1, 'committed'), 201);
  assert.equal(await tell('a', agents[6], 1, 'rolled-back'), 201);
  assert.equal(await tell('a', agents[6], 1, 'rolled-back'), 201, 'sealed anew: other bytes under the same number count once');
  assert.equal(
    await tell('a', agents[7], 1, 'rolled-back', [publisher.collector.publicKey]),
    201,
    'sealed to the publisher alone: not counted',
  );
  assert.equal(await tell('a', agents[8], 1, 'refused'), 201, 'nothing was tried');
  assert.equal(await halts('a'), undefined, 'one failure is allowed');
  pass(HOUR);
  await restart('a');
  assert.equal(await halts('a'), undefined);
  await tell('a', agents[9], 1, 'rolled-back');
  const [halt] = await until(() => halts('a'));
  assert.equal(halt?.name, 'fuse-all');
  assert.deepEqual(halt.groups, ['all']);
  assert.deepEqual(halt.stops, ['download', 'install']);
  assert.match(halt.reason, /2 of 8 hosts failed within 24 hours/);
  assert.deepEqual(new Set(halt.fuse?.failed), new Set([agents[6]?.id, agents[9]?.id]));
  assert.deepEqual(await until(() => halts('b')), [halt], 'sideways');
  await tell('a', agents[5], 2, 'rolled-back');
  await restart('a');
  assert.equal((await halts('a'))?.length, 1, 'kept over a restart, and signed once');
  pass(40 * 24 * HOUR);
  await restart('b');
  assert.equal((await halts('b'))?.length, 1, 'time alone releases nobody');

  const page = await (await ask(`${relay('a').url}/site/`)).text();
  assert.match(page, /site ward-7 is halted by the fuse \(fuse-all\) until .* at the latest: 2 of 8 hosts failed/);
  assert.match(page, /not signed by the publisher/);
  const etag = (await ask(`${relay('b').url}/site-halts/${SITE}.json`)).headers.get('etag') ?? '';
  const again = await ask(`${relay('b').url}/site-halts/${SITE}.json`, { headers: { 'if-none-match': etag } });
  assert.equal(again.status, 304);

  // Up: as soon as the next hop is there.
  fs.mkdirSync(join(place, 'home'));
  await until(async () => (await relay('a').forward(), fs.existsSync(join(place, 'home/records')) ? true : undefined));
  const [record = ''] = fs.readdirSync(join(place, 'home/records'));
  const opened = openRecord(fs.readFileSync(join(place, 'home/records', record)));
  assert.equal(`${opened.id}.pfr`, record);
  assert.deepEqual(decodePlain('site-halt', opened.body, record), halt);

  await relay('a').stop();
  let out = '';
  const flags = ['--state-dir', settings('a').stateDir, '--cache-dir', settings('a').cacheDir, '--site', SITE];
  const exit = await runCommandLine(program, ['status', '--json', ...flags], {
    out: (text) => void (out += text),
    err: () => undefined,
    errIsTerminal: false,
  });
  assert.equal(exit, 1);
  const status = JSON.parse(out) as { siteHalts: { name: string; state: string }[]; fuses: { state: { failures: number } }[] };
  assert.deepEqual([status.siteHalts[0]?.name, status.siteHalts[0]?.state], ['fuse-all', 'in-force']);
});

test('a fuse that the publisher lifts counts anew: old failures do not bring the halt back, new ones do', async () => {
  const { agents, tell, halts, restart, pass, publish } = await scene();
  for (const agent of agents.slice(0, 4)) await tell('a', agent, 1, 'committed');
  for (const agent of agents.slice(4, 6)) await tell('a', agent, 1, 'rolled-back');
  const [halt] = await until(() => halts('a'));
  assert.ok(halt !== undefined);
  const { id } = openRecord(signRecord(encodePlain('site-halt', halt), generateSigningKey()));
  pass(HOUR);
  await publish({ lifted: [{ halt: id, name: halt.name, at: utcSeconds(START + HOUR) }] });
  await restart('a', true);
  assert.deepEqual(await halts('a'), []);
  pass(HOUR);
  for (const agent of agents.slice(0, 4)) await tell('a', agent, 2, 'committed');
  await tell('a', agents[4], 2, 'rolled-back');
  assert.deepEqual(await halts('a'), []);
  await tell('a', agents[5], 2, 'rolled-back');
  const anew = await until(async () => (((await halts('a')) ?? []).length > 0 ? halts('a') : undefined));
  assert.notEqual(anew[0]?.signedAt, halt.signedAt);
});

test('S27 a halt that a stranger, or a relay whose power was taken back, signs is not told on', async () => {
  const { relay, halts, keysA, publish, restart } = await scene();
  const halt: SiteHalt = {
    schema: 'patchferry/site-halt',
    schemaVersion: 1,
    site: SITE,
    name: 'by-hand',
    signedAt: utcSeconds(START),
    groups: [],
    stops: ['install'],
    reason: 'because',
    until: null,
    fuse: null,
  };
  const post = async (halted: SiteHalt, key = keysA.sign, spoil = 0) => {
    const record = Buffer.from(signRecord(encodePlain('site-halt', halted), key));
    if (spoil > 0) record.writeUInt8(record.readUInt8(record.length - spoil) ^ 1, record.length - spoil);
    const response = await ask(`${relay('b').url}/inbox/records`, { method: 'POST', body: Uint8Array.from(record) });
    return [response.status, ((await response.json()) as { code?: string; state?: string }).code ?? ''];
  };
  assert.deepEqual(await post(halt, generateSigningKey()), [403, 'records.not-allowed']);
  assert.deepEqual(await post(halt, keysA.sign, 3), [403, 'record.signature']);
  assert.deepEqual(await post({ ...halt, site: 'other' }), [403, 'records.not-allowed']);
  assert.equal(await halts('b'), undefined);
  assert.deepEqual(await post(halt), [201, '']);
  assert.deepEqual(await post(halt), [200, '']);
  assert.equal((await halts('b'))?.length, 1);
  await publish({ may: ['reject'] });
  await restart('b', true);
  assert.deepEqual(await halts('b'), []);
});
