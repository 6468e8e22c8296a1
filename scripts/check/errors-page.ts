// The page ERRORS.md, made from the codes that the modules declare; its test holds the file against it.
import * as fs from 'node:fs';
import { join, resolve } from 'node:path';
import { declaredFaults } from '#manifests/errors';

const PROJECT = resolve(import.meta.dirname, '../..');

function modulesThatDeclare(folder: string): string[] {
  return fs.readdirSync(folder, { withFileTypes: true }).flatMap((entry) => {
    const path = join(folder, entry.name);
    if (entry.isDirectory()) return modulesThatDeclare(path);
    const isSource = entry.name.endsWith('.ts') && !entry.name.endsWith('.test.ts') && entry.name !== 'main.ts';
    return isSource && /^(?:export )?const \w+ = defineFaults\(/m.test(fs.readFileSync(path, 'utf8')) ? [path] : [];
  });
}

/** The page: every code, its exit code, and what to do next. */
export async function errorsPage(): Promise<string> {
  for (const component of ['manifests', 'publisher', 'relay', 'agent']) {
    for (const path of modulesThatDeclare(join(PROJECT, component))) await import(path);
  }
  const rows = declaredFaults().map(({ code, exit, next }) => `| \`${code}\` | ${exit} | ${next.replaceAll('|', '\\|')} |`);
  return [
    '# Errors',
    '',
    'Every error a person may see has a stable code. With `--json` it is in `error.code`; the exit codes are in the README.',
    'This page is written by `npm run golden` from the codes that the modules declare.',
    '',
    '| Code | Exit | What to do next |',
    '|---|---|---|',
    ...rows,
    '',
  ].join('\n');
}
