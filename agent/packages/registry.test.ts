import assert from 'node:assert/strict';
import * as fs from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { PATCH_FORMATS } from '#manifests/schema';
import { packageSystems, SYSTEM_FORMATS } from './index.ts';

/** The folder of each package system. */
const FOLDERS = {
  deb: 'apt',
  rpm: 'dnf',
  archive: 'archive',
  msi: 'windows',
  exe: 'windows',
  msu: 'windows',
  pkg: 'macos',
} as const;

test('folders and registry agree', () => {
  const folders = fs
    .readdirSync(import.meta.dirname, { withFileTypes: true })
    .filter((entry) => entry.isDirectory())
    .map(({ name }) => name);
  assert.deepEqual(folders.toSorted(), [...new Set(Object.values(FOLDERS))].toSorted());
  assert.deepEqual(Object.keys(packageSystems).toSorted(), [...SYSTEM_FORMATS].toSorted());
  for (const format of SYSTEM_FORMATS) {
    assert.equal(packageSystems[format].format, format);
    assert.ok((PATCH_FORMATS as readonly string[]).includes(format));
    assert.ok(fs.existsSync(join(import.meta.dirname, FOLDERS[format], 'index.ts')));
  }
});
