// Row S28: the stick pulled out at every act of export and of import, or the process killed at random ones. Nothing wrong becomes visible,
// and the same command once more ends as if nothing had happened.
import assert from 'node:assert/strict';
import { randomInt } from 'node:crypto';
import * as fs from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { isFault } from '#manifests/errors';
import { run } from '#manifests/platform/process';
import { memorySigner } from '#manifests/trust';
import { importBundle } from './import.ts';
import { findBundles } from './place.ts';
import { carryOut, DAY, type Order, pairOf } from './testing/act.ts';
import { faultyDisk } from './testing/faulty.ts';
import { AT, CHUNK, makeStage, type Stage } from './testing/stage.ts';
import { writeBundle } from './write.ts';

const SEED = Number(process.env['PATCHFERRY_SEED'] ?? randomInt(2 ** 31));
const KILLS = 6;
const KEY_SEED = 'a key of the test';

/** A small generator of numbers that the seed makes again (mulberry32, public domain). */
function randomFrom(seed: number): (below: number) => number {
  let state = seed;
  return (below) => {
    state = (state + 0x6d2b79f5) | 0;
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state);
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed;
    return ((mixed ^ (mixed >>> 14)) >>> 0) % below;
  };
}

const random = randomFrom(SEED);
let stage: Stage;
let files: Order['files'];
/** On a memory file system where there is one: hundreds of flushes are not what is tested here. */
let home: string;

before(() => {
  process.stdout.write(`# seed ${SEED} (PATCHFERRY_SEED=${SEED} runs the same points again)\n`);
  stage = makeStage({ payloads: [20_000, 1, 4_096, 50_000, 30_001] });
  files = stage.entries.flatMap((entry) => ('file' in entry ? [{ ...entry, sha256: entry.sha256 ?? '' }] : []));
  home = fs.mkdtempSync(join(fs.existsSync('/dev/shm') ? '/dev/shm' : tmpdir(), 'patchferry-pull-'));
});
after(() => {
  stage.end();
  fs.rmSync(home, { recursive: true, force: true });
});

const common = { seed: KEY_SEED, index: '', at: 0 };
let rounds = 0;

function order(container: Order['container']): Order {
  rounds += 1;
  const [place, work, staging] = ['stick ü', 'work', 'staging'].map((name) => join(home, String(rounds), name)) as [
    string,
    string,
    string,
  ];
  for (const path of [place, work, staging]) fs.mkdirSync(path, { recursive: true });
  return { ...common, act: 'export', place, work, staging, container, files };
}

/** Whatever a reader finds now is either no bundle, or a right one, or one whose missing parts are said to be missing. */
async function assertNothingWrong(given: Order): Promise<void> {
  for (const { index } of findBundles(given.place)) {
    const staging = join(given.place, '..', `reader ${fs.readdirSync(join(given.place, '..')).length}`);
    const accept = {
      keys: [pairOf(KEY_SEED).publicKey],
      kind: 'content' as const,
      site: 'ward-7',
      lastSequence: 0,
      now: AT + DAY,
    };
    const outcome = await importBundle({ index, staging, accept, medium: 'none' }).catch((error: unknown) => error);
    if (isFault(outcome)) continue;
    assertRight(given, (outcome as { tree?: string }).tree);
  }
}

function assertRight(given: Order, tree: string | undefined): void {
  if (tree === undefined) return;
  const found = stage.read(tree);
  assert.equal(found.size, given.files.length);
  for (const { path } of given.files) assert.ok(found.get(path)?.equals(stage.contents.get(path) as Buffer), path);
}

async function exported(given: Order, at: number): Promise<{ acts: number; error: unknown }> {
  const disk = faultyDisk(at, 'pull');
  const written = await writeBundle({
    work: given.work,
    place: given.place,
    entries: given.files,
    about: { kind: 'content', site: 'ward-7', sequence: 5, from: 'publisher', madeAt: AT, expires: AT + 30 * DAY },
    chunkBytes: CHUNK,
    partBytes: 9 * CHUNK,
    signer: memorySigner(pairOf(KEY_SEED)),
    container: given.container,
    medium: 'none',
    disk,
  }).catch((error: unknown) => error);
  return { acts: disk.acts(), error: written instanceof Error ? written : undefined };
}

