import assert from 'node:assert/strict';
import * as fs from 'node:fs';
import * as os from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { isFault } from '#manifests/errors';
import type { Problem } from '#manifests/schema';
import { checkPolicy, readPolicy } from './read.ts';

const FIXTURES = join(import.meta.dirname, 'fixtures');
const EXAMPLES = join(import.meta.dirname, '../../manifests/examples');

const rows = (problems: readonly Problem[]) =>
  problems.map(({ file, line, column, field, says }) => `${file}:${line}:${column}: ${field}: ${says}\n`).join('');

test('every problem of a broken policy is named with file, line, column and a suggestion (golden)', () => {
  const { problems, remarks } = readPolicy(join(FIXTURES, 'broken'), 'broken');
  const found = `problems\n${rows(problems)}remarks\n${rows(remarks)}`;
  const golden = join(FIXTURES, 'broken.txt');
  if (process.env['PATCHFERRY_UPDATE_GOLDEN'] === '1') fs.writeFileSync(golden, found);
  assert.equal(found, fs.readFileSync(golden, 'utf8'));
});

test('the examples that users start from have no problem and no remark', () => {
  const policy = readPolicy(EXAMPLES, 'examples');
  assert.equal(rows(policy.problems), '');
  assert.equal(rows(policy.remarks), '');
  assert.deepEqual([...policy.groups.keys()], ['first-fleet', 'security-now', 'careful-servers', 'try-out', 'rolled-out']);
});

test('a baseline that does not parse is not also reported as unknown', () => {
  const { problems } = checkPolicy([
    { file: 'a.yaml', text: 'apiVersion: patchferry/v1\nkind: Baseline\nmetadata: {name: a}\nspec: {product: p, rulez: []}\n' },
    { file: 'b.yaml', text: 'apiVersion: patchferry/v1\nkind: PatchGroup\nmetadata: {name: g}\nspec: {baselines: [a]}\n' },
  ]);
  assert.deepEqual(
    problems.map(({ file, field }) => [file, field]),
    [['a.yaml', 'spec.rulez']],
  );
});

test('a folder without policy is an error that says where to start', () => {
  const empty = fs.mkdtempSync(join(os.tmpdir(), 'pf-policy-'));
  try {
    assert.throws(
      () => readPolicy(empty),
      (error) => isFault(error, 'policy-folder.missing') && error.next.includes('manifests/examples'),
    );
  } finally {
    fs.rmSync(empty, { recursive: true });
  }
});
