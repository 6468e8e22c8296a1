// The impure corner: files survive a kill, locks die with their holder, processes end in time, errors say what to do.
import assert from 'node:assert/strict';
import * as fs from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { declaredFaults, defineFaults, EXIT, isFault } from '#manifests/errors';
import { type ProgramSpec, runCommandLine } from './cli.ts';
import { readFileBounded, removeTemporaries, writeFileAtomic } from './files.ts';
import { takeLock } from './lock.ts';
import { launch, run, runOrThrow } from './process.ts';
import { formatBytes, formatDuration } from './progress.ts';

function temporaryFolder(t: { after(f: () => void): void }): string {
  const folder = fs.mkdtempSync(join(tmpdir(), 'patchferry-platform-'));
  t.after(() => fs.rmSync(folder, { recursive: true, force: true }));
  return folder;
}

test('an atomic write leaves the old or the new file, with the mode asked for, and no left-over', (t) => {
  const folder = temporaryFolder(t);
  const path = join(folder, 'a/b.txt');
  writeFileAtomic(path, 'one');
  writeFileAtomic(path, 'two', { mode: 0o600 });
  assert.equal(fs.readFileSync(path, 'utf8'), 'two');
  assert.equal(fs.statSync(path).mode & 0o777, 0o600);
  assert.deepEqual(fs.readdirSync(join(folder, 'a')), ['b.txt']);
});

test('a write that cannot be done says so and keeps what was there', (t) => {
  const folder = temporaryFolder(t);
  fs.writeFileSync(join(folder, 'file'), 'kept');
  assert.throws(
    () => writeFileAtomic(join(folder, 'file', 'below'), 'x'),
    (error) => isFault(error, 'files.unwritable'),
  );
  assert.equal(fs.readFileSync(join(folder, 'file'), 'utf8'), 'kept');
});

test('killed at the write, the fsync or the rename, a file is whole: old or new (S33)', async (t) => {
  if (
    process.platform !== 'linux' ||
    (await run('strace', ['--version'], { timeoutMs: 10_000 }).catch(() => undefined)) === undefined
  ) {
    t.skip('strace is not here');
    return;
  }
  const folder = temporaryFolder(t);
  const path = join(folder, 'state');
  const script = join(folder, 'write.ts');
  const files = join(import.meta.dirname, 'files.ts');
  fs.writeFileSync(
    script,
    `import { writeFileAtomic } from ${JSON.stringify(files)};\nwriteFileAtomic(${JSON.stringify(path)}, 'n'.repeat(100_000));\n`,
  );
  for (const call of ['write', 'fsync', 'rename']) {
    let kills = 0;
    for (let when = 1; when < 100; when += 1) {
      writeFileAtomic(path, 'old');
      const args = ['-f', '-qq', '-o', '/dev/null', '-e', `trace=${call}`, '-e', `inject=${call}:signal=KILL:when=${when}`];
      const result = await run('strace', [...args, process.execPath, script], { timeoutMs: 60_000 });
      const content = fs.readFileSync(path, 'utf8');
      assert.ok(content === 'old' || content === 'n'.repeat(100_000), `torn when killed at ${call} ${when}`);
      removeTemporaries(folder);
      assert.deepEqual(
        fs.readdirSync(folder).filter((name) => name.startsWith('.tmp-')),
        [],
      );
      if (result.code === 0) {
        assert.ok(content !== 'old');
        break;
      }
      kills += 1;
    }
    assert.ok(kills > 0, `nothing was killed at ${call}`);
  }
});

test('a bounded read refuses a larger file and tells an absent one', (t) => {
  const folder = temporaryFolder(t);
  fs.writeFileSync(join(folder, 'big'), 'x'.repeat(11));
  assert.throws(
    () => readFileBounded(join(folder, 'big'), 10),
    (error) => isFault(error, 'files.too-large'),
  );
  assert.equal(readFileBounded(join(folder, 'none'), 10), undefined);
});

test('one of two holders wins, the other is told who has it; a killed holder leaves nothing (S39)', async (t) => {
  const folder = temporaryFolder(t);
  const path = join(folder, 'lock');
  const script = join(folder, 'hold.ts');
  const lockModule = join(import.meta.dirname, 'lock.ts');
  fs.symlinkSync(join(import.meta.dirname, '../..', 'package.json'), join(folder, 'package.json'));
  fs.writeFileSync(
    script,
    `import { takeLock } from ${JSON.stringify(lockModule)};\ntakeLock(${JSON.stringify(path)}, 'import of a stick');\nconsole.log('held');\nsetInterval(() => {}, 1000);\n`,
  );
  const logFile = join(folder, 'log');
  const holder = await launch(process.execPath, [script], { logFile });
  t.after(() => holder.kill('SIGKILL'));
  while (!fs.readFileSync(logFile, 'utf8').includes('held')) await new Promise((resolve) => setImmediate(resolve));
  assert.throws(
    () => takeLock(path, 'publish'),
    (error) => isFault(error, 'lock.held') && /import of a stick \(process \d+\)/.test(error.message),
  );
  holder.kill('SIGKILL');
  await holder.ended;
  const lock = takeLock(path, 'publish');
  lock.release();
  takeLock(path, 'publish').release();
});

