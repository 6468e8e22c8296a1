// Own software: what a patch.yaml becomes, and every way in which a folder can be wrong.
import assert from 'node:assert/strict';
import * as fs from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, it } from 'node:test';
import { gzipSync } from 'node:zlib';
import { isFault } from '#manifests/errors';
import { openPayloadStore } from '#manifests/repository';
import { fetchPayloads, type SourceSettings, syncSource } from '../index.ts';

const YAML = `apiVersion: patchferry/v1
kind: Patch
metadata: { name: own-tool }
spec:
  version: "1.10.0"
  title: Own tool, third edition
  classification: security
  severity: high
  cves: [CVE-2026-0002, CVE-2026-0001]
  released: "2026-05-01T00:00:00Z"
  packages:
    - file: own-tool-1.10.0.tar.gz
`;

describe('folder of own software', () => {
  let work: string;
  const inFolder = (name: string) => join(work, 'own', name);
  const settings = (more: Partial<SourceSettings> = {}): SourceSettings => ({
    name: 'own',
    kind: 'folder',
    product: 'own-tool',
    url: join(work, 'own'),
    ...more,
  });
  const options = () => ({
    folder: join(work, 'state'),
    payloads: openPayloadStore(join(work, 'payloads')),
    clock: { now: () => Date.UTC(2026, 5, 1), monotonic: () => 0 },
    signal: new AbortController().signal,
  });
  const sync = (more?: Partial<SourceSettings>) => syncSource(settings(more), options());
  beforeEach(() => {
    work = fs.mkdtempSync(join(tmpdir(), 'patchferry-folder-'));
    fs.mkdirSync(inFolder('one'), { recursive: true });
    fs.writeFileSync(inFolder('one/patch.yaml'), YAML);
    fs.writeFileSync(inFolder('one/own-tool-1.10.0.tar.gz'), gzipSync('payload'));
  });
  afterEach(() => fs.rmSync(work, { recursive: true, force: true }));

  it('gives archive patches, and their payloads by the same way as any source', async () => {
    const { changed, patches, repository } = await sync();
    assert.equal(changed, true);
    assert.equal(repository.format, 'folder');
    const [patch] = patches;
    assert.equal(patch?.id, 'own-tool@1.10.0');
    assert.equal(patch?.format, 'archive');
    assert.deepEqual(patch?.cves, ['CVE-2026-0001', 'CVE-2026-0002']);
    assert.equal(patch?.packages[0]?.path, 'one/own-tool-1.10.0.tar.gz');
    const { fetched, failed } = await fetchPayloads(settings(), patches, options());
    assert.deepEqual([fetched, failed], [1, []]);
    const again = await sync({ url: `file://${join(work, 'own')}` });
    assert.equal(again.changed, false);
    assert.deepEqual(again.patches, patches);
  });

  it('what a host needs to put it in place goes along, and only when it is told', async () => {
    assert.equal((await sync()).patches[0]?.placement, undefined);
    const told =
      '  services: [own-tool.service]\n  owner: "tool:tool"\n  modes: [{ path: "etc/*", mode: "0640" }]\n  packages:';
    fs.writeFileSync(inFolder('one/patch.yaml'), YAML.replace('  packages:', told));
    const again = await sync();
    assert.equal(again.changed, true);
    assert.deepEqual(again.patches[0]?.placement, {
      services: ['own-tool.service'],
      owner: 'tool:tool',
      modes: [{ path: 'etc/*', mode: '0640' }],
    });
    for (const wrong of [
      'services: [a b]',
      'owner: "Root Toor"',
      'modes: [{ path: x, mode: "4755" }]',
      'modes: [{ path: ../x, mode: 0644 }]',
    ]) {
      fs.writeFileSync(inFolder('one/patch.yaml'), YAML.replace('  packages:', `  ${wrong}\n  packages:`));
      await assert.rejects(sync(), (error) => isFault(error, 'source.description'), wrong);
    }
  });

  it('installers of Windows and macOS by what they begin with, how they are named, and the arguments they need', async () => {
    const text = (format: string, file: string, more = '') =>
      `apiVersion: patchferry/v1\nkind: Patch\nmetadata: {name: viewer}\nspec: {format: ${format}, version: "24.1.20604", title: V, ${more}packages: [{file: ${file}}]}\n`;
    const place = (yaml: string, file: string, bytes: readonly number[]) => {
      fs.rmSync(inFolder('one'), { recursive: true });
      fs.mkdirSync(inFolder('one'));
      fs.writeFileSync(inFolder('one/patch.yaml'), yaml);
      fs.writeFileSync(inFolder(`one/${file}`), Buffer.from([...bytes, 0, 0, 0, 0]));
    };
    const xar = [0x78, 0x61, 0x72, 0x21];
    for (const [format, file, bytes, more] of [
      ['msi', 'v.msi', [0xd0, 0xcf, 0x11, 0xe0], 'arguments: ["ADDLOCAL=ALL"], '],
      ['exe', 'v.exe', [0x4d, 0x5a], 'arguments: [/S], '],
      ['msu', 'v.msu', [0x4d, 0x53, 0x43, 0x46], ''],
      ['pkg', 'v.pkg', xar, ''],
    ] as const) {
      place(text(format, file, more), file, bytes);
      assert.equal((await sync()).patches[0]?.format, format);
      place(text(format, file, more), file, [0x1f, 0x8b, 8]);
      await assert.rejects(sync(), (error) => isFault(error, 'source.description') && /is not a/.test(error.message), format);
    }
    for (const [yaml, file] of [
      [text('exe', 'v.exe'), 'v.exe'],
      [text('msi', 'v.exe'), 'v.exe'],
      [text('pkg', 'v.pkg', 'services: [a.service], '), 'v.pkg'],
      [text('msu', 'v.msu', 'arguments: [/x], '), 'v.msu'],
    ] as const) {
      place(yaml, file, xar);
      await assert.rejects(sync(), (error) => isFault(error, 'source.description'), yaml);
    }
  });

  it('a changed payload is a change', async () => {
    await sync();
    fs.writeFileSync(inFolder('one/own-tool-1.10.0.tar.gz'), gzipSync('another'));
    assert.equal((await sync()).changed, true);
  });

  it('every problem is told at once, with file, line and column', async () => {
    fs.writeFileSync(
      inFolder('one/patch.yaml'),
      YAML.replace('"1.10.0"', '1.10').replace('high', 'hot').replace('title', 'titel'),
    );
    await assert.rejects(sync(), (error) => {
      assert.ok(isFault(error, 'source.description'));
      assert.match(error.message, /patch\.yaml:5:12: spec\.version: must be text: quote it/);
      assert.match(error.message, /patch\.yaml:8:13: spec\.severity/);
      assert.match(error.message, /titel/);
      return true;
    });
  });

  it('wrong payloads and descriptions: source.description', async () => {
    const wrong: [string, () => void, RegExp][] = [
      ['absent', () => fs.rmSync(inFolder('one/own-tool-1.10.0.tar.gz')), /is not there/],
      ['empty', () => fs.writeFileSync(inFolder('one/own-tool-1.10.0.tar.gz'), ''), /is empty/],
      [
        'S32 of another format than its name',
        () => fs.writeFileSync(inFolder('one/own-tool-1.10.0.tar.gz'), 'PK\u0003\u0004'),
        /is not gzip/,
      ],
      [
        'a link',
        () => {
          fs.rmSync(inFolder('one/own-tool-1.10.0.tar.gz'));
          fs.symlinkSync('/etc/hostname', inFolder('one/own-tool-1.10.0.tar.gz'));
        },
        /is not a plain file/,
      ],
      ['hash', () => fs.appendFileSync(inFolder('one/patch.yaml'), `      sha256: ${'a'.repeat(64)}\n`), /has the SHA-256/],
      [
        'climbs',
        () => fs.writeFileSync(inFolder('one/patch.yaml'), YAML.replace('file: own', 'file: ../own')),
        /must not climb/,
      ],
      ['twice', () => fs.cpSync(inFolder('one'), inFolder('two'), { recursive: true }), /described twice/],
      [
        'no semantic version',
        () => fs.writeFileSync(inFolder('one/patch.yaml'), YAML.replace('"1.10.0"', '"1.10"')),
        /semantic version/,
      ],
      ['aliases', () => fs.writeFileSync(inFolder('one/patch.yaml'), `${YAML}  section: &a x\n  priority: *a\n`), /aliases/],
      ['not YAML', () => fs.writeFileSync(inFolder('one/patch.yaml'), '{{{'), /patch\.yaml:1:/],
    ];
    for (const [what, spoil, says] of wrong) {
      fs.rmSync(inFolder(''), { recursive: true });
      fs.mkdirSync(inFolder('one'), { recursive: true });
      fs.writeFileSync(inFolder('one/patch.yaml'), YAML);
      fs.writeFileSync(inFolder('one/own-tool-1.10.0.tar.gz'), gzipSync('payload'));
      spoil();
      await assert.rejects(sync(), (error) => {
        assert.ok(isFault(error, 'source.description'), `${what}: ${String(error)}`);
        assert.match(error.message, says, what);
        return true;
      });
    }
  });

  it('S30 a folder that is not there, or empty, is never "no patches any more"', async () => {
    await assert.rejects(sync({ url: join(work, 'absent') }), (error) => isFault(error, 'source.missing'));
    fs.mkdirSync(join(work, 'empty'));
    await assert.rejects(sync({ url: join(work, 'empty') }), (error) => isFault(error, 'source.missing'));
    await assert.rejects(sync({ url: 'https://example.org/' }), (error) => isFault(error, 'source.settings'));
    await assert.rejects(sync({ suite: 'x' }), (error) => isFault(error, 'source.settings'));
  });
});
