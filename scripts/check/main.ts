// The check command: types, lint with the boundaries of the house, format, dead code. Each runs even when one before failed.
import { join, resolve } from 'node:path';
import { run } from '#manifests/platform/process';

const PROJECT = resolve(import.meta.dirname, '../..');
const bin = (name: string) => join(PROJECT, 'node_modules/.bin', name);

const CHECKS: ReadonlyArray<{ name: string; command: string; args: string[] }> = [
  { name: 'types', command: bin('tsc'), args: ['--noEmit'] },
  { name: 'lint', command: bin('oxlint'), args: ['--deny-warnings'] },
  { name: 'format', command: bin('biome'), args: ['check', '.'] },
  { name: 'dead code', command: bin('knip'), args: [] },
];

let failed = 0;
for (const check of CHECKS) {
  const result = await run(check.command, check.args, { timeoutMs: 600_000, cwd: PROJECT });
  const ok = result.code === 0;
  process.stdout.write(`${ok ? 'ok    ' : 'FAILED'} ${check.name} (${Math.round(result.durationMs)} ms)\n`);
  if (!ok) {
    failed += 1;
    process.stdout.write(`${result.stdout}${result.stderr}\n`);
  }
}
process.exitCode = failed === 0 ? 0 : 1;