test('S37 a program that hangs is stopped with all its children, and says so', async (t) => {
  const folder = temporaryFolder(t);
  const pidFile = join(folder, 'pid');
  const result = await run('sh', ['-c', `sleep 600 & echo $! > ${pidFile}; wait`], { timeoutMs: 500 });
  assert.equal(result.timedOut, true);
  const child = Number(fs.readFileSync(pidFile, 'utf8'));
  const isGone = () => {
    try {
      return /^State:\s+Z/m.test(fs.readFileSync(`/proc/${child}/status`, 'utf8'));
    } catch {
      return true;
    }
  };
  for (let round = 0; !isGone() && round < 1000; round += 1) await new Promise((resolve) => setTimeout(resolve, 10));
  assert.ok(isGone(), 'the grandchild lives on');
});

test('output is bounded, arguments are no shell line, failures carry what was said', async () => {
  const long = await run('head', ['-c', '100000', '/dev/zero'], { timeoutMs: 10_000, outputBytes: 1_000 });
  assert.equal(long.stdout.length, 1_000);
  assert.equal(long.droppedBytes, 99_000);
  assert.equal((await run('echo', ['$(id); `id`'], { timeoutMs: 10_000 })).stdout, '$(id); `id`\n');
  await assert.rejects(runOrThrow('ls', ['/nowhere-at-all'], { timeoutMs: 10_000 }), /nowhere-at-all/);
  await assert.rejects(run('no-such-program-here', [], { timeoutMs: 10_000 }), (error) => isFault(error, 'process.missing'));
});

const fault = defineFaults('sample', { broken: { exit: EXIT.refused, next: 'Mend it.' } });
const PROGRAM: ProgramSpec = {
  name: 'sample',
  summary: 'a sample',
  version: '1.2.3',
  commands: [
    {
      name: 'thing show',
      summary: 'shows a thing',
      args: [{ name: '<name>', says: 'which' }],
      options: [{ flags: '--tag <tag>', says: 'a tag', many: true }],
      examples: [{ line: 'sample thing show x', says: 'shows x' }],
      run: async ({ args, options }) => {
        if (args[0] === 'bad') throw fault('broken', 'it is broken', { where: 'thing bad' });
        if (args[0] === 'bug') throw new TypeError('oops');
        return {
          exit: EXIT.findings,
          text: `${String(args[0])} ${String(options['tag'])}`,
          report: { schema: 'sample/thing', schemaVersion: 1 },
        };
      },
    },
  ],
};

async function commandLine(...argv: string[]) {
  const said = { out: '', err: '' };
  const streams = {
    out: (text: string) => void (said.out += text),
    err: (text: string) => void (said.err += text),
    errIsTerminal: false,
  };
  return { exit: await runCommandLine(PROGRAM, argv, streams), ...said };
}

test('a command line has help with examples, a JSON document, and exit codes as documented', async () => {
  assert.match((await commandLine('thing', 'show', '--help')).out, /Examples:\n {2}sample thing show x/);
  assert.deepEqual(await commandLine('thing', 'show', 'x', '--tag', 'a', '--tag', 'b'), { exit: 1, out: 'x a,b\n', err: '' });
  assert.equal((await commandLine('thing', 'show', 'x', '--json')).out, '{"schema":"sample/thing","schemaVersion":1}\n');
  assert.equal((await commandLine('thing', 'show')).exit, EXIT.usage);
  assert.equal((await commandLine('thin')).exit, EXIT.usage);
  assert.equal((await commandLine('--version')).out, '1.2.3\n');
  const bad = await commandLine('thing', 'show', 'bad', '--json');
  assert.equal(bad.exit, EXIT.refused);
  assert.match(bad.err, /error: it is broken\n {2}where: thing bad\n {2}next: {2}Mend it\.\n {2}code: {2}sample\.broken/);
  assert.equal((JSON.parse(bad.out) as { error: { code: string } }).error.code, 'sample.broken');
  assert.equal((await commandLine('thing', 'show', 'bug')).exit, EXIT.bug);
  assert.ok(declaredFaults().some(({ code }) => code === 'sample.broken'));
});

test('sizes and durations read well', () => {
  assert.equal(formatBytes(0), '0 B');
  assert.equal(formatBytes(1536), '1.5 KiB');
  assert.equal(formatDuration(95_000), '1 min 35 s');
  assert.equal(formatDuration(90_061_000), '1 d 1 h');
});

test('a reader that has seen enough (head, a pager) is no error', async (t) => {
  const folder = temporaryFolder(t);
  const script = join(folder, 'long.ts');
  const cli = join(import.meta.dirname, 'cli.ts');
  fs.writeFileSync(
    script,
    `import { main } from ${JSON.stringify(cli)};
void main({ name: 'x', summary: 'x', version: '1', commands: [
  { name: 'long', summary: 'x', examples: [], run: async () => ({ exit: 3, text: 'line\\n'.repeat(1_000_000) }) },
] });
`,
  );
  const line = `"$0" "$1" long | head -n 1; echo "\${PIPESTATUS[0]}"`;
  const { stdout, stderr } = await run('bash', ['-c', line, process.execPath, script], { timeoutMs: 30_000 });
  assert.equal(stdout, 'line\n3\n');
  assert.equal(stderr, '');
});
