// Bundles of every kind there and back: folder, tar, 7z, volumes, several sticks, sealed, interrupted, and what people see of them.
import assert from 'node:assert/strict';
import * as fs from 'node:fs';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { generateBoxKey } from '#manifests/trust';
import { openDraft } from './draft.ts';
import { readBundleIndex } from './import.ts';
import { findBundles } from './place.ts';
import { CHUNK, makeStage, type Stage } from './testing/stage.ts';

let stage: Stage;
before(() => {
  stage = makeStage();
});
after(() => stage.end());

function fresh(): void {
  for (const path of [stage.stick, stage.staging]) {
    fs.rmSync(path, { recursive: true, force: true });
    fs.mkdirSync(path);
  }
}

function assertComplete(outcome: Awaited<ReturnType<Stage['take']>>): asserts outcome is typeof outcome & { kind: 'complete' } {
  assert.equal(outcome.kind, 'complete', JSON.stringify(outcome).slice(0, 500));
  if (outcome.kind !== 'complete') return;
  assert.deepEqual(
    [...stage.read(outcome.tree)].toSorted(([a], [b]) => (a < b ? -1 : 1)),
    [...stage.contents].toSorted(([a], [b]) => (a < b ? -1 : 1)),
  );
}

test('a folder of parts, in a folder with blanks and other letters: every file arrives', async () => {
  fresh();
  const draft = await stage.draft();
  const filled = await stage.fill(draft);
  assert.deepEqual(filled.left, []);
  assert.deepEqual(findBundles(stage.stick), [{ name: 'ward-7-000005-content', index: filled.index }]);
  assertComplete(await stage.take(filled.index));
});

for (const format of ['tar', '7z'] as const) {
  test(`one ${format} file, and volumes of it: every file arrives`, async () => {
    fresh();
    const draft = await stage.draft();
    assertComplete(await stage.take((await stage.pack(draft, format)).index));
    fresh();
    const packed = await stage.pack(await stage.draft(), format, { volumeBytes: 30_000 });
    const volumes = fs.readdirSync(stage.stick).filter((name) => /\.\d{3}$/.test(name));
    assert.equal(volumes.length, readBundleIndex(packed.index, [stage.key]).index.container?.files.length);
    assert.ok(volumes.length > 3);
    assertComplete(await stage.take(packed.index));
  });
}

test('sealed to a site: the stick shows nothing, the site reads everything, another key is told so', async () => {
  for (const kind of ['folder', 'tar'] as const) {
    fresh();
    const box = generateBoxKey();
    const draft = await stage.draft({ sealTo: [box.publicKey] });
    const { index } = kind === 'folder' ? await stage.fill(draft) : await stage.pack(draft, 'tar');
    const everything = Buffer.concat(
      fs
        .readdirSync(stage.stick, { recursive: true, withFileTypes: true })
        .filter((entry) => entry.isFile())
        .map((entry) => fs.readFileSync(join(entry.parentPath, entry.name))),
    );
    assert.equal(everything.includes('payloads/sha256'), false);
    assert.equal(everything.includes('{"root":1}'), false);
    await assert.rejects(stage.take(index), { code: 'bundle.sealed', exit: 5 });
    await assert.rejects(stage.take(index, { recipient: generateBoxKey() }), { code: 'bundle.sealed' });
    assertComplete(await stage.take(index, { recipient: box }));
  }
});

test('two sticks, any subset on each, in any order: counts what it has and names what is missing', async () => {
  fresh();
  const second = join(stage.folder, 'second stick');
  fs.mkdirSync(second);
  const draft = await stage.draft();
  const all = draft.index.chunkCount;
  const odd = Array.from({ length: all }, (_, chunk) => chunk).filter((chunk) => chunk % 2 === 1);
  const first = await stage.fill(draft, { only: odd });
  const reopened = openDraft(stage.work, draft.name);
  const rest = await stage.fill(reopened, { place: second, only: odd.map((chunk) => chunk - 1).concat(all - 1) });
  const half = await stage.take(first.index);
  assert.equal(half.kind, 'partial');
  if (half.kind !== 'partial') return;
  assert.equal(half.have, odd.length);
  assert.equal(half.total, all);
  assert.match(half.says, new RegExp(`^have ${odd.length} of ${all} chunks, missing: 0, 2, 4, 6`));
  assert.equal(fs.existsSync(join(stage.staging, draft.index.id, 'tree')), false);
  assertComplete(await stage.take(rest.index));
  fs.rmSync(second, { recursive: true });
});

test('a stick that is too small takes what fits and says what is left; refused before a byte when asked to', async () => {
  fresh();
  const draft = await stage.draft();
  const { fillFolder } = await import('./fill.ts');
  const common = { draft, signer: stage.signer, partBytes: 5 * CHUNK, capacityBytes: 20 * CHUNK + 256 * 1024 };
  await assert.rejects(fillFolder({ ...common, place: stage.stick }), { code: 'bundle.no-space' });
  assert.deepEqual(findBundles(stage.stick), []);
  const filled = await fillFolder({ ...common, place: stage.stick, whenFull: 'fill' });
  assert.ok(filled.left.length === 1 && (filled.left[0]?.first ?? 0) > 3);
  const second = join(stage.folder, 'second');
  fs.mkdirSync(second);
  const only = filled.left.flatMap(({ first, last }) => Array.from({ length: last - first + 1 }, (_, at) => first + at));
  const more = await stage.fill(draft, { place: second, only });
  await stage.take(more.index);
  assertComplete(await stage.take(filled.index));
  fs.rmSync(second, { recursive: true });
});

test('a bad chunk is named, and only that one is fetched again', async () => {
  fresh();
  const draft = await stage.draft();
  const filled = await stage.fill(draft);
  const part = join(stage.stick, `${draft.name}.pfb`, '0000005-0000009.pfp');
  const bytes = fs.readFileSync(part);
  bytes[2 * CHUNK + 17] = (bytes[2 * CHUNK + 17] ?? 0) ^ 1;
  fs.writeFileSync(part, bytes);
  const outcome = await stage.take(filled.index);
  assert.equal(outcome.kind, 'partial');
  if (outcome.kind !== 'partial') return;
  assert.deepEqual(outcome.missing, [{ first: 7, last: 7 }]);
  assert.equal(outcome.problems[0]?.code, 'bundle.file-changed');
  assert.match(outcome.problems[0]?.says ?? '', /chunk 7 in 0000005-0000009\.pfp/);
  const second = join(stage.folder, 'again');
  fs.mkdirSync(second);
  const again = await stage.fill(draft, { place: second, only: [7] });
  assert.equal(again.bytes, CHUNK);
  assertComplete(await stage.take(again.index));
  fs.rmSync(second, { recursive: true });
});
