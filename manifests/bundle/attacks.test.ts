// Rows S28 to S32 of the threat table, and the rows of hostile archives: each builds its attack, none may place or change anything.
import assert from 'node:assert/strict';
import * as fs from 'node:fs';
import { dirname, join } from 'node:path';
import { after, before, beforeEach, describe, test } from 'node:test';
import { generateSigningKey, memorySigner } from '#manifests/trust';
import type { Container } from './format.ts';
import type { Accept, ImportOptions } from './import.ts';
import { incompleteFault, readBundleIndex } from './import.ts';
import { prepareMedium } from './medium.ts';
import { bodyOf, membersOf, seven, signAgain, swapContainer, swapPaths, type TarPiece, tarOf } from './testing/forge.ts';
import { AT, CHUNK, makeStage, type Stage } from './testing/stage.ts';
import { writeBundle } from './write.ts';

let stage: Stage;
let index: string;
before(() => {
  stage = makeStage();
});
after(() => stage.end());
beforeEach(() => fresh());

function fresh(): void {
  for (const path of [stage.stick, stage.staging]) {
    fs.rmSync(path, { recursive: true, force: true });
    fs.mkdirSync(path);
  }
}
const folder = () => index.replace(/\.json$/, '');
const exportFolder = async () => {
  index = (await stage.fill(await stage.draft())).index;
};
const exportAs = async (format: 'tar' | '7z') => {
  index = (await stage.pack(await stage.draft(), format)).index;
};

/** Everything around the staging folder, and what in it is visible to a reader. */
function visible(): string[] {
  const outside = fs.readdirSync(stage.folder, { recursive: true, withFileTypes: true });
  return outside
    .map((entry) => join(entry.parentPath, entry.name))
    .filter((path) => !path.startsWith(stage.staging) || /\/tree(?:\.part)?(?:\/|$)/.test(path))
    .toSorted();
}

async function refused(code: string, more: Partial<ImportOptions> = {}, accept: Partial<Accept> = {}): Promise<void> {
  const was = visible();
  const exit = code === 'bundle.no-medium' ? 2 : code === 'bundle.current' ? 3 : 5;
  await assert.rejects(stage.take(index, more, accept), (error: Error & { code: string; exit: number; next: string }) => {
    assert.equal(error.code, code, error.message);
    assert.equal(error.exit, exit);
    assert.ok(error.next.length > 10);
    return true;
  });
  assert.deepEqual(visible(), was, 'nothing was placed');
}

/** Damage leaves the good chunks collected, and nothing visible; the command ends with the code of the damage. */
async function damaged(code: string): Promise<void> {
  const outcome = await stage.take(index);
  assert.equal(outcome.kind, 'partial');
  if (outcome.kind !== 'partial') return;
  assert.ok(
    outcome.problems.some((problem) => problem.code === code),
    JSON.stringify(outcome.problems),
  );
  const error = incompleteFault(outcome) as Error & { code: string; exit: number };
  assert.equal(error.code, code);
  assert.equal(error.exit, 5);
  assert.equal(fs.existsSync(join(stage.staging, outcome.index.id, 'tree')), false);
}

