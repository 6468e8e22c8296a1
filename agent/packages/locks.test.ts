import assert from 'node:assert/strict';
import * as fs from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { silentLog } from '#manifests/platform/log';
import { run } from '#manifests/platform/process';
import { describeHolder, lockHolder, parseProcLocks, waitForLocks } from './locks.ts';
import type { HostContext } from './system.ts';

test('rows of /proc/locks: write locks and their holders, waiting ones left out', () => {
  const text = [
    '1: POSIX  ADVISORY  WRITE 812 fe:00:131 0 EOF',
    '1: -> POSIX  ADVISORY  WRITE 900 fe:00:131 0 EOF',
    '2: FLOCK  ADVISORY  READ  77 00:2d:9 0 EOF',
    '3: OFDLCK ADVISORY  WRITE -1 00:2d:10 0 EOF',
  ].join('\n');
  assert.deepEqual(parseProcLocks(text), [
    { pid: 812, device: 'fe:00', inode: '131' },
    { pid: 0, device: '00:2d', inode: '10' },
  ]);
});

const noPython =
  fs.existsSync('/usr/bin/python3') && fs.existsSync('/proc/locks') ? false : 'needs /proc/locks and python3 as the holder';

test('a lock as dpkg takes it is seen, its holder named, waited for, and never taken away', { skip: noPython }, async () => {
  const root = fs.mkdtempSync(join(tmpdir(), 'locks-'));
  const file = join(root, 'var/lib/dpkg/lock-frontend');
  fs.mkdirSync(join(file, '..'), { recursive: true });
  fs.writeFileSync(file, '');
  const holding = new AbortController();
  let locked: (() => void) | undefined;
  const isLocked = new Promise<void>((resolve) => {
    locked = resolve;
  });
  const script =
    'import fcntl,sys\nf=open(sys.argv[1],"w")\nfcntl.lockf(f,fcntl.LOCK_EX)\nprint("locked",flush=True)\nimport signal;signal.pause()';
  const holder = run('python3', ['-c', script, file], {
    timeoutMs: 60_000,
    signal: holding.signal,
    onOutput: () => locked?.(),
  });
  try {
    await isLocked;
    const found = lockHolder({ root });
    assert.equal(found?.command, 'python3');
    assert.match(describeHolder(found ?? assert.fail()), /^python3 \(process \d+\) holds \/var\/lib\/dpkg\/lock-frontend$/);

    let now = 0;
    const said: string[] = [];
    const context = {
      root,
      lockWaitMs: 700,
      clock: { now: () => 0, monotonic: () => (now += 400) },
      signal: new AbortController().signal,
      log: silentLog,
      onProgress: (says: string) => said.push(says),
    } as unknown as HostContext;
    await assert.rejects(waitForLocks(context), { code: 'packages.locked' });
    assert.equal(said.length, 1);
    assert.ok(fs.existsSync(file));
    holding.abort(new Error('end'));
    await holder;
    assert.equal(lockHolder({ root }), undefined);
    await waitForLocks(context);
  } finally {
    holding.abort(new Error('end'));
    await holder;
    fs.rmSync(root, { recursive: true });
  }
});
