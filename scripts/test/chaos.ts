// The chaos command: real hosts lose power at random moments of real installations and rollbacks, 200 times unless told.
// Usage: npm run test:chaos [-- --cuts N] [--seed N] [--hosts N] [--file-system btrfs|ext4]. Ends with 1 when a host or a result is wrong.
import * as fs from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { keptBinary } from '../build/kept.ts';
import { debianMirrors, Lab } from '../hosts/index.ts';
import { ensureDebianPackages } from '../setup/debian.ts';
import { chaos } from './chaos-hosts.ts';

const { values } = parseArgs({
  options: {
    cuts: { type: 'string', default: '200' },
    seed: { type: 'string', default: String(process.hrtime()[1] % 1_000_000) },
    hosts: { type: 'string', default: '3' },
    'file-system': { type: 'string', default: 'btrfs' },
  },
});
const say = (line: string) => void process.stdout.write(`${line}\n`);
const lacking = await ensureDebianPackages(['hosts']);
const mirrors = await debianMirrors('bookworm');
if (lacking !== undefined || mirrors === undefined) {
  say(`cannot run here: ${lacking ?? 'apt has no sources for Debian 12'}`);
  process.exit(2);
}
const seed = Number(values.seed);
const fileSystem = values['file-system'] === 'ext4' ? 'ext4' : 'btrfs';
say(`seed ${seed}, ${values.cuts} cuts, ${values.hosts} hosts on ${fileSystem}`);
const folder = fs.mkdtempSync(join(tmpdir(), 'patchferry-chaos-'));
const started = performance.now();
try {
  const binary = await keptBinary('agent');
  await using lab = await Lab.open({ fileSystem, say });
  const plan = { lab, folder, mirrors, binary, hosts: Number(values.hosts), cuts: Number(values.cuts), seed, say };
  const report = await chaos(plan);
  for (const [name, counts] of Object.entries({ 'cuts fell in': report.states, 'runs came to': report.outcomes })) {
    say(`${name}: ${JSON.stringify(counts)}`);
  }
  for (const line of [...report.inconsistent, ...report.lostOrDoubled]) say(`WRONG ${line}`);
  say(
    `${report.cuts} power cuts (seed ${seed}): ${report.inconsistent.length} hosts inconsistent, ${report.lostOrDoubled.length} results lost or doubled, ${((performance.now() - started) / 1000).toFixed(0)} s`,
  );
  if (report.inconsistent.length + report.lostOrDoubled.length > 0) process.exitCode = 1;
} finally {
  fs.rmSync(folder, { recursive: true, force: true });
}