describe('S29 a bundle that is not for here, not of now, or not whole', () => {
  beforeEach(exportFolder);

  test('S29 older than what is here', () => refused('bundle.older', {}, { lastSequence: 6 }));
  test('S29 imported before: nothing to do', () => refused('bundle.current', {}, { lastSequence: 5 }));
  test('S29 of another site', () => refused('bundle.other-site', {}, { site: 'ward-8' }));
  test('S29 of the other direction', () => refused('bundle.other-kind', {}, { kind: 'return' }));
  test('S29 expired, to the second', async () => {
    const expires = Date.parse(readBundleIndex(index, [stage.key]).index.expires);
    await refused('bundle.expired', {}, { now: expires });
    assert.equal((await stage.take(index, {}, { now: expires - 1_000 })).kind, 'complete');
  });
  test('S29 signed by nobody known here', () => refused('bundle.unsigned', {}, { keys: [generateSigningKey().publicKey] }));
  test('S29 signature taken off', async () => {
    fs.writeFileSync(index, JSON.stringify({ body: bodyOf(index) }));
    await refused('bundle.unsigned');
  });
  test('S29 index changed after it was signed', async () => {
    fs.writeFileSync(index, fs.readFileSync(index, 'utf8').replace('"sequence":5', '"sequence":9'));
    await refused('bundle.signature');
  });
  test('S29 signed by another key, with the name of ours beside it', async () => {
    await signAgain(index, memorySigner(generateSigningKey()), (body) => body);
    await refused('bundle.unsigned');
    const forged = fs.readFileSync(index, 'utf8').replace(/"key":"[0-9a-f]{64}"/, `"key":"${stage.key}"`);
    fs.writeFileSync(index, forged);
    await refused('bundle.signature');
  });
  test('S29 a signature of another kind of file', async () => {
    const { signedBytes } = await import('./signed.ts');
    fs.writeFileSync(index, await signedBytes('medium', bodyOf(index), stage.signer));
    await refused('bundle.signature');
  });
  test('S29 a second member of one name in the index', async () => {
    fs.writeFileSync(index, fs.readFileSync(index, 'utf8').replace('{"body":{', '{"body":{"site":"ward-8",'));
    await refused('bundle.malformed');
  });
  test('S29 of a newer format', async () => {
    await signAgain(index, stage.signer, (body) => ({ ...body, schemaVersion: 3, novelty: true }));
    await refused('bundle.unknown-version');
  });
  test('S29 answers an old request', async () => {
    const request = { id: 'a'.repeat(32), sequence: 4 };
    index = (await stage.fill(await stage.draft({}, { answers: { ...request, sequence: 3 } }))).index;
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
    const other = await stage.fill(await stage.draft({}, { sequence: 6 }));
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
    const whole = fs.readFileSync(index);
    for (let length = 0; length < whole.length; length += 10) {
      fs.writeFileSync(index, whole.subarray(0, length));
      await refused('bundle.malformed');
    }
  });
  test('S29 the signed list contradicts the signed chunks', async () => {
    await swapPaths(index, stage.signer, ['payloads/a']);
    await assert.rejects(stage.take(index), { code: 'bundle.malformed' });
  });
  test('a desktop that leaves its files in the folder does no harm', async () => {
    for (const name of ['.DS_Store', 'Thumbs.db', '._list.zst']) fs.writeFileSync(join(folder(), name), 'x');
    assert.equal((await stage.take(index)).kind, 'complete');
  });
});

describe('S30 a mount point without a medium', () => {
  beforeEach(exportFolder);
  const mark = (more: object = {}) =>
    prepareMedium({ place: stage.stick, label: 'A', direction: 'both', signer: stage.signer, madeAt: AT, ...more });

  test('S30 import: refused, never read as empty, nothing deleted', async () => {
    await refused('bundle.no-medium', { medium: [stage.key] });
    await mark();
    assert.equal((await stage.take(index, { medium: [stage.key] })).kind, 'complete');
  });
  test('S30 export: not a byte is written into an empty mount point', async () => {
    const place = join(stage.folder, 'mount point');
    fs.mkdirSync(place);
    const options = { work: stage.work, entries: stage.entries, place, signer: stage.signer, container: 'folder' as const };
    const about = { kind: 'content' as const, site: 'ward-7', sequence: 5, from: 'p', madeAt: AT, expires: AT + 1_000_000 };
    await assert.rejects(writeBundle({ ...options, about, medium: [stage.key] }), { code: 'bundle.no-medium', exit: 2 });
    assert.deepEqual(fs.readdirSync(place), []);
    await assert.rejects(writeBundle({ ...options, about, place: join(place, 'gone'), medium: [stage.key] }), {
      code: 'bundle.no-medium',
    });
    fs.rmdirSync(place);
  });
  test('S30 a stick for another site or direction, of another publisher, or with a changed marker', async () => {
    await mark({ sites: ['ward-8'] });
    await refused('bundle.medium', { medium: [stage.key] });
    await mark({ direction: 'return' });
    await refused('bundle.medium', { medium: [stage.key] });
    await mark({ signer: memorySigner(generateSigningKey()) });
    await refused('bundle.unsigned', { medium: [stage.key] });
    await mark();
    const marker = join(stage.stick, 'MEDIUM.json');
    fs.writeFileSync(marker, fs.readFileSync(marker, 'utf8').replace('"label":"A"', '"label":"B"'));
    await refused('bundle.signature', { medium: [stage.key] });
  });
});

