// Shows that each boundary of the house fires: a file that crosses it is written beside a copy of the lint settings and linted.
import assert from 'node:assert/strict';
import * as fs from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join, resolve } from 'node:path';
import { after, before, test } from 'node:test';
import { run } from '#manifests/platform/process';

const PROJECT = resolve(import.meta.dirname, '../..');
let house: string;

before(() => {
  house = fs.mkdtempSync(join(tmpdir(), 'patchferry-house-'));
  fs.copyFileSync(join(PROJECT, '.oxlintrc.json'), join(house, '.oxlintrc.json'));
  fs.copyFileSync(join(PROJECT, 'tsconfig.json'), join(house, 'tsconfig.json'));
  fs.symlinkSync(join(PROJECT, 'node_modules'), join(house, 'node_modules'));
});
after(() => fs.rmSync(house, { recursive: true, force: true }));

async function lint(file: string, code: string, beside: Record<string, string> = {}): Promise<string> {
  for (const [path, text] of Object.entries({ ...beside, [file]: code })) {
    fs.mkdirSync(dirname(join(house, path)), { recursive: true });
    fs.writeFileSync(join(house, path), text);
  }
  const result = await run(join(PROJECT, 'node_modules/.bin/oxlint'), ['--format=unix', file], {
    timeoutMs: 60_000,
    cwd: house,
  });
  return result.stdout + result.stderr;
}

const CROSSINGS: ReadonlyArray<{ file: string; code: string; rule: RegExp }> = [
  ...(['agent', 'relay', 'publisher'] as const).flatMap((from) =>
    (['agent', 'relay', 'publisher', 'scripts'] as const)
      .filter((to) => to !== from)
      .map((to) => ({
        file: `${from}/station/x.ts`,
        code: `import { y } from '../../${to}/z/index.ts';\nexport const x = y;\n`,
        rule: /no-restricted-imports/,
      })),
  ),
  ...(['agent', 'relay', 'publisher', 'scripts'] as const).map((to) => ({
    file: 'manifests/transfer/x.ts',
    code: `import { y } from '../../${to}/z/index.ts';\nexport const x = y;\n`,
    rule: /no-restricted-imports/,
  })),
  ...(['manifests/decide', 'manifests/versions', 'manifests/schema', 'manifests/trust/verify'] as const).flatMap((folder) => [
    {
      file: `${folder}/x.ts`,
      code: `import { readFileSync } from 'node:fs';\nexport const x = readFileSync;\n`,
      rule: /no-restricted-imports/,
    },
    {
      file: `${folder}/x.ts`,
      code: `import { run } from '#manifests/platform/process';\nexport const x = run;\n`,
      rule: /no-restricted-imports/,
    },
    { file: `${folder}/x.ts`, code: 'export const x = Date.now();\n', rule: /no-restricted-properties/ },
    { file: `${folder}/x.ts`, code: 'export const x = Math.random();\n', rule: /no-restricted-properties/ },
    { file: `${folder}/x.ts`, code: 'export const x = performance.now();\n', rule: /no-restricted-globals/ },
    { file: `${folder}/x.ts`, code: "export const x = fetch('x');\n", rule: /no-restricted-globals/ },
  ]),
  {
    file: 'agent/poll/x.ts',
    code: `import { spawn } from 'node:child_process';\nexport const x = spawn;\n`,
    rule: /no-restricted-imports/,
  },
  { file: 'agent/poll/x.ts', code: 'export function x(y: any): unknown {\n  return y;\n}\n', rule: /no-explicit-any/ },
  {
    file: 'agent/poll/x.ts',
    code: 'async function y(): Promise<void> {}\nexport function x(): void {\n  y();\n}\n',
    rule: /no-floating-promises/,
  },
];

for (const { file, code, rule } of CROSSINGS) {
  test(`the boundary fires: ${file}: ${code.split('\n')[0]}`, async () => {
    assert.match(await lint(file, code), rule);
  });
}

test('the boundary fires: an import cycle', async () => {
  const said = await lint('agent/poll/x.ts', "import { y } from './y.ts';\nexport const x = () => y;\n", {
    'agent/poll/y.ts': "import { x } from './x.ts';\nexport const y = () => x;\n",
  });
  assert.match(said, /no-cycle/);
});

test('what the house allows passes', async () => {
  const code =
    "import { EXIT } from '#manifests/errors';\nimport { y } from '../other/index.ts';\nexport const x = [EXIT, y];\n";
  const said = await lint('agent/poll/x.ts', code, { 'agent/other/index.ts': 'export const y = 1;\n' });
  assert.doesNotMatch(said, /\[Error/);
});
