import assert from 'node:assert/strict';
import * as fs from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import * as fc from 'fast-check';
import { run } from '#manifests/platform/process';
import { isDebianRoot } from '../../scripts/setup/debian.ts';
import { attributesDiffer, attributesIn } from './pax.ts';

const skip = isDebianRoot() ? false : 'needs root on Debian (setfattr)';

test('folders and their attributes as tar itself writes them: long and odd names, equal signs, none at all', {
  skip,
}, async (t) => {
  const root = fs.mkdtempSync(join(tmpdir(), 'patchferry-pax-'));
  try {
    const long = `${'long-'.repeat(30)}ü`;
    for (const name of ['plain', long, 'with\nbreak', 'with=sign']) fs.mkdirSync(join(root, name));
    const set = (name: string, attribute: string, value: string) =>
      run('setfattr', ['-n', attribute, '-v', value, '--', join(root, name)], { timeoutMs: 10_000 });
    if ((await set(long, 'user.note', '0x00ff3d0a41')).code !== 0) return t.skip('no extended attributes on this file system');
    await set('with=sign', 'user.a.b', '');
    const archive = join(root, 'archive');
    const names = ['./plain', `./${long}`, './with\nbreak', './with=sign'].map((name) => `${name}\0`).join('');
    const args = ['-C', root, '-cf', archive, '--no-recursion', '--xattrs', '--xattrs-include=*', '--null', '-T', '-'];
    assert.equal((await run('tar', args, { timeoutMs: 10_000, input: names })).code, 0);
    const found = [...attributesIn(fs.readFileSync(archive))].map(([path, attributes]) => [path, [...attributes]]);
    assert.deepEqual(found, [
      ['/plain', []],
      [`/${long}`, [['user.note', '\u0000\u00ff=\nA']]],
      ['/with\nbreak', []],
      ['/with=sign', [['user.a.b', '']]],
    ]);
  } finally {
    fs.rmSync(root, { recursive: true, force: true });
  }
});

test('any bytes are read to an end, whatever they are', () => {
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 4_096 }), (bytes) => {
      assert.ok(attributesIn(bytes).size <= 8);
    }),
  );
});

test('what is too much is told apart from what is other', () => {
  const of = (...rows: [string, string][]) => new Map(rows);
  assert.deepEqual(attributesDiffer(of(['a', '1']), of(['a', '1'])), { extra: [], other: false });
  assert.deepEqual(attributesDiffer(of(['a', '1']), of(['a', '1'], ['b', '']))?.extra, ['b']);
  assert.deepEqual(attributesDiffer(of(['a', '1'], ['b', '']), of(['a', '2'])), { extra: [], other: true });
});
