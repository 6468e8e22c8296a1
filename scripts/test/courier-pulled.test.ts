// The stick pulled out at random moments of every loop: the publisher's exchange, collect and export, a relay's and an agent's
// import, and their exports. What was there before is there still, nothing half is ever visible, and the same command goes on once
// the stick is back. All of it in memory where there is /dev/shm: it is about order, not about a disk.
import assert from 'node:assert/strict';
import { randomBytes, randomInt } from 'node:crypto';
import * as fs from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { after, test } from 'node:test';
import { findBundles, verifyBundle } from '#manifests/bundle';
import { runCommandLine } from '#manifests/platform/cli';
import { run } from '#manifests/platform/process';
import { bareEnvironment } from '#manifests/platform/testing/environment';
import { agentProgram } from '../../agent/cli/index.ts';
import { currentGeneration, mirrorLayout, verifyMirror } from '../../relay/mirror/index.ts';
import { until } from '../fleet/index.ts';
import { type ClosedSite, closedSite, filesOf } from './closed-site.ts';
import { type PulledStick, pulledStick } from './pulled-stick.ts';

/** Of each loop; fewer by hand, while something is tried out. */
const POINTS = Number(process.env['PATCHFERRY_POINTS'] ?? 100);
/** Milliseconds one loop may take; a machine that is too slow ends it with a failure, never for ever. */
const LOOP_MS = 600_000;
/** A test holds two loops. */
const BOUNDED = { timeout: 2 * LOOP_MS + 60_000 };
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

async function open(): Promise<ClosedSite> {
  const memory = fs.existsSync('/dev/shm') ? '/dev/shm' : tmpdir();
  const world = await closedSite(fs.mkdtempSync(join(memory, 'patchferry-pulled-')));
  worlds.push(world);
  return world;
}

interface Ended {
  readonly exit: number;
  readonly out: string;
  readonly err: string;
}

interface Loop {
  readonly stick: string;
  /** Folders that a point starts with as they are now; the stick is one of them. */
  readonly folders: readonly string[];
  command(): Promise<Ended>;
  /** Right after the stick was pulled, while it is out: what must hold already. */
  whenOut(): Promise<void> | void;
  /** After the same command was run again. */
  atLast(again: Ended): Promise<void> | void;
}

