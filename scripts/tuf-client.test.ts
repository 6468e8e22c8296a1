// The conformance command line against a repository on HTTP: init, refresh, download, refusals, faked time.
import assert from 'node:assert/strict';
import * as fs from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { run } from '#manifests/platform/process';
import { signerOf, TestRepository, temporaryFolder } from '../manifests/trust/testing/repository.ts';
import { serve } from '../manifests/trust/testing/tufjs.ts';

test('init, refresh and download by the community command line', async (t) => {
  const folder = temporaryFolder(t);
  const repository = new TestRepository().add('a.txt').add('dir/b c.txt');
  repository.now = Date.now();
  repository
    .delegate({ name: '../odd role?', signers: [signerOf('odd')], threshold: 1, paths: ['odd/*'] })
    .add('odd/x', 'odd', '../odd role?');
  await repository.publish();
  const server = await serve(t, repository);
  fs.writeFileSync(join(folder, 'pinned.json'), repository.get('root'));
  const state = join(folder, 'metadata');
  const client = (...args: string[]) =>
    run(process.execPath, [join(import.meta.dirname, 'tuf-client.ts'), '--metadata-dir', state, ...args], {
      timeoutMs: 60_000,
    });
  const urls = ['--metadata-url', `${server}/metadata`];
  const version = (role: string) =>
    (JSON.parse(fs.readFileSync(join(state, `${role}.json`), 'utf8')) as { signed: { version: number } }).signed.version;

  assert.equal((await client(...urls, 'refresh')).code, 1);
  assert.equal((await client('init', join(folder, 'pinned.json'))).code, 0);
  assert.equal(version('root'), 1);
  const refreshed = await client(...urls, 'refresh');
  assert.equal(refreshed.code, 0, refreshed.stderr);
  assert.deepEqual(['root', 'timestamp', 'snapshot', 'targets'].map(version), [1, 1, 1, 1]);

  await repository.publishRoot();
  await repository.publish();
  const names = [
    '--target-name',
    'a.txt',
    '--target-name',
    'odd/x',
    '--target-base-url',
    `${server}/targets`,
    '--target-dir',
    join(folder, 'down'),
  ];
  const got = await client(...urls, ...names, 'download');
  assert.equal(got.code, 0, got.stderr);
  assert.equal(fs.readFileSync(join(folder, 'down/a.txt'), 'utf8'), 'content of a.txt');
  assert.equal(fs.readFileSync(join(folder, 'down/odd%2Fx'), 'utf8'), 'odd');
  assert.deepEqual([version('root'), version('timestamp')], [2, 2]);
  assert.equal(
    (
      await client(
        ...urls,
        '--target-name',
        'none',
        '--target-base-url',
        `${server}/targets`,
        '--target-dir',
        folder,
        'download',
      )
    ).code,
    1,
  );

  repository.roles.timestamp.signers = [signerOf('thief')];
  await repository.publishTimestamp();
  assert.equal((await client(...urls, 'refresh')).code, 1);
  assert.equal(version('timestamp'), 2);
});
