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
import { clearingTurn, type Held, Holdings, REGISTER } from './holdings.ts';
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
  fs.writeFileSync(file, JSON.stringify({ init: host.init, sleeper: sleeper.pid }));
  await new Promise(() => setInterval(() => undefined, 60 * SECONDS));
}

/** A zombie too is gone: whoever inherited it has not asked for it yet. */
const gone = (pid: number) =>
  !fs.existsSync(`/proc/${pid}`) || /^State:\s+[ZX]/m.test(fs.readFileSync(`/proc/${pid}/status`, 'utf8'));

/** What is there of a holder's note, by kind, and of the loop devices below its folders. */
async function thereOf(note: Readonly<Record<Held, readonly string[]>>): Promise<Record<string, readonly string[]>> {
  const mounts = fs
    .readFileSync('/proc/self/mounts', 'utf8')
    .split('\n')
    .map((line) => line.split(' ')[1] ?? '');
  const loops = (await run('losetup', ['--list', '--noheadings', '--output', 'BACK-FILE'], { timeoutMs: 10 * SECONDS })).stdout;
  return {
    machines: note.machines.filter((name) => !gone(Number(name.split(' ')[0]))),
    namespaces: note.namespaces.filter((name) => fs.existsSync(`/run/netns/${name}`)),
    links: note.links.filter((name) => fs.existsSync(`/sys/class/net/${name}`)),
    mounts: note.mounts.filter((path) => mounts.includes(path)),
    folders: note.folders.filter((path) => fs.existsSync(path)),
    loops: loops.split('\n').filter((file) => note.folders.some((folder) => file.startsWith(`${folder}/`))),
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
    const orphan = await launch(process.execPath, [fileURLToPath(import.meta.url), file], { logFile: `${file}.log` });
    await until('the other lab', 120, () => (fs.existsSync(file) ? true : undefined));
    // Other labs may open, live and end beside this test: only what the killed one noted is looked at, before anybody clears it.
    const turn = await clearingTurn();
    t.after(() => turn.release());
    orphan.kill('SIGKILL');
    await orphan.ended;
    const { init, sleeper } = JSON.parse(fs.readFileSync(file, 'utf8')) as Record<'init' | 'sleeper', number>;
    const notes = fs
      .readdirSync(REGISTER)
      .filter((name) => name.endsWith('.json'))
      .map((name) => JSON.parse(fs.readFileSync(join(REGISTER, name), 'utf8')) as Record<Held, string[]> & { holder: string })
      .filter(({ holder }) => holder.startsWith(`${orphan.pid} `));
    assert.equal(notes.length, 2, 'of its lab and of its network');
    const all = (kind: Held) => notes.flatMap((note) => note[kind]);
    const noted = {
      machines: all('machines'),
      namespaces: all('namespaces'),
      links: all('links'),
      mounts: all('mounts'),
      folders: all('folders'),
    };
    for (const [kind, names] of Object.entries(await thereOf(noted)))
      assert.ok(names.length > 0, `the killed lab left ${kind} behind`);
    assert.ok(fs.existsSync(`/proc/${init}`) && fs.existsSync(`/proc/${sleeper}`));
    turn.release();

    const next = await Holdings.open();
    t.after(() => next.close());
    const { loops = [], ...rest } = await thereOf(noted);
    for (const [kind, names] of Object.entries(rest)) assert.deepEqual(names, [], kind);
    // A host that just boots beside this test has a copy of all mounts for a moment, and a loop device goes with the last of them.
    if (loops.length > 0)
      await until('the loop device to go', 30, async () => ((await thereOf(noted))['loops']?.length === 0 ? true : undefined));
    assert.ok(gone(init) && gone(sleeper), 'host and programs in namespaces have ended');
    const [asked, words] = living.place('mine').inside(['true']);
    assert.equal((await run(asked, words, { timeoutMs: 10 * SECONDS })).code, 0, 'the living network is whole');
  });
