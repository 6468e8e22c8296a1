// Bundles of every kind there and back: folder, tar, 7z, volumes, several sticks, sealed, interrupted, and what people see of them.
import assert from 'node:assert/strict';
import * as fs from 'node:fs';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { runOrThrow } from '#manifests/platform/process';
import { generateBoxKey } from '#manifests/trust';
import { openDraft } from './draft.ts';
import { dropImported, readBundleIndex } from './import.ts';
import { findBundles } from './place.ts';
import { sevenZipProgram } from './seven.ts';
import { AT, CHUNK, makeStage, type Stage } from './testing/stage.ts';
import { writeBundle } from './write.ts';

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

test('trap 18, a folder of parts, in a folder with blanks and other letters: every file arrives', async () => {
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

test('the containers are what other tools take them for: GNU tar and 7-Zip unpack them, volumes included', async () => {
  for (const [format, volumeBytes] of [
    ['tar', undefined],
    ['7z', undefined],
    ['7z', 30_000],
  ] as const) {
    fresh();
    const draft = await stage.draft();
    await stage.pack(draft, format, volumeBytes === undefined ? {} : { volumeBytes });
    const out = join(stage.folder, 'unpacked');
    fs.mkdirSync(out);
    if (format === 'tar') {
      const file = join(stage.stick, `${draft.name}.tar`);
      await runOrThrow('tar', ['-xf', file, '-C', out], { timeoutMs: 60_000 });
    } else {
      const file = join(stage.stick, `${draft.name}.7z${volumeBytes === undefined ? '' : '.001'}`);
      await runOrThrow(sevenZipProgram(), ['x', `-o${out}`, file], { timeoutMs: 60_000 });
    }
    const parts = fs.readdirSync(out).filter((name) => name.endsWith('.pfp'));
    const stream = Buffer.concat(parts.toSorted().map((name) => fs.readFileSync(join(out, name))));
    assert.deepEqual(stream, Buffer.concat([...stage.contents.values()]));
    fs.rmSync(out, { recursive: true });
  }
});

test('an export asked for again writes nothing that is there; a changed source is noticed', async () => {
  for (const format of ['folder', 'tar'] as const) {
    fresh();
    const draft = await stage.draft();
    const once = () => (format === 'folder' ? stage.fill(draft) : stage.pack(draft, format, { volumeBytes: 30_000 }));
    assert.ok((await once()).bytes > draft.index.streamBytes - 1);
    assert.equal((await once()).bytes, 0);
    const file = stage.entries.flatMap((entry) => ('file' in entry ? [entry.file] : []))[3] ?? '';
    const good = fs.readFileSync(file);
    fresh();
    fs.writeFileSync(file, Buffer.alloc(good.length));
    await assert.rejects(once(), { code: 'bundle.source-changed', exit: 5 });
    await assert.rejects(stage.draft(), { code: 'bundle.source-changed' });
    assert.deepEqual(findBundles(stage.stick), []);
    fs.writeFileSync(file, good);
  }
});

test('a part in the making that is damaged or too long is continued at its last right chunk', async () => {
  fresh();
  const draft = await stage.draft();
  const good = await stage.fill(draft);
  const folder = good.index.replace(/\.json$/, '');
  for (const harm of ['cut', 'damaged', 'longer'] as const) {
    const part = join(folder, '0000005-0000009.pfp');
    const bytes = fs.readFileSync(part);
    const partial = {
      cut: bytes.subarray(0, 2 * CHUNK + 9),
      damaged: Buffer.concat([bytes.subarray(0, 2 * CHUNK), Buffer.alloc(3 * CHUNK)]),
      longer: Buffer.concat([bytes.subarray(0, 2 * CHUNK), Buffer.alloc(9 * CHUNK)]),
    }[harm];
    fs.writeFileSync(join(folder, '.tmp-0000005-0000009.pfp'), partial);
    fs.rmSync(part);
    assert.equal((await stage.fill(draft)).bytes, 3 * CHUNK, harm);
    assert.deepEqual(fs.readFileSync(part), bytes, harm);
  }
});

test('progress counts to its total; an abort stops and can be gone on with', async () => {
  fresh();
  const seen: [number, number][] = [];
  const stop = new AbortController();
  const options = {
    work: stage.work,
    entries: stage.entries,
    place: stage.stick,
    signer: stage.signer,
    chunkBytes: CHUNK,
    about: { kind: 'content' as const, site: 'ward-7', sequence: 8, from: 'p', madeAt: AT, expires: AT + 1e9 },
    container: 'folder' as const,
    medium: 'none' as const,
    partBytes: 5 * CHUNK,
  };
  const onProgress = (bytes: number, total: number) => {
    seen.push([bytes, total]);
    if (seen.length === 45) stop.abort(new Error('stopped'));
  };
  await assert.rejects(writeBundle({ ...options, onProgress, signal: stop.signal }), /stopped/);
  assert.deepEqual(findBundles(stage.stick), []);
  const planned = await writeBundle({ ...options, dryRun: true });
  assert.deepEqual([planned.index, planned.writtenBytes, planned.files], [undefined, 0, stage.entries.length]);
  const written = await writeBundle({ ...options, onProgress: (bytes, total) => seen.push([bytes, total]) });
  assert.ok(written.writtenBytes < written.contentBytes);
  assert.ok(seen.every(([bytes, total]) => bytes <= total));
  const dry = await stage.take(written.index ?? '', { dryRun: true });
  assert.equal(dry.kind === 'planned' && dry.bytes, written.contentBytes);
  assert.equal(fs.existsSync(join(stage.staging, written.id, 'tree.part')), false);
  assertComplete(await stage.take(written.index ?? '', {}, { lastSequence: 7 }));
  dropImported(stage.staging, written.id);
  assert.equal(fs.existsSync(join(stage.staging, written.id)), false);
});

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
