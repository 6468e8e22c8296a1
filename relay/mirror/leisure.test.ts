// Looking again at leisure: real rot on disk beneath a running relay, found, served no more, repaired without a restart; the pace.
import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import * as fs from 'node:fs';
import * as os from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import * as fc from 'fast-check';
import { runCommandLine } from '#manifests/platform/cli';
import { silentLog } from '#manifests/platform/log';
import { payloadPath } from '#manifests/repository';
import { folderOrigin } from '#manifests/transfer';
import { program } from '../cli/index.ts';
import { startRelay } from '../run.ts';
import { foldersOf, relaySettings } from '../settings.ts';
import { makePublisher, sha256, type TestPatch } from '../testing/repository.ts';
import { isOverdue, readChecked } from './checked.ts';
import { collectGarbage, currentGeneration, mirrorLayout, openLeisure, syncMirror, verifyMirror } from './index.ts';
import { beginsNow, dueShare, LEISURE_LIMITS } from './leisure.ts';

const root = fs.mkdtempSync(join(os.tmpdir(), 'pf-leisure-'));
const closing: (() => unknown)[] = [() => fs.rmSync(root, { recursive: true, force: true, maxRetries: 5 })];
after(async () => {
  for (const close of closing.toReversed()) await close();
});
let counter = 0;
const fresh = (name: string) => join(root, `${name}-${(counter += 1)}`);
const patch = (id: string, size = 3_000): TestPatch => ({ id: `${id}@1`, as: 'approved', bytes: randomBytes(size) });
const DAY = 86_400_000;

/** A clock that is told what time it is; waiting is what makes it go on. */
function toldClock(start = Date.parse('2026-03-01T00:00:00Z')) {
  let at = 0;
  const waits: number[] = [];
  return {
    now: () => start + at,
    monotonic: () => at,
    forward: (ms: number) => void (at += ms),
    waits,
    pause: (ms: number) => {
      waits.push(ms);
      at += ms;
      return Promise.resolve();
    },
  };
}
type ToldClock = ReturnType<typeof toldClock>;

async function mirrored(patches: readonly TestPatch[], generations = 2) {
  const publisher = await makePublisher(fresh('publisher'));
  const folders = foldersOf({ stateDir: fresh('state'), cacheDir: fresh('cache') });
  const clock = toldClock(Date.now());
  const sync = () =>
    syncMirror({
      ...folders,
      origins: [folderOrigin(publisher.folder)],
      pinnedRoot: publisher.root,
      payloads: 'approved',
      clock,
      log: silentLog,
    });
  for (let number = 0; number < generations; number += 1) {
    await publisher.publish({ patches });
    await sync();
  }
  return { publisher, folders, clock, sync, layout: mirrorLayout(folders.mirror) };
}

function leisureOf(folders: { mirror: string; trust: string }, clock: ToldClock, everyDays = 30, onRotten = () => undefined) {
  const pull = () => Promise.resolve({ kind: 'none' });
  const { signal } = new AbortController();
  return openLeisure({ ...folders, everyDays, clock, log: silentLog, signal, onRotten, pull, pause: clock.pause });
}

function rot(file: string): void {
  const bytes = fs.readFileSync(file);
  bytes[bytes.length >> 1] = (bytes[bytes.length >> 1] ?? 0) ^ 1;
  const { mtime, atime, mode } = fs.statSync(file);
  fs.chmodSync(file, 0o644);
  fs.writeFileSync(file, bytes); // in place: every hard link has it
  fs.chmodSync(file, mode);
  fs.utimesSync(file, atime, mtime); // as a disk does it, without a trace
}

