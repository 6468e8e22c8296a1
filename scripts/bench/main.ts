// Runs benchmarks and writes what they found, with the machine's facts, to bench-results/.
// Usage: npm run bench [-- NAME …]; a benchmark is a file here that exports `name` and `bench`.
import * as fs from 'node:fs';
import { arch, cpus, loadavg, platform, release, totalmem } from 'node:os';
import { join, resolve } from 'node:path';
import { utcSeconds } from '#manifests/platform/clock';
import { writeFileAtomic } from '#manifests/platform/files';

type Row = Record<string, string | number>;

interface Benchmark {
  readonly name: string;
  bench(): Promise<{ name: string; rows: Row[] }>;
}

const PROJECT = resolve(import.meta.dirname, '../..');

async function benchmarks(): Promise<Benchmark[]> {
  const files = fs.readdirSync(import.meta.dirname).filter((file) => file.endsWith('.ts') && file !== 'main.ts');
  const modules = await Promise.all(
    files.toSorted().map((file) => import(join(import.meta.dirname, file)) as Promise<Partial<Benchmark>>),
  );
  return modules.filter((module): module is Benchmark => typeof module.name === 'string' && typeof module.bench === 'function');
}

/** Rows as an aligned table; numbers to the right. */
function table(rows: readonly Row[]): string {
  const columns = [...new Set(rows.flatMap((row) => Object.keys(row)))];
  const cells = [columns, ...rows.map((row) => columns.map((column) => String(row[column] ?? '')))];
  const widths = columns.map((_, index) => Math.max(...cells.map((line) => (line[index] ?? '').length)));
  const isNumber = columns.map((column) => rows.every((row) => typeof row[column] === 'number' || row[column] === undefined));
  return cells
    .map((line) =>
      line
        .map((cell, index) => (isNumber[index] ? cell.padStart(widths[index] ?? 0) : cell.padEnd(widths[index] ?? 0)))
        .join('  '),
    )
    .map((line) => `${line.trimEnd()}\n`)
    .join('');
}

const known = await benchmarks();
const asked = process.argv.slice(2);
const unknown = asked.filter((name) => !known.some((one) => one.name === name));
if (unknown.length > 0) {
  process.stderr.write(`unknown benchmark ${unknown.join(', ')}; known: ${known.map((one) => one.name).join(', ')}\n`);
  process.exit(2);
}
const machine = {
  platform: `${platform()} ${release()} ${arch()}`,
  processor: cpus()[0]?.model ?? 'unknown',
  cores: cpus().length,
  memoryMiB: Math.round(totalmem() / 1024 / 1024),
  node: process.version,
};
process.stdout.write(
  `${machine.platform}, ${machine.cores} × ${machine.processor}, ${machine.memoryMiB} MiB, Node ${machine.node}\n`,
);
for (const one of known.filter(({ name }) => asked.length === 0 || asked.includes(name))) {
  process.stdout.write(`\n${one.name}\n`);
  const before = loadavg()[0] ?? 0;
  const { rows } = await one.bench();
  process.stdout.write(table(rows));
  const load = { before: Number(before.toFixed(2)), after: Number((loadavg()[0] ?? 0).toFixed(2)) };
  process.stdout.write(`load average ${load.before} before, ${load.after} after\n`);
  const at = utcSeconds(Date.now());
  const result = { schema: 'patchferry/bench', schemaVersion: 1, name: one.name, at, machine, load, rows };
  writeFileAtomic(
    join(PROJECT, 'bench-results', `${one.name}-${at.replaceAll(':', '')}.json`),
    `${JSON.stringify(result, null, 2)}\n`,
  );
}
