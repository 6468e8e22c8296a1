// The demo command: the whole main job in under five minutes, changing nothing of this machine. See real-host.ts, sandbox.ts.
// Usage: npm run demo [-- --sandbox]
import { join } from 'node:path';
import { formatDuration } from '#manifests/platform/progress';
import { PROJECT } from '../fleet/index.ts';
import { ensureDebianPackages } from '../setup/debian.ts';
import { demoOnRealHost, REAL_STEPS } from './real-host.ts';
import { demoInSandbox, SANDBOX_STEPS } from './sandbox.ts';
import { openStage } from './stage.ts';

const started = performance.now();
const lacking = process.argv.includes('--sandbox')
  ? 'asked for with --sandbox'
  : await ensureDebianPackages(['hosts', 'build']);
const real = lacking === undefined;
process.stdout.write(
  real
    ? "patchferry demo: a real stale Debian host, today's real security updates\n"
    : `patchferry demo in a sandbox folder (no real host: ${lacking})\n`,
);
const stage = openStage(real ? REAL_STEPS : SANDBOX_STEPS, join(PROJECT, 'dist', 'demo'));
try {
  await (real ? demoOnRealHost(stage) : demoInSandbox(stage));
  process.stdout.write(
    `\nDone in ${formatDuration(performance.now() - started)}. Look at the report: ${join(stage.keep, 'report.html')}\n`,
  );
} catch (error) {
  process.stderr.write(`\nThe demo failed: ${(error as Error).message}\n`);
  process.exitCode = 1;
} finally {
  stage.close();
}
