// The test command: installs what the real tests need, runs every *.test.ts, and ends on `N passed, N failed[, N skipped]`.
// Usage: npm test [-- [--unit | --hosts] [PATH …]]; --update-golden rewrites golden files, --keep-durations the table of how long
// files take.
import * as fs from 'node:fs';
import { availableParallelism } from 'node:os';
import { join, relative, resolve } from 'node:path';
import { run as runTests } from 'node:test';
import { spec } from 'node:test/reporters';
import { keptBinary } from '../build/kept.ts';
import { Holdings } from '../hosts/holdings.ts';
import { ensureDebianPackages, GROUPS } from '../setup/debian.ts';
import { keepDurations, longestFirst, slowest } from './durations.ts';

const PROJECT = resolve(import.meta.dirname, '../..');
const FOLDERS = ['manifests', 'publisher', 'relay', 'agent', 'scripts'];

/** One file may take this long before it is stopped and counted as failed, in milliseconds. */
const FILE_TIMEOUT_MS = { unit: 300_000, host: 1_500_000 } as const;
/**
 * Files that run at the same time: one more than there are processors, since a file often waits for a process, a boot or a thin
 * line. Labs take a gigabyte of memory each, so that of these there are never many.
 */
const AT_ONCE = { unit: availableParallelism() + 1, host: Math.min(4, availableParallelism() + 1) } as const;

interface Counts {
  passed: number;
  failed: number;
  skipped: number;
}

function testFiles(folder: string): string[] {
  return fs.readdirSync(folder, { withFileTypes: true }).flatMap((entry) => {
    const path = join(folder, entry.name);
    if (entry.isDirectory()) return entry.name === 'node_modules' || entry.name === 'fixtures' ? [] : testFiles(path);
    return entry.name.endsWith('.test.ts') ? [path] : [];
  });
}

/** @param took seconds by file, filled in */
async function runFiles(files: string[], kind: keyof typeof AT_ONCE, counts: Counts, took: Map<string, number>): Promise<void> {
  if (files.length === 0) return;
  const stream = runTests({
    files: longestFirst(files),
    cwd: PROJECT,
    concurrency: AT_ONCE[kind],
    timeout: FILE_TIMEOUT_MS[kind],
  });
  const skips: string[] = [];
  const failures: string[] = [];
  const leaf = (data: { details: { type?: string | undefined } }) => data.details.type !== 'suite';
  stream.on('test:pass', (data) => {
    if (!leaf(data) || files.includes(data.name)) return;
    if (data.skip === undefined || data.skip === false) counts.passed += 1;
    else {
      counts.skipped += 1;
      skips.push(`skipped: ${data.name}: ${data.skip === true ? 'no reason given' : data.skip}`);
    }
  });
  stream.on('test:fail', (data) => {
    if (!leaf(data)) return;
    counts.failed += 1;
    failures.push(`failed: ${data.file ?? ''}: ${data.name}`);
  });
  // What a file says is reported in one piece, in the order of the files: a long first one holds back those that end before it.
  let ended = 0;
  stream.on('test:complete', ({ name, nesting, details }) => {
    if (nesting !== 0 || !files.includes(name)) return;
    took.set(name, details.duration_ms / 1000);
    ended += 1;
    const row = `${ended} of ${files.length} ended: ${relative(PROJECT, name)}, ${Math.round(details.duration_ms / 1000)} s\n`;
    if (kind === 'host') process.stderr.write(row);
  });
  const report = stream.compose(new spec());
  for await (const chunk of report) process.stdout.write(chunk as Buffer);
  for (const row of [...new Set(skips), ...failures]) process.stdout.write(`${row}\n`);
}

const args = process.argv.slice(2);
if (args.includes('--update-golden')) process.env['PATCHFERRY_UPDATE_GOLDEN'] = '1';
const named = args.filter((arg) => !arg.startsWith('--')).map((path) => resolve(path));
const all = FOLDERS.flatMap((folder) => testFiles(join(PROJECT, folder))).toSorted();
const chosen =
  named.length === 0 ? all : all.filter((file) => named.some((path) => file === path || file.startsWith(`${path}/`)));
const hostFiles = args.includes('--unit') ? [] : chosen.filter((file) => file.endsWith('.host.test.ts'));
const unitFiles = args.includes('--hosts') ? [] : chosen.filter((file) => !file.endsWith('.host.test.ts'));

// Modules are compiled once for all the processes that tests start, instead of in each of them.
process.env['NODE_COMPILE_CACHE'] ??= join(PROJECT, '.cache/compiled');
const groups = named.length > 0 ? (['hosts', 'tests', 'trust'] as const) : GROUPS;
const lacking = await ensureDebianPackages(hostFiles.length > 0 ? groups : ['tests', 'trust']);
if (lacking !== undefined) process.stdout.write(`real Debian tests are skipped: ${lacking}\n`);
const counts: Counts = { passed: 0, failed: 0, skipped: 0 };
const took = new Map<string, number>();
await runFiles(unitFiles, 'unit', counts, took);
if (hostFiles.length > 0 && lacking === undefined) await keptBinary('agent');
await runFiles(hostFiles, 'host', counts, took);
if (hostFiles.length > 0 && lacking === undefined) await (await Holdings.open()).close(); // also what a killed file left
for (const row of slowest(took)) process.stdout.write(`${row}\n`);
if (args.includes('--keep-durations')) keepDurations(took);
if (counts.passed + counts.failed === 0) {
  process.stdout.write('no test was found\n');
  process.exitCode = 1;
}
process.stdout.write(
  `${counts.passed} passed, ${counts.failed} failed${counts.skipped > 0 ? `, ${counts.skipped} skipped` : ''}\n`,
);
if (counts.failed > 0) process.exitCode = 1;
