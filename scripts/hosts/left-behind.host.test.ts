// A lab whose process is killed leaves a booted host, namespaces, lines, mounts and files behind. The next one clears them away,
// and nothing of those that live.
import assert from 'node:assert/strict';
import * as fs from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { launch, run, runOrThrow } from '#manifests/platform/process';
import { until } from '../fleet/index.ts';
import { isDebianRoot } from '../setup/debian.ts';
import { Holdings } from './holdings.ts';
import { Lab, TestNetwork } from './index.ts';

const SECONDS = 1_000;

/** Ran as a program: holds as much as a test can, says what, and waits to be killed. */
async function hold(file: string): Promise<void> {
  const lab = await Lab.open({ sizeMiB: 4_096 });
  const host = await lab.host('orphan');
  await host.boot();
  const network = await TestNetwork.open([{ name: 'far', rate: 256_000 }]);
  const place = network.place('far');
  const [program, words] = place.inside(['sleep', '600']);
  const sleeper = await launch(program, words, { logFile: '/dev/null' });
  const mount = join(lab.folder, 'full');
  fs.mkdirSync(mount);
  network.holdings.add('mounts', mount);
  await runOrThrow('mount', ['-t', 'tmpfs', 'none', mount], { timeoutMs: 10 * SECONDS });
  fs.writeFileSync(file, JSON.stringify({ folder: lab.folder, init: host.init, sleeper: sleeper.pid }));
  await new Promise(() => setInterval(() => undefined, 60 * SECONDS));
}

/** What of this machine is ours to give back. */
async function held(): Promise<{ namespaces: string[]; links: string[]; mounts: string[]; loops: string[] }> {
  const lines = async (program: string, ...args: string[]) =>
    (await run(program, args, { timeoutMs: 10 * SECONDS })).stdout.split('\n').filter((line) => line !== '');
  return {
    namespaces: (await lines('ip', 'netns', 'list')).map((line) => line.split(' ')[0] ?? ''),
    links: fs.readdirSync('/sys/class/net'),
    mounts: fs
      .readFileSync('/proc/self/mounts', 'utf8')
      .split('\n')
      .map((line) => line.split(' ')[1] ?? ''),
    loops: await lines('losetup', '--list', '--noheadings', '--output', 'BACK-FILE'),
  };
}

const [, program, ...args] = process.argv;
if (program === fileURLToPath(import.meta.url) && args[0] !== undefined) await hold(args[0]);
else
  test('what a killed lab held is given back by the next one; a living one keeps what it has', {
    skip: isDebianRoot() ? false : 'needs root on Debian',
  }, async (t) => {
    const living = await TestNetwork.open([{ name: 'mine' }]);
    t.after(() => living.close());
    const file = fs.mkdtempSync('/tmp/patchferry-left-') + '/held.json';
    t.after(() => fs.rmSync(join(file, '..'), { recursive: true }));
    const before = await held();
    const orphan = await launch(process.execPath, [fileURLToPath(import.meta.url), file], { logFile: `${file}.log` });
    await until('the other lab', 120, () => (fs.existsSync(file) ? true : undefined));
    orphan.kill('SIGKILL');
    await orphan.ended;
    const { folder, init, sleeper } = JSON.parse(fs.readFileSync(file, 'utf8')) as Record<'init' | 'sleeper', number> & {
      folder: string;
    };
    const left = await held();
    for (const kind of ['namespaces', 'links', 'mounts', 'loops'] as const)
      assert.ok(left[kind].length > before[kind].length, `the killed lab left ${kind} behind`);
    assert.ok(fs.existsSync(`/proc/${init}`) && fs.existsSync(`/proc/${sleeper}`));

    const next = await Holdings.open();
    t.after(() => next.close());
    const now = await held();
    for (const kind of ['namespaces', 'links', 'mounts', 'loops'] as const)
      assert.deepEqual(
        now[kind].filter((name) => left[kind].includes(name) && !before[kind].includes(name)),
        [],
        kind,
      );
    const gone = (pid: number) =>
      !fs.existsSync(`/proc/${pid}`) || /^State:\s+[ZX]/m.test(fs.readFileSync(`/proc/${pid}/status`, 'utf8'));
    assert.ok(gone(init) && gone(sleeper), 'host and programs in namespaces have ended');
    assert.ok(!fs.existsSync(folder));
    const [asked, words] = living.place('mine').inside(['true']);
    assert.equal((await run(asked, words, { timeoutMs: 10 * SECONDS })).code, 0, 'the living network is whole');
  });