const NAMES: ReadonlyArray<{ row: string; paths: string[] }> = [
  { row: 'absolute path', paths: ['/etc/passwd'] },
  { row: 'parent path', paths: ['payloads/../../x'] },
  { row: 'parent path alone', paths: ['..'] },
  { row: 'path of the drive', paths: ['C:/x'] },
  { row: 'backslash', paths: ['a\\..\\x'] },
  { row: 'NTFS stream', paths: ['a.json:evil'] },
  { row: 'trailing dot', paths: ['a./b'] },
  { row: 'trailing blank', paths: ['a '] },
  { row: 'control character', paths: ['a\u0007b'] },
  { row: 'new line', paths: ['a\nb'] },
  { row: 'bytes that reorder text', paths: ['a\u202egnp.exe'] },
  { row: 'reserved Windows name', paths: ['x/AUX'] },
  { row: 'reserved Windows name with extension', paths: ['com1.txt'] },
  { row: 'twins by letter case', paths: ['a/Readme', 'a/README'] },
  { row: 'twins by Unicode form (NFKC)', paths: ['a/\ufb01le', 'a/file'] },
  { row: 'the same name twice', paths: ['a', 'a'] },
  { row: 'a file where a folder is', paths: ['a', 'a/b'] },
  { row: 'empty part', paths: ['a//b'] },
  { row: 'hidden file', paths: ['.bashrc'] },
  { row: 'short name of Windows', paths: ['PROGRA~1'] },
  { row: 'too long', paths: ['a'.repeat(500)] },
  { row: 'too deep', paths: ['a/'.repeat(20) + 'b'] },
];

