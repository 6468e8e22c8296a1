// Own software in one command: from an archive to a patch in the catalog; what is wrong leaves the home as it was.
import assert from 'node:assert/strict';
import * as fs from 'node:fs';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { create } from 'tar';
import { type TryOut, tryOut } from './try-out.ts';

let lab: TryOut;
let archive: string;
before(async () => {
  lab = tryOut();
  assert.equal((await lab.run('init', '--unattended')).exit, 0);
  const folder = join(lab.folder, 'built');
  fs.mkdirSync(join(folder, 'bin'), { recursive: true });
  fs.writeFileSync(join(folder, 'bin/pump'), '#!/bin/sh\n', { mode: 0o755 });
  archive = join(lab.folder, 'pump-1.2.0.tar.gz');
  await create({ gzip: true, cwd: folder, file: archive, portable: true }, ['bin']);
});
after(() => lab.remove());

const ADD = ['--product', 'pump', '--patch-version', '1.2.0', '--title', 'Pump control', '--severity', 'high'] as const;
const home = () =>
  fs
    .readdirSync(lab.home, { recursive: true, encoding: 'utf8' })
    .filter((path) => /own|sources/.test(path))
    .toSorted();
const settings = () => fs.readFileSync(join(lab.home, 'publisher.yaml'), 'utf8');

test('a dry run checks everything and keeps nothing', async () => {
  const [before, text] = [home(), settings()];
  const ended = await lab.run('patch', 'add', archive, ...ADD, '--dry-run');
  assert.equal(ended.exit, 0, ended.err);
  assert.match(ended.out, /pump@1\.2\.0 is in order/);
  assert.deepEqual(
    home().filter((path) => path !== 'own'),
    before,
  );
  assert.equal(settings(), text);
});

test('what is wrong is named, and the home stays as it was', async () => {
  const text = settings();
  const fake = join(lab.folder, 'fake-1.0.0.tar.gz');
  fs.writeFileSync(fake, 'PK\u0003\u0004');
  for (const [words, code, says] of [
    [[archive, '--product', 'pump', '--patch-version', '1.2'], /patch-add\.description/, /semantic version/],
    [
      [archive, '--product', 'pump', '--patch-version', '1.2.0', '--service', 'no unit'],
      /patch-add\.description/,
      /must name a unit/,
    ],
    [
      [join(lab.folder, 'absent.tar.gz'), '--product', 'pump', '--patch-version', '1.2.0'],
      /patch-add\.archive/,
      /cannot be read/,
    ],
    [[fake, '--product', 'pump', '--patch-version', '1.0.0'], /source\.description/, /is not gzip/],
    [[archive, '--product', 'pump', '--description', join(lab.folder, 'none.yaml')], /patch-add\.description/, /there is no/],
  ] as const) {
    const ended = await lab.run('patch', 'add', ...words);
    assert.equal(ended.exit === 0, false, words.join(' '));
    assert.match(ended.err, code);
    assert.match(ended.err, says);
  }
  assert.deepEqual(
    home().filter((path) => path.startsWith('own/pump/')),
    [],
  );
  assert.equal(settings(), text);
});

test('added, it is a patch like any other, with what hosts need to place it; the same version is not taken twice', async () => {
  const added = await lab.run(
    'patch',
    'add',
    archive,
    ...ADD,
    '--service',
    'pump.service',
    '--owner',
    'pump:pump',
    '--cve',
    'CVE-2026-0001',
  );
  assert.equal(added.exit, 0, added.err);
  const { patches } = (await lab.json('patch', 'list', '--product', 'pump')) as { patches: Record<string, unknown>[] };
  assert.equal(patches.length, 1);
  const [patch = {}] = patches;
  assert.deepEqual(
    [patch['id'], patch['format'], patch['severity'], patch['cves'], patch['placement']],
    ['pump@1.2.0', 'archive', 'high', ['CVE-2026-0001'], { services: ['pump.service'], owner: 'pump:pump' }],
  );
  const again = await lab.run('patch', 'add', archive, ...ADD);
  assert.match(again.err, /patch-add\.exists/);
  const next = join(lab.folder, 'pump-1.3.0.tar.gz');
  fs.copyFileSync(archive, next);
  fs.writeFileSync(
    join(lab.folder, 'patch.yaml'),
    'apiVersion: patchferry/v1\nkind: Patch\nmetadata: {name: pump}\nspec: {version: "1.3.0", title: Pump, packages: [{file: pump-1.3.0.tar.gz}]}\n',
  );
  const described = await lab.run('patch', 'add', next, '--product', 'pump', '--description', join(lab.folder, 'patch.yaml'));
  assert.equal(described.exit, 0, described.err);
  assert.equal((await lab.run('source', 'sync')).exit, 3, 'it is a source that has nothing new');
  const all = (await lab.json('patch', 'list', '--product', 'pump')) as { patches: { id: string }[] };
  assert.deepEqual(all.patches.map(({ id }) => id).toSorted(), ['pump@1.2.0', 'pump@1.3.0']);
});