/** Pulls the stick at so many random operations of one command, each from the same start, and runs the command again. */
async function pull(t: { diagnostic(says: string): void }, loop: Loop): Promise<void> {
  const next = random(seed);
  t.diagnostic(`seed ${seed} (PATCHFERRY_SEED repeats it)`);
  const saved = loop.folders.map((folder) => ({ folder, copy: `${folder} as it was` }));
  for (const { folder, copy } of saved)
    fs.cpSync(folder, copy, { recursive: true, verbatimSymlinks: true, preserveTimestamps: true });
  const reset = () => {
    for (const { folder, copy } of saved) {
      fs.rmSync(folder, { recursive: true, force: true });
      fs.cpSync(copy, folder, { recursive: true, verbatimSymlinks: true, preserveTimestamps: true });
    }
  };
  const ends = new Map<string, number>();
  const medium: PulledStick = pulledStick(loop.stick);
  const started = performance.now();
  try {
    medium.putIn();
    const whole = await loop.command();
    assert.ok([0, 3].includes(whole.exit), whole.out + whole.err);
    const operations = medium.count();
    for (let point = 0; point < POINTS; point += 1) {
      assert.ok(performance.now() - started < LOOP_MS, `${point} points took longer than ${LOOP_MS} ms`);
      reset();
      const at = 1 + Math.floor(next() * operations);
      medium.putIn(at);
      const cut = await loop.command();
      const code = /(?:code: +|\()([a-z-]+\.[a-z-]+)/.exec(cut.out + cut.err)?.[1] ?? `exit ${cut.exit}`;
      ends.set(code, (ends.get(code) ?? 0) + 1);
      assert.notEqual(cut.exit, 70, `at ${at}: ${cut.err}`);
      medium.putIn();
      await loop.whenOut();
      const again = await loop.command();
      assert.ok([0, 3].includes(again.exit), `at ${at}: ${again.out}${again.err}`);
      await loop.atLast(again);
    }
    t.diagnostic(`${operations} operations; ended with ${[...ends].map(([code, count]) => `${code} ${count}x`).join(', ')}`);
    assert.ok((ends.get('bundle.medium-gone') ?? 0) > POINTS / 4, 'the stick was really pulled');
  } finally {
    medium.restore();
    for (const { copy } of saved) fs.rmSync(copy, { recursive: true, force: true });
  }
}

/** Every bundle that a reader would find on the stick is whole and right. */
async function onlyWhole(stick: string): Promise<number> {
  const found = findBundles(stick);
  for (const { index, name } of found) {
    const { have, total, problems } = await verifyBundle({ index, keys: 'any' });
    assert.equal(have, total, `${name}: ${JSON.stringify(problems)}`);
  }
  return found.length;
}

/** A publisher with two releases, the second of several chunks; a relay that has the first, and the stick it came on. */
async function withRelay() {
  const world = await open();
  const { stick } = world;
  await world.publish(0, 'publish', '--payloads', 'all');
  const relay = await world.relay('ward-7');
  await world.publish(0, 'bundle', 'site', 'add', relay.card);
  await world.publish(0, 'bundle', 'stick', stick, '--label', 'blue');
  await world.publish(0, 'bundle', 'exchange', stick);
  assert.equal((await relay.run('import', stick)).exit, 0);
  const served = await relay.start();
  const code = String((await world.publisher.json('agent', 'invite', '--group', 'all'))['code']);
  await world.agent('a', 'enroll', '--code', code, '--relay', served.url, '--root', world.publisher.root);
  const waiting = () => filesOf(relay.folders.inbox).some((file) => /enrolments.*\.pfe$/.test(file));
  await until('the enrolment to get its file', 10, () => (waiting() ? true : undefined));
  await served.stop();
  await world.publisher.addRelease('1.1.0', randomBytes(5 * 1024 * 1024)); // several chunks
  await world.publish(0, 'source', 'sync');
  await world.publish(0, 'publish', '--payloads', 'all');
  return { world, relay, stick };
}

test(`a stick pulled at ${POINTS} moments of a publisher's exchange, and at ${POINTS} of a collect`, BOUNDED, async (t) => {
  const { world, relay, stick } = await withRelay();
  const { home } = world.publisher;
  assert.equal((await relay.run('export', stick)).exit, 0);
  const pending = () => {
    const folder = join(home, 'pending');
    return fs.existsSync(folder) ? fs.readdirSync(folder).filter((name) => name.endsWith('.json')).length : 0;
  };
  await t.test('exchange', (inner) =>
    pull(inner, {
      stick,
      folders: [stick, home],
      command: () => world.publisher.run('bundle', 'exchange', stick),
      whenOut: async () => void (await onlyWhole(stick)),
      async atLast() {
        assert.equal(await onlyWhole(stick), 2, 'the return, and the new content in place of the old');
        assert.equal(pending(), 1);
        assert.ok(fs.existsSync(join(stick, 'ward-7-000002-content.pfb.json')));
      },
    }),
  );
  await t.test('collect --from', (inner) =>
    pull(inner, {
      stick,
      folders: [stick, home],
      command: () => world.publisher.run('collect', '--from', stick),
      whenOut: async () => void (await onlyWhole(stick)),
      atLast: () => assert.equal(pending(), 1),
    }),
  );
});

test(`a stick pulled at ${POINTS} moments of a relay's visit, and at ${POINTS} of its export alone`, BOUNDED, async (t) => {
  const { world, relay, stick } = await withRelay();
  const ward = join(world.folder, 'ward-7');
  await t.test('export', (inner) =>
    pull(inner, {
      stick,
      folders: [stick, ward],
      command: () => relay.run('export', stick),
      whenOut: async () => void (await onlyWhole(stick)),
      async atLast() {
        assert.equal(await onlyWhole(stick), 2);
      },
    }),
  );
  await world.publish(0, 'bundle', 'exchange', stick);
  const layout = () => mirrorLayout(relay.folders.mirror);
  await t.test('import and the answers', (inner) =>
    pull(inner, {
      stick,
      folders: [stick, ward],
      command: () => relay.run('import', stick),
      async whenOut() {
        const seen = currentGeneration(layout());
        assert.ok(seen !== undefined && (seen.number === 1 || seen.payloadCount === 2), 'the old state or the whole new one');
        await onlyWhole(stick);
      },
      async atLast() {
        assert.equal(currentGeneration(layout())?.payloadCount, 2);
        const { mirror, trust } = relay.folders;
        assert.deepEqual((await verifyMirror({ mirror, trust, now: Date.now })).bad, []);
        await onlyWhole(stick);
      },
    }),
  );
});

test(
  `a stick pulled at ${POINTS} moments of a host's import without any relay, and at ${POINTS} of its export`,
  BOUNDED,
  async (t) => {
    const world = await open();
    const { stick } = world;
    await world.publish(0, 'publish', '--payloads', 'all');
    const key = await world.agent('pump', 'courier', 'key', '--site', 'pump-3');
    await world.publish(0, 'bundle', 'site', 'add', key.out.trim());
    await world.publish(0, 'bundle', 'stick', stick, '--label', 'red');
    await world.publish(0, 'bundle', 'exchange', stick);
    assert.equal((await world.agent('pump', 'import', stick)).exit, 0);
    const home = join(world.folder, 'agent pump');
    const repository = join(home, 'state', 'courier', 'repository');
    const code = String((await world.publisher.json('agent', 'invite', '--group', 'all'))['code']);
    await world.agent('pump', 'enroll', '--code', code, '--relay', repository, '--root', world.publisher.root);
    await world.publisher.addRelease('1.1.0', randomBytes(5 * 1024 * 1024));
    await world.publish(0, 'source', 'sync');
    await world.publish(0, 'publish', '--payloads', 'all');
    const agent = async (...words: string[]): Promise<Ended> => {
      let out = '';
      let err = '';
      const streams = {
        out: (text: string) => void (out += text),
        err: (text: string) => void (err += text),
        errIsTerminal: false,
      };
      return { exit: await runCommandLine(agentProgram, [...words, '--config', join(home, 'agent.yaml')], streams), out, err };
    };
    await t.test('export', (inner) =>
      pull(inner, {
        stick,
        folders: [stick, home],
        command: () => agent('export', stick),
        whenOut: async () => void (await onlyWhole(stick)),
        async atLast() {
          assert.equal(await onlyWhole(stick), 2);
        },
      }),
    );
    await world.publish(0, 'bundle', 'exchange', stick);
    const timestamp = () => fs.readFileSync(join(repository, 'metadata', 'timestamp.json'), 'utf8');
    const old = timestamp();
    const payloads = () => filesOf(join(repository, 'payloads')).filter((file) => /\/[0-9a-f]{64}$/.test(file)).length;
    await t.test('import and the answers', (inner) =>
      pull(inner, {
        stick,
        folders: [stick, home],
        command: () => agent('import', stick),
        whenOut() {
          assert.ok(timestamp() === old || payloads() >= 1, 'the old state or the whole new one');
        },
        async atLast() {
          assert.notEqual(timestamp(), old);
          assert.equal(await onlyWhole(stick), 2);
          const whole = await agent('import', stick);
          assert.ok([0, 3].includes(whole.exit));
        },
      }),
    );
  },
);

test('S33 an import killed at writes, renames and flushes all along its way: old or new, and the same command goes on', async (t) => {
  const next = random(seed);
  t.diagnostic(`seed ${seed}`);
  const site = await open();
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
        env: bareEnvironment({ LC_ALL: 'C.UTF-8', ...env }),
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
    const { mirror, trust } = relay.folders;
    assert.deepEqual((await verifyMirror({ mirror, trust, now: Date.now })).bad, [], `at ${at}`);
  }
});
