// Rows S29 to S31 of the threat table: bundles of the wrong place, time or hand, sticks that are none, hostile lists. Each builds its
// attack, none may place or change anything. S28 is in pull.test.ts, archives and S32 in attacks-containers.test.ts.
import assert from 'node:assert/strict';
import * as fs from 'node:fs';
import { join } from 'node:path';
import { beforeEach, describe, test } from 'node:test';
import { generateSigningKey, memorySigner } from '#manifests/trust';
import { readBundleIndex } from './import.ts';
import { prepareMedium } from './medium.ts';
import { attack, damaged, exportFolder, folder, NAMES, refused, setTheStage } from './testing/attack.ts';
import { bodyOf, signAgain, swapPaths } from './testing/forge.ts';
import { AT, CHUNK } from './testing/stage.ts';
import { writeBundle } from './write.ts';

setTheStage();

describe('S29 a bundle that is not for here, not of now, or not whole', () => {
  beforeEach(exportFolder);

  test('S29 and trap 10: a stick older than what is here is refused, by the number that was remembered', () =>
    refused('bundle.older', {}, { lastSequence: 6 }));
  test('S29 imported before: nothing to do', () => refused('bundle.current', {}, { lastSequence: 5 }));
  test('S29 of another site', () => refused('bundle.other-site', {}, { site: 'ward-8' }));
  test('S29 of the other direction', () => refused('bundle.other-kind', {}, { kind: 'return' }));
  test('S29 expired, to the second', async () => {
    const expires = Date.parse(readBundleIndex(attack.index, [attack.stage.key]).index.expires);
    await refused('bundle.expired', {}, { now: expires });
    assert.equal((await attack.stage.take(attack.index, {}, { now: expires - 1_000 })).kind, 'complete');
  });
  test('S29 signed by nobody known here', () => refused('bundle.unsigned', {}, { keys: [generateSigningKey().publicKey] }));
  test('S29 signature taken off', async () => {
    fs.writeFileSync(attack.index, JSON.stringify({ body: bodyOf(attack.index) }));
    await refused('bundle.unsigned');
  });
  test('S29 index changed after it was signed', async () => {
    fs.writeFileSync(attack.index, fs.readFileSync(attack.index, 'utf8').replace('"sequence":5', '"sequence":9'));
    await refused('bundle.signature');
  });
  test('S29 signed by another key, with the name of ours beside it', async () => {
    await signAgain(attack.index, memorySigner(generateSigningKey()), (body) => body);
    await refused('bundle.unsigned');
    const forged = fs.readFileSync(attack.index, 'utf8').replace(/"key":"[0-9a-f]{64}"/, `"key":"${attack.stage.key}"`);
    fs.writeFileSync(attack.index, forged);
    await refused('bundle.signature');
  });
  test('S29 a signature of another kind of file', async () => {
    const { signedBytes } = await import('./signed.ts');
    fs.writeFileSync(attack.index, await signedBytes('medium', bodyOf(attack.index), attack.stage.signer));
    await refused('bundle.signature');
  });
  test('S29 a second member of one name in the index', async () => {
    fs.writeFileSync(attack.index, fs.readFileSync(attack.index, 'utf8').replace('{"body":{', '{"body":{"site":"ward-8",'));
    await refused('bundle.malformed');
  });
  test('S29 of a newer format', async () => {
    await signAgain(attack.index, attack.stage.signer, (body) => ({ ...body, schemaVersion: 3, novelty: true }));
    await refused('bundle.unknown-version');
  });
  test('S29 answers an old request', async () => {
    const request = { id: 'a'.repeat(32), sequence: 4 };
    attack.index = (await attack.stage.fill(await attack.stage.draft({}, { answers: { ...request, sequence: 3 } }))).index;
    await refused('bundle.other-request', {}, { request });
  });

  test('S29 a file added', async () => {
    fs.writeFileSync(join(folder(), 'autorun.inf'), 'x');
    await refused('bundle.file-added');
  });
  test('S29 a part added, with a name that fits', async () => {
    fs.copyFileSync(join(folder(), '0000000-0000004.pfp'), join(folder(), '0000000-0000003.pfp'));
    await refused('bundle.file-added');
  });
  test('S29 a part removed', async () => {
    fs.rmSync(join(folder(), '0000005-0000009.pfp'));
    await damaged('bundle.file-removed');
  });
  test('S29 the folder, list, leaves or list of parts removed', async () => {
    for (const name of ['list.zst', 'leaves.bin', 'parts.json']) {
      fs.rmSync(join(folder(), name));
      await refused('bundle.file-removed');
      await exportFolder();
    }
    fs.rmSync(folder(), { recursive: true });
    await refused('bundle.file-removed');
  });
  test('S29 a part swapped for another of the same size', async () => {
    fs.copyFileSync(join(folder(), '0000000-0000004.pfp'), join(folder(), '0000005-0000009.pfp'));
    await damaged('bundle.file-changed');
  });
  test('S29 list or leaves swapped', async () => {
    for (const name of ['list.zst', 'leaves.bin']) {
      const bytes = fs.readFileSync(join(folder(), name));
      bytes[20] = (bytes[20] ?? 0) ^ 1;
      fs.writeFileSync(join(folder(), name), bytes);
      await refused('bundle.file-changed');
      await exportFolder();
    }
  });
  test('S29 list of parts from another bundle', async () => {
    const other = await attack.stage.fill(await attack.stage.draft({}, { sequence: 6 }));
    fs.copyFileSync(join(other.index.replace(/\.json$/, ''), 'parts.json'), join(folder(), 'parts.json'));
    await refused('bundle.file-changed');
  });
  test('S29 truncated: part, list, leaves', async () => {
    for (const name of ['list.zst', 'leaves.bin']) {
      fs.truncateSync(join(folder(), name), 40);
      await refused('bundle.truncated');
      await exportFolder();
    }
    fs.truncateSync(join(folder(), '0000005-0000009.pfp'), 2 * CHUNK + 5);
    await damaged('bundle.truncated');
  });
  test('S29 the index truncated at every tenth byte', async () => {
    const whole = fs.readFileSync(attack.index);
    for (let length = 0; length < whole.length; length += 10) {
      fs.writeFileSync(attack.index, whole.subarray(0, length));
      await refused('bundle.malformed');
    }
  });
  test('S29 the signed list contradicts the signed chunks', async () => {
    await swapPaths(attack.index, attack.stage.signer, ['payloads/a']);
    await assert.rejects(attack.stage.take(attack.index), { code: 'bundle.malformed' });
  });
  test('a desktop that leaves its files in the folder does no harm', async () => {
    for (const name of ['.DS_Store', 'Thumbs.db', '._list.zst']) fs.writeFileSync(join(folder(), name), 'x');
    assert.equal((await attack.stage.take(attack.index)).kind, 'complete');
  });
});