test('one bit of any held file, whichever it is: found, out of view, and back after the next sync; nothing else is touched', async () => {
  await fc.assert(
    fc.asyncProperty(fc.nat(), fc.boolean(), async (pick, byHand) => {
      const { folders, clock, sync, layout } = await mirrored([patch('a'), patch('b', 300_000)]);
      const generation = currentGeneration(layout);
      assert.ok(generation);
      const below = (folder: string) =>
        fs
          .readdirSync(folder, { recursive: true, encoding: 'utf8' })
          .map((name) => join(folder, name))
          .filter((file) => fs.lstatSync(file).isFile() && !file.endsWith('generation.json'));
      const files = [...below(join(layout.generations, String(generation.number))), ...below(layout.payloads)].toSorted();
      const victim = files[pick % files.length] ?? '';
      const others = files.filter((file) => fs.statSync(file).ino !== fs.statSync(victim).ino);
      rot(victim);
      const rotten = fs.readFileSync(victim);
      if (byHand) assert.equal((await verifyMirror({ ...folders, now: clock.now })).bad.length > 0, true, victim);
      else {
        let told = 0;
        const leisure = leisureOf(folders, clock, 30, () => void (told += 1));
        await leisure.look();
        clock.forward(30 * DAY);
        while (readChecked(layout).last === null) await leisure.look();
        await leisure.close();
        assert.ok(told > 0, victim);
      }
      assert.ok(!fs.existsSync(victim), victim);
      for (const file of others) assert.ok(fs.existsSync(file), file);
      assert.ok(readChecked(layout).found >= 1);
      assert.equal((await sync()).changed, true);
      const state = readChecked(layout);
      assert.deepEqual([state.rotten, state.repaired >= 1], [[], true]);
      const again = await verifyMirror({ ...folders, now: clock.now });
      assert.deepEqual(again.bad, []);
      assert.ok(!fs.existsSync(victim) || !fs.readFileSync(victim).equals(rotten));
      assert.doesNotThrow(() => collectGarbage({ ...folders, dryRun: true, now: Date.now() }), 'what is left can be judged');
      for (const folder of [folders.mirror, folders.state]) fs.rmSync(folder, { recursive: true });
    }),
    { numRuns: 8 },
  );
});

test('a whole pass ends within its days at an even pace, never faster than its bound, and the next begins when they are over', async () => {
  const patches = Array.from({ length: 40 }, (_, index) => patch(`p${index}`, 40_000));
  const { folders, clock, layout } = await mirrored(patches);
  const leisure = leisureOf(folders, clock);
  await leisure.look();
  const began = clock.now();
  const shares: number[] = [];
  for (let hour = 0; readChecked(layout).last === null; hour += 1) {
    clock.forward(DAY / 24);
    await leisure.look();
    const { pass } = readChecked(layout);
    if (hour % 24 === 23 && pass !== null) shares.push(pass.bytes / pass.ofBytes);
    assert.ok(hour < 30 * 24);
  }
  const days = (clock.now() - began) / DAY;
  assert.ok(days > 20 && days <= 30 * LEISURE_LIMITS.passShare + 0.1, `${days} days`);
  for (const [day, share] of shares.entries())
    assert.ok(Math.abs(share - (day + 1) / 24) < 0.1 || share > 0.95, `day ${day + 1}: ${share}`);
  const last = readChecked(layout).last;
  assert.deepEqual([last?.found, (last?.files ?? 0) > 50], [0, true]);
  // From the beginning of the pass on it is thirty days.
  await leisure.look();
  assert.equal(readChecked(layout).pass, null);
  clock.forward(5 * DAY);
  await leisure.look();
  assert.equal(readChecked(layout).pass, null);
  clock.forward(1.1 * DAY);
  await leisure.look();
  assert.notEqual(readChecked(layout).pass, null);

  // Off for months: it makes up for it, a turn at a time, at the bound and no faster.
  clock.forward(100 * DAY);
  clock.waits.length = 0;
  const from = clock.monotonic();
  await leisure.look();
  const bytes = clock.waits.length * LEISURE_LIMITS.pieceBytes;
  assert.ok(readChecked(layout).pass === null || clock.monotonic() - from >= LEISURE_LIMITS.turnMs);
  const least = 40_000 / LEISURE_LIMITS.bytesPerSecond;
  assert.ok(clock.waits.some((ms) => ms >= least * 1_000) && bytes > 0);
  await leisure.close();
});

test('pure: what is due, when a pass begins, when it is overdue, with a clock that was set', () => {
  const at = Date.parse('2026-01-01T00:00:00Z');
  assert.equal(dueShare(at, at + 12 * DAY, 30 * DAY), 0.5);
  assert.equal(dueShare(at, at - DAY, 30 * DAY), 0);
  const last = { startedAt: '2026-01-01T00:00:00Z', endedAt: '2026-01-25T00:00:00Z', files: 1, bytes: 1, found: 0 };
  assert.deepEqual(
    [0, 29, 30, -31].map((days) => beginsNow(last, 30, at + days * DAY)),
    [false, false, true, true],
  );
  assert.equal(beginsNow(null, 30, at), true);
  const pass = { startedAt: '2026-01-01T00:00:00Z', after: '', files: 0, bytes: 0, ofBytes: 1 };
  assert.deepEqual(
    [30, 31].map((days) => isOverdue({ pass, last: null }, 30, at + days * DAY)),
    [false, true],
  );
  assert.deepEqual(
    [60, 61].map((days) => isOverdue({ pass: null, last }, 30, at + days * DAY)),
    [false, true],
  );
  assert.equal(isOverdue({ pass, last }, 0, at + 1_000 * DAY), false);
});

