import assert from 'node:assert/strict';
import * as fs from 'node:fs';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { run } from '#manifests/platform/process';
import { bareEnvironment } from '#manifests/platform/testing/environment';
import { type TryOut, tryOut } from '../cli/try-out.ts';

const PRELOAD = join(import.meta.dirname, 'fixtures', 'kill-at.mjs');
const MAIN = join(import.meta.dirname, '..', 'main.ts');

/** What a reader sees: the versions that the timestamp leads to, after the whole verification. */
async function seen(lab: TryOut): Promise<string> {
  const ended = await lab.run('verify', lab.repository, '--root', lab.root, '--payloads', '--json');
  const report = JSON.parse(ended.out) as { versions: object; checks: { verdict: string; what: string; says: string }[] };
  assert.deepEqual(
    report.checks.filter(({ verdict }) => verdict !== 'ok'),
    [],
  );
  return JSON.stringify(report.versions);
}

describe('S42 publisher killed at any point of publish', () => {
  let lab: TryOut;
  let before0: string;
  before(async () => {
    lab = tryOut();
    await lab.prepare();
    assert.equal((await lab.run('publish')).exit, 0);
    // A new release, and new keys that need a new root: every kind of file is written.
    await lab.addRelease('1.1.0');
    assert.equal((await lab.run('source', 'sync')).exit, 0);
    for (const role of ['root', 'timestamp', 'catalog']) assert.equal((await lab.run('key', 'rotate', role)).exit, 0);
    before0 = join(lab.folder, 'before');
    fs.cpSync(lab.home, before0, { recursive: true });
  });
  after(() => lab.remove());

  const publish = (env: Record<string, string>) =>
    run(process.execPath, ['--import', PRELOAD, MAIN, 'publish', '--quiet', '--home', lab.home], {
      timeoutMs: 60_000,
      env: bareEnvironment({ TMPDIR: lab.folder, KILL_HOME: lab.home, ...env }),
    });
  const reset = () => {
    fs.rmSync(lab.home, { recursive: true });
    fs.cpSync(before0, lab.home, { recursive: true });
  };

  test('readers see the old state or the new one, and the next publish converges', async () => {
    const old = await seen(lab);
    const countFile = join(lab.folder, 'count');
    const whole = await publish({ KILL_COUNT: countFile });
    assert.equal(whole.code, 0, whole.stderr);
    const acts = fs.readFileSync(countFile, 'utf8').split('\n').length;
    assert.ok(acts > 30, `only ${acts} acts were seen`);
    const fresh = await seen(lab);
    assert.notEqual(fresh, old);

    const states = new Set<string>();
    // Every third act, alternating before and after it; all of them with PATCHFERRY_CHAOS=1 (2 to 4 minutes).
    for (let at = 1; at <= acts; at += process.env['PATCHFERRY_CHAOS'] === '1' ? 1 : 3) {
      reset();
      const killed = await publish({ KILL_AT: String(at), KILL_AFTER: at % 2 === 0 ? '1' : '0' });
      assert.equal(killed.signal, 'SIGKILL', `act ${at} of ${acts}: ${killed.stderr}`);
      const state = await seen(lab);
      states.add(state);
      const again = await lab.run('publish');
      assert.ok(again.exit === 0 || again.exit === 3, `after act ${at}: ${again.err}`);
      await seen(lab);
      assert.equal((await lab.run('publish')).exit, 3, `after act ${at}: two publishes do not converge`);
      const waiting = (await lab.json('key', 'list'))['keys'] as { published: boolean }[];
      assert.ok(
        waiting.every(({ published }) => published),
        `after act ${at}: a rotation was lost`,
      );
      const leftOver = fs
        .readdirSync(lab.repository, { recursive: true, encoding: 'utf8' })
        .filter((name) => name.includes('.tmp-') && !name.includes('.partial'));
      assert.deepEqual(leftOver, [], `after act ${at}`);
    }
    assert.ok(states.has(old) && states.size >= 2, `old and new were both seen: ${[...states].join(' ')}`);
  });

  test('S39 two publishes at once: one wins, the other says who holds it', async () => {
    reset();
    const ended = await Promise.all([publish({}), publish({}), publish({})]);
    const codes = ended.map(({ code }) => code);
    // Whoever comes after the first one has ended finds nothing to do (3); whoever comes in between is told (4).
    assert.equal(codes.filter((code) => code === 0).length, 1, codes.join());
    assert.ok(
      codes.every((code) => code === 0 || code === 3 || code === 4),
      codes.join(),
    );
    for (const { code, stderr } of ended)
      if (code === 4) assert.match(stderr, /is held by (publish \(process \d+\)|another process)/);
    await seen(lab);
  });

  test('S39 held: the second one is refused as long as the first one holds the home', async () => {
    const { lockHome, homePaths } = await import('../home.ts');
    const lock = lockHome(homePaths(lab.home), 'publish');
    try {
      const ended = await lab.run('publish');
      assert.equal(ended.exit, 4);
      assert.match(ended.err, new RegExp(`is held by publish \\(process ${process.pid}\\)`));
    } finally {
      lock.release();
    }
  });

  test('a repository taken back from a backup: no version is given out twice', async () => {
    reset();
    const backup = join(lab.folder, 'backup');
    fs.cpSync(lab.repository, backup, { recursive: true });
    await lab.run('publish');
    const given = (await lab.json('publish', '--refresh'))['versions'] as Record<string, number>;
    fs.rmSync(lab.repository, { recursive: true });
    fs.cpSync(backup, lab.repository, { recursive: true });
    const next = (await lab.json('publish'))['versions'] as Record<string, number>;
    for (const role of ['timestamp', 'snapshot', 'targets', 'catalog']) {
      assert.ok((next[role] ?? 0) > (given[role] ?? 0), `${role}: ${given[role]} then ${next[role]}`);
    }
    await seen(lab);
  });

  test('a tree that was tampered with is not built upon', async () => {
    reset();
    const file = join(lab.repository, 'metadata', '1.snapshot.json');
    fs.writeFileSync(file, fs.readFileSync(file, 'utf8').replace('"version":1', '"version":9'));
    const ended = await lab.run('publish');
    assert.equal(ended.exit, 5);
    assert.match(ended.err, /code: {2}trust\./);
  });
});
