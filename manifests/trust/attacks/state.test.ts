// S33, S36, S39: the state on disk, killed at every write, torn, lost, and wanted by two at once.
import assert from 'node:assert/strict';
import * as fs from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { run } from '#manifests/platform/process';
import { openTrust } from '../client.ts';
import type { Fetcher } from '../refresh.ts';
import { signerOf, T0, TestRepository, temporaryFolder } from '../testing/repository.ts';

type Context = { after(fn: () => void): void };
const CHILD = join(import.meta.dirname, '../testing/refresh-once.ts');

function writeRepository(repository: TestRepository, folder: string): string {
  for (const [path, bytes] of repository.files) {
    fs.mkdirSync(join(folder, path, '..'), { recursive: true });
    fs.writeFileSync(join(folder, path), bytes);
  }
  return folder;
}

/** A state folder at generation 1 and a repository at generation 2: a new root, a new role, new everything. */
async function twoGenerations(t: Context) {
  const folder = temporaryFolder(t);
  const repository = new TestRepository().add('a.txt');
  await repository.publish();
  const pinnedRoot = repository.get('root');
  const first = new Map(repository.files);
  const before = join(folder, 'before');
  await openTrust({ folder: before, pinnedRoot, now: () => T0 }).refresh(repository.fetcher);
  await repository.publishRoot();
  repository
    .delegate({ name: 'policy', signers: [signerOf('policy')], threshold: 1, paths: ['p/*'] })
    .add('p/x', 'x', 'policy')
    .add('b.txt');
  await repository.publish();
  return { folder, repository, pinnedRoot, before, first, published: writeRepository(repository, join(folder, 'repository')) };
}

async function straceWorks(): Promise<string | undefined> {
  if (process.platform !== 'linux') return 'strace is a Linux tool';
  try {
    const tried = await run('strace', ['-f', '-e', 'trace=none', '/bin/true'], { timeoutMs: 10_000 });
    return tried.code === 0 ? undefined : 'strace may not trace here';
  } catch {
    return 'strace is not installed';
  }
}

/** What one injected fault left behind must be the old or the new state, whole; and the next run converges. */
async function checkAfter(state: string, made: Awaited<ReturnType<typeof twoGenerations>>, fresh: boolean, says: string) {
  const client = openTrust({ folder: state, pinnedRoot: made.pinnedRoot, now: () => T0 });
  const versions = client.versions();
  if (!fresh) assert.equal(client.rebuilt, undefined, says);
  if (versions === undefined) assert.ok(fresh, says);
  else {
    const old = versions.timestamp === 1;
    assert.deepEqual(
      versions,
      old ? { root: 1, timestamp: 1, snapshot: 1, targets: 1 } : { root: 2, timestamp: 2, snapshot: 2, targets: 2 },
      says,
    );
    assert.deepEqual(
      client
        .targets()
        .map(({ path }) => path)
        .toSorted(),
      old ? ['a.txt'] : ['a.txt', 'b.txt', 'p/x'],
      says,
    );
  }
  await client.refresh(made.repository.fetcher);
  assert.deepEqual(client.versions(), { root: 2, timestamp: 2, snapshot: 2, targets: 2 }, says);
  assert.deepEqual(
    fs.readdirSync(state).filter((name) => name.startsWith('.tmp-')),
    [],
    says,
  );
}