async function imported(given: Order, index: string, at: number) {
  const disk = faultyDisk(at, 'pull');
  const accept = {
    keys: [pairOf(KEY_SEED).publicKey],
    kind: 'content' as const,
    site: 'ward-7',
    lastSequence: 0,
    now: AT + DAY,
  };
  const outcome = await importBundle({ index, staging: given.staging, accept, medium: 'none', disk }).catch(
    (error: unknown) => error,
  );
  return { acts: disk.acts(), outcome };
}

for (const container of ['folder', 'tar'] as const) {
  test(`S28 pulled at every act of an export (${container}): nothing wrong is visible, and it goes on`, async () => {
    const { acts } = await exported(order(container), 0);
    for (let at = 1; at <= acts; at++) {
      const given = order(container);
      const { error } = await exported(given, at);
      // The last act of all takes the draft away: the bundle is written then.
      assert.ok(isFault(error, 'bundle.medium-gone') || at === acts, `act ${at} of ${acts}: ${String(error)}`);
      await assertNothingWrong(given);
      const index = await carryOut(given);
      assertRight(given, await carryOut({ ...given, act: 'import', index }));
    }
  });

  test(`S28 pulled at every act of an import (${container}): nothing is visible, and it goes on`, async () => {
    const made = order(container);
    const index = await carryOut(made);
    const { acts } = await imported(order(container), index, 0);
    for (let at = 1; at <= acts; at++) {
      const given = order(container);
      const { outcome } = await imported(given, index, at);
      const [id = ''] = fs.readdirSync(given.staging).filter((name) => /^[0-9a-f]{32}$/.test(name));
      const tree = join(given.staging, id, 'tree');
      assertRight(given, id !== '' && fs.existsSync(tree) ? tree : undefined);
      assert.ok(isFault(outcome, 'bundle.medium-gone'), `act ${at} of ${acts}: ${String(outcome)}`);
      const again = await carryOut({ ...given, act: 'import', index });
      assert.ok(again !== '', `act ${at}: the second run is not complete`);
      assertRight(given, again);
    }
  });

  test(`S28 SIGKILL at ${KILLS} random acts of export and import (${container}): the next run goes on`, async () => {
    const script = join(import.meta.dirname, 'testing/act.ts');
    const { acts } = await exported(order(container), 0);
    for (let round = 0; round < KILLS; round++) {
      const given = order(container);
      const at = 1 + random(acts);
      const args = (more: Partial<Order>) => [script, JSON.stringify({ ...given, ...more })];
      const killed = await run(process.execPath, args({ at }), { timeoutMs: 60_000 });
      assert.equal(killed.signal, 'SIGKILL', killed.stderr);
      await assertNothingWrong(given);
      const index = await carryOut(given);
      await run(process.execPath, args({ act: 'import', index, at: 1 + random(acts) }), { timeoutMs: 60_000 });
      assertRight(given, await carryOut({ ...given, act: 'import', index }));
    }
  });
}

test('S28 an export that goes on writes no chunk twice, an import reads none twice', async () => {
  const given = order('folder');
  const { acts } = await exported(given, 0);
  const again = order('folder');
  await exported(again, Math.floor(acts * 0.7));
  const onStick = fs
    .readdirSync(join(again.place, 'ward-7-000005-content.pfb'))
    .reduce((sum, name) => sum + fs.statSync(join(again.place, 'ward-7-000005-content.pfb', name)).size, 0);
  assert.ok(onStick > 10 * CHUNK);
  const written = await writeBundle({
    work: again.work,
    place: again.place,
    entries: again.files,
    about: { kind: 'content', site: 'ward-7', sequence: 5, from: 'publisher', madeAt: AT + 1_000, expires: AT + 31 * DAY },
    chunkBytes: CHUNK,
    partBytes: 9 * CHUNK,
    signer: memorySigner(pairOf(KEY_SEED)),
    container: 'folder',
    medium: 'none',
  });
  assert.ok(
    written.writtenBytes <= written.contentBytes - onStick + 2 * CHUNK,
    `${written.writtenBytes} of ${written.contentBytes}`,
  );
});