describe('S31 hostile entries in a signed list', () => {
  beforeEach(exportFolder);
  for (const { row, paths } of NAMES) {
    test(`S31 ${row}`, async () => {
      await swapPaths(index, stage.signer, paths);
      await refused('bundle.hostile-entry');
    });
  }
  test('S31 millions of entries: refused within a second or two, whatever they are called', async () => {
    await swapPaths(
      index,
      stage.signer,
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
    await signAgain(index, stage.signer, (body) => ({ ...body, list: named }));
    await refused('bundle.too-large');
  });
  test('S31 links and folders where files must be', async () => {
    const part = join(folder(), '0000000-0000004.pfp');
    fs.renameSync(part, join(stage.stick, 'elsewhere'));
    fs.symlinkSync(join(stage.stick, 'elsewhere'), part);
    await refused('bundle.hostile-entry');
    fs.rmSync(part);
    fs.mkdirSync(part);
    await refused('bundle.hostile-entry');
    await exportFolder();
    fs.rmSync(index);
    fs.symlinkSync('/etc/passwd', index);
    await refused('bundle.hostile-entry');
  });
});

describe('S31 hostile entries in a tar container', () => {
  beforeEach(() => exportAs('tar'));

  /** Changes the members of the good archive, and signs the new bytes. */
  async function forge(change: (pieces: TarPiece[]) => TarPiece[]): Promise<void> {
    const container = bodyOf(index).container as Container;
    const archive = fs.readFileSync(join(dirname(index), container.files[0]?.name ?? ''));
    await swapContainer(index, stage.signer, tarOf(change(membersOf(archive, container))));
  }
  const extra = (name: string, header?: TarPiece['header'], bytes = Buffer.from('x')) =>
    forge((pieces) => [{ name, bytes, ...(header ? { header } : {}) }, ...pieces]);
  const type = (letter: string) => (block: Buffer) => void block.write(letter, 156, 'latin1');

  test('the forge itself makes what is taken', async () => {
    await forge((pieces) => pieces);
    assert.equal((await stage.take(index)).kind, 'complete');
  });
  for (const { row, paths } of NAMES.filter((one) => (one.paths[0]?.length ?? 0) < 100 && one.paths.length === 1)) {
    test(`S31 tar: ${row}`, async () => {
      await extra(paths[0] ?? '');
      await refused('bundle.hostile-entry');
    });
  }
  for (const [row, letter] of Object.entries({
    'hard link': '1',
    'symbolic link': '2',
    'character device': '3',
    'block device': '4',
    folder: '5',
    FIFO: '6',
    'extended header that renames (pax)': 'x',
    'global header': 'g',
    'long name (GNU)': 'L',
    'sparse file (GNU)': 'S',
    'old form without a type': '\u0000',
  })) {
    test(`S31 tar: ${row}`, async () => {
      await extra('list.zst', type(letter));
      await refused('bundle.hostile-entry');
    });
  }
  test('S31 tar: set-uid', async () => {
    await forge((pieces) =>
      pieces.map((piece) => ({ ...piece, header: (block) => void block.write('0004755', 100, 'latin1') })),
    );
    await refused('bundle.hostile-entry');
  });
  test('S31 tar: an owner, a time, anything else in a header', async () => {
    await forge((pieces) => pieces.map((piece) => ({ ...piece, header: (block) => void block.write('root', 265, 'latin1') })));
    await refused('bundle.hostile-entry');
  });
  test('S31 tar: an entry twice, one more, one less, two in other order', async () => {
    for (const change of [
      (pieces: TarPiece[]) => [...pieces.slice(0, 1), ...pieces],
      (pieces: TarPiece[]) => [...pieces, { name: 'more', bytes: Buffer.from('x') }],
      (pieces: TarPiece[]) => pieces.slice(0, -1),
      (pieces: TarPiece[]) => [pieces[1], pieces[0], ...pieces.slice(2)] as TarPiece[],
    ]) {
      await forge(change);
      await refused('bundle.hostile-entry');
      await exportAs('tar');
    }
  });
  test('S31 tar: a size that lies', async () => {
    await forge((pieces) =>
      pieces.map((piece, at) =>
        at === 2 ? { ...piece, header: (block) => void block.write('77777777777', 124, 'latin1') } : piece,
      ),
    );
    await refused('bundle.hostile-entry');
  });
  test('S31 tar: half a million entries are refused at the first that was not signed', async () => {
    const many = tarOf([{ name: 'a', bytes: Buffer.alloc(0) }]).subarray(0, 512);
    await swapContainer(index, stage.signer, Buffer.concat(Array.from({ length: 100_000 }, () => many)));
    const started = performance.now();
    await refused('bundle.hostile-entry');
    assert.ok(performance.now() - started < 5_000);
  });
});

describe('S31 hostile entries in a 7z container', () => {
  beforeEach(() => exportAs('7z'));

  /** Unpacks the good archive with the real 7-Zip, lets `change` at it, packs it again and signs the new bytes. */
  async function forge(
    change: (work: string, archive: string) => Promise<void> | void,
    pack = ['-mx0', '-snl'],
  ): Promise<void> {
    const container = bodyOf(index).container as Container;
    const work = fs.mkdtempSync(join(stage.folder, 'forge-'));
    const archive = join(work, 'evil.7z');
    try {
      const files = join(work, 'files');
      await seven(work, 'x', `-o${files}`, join(dirname(index), container.files[0]?.name ?? ''));
      await change(files, archive);
      if (!fs.existsSync(archive)) await seven(files, 'a', '-t7z', ...pack, archive, '.');
      await swapContainer(index, stage.signer, fs.readFileSync(archive));
    } finally {
      fs.rmSync(work, { recursive: true });
    }
  }
  const renamed = (to: string) =>
    forge(async (files, archive) => {
      await seven(files, 'a', '-t7z', '-mx0', archive, '.');
      await seven(files, 'rn', archive, 'list.zst', to);
    });

  test('the forge itself makes what is taken', async () => {
    await forge(() => undefined);
    assert.equal((await stage.take(index)).kind, 'complete');
  });
  test('S31 7z: absolute path', async () => {
    await renamed('/tmp/evil');
    await refused('bundle.hostile-entry');
  });
  test('S31 7z: parent path', async () => {
    await renamed('../../evil');
    await refused('bundle.hostile-entry');
  });
  for (const [row, name] of Object.entries({
    'NTFS stream': 'list.zst:evil',
    'reserved Windows name': 'aux.txt',
    'trailing dot': 'list.zst.',
    'trailing blank': 'list.zst ',
    'control character': 'list\u0007.zst',
    'new line that forges a row of the listing': 'x\nPath = list.zst',
    'Unicode twin': 'l\u0131st.zst',
    'twin by letter case': 'LIST.zst',
    'one more': 'zz-more',
  })) {
    test(`S31 7z: ${row}`, async () => {
      await forge((files) => fs.writeFileSync(join(files, name), 'x'));
      await refused('bundle.hostile-entry');
    });
  }
  test('S31 7z: symbolic link', async () => {
    await forge((files) => {
      fs.rmSync(join(files, 'list.zst'));
      fs.symlinkSync('/etc/passwd', join(files, 'list.zst'));
    });
    await refused('bundle.hostile-entry');
  });
  test('S31 7z: set-uid', async () => {
    await forge((files) => fs.chmodSync(join(files, 'list.zst'), 0o4755));
    await refused('bundle.hostile-entry');
  });
  test('S31 7z: folder', async () => {
    await forge((files) => fs.mkdirSync(join(files, 'folder')));
    await refused('bundle.hostile-entry');
  });
  test('S31 7z: encrypted', async () => {
    await forge(() => undefined, ['-mx0', '-psecret']);
    await refused('bundle.hostile-entry');
  });
  test('S31 7z: one removed', async () => {
    await forge((files) => fs.rmSync(join(files, '0000007-0000013.pfp')));
    await refused('bundle.hostile-entry');
  });
  test('S31 7z: compressed 900:1 and more (a bomb): refused from the listing, nothing is unpacked', async () => {
    await forge((files) => fs.writeFileSync(join(files, 'list.zst'), Buffer.alloc(50 * 1024 * 1024)), ['-mx1']);
    await refused('bundle.hostile-entry');
  });
  test('S31 7z: tens of thousands of entries: the listing is cut off', async () => {
    await forge((files) => {
      for (let at = 0; at < 12_000; at++) fs.writeFileSync(join(files, `${'n'.repeat(150)}${at}`), '');
    });
    await refused('bundle.hostile-entry');
  });
});

describe('S32 a container that is not what it is named', () => {
  test('S32 another format under a .7z name, on the stick only: refused by its hash, no tool is started', async () => {
    await exportAs('7z');
    const file = join(stage.stick, bodyOf(index).container?.files[0]?.name ?? '');
    const size = fs.statSync(file).size;
    fs.writeFileSync(file, tarOf([{ name: 'x', bytes: Buffer.alloc(size) }]).subarray(0, size));
    const outcome = await stage.take(index, { sevenZip: '/nonexistent/7z' });
    assert.equal(outcome.kind === 'partial' && outcome.problems[0]?.code, 'bundle.file-changed');
  });
  test('S32 another format under a .7z name, signed by a thief of the key: refused by content, no tool is started', async () => {
    await exportAs('7z');
    await swapContainer(index, stage.signer, tarOf([{ name: 'list.zst', bytes: Buffer.from('x') }]));
    await refused('bundle.other-format', { sevenZip: '/nonexistent/7z' });
  });
  test('S32 7z under a .tar name', async () => {
    await exportAs('7z');
    const archive = fs.readFileSync(join(stage.stick, bodyOf(index).container?.files[0]?.name ?? ''));
    fresh();
    await exportAs('tar');
    await swapContainer(index, stage.signer, archive);
    await refused('bundle.other-format');
  });
  test('S32 begins like 7z and is none', async () => {
    await exportAs('7z');
    const start = Buffer.from([0x37, 0x7a, 0xbc, 0xaf, 0x27, 0x1c]);
    await swapContainer(index, stage.signer, Buffer.concat([start, Buffer.alloc(5_000, 7)]));
    await refused('bundle.other-format');
  });
  test('S32 a volume that changes between its check and its use: the checked copy is what is opened', async () => {
    await exportAs('tar');
    const file = join(stage.stick, bodyOf(index).container?.files[0]?.name ?? '');
    const { realDisk } = await import('./disk.ts');
    const disk = {
      ...realDisk,
      close(handle: number) {
        realDisk.close(handle);
        if (fs.existsSync(join(stage.staging, bodyOf(index).id))) fs.writeFileSync(file, 'swapped');
      },
    };
    assert.equal((await stage.take(index, { disk })).kind, 'complete');
    assert.equal(fs.readFileSync(file, 'utf8'), 'swapped');
  });
});
