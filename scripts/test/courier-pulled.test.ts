// The stick pulled out at random moments of an import into a relay and of exports at both ends: what was served before is served
// still, nothing half is ever visible, and the same command goes on once the stick is back.
import assert from 'node:assert/strict';
import { randomBytes, randomInt } from 'node:crypto';
import * as fs from 'node:fs';
import { join, resolve } from 'node:path';
import { after, test } from 'node:test';
import { run } from '#manifests/platform/process';
import { currentGeneration, mirrorLayout, verifyMirror } from '../../relay/mirror/index.ts';
import { type ClosedSite, closedSite } from './closed-site.ts';
import { pulledStick } from './pulled-stick.ts';

const POINTS = 40;
const KILLS = 15;
const RELAY = resolve(import.meta.dirname, '../../relay/main.ts');
const KILL_AT = resolve(import.meta.dirname, '../../relay/testing/kill-at.ts');
const seed = Number(process.env['PATCHFERRY_SEED'] ?? randomInt(2 ** 31));

/** Mulberry32: the same numbers for the same seed. */
function random(from: number): () => number {
  let state = from >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61)) ^ mixed;
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
}

const worlds: ClosedSite[] = [];
after(() => {
  for (const world of worlds) world.remove();
});

test(`a stick pulled at ${POINTS} random moments of an import, and of exports at both ends`, async (t) => {
  t.diagnostic(`seed ${seed} (PATCHFERRY_SEED repeats it)`);
  const next = random(seed);
  const site = await closedSite();
  worlds.push(site);
  const { stick, folder } = site;
  await site.publish(0, 'publish', '--payloads', 'all');
  const relay = await site.relay('ward-7');
  await site.publish(0, 'bundle', 'site', 'add', relay.card);
  await site.publish(0, 'bundle', 'stick', stick, '--label', 'blue');
  await site.publish(0, 'bundle', 'export', 'ward-7', stick);
  assert.equal((await relay.run('import', stick)).exit, 0);
  await site.publisher.addRelease('1.1.0', randomBytes(9 * 1024 * 1024)); // several chunks
  await site.publish(0, 'source', 'sync');
  await site.publish(0, 'publish', '--payloads', 'all');

  const layout = () => mirrorLayout(relay.folders.mirror);
  const base = join(folder, 'base');
  const ward = join(folder, 'ward-7');
  fs.cpSync(ward, base, { recursive: true, verbatimSymlinks: true });
  const reset = () => {
    fs.rmSync(ward, { recursive: true });
    fs.cpSync(base, ward, { recursive: true, verbatimSymlinks: true });
  };
  const ends = new Map<string, number>();
  const note = (out: string) => {
    const code = /code: +(\S+)/.exec(out)?.[1] ?? 'done';
    ends.set(code, (ends.get(code) ?? 0) + 1);
  };
  const medium = pulledStick(stick);
  try {
    medium.putIn();
    await site.publish(0, 'bundle', 'export', 'ward-7', stick);
    const writing = medium.count();
    for (let point = 0; point < POINTS / 2; point += 1) {
      for (const name of fs.readdirSync(stick).filter((one) => one.startsWith('ward-7-000002')))
        fs.rmSync(join(stick, name), { recursive: true });
      medium.putIn(1 + Math.floor(next() * writing));
      const cut = await site.publisher.run('bundle', 'export', 'ward-7', stick);
      note(cut.err);
      assert.notEqual(cut.exit, 70, cut.err);
      medium.putIn();
      await site.publish(0, 'bundle', 'export', 'ward-7', stick);
    }
    medium.putIn();
    const whole = await relay.run('import', stick);
    const reading = medium.count();
    assert.match(whole.out, /imported: ward-7-000002-content/, whole.err);
    for (let point = 0; point < POINTS; point += 1) {
      reset();
      medium.putIn(1 + Math.floor(next() * reading));
      const cut = await relay.run('import', stick);
      note(cut.out + cut.err);
      assert.notEqual(cut.exit, 70, cut.err);
      const seen = currentGeneration(layout());
      assert.ok(seen !== undefined && (seen.number === 1 || seen.payloadCount === 2), 'the old state or the whole new one');
      medium.putIn();
      const again = await relay.run('import', stick);
      assert.ok([0, 3].includes(again.exit), `${again.out}${again.err}`);
      assert.equal(currentGeneration(layout())?.payloadCount, 2);
    }
    const sound = await verifyMirror({
      mirror: relay.folders.mirror,
      trust: relay.folders.trust,
      lock: relay.folders.lock,
      now: Date.now,
    });
    assert.deepEqual(sound.bad, []);
  } finally {
    medium.restore();
  }
  t.diagnostic(`ended with ${[...ends].map(([code, count]) => `${code} ${count}x`).join(', ')}`);
  assert.ok((ends.get('bundle.medium-gone') ?? 0) > 3, 'the stick was really pulled');
});

test('S33 an import killed at writes, renames and flushes all along its way: old or new, and the same command goes on', async (t) => {
  const next = random(seed);
  t.diagnostic(`seed ${seed}`);
  const site = await closedSite();
  worlds.push(site);
  await site.publish(0, 'publish', '--payloads', 'all');
  const relay = await site.relay('ward-7');
  await site.publish(0, 'bundle', 'site', 'add', relay.card);
  await site.publish(0, 'bundle', 'stick', site.stick, '--label', 'blue');
  await site.publish(0, 'bundle', 'export', 'ward-7', site.stick);
  const ward = join(site.folder, 'ward-7');
  const base = join(site.folder, 'base');
  fs.cpSync(ward, base, { recursive: true, verbatimSymlinks: true });
  const flags = ['--state-dir', join(ward, 'state'), '--cache-dir', join(ward, 'cache'), '--site', 'ward-7'];
  const node = (env: Record<string, string>) =>
    run(
      process.execPath,
      ['--import', KILL_AT, RELAY, 'import', site.stick, ...flags, '--upstream-root', site.publisher.root],
      {
        timeoutMs: 60_000,
        env: { PATH: process.env['PATH'] ?? '', LC_ALL: 'C.UTF-8', ...env },
      },
    );
  const countFile = join(site.folder, 'count');
  const whole = await node({ PATCHFERRY_TEST_COUNT: countFile });
  assert.equal(whole.code, 0, whole.stderr);
  const acts = Number(fs.readFileSync(countFile, 'utf8'));
  assert.ok(acts > 30, String(acts));
  for (let point = 0; point < KILLS; point += 1) {
    fs.rmSync(ward, { recursive: true });
    fs.cpSync(base, ward, { recursive: true, verbatimSymlinks: true });
    const at = 1 + Math.floor(next() * acts);
    const killed = await node({ PATCHFERRY_TEST_KILL_AT: String(at) });
    assert.ok(
      killed.signal === 'SIGKILL' || killed.code === 0 || killed.code === 3,
      `at ${at}: ${killed.code} ${killed.stderr}`,
    );
    const again = await relay.run('import', site.stick);
    assert.ok([0, 3].includes(again.exit), `at ${at}: ${again.out}${again.err}`);
    const { mirror, trust, lock } = relay.folders;
    assert.deepEqual((await verifyMirror({ mirror, trust, lock, now: Date.now })).bad, [], `at ${at}`);
  }
});
