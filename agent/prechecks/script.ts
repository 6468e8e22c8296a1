// Check scripts of the fleet's own: signed with the policy, written to the run's private folder, run as any other program of the
// agent is (own process group, time-out, bounded output), and taken away again.
import * as fs from 'node:fs';
import { join } from 'node:path';
import { writeFileAtomic } from '#manifests/platform/files';
import { run } from '#manifests/platform/process';
import type { CheckScript, HostCheck, HostLook } from './check.ts';

/** Exit code by which a check asks for another time, as hooks do. */
const LATER_EXIT = 21;
const OUTPUT_BYTES = 65_536;
/** Shown of what it prints, characters. */
const SHOWN = 1_000;

/** Exit 0 is well; 21 is not well now, and may be later; anything else is not well. */
export async function checkByScript(
  { name, script, timeoutSeconds }: CheckScript,
  { workFolder, environment }: HostLook,
  signal: AbortSignal,
): Promise<HostCheck> {
  const check = (ok: boolean, says: string, retryLater = false): HostCheck => {
    return { name: `script ${name}`, ok, blocks: true, says, retryLater };
  };
  const file = join(workFolder, `check-${name}`);
  try {
    writeFileAtomic(file, script, { mode: 0o700 });
    const { PATH = '/usr/sbin:/usr/bin:/sbin:/bin', HOME = '/root' } = process.env;
    const env = { PATH, HOME, LC_ALL: 'C.UTF-8', ...environment };
    const result = await run(file, [], { timeoutMs: timeoutSeconds * 1000, outputBytes: OUTPUT_BYTES, signal, env });
    const said = `${result.stdout}\n${result.stderr}`.trim().slice(-SHOWN);
    const how = result.timedOut
      ? `no answer within ${timeoutSeconds} s`
      : result.code === 0
        ? 'passed'
        : result.code === LATER_EXIT
          ? 'asks for another time'
          : `ended with ${result.code ?? result.signal}`;
    const says = said === '' ? how : `${how}: ${said}`;
    return check(result.code === 0 && !result.timedOut, says, result.code === LATER_EXIT && !result.timedOut);
  } catch (cause) {
    return check(false, (cause as Error).message);
  } finally {
    fs.rmSync(file, { force: true });
  }
}