describe('S30 a mount point without a medium', () => {
  beforeEach(exportFolder);
  const mark = (more: object = {}) =>
    prepareMedium({
      place: attack.stage.stick,
      label: 'A',
      direction: 'both',
      signer: attack.stage.signer,
      madeAt: AT,
      ...more,
    });

  test('S30 import: refused, never read as empty, nothing deleted', async () => {
    await refused('bundle.no-medium', { medium: [attack.stage.key] });
    await mark();
    assert.equal((await attack.stage.take(attack.index, { medium: [attack.stage.key] })).kind, 'complete');
  });
  test('S30 export: not a byte is written into an empty mount point', async () => {
    const place = join(attack.stage.folder, 'mount point');
    fs.mkdirSync(place);
    const options = {
      work: attack.stage.work,
      entries: attack.stage.entries,
      place,
      signer: attack.stage.signer,
      container: 'folder' as const,
    };
    const about = { kind: 'content' as const, site: 'ward-7', sequence: 5, from: 'p', madeAt: AT, expires: AT + 1_000_000 };
    await assert.rejects(writeBundle({ ...options, about, medium: [attack.stage.key] }), { code: 'bundle.no-medium', exit: 2 });
    assert.deepEqual(fs.readdirSync(place), []);
    await assert.rejects(writeBundle({ ...options, about, place: join(place, 'gone'), medium: [attack.stage.key] }), {
      code: 'bundle.no-medium',
    });
    fs.rmdirSync(place);
  });
  test('S30 a stick for another site or direction, of another publisher, or with a changed marker', async () => {
    await mark({ sites: ['ward-8'] });
    await refused('bundle.medium', { medium: [attack.stage.key] });
    await mark({ direction: 'return' });
    await refused('bundle.medium', { medium: [attack.stage.key] });
    await mark({ signer: memorySigner(generateSigningKey()) });
    await refused('bundle.unsigned', { medium: [attack.stage.key] });
    await mark();
    const marker = join(attack.stage.stick, 'MEDIUM.json');
    fs.writeFileSync(marker, fs.readFileSync(marker, 'utf8').replace('"label":"A"', '"label":"B"'));
    await refused('bundle.signature', { medium: [attack.stage.key] });
  });
});

describe('S31 hostile entries in a signed list', () => {
  beforeEach(exportFolder);
  for (const { row, paths } of NAMES) {
    test(`S31 ${row}`, async () => {
      await swapPaths(attack.index, attack.stage.signer, paths);
      await refused('bundle.hostile-entry');
    });
  }
  test('S31 millions of entries: refused within a second or two, whatever they are called', async () => {
    await swapPaths(
      attack.index,
      attack.stage.signer,
      Array.from({ length: 500_001 }, (_, at) => `f${at}`),
    );
    await refused('bundle.malformed');
  });
  test('S31 a list that unpacks to far more than it has (a bomb)', async () => {
    const { zstdCompressSync } = await import('node:zlib');
    const { sha256 } = await import('./testing/stage.ts');
    const list = zstdCompressSync(Buffer.alloc(300 * 1024 * 1024));
    fs.writeFileSync(join(folder(), 'list.zst'), list);
    const named = { sha256: sha256(list), size: list.length };
    await signAgain(attack.index, attack.stage.signer, (body) => ({ ...body, list: named }));
    await refused('bundle.too-large');
  });
  test('S31 links and folders where files must be', async () => {
    const part = join(folder(), '0000000-0000004.pfp');
    fs.renameSync(part, join(attack.stage.stick, 'elsewhere'));
    fs.symlinkSync(join(attack.stage.stick, 'elsewhere'), part);
    await refused('bundle.hostile-entry');
    fs.rmSync(part);
    fs.mkdirSync(part);
    await refused('bundle.hostile-entry');
    await exportFolder();
    fs.rmSync(attack.index);
    fs.symlinkSync('/etc/passwd', attack.index);
    await refused('bundle.hostile-entry');
  });
});
