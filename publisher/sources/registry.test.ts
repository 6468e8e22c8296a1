// Folders, the list of kinds and the registry agree: a new kind of source is a folder, a name and a line.
import assert from 'node:assert/strict';
import * as fs from 'node:fs';
import { it } from 'node:test';
import { SOURCE_KINDS } from './api.ts';
import { sourceKinds } from './registry.ts';

it('every folder is a registered kind of source, and every kind has its folder', () => {
  const folders = fs.readdirSync(import.meta.dirname, { withFileTypes: true }).filter((entry) => entry.isDirectory());
  assert.deepEqual(folders.map(({ name }) => name).toSorted(), Object.keys(sourceKinds).toSorted());
  assert.deepEqual([...SOURCE_KINDS].toSorted(), Object.keys(sourceKinds).toSorted());
});