test('S33 killed in mid-pass: the next start goes on where it was noted, and what had been found is not lost', async () => {
  const patches = Array.from({ length: 60 }, (_, index) => patch(`p${index}`, 20_000));
  const { folders, clock, layout } = await mirrored(patches);
  const first = leisureOf(folders, clock);
  await first.look();
  for (let day = 0; day < 12; day += 1) {
    clock.forward(DAY);
    await first.look();
  }
  // The process is gone here, without a word; what is on disk is what it noted.
  const noted = readChecked(layout).pass;
  assert.ok(noted !== null && noted.files > 10 && noted.after !== '', JSON.stringify(noted));
  const { files } = noted;
  const next = leisureOf(folders, clock);
  clock.forward(30 * DAY);
  while (readChecked(layout).last === null) await next.look();
  const whole = (await verifyMirror({ ...folders, now: clock.now })).files + patches.length + 1;
  const { last } = readChecked(layout);
  assert.ok((last?.files ?? 0) <= whole && (last?.files ?? 0) > files, `${last?.files} of ${whole}, ${files} before`);
  // A state that is torn begins anew and loses nothing else.
  fs.writeFileSync(layout.checked, fs.readFileSync(layout.checked).subarray(0, 40));
  assert.equal(readChecked(layout).pass, null);
  await leisureOf(folders, clock).look();
  assert.notEqual(readChecked(layout).pass, null);
});

async function relayWith(patches: readonly TestPatch[], settings: object = {}) {
  const publisher = await makePublisher(fresh('publisher'));
  await publisher.publish({ patches });
  let offset = 0;
  const clock = { now: () => Date.now() + offset, monotonic: () => performance.now() + offset };
  const places = { stateDir: fresh('state'), cacheDir: fresh('cache') };
  const common = { listen: '127.0.0.1:0', upstream: [publisher.folder], upstreamRoot: publisher.root, verifyEveryDays: 2 };
  const parsed = relaySettings.parse({ ...common, ...places, ...settings });
  const pause = () => Promise.resolve();
  const relay = await startRelay(parsed, { log: silentLog, clock, pause });
  closing.push(() => relay.stop());
  await relay.sync();
  const layout = mirrorLayout(foldersOf(parsed).mirror);
  const get = async (path: string) => {
    const answer = await fetch(`${relay.url}/${path}`);
    return { status: answer.status, bytes: Buffer.from(await answer.arrayBuffer()) };
  };
  const until = async (done: () => boolean | Promise<boolean>) => {
    for (const end = performance.now() + 30_000; !(await done()); ) {
      assert.ok(performance.now() < end, 'it does not come about');
      await relay.verify();
      await new Promise((next) => setTimeout(next, 5));
    }
  };
  const forward = (ms: number) => void (offset += ms);
  return {
    publisher,
    relay,
    layout,
    get,
    until,
    forward,
    parsed,
    flags: ['--state-dir', places.stateDir, '--cache-dir', places.cacheDir],
  };
}

async function cli(...args: string[]) {
  let out = '';
  const io = { out: (text: string) => void (out += text), err: () => undefined, errIsTerminal: false };
  const exit = await runCommandLine(program, args, io);
  return { exit, out };
}

