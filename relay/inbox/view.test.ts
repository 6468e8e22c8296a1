// What commands count beside a running relay is what the relay counts; and a stop with a full backlog is quick and loses nothing.
import assert from 'node:assert/strict';
import { createHash, randomBytes } from 'node:crypto';
import * as fs from 'node:fs';
import * as os from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import * as fc from 'fast-check';
import { runCommandLine } from '#manifests/platform/cli';
import { silentLog } from '#manifests/platform/log';
import { envelopeHash } from '#manifests/trust';
import { program } from '../cli/index.ts';
import { startRelay } from '../run.ts';
import { relaySettings } from '../settings.ts';
import { makeAgent, makePublisher } from '../testing/repository.ts';
import { openLedger, openSpool, type Spool, viewInbox } from './index.ts';

const root = fs.mkdtempSync(join(os.tmpdir(), 'pf-view-'));
const closing: (() => unknown)[] = [() => fs.rmSync(root, { recursive: true, force: true })];
after(async () => {
  for (const close of closing.toReversed()) await close();
});
let counter = 0;
const fresh = (name: string) => join(root, `${name}-${(counter += 1)}`);
const agents = ['ab', 'cd', 'ef'].map((part) => part.repeat(16));
const namesIn = (folder: string) => fs.readdirSync(folder, { recursive: true, encoding: 'utf8' }).toSorted();

/** No timer does anything by itself. */
const STILL = { placeAfterMs: 600_000, settleAfterMs: 600_000, settleAtLatestMs: 600_000 };
const nothingDropped = () => false;

function keep(spool: Spool, sequence: number, bytes: Uint8Array = randomBytes(60)) {
  return spool.keep('results', agents[sequence % agents.length] ?? '', sequence, envelopeHash(bytes), bytes);
}

test('after any acts of a relay, what is seen from outside is what the relay knows, also behind a torn tail; what was refused stays so', async () => {
  const act = fc.constantFrom('keep', 'enrol', 'place', 'forward', 'refuse', 'settle', 'restart');
  await fc.assert(
    fc.asyncProperty(fc.array(act, { minLength: 1, maxLength: 25 }), async (acts) => {
      const folder = fresh('inbox');
      const forwarded = fresh('forwarded');
      const options = { limits: STILL, wentOn: (bytes: Uint8Array) => ledger.has(envelopeHash(bytes)) };
      let ledger = openLedger(forwarded);
      let spool = openSpool(folder, options);
      let sequence = 0;
      const oneOf = () => spool.items(acts.length % 2 === 0 ? 'results' : 'enrolments').at(-1) ?? spool.items('results')[0];
      for (const each of acts) {
        sequence += 1;
        const item = oneOf();
        if (each === 'keep') await keep(spool, sequence);
        if (each === 'enrol') {
          const bytes = randomBytes(50);
          await spool.keep('enrolments', agents[sequence % 3] ?? '', 0, envelopeHash(bytes), bytes);
        }
        if (each === 'place') spool.place();
        if (each === 'forward' && item !== undefined) {
          ledger.add([envelopeHash(spool.read(item))]);
          spool.remove(item);
        }
        if (each === 'refuse' && item !== undefined) spool.setAside(item, 'no');
        if (each === 'settle') await spool.settle();
        if (each === 'restart') {
          const segments = fs.readdirSync(join(folder, '.journal'));
          const [last] = segments.toSorted().slice(-1);
          if (last !== undefined) fs.appendFileSync(join(folder, '.journal', last), 'PFJ2 torn');
          ledger = openLedger(forwarded);
          spool = openSpool(folder, options); // as after a kill
        }
        const before = namesIn(folder);
        const seen = viewInbox(folder, { ledger: forwarded, now: Date.now(), dropped: nothingDropped });
        const known = [...spool.items('results'), ...spool.items('enrolments')].map(({ path }) => path);
        assert.deepEqual(
          seen.flatMap(({ path }) => (path.startsWith('refused/') ? [] : [path])).toSorted(),
          known.toSorted(),
          each,
        );
        assert.equal(seen.filter(({ path }) => path.startsWith('refused/')).length, spool.counts().refused);
        assert.deepEqual(namesIn(folder), before, 'a look changes nothing');
      }
      await spool.close();
    }),
    { numRuns: 40 },
  );
});

