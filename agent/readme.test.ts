// agent/README.md says what the code says: states, errors, commands, settings. `--update-golden` (npm run golden) rewrites it.
import assert from 'node:assert/strict';
import * as fs from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { declaredFaults } from '#manifests/errors';
import { agentProgram } from './cli/index.ts';
import './outbox/index.ts';
import './owner/index.ts';
import './poll/index.ts';
import { describeStates } from './run/index.ts';
import './service/index.ts';

const FILE = join(import.meta.dirname, 'README.md');
const OWN = ['agent', 'outbox', 'owner', 'poll', 'run'];

function errorsTable(): string {
  const rows = declaredFaults()
    .filter(({ code }) => OWN.includes(code.split('.')[0] ?? ''))
    .map(({ code, exit, next }) => `| \`${code}\` | ${exit} | ${next} |`);
  return ['| Code | Exit | What to do |', '|---|---|---|', ...rows, ''].join('\n');
}

function put(text: string, mark: string, content: string): string {
  const [start, end] = [`<!-- ${mark} -->\n`, `<!-- /${mark} -->`];
  const from = text.indexOf(start);
  const to = text.indexOf(end);
  assert.ok(from >= 0 && to > from, `README.md has the marks of ${mark}`);
  return `${text.slice(0, from + start.length)}${content}${text.slice(to)}`;
}

test('README.md holds the states and the errors of the code', () => {
  const now = fs.readFileSync(FILE, 'utf8');
  const wanted = put(put(now, 'states', describeStates()), 'errors', errorsTable());
  if (process.env['PATCHFERRY_UPDATE_GOLDEN'] === '1') fs.writeFileSync(FILE, wanted);
  else assert.equal(now, wanted, 'run the golden command to rewrite it');
});

test('README.md names every command', () => {
  const text = fs.readFileSync(FILE, 'utf8');
  for (const { name } of agentProgram.commands) {
    const [first = '', second] = name.split(' ');
    assert.ok(text.includes(`\`${first}`), name);
    if (second !== undefined) assert.ok(text.includes(second), name);
  }
});

test('README.md names every setting', () => {
  const text = fs.readFileSync(FILE, 'utf8');
  const source = fs.readFileSync(join(import.meta.dirname, 'service/settings.ts'), 'utf8');
  const shape = /const agentSettings = z\.strictObject\(\{([\s\S]*?)\n\}\);/.exec(source)?.[1] ?? '';
  const names = [...shape.matchAll(/^ {2}(\w+):/gm)].map((match) => match[1] ?? '');
  assert.ok(names.length > 10);
  for (const name of names) assert.ok(new RegExp(`\\| \`${name}[\`.]`).test(text), name);
});
