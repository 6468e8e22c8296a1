// Rows S31 and S32 of the threat table: hostile entries in tar and 7z containers, containers that are not what they are named.
// Each builds its attack with a stolen signing key and, where there is one, the real tool; none may place or change anything.
import assert from 'node:assert/strict';
import * as fs from 'node:fs';
import { dirname, join } from 'node:path';
import { beforeEach, describe, test } from 'node:test';
import type { Container } from './format.ts';
import { attack, exportAs, fresh, NAMES, refused, setTheStage } from './testing/attack.ts';
import { bodyOf, membersOf, seven, swapContainer, type TarPiece, tarOf } from './testing/forge.ts';

setTheStage();

describe('S31 hostile entries in a tar container', () => {
  beforeEach(() => exportAs('tar'));

  /** Changes the members of the good archive, and signs the new bytes. */
  async function forge(change: (pieces: TarPiece[]) => TarPiece[]): Promise<void> {
    const container = bodyOf(attack.index).container as Container;
    const archive = fs.readFileSync(join(dirname(attack.index), container.files[0]?.name ?? ''));
    await swapContainer(attack.index, attack.stage.signer, tarOf(change(membersOf(archive, container))));
  }
  const extra = (name: string, header?: TarPiece['header'], bytes = Buffer.from('x')) =>
    forge((pieces) => [{ name, bytes, ...(header ? { header } : {}) }, ...pieces]);
  const type = (letter: string) => (block: Buffer) => void block.write(letter, 156, 'latin1');

  test('the forge itself makes what is taken', async () => {
    await forge((pieces) => pieces);
    assert.equal((await attack.stage.take(attack.index)).kind, 'complete');
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
    await swapContainer(attack.index, attack.stage.signer, Buffer.concat(Array.from({ length: 100_000 }, () => many)));
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
    const container = bodyOf(attack.index).container as Container;
    const work = fs.mkdtempSync(join(attack.stage.folder, 'forge-'));
    const archive = join(work, 'evil.7z');
    try {
      const files = join(work, 'files');
      await seven(work, 'x', `-o${files}`, join(dirname(attack.index), container.files[0]?.name ?? ''));
      await change(files, archive);
      if (!fs.existsSync(archive)) await seven(files, 'a', '-t7z', ...pack, archive, '.');
      await swapContainer(attack.index, attack.stage.signer, fs.readFileSync(archive));
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
    assert.equal((await attack.stage.take(attack.index)).kind, 'complete');
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
    const file = join(attack.stage.stick, bodyOf(attack.index).container?.files[0]?.name ?? '');
    const size = fs.statSync(file).size;
    fs.writeFileSync(file, tarOf([{ name: 'x', bytes: Buffer.alloc(size) }]).subarray(0, size));
    const outcome = await attack.stage.take(attack.index, { sevenZip: '/nonexistent/7z' });
    assert.equal(outcome.kind === 'partial' && outcome.problems[0]?.code, 'bundle.file-changed');
  });
  test('S32 another format under a .7z name, signed by a thief of the key: refused by content, no tool is started', async () => {
    await exportAs('7z');
    await swapContainer(attack.index, attack.stage.signer, tarOf([{ name: 'list.zst', bytes: Buffer.from('x') }]));
    await refused('bundle.other-format', { sevenZip: '/nonexistent/7z' });
  });
  test('S32 7z under a .tar name', async () => {
    await exportAs('7z');
    const archive = fs.readFileSync(join(attack.stage.stick, bodyOf(attack.index).container?.files[0]?.name ?? ''));
    fresh();
    await exportAs('tar');
    await swapContainer(attack.index, attack.stage.signer, archive);
    await refused('bundle.other-format');
  });
  test('S32 begins like 7z and is none', async () => {
    await exportAs('7z');
    const start = Buffer.from([0x37, 0x7a, 0xbc, 0xaf, 0x27, 0x1c]);
    await swapContainer(attack.index, attack.stage.signer, Buffer.concat([start, Buffer.alloc(5_000, 7)]));
    await refused('bundle.other-format');
  });
  test('S32 a volume that changes between its check and its use: the checked copy is what is opened', async () => {
    await exportAs('tar');
    const file = join(attack.stage.stick, bodyOf(attack.index).container?.files[0]?.name ?? '');
    const { realDisk } = await import('./disk.ts');
    const disk = {
      ...realDisk,
      close(handle: number) {
        realDisk.close(handle);
        if (fs.existsSync(join(attack.stage.staging, bodyOf(attack.index).id))) fs.writeFileSync(file, 'swapped');
      },
    };
    assert.equal((await attack.stage.take(attack.index, { disk })).kind, 'complete');
    assert.equal(fs.readFileSync(file, 'utf8'), 'swapped');
  });
});