test('S33 killed, or failed with an error, at every write, rename and fsync: old state or new state', async (t) => {
  const reason = await straceWorks();
  if (reason !== undefined) return t.skip(reason);
  const made = await twoGenerations(t);
  const faults: [string, string][] = [
    ['write', 'signal=KILL'],
    ['rename', 'signal=KILL'],
    ['fsync', 'signal=KILL'],
    ['write', 'error=ENOSPC'],
    ['rename', 'error=EIO'],
    ['fsync', 'error=EIO'],
  ];
  const hit = new Map<string, number>();
  for (const fresh of [false, true]) {
    for (const [call, effect] of faults) {
      for (let when = 1; ; when++) {
        const says = `${fresh ? 'first' : 'second'} refresh, ${effect} at ${call} ${when}`;
        const state = join(made.folder, 'state');
        fs.rmSync(state, { recursive: true, force: true });
        if (!fresh) fs.cpSync(made.before, state, { recursive: true });
        const log = join(made.folder, 'strace.log');
        const inject = `inject=${call}:${effect}:when=${when}`;
        // Only the main thread writes files here; counts are kept by thread, and -y names the file behind each descriptor.
        const args = [
          '-f',
          '-y',
          '-o',
          log,
          '-e',
          `trace=${call}`,
          '-e',
          inject,
          process.execPath,
          CHILD,
          state,
          made.published,
          String(T0),
        ];
        const ran = await run('strace', args, { timeoutMs: 60_000 });
        const lines = fs.readFileSync(log, 'utf8').split('\n');
        const injected = lines.filter((line) => line.includes('(INJECTED)') || line.includes('+++ killed by SIGKILL'));
        if (injected.length === 0) {
          assert.equal(ran.code, 0, `${says}: ${ran.stderr}`);
          break;
        }
        const inState = lines.filter((line) => line.includes(state)).length;
        hit.set(`${call} ${effect}`, Math.max(hit.get(`${call} ${effect}`) ?? 0, inState));
        await checkAfter(state, made, fresh, says);
        assert.ok(when < 400, 'a sweep has an end');
      }
    }
  }
  // The sweep reached into the state folder with every kind of call, all the way to its last file.
  for (const [call, effect] of faults)
    assert.ok(
      (hit.get(`${call} ${effect}`) ?? 0) >= (call === 'write' ? 6 : 7),
      `${call} ${effect}: ${hit.get(`${call} ${effect}`)}`,
    );
  t.diagnostic(`calls swept: ${[...hit].map(([name, count]) => `${name} ${count}`).join(', ')}`);
});

const SPOILERS: [string, (path: string) => void][] = [
  ['gone', (path) => fs.rmSync(path)],
  ['empty', (path) => fs.truncateSync(path, 0)],
  ['torn', (path) => fs.truncateSync(path, Math.floor(fs.statSync(path).size / 2))],
  ['zeroed', (path) => fs.writeFileSync(path, Buffer.alloc(fs.statSync(path).size))],
  ['swollen', (path) => fs.truncateSync(path, 40 * 1024 * 1024)],
  ['noise', (path) => fs.writeFileSync(path, Buffer.alloc(fs.statSync(path).size, 'x{"sum":'))],
];

const listFiles = (folder: string) =>
  fs.readdirSync(folder, { recursive: true, encoding: 'utf8' }).filter((name) => name.endsWith('.json'));

test('S36 any one state file torn, zeroed or gone: rebuilt, nothing older is trusted, the next refresh works', async (t) => {
  const made = await twoGenerations(t);
  const whole = join(made.folder, 'whole');
  await openTrust({ folder: whole, pinnedRoot: made.pinnedRoot, now: () => T0 }).refresh(made.repository.fetcher);
  const old: Fetcher = {
    fetchSmall: (path) => {
      const bytes = made.first.get(path);
      return Promise.resolve(bytes === undefined ? { kind: 'missing' } : { kind: 'found', bytes, etag: undefined });
    },
  };
  for (const name of listFiles(whole)) {
    for (const [says, spoil] of SPOILERS) {
      const state = join(made.folder, 'spoilt');
      fs.rmSync(state, { recursive: true, force: true });
      fs.cpSync(whole, state, { recursive: true });
      spoil(join(state, name));
      // Without the pinned root handed over again: the folder has what it needs.
      const client = openTrust({ folder: state, now: () => T0 });
      if (client.versions() !== undefined) assert.equal(client.versions()?.timestamp, 2, `${name} ${says}`);
      await assert.rejects(client.refresh(old), { code: 'trust.rollback' }, `${name} ${says}`);
      await client.refresh(made.repository.fetcher);
      assert.equal(client.targets().length, 3, `${name} ${says}`);
      const again = openTrust({ folder: state, now: () => T0 });
      assert.equal(again.rebuilt, undefined, `${name} ${says}`);
      assert.equal(again.versions()?.timestamp, 2);
    }
  }
});

