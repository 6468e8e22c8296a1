// Starts a TypeScript file of this project with the Node that npm brought, after installing what is missing.
// Plain JavaScript that any Node from version 14 on runs, because at this point there may be nothing else.
import { spawnSync } from 'node:child_process';
import { dirname, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import { ensurePackages, npmNode } from './install.mjs';

const project = resolve(dirname(fileURLToPath(import.meta.url)), '../..');
const [script, ...args] = process.argv.slice(2);
if (script === undefined) {
  process.stderr.write('usage: node scripts/setup/start.mjs FILE.ts [ARGUMENTS]\n');
  process.exit(2);
}
ensurePackages(project);
const result = spawnSync(npmNode(project), [resolve(project, script), ...args], {
  cwd: project,
  stdio: 'inherit',
  env: { ...process.env, NODE_OPTIONS: '' },
});
if (result.error) throw result.error;
process.exit(result.status === null ? 70 : result.status);
