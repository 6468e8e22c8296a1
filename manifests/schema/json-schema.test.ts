// JSON Schemas of the kinds people write, for editors: made from the same schemas that check the files, kept under json/.
import assert from 'node:assert/strict';
import * as fs from 'node:fs';
import { test } from 'node:test';
import { AUTHORED_KINDS, authoredJsonSchema, readAuthored } from './index.ts';

const FOLDER = new URL('json/', import.meta.url);
const EXAMPLES = new URL('../examples/', import.meta.url);
const fileOf = (kind: string) => `${kind.replaceAll(/(?<=[a-z])(?=[A-Z])/g, '-').toLowerCase()}.schema.json`;

test('the JSON Schemas of all authored kinds are up to date (npm run golden rewrites them)', () => {
  const wanted = new Map(
    Object.keys(AUTHORED_KINDS).map((kind) => [
      fileOf(kind),
      `${JSON.stringify(authoredJsonSchema(kind as keyof typeof AUTHORED_KINDS), null, 2)}\n`,
    ]),
  );
  if (process.env['PATCHFERRY_UPDATE_GOLDEN'] === '1') {
    fs.mkdirSync(FOLDER, { recursive: true });
    for (const [file, text] of wanted) fs.writeFileSync(new URL(file, FOLDER), text);
  }
  assert.deepEqual(fs.readdirSync(FOLDER).toSorted(), [...wanted.keys()].toSorted());
  for (const [file, text] of wanted) assert.equal(fs.readFileSync(new URL(file, FOLDER), 'utf8'), text, file);
});

test('the examples are valid, and show every kind', () => {
  const seen = new Set<string>();
  for (const file of fs.readdirSync(EXAMPLES).filter((name) => name.endsWith('.yaml'))) {
    const { documents, problems } = readAuthored(fs.readFileSync(new URL(file, EXAMPLES), 'utf8'), file);
    assert.deepEqual(problems, [], file);
    for (const { kind } of documents) seen.add(kind);
  }
  assert.deepEqual([...seen].toSorted(), Object.keys(AUTHORED_KINDS).toSorted());
});