test('S36 every state file spoilt at once: the pinned root handed over again starts it anew, and says so', async (t) => {
  const made = await twoGenerations(t);
  for (const [says, spoil] of SPOILERS) {
    const state = join(made.folder, 'spoilt');
    fs.rmSync(state, { recursive: true, force: true });
    fs.cpSync(made.before, state, { recursive: true });
    for (const name of listFiles(state)) spoil(join(state, name));
    if (says !== 'gone') assert.throws(() => openTrust({ folder: state, now: () => T0 }), { code: 'trust.no-root' }, says);
    const client = openTrust({ folder: state, pinnedRoot: made.pinnedRoot, now: () => T0 });
    assert.equal(client.versions(), undefined);
    if (says !== 'gone') assert.match(client.rebuilt ?? '', /damaged|gone/);
    await client.refresh(made.repository.fetcher);
    assert.equal(client.versions()?.timestamp, 2);
  }
  // The state is lost but for the floor: an old repository is still refused, and the time still holds.
  const state = join(made.folder, 'floor-only');
  const lost = openTrust({ folder: state, pinnedRoot: made.pinnedRoot, now: () => T0 });
  await lost.refresh(made.repository.fetcher);
  lost.noteTime(T0 + 3_600_000);
  for (const name of listFiles(state)) if (!name.includes('floor') && !name.includes('pinned')) fs.rmSync(join(state, name));
  const client = openTrust({ folder: state, now: () => 0 });
  assert.equal(client.rebuilt, 'state.json is gone');
  assert.equal(client.freshness().trustedTime, T0 + 3_600_000);
});

test('the state does not grow with the number of refreshes', async (t) => {
  const repository = new TestRepository().add('a.txt');
  const folder = temporaryFolder(t);
  await repository.publish();
  const client = openTrust({ folder, pinnedRoot: repository.get('root'), now: () => T0 });
  for (let at = 0; at < 20; at++) {
    await repository.publish();
    await client.refresh(repository.fetcher);
  }
  assert.equal(listFiles(folder).length, 3 + 4); // state, floor, pinned; root, timestamp, snapshot, targets
});

test('S39 two refreshes at once: one wins, the other says who holds it, and sees the result afterwards', async (t) => {
  const made = await twoGenerations(t);
  const one = openTrust({ folder: made.before, now: () => T0 });
  const two = openTrust({ folder: made.before, now: () => T0 });
  const gate = Promise.withResolvers<void>();
  const waiting = one.refresh({
    fetchSmall: async (path, options) => {
      await gate.promise;
      return made.repository.fetcher.fetchSmall(path, options);
    },
  });
  await assert.rejects(two.refresh(made.repository.fetcher), (error: Error & { code: string }) => {
    assert.equal(error.code, 'lock.held');
    assert.match(error.message, new RegExp(`refresh trusted metadata \\(process ${process.pid}\\)`));
    return true;
  });
  gate.resolve();
  assert.equal((await waiting).changed, true);
  assert.equal((await two.refresh(made.repository.fetcher)).changed, false);
  assert.equal(two.target('p/x')?.role, 'policy');
});

test('S39 many processes at once on one folder: each ends well or says that it waits, the state is whole', async (t) => {
  const made = await twoGenerations(t);
  const ran = await Promise.all(
    Array.from({ length: 6 }, () =>
      run(process.execPath, [CHILD, made.before, made.published, String(T0)], { timeoutMs: 60_000 }),
    ),
  );
  for (const { code, stderr } of ran) assert.ok(code === 0 || (code === 4 && /is held by/.test(stderr)), `${code} ${stderr}`);
  assert.ok(ran.some(({ code }) => code === 0));
  const client = openTrust({ folder: made.before, now: () => T0 });
  assert.equal(client.rebuilt, undefined);
  assert.equal(client.versions()?.timestamp, 2);
});