test('bit rot beneath a running relay: a payload and a document from memory are served no more and come back, without a restart', async () => {
  const [good, other] = [patch('good', 200_000), patch('other')];
  const { layout, get, until, forward, relay, flags } = await relayWith([good, other]);
  const path = payloadPath(sha256(good.bytes));
  const roster = currentGeneration(layout)?.targets.find((target) => target.path.startsWith('roster/'));
  const document = `targets/roster/${roster?.sha256}.roster.json.zst`;
  for (const each of [path, document]) assert.equal((await get(each)).status, 200); // the small one is in memory from now on
  for (const each of [path, document]) rot(join(layout.current, each));
  await relay.verify();
  const before = currentGeneration(layout)?.number ?? 0;
  forward(1.9 * DAY);
  await until(() => readChecked(layout).found >= 2);
  await until(() => readChecked(layout).rotten.length === 0 && readChecked(layout).last !== null);
  await until(async () => (await get(document)).status === 200);
  assert.deepEqual((await get(path)).bytes, good.bytes);
  assert.equal(sha256((await get(document)).bytes), roster?.sha256);
  assert.ok((currentGeneration(layout)?.number ?? 0) > before);
  const { found, repaired } = readChecked(layout);
  assert.deepEqual([found, repaired], [2, 2]);
  forward(3_000);
  const metrics = await (await fetch(`${relay.url}/metrics`)).text();
  assert.match(metrics, /rot_found_total 2\n/);
  assert.match(metrics, /rot_repaired_total 2\n/);
  assert.match(metrics, /relay_rotten_files\{state="lost"\} 0\n/);
  assert.match(metrics, /verified_timestamp_seconds \d+/);
  const status = await cli('status', ...flags);
  assert.equal(status.exit, 0, status.out);
  assert.match(status.out, /verified: .*2 rotten in all, 2 repaired/);
});

test('what no upstream has is told by name until one has it, and asked for again by itself', async () => {
  const lost = patch('libzip', 5_000);
  const { publisher, layout, get, until, forward, relay, flags } = await relayWith([lost, patch('b')]);
  const path = payloadPath(sha256(lost.bytes));
  const away = fresh('away');
  fs.renameSync(join(publisher.folder, path), away);
  rot(join(layout.current, path));
  await relay.verify();
  forward(1.9 * DAY);
  await until(() => readChecked(layout).rotten.some((each) => each.lost));
  assert.equal((await get(path)).status, 404);
  const status = await cli('status', ...flags);
  assert.equal(status.exit, 1);
  assert.match(
    status.out,
    /look at: {4}1 file was rotten on this disk, and no upstream has it: test-1 libzip all \(payloads\//,
  );
  const doctor = await cli('doctor', ...flags);
  assert.match(doctor.out, /look {2}rot: 1 file was rotten/);
  forward(3_000);
  assert.match(await (await fetch(`${relay.url}/site/`)).text(), /no upstream has it: test-1 libzip all/);
  fs.renameSync(away, join(publisher.folder, path));
  forward(LEISURE_LIMITS.askAgainMs);
  await until(() => readChecked(layout).rotten.length === 0);
  assert.deepEqual((await get(path)).bytes, lost.bytes);
});

test('in hours without payloads what is rotten is served no more and waits; it comes with the next free hour', async () => {
  // By the clock of the relay: free on every day but the one after tomorrow.
  const days = ['sun', 'mon', 'tue', 'wed', 'thu', 'fri', 'sat'] as const;
  const closed = days[new Date(Date.now() + 2 * DAY).getUTCDay()];
  const line = { profile: [{ days: [closed], from: '00:00', to: '24:00', metadataOnly: true }] };
  const one = patch('one', 9_000);
  const { layout, get, until, forward, relay } = await relayWith([one], { line });
  const path = payloadPath(sha256(one.bytes));
  await relay.verify();
  rot(join(layout.current, path));
  forward(2 * DAY);
  await until(() => readChecked(layout).rotten.some(({ askedAt, lost }) => askedAt !== null && !lost));
  assert.ok([404, 503].includes((await get(path)).status));
  assert.equal(currentGeneration(layout)?.waiting, 1);
  forward(DAY);
  await relay.sync();
  assert.equal(readChecked(layout).rotten.length, 0);
  assert.deepEqual((await get(path)).bytes, one.bytes);
});

test('a list of damaged payloads that an older version left is read, and a good payload on it is not fetched again', async () => {
  const keep = patch('keep');
  const { publisher, layout, sync } = await mirrored([keep]);
  fs.writeFileSync(layout.damaged, `${sha256(keep.bytes)}\nnot a hash\n`);
  fs.rmSync(join(publisher.folder, payloadPath(sha256(keep.bytes))));
  const report = await sync();
  assert.deepEqual([report.changed, report.generation.absent, fs.existsSync(layout.damaged)], [true, 0, false]);
});