test('a journal of version 1 is read by a start and by a look; a dropped result is not counted while its segment is there', async () => {
  const folder = fresh('inbox');
  const bytes = randomBytes(80);
  const path = `results/${agents[0]}/000000000007-${envelopeHash(bytes).slice(0, 16)}.pfe`;
  const head = Buffer.alloc(42);
  head.write('PFJ1', 'latin1');
  head.writeUInt16BE(path.length, 4);
  head.writeUInt32BE(bytes.length, 6);
  createHash('sha256').update(path).update(bytes).digest().copy(head, 10);
  fs.mkdirSync(join(folder, '.journal'), { recursive: true });
  const record = Buffer.concat([head, Buffer.from(path), bytes]);
  fs.writeFileSync(join(folder, '.journal/000000000001.pfj'), Buffer.concat([record, record.subarray(0, 90)]));
  const look = (dropped: (agent: string, sequence: number, at: number) => boolean) =>
    viewInbox(folder, { ledger: fresh('none'), now: Date.now(), dropped }).map((each) => [each.path, each.bytes]);
  assert.deepEqual(look(nothingDropped), [[path, 80]]);
  assert.deepEqual(
    look((agent, sequence) => agent === agents[0] && sequence === 7),
    [],
  );
  const spool = openSpool(folder);
  const [item] = spool.items('results');
  assert.ok(item);
  assert.deepEqual(Buffer.from(spool.read(item)), bytes);
  await spool.close();
});

test('when something came is known after a restart, too', async () => {
  const folder = fresh('inbox');
  let now = Date.parse('2026-01-01T00:00:00Z');
  const options = { limits: { ...STILL, closePlaceMs: 0 }, now: () => now };
  const spool = openSpool(folder, options);
  await keep(spool, 1);
  await spool.close();
  now += 3_600_000;
  const again = openSpool(folder, options);
  const [since] = again.unplaced();
  assert.ok(since !== undefined && Math.abs(now - 3_600_000 - since.at) < 60_000, String(since?.at));
  const [seen] = viewInbox(folder, { ledger: fresh('none'), now, dropped: nothingDropped });
  assert.equal(seen?.at, now - 3_600_000);
  await again.close();
});

test('a stop with a full backlog ends within its bound; all that was answered is there at the next start', async () => {
  const folder = fresh('inbox');
  const spool = openSpool(folder, { limits: { ...STILL, closePlaceMs: 100, closeFlushMs: 100 } });
  const count = 20_000;
  for (let at = 0; at < count; at += 1_000)
    await Promise.all(Array.from({ length: 1_000 }, (_, index) => keep(spool, at + index + 1)));
  assert.equal(spool.unplaced().length, count);
  const began = performance.now();
  await spool.close();
  const took = performance.now() - began;
  assert.ok(took < 1_200, `${Math.round(took)} ms`);
  const again = openSpool(folder, { limits: { ...STILL, closePlaceMs: 0 } });
  assert.ok(again.unplaced().length > 0, 'not all of it had the time to get a file');
  assert.equal(again.items('results').length, count);
  await again.close();
});

test('status, doctor and metrics count the same, beside a running relay and after it was stopped', async () => {
  const publisher = await makePublisher(fresh('publisher'));
  const agent = makeAgent(publisher.collector);
  await publisher.publish({ patches: [], agents: [agent] });
  const [stateDir, cacheDir] = [fresh('state'), fresh('cache')];
  const settings = { listen: '127.0.0.1:0', upstream: [publisher.folder], upstreamRoot: publisher.root, stateDir, cacheDir };
  const relay = await startRelay(relaySettings.parse({ ...settings, inboxForward: [fresh('not-there')] }), { log: silentLog });
  closing.push(() => relay.stop());
  await relay.sync();
  const post = async (path: string, body: Uint8Array) => {
    const answer = await fetch(`${relay.url}${path}`, { method: 'POST', body: Uint8Array.from(body) });
    assert.equal(answer.status, 201);
  };
  for (let sequence = 1; sequence <= 30; sequence += 1) await post('/inbox/results', agent.result(sequence));
  await post('/inbox/enrolments', makeAgent(publisher.collector).enrolment());
  const status = async () => {
    let out = '';
    const io = { out: (text: string) => void (out += text), err: () => undefined, errIsTerminal: false };
    await runCommandLine(program, ['status', '--json', '--state-dir', stateDir, '--cache-dir', cacheDir], io);
    return (JSON.parse(out) as { waiting: object }).waiting;
  };
  assert.deepEqual(await status(), { results: 30, enrolments: 1, refused: 0 });
  const metrics = await (await fetch(`${relay.url}/metrics`)).text();
  assert.match(metrics, /spool_items\{kind="results"\} 30\n.*spool_items\{kind="enrolments"\} 1\n/);
  await relay.stop();
  assert.deepEqual(await status(), { results: 30, enrolments: 1, refused: 0 });
});
