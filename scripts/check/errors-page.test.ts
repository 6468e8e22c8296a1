// The error reference is in step with the code.
import assert from 'node:assert/strict';
import * as fs from 'node:fs';
import { resolve } from 'node:path';
import { test } from 'node:test';
import { errorsPage } from './errors-page.ts';

test('ERRORS.md lists every code that is declared (npm run golden rewrites it)', async () => {
  const path = resolve(import.meta.dirname, '../../ERRORS.md');
  const page = await errorsPage();
  if (process.env['PATCHFERRY_UPDATE_GOLDEN'] === '1') fs.writeFileSync(path, page);
  assert.equal(fs.readFileSync(path, 'utf8'), page);
});
